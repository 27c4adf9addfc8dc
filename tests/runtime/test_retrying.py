"""Steps that are tried again: by the taxonomy or their policy, when the record says, and out of memory meanwhile."""

import asyncio
import threading
from datetime import timedelta
from typing import Any

import pytest

import stepwell
from runtime.asleep import left, opened, place, until
from runtime.common import calls, echo
from stepwell import (
    Backoff,
    ExecutionError,
    Kernel,
    ManualClock,
    RetryPolicy,
    ValidationError,
    blocking,
    blueprint,
    run_step,
    step,
)
from stepwell.runtime import Handle, current_step
from stepwell.store import StoreSource

__all__ = ["place"]

HOURLY = RetryPolicy.attempts(4, backoff=Backoff("linear", "1h", "2h", jitter=False))


@step(retry=HOURLY)
async def flaky(works_at: int, error: str = "ValueError") -> int:
    attempt = current_step().attempt
    calls.append(attempt)
    if attempt < works_at:
        raise {"ValueError": ValueError, "ConnectionError": ConnectionError}[error](f"attempt {attempt}")
    return attempt


@step(retry=HOURLY)
def flaky_too(works_at: int) -> int:
    attempt = current_step().attempt
    calls.append(attempt)
    if attempt < works_at:
        raise ValueError(f"attempt {attempt}")
    return attempt


@blueprint(name="tries")
async def tries(works_at: int) -> int:
    return await flaky(works_at)


@blueprint(name="tries too")
def tries_too(works_at: int) -> int:
    return flaky_too(works_at)


BOTH = [tries, tries_too]


async def tried(count: int) -> bool:
    return len(calls) == count


@pytest.mark.parametrize("which", BOTH)
def test_the_schedule_survives_restarts(place: StoreSource, which: Any) -> None:
    """One life for each attempt; in each a kernel opens before the time, and nothing is done."""
    clock = ManualClock()

    async def life(attempt: int) -> None:
        async with opened(place, clock) as kernel:
            handle = await kernel.start(which, 4, key="k")
            await until(lambda: tried(attempt))
            row = await left(kernel, handle)
            assert (row.wait_reason, row.wake_at_ns) == (
                "timer",
                clock.now_ns() + min(attempt, 2) * 3600 * 10**9,
            )
            (flaky,) = (await handle.execution()).steps.values()
            assert flaky.retry_at is not None
            assert (flaky.state, flaky.attempt, len(flaky.attempts)) == ("pending", attempt, attempt)

    async def too_early(attempt: int) -> None:
        async with opened(place, clock) as kernel:
            handle = await kernel.start(which, 4, key="k")
            await kernel.recovered()
            await left(kernel, handle)
            assert len(calls) == attempt

    async def last() -> None:
        async with opened(place, clock) as kernel:
            handle = await kernel.start(which, 4, key="k")
            assert await handle.result() == 4
            (flaky,) = (await handle.execution()).steps.values()
            assert [one.error and one.error.message for one in flaky.attempts] == [
                "attempt 1",
                "attempt 2",
                "attempt 3",
                None,
            ]
            begun = [one.started_at - flaky.attempts[0].started_at for one in flaky.attempts]
            assert begun == [timedelta(hours=hours) for hours in (0, 1, 3, 5)]

    for attempt, hours in (1, 1), (2, 2), (3, 2):
        asyncio.run(life(attempt))
        clock.advance("59m")
        asyncio.run(too_early(attempt))
        clock.advance(timedelta(hours=hours) - timedelta(minutes=59))
    asyncio.run(last())
    assert calls == [1, 2, 3, 4]


@pytest.mark.parametrize("which", BOTH)
def test_when_all_attempts_have_failed_the_last_error_is_raised(place: StoreSource, which: Any) -> None:
    async def main() -> None:
        clock = ManualClock()
        async with opened(place, clock) as kernel:
            handle = await kernel.start(which, 9)
            for attempt in (1, 2, 3):
                await until(lambda attempt=attempt: tried(attempt))
                await left(kernel, handle)
                clock.advance("2h")
            with pytest.raises(ExecutionError, match="attempt 4") as raised:
                await handle.result()
            assert raised.value.attempt == 4
            assert raised.value.exception_type == "ValueError"
            (step,) = (await handle.execution()).steps.values()
            assert step.state == "failed"
            assert [one.error.message for one in step.attempts if one.error] == [
                f"attempt {number}" for number in (1, 2, 3, 4)
            ]
            assert all(one.ended_at >= one.started_at for one in step.attempts)

    asyncio.run(main())


