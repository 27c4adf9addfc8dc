"""Executions that go on as new ones: who waits for their end, and who has something to say to them."""

import asyncio
import contextlib
import sqlite3
from pathlib import Path
from typing import Any

import pytest

import stepwell
from runtime.asleep import left, opened, place
from runtime.common import echo
from runtime.lives import Lives, killed_everywhere
from stepwell import ExecutionError, Kernel, ManualClock, StoreCorrupt, blocking, blueprint, journal
from stepwell.store import Projection, StoreSource
from stepwell.store.retention import purge
from stepwell.store.sqlite import SqliteSource

__all__ = ["place"]


@blueprint(name="renewing.counts")
async def counts(done: int) -> int:
    done += len(str(await echo(done)))
    await stepwell.sleep("1s")
    if done < 3:
        stepwell.continue_as_new(done)
    return done


@blueprint(name="renewing.blocks")
def blocks(done: int) -> int:
    done += len(str(echo(done)))
    blocking.sleep("1s")
    if done < 3:
        stepwell.continue_as_new(done)
    return done


@blueprint(name="renewing.parent")
async def parent() -> list[Any]:
    return list(await stepwell.map(lambda bp: stepwell.child(bp, 0), [counts, blocks]))


@blueprint(name="renewing.listens")
async def listens(heard: list[Any]) -> list[Any]:
    heard.append(await stepwell.wait_for("word"))
    if len(heard) == 1:
        stepwell.continue_as_new(heard)
    return heard


@blueprint(name="renewing.cancels")
async def cancels() -> Any:
    task = asyncio.create_task(stepwell.child(listens, []))
    await stepwell.wait_for("cancel")
    task.cancel()
    await asyncio.wait([task])
    return task.cancelled()


def test_a_parent_gets_the_result_of_the_last_one() -> None:
    def check(_: Lives, outcome: Any) -> None:
        assert outcome == ["returned", [3, 3]]

    killed_everywhere(Lives, parent, check=check)


def test_a_parent_outside_memory_is_told_by_the_last_one(place: StoreSource) -> None:
    async def main() -> None:
        clock = ManualClock()
        async with opened(place, clock) as kernel:
            handle = await kernel.start(parent)
            result = asyncio.create_task(handle.result())
            while not result.done():
                clock.advance("1s")
                await asyncio.sleep(0)
            assert result.result() == [3, 3]
            assert len(await kernel.list(blueprint="renewing.counts")) == 3

    asyncio.run(asyncio.wait_for(main(), 20))


def test_what_is_said_to_the_first_one_reaches_the_last(place: StoreSource) -> None:
    async def main() -> None:
        async with opened(place) as kernel:
            handle = await kernel.start(listens, [], key="k")
            await handle.signal("word", 1)
            while not await kernel.list(blueprint="renewing.listens", state="waiting"):
                await asyncio.sleep(0)
            while not await kernel.list(blueprint="renewing.listens", state="completed"):
                await asyncio.sleep(0)
            assert await handle.pause("a while")
            while not (paused := await kernel.list(blueprint="renewing.listens", state="paused")):
                await asyncio.sleep(0)
            await kernel.resume(paused[0].id)
            assert await handle.signal("word", 2, id="once")
            assert await handle.signal("word", 2, id="once")
            assert await handle.result() == [1, 2]
            assert not await handle.signal("word", 3)
            assert not await handle.cancel()
            assert not await handle.pause()

    asyncio.run(asyncio.wait_for(main(), 20))


@pytest.mark.parametrize("by", ["handle", "parent"])
def test_cancelling_reaches_the_last(place: StoreSource, by: str) -> None:
    async def main() -> None:
        async with opened(place) as kernel:
            handle = await kernel.start(listens, []) if by == "handle" else await kernel.start(cancels)
            while not (listening := await kernel.list(blueprint="renewing.listens", state="waiting")):
                await asyncio.sleep(0)
            first = await kernel.get(listening[0].id)
            await first.signal("word", 1)
            while len(await kernel.list(blueprint="renewing.listens")) != 2:
                await asyncio.sleep(0)
            (second,) = [row for row in await kernel.list(blueprint="renewing.listens") if row.id != first.id]
            await left(kernel, await kernel.get(second.id))
            if by == "handle":
                assert await handle.cancel("enough")
                with pytest.raises(ExecutionError, match="enough"):
                    await handle.result()
            else:
                await handle.signal("cancel")
                assert await handle.result() is True
            assert (await kernel.store.get(second.id)).state == "cancelled"

    asyncio.run(asyncio.wait_for(main(), 20))


def test_an_output_that_looks_like_going_on_is_an_output(anywhere: StoreSource) -> None:
    """It may come from outside: nobody is led to another execution by it, nor round in a circle."""

    @blueprint(name="looks like it")
    async def looks(id: str | None) -> dict[str, str]:
        return {"stepwell.continued_as": id or stepwell.current().execution_id}

    async def main() -> None:
        async with Kernel(anywhere, tenant="acme") as kernel:
            own = await kernel.start(looks, None)
            assert await own.result(timeout="20s") == {"stepwell.continued_as": own.id}
            assert not await own.signal("go")
            assert not await own.cancel()
            for id in (own.id, "exec_01jd0000000000000000000000", "nonsense"):
                assert await kernel.run(looks, id) == {"stepwell.continued_as": id}

    asyncio.run(main())


