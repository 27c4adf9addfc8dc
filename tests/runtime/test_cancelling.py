"""Cancelling: what runs is reached, the code cleans up by steps, and the result says `cancelled`."""

import asyncio
import threading
from typing import Any

import pytest

import stepwell
from runtime.common import calls
from runtime.dying import run_until_death
from runtime.stops import (
    begun,
    code_of,
    endless,
    error_of,
    in_kernel,
    in_state,
    is_in,
    note,
    steps_of,
    until,
)
from stepwell import Kernel, ManualClock, blocking, blueprint, run_step, step
from stepwell.runtime import current_step, places
from stepwell.store import StoreSource
from stepwell.store.memory import MemorySource
from stepwell.testing import crash_everywhere

CANCELLED = ("tool", "cancelled")


def test_a_running_step_is_cancelled_and_the_code_cleans_up(anywhere: StoreSource) -> None:
    @blueprint(name="cleans")
    async def work() -> None:
        try:
            await endless()
        finally:
            await note("cleanup")

    async def main(kernel: Kernel) -> None:
        handle = await begun(kernel, work)
        assert await handle.cancel("no more")
        error = await error_of(handle)
        assert (code_of(error), error.message) == (CANCELLED, "no more")
        execution = await handle.execution()
        assert (str(execution.state), execution.reason) == ("cancelled", "no more")
        assert await steps_of(handle) == [("endless", "cancelled"), ("note", "completed")]
        assert not await handle.cancel(), "it has ended"
        assert code_of(await error_of(await kernel.get(handle.id))) == CANCELLED

    in_kernel(anywhere, main)
    assert calls == ["endless", "endless ended", "cleanup"]


def test_another_kernel_asks(anywhere: StoreSource) -> None:
    @blueprint(name="from outside")
    async def work() -> None:
        await endless()

    async def main(kernel: Kernel) -> None:
        handle = await begun(kernel, work)
        async with Kernel(anywhere, tenant="acme", execute=False) as other:
            far = await other.get(handle.id)
            asked = asyncio.get_running_loop().time()
            await far.cancel("from outside")
            await until(lambda: len(calls) == 2)
            assert asyncio.get_running_loop().time() - asked < 2
            assert (await error_of(far)).message == "from outside"

    in_kernel(anywhere, main)


def test_cancelled_twice_is_cancelled_once(anywhere: StoreSource) -> None:
    gate: list[asyncio.Event] = []

    @blueprint(name="twice")
    async def work() -> None:
        try:
            await endless()
        finally:
            await note("cleanup")
            await gate[0].wait()
            await note("more")

    async def main(kernel: Kernel) -> None:
        gate.append(asyncio.Event())
        handle = await begun(kernel, work)
        await handle.cancel("first")
        await until(lambda: "cleanup" in calls)
        assert await handle.cancel("second")
        assert await handle.pause("it ends")
        gate[0].set()
        assert (await error_of(handle)).message == "first"

    in_kernel(anywhere, main)
    assert calls[-2:] == ["cleanup", "more"]


def test_a_step_that_ends_anyway_keeps_its_result(anywhere: StoreSource) -> None:
    @step
    async def stubborn() -> str:
        calls.append("started")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "done all the same"
        return "unreachable"

    @blueprint(name="stubborn")
    async def work() -> None:
        calls.append(await stubborn())
        await note("never")

    async def main(kernel: Kernel) -> None:
        handle = await begun(kernel, work)
        await handle.cancel()
        assert code_of(await error_of(handle)) == CANCELLED
        assert await steps_of(handle) == [("stubborn", "completed")]
        (found,) = (await handle.execution()).steps.values()
        assert found.output == "done all the same"

    in_kernel(anywhere, main)
    assert "never" not in calls


def test_def_steps_end_where_they_check(anywhere: StoreSource) -> None:
    entered = threading.Event()

    @step
    def long() -> None:
        entered.set()
        while True:
            current_step().check()

    @step
    def cleanup() -> str:
        current_step().check()
        assert not current_step().is_stopping
        calls.append("cleanup")
        return "clean"

    @blueprint(name="checks")
    async def work() -> None:
        try:
            await run_step(long)
        finally:
            await run_step(cleanup)

    @blueprint(name="checks too")
    def in_thread() -> None:
        try:
            long()
        finally:
            cleanup()

    async def main(kernel: Kernel) -> None:
        for which in (work, in_thread):
            entered.clear()
            calls.clear()
            handle = await kernel.start(which)
            await until(entered.is_set)
            await handle.cancel()
            assert code_of(await error_of(handle)) == CANCELLED
            assert await steps_of(handle) == [("long", "cancelled"), ("cleanup", "completed")]
            assert calls == ["cleanup"]

    in_kernel(anywhere, main)


