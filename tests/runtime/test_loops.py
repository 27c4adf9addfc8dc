"""The main flows on the loops that hosts have, with each kind of store."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

import loops
import stepwell
from backends import BACKENDS
from loops import LOOPS
from runtime.common import QUICK, calls
from runtime.stops import endless, error_of, in_state, note, steps_of, until
from stepwell import Kernel, ManualClock, ResourceLimits, blueprint, step
from stepwell.store import StoreSource
from stepwell.store.memory import MemorySource
from stepwell.store.sqlite import SqliteSource

Work = Callable[[Kernel], Awaitable[Any]]


class Host:
    """A program with a loop of some kind, and a store."""

    def __init__(self, loop: str, source: StoreSource) -> None:
        self.loop = loop
        self.source = source

    def run(self, work: Work, **options: Any) -> Any:
        """What `work` returns in a loop and a kernel of its own."""

        async def main() -> Any:
            async with Kernel(self.source, tenant="acme", **options) as kernel, asyncio.timeout(60):
                return await work(kernel)

        return loops.run(self.loop, main())


@pytest.fixture(params=[*BACKENDS, "memory"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> StoreSource:
    """Each kind of store."""
    if request.param == "memory":
        return MemorySource()
    return SqliteSource(tmp_path / "runs.db", backend=request.param)


@pytest.fixture(params=LOOPS)
def host(request: pytest.FixtureRequest, kept: StoreSource) -> Host:
    return Host(request.param, kept)


@step(retry=QUICK)
async def at_the_second(value: int) -> int:
    if stepwell.current_step().attempt == 1:
        raise ConnectionError("once more")
    return value


@step
def in_a_thread(value: int) -> int:
    assert threading.current_thread() is not threading.main_thread()
    return value


@blueprint(name="of a loop, a child")
async def child(value: int) -> Any:
    await stepwell.sleep("1ms")
    return await note(value)


@blueprint(name="of a loop, a def one")
def in_thread(value: int) -> Any:
    stepwell.blocking.sleep("1ms")
    return note(value)


@blueprint(name="of a loop")
async def everything() -> list[Any]:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(note(0))
    gathered = await asyncio.gather(note(1), at_the_second(2), in_a_thread(3))
    mapped = await stepwell.map(note, [4, 5], concurrency=1)
    children = [await stepwell.child(child, 6), await stepwell.child(in_thread, 7)]
    answer = await stepwell.callback(name="answered", timeout="1h")
    signal = await stepwell.wait_for("signalled")
    await stepwell.sleep("20ms")
    return [task.result(), *gathered, *mapped, *children, await answer.result(), signal]


def test_steps_groups_children_and_waits(host: Host) -> None:
    async def work(kernel: Kernel) -> Any:
        kernel.linger_s = 0
        handle = await kernel.start(everything, key="k")

        async def asked() -> Any:
            steps = (await handle.execution()).steps.values()
            return [one.id for one in steps if one.name == "answered"]

        (known,) = await until(asked)
        assert await handle.signal("signalled", 9)
        assert await kernel.complete_callback(known, 8)
        return await handle.result(timeout=30)

    assert host.run(work) == [*range(10)]
    assert host.run(lambda kernel: kernel.run(everything, key="k")) == [*range(10)]
    assert sorted(calls) == [0, 1, 4, 5, 6, 7], "each was done once"


def test_many_at_once(host: Host) -> None:
    """So that several are told of their commits by one ring of the bell."""

    async def work(kernel: Kernel) -> Any:
        handles = await asyncio.gather(*(kernel.start(child, number) for number in range(200)))
        return await asyncio.gather(*(handle.result(timeout=60) for handle in handles))

    assert host.run(work) == [*range(200)]
    assert sorted(calls) == [*range(200)]


def test_time_passes_by_a_clock_of_ones_own(host: Host) -> None:
    @blueprint(name="of a loop, sleeps")
    async def sleeps() -> str:
        await stepwell.sleep("1h")
        return "awake"

    clock = ManualClock()

    async def work(kernel: Kernel) -> Any:
        kernel.linger_s = 0
        handle = await kernel.start(sleeps)
        await in_state(kernel, handle.id, "waiting")
        clock.advance("1h")
        return await handle.result(timeout=30)

    assert host.run(work, clock=clock) == "awake"


def test_cancelling_pausing_and_a_deadline(host: Host) -> None:
    @blueprint(name="of a loop, cleans")
    async def cleans() -> None:
        try:
            await endless()
        finally:
            await note("cleanup")

    clock = ManualClock()

    async def work(kernel: Kernel) -> None:
        for stop in (True, False):
            calls.clear()
            handle = await kernel.start(cleans)
            await until(lambda: "endless" in calls)
            await handle.pause()
            await in_state(kernel, handle.id, "paused")
            await handle.resume()
            await until(lambda: calls.count("endless") == 2)
            if stop:
                assert await handle.cancel()
            else:
                clock.advance("2h")
            assert (await error_of(handle)).code == ("cancelled" if stop else "max_wall_time_ms")
            assert await steps_of(handle) == [("endless", "cancelled"), ("note", "completed")]

    host.run(work, clock=clock, limits=ResourceLimits(max_wall_time_ms=3_600_000))


def test_a_loop_that_ends_in_the_middle_loses_nothing(host: Host) -> None:
    """Neither where it is interrupted, nor where it is closed and the kernel is not."""

    @step
    async def lasts() -> None:
        calls.append("lasts")
        if calls.count("lasts") < 3:
            await asyncio.Event().wait()

    @blueprint(name="of a loop that ends")
    async def lasting() -> Any:
        await note("before")
        await lasts()
        return await note("after")

    async def interrupted(kernel: Kernel) -> None:
        await kernel.start(lasting, key="k")
        await until(lambda: "lasts" in calls)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        host.run(interrupted)

    async def forgotten() -> Kernel:
        kernel = await Kernel(host.source, tenant="acme").__aenter__()
        await until(lambda: calls.count("lasts") == 2)
        return kernel

    kernel = loops.run(host.loop, forgotten())
    try:
        assert host.run(lambda kernel: kernel.run(lasting, key="k")) == "after"
    finally:
        kernel.store.close()
        kernel.threads.close()
    assert calls.count("before") == calls.count("after") == 1


def test_a_loop_in_each_thread(host: Host) -> None:
    found: dict[int, Any] = {}

    def serve(number: int) -> None:
        found[number] = host.run(lambda kernel: kernel.run(child, number))

    threads = [threading.Thread(target=serve, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == {number: number for number in range(4)}


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_the_loop_is_woken_without_a_thread_in_between(tmp_path: Path, backend: str, loop: str) -> None:
    """By a pipe that it watches, where the backend has one; else as by any thread."""
    watched: list[Any] = []

    class Watching(loops.loop_class(loop)):  # type: ignore[misc]
        def add_reader(self, what: Any, *work: Any) -> None:
            watched.append(what)
            super().add_reader(what, *work)

    async def main() -> Any:
        async with Kernel(SqliteSource(tmp_path / "runs.db", backend=backend), tenant="acme") as kernel:
            return await kernel.run(child, 1)

    with asyncio.Runner(loop_factory=Watching) as runner:
        runner.get_loop()
        watched.clear()  # what a loop of asyncio's wakes itself with
        assert runner.run(main()) == 1
    assert len(watched) == (1 if backend == "native" else 0)
