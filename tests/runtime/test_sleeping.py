"""Time that passes: `sleep`, `start(at=…)`, executions that are nowhere meanwhile, and come back once."""

import asyncio
import gc
import logging
import weakref
from asyncio import sleep as plain_sleep
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import stepwell
from runtime.asleep import kept, left, left_or_ended, names, opened, place, until
from runtime.common import calls, echo
from stepwell import Kernel, ManualClock, ValidationError, blocking, blueprint, step
from stepwell.clock import to_ns
from stepwell.runtime.timers import Timers
from stepwell.store import StoreSource

__all__ = ["place"]


@blueprint(name="naps")
async def naps(hours: int) -> str:
    await echo("before")
    await stepwell.sleep(f"{hours}h", name="night")
    return str(await echo("after"))


@blueprint(name="naps too")
def naps_too(hours: int) -> str:
    echo("before")
    blocking.sleep(f"{hours}h", name="night")
    return str(echo("after"))


SLEEPERS = [naps, naps_too]


@pytest.mark.parametrize("sleeper", SLEEPERS)
def test_it_leaves_memory_and_comes_back_when_its_time_has_come(place: StoreSource, sleeper: Any) -> None:
    async def main() -> None:
        clock = ManualClock()
        async with opened(place, clock) as kernel:
            handle = await kernel.start(sleeper, 8)
            waiting = asyncio.ensure_future(handle.result())
            row = await left(kernel, handle)
            assert (row.wait_reason, row.wake_at_ns) == ("timer", clock.now_ns() + 8 * 3600 * 10**9)
            clock.advance("7h")
            assert await kernel.store.due(clock.now_ns()) == []
            assert calls == ["before"]
            clock.advance("1h")
            assert await waiting == "after"
            assert await names(handle) == [
                ("echo", "completed", 1),
                ("night", "completed", 1),
                ("echo", "completed", 1),
            ]
        assert calls == ["before", "after"]

    asyncio.run(main())


@pytest.mark.parametrize("sleeper", SLEEPERS)
def test_time_passes_while_no_kernel_runs(place: StoreSource, sleeper: Any) -> None:
    clock = ManualClock()

    async def first() -> str:
        async with opened(place, clock) as kernel:
            handle = await kernel.start(sleeper, 1)
            await left(kernel, handle)
            return handle.id

    async def second(id: str) -> None:
        async with opened(place, clock) as kernel:
            handle = await kernel.get(id)
            assert await handle.result() == "after"
            night = next(one for one in (await handle.execution()).steps.values() if one.name == "night")
            assert night.duration_ms == 3 * 3600 * 1000

    known = asyncio.run(first())
    clock.advance("3h")
    asyncio.run(second(known))
    assert calls == ["before", "after"]


def test_a_kernel_that_opens_before_the_time_leaves_it_alone(place: StoreSource) -> None:
    clock = ManualClock()

    async def life() -> Any:
        async with opened(place, clock) as kernel:
            handle = await kernel.start(naps, 1, key="k")
            await left(kernel, handle)
            return await kernel.store.get(handle.id)

    rows = [asyncio.run(life()) for _ in range(8)]
    assert len({row.epoch for row in rows}) == 1, "somebody claimed it"
    assert len({row.version for row in rows}) == 1


def test_polls_of_a_result_do_not_take_it_up(place: StoreSource) -> None:
    async def main() -> None:
        clock = ManualClock()
        async with opened(place, clock) as kernel:
            handle = await kernel.start(naps, 1, key="k")
            before = await left(kernel, handle)
            waiting = [asyncio.ensure_future(handle.result()) for _ in range(5)]
            for _ in range(5):
                assert (await kernel.start(naps, 1, key="k")).id == handle.id
                with pytest.raises(TimeoutError):
                    await handle.result(timeout="1ms")
            assert await left(kernel, handle) == before
            clock.advance("1h")
            assert await asyncio.gather(*waiting) == ["after"] * 5

    asyncio.run(main())


@pytest.mark.parametrize("recover", [True, False])
def test_of_several_kernels_one_wakes_it(place: StoreSource, recover: bool) -> None:
    async def main() -> None:
        clock = ManualClock()
        async with opened(place, clock) as one, opened(place, clock) as two, opened(place, clock) as three:
            handles = [await kernel.start(naps, 1) for kernel in (one, two, three) for _ in range(5)]
            for handle in handles:
                await left(one, handle)
            clock.advance("1h")
            for handle in handles:
                assert await handle.result() == "after"
                assert len(await names(handle)) == 3
        assert calls.count("after") == 15

    asyncio.run(main())


def test_without_recover_it_wakes_what_it_started(place: StoreSource) -> None:
    async def main() -> None:
        clock = ManualClock()
        async with opened(place, clock, recover=False) as mine, opened(place, clock, recover=False) as other:
            handle, theirs = await mine.start(naps, 1), await other.start(naps, 2)
            await left(mine, handle)
            await left(other, theirs)
            clock.advance("1h")
            await until(lambda: _is(mine, handle.id, "completed"))
            clock.advance("1h")
            await until(lambda: _is(mine, theirs.id, "completed"))
        assert calls.count("after") == 2

    asyncio.run(main())