def test_a_def_blueprint_is_cancelled_where_it_calls(source: MemorySource) -> None:
    computing, go = threading.Event(), threading.Event()

    @blueprint(name="computes")
    def work() -> None:
        note(1)
        computing.set()
        assert go.wait(30)
        try:
            note("never")
        except asyncio.CancelledError:
            note("cleanup")
            raise

    @blueprint(name="in a scope")
    async def scoped() -> None:
        await stepwell.scope(work.fn)

    async def main(kernel: Kernel) -> None:
        for which in (work, scoped):
            computing.clear()
            go.clear()
            calls.clear()
            handle = await kernel.start(which)
            await until(computing.is_set)
            await handle.cancel()
            run = kernel.running(handle.id)
            assert run is not None
            await until(lambda run=run: run.stop is not None and run.stop.heard)
            go.set()
            assert code_of(await error_of(handle)) == CANCELLED
            assert calls == [1, "cleanup"]

    in_kernel(source, main)


def test_a_def_blueprint_that_waits_is_cancelled(anywhere: StoreSource) -> None:
    @blueprint(name="def waits")
    def work() -> None:
        try:
            blocking.wait_for("never")
        finally:
            note("cleanup")

    async def main(kernel: Kernel) -> None:
        handle = await kernel.start(work)
        await until(lambda: is_in(kernel, handle.id, "waiting"))
        await handle.cancel()
        assert code_of(await error_of(handle)) == CANCELLED
        assert calls == ["cleanup"]

    in_kernel(anywhere, main)


def test_code_that_swallows_it_goes_on(anywhere: StoreSource) -> None:
    @blueprint(name="swallows it")
    async def work() -> str:
        try:
            await endless()
        except asyncio.CancelledError:
            await note("went on")
        await stepwell.sleep("1h")
        return "in spite of it"

    clock = ManualClock()

    async def main(kernel: Kernel) -> None:
        handle = await begun(kernel, work)
        await handle.cancel()
        await until(lambda: is_in(kernel, handle.id, "waiting"))
        clock.advance("1h")
        assert await handle.result(timeout=30) == "in spite of it"

    in_kernel(anywhere, main, clock=clock)


def test_a_cleanup_that_fails_is_a_failure(source: MemorySource) -> None:
    @blueprint(name="fails to clean")
    async def work() -> None:
        try:
            await endless()
        finally:
            raise LookupError("no way to clean up")

    async def main(kernel: Kernel) -> None:
        handle = await begun(kernel, work)
        await handle.cancel()
        assert (await error_of(handle)).message == "no way to clean up"
        assert (await handle.execution()).state == "failed"

    in_kernel(source, main)


def test_branches_and_tasks_are_reached(anywhere: StoreSource) -> None:
    @blueprint(name="branches")
    async def work() -> None:
        async def one(name: str) -> None:
            try:
                await endless(name)
            finally:
                await note(f"cleanup {name}")

        async with asyncio.TaskGroup() as group:
            group.create_task(one("task"))
            await stepwell.map(one, ["a", "b"])

    async def main(kernel: Kernel) -> None:
        handle = await kernel.start(work)
        await until(lambda: len(calls) == 3)
        await handle.cancel()
        assert code_of(await error_of(handle)) == CANCELLED
        states = {state for _, state in await steps_of(handle)}
        assert states <= {"cancelled", "completed"}

    in_kernel(anywhere, main)
    assert "cleanup task" in calls


def test_who_waits_outside_memory_is_taken_up_to_clean_up(anywhere: StoreSource) -> None:
    @blueprint(name="waits outside")
    async def work() -> None:
        try:
            await stepwell.wait_for("never")
        finally:
            await note("cleanup")

    async def begin(kernel: Kernel) -> str:
        kernel.linger_s = 0
        handle = await kernel.start(work)
        await in_state(kernel, handle.id, "waiting")
        return handle.id

    known = in_kernel(anywhere, begin)

    async def ask(kernel: Kernel) -> None:
        await (await kernel.get(known)).cancel("asked by one who runs nothing")
        assert (await kernel.store.get(known)).state == "waiting"

    in_kernel(anywhere, ask, execute=False)
    assert calls == []

    async def end(kernel: Kernel) -> None:
        error = await error_of(await kernel.get(known))
        assert (code_of(error), error.message) == (CANCELLED, "asked by one who runs nothing")

    in_kernel(anywhere, end)
    assert calls == ["cleanup"]


