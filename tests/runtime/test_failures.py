"""Failures, retries, time-outs, and the options that say so."""

import asyncio
import time
from typing import Any

import pytest

from runtime.common import QUICK, broken, calls, echo, run
from stepwell import (
    ExecutionError,
    Kernel,
    RetryPolicy,
    ValidationError,
    blueprint,
    step,
)
from stepwell.errors import KernelClosed
from stepwell.runtime import current_step
from stepwell.store.memory import MemorySource


def test_a_failed_step_fails_the_same_way_on_replay(source: MemorySource) -> None:
    @blueprint(name="fails the same")
    async def work() -> list[Any]:
        try:
            await broken("no such thing")
        except ExecutionError as error:
            caught = error
        live = type(caught.__cause__).__name__
        calls.append(live)
        await echo(1)
        if len(calls) == 3:
            await asyncio.Event().wait()  # the first life ends here
        return [caught.category, caught.code, caught.message, caught.exception_type, caught.attempt]

    async def first() -> None:
        async with Kernel(source, tenant="acme") as kernel:
            handle = await kernel.start(work, key="k")
            while len(calls) < 3:
                await asyncio.sleep(0)
            with pytest.raises(TimeoutError):
                await handle.result(timeout=0.01)

    asyncio.run(first())
    assert calls == ["no such thing", "LookupError", 1]
    result = run(source, work)
    assert result[2:] == ["no such thing", "LookupError", 1]
    assert calls[3:] == ["NoneType"]


def test_an_uncaught_error_fails_the_execution(source: MemorySource) -> None:
    @blueprint(name="uncaught")
    async def work() -> None:
        await broken("oh")

    async def main(live: bool) -> None:
        async with Kernel(source, tenant="acme") as kernel:
            handle = await kernel.start(work, key="k")
            for _ in range(2):
                with pytest.raises(ExecutionError, match="oh") as raised:
                    await handle.result()
                assert raised.value.exception_type == "LookupError"
            assert isinstance(raised.value.__cause__, LookupError) == live
            assert (await handle.execution()).state == "failed"

    asyncio.run(main(live=True))
    asyncio.run(main(live=False))
    assert calls == ["oh"]


def test_retries_by_policy(source: MemorySource) -> None:
    @step(retry=QUICK)
    async def third_time_lucky() -> int:
        calls.append(current_step().attempt)
        if current_step().attempt < 3:
            raise ConnectionError("not yet")
        return current_step().attempt

    @step(retry=QUICK)
    async def never_lucky() -> None:
        calls.append("never")
        raise ConnectionError(f"attempt {current_step().attempt}")

    @blueprint(name="retries")
    async def work() -> list[Any]:
        value = await third_time_lucky()
        try:
            await never_lucky()
        except ExecutionError as error:
            return [value, error.message, error.attempt]
        return []

    async def main() -> None:
        async with Kernel(source, tenant="acme") as kernel:
            handle = await kernel.start(work, key="k")
            assert await handle.result() == [3, "attempt 3", 3]
            lucky, unlucky = (await handle.execution()).steps.values()
            assert [attempt.error is None for attempt in lucky.attempts] == [False, False, True]
            assert [attempt.error.message for attempt in unlucky.attempts if attempt.error] == [
                f"attempt {number}" for number in (1, 2, 3)
            ]

    asyncio.run(main())
    assert calls == [1, 2, 3, "never", "never", "never"]


@pytest.mark.parametrize(
    ("options", "error", "tries"),
    [
        ({"retry": QUICK}, TypeError("a defect"), 1),
        ({"retry": QUICK, "retry_on": (ValueError,)}, ConnectionError("other"), 1),
        ({"retry": QUICK, "retry_on": (OSError,)}, ConnectionError("this one"), 3),
        ({"retry": QUICK}, ExecutionError("validation", "bad", "fatal"), 1),
        (
            {},
            ExecutionError("network", "x", "its own", retry_policy=RetryPolicy.attempts(2, base_delay_ms=0)),
            2,
        ),
        ({"retry": RetryPolicy.never()}, ConnectionError("once"), 1),
    ],
)
def test_what_is_tried_again(
    source: MemorySource, options: dict[str, Any], error: Exception, tries: int
) -> None:
    @step(**options)
    async def fails() -> None:
        calls.append(1)
        raise error

    @blueprint(name="tried again")
    async def work() -> None:
        await fails()

    with pytest.raises(ExecutionError):
        run(source, work)
    assert len(calls) == tries