async def _is(kernel: Kernel, id: str, state: str) -> bool:
    return (await kernel.store.get(id)).state == state


def test_many_that_are_due_at_once_come_in_batches(place: StoreSource) -> None:
    """A clock that was put forward wakes everybody; the host has its turns meanwhile."""

    async def main() -> None:
        clock = ManualClock()
        async with opened(place, clock) as kernel:
            handles = [await kernel.start(naps, 1 + number % 7) for number in range(250)]
            for handle in handles:
                await left(kernel, handle)
            asked: list[int] = []
            due = kernel.store.due

            def counted(now: int, limit: int = 100) -> Any:
                asked.append(limit)
                return due(now, limit)

            kernel.store.due = counted  # type: ignore[method-assign]
            clock.advance("3650d")
            assert [await handle.result() for handle in handles] == ["after"] * 250
            assert max(asked) == 100
            assert len(asked) >= 3
        assert calls.count("after") == 250

    asyncio.run(main())


def test_those_of_others_do_not_keep_ours_from_waking(place: StoreSource) -> None:
    @blueprint(name="unknown")
    async def unknown() -> None:
        await stepwell.sleep("1m")

    async def main() -> None:
        clock = ManualClock()
        async with opened(place, clock, blueprints=[unknown]) as kernel:
            for handle in [await kernel.start(unknown) for _ in range(120)]:
                await left(kernel, handle)
        async with opened(place, clock, blueprints=[naps]) as kernel:
            handle = await kernel.start(naps, 1)
            await left(kernel, handle)
            clock.advance("2h")
            assert await handle.result() == "after"
            assert len(await kernel.unknown()) == 120

    asyncio.run(main())


# --- a start at a time --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", ["90m", 5400, timedelta(hours=1.5), datetime(2026, 1, 1, 1, 30, tzinfo=UTC)])
def test_a_start_at_a_time(place: StoreSource, at: Any) -> None:
    clock = ManualClock()

    async def first() -> None:
        async with opened(place, clock) as kernel:
            handle = await kernel.start(naps, 1, key="k", at=at)
            assert (await kernel.start(naps, 1, key="k")).id == handle.id
            row = await left(kernel, handle, "created")
            assert row.wake_at_ns == to_ns(datetime(2026, 1, 1, 1, 30, tzinfo=UTC), "")
            await handle.signal("early", 1)
            clock.advance("89m")
            with pytest.raises(TimeoutError):
                await handle.result(timeout="1ms")
            assert (await handle.execution()).state == "created"

    async def second() -> None:
        async with opened(place, clock) as kernel:
            handle = await kernel.start(naps, 1, key="k")
            clock.advance("1m")
            await left(kernel, handle)
            execution = await handle.execution()
            assert execution.started_at == datetime(2026, 1, 1, 1, 30, tzinfo=UTC)
            clock.advance("1h")
            assert await handle.result() == "after"

    asyncio.run(first())
    asyncio.run(second())
    assert calls == ["before", "after"]


def test_a_start_at_a_time_that_has_passed_is_at_once(place: StoreSource) -> None:
    async def main() -> None:
        async with opened(place, ManualClock()) as kernel:
            for at in (0, datetime(2020, 1, 1, tzinfo=UTC)):
                await left(kernel, await kernel.start(naps, 1, at=at))
            with pytest.raises(ValidationError):
                await kernel.start(naps, 1, at=datetime(2026, 1, 1))  # noqa: DTZ001 - that is the point
            with pytest.raises(ValidationError):
                await kernel.start(naps, 1, at="soon")
            cancelled = await kernel.start(naps, 1, at="1h")
            assert await cancelled.cancel("not needed")
            assert (await cancelled.execution()).state == "cancelled"

    asyncio.run(main())


# --- what keeps an execution in memory ----------------------------------------------------------------------------


def test_what_waits_for_other_things_too_stays_in_memory(place: StoreSource) -> None:
    queue: asyncio.Queue[int]

    @blueprint(name="queues")
    async def queues() -> list[Any]:
        return list(await asyncio.gather(stepwell.sleep("1h"), queue.get()))

    @blueprint(name="limited")
    async def limited() -> None:
        async with asyncio.timeout(3600):
            await stepwell.sleep("1h")

    @blueprint(name="dozes")
    async def dozes() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(stepwell.sleep("1h"))
            group.create_task(plain_sleep(3600))

    class CancelScope:
        """As anyio has it: it has a timer of the loop's."""

        async def __aenter__(self) -> None:
            pass

        async def __aexit__(self, *_: object) -> None:
            pass

    @blueprint(name="scoped")
    async def scoped() -> None:
        async with CancelScope():
            await stepwell.sleep("1h")

    @blueprint(name="limited inside")
    async def limited_inside() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.wait_for(stepwell.sleep("1h"), 3600))

    async def main() -> None:
        nonlocal queue
        queue = asyncio.Queue()
        clock = ManualClock()
        async with opened(place, clock) as kernel:
            handles = [
                await kernel.start(which) for which in (queues, limited, dozes, limited_inside, scoped)
            ]
            for handle in handles:
                await kept(kernel, handle)
            clock.advance("1h")
            await queue.put(7)
            assert await handles[0].result() == [None, 7]
            await handles[1].result()
            await handles[3].result()
            await handles[4].result()

    asyncio.run(main())


