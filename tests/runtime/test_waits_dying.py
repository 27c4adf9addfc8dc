"""Processes that die at every write while an execution waits, leaves memory, or comes back."""

import asyncio
from typing import Any

import pytest

import stepwell
from runtime.common import calls, echo
from runtime.dying import crash_often, run_until_death
from stepwell import ExecutionError, RetryPolicy, blocking, blueprint, step
from stepwell.store.memory import MemorySource
from stepwell.testing import SILENCE, crash_everywhere

SOON = RetryPolicy.attempts(3, base_delay_ms=2, jitter=False)
WORKS_AT = 2


@step(retry=SOON)
async def flaky() -> int:
    attempt = stepwell.current_step().attempt
    calls.append(attempt)
    if attempt < WORKS_AT:
        raise ConnectionError("not yet")
    return attempt


@blueprint(name="waits for everything")
async def waits() -> list[Any]:
    await stepwell.sleep("1ms")
    found = [await echo("once"), await flaky() >= WORKS_AT]
    answer = await stepwell.callback(timeout="3ms")
    await asyncio.gather(stepwell.sleep("5ms"), stepwell.sleep("1ms"))
    try:
        await answer.result()
    except ExecutionError as error:
        found.append(f"{error.code}")
    try:
        await stepwell.wait_for("nothing", timeout="1ms")
    except ExecutionError as error:
        found.append(f"{error.code}")
    found.append(await stepwell.wait_until(lambda state: (state == 1, state + 1), 0, every="1ms"))
    return found


@blueprint(name="waits for everything too")
def waits_too() -> list[Any]:
    blocking.sleep("1ms")
    found = [echo("once"), flaky() >= WORKS_AT]  # type: ignore[operator]
    answer = blocking.callback(timeout="3ms")
    blocking.sleep("5ms")
    try:
        answer.result()
    except ExecutionError as error:
        found.append(f"{error.code}")
    try:
        blocking.wait_for("nothing", timeout="1ms")
    except ExecutionError as error:
        found.append(f"{error.code}")
    found.append(blocking.wait_until(lambda state: (state == 1, state + 1), 0, every="1ms"))
    return found


WANTED = ["once", True, "wait_timeout", "wait_timeout", 2]


@pytest.mark.parametrize("which", [waits, waits_too])
def test_death_at_every_write(which: Any) -> None:
    silent = {"callback": SILENCE, "nothing": SILENCE}
    report = crash_everywhere(which, respond=silent)
    assert report.result == WANTED
    assert len(report.crashes) > 20


@pytest.mark.parametrize("which", [waits, waits_too])
def test_death_at_every_write_of_one_that_leaves_memory_at_once(
    which: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stepwell.runtime.kernel.LINGER_S", 0.0)
    monkeypatch.setattr("stepwell.runtime.watching.LOOK_IDLE_S", 0.002)
    for last_is_done in (False, True):
        for writes in range(1000):
            source = MemorySource()
            done = run_until_death(source, writes, last_is_done, which)
            if done is not None:
                assert done[1] == WANTED
                break
            assert run_until_death(source, 10**9, False, which)[1] == WANTED, writes


@pytest.mark.parametrize("which", [waits, waits_too])
def test_death_at_every_second_write_of_every_life(which: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stepwell.runtime.kernel.LINGER_S", 10.0)
    assert crash_often(which) == WANTED