def test_between_attempts_the_execution_waits_and_a_restart_keeps_the_time(source: MemorySource) -> None:
    @step(retry=RetryPolicy.attempts(2, backoff="fixed", base_delay_ms=300, jitter=False))
    async def second_time() -> int:
        calls.append(time.monotonic())
        if len(calls) == 1:
            raise ConnectionError("first")
        return len(calls)

    @blueprint(name="waits")
    async def work() -> int:
        return await second_time()

    async def first() -> None:
        async with Kernel(source, tenant="acme") as kernel:
            handle = await kernel.start(work, key="k")
            while (row := (await kernel.list())[0]).state != "waiting":
                await asyncio.sleep(0)
            assert (row.wait_reason, handle.id) == ("timer", row.id)
            assert row.wake_at_ns == row.updated_at_ns + 300_000_000 or row.wake_at_ns is not None

    asyncio.run(first())
    assert run(source, work) == 2
    assert calls[1] - calls[0] >= 0.29


def test_an_interrupted_step_runs_again_and_that_is_no_failed_try(source: MemorySource) -> None:
    @step(retry=RetryPolicy.never())
    async def slow() -> int:
        calls.append(current_step().idempotency_key)
        if len(calls) == 1:
            await asyncio.Event().wait()
        return current_step().attempt

    @blueprint(name="interrupted")
    async def work() -> int:
        return await slow()

    async def first() -> None:
        async with Kernel(source, tenant="acme") as kernel:
            handle = await kernel.start(work, key="k")
            while not calls:
                await asyncio.sleep(0)
            waiting = asyncio.ensure_future(handle.result())
            await asyncio.sleep(0)
            assert await kernel.close() == [handle.id]
            with pytest.raises(KernelClosed):
                await waiting

    async def second() -> None:
        async with Kernel(source, tenant="acme") as kernel:
            handle = await kernel.start(work, key="k")
            assert await handle.result() == 2
            (only,) = (await handle.execution()).steps.values()
            assert [attempt.error and attempt.error.code for attempt in only.attempts] == [
                "interrupted",
                None,
            ]

    asyncio.run(first())
    asyncio.run(second())
    assert calls[0] == calls[1]


def test_a_timeout_bounds_an_attempt(source: MemorySource) -> None:
    @step(timeout="20ms", retry=RetryPolicy.attempts(2, base_delay_ms=0))
    async def hangs() -> None:
        calls.append(1)
        await asyncio.Event().wait()

    @blueprint(name="timeout")
    async def work() -> Any:
        try:
            await hangs()
        except ExecutionError as error:
            return [error.category, error.code]

    assert run(source, work) == ["timeout", "step_timeout"]
    assert len(calls) == 2


def test_a_keyed_step_is_recorded_before_it_runs(source: MemorySource) -> None:
    @blueprint(name="keyed")
    async def work() -> int:
        return await keyed()

    seen: list[list[str]] = []

    @step(effect="keyed")
    async def keyed() -> int:
        found = []
        while page := source.open("acme").load(current_step().execution_id, len(found) - 1).wait():
            found += page
        seen.append([record[2] for record in found])
        return 1

    assert run(source, work) == 1
    assert seen == [["created", "start", "step_started"]]


@pytest.mark.parametrize(
    "options",
    [
        {"effect": "twice"},
        {"retry": 3},
        {"retry_on": ValueError},
        {"retry_on": (KeyboardInterrupt,)},
        {"type": "nonsense"},
        {"timeout": "soon"},
        {"timeout": -1},
        {"name": ""},
        {"retry": RetryPolicy(requires_idempotency_key=True)},
    ],
)
def test_options_that_cannot_be_are_refused_where_they_are_written(options: dict[str, Any]) -> None:
    async def work() -> None: ...

    with pytest.raises(ValidationError):
        step(**options)(work)
    with pytest.raises(ValidationError, match="def"):
        step(timeout=1)(lambda: None)