@pytest.mark.parametrize("execute", [True, False])
def test_what_is_paused_or_has_not_begun_is_cancelled_as_it_stands(
    anywhere: StoreSource, execute: bool
) -> None:
    @blueprint(name="stands")
    async def work() -> None:
        try:
            await endless()
        finally:
            await note("cleanup")

    clock = ManualClock()

    async def begin(kernel: Kernel) -> list[str]:
        later = await kernel.start(work, at="1h")
        paused = await begun(kernel, work)
        await paused.pause("hold on")
        await in_state(kernel, paused.id, "paused")
        return [later.id, paused.id]

    ids = in_kernel(anywhere, begin, clock=clock)
    calls.clear()

    async def end(kernel: Kernel) -> None:
        for known in ids:
            handle = await kernel.get(known)
            await handle.cancel("not needed")
            assert (await error_of(handle)).message == "not needed"
            assert (await handle.execution()).state == "cancelled"

    in_kernel(anywhere, end, clock=clock, execute=execute)
    assert calls == []


# --- and then the process dies ------------------------------------------------------------------------------------


@pytest.mark.parametrize("stubborn", [False, True])
def test_a_crash_in_the_middle_of_the_cleanup(stubborn: bool) -> None:
    """At every write: the cleanup ends in the next life, what was done is not done again, and nothing diverges."""

    @step
    async def ask() -> None:
        kernel = places.here().run.kernel  # type: ignore[union-attr]
        await (await kernel.get(current_step().execution_id)).cancel("while it ran")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if not stubborn:
                raise

    @blueprint(name=f"crashes while cleaning {stubborn}")
    async def work() -> str:
        await note("before")
        try:
            await asyncio.sleep(0)  # a place where the next life could be cancelled instead
            try:
                await run_step(ask)
            finally:
                await note("at once")
            await note("never")
        except asyncio.CancelledError:
            await stepwell.scope(inner)
            await asyncio.create_task(inner())
        return "cleaned"

    async def inner() -> None:
        await note("two")
        await note("three")

    if not stubborn:
        assert crash_everywhere(work).result == "cleaned"
    else:  # when the wish is heard is another time in each life, and so are the places of the cleanup
        assert lives(work) > 8
    assert "never" not in calls


def lives(work: Any) -> int:
    """Runs it, killed before and after each write; the next life has to end, and clean up if none did before."""
    count = 0
    for last_is_done in (False, True):
        for writes in range(100):
            calls.clear()
            source = MemorySource()
            first = run_until_death(source, writes, last_is_done, work)
            again = first or run_until_death(source, 10**9, False, work)
            assert again == ("returned", "cleaned")
            assert {"at once", "two", "three"} <= {*calls}
            count += 1
            if first is not None:
                break
    return count


def test_the_wish_is_kept_until_the_end(source: MemorySource) -> None:
    @blueprint(name="dies in cleanup")
    async def work() -> None:
        try:
            await asyncio.sleep(0)
            await asyncio.Event().wait()
        finally:
            await note("one")
            await note("two")
            calls.append("through")

    async def ask() -> None:
        async with Kernel(source, tenant="acme", execute=False) as kernel:
            (row,) = await kernel.list()
            await (await kernel.get(row.id)).cancel("once")

    async def begin(kernel: Kernel) -> None:
        await kernel.start(work, key="k")

    in_kernel(source, begin)
    asyncio.run(ask())
    for writes in range(2, 40):
        done = _life(source, writes, work)
        if done is not None:
            break
    assert done == "cancelled"
    assert calls.count("through") >= 1
    (row,) = source.open("acme").list().wait()
    assert row.state == "cancelled"


def _life(source: MemorySource, writes: int, work: Any) -> str | None:
    try:
        done = run_until_death(source, writes, True, work)
    except stepwell.ExecutionError as error:
        return str(error.code)
    return None if done is None else "returned"