def test_tasks_of_every_kind_that_only_wait_leave(place: StoreSource) -> None:
    @blueprint(name="gathers")
    async def gathers() -> int:
        await asyncio.gather(stepwell.sleep("1h"), asyncio.gather(stepwell.sleep("2h"), naps.fn(1)))
        return 1

    @blueprint(name="grouped")
    async def grouped() -> int:
        async with asyncio.TaskGroup() as group:
            group.create_task(stepwell.sleep("1h"))
            group.create_task(naps.fn(2))
        return 2

    @blueprint(name="waited")
    async def waited() -> int:
        tasks = [asyncio.ensure_future(stepwell.sleep(f"{hours}h")) for hours in (2, 1)]
        done, _ = await asyncio.wait(tasks)
        return 1 + len(done)

    @blueprint(name="made")
    async def made() -> int:
        await asyncio.create_task(stepwell.sleep("1h"))
        return 4

    @blueprint(name="threaded")
    def threaded() -> int:
        batch = blocking.map(lambda hours: blocking.sleep(f"{hours}h"), [1, 2])
        batch.raise_if_failed()
        return 5

    async def main() -> None:
        clock = ManualClock()
        async with opened(place, clock) as kernel:
            handles = [await kernel.start(which) for which in (gathers, grouped, waited, made, threaded)]
            for _ in range(2):
                for handle in handles:
                    await left_or_ended(kernel, handle)
                clock.advance("1h")
            assert [await handle.result() for handle in handles] == [1, 2, 3, 4, 5]

    asyncio.run(main())


def test_a_step_that_runs_keeps_it_there(place: StoreSource) -> None:
    go: asyncio.Event

    @step
    async def works() -> int:
        await go.wait()
        return 1

    @blueprint(name="works")
    async def work() -> Any:
        return await asyncio.gather(works(), stepwell.sleep("1h"))

    async def main() -> None:
        nonlocal go
        go = asyncio.Event()
        clock = ManualClock()
        async with opened(place, clock) as kernel:
            handle = await kernel.start(work)
            await kept(kernel, handle)
            assert (await handle.execution()).state == "running"
            go.set()
            await left(kernel, handle)
            clock.advance("1h")
            assert await handle.result() == [1, None]

    asyncio.run(main())


def test_steps_in_finally_neither_run_nor_keep_it_when_it_leaves(
    place: StoreSource, caplog: pytest.LogCaptureFixture
) -> None:
    @blueprint(name="cleans")
    async def cleans() -> str:
        try:
            try:
                await stepwell.sleep("1h")
            finally:
                await echo("clean")
        finally:
            await echo("really clean")
        return "done"

    async def main() -> None:
        clock = ManualClock()
        async with opened(place, clock) as kernel:
            handle = await kernel.start(cleans)
            await left(kernel, handle)
            assert calls == []
            clock.advance("1h")
            assert await handle.result() == "done"

    with caplog.at_level(logging.WARNING):
        asyncio.run(main())
    assert calls == ["clean", "really clean"]
    assert caplog.text == ""


def test_outside_a_kernel_it_is_a_plain_sleep() -> None:
    asyncio.run(naps.fn(0))
    blocking.sleep(0)
    with pytest.raises(ValidationError):
        stepwell.sleep("a while")


# --- timers -------------------------------------------------------------------------------------------------------


def test_timers_that_were_taken_out_are_not_kept() -> None:
    async def main() -> None:
        timers = Timers(ManualClock(), asyncio.get_running_loop())
        rung: list[int] = []
        for number in range(1000):
            timers.at(10**18 * 2 + number, lambda: rung.append(1)).cancel()
        assert len(timers) < 200
        timers.close()
        assert rung == []

    asyncio.run(main())


def test_a_timer_that_fails_does_not_stop_the_others() -> None:
    async def main() -> None:
        clock, rung = ManualClock(), asyncio.Event()
        loop = asyncio.get_running_loop()
        failures: list[Any] = []
        loop.set_exception_handler(lambda _, context: failures.append(context["exception"]))
        timers = Timers(clock, loop)
        timers.at(clock.now_ns() + 1, lambda: 1 // 0)
        timers.at(clock.now_ns() + 2, rung.set)
        clock.advance(1)
        await rung.wait()
        assert [type(failure) for failure in failures] == [ZeroDivisionError]
        timers.close()

    asyncio.run(main())


def test_who_keeps_a_handle_does_not_keep_what_has_left_memory(place: StoreSource) -> None:
    async def main() -> None:
        async with opened(place, ManualClock()) as kernel:
            handle = await kernel.start(naps, 1)
            gone = weakref.ref(kernel.running(handle.id))
            await left(kernel, handle)
            while gone() is not None:
                gc.collect()
                await asyncio.sleep(0)

    asyncio.run(main())
