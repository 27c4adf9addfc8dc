"""Who runs an execution when its process is gone, and when nobody can live with it."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import stepwell
from runtime.common import calls
from runtime.stops import in_kernel, in_state, note, until
from stepwell import Kernel, KernelClosed, ManualClock, blueprint, step
from stepwell.runtime import owners
from stepwell.runtime.watching import Watching
from stepwell.store import StoreSource
from stepwell.store.memory import MemorySource
from stepwell.store.sqlite import SqliteSource
from waiting import until as until_blocking

PROGRAM = """
    import asyncio, os, sys
    from stepwell import Kernel, blueprint, step
    from stepwell.store.sqlite import SqliteSource

    path, log, mode = sys.argv[1:]

    @step
    async def work(name: str) -> str:
        with open(log, "a") as lines:
            lines.write(name + "\\n")
        if name == "poison" and mode == "dies":
            os.kill(os.getpid(), 9)
        if mode == "hangs":
            await asyncio.Event().wait()
        return name

    @blueprint(name="poison")
    async def poison() -> str:
        return await work("poison")

    @blueprint(name="innocent")
    async def innocent(number: int) -> str:
        return await work(f"innocent {number}")

    async def main() -> None:
        async with Kernel(SqliteSource(path), tenant="acme") as kernel:
            if not await kernel.list():
                for number in range(2):
                    await kernel.start(innocent, number)
                await kernel.start(poison)
            while any(row.state not in ("completed", "paused") for row in await kernel.list()):
                await asyncio.sleep(0)

    asyncio.run(main())
