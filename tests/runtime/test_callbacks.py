"""Callbacks: answers from outside, of which the first counts, and times that pass without one."""

import asyncio
import io
from pathlib import Path
from typing import Any

import pytest

import stepwell
from runtime.asleep import left, names, opened, place, until
from runtime.common import QUICK, calls, echo
from stepwell import ExecutionError, Kernel, ManualClock, NotFound, ValidationError, blocking, blueprint
from stepwell.store import StoreSource, export, import_
from stepwell.store.memory import MemorySource
from stepwell.store.sqlite import SqliteSource

__all__ = ["place"]


@blueprint(name="calls back")
async def calls_back(timeout: str | None = None, heartbeat: str | None = None) -> Any:
    answer = await stepwell.callback("answer", timeout=timeout, heartbeat_timeout=heartbeat)
    await echo(answer.id)
    return await answer.result()


@blueprint(name="calls back too")
def calls_back_too(timeout: str | None = None, heartbeat: str | None = None) -> Any:
    answer = blocking.callback("answer", timeout=timeout, heartbeat_timeout=heartbeat)
    echo(answer.id)
    return answer.result()


@blueprint(name="submits")
async def submits(timeout: str | None = None, heartbeat: str | None = None) -> Any:
    return await stepwell.wait_for_callback(
        calls.append, "answer", timeout=timeout, heartbeat_timeout=heartbeat, type=None
    )


@blueprint(name="submits too")
def submits_too(timeout: str | None = None, heartbeat: str | None = None) -> Any:
    return blocking.wait_for_callback(calls.append, "answer", timeout=timeout, heartbeat_timeout=heartbeat)


ALL = [calls_back, calls_back_too, submits, submits_too]


@pytest.mark.parametrize("which", ALL)
def test_the_first_answer_counts_and_every_repetition_hears_the_same(place: StoreSource, which: Any) -> None:
    async def main() -> None:
        async with opened(place, ManualClock()) as kernel:
            handle = await kernel.start(which)
            row = await left(kernel, handle)
            assert (row.wait_reason, row.wake_at_ns) == ("external", None)
            (answer,) = calls
            assert await kernel.complete_callback(answer, {"n": 1})
            for _ in range(2):
                assert await kernel.complete_callback(answer, {"n": 1})
                assert not await kernel.complete_callback(answer, {"n": 2})
                assert not await kernel.fail_callback(answer, "too late")
                assert await handle.result() == {"n": 1}
            assert not await kernel.heartbeat_callback(answer)
        assert calls == [answer], "it was submitted once"

    asyncio.run(main())


@pytest.mark.parametrize("which", ALL)
@pytest.mark.parametrize(
    "error", ["no", LookupError("no"), ExecutionError("network", None, "no", provider="p")]
)
def test_an_answer_may_be_an_error(place: StoreSource, which: Any, error: Any) -> None:
    async def main() -> None:
        async with opened(place, ManualClock()) as kernel:
            handle = await kernel.start(which)
            await left(kernel, handle)
            (answer,) = calls
            for _ in range(2):
                assert await kernel.fail_callback(answer, error)
            assert not await kernel.complete_callback(answer, 1)
            with pytest.raises(ExecutionError, match="no") as raised:
                await handle.result()
            assert await kernel.fail_callback(answer, error)
            assert raised.value.step_id == answer
            assert raised.value.category == ("network" if isinstance(error, ExecutionError) else "tool")

    asyncio.run(main())


@pytest.mark.parametrize("which", ALL)
def test_an_answer_while_no_kernel_runs_it(place: StoreSource, which: Any) -> None:
    async def first() -> None:
        async with opened(place, ManualClock()) as kernel:
            await left(kernel, await kernel.start(which, key="k"))

    async def between() -> None:
        async with Kernel(place, tenant="acme", execute=False) as kernel:
            assert await kernel.heartbeat_callback(calls[0])
            assert await kernel.complete_callback(calls[0], 7)
            assert not await kernel.fail_callback(calls[0], "other")

    async def last() -> None:
        async with opened(place, ManualClock()) as kernel:
            assert await kernel.run(which, key="k") == 7

    asyncio.run(first())
    asyncio.run(between())
    asyncio.run(last())
    assert len(calls) == 1


