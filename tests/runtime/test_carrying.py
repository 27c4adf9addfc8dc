"""What was said to an execution that goes on as a new one, and was not heard: the new one hears it, in order, once."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

import stepwell
from runtime.asleep import SOURCES, left, made_source, opened, place, until
from runtime.common import calls
from stepwell import ExecutionError, Kernel, ManualClock, ResourceLimits, blocking, blueprint, encoding
from stepwell.store import Store, StoreSource
from stepwell.testing.dying import DyingSource

__all__ = ["place"]

WORDS = [1, 2, 3, 4, 5]


@blueprint(name="carrying.hears")
async def hears(heard: list[Any]) -> list[Any]:
    heard.append(await stepwell.wait_for("word"))
    if len(heard) < len(WORDS):
        stepwell.continue_as_new(heard)
    return heard


@blueprint(name="carrying.hears too")
def hears_too(heard: list[Any]) -> list[Any]:
    heard.append(blocking.wait_for("word"))
    if len(heard) < len(WORDS):
        stepwell.continue_as_new(heard)
    return heard


async def says(kernel: Kernel, handle: Any) -> None:
    for word in WORDS:
        assert await handle.signal("word", word, id=f"word {word}")


@pytest.mark.parametrize("hearer", [hears, hears_too])
def test_what_was_sent_at_once_is_heard_by_one_after_the_other(place: StoreSource, hearer: Any) -> None:
    async def main() -> None:
        clock = ManualClock()
        async with opened(place, clock) as kernel:
            handle = await kernel.start(hearer, [], at="1m")
            for word in WORDS:
                assert await handle.signal("word", word)
            clock.advance("1m")
            assert await handle.result() == WORDS
            assert len(await kernel.list()) == len(WORDS)
            assert not await handle.signal("word", 6)

    asyncio.run(asyncio.wait_for(main(), 20))


@pytest.mark.parametrize("hearer", [hears, hears_too])
@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("done", [False, True])
def test_killed_at_any_write_it_is_heard_once_and_in_order(
    tmp_path: Path, hearer: Any, kind: str, done: bool
) -> None:
    """Each word is sent in every life, as one that does not know whether it came to be sent does."""
    every = 1 if kind == "memory" and hearer is hears else 7
    for number in range(0, 10_000, every):
        folder = tmp_path / str(number)
        folder.mkdir()
        source = made_source(kind, folder)
        outcome = _lived(source, hearer, number, done)
        ended = outcome is not None
        if not ended:
            outcome = _lived(source, hearer, 10_000, done)
        assert outcome == WORDS
        if ended:
            assert number > 20
            return


def _lived(source: StoreSource, hearer: Any, writes: int, done: bool) -> Any:
    async def main() -> Any:
        dying = DyingSource(source, writes, done)
        kernel = Kernel(cast("StoreSource", dying), tenant="acme")
        kernel.linger_s = 0
        await kernel.__aenter__()

        async def live() -> Any:
            handle = await kernel.start(hearer, [], key="k")
            await says(kernel, handle)
            return await handle.result()

        work, death = asyncio.ensure_future(live()), asyncio.ensure_future(dying.died.wait())
        try:
            await asyncio.wait({work, death}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                death.cancel()
            return work.result() if work.done() else None
        finally:
            if work.done():
                await kernel.close()
            kernel.threads.close()
            dying.close()

    return asyncio.run(asyncio.wait_for(main(), 20))


# --- in the last moment -------------------------------------------------------------------------------------------


class LastMoment:
    """A store in which something is said to an execution just before its first end is written."""

    def __init__(self, source: StoreSource, say: Callable[[Store, str], Any]) -> None:
        self._source = source
        self._say: Callable[[Store, str], Any] | None = say

    def open(self, tenant: str) -> Any:
        return _LastMomentStore(self, self._source.open(tenant))

    def comes(self, store: Store, id: str) -> None:
        say, self._say = self._say, None
        if say is not None:
            say(store, id)


class _LastMomentStore:
    def __init__(self, source: LastMoment, store: Store) -> None:
        self._source, self._store = source, store

    def append(self, execution_id: str, *args: Any) -> Any:
        if any(kind == "complete" for _, _, kind, _ in args[3]):
            self._source.comes(self._store, execution_id)
        return self._store.append(execution_id, *args)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def said(id: str, kind: str, name: str, value: Any) -> Callable[[Store, str], Any]:
    body = encoding.encode(value)
    return lambda store, execution: store.deliver(execution, id, kind, name, body, 0).wait()


def test_what_comes_just_before_the_end_is_heard_before_what_comes_after(place: StoreSource) -> None:
    async def main() -> None:
        source = LastMoment(place, said("signal other", "signal", "word", 2))
        async with opened(cast("StoreSource", source)) as kernel:
            handle = await kernel.start(hears, [])
            await handle.signal("word", 1)
            while not await kernel.list(state="completed"):
                await asyncio.sleep(0)
            for word in WORDS[2:]:
                assert await handle.signal("word", word)
            assert await handle.result() == WORDS

    asyncio.run(asyncio.wait_for(main(), 20))


def test_whoever_looks_for_what_arrived_carries_it(place: StoreSource) -> None:
    """The process died after the end, before it looked once more; nobody says anything to the first one again."""

    async def main() -> None:
        source = LastMoment(place, said("signal other", "signal", "word", 2))
        async with opened(cast("StoreSource", source), recover=False) as kernel:
            kernel.watching.left = lambda *_: None  # type: ignore[method-assign]
            handle = await kernel.start(hears, [])
            await handle.signal("word", 1)
            while not await kernel.list(state="completed"):
                await asyncio.sleep(0)
        for _ in range(2):  # whoever looks again carries nothing twice
            async with opened(place) as kernel:
                handle = await kernel.get(handle.id)

                async def is_second() -> bool:
                    return len(await kernel.list(state="completed")) == 2

                await until(is_second)
                await kernel.recovered()
        async with opened(place) as kernel:
            handle = await kernel.get(handle.id)
            for word in WORDS[2:]:
                assert await handle.signal("word", word)
            assert await handle.result() == WORDS

    asyncio.run(asyncio.wait_for(main(), 20))


@pytest.mark.parametrize("when", ["just before the end", "before it is heard"])
def test_a_wish_that_the_first_one_did_not_hear_is_the_new_ones(place: StoreSource, when: str) -> None:
    async def main() -> None:
        say = said("cancel", "cancel", "", {"reason": "enough"})
        source = LastMoment(place, say if when == "just before the end" else lambda *_: None)
        clock = ManualClock()
        async with opened(cast("StoreSource", source), clock) as kernel:
            handle = await kernel.start(hears, [], at="1m")
            await handle.signal("word", 1)
            if when == "before it is heard":
                await kernel.store.deliver(handle.id, "cancel", "cancel", "", b'{"reason":"enough"}', 0)
            clock.advance("1m")
            with pytest.raises(ExecutionError, match="enough"):
                await handle.result()

    asyncio.run(asyncio.wait_for(main(), 20))


def test_a_pause_just_before_the_end_pauses_the_new_one(place: StoreSource) -> None:
    async def main() -> None:
        source = LastMoment(place, said("pause 1", "pause", "", {"reason": "wait"}))
        async with opened(cast("StoreSource", source)) as kernel:
            handle = await kernel.start(hears, [])
            await handle.signal("word", 1)
            while not (paused := await kernel.list(state="paused")):
                await asyncio.sleep(0)
            assert paused[0].id != handle.id
            for word in WORDS[1:]:
                assert await handle.signal("word", word)
            await kernel.resume(paused[0].id)
            assert await handle.result() == WORDS

    asyncio.run(asyncio.wait_for(main(), 20))


# --- who hears it -------------------------------------------------------------------------------------------------


@blueprint(name="carrying.listens beside")
async def listens_beside(number: int) -> Any:
    beside = asyncio.create_task(stepwell.wait_for("word"))
    await stepwell.wait_for("go")
    if number == 0:
        stepwell.continue_as_new(1)
    calls.append("asked")
    return await beside


def test_a_task_of_the_first_one_hears_nothing_once_there_is_a_new_one(place: StoreSource) -> None:
    """The process dies when there is the new one, and the first one has not ended."""

    async def first_life(writes: int) -> str:
        dying = DyingSource(place, 10_000, last_is_done=True)
        kernel = Kernel(cast("StoreSource", dying), tenant="acme", recover=False)
        await kernel.__aenter__()
        handle = await kernel.start(listens_beside, 0, key=f"k{writes}")
        while (await kernel.store.get(handle.id)).state != "waiting":
            await asyncio.sleep(0)
        dying.left = writes
        await handle.signal("go")
        await dying.died.wait()
        kernel.threads.close()
        dying.close()
        return handle.id

    async def second_life(id: str, key: str) -> bool:
        async with opened(place, recover=False) as kernel:
            if not await kernel.store.children(id):
                return False
            assert (await kernel.store.get(id)).state == "running"
            await kernel.store.deliver(id, "signal own", "signal", "word", b"7", 0)
            again = await kernel.start(listens_beside, 0, key=key)
            await again.signal("go")
            assert await again.result() == 7
            steps = (await (await kernel.get(id)).execution()).steps.values()
            assert [one.name for one in steps if one.state == "completed"] == ["go", "continue_as_new"]
        return True

    writes = 1
    while True:
        id = asyncio.run(asyncio.wait_for(first_life(writes), 20))
        if asyncio.run(asyncio.wait_for(second_life(id, f"k{writes}"), 20)):
            break
        writes += 1


@blueprint(name="carrying.polls")
async def polls(number: int) -> list[Any]:
    if number == 0:
        await stepwell.sleep("1s")
        stepwell.continue_as_new(1)
    found = []
    try:
        while True:
            found.append(await stepwell.wait_for("word", timeout="0s"))
    except ExecutionError:
        return found


def test_it_is_there_when_the_new_one_begins(place: StoreSource) -> None:
    async def main() -> None:
        clock = ManualClock()
        async with opened(place, clock) as kernel:
            handle = await kernel.start(polls, 0)
            for word in WORDS:
                await handle.signal("word", word)
            await left(kernel, handle)
            clock.advance("1s")
            assert await handle.result() == WORDS

    asyncio.run(asyncio.wait_for(main(), 20))


def test_one_at_a_time_goes_on_as_a_new_one(place: StoreSource) -> None:
    """The new one takes the place of the first one: they are not two at once."""

    async def main() -> None:
        limits = ResourceLimits(max_concurrent_executions=1)
        async with opened(place, limits=limits) as kernel:
            handle = await kernel.start(hears, [], key="k")
            await says(kernel, handle)
            assert await handle.result() == WORDS

    asyncio.run(asyncio.wait_for(main(), 20))
