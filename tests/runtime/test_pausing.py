"""Pausing and deadlines."""

import asyncio
from functools import partial

import pytest

import stepwell
from runtime.common import calls
from runtime.stops import (
    begun,
    code_of,
    endless,
    error_of,
    held_step,
    in_kernel,
    in_state,
    note,
    steps_of,
    until,
)
from stepwell import Kernel, ManualClock, ResourceLimits, TenantContext, blueprint, run_step, step
from stepwell.store import StoreSource

HOUR = ResourceLimits(max_wall_time_ms=3_600_000)


def test_a_pause_interrupts_and_resume_goes_on(anywhere: StoreSource) -> None:
    @step
    async def once_more() -> str:
        calls.append("tried")
        if len(calls) == 1:
            await asyncio.Event().wait()
        return "done"

    @blueprint(name="paused")
    async def work() -> str:
        return str(await once_more())

    async def main(kernel: Kernel) -> None:
        handle = await begun(kernel, work)
        assert await handle.pause("hold on")
        execution = await handle.execution()
        assert (str(execution.state), execution.reason) == ("paused", "hold on")
        await in_state(kernel, handle.id, "paused")
        assert await steps_of(handle) == [("once_more", "pending")]
        await handle.resume()
        assert await handle.result(timeout=30) == "done"
        (found,) = (await handle.execution()).steps.values()
        assert [past.error and past.error.code for past in found.attempts] == ["interrupted", None]
        assert not await handle.pause(), "it has ended"

    in_kernel(anywhere, main)


@pytest.mark.parametrize("linger_s", [0, 60])
@pytest.mark.parametrize("what", ["step", "steps", "wait", "host"])
def test_it_is_recorded_when_pause_returns(anywhere: StoreSource, what: str, linger_s: float) -> None:
    """At whatever moment it is asked for, where nothing runs that cannot be interrupted."""

    @blueprint(name=f"paused in a {what}")
    async def work() -> None:
        if what == "step":
            await endless()
        elif what == "steps":
            await asyncio.gather(note(1), endless(), stepwell.map(endless, [1, 2]))
        elif what == "wait":
            await stepwell.wait_for("never")
        else:
            await asyncio.Event().wait()

    async def main(kernel: Kernel) -> None:
        kernel.linger_s = linger_s
        for turns in range(25):
            handle = await kernel.start(work)
            for _ in range(turns):
                await asyncio.sleep(0)
            assert await handle.pause("hold on")
            (row,) = await kernel.list(limit=1)
            assert (row.id, row.state) == (handle.id, "paused"), turns
            assert (await handle.execution()).reason == "hold on"

    in_kernel(anywhere, main)