def test_unknown_and_foreign_ids_are_not_found(place: StoreSource) -> None:
    async def main() -> None:
        async with opened(place, ManualClock()) as kernel:
            handle = await kernel.start(calls_back)
            await left(kernel, handle)
            async with Kernel(place, tenant="other", execute=False) as other:
                words = set()
                for known in calls[0], "step_00000000000000000000000000":
                    for answer in (
                        other.complete_callback(known, 1),
                        other.fail_callback(known, "no"),
                        other.heartbeat_callback(known),
                    ):
                        with pytest.raises(NotFound) as raised:
                            await answer
                        words.add(str(raised.value).replace(known, "…"))
                assert len(words) == 1
            with pytest.raises(NotFound):
                await kernel.complete_callback("nonsense", 1)
            with pytest.raises(NotFound):
                await kernel.complete_callback(handle.id, 1)
            for other_step in (await handle.execution()).steps.values():
                if other_step.id != calls[0]:
                    with pytest.raises(NotFound):
                        await kernel.complete_callback(other_step.id, 1)
            with pytest.raises(ValidationError):
                await kernel.complete_callback(3, 1)  # type: ignore[arg-type]
            with pytest.raises(ValidationError):
                await kernel.fail_callback(calls[0], 3)
            assert await kernel.complete_callback(calls[0])
            assert await handle.result() is None

    asyncio.run(main())


# --- times --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ALL)
def test_a_time_out(place: StoreSource, which: Any) -> None:
    async def main() -> None:
        clock = ManualClock()
        async with opened(place, clock) as kernel:
            handle = await kernel.start(which, "1h")
            await left(kernel, handle)
            clock.advance("1h")
            with pytest.raises(ExecutionError, match="no answer came in time") as raised:
                await handle.result()
            assert (raised.value.category, raised.value.code) == ("timeout", "wait_timeout")
            assert raised.value.step_id == calls[0]
            assert not await kernel.complete_callback(calls[0], 1)

    asyncio.run(main())


@pytest.mark.parametrize("linger", [0, 1000])
@pytest.mark.parametrize("which", ALL)
def test_heartbeats_put_the_time_off_and_the_general_one_stays(
    place: StoreSource, which: Any, linger: float
) -> None:
    """In memory and out of it; the first one is due an interval after the callback is there."""

    async def main() -> None:
        clock = ManualClock()
        async with opened(place, clock, linger) as kernel:
            late, busy = await kernel.start(which, "1h", "10m"), await kernel.start(which, "1h", "10m")
            await until(lambda: _are_waiting(kernel, late.id, busy.id))
            first, second = [(await _callback(handle)).id for handle in (late, busy)]
            for _ in range(2):
                clock.advance("9m")
                assert await kernel.heartbeat_callback(first)
                assert await kernel.heartbeat_callback(second)
            clock.advance("9m")
            assert await kernel.heartbeat_callback(second)
            clock.advance("1m")
            with pytest.raises(ExecutionError, match="no heartbeat came in time") as raised:
                await late.result()
            assert raised.value.code == "heartbeat_timeout"
            for _ in range(3):
                clock.advance("8m")
                assert await kernel.heartbeat_callback(second)
            clock.advance("8m")
            with pytest.raises(ExecutionError) as raised:
                await busy.result()
            assert raised.value.code == "wait_timeout"
            assert not await kernel.heartbeat_callback(second)

    asyncio.run(main())


async def _are_waiting(kernel: Kernel, *known: str) -> bool:
    return all([(await kernel.store.get(one)).state == "waiting" for one in known])


async def _callback(handle: Any) -> Any:
    steps = (await handle.execution()).steps.values()
    return next(one for one in steps if one.step_type == "wait")


def test_heartbeats_do_not_wear_an_execution_out(place: StoreSource) -> None:
    """It is woken when the time of the heartbeat before has come, and goes on waiting: its row says the new one."""

    async def main() -> None:
        clock = ManualClock()
        async with opened(place, clock) as kernel:
            handle = await kernel.start(calls_back, None, "10m")
            for _ in range(8):
                row = await left(kernel, handle)
                assert row.claims == 0
                clock.advance("9m")
                assert await kernel.heartbeat_callback(calls[0])
                clock.advance("1m")
                now = clock.now_ns()
                await until(lambda now=now: _wakes_after(kernel, handle.id, now))
            await left(kernel, handle)
            assert await kernel.heartbeat_callback(calls[0])
            assert await kernel.complete_callback(calls[0], 1)
            assert await handle.result() == 1
            assert await kernel.store.inbox(handle.id) == []

    asyncio.run(main())


async def _wakes_after(kernel: Kernel, known: str, now: int) -> bool:
    wake_at = (await kernel.store.get(known)).wake_at_ns
    return wake_at is not None and wake_at > now