@pytest.mark.parametrize("which", BOTH)
def test_a_wait_for_the_next_attempt_holds_no_thread(place: StoreSource, which: Any) -> None:
    before = {*threading.enumerate()}

    async def main() -> None:
        async with opened(place, ManualClock()) as kernel:
            handles = [await kernel.start(which, 2) for _ in range(40)]
            for handle in handles:
                await left(kernel, handle)
            for thread in {*threading.enumerate()} - before:
                if thread.name == "stepwell-blueprint":
                    thread.join(10)
                    assert not thread.is_alive()
            assert kernel.runs() == ()
            assert len(calls) == 40

    asyncio.run(main())


def test_without_a_policy_the_taxonomy_decides(place: StoreSource) -> None:
    async def main() -> None:
        clock = ManualClock()
        async with opened(place, clock) as kernel:
            for error, again in (
                (ConnectionError("x"), True),
                (TimeoutError("x"), True),
                (ExecutionError("llm", "rate_limit", "x"), True),
                (ExecutionError("llm", "auth_failed", "x"), False),
                (ExecutionError("validation", None, "x"), False),
                (TypeError("x"), False),
                (PermissionError("x"), False),
            ):

                async def fails(error: Exception = error) -> None:
                    calls.append(1)
                    raise error

                @blueprint(name="by taxonomy")
                async def work(fails: Any = fails) -> None:
                    await run_step(fails)

                calls.clear()
                handle = await kernel.start(work)
                if again:
                    for attempt in (1, 2):
                        await until(lambda attempt=attempt: tried(attempt))
                        row = await left(kernel, handle)
                        assert 500 <= (row.wake_at_ns - clock.now_ns()) / 10**6 <= 1000 * attempt
                        clock.advance("2s")
                with pytest.raises(ExecutionError):
                    await handle.result()
                assert len(calls) == (3 if again else 1), error

    asyncio.run(main())


def test_fatal_errors_and_programming_errors_end_it_whatever_the_policy(place: StoreSource) -> None:
    async def main() -> None:
        async with opened(place, ManualClock()) as kernel:
            for error in ExecutionError("policy_violation", None, "x"), TypeError("x"), AssertionError("x"):

                @step(retry=HOURLY)
                async def fails(error: Exception = error) -> None:
                    calls.append(1)
                    raise error

                @blueprint(name="fatal")
                async def work(fails: Any = fails) -> None:
                    await fails()

                calls.clear()
                with pytest.raises(ExecutionError):
                    await kernel.run(work)
                assert calls == [1]

    asyncio.run(main())


def test_retry_on_names_the_classes_that_are_tried_again(place: StoreSource) -> None:
    class Busy(ConnectionError):
        pass

    @step(retry=RetryPolicy.attempts(2, base_delay_ms=1), retry_on=(ConnectionError, KeyError))
    async def fails(kind: str) -> None:
        calls.append(kind)
        raise {"busy": Busy, "key": KeyError, "value": ValueError, "os": OSError}[kind](kind)

    @blueprint(name="retries on")
    async def work(kind: str) -> None:
        await fails(kind)

    async def main() -> None:
        clock = ManualClock()
        async with opened(place, clock) as kernel:
            for kind, count in (("busy", 2), ("key", 2), ("value", 1), ("os", 1)):
                calls.clear()
                handle = await kernel.start(work, kind)
                if count == 2:
                    await until(lambda: tried(1))
                    await left(kernel, handle)
                    clock.advance(1)
                with pytest.raises(ExecutionError) as raised:
                    await handle.result()
                assert len(calls) == count, kind
                assert (
                    raised.value.exception_type
                    == {
                        "busy": "Busy",
                        "key": "KeyError",
                        "value": "ValueError",
                        "os": "OSError",
                    }[kind]
                )

    asyncio.run(main())
    for wrong in ([ValueError], (1,), (BaseException,), ValueError):
        with pytest.raises(ValidationError):
            step(retry_on=wrong)(print)  # type: ignore[arg-type]