def test_it_is_recorded_when_a_pause_of_what_is_just_taken_up_returns(anywhere: StoreSource) -> None:
    @blueprint(name="paused while it is taken up")
    async def work() -> None:
        await endless()

    async def begin(kernel: Kernel) -> str:
        handle = await kernel.start(work)
        await until(lambda: calls)
        return handle.id

    async def ask(kernel: Kernel, known: str, turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        handle = await kernel.get(known)
        assert await handle.pause()
        assert (await kernel.list(limit=1))[0].state == "paused", turns
        await handle.cancel()

    for turns in range(12):
        known = in_kernel(anywhere, begin)
        in_kernel(anywhere, partial(ask, known=known, turns=turns))


def test_a_def_step_ends_before_what_it_belongs_to_is_left(anywhere: StoreSource) -> None:
    slow, entered, go = held_step()

    @blueprint(name="slow")
    async def work() -> str:
        return str(await run_step(slow)) + str(await note("next"))

    async def main(kernel: Kernel) -> None:
        handle = await kernel.start(work)
        await until(entered.is_set)
        await handle.pause()
        assert (await handle.execution()).state == "paused"
        resuming = asyncio.create_task(handle.resume())
        await asyncio.sleep(0)
        go.set()
        await resuming
        assert await handle.result(timeout=30) == "keptnext"
        assert [state for _, state in await steps_of(handle)] == ["completed", "completed"]
        assert (await handle.execution()).steps[(await handle.execution()).step_order[0]].attempt == 1

    in_kernel(anywhere, main)
    assert calls == ["next"]


def test_cancelled_while_a_paused_def_step_runs(anywhere: StoreSource) -> None:
    slow, entered, go = held_step()

    @blueprint(name="slow and cancelled")
    async def work() -> None:
        try:
            await run_step(slow)
        finally:
            await note("cleanup")

    async def main(kernel: Kernel) -> None:
        handle = await kernel.start(work)
        await until(entered.is_set)
        await handle.pause()
        run = kernel.running(handle.id)
        assert run is not None
        await handle.cancel("after all")
        await until(lambda: run.stop is not None and run.stop.heard)
        go.set()
        error = await error_of(handle)
        assert (error.code, error.message) == ("cancelled", "after all")

    in_kernel(anywhere, main)
    assert calls == ["cleanup"]


def test_a_waiting_execution_is_paused_and_waits_on(anywhere: StoreSource) -> None:
    clock = ManualClock()

    @blueprint(name="waits")
    async def work() -> str:
        await stepwell.sleep("1h")
        return str(await stepwell.wait_for("go"))

    async def main(kernel: Kernel) -> None:
        kernel.linger_s = 0
        handle = await kernel.start(work)
        await in_state(kernel, handle.id, "waiting")
        async with Kernel(anywhere, tenant="acme", execute=False, clock=clock) as other:
            await (await other.get(handle.id)).pause()
            await in_state(kernel, handle.id, "paused")
            clock.advance("2h")
            await handle.signal("go", "went")
            await kernel.recovered()
            assert (await kernel.store.get(handle.id)).state == "paused"
            await (await other.get(handle.id)).resume()
        assert await handle.result(timeout=30) == "went"

    in_kernel(anywhere, main, clock=clock)


def test_paused_executions_stay_so_in_the_next_life(anywhere: StoreSource) -> None:
    @blueprint(name="stays paused")
    async def work() -> str:
        return await endless() if not calls else "went on"

    async def begin(kernel: Kernel) -> str:
        handle = await begun(kernel, work)
        await handle.pause()
        return handle.id

    known = in_kernel(anywhere, begin)

    async def end(kernel: Kernel) -> None:
        await kernel.recovered()
        assert (await kernel.store.get(known)).state == "paused"

    in_kernel(anywhere, end)


@pytest.mark.parametrize("paused", [False, True])
@pytest.mark.parametrize("executes", [False, True])
def test_a_resume_before_the_start_starts_nothing_early(
    anywhere: StoreSource, paused: bool, executes: bool
) -> None:
    """A wish to pause ends with it."""

    @blueprint(name="paused before its start")
    async def work() -> str:
        return str(await note("done"))

    clock = ManualClock()

    async def main(kernel: Kernel) -> None:
        handle = await kernel.start(work, at="1h")
        before = await kernel.store.get(handle.id)
        async with Kernel(anywhere, tenant="acme", execute=executes, clock=clock) as other:
            for _ in range(2):
                if paused:
                    assert await handle.pause()
                await (await other.get(handle.id)).resume()
            await other.recovered()
        await kernel.recovered()
        assert await kernel.store.get(handle.id) == before
        clock.advance("59m")
        await kernel.recovered()
        assert await kernel.store.get(handle.id) == before
        clock.advance("1m")
        assert await handle.result(timeout=30) == "done"
        assert await kernel.store.inbox(handle.id, 0, 10) == []

    in_kernel(anywhere, main, clock=clock)


def test_a_pause_after_that_holds(anywhere: StoreSource) -> None:
    @blueprint(name="paused again before its start")
    async def work() -> str:
        return str(await note("done"))

    clock = ManualClock()

    async def main(kernel: Kernel) -> None:
        handle = await kernel.start(work, at="1h")
        await handle.pause()
        await handle.resume()
        await handle.pause("after all")
        clock.advance("1h")
        await in_state(kernel, handle.id, "paused")
        assert (await handle.execution()).reason == "after all"
        await handle.resume()
        assert await handle.result(timeout=30) == "done"

    in_kernel(anywhere, main, clock=clock)


# --- deadlines ----------------------------------------------------------------------------------------------------


def test_a_deadline_stops_what_runs(anywhere: StoreSource) -> None:
    clock = ManualClock()

    @blueprint(name="too long")
    async def work() -> None:
        try:
            await endless()
        finally:
            await note("cleanup")

    async def main(kernel: Kernel) -> None:
        handle = await begun(kernel, work)
        clock.advance("59m59s")
        assert (await kernel.store.get(handle.id)).state == "running"
        clock.advance("1s")
        assert code_of(await error_of(handle)) == ("quota_exceeded", "max_wall_time_ms")
        assert (await handle.execution()).state == "failed"
        assert await steps_of(handle) == [("endless", "cancelled"), ("note", "completed")]

    in_kernel(anywhere, main, clock=clock, limits=HOUR)


def test_the_cleanup_after_a_deadline_may_run_steps_however_late_it_is(anywhere: StoreSource) -> None:
    clock = ManualClock()
    hold: list[bool] = [True]

    @blueprint(name="much too long")
    async def work() -> None:
        try:
            await endless()
        finally:
            await note("one")
            if hold:
                await asyncio.Event().wait()
            await note("two")

    async def begin(kernel: Kernel) -> str:
        handle = await begun(kernel, work)
        clock.advance("2h")
        await until(lambda: "one" in calls)
        return handle.id

    known = in_kernel(anywhere, begin, clock=clock, limits=HOUR)
    hold.clear()

    async def end(kernel: Kernel) -> None:
        handle = await kernel.get(known)
        assert code_of(await error_of(handle)) == ("quota_exceeded", "max_wall_time_ms")
        assert [state for _, state in await steps_of(handle)] == ["cancelled", "completed", "completed"]

    in_kernel(anywhere, end, clock=clock, limits=HOUR)
    assert calls[-1] == "two"


def test_a_tenant_is_warned_of_a_deadline_once(anywhere: StoreSource) -> None:
    clock = ManualClock()
    warned: list[tuple[str, float, float]] = []
    tenant = TenantContext(
        "acme", limits=HOUR, on_warning=lambda told: warned.append((told.limit, told.used, told.maximum))
    )

    @blueprint(name="nearly too long")
    async def work() -> None:
        await endless()

    async def main() -> None:
        async with Kernel(anywhere, tenant=tenant, clock=clock) as kernel, asyncio.timeout(60):
            handle = await kernel.start(work)
            await until(lambda: calls)
            clock.advance("47m59s")
            await asyncio.sleep(0)
            assert not warned
            clock.advance("1s")
            await until(lambda: warned)
            clock.advance("1h")
            assert code_of(await error_of(handle)) == ("quota_exceeded", "max_wall_time_ms")

    asyncio.run(main())
    assert warned == [("max_wall_time_ms", 2_880_000, 3_600_000)]


def test_a_deadline_is_kept_outside_memory(anywhere: StoreSource) -> None:
    clock = ManualClock()

    @blueprint(name="waits too long")
    async def work() -> None:
        try:
            await stepwell.wait_for("never")
        finally:
            await note("cleanup")

    async def main(kernel: Kernel) -> None:
        kernel.linger_s = 0
        handle = await kernel.start(work)
        await in_state(kernel, handle.id, "waiting")
        clock.advance("1h")
        assert code_of(await error_of(handle)) == ("quota_exceeded", "max_wall_time_ms")

    in_kernel(anywhere, main, clock=clock, limits=HOUR)
    assert calls == ["cleanup"]


def test_a_deadline_that_passed_is_kept_by_a_kernel_without_limits(anywhere: StoreSource) -> None:
    clock = ManualClock()
    hold: list[bool] = [True]

    @blueprint(name="interrupted in its cleanup")
    async def work() -> None:
        try:
            await endless()
        finally:
            await note("one")
            if hold:
                await asyncio.Event().wait()
            await note("two")

    async def begin(kernel: Kernel) -> str:
        handle = await begun(kernel, work)
        clock.advance("1h")
        await until(lambda: "one" in calls)
        return handle.id

    known = in_kernel(anywhere, begin, clock=clock, limits=HOUR)
    hold.clear()

    async def end(kernel: Kernel) -> None:
        assert code_of(await error_of(await kernel.get(known))) == ("quota_exceeded", "max_wall_time_ms")

    in_kernel(anywhere, end, clock=clock)
    assert calls in (
        ["endless", "endless ended", "one", "two"],
        ["endless", "endless ended", "one", "one", "two"],
    )


def test_other_limits(anywhere: StoreSource) -> None:
    @blueprint(name="many steps")
    async def work() -> None:
        for number in range(5):
            await note(number)

    async def main(kernel: Kernel) -> None:
        handle = await kernel.start(work)
        assert code_of(await error_of(handle)) == ("quota_exceeded", "max_steps")

    in_kernel(anywhere, main, limits=ResourceLimits(max_steps=3))
    assert calls == [0, 1, 2]