def test_going_on_with_a_codec_and_a_type(anywhere: StoreSource) -> None:
    """Neither is asked for what the end of the first one says."""

    class Turned:
        def encode(self, value: Any) -> Any:
            return {"turned": value}

        def decode(self, value: Any, type: Any) -> Any:
            return value["turned"]

    @blueprint(name="counts down in code")
    async def down(number: int) -> int:
        if number:
            stepwell.continue_as_new(number - 1)
        return 42

    async def main() -> None:
        async with Kernel(anywhere, tenant="acme", codec=Turned()) as kernel:
            assert await kernel.run(down, 3) == 42
            assert len(await kernel.list(state="completed")) == 4

    asyncio.run(main())


def test_a_circle_in_a_forged_store_is_told(tmp_path: Path) -> None:
    """Two that say of each other that they went on as it: nobody who follows them is led round for ever."""
    path = tmp_path / "runs.db"

    @blueprint(name="in a circle")
    async def work(id: str) -> dict[str, str]:
        return {"stepwell.continued_as": id}

    async def make() -> list[str]:
        async with Kernel(SqliteSource(path), tenant="acme") as kernel:
            handles = [await kernel.start(work, "exec_01jd0000000000000000000000") for _ in range(2)]
            for handle in handles:
                await handle.result()
            return [handle.id for handle in handles]

    ids = asyncio.run(make())
    with contextlib.closing(sqlite3.connect(path)) as found, found:
        for one, other in (ids, reversed(ids)):
            (seq, body) = found.execute(
                "SELECT seq, body FROM journal WHERE execution = ? AND kind = 'complete'", (one,)
            ).fetchone()
            body = body.replace(b"exec_01jd0000000000000000000000", other.encode())
            found.execute("UPDATE journal SET body = ? WHERE execution = ? AND seq = ?", (body, one, seq))
            found.execute(
                "UPDATE executions SET head = ?, parent_type = 'execution', parent_id = ? WHERE id = ?",
                (journal.digest(body), other, one),
            )

    async def main() -> None:
        async with Kernel(SqliteSource(path), tenant="acme") as kernel:
            handle = await kernel.get(ids[0])
            for asked in (
                handle.result(),
                handle.signal("word"),
                handle.signal("word", id="once"),
                handle.cancel(),
                handle.pause(),
            ):
                with pytest.raises(StoreCorrupt, match="went on as itself"):
                    await asyncio.wait_for(asked, 20)

    asyncio.run(main())


@blueprint(name="renewing.waits for the chain")
async def waits_for_the_chain() -> Any:
    return await stepwell.child(listens, [])


@pytest.mark.parametrize("gone", ["its old links", "all of it"])
def test_a_purged_chain_is_not_begun_again(anywhere: StoreSource, gone: str) -> None:
    """The old links of one that goes on are kept; and nothing that was done is done anew where all of it is gone."""

    async def main() -> None:
        async with opened(anywhere) as kernel:
            handle = await kernel.start(waits_for_the_chain)
            while not (first := await kernel.list(blueprint="renewing.listens", state="waiting")):
                await asyncio.sleep(0)
            await (await kernel.get(first[0].id)).signal("word", 1)
            while not (second := await kernel.list(blueprint="renewing.listens", state="waiting")):
                await asyncio.sleep(0)
            if second[0].id == first[0].id:
                while len(second := await kernel.list(blueprint="renewing.listens")) < 2:
                    await asyncio.sleep(0)
            await left(kernel, handle)
            last = await kernel.get(next(row.id for row in second if row.id != first[0].id))
            await left(kernel, last)
        store = anywhere.open("acme")
        assert purge(store, older_than_ns=0, now_ns=2**62, rest=0).executions == 0
        if gone == "all of it":
            row = store.get(last.id).wait()
            end = Projection("cancelled", None, row.head)
            record = (row.version + 1, row.updated_at_ns, "kind", b"{}")
            store.append(row.id, row.version, row.epoch, b"end", [record], end).wait()
            assert purge(store, older_than_ns=0, now_ns=2**62, rest=0).executions == 2
        store.close()
        async with opened(anywhere) as kernel:
            handle = await kernel.get(handle.id)
            if gone == "all of it":
                with pytest.raises(ExecutionError) as caught:
                    await handle.result(timeout="20s")
                assert caught.value.code == "child_gone"
                assert not await kernel.list(blueprint="renewing.listens")
            else:
                await (await kernel.get(first[0].id)).signal("word", 2)
                assert await handle.result(timeout="20s") == [1, 2]
                assert len(await kernel.list(blueprint="renewing.listens")) == 2

    asyncio.run(asyncio.wait_for(main(), 40))