"""


def process(path: Path, mode: str) -> "subprocess.Popen[bytes]":
    code, log = textwrap.dedent(PROGRAM), path.with_suffix(".log")
    log.touch()
    return subprocess.Popen([sys.executable, "-W", "ignore", "-c", code, str(path), str(log), mode])


def test_poison_is_parked_and_its_neighbours_are_not(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    deaths = 0
    while process(path, "dies").wait(60) == -signal.SIGKILL:
        deaths += 1
        assert deaths <= 8
    assert deaths == 6, "once when it was started, and five times when it was taken up"
    rows = {row.blueprint: row for row in SqliteSource(path).open("acme").list().wait()}
    states = sorted((row.blueprint, row.state) for row in SqliteSource(path).open("acme").list().wait())
    assert states == [("innocent", "completed"), ("innocent", "completed"), ("poison", "paused")]

    @blueprint(name="poison")
    async def mended() -> str:
        return await work("poison")

    @step
    async def work(name: str) -> str:
        return f"{name} mended"

    async def resumes(kernel: Kernel) -> None:
        handle = await kernel.get(rows["poison"].id)
        assert ((await handle.execution()).reason or "").startswith("poison")
        await handle.resume()
        assert await handle.result(timeout=30) == "poison mended"

    in_kernel(SqliteSource(path), resumes)


def test_a_kernel_that_is_closed_has_not_died(anywhere: StoreSource) -> None:
    @blueprint(name="long")
    async def long(number: int) -> None:
        await never(number)

    @step
    async def never(number: int) -> None:
        calls.append(number)
        await asyncio.Event().wait()

    async def start(kernel: Kernel) -> None:
        for number in range(3):
            await kernel.start(long, number)
        await until(lambda: len(calls) == 3)

    async def restart(kernel: Kernel) -> None:
        await until(lambda: len(calls) == 3)
        assert {(row.state, row.claims) for row in await kernel.list()} == {("running", 1)}

    in_kernel(anywhere, start)
    for _ in range(7):
        calls.clear()
        in_kernel(anywhere, restart)
    assert {row.claims for row in anywhere.open("acme").list().wait()} == {0}


def test_deaths_count_however_often_others_close_between_them(anywhere: StoreSource) -> None:
    @blueprint(name="dies")
    async def dies() -> None:
        await never()

    @step
    async def never() -> None:
        calls.append("ran")
        await asyncio.Event().wait()

    async def start(kernel: Kernel) -> None:
        await kernel.start(dies)
        await until(lambda: calls)

    async def restart(kernel: Kernel) -> None:
        await until(lambda: calls)

    async def sees(kernel: Kernel) -> None:
        [row] = await kernel.list()
        await in_state(kernel, row.id, "paused")
        assert calls == []

    in_kernel(anywhere, start)
    dead = f"{owners._machine()} {os.getpid()} {owners._started(os.getpid())} gone"
    for deaths in range(5):
        calls.clear()
        in_kernel(anywhere, restart)
        store = anywhere.open("acme")
        [row] = store.list().wait()
        assert row.claims == deaths
        assert store.claim(row.id, dead, row.epoch).wait() == row.epoch + 1
        store.close()
    calls.clear()
    in_kernel(anywhere, sees)


def test_a_killed_process_is_followed_at_once(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    running = process(path, "hangs")
    until_blocking(lambda: path.with_suffix(".log").read_text().count("\n") == 3)
    assert {row.owner is not None for row in SqliteSource(path).open("acme").list().wait()} == {True}
    running.kill()
    running.wait(60)
    assert process(path, "ends").wait(60) == 0


async def claimed_by(source: StoreSource, owner: str, lease: int | None) -> str:
    """An execution that somebody else owns."""

    async def begin() -> str:
        async with Kernel(source, tenant="acme") as kernel:
            kernel.linger_s = 0
            handle = await kernel.start(waits)
            row = await in_state(kernel, handle.id, "waiting")
            await kernel.close()
            store = source.open("acme")
            await store.claim(handle.id, owner, row.epoch, lease)
            return handle.id

    return await begin()


@blueprint(name="waits for who takes it")
async def waits() -> str:
    await stepwell.wait_for("go")
    return "done"


def test_who_may_live_elsewhere_is_believed_until_the_lease_is_over(anywhere: StoreSource) -> None:
    clock = ManualClock()

    async def main() -> None:
        lease = clock.now_ns() + 60 * 10**9
        known = await claimed_by(anywhere, "another-machine 1 2 3", lease)
        async with Kernel(anywhere, tenant="acme", clock=clock) as kernel:
            handle = await kernel.get(known)
            await handle.signal("go")
            await kernel.recovered()
            row = await kernel.store.get(known)
            assert (row.owner, row.state) == ("another-machine 1 2 3", "waiting")
            clock.advance("61s")
        async with Kernel(anywhere, tenant="acme", clock=clock) as kernel:
            assert await (await kernel.get(known)).result(timeout=30) == "done"

    asyncio.run(main())


def test_leases_are_renewed(anywhere: StoreSource, monkeypatch: Any) -> None:
    clock = ManualClock()
    monkeypatch.setattr("stepwell.runtime.watching.RENEW_S", 0.0)

    @blueprint(name="is renewed")
    async def work() -> None:
        await asyncio.Event().wait()

    async def main(kernel: Kernel) -> None:
        handle = await kernel.start(work)
        for _ in range(2):
            clock.advance("30s")
            least = clock.now_ns() + 59 * 10**9

            async def is_renewed(least: int = least) -> bool:
                return ((await kernel.store.get(handle.id)).lease_until_ns or 0) >= least

            kernel.poke()
            await until(is_renewed)

    in_kernel(anywhere, main, clock=clock)


def test_who_lost_its_claim_stops(source: MemorySource, monkeypatch: Any) -> None:
    monkeypatch.setattr("stepwell.runtime.watching.RENEW_S", 0.0)

    @blueprint(name="lost")
    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            calls.append("stopped")

    async def main(kernel: Kernel) -> None:
        handle = await kernel.start(work)
        row = await kernel.store.get(handle.id)
        await kernel.store.claim(handle.id, "another-machine 1 2 3", row.epoch, 2**62)
        kernel.poke()
        await until(lambda: calls)

    in_kernel(source, main)


def test_what_ended_while_its_end_was_asked_for_is_not_run_once_more(
    anywhere: StoreSource, monkeypatch: Any
) -> None:
    @blueprint(name="ends meanwhile")
    async def work() -> Any:
        calls.append("begun")
        await stepwell.wait_for("go")
        return "done"

    class Told:
        def execution_started(self, *about: Any) -> None:
            calls.append("started")

        def execution_ended(self, *about: Any) -> None:
            calls.append("ended")

    look = Watching.is_called

    async def main(kernel: Kernel) -> None:
        kernel.linger_s = 0
        handle = await kernel.start(work)
        await in_state(kernel, handle.id, "waiting")
        ended = asyncio.Event()

        async def looks_long(self: Watching, row: Any) -> bool:
            found = await look(self, row)
            await ended.wait()
            return found

        monkeypatch.setattr(Watching, "is_called", looks_long)
        await handle.signal("go")
        result = asyncio.create_task(handle.result(timeout=30))

        await until(lambda: "ended" in calls)
        calls.clear()
        ended.set()
        assert await result == "done"
        assert calls == []
        await in_state(kernel, handle.id, "completed")

    in_kernel(anywhere, main, hooks=[Told()])


# --- the end of a kernel ------------------------------------------------------------------------------------------


def test_close_says_what_it_left(anywhere: StoreSource) -> None:
    clock = ManualClock()

    @blueprint(name="quick")
    async def quick() -> Any:
        return await note("quick")

    @blueprint(name="for ever")
    async def for_ever() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        kernel = Kernel(anywhere, tenant="acme", clock=clock)
        async with kernel:
            left = await kernel.start(for_ever)
            await (await kernel.start(quick)).result()
            assert await kernel.close() == [left.id]
            assert await kernel.close() == [left.id]
            assert (await kernel_rows(anywhere))[left.id] == ("running", None)

    asyncio.run(main())


async def kernel_rows(source: StoreSource) -> dict[str, tuple[str, str | None]]:
    return {row.id: (row.state, row.owner) for row in await source.open("acme").list()}


def test_drain_waits_for_what_runs_and_starts_nothing(anywhere: StoreSource) -> None:
    entered, go = threading.Event(), threading.Event()

    @step
    def slow() -> str:
        entered.set()
        assert go.wait(30)
        return "done"

    @blueprint(name="drained")
    async def work() -> Any:
        return await stepwell.run_step(slow)

    async def main() -> None:
        kernel = Kernel(anywhere, tenant="acme")
        async with kernel:
            handle = await kernel.start(work)
            await until(entered.is_set)
            closing = asyncio.create_task(kernel.close(drain="30s"))
            await asyncio.sleep(0)
            try:
                await kernel.start(work)
            except KernelClosed:
                calls.append("refused")
            go.set()
            assert await closing == []
        assert (await kernel_rows(anywhere))[handle.id][0] == "completed"

    asyncio.run(main())
    assert calls == ["refused"]


def test_a_kernel_that_closes_while_it_takes_up_leaves_no_claim(anywhere: StoreSource) -> None:
    async def main() -> None:
        known = await claimed_by(anywhere, "", None)
        store = anywhere.open("acme")
        await store.release(known, (await store.get(known)).epoch)
        for turns in range(30):
            async with Kernel(anywhere, tenant="acme", recover=False) as kernel:
                resuming = asyncio.create_task(kernel.resume(known))
                for _ in range(turns):
                    await asyncio.sleep(0)
            await asyncio.wait([resuming])
            resuming.exception()
            assert (await store.get(known)).owner is None

    asyncio.run(main())