def test_while_others_work_an_attempt_comes_in_memory(place: StoreSource) -> None:
    go: asyncio.Event

    @step
    async def works() -> None:
        await go.wait()

    @blueprint(name="works beside")
    async def work() -> int:
        return (await asyncio.gather(flaky(2), works()))[0]

    async def main() -> None:
        nonlocal go
        go = asyncio.Event()
        clock = ManualClock()
        async with opened(place, clock) as kernel:
            handle = await kernel.start(work)
            await until(lambda: _is_pending(handle))
            clock.advance("1h")
            await until(lambda: tried(2))
            assert (await kernel.store.get(handle.id)).state == "running"
            go.set()
            assert await handle.result() == 2

    asyncio.run(main())


async def _is_pending(handle: Handle[Any]) -> bool:
    return any(one.state == "pending" for one in (await handle.execution()).steps.values())


def test_several_wait_for_their_next_attempts_and_each_comes_in_its_time(place: StoreSource) -> None:
    @blueprint(name="several")
    def several() -> list[int]:
        return [*blocking.map(lambda works_at: flaky_too(works_at), [2, 3, 4])]

    async def main() -> None:
        clock = ManualClock()
        async with opened(place, clock) as kernel:
            handle = await kernel.start(several)
            for count in (3, 6, 8):
                await until(lambda count=count: tried(count))
                await left(kernel, handle)
                clock.advance("2h")
            assert await handle.result() == [2, 3, 4]
        assert sorted(calls) == [1, 1, 1, 2, 2, 2, 3, 3, 4]

    asyncio.run(main())


def test_cancelling_and_pausing_between_attempts(place: StoreSource) -> None:
    async def main() -> None:
        clock = ManualClock()
        async with opened(place, clock) as kernel:
            cancelled, paused = await kernel.start(tries, 2), await kernel.start(tries, 2)
            await left(kernel, cancelled)
            await left(kernel, paused)
            assert await cancelled.cancel("enough")
            with pytest.raises(ExecutionError, match="enough"):
                await cancelled.result()
            assert await paused.pause()
            await left(kernel, paused, "paused")
            clock.advance("1h")
            await until(lambda: _looked(kernel))
            assert calls == [1, 1]
            await paused.resume()
            assert await paused.result() == 2
        assert calls == [1, 1, 2]

    asyncio.run(main())


async def _looked(kernel: Kernel) -> bool:
    """Whether the kernel has looked for what is due since it was poked."""
    await kernel.store.due(kernel.clock.now_ns())
    return not kernel.watching._poked.is_set()


def test_a_policy_that_needs_a_key(place: StoreSource) -> None:
    needs = RetryPolicy.attempts(2, base_delay_ms=1, requires_idempotency_key=True)

    @step(retry=needs, effect="keyed")
    async def keyed() -> str:
        calls.append(current_step().idempotency_key)
        raise ConnectionError("x")

    @blueprint(name="keyed")
    async def work() -> None:
        await keyed()

    async def main() -> None:
        clock = ManualClock()
        async with opened(place, clock) as kernel:
            handle = await kernel.start(work)
            await left(kernel, handle)
            clock.advance(1)
            with pytest.raises(ExecutionError):
                await handle.result()

    asyncio.run(main())
    assert len(calls) == 2
    assert len({*calls}) == 1
    with pytest.raises(ValidationError, match="keyed"):
        step(retry=needs)(echo)


def test_delays_are_spread_and_the_same_for_the_same_attempt(place: StoreSource) -> None:
    @step(retry=RetryPolicy.attempts(2, base_delay_ms=50_000))
    async def fails() -> None:
        raise ConnectionError("x")

    @blueprint(name="spread")
    async def work() -> None:
        await fails()

    async def main() -> None:
        clock = ManualClock()
        async with opened(place, clock) as kernel:
            rows = [await left(kernel, await kernel.start(work)) for _ in range(20)]
            delays = {row.wake_at_ns - clock.now_ns() for row in rows}
            assert len(delays) == 20
            assert all(25 * 10**9 <= delay <= 50 * 10**9 for delay in delays)

    asyncio.run(main())


def test_outside_a_kernel_nothing_is_tried_again() -> None:
    async def fails() -> None:
        calls.append(1)
        raise ConnectionError("x")

    with pytest.raises(ConnectionError):
        asyncio.run(stepwell.run_step(fails, retry=HOURLY))
    assert calls == [1]