@pytest.mark.parametrize("linger", [0, 1000])
def test_a_time_out_while_the_blueprint_is_elsewhere_is_recorded_then(
    place: StoreSource, linger: float
) -> None:
    @blueprint(name="elsewhere")
    async def elsewhere() -> str:
        answer = await stepwell.callback(timeout="1h")
        calls.append(answer.id)
        await stepwell.wait_for("go on")
        try:
            await answer.result()
        except ExecutionError as error:
            return f"{error.category}/{error.code}"
        return "answered"

    async def main() -> None:
        clock = ManualClock()
        async with opened(place, clock, linger) as kernel:
            handle = await kernel.start(elsewhere)
            await until(lambda: _are_waiting(kernel, handle.id))
            clock.advance("2h")

            async def failed() -> bool:
                return bool((await _callback(handle)).state == "failed")

            await until(failed)
            execution = await handle.execution()
            assert [str(one.state) for one in execution.steps.values()] == ["failed", "running"]
            assert not await kernel.complete_callback(calls[0], 1)
            await handle.signal("go on")
            assert await handle.result() == "timeout/wait_timeout"

    asyncio.run(main())


def test_an_answer_before_anybody_asks_for_it(place: StoreSource) -> None:
    @blueprint(name="late")
    async def late() -> Any:
        answer = await stepwell.callback()
        calls.append(answer.id)
        await stepwell.wait_for("go on")
        return await asyncio.gather(answer.result(), answer.result())

    async def main() -> None:
        async with opened(place, ManualClock()) as kernel:
            handle = await kernel.start(late)
            await left(kernel, handle)
            assert await kernel.complete_callback(calls[0], 7)
            await left(kernel, handle)
            await handle.signal("go on")
            assert await handle.result() == [7, 7]
            assert {*calls} == {calls[0]}, "the id is the same on every replay"

    asyncio.run(main())


def test_a_callback_that_is_never_asked_for_does_not_hold_its_execution_up(place: StoreSource) -> None:
    @blueprint(name="forgets")
    async def forgets() -> str:
        await stepwell.callback(timeout="1h")
        return "done"

    async def main() -> None:
        async with opened(place, ManualClock()) as kernel:
            handle = await kernel.start(forgets)
            assert await handle.result() == "done"
            assert await names(handle) == [("callback", "cancelled", 1)]

    asyncio.run(main())


# --- wait_for_callback --------------------------------------------------------------------------------------------


def test_the_submission_is_a_step_with_retries_and_the_wait_ends_with_it(place: StoreSource) -> None:
    def submit(known: str) -> None:
        calls.append(known)
        raise ConnectionError("nobody there")

    @blueprint(name="cannot submit")
    async def cannot_submit() -> str:
        try:
            await stepwell.wait_for_callback(submit, "out", timeout="1h", retry=QUICK)
        except ExecutionError as error:
            return f"{error.category} {error.cause and error.cause.attempt}"
        return "submitted"

    async def main() -> None:
        clock = ManualClock()
        async with opened(place, clock) as kernel:
            handle = await kernel.start(cannot_submit)
            for attempt in (1, 2):
                await until(lambda attempt=attempt: _has_called(attempt))
                await left(kernel, handle)
                clock.advance("1s")
            assert await handle.result() == "network 3"
            assert await names(handle) == [
                ("out", "failed", 1),
                ("callback", "cancelled", 1),
                ("submit", "failed", 3),
            ]
        assert len(calls) == 3
        assert len({*calls}) == 1

    asyncio.run(main())


async def _has_called(count: int) -> bool:
    return len(calls) == count


def test_of_wait_for_callback_options_that_cannot_be() -> None:
    for options in ({"timeout": "soon"}, {"heartbeat_timeout": -1}):
        with pytest.raises(ValidationError):
            stepwell.wait_for_callback(print, **options)  # type: ignore[arg-type]
        with pytest.raises(ValidationError):
            stepwell.callback(**options)  # type: ignore[arg-type]
    with pytest.raises(ValidationError):
        stepwell.wait_for_callback("submit")  # type: ignore[arg-type]


def test_an_answer_that_nobody_took_yet_is_exported(tmp_path: Path) -> None:
    here, there = MemorySource(), SqliteSource(tmp_path / "there.db")

    async def answered() -> str:
        async with opened(here, ManualClock()) as kernel:
            handle = await kernel.start(calls_back)
            await left(kernel, handle)
        async with Kernel(here, tenant="acme", execute=False) as kernel:
            assert await kernel.complete_callback(calls[0], "answer")
        return handle.id

    async def goes_on(known: str) -> Any:
        async with Kernel(there, tenant="acme") as kernel:
            return await (await kernel.get(known)).result(timeout=30)

    known, file = asyncio.run(answered()), io.BytesIO()
    store = here.open("acme")
    export(store, file)
    store.close()
    store = there.open("acme")
    assert import_(store, io.BytesIO(file.getvalue())).executions == 1
    store.close()
    assert asyncio.run(goes_on(known)) == "answer"
