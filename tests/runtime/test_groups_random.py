"""Blueprints made up at random, killed at every write: what was seen once is seen again."""

import asyncio
from typing import Any

from hypothesis import HealthCheck, given, settings, strategies as st

import stepwell
from runtime.common import echo
from runtime.lives import Lives, killed_everywhere
from runtime.plans import PLANS, attempts, planned, seen
from stepwell import Kernel, blueprint
from stepwell._spec import EXECUTION_TERMINAL, STEP_TERMINAL


def check(lives: Lives, outcome: Any) -> None:
    executions = lives.record()
    for execution in executions:
        assert execution.state in EXECUTION_TERMINAL, execution
        for step in execution.steps.values():
            assert step.state in STEP_TERMINAL, (step.place, step.name, step.state)
            if step.parent_step_id is not None:
                group = execution.get_step(step.parent_step_id)
                assert group is not None
                assert step.place.startswith(group.place + "/")
    # One process died: what was in hand then was done once more, with `again` one time more by itself.
    assert max(attempts.values(), default=0) <= 3
    assert outcome[0] == (
        "returned" if any(row.state == "completed" for row in executions[-1:]) else "raised"
    )
    seen.clear()
    attempts.clear()


@settings(max_examples=10, suppress_health_check=list(HealthCheck))
@given(PLANS, st.sampled_from([0.0, 0.05]))
def test_killed_at_every_write(plan: Any, linger_s: float) -> None:
    seen.clear()
    attempts.clear()
    killed_everywhere(lambda: Lives(linger_s), planned, plan, "p", check=check)


@settings(max_examples=10, suppress_health_check=list(HealthCheck))
@given(PLANS, st.integers(10, 20))
def test_killed_again_and_again(plan: Any, writes: int) -> None:
    seen.clear()
    attempts.clear()
    lives = Lives()
    for life in range(300):
        outcome = lives.live(planned, plan, "p", writes=writes + 2, last_is_done=life % 2 == 0)
        if outcome is not None:
            break
    else:
        raise AssertionError("it never ends")
    attempts.clear()
    check(lives, outcome)


def test_five_thousand_items() -> None:
    @blueprint(name="many")
    async def many() -> list[int]:
        some = await stepwell.map(echo, range(5000), concurrency=64)
        return [sum(some), len(some), sum(await stepwell.map(echo, range(5000)))]

    async def main() -> None:
        async with Kernel("memory", tenant="acme") as kernel:
            handle = await kernel.start(many)
            assert await handle.result() == [12_497_500, 5000, 12_497_500]
            assert len((await handle.execution()).steps) == 10_002

    asyncio.run(main())
