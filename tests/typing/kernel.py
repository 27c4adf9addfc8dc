"""What a type checker sees of the kernel: nothing here runs, pyright reads it, and every ignore must be needed."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, assert_type

import stepwell
from stepwell import (
    Action,
    Execution,
    ExecutionError,
    ExecutionState,
    ManualClock,
    ParentLink,
    ResourceLimits,
    RetryPolicy,
    Step,
    StepRange,
    StepState,
    StepType,
    TenantContext,
    WaitReason,
)


def one_execution() -> Execution:
    ex = Execution.with_tenant("acme").with_schema_version("sha256:1")
    assert_type(ex, Execution)
    assert_type(ex.id, str)
    assert_type(ex.tenant_id, str | None)
    assert_type(ex.state, ExecutionState)
    assert_type(ex.wait_reason, WaitReason | None)
    assert_type(ex.parent, ParentLink | None)
    assert_type(ex.created_at, datetime)
    assert_type(ex.started_at, datetime | None)
    assert_type(ex.duration_ms, float | None)
    assert_type(ex.error, ExecutionError | None)
    assert_type(ex.is_terminal, bool)
    assert_type(ex.version, int)
    assert_type(ex.step_order, list[str])
    assert_type(ex.child(), Execution)
    return ex


def steps(ex: Execution) -> None:
    ex.start()
    step = ex.start_step("fetch", type=StepType.TOOL, input={"url": "…"})
    assert_type(step, Step)
    assert_type(step.state, StepState)
    assert_type(step.step_type, StepType)
    assert_type(step.attempt, int)
    assert_type(step.queued_ms, float)
    assert_type(ex.complete_step(step, output={"bytes": 512}), None)
    assert_type(ex.complete_step(step.id), None)
    assert_type(ex.get_step(step.id), Step | None)
    assert_type(ex.steps[step.id], Step)
    assert_type(ex.steps.get(step.id), Step | None)
    assert_type(ex.steps.get(step.id, 5), Step | int)
    assert_type(list(ex.steps), list[str])
    assert_type(list(ex.steps.values()), list[Step])
    assert_type(dict(ex.steps.items()), dict[str, Step])
    assert_type(ex.steps.counts(), dict[StepState, int])
    assert_type(ex.steps.states(), list[StepState])
    assert_type(ex.steps.durations_ns(), list[int | None])
    assert_type(
        ex.steps.filter(state="failed", name="fetch", type=StepType.TOOL).open().slowest(3), StepRange
    )
    ex.wait(WaitReason.APPROVAL)
    ex.wait("approval")
    ex.input_received(step.id, payload={"ok": True})
    ex.pause(reason="lunch")
    ex.fail(ValueError("no"))
    ex.cancel()


def bulk(ex: Execution) -> None:
    started = ex.start_steps(["a", "b"])
    assert_type(started, StepRange)
    assert_type(ex.complete_steps(started), StepRange)
    assert_type(started[0], Step)
    assert_type(started[:1], StepRange)
    as_iterable: Iterable[Step] = started
    assert_type([step.id for step in as_iterable], list[str])


def journal(ex: Execution) -> Execution:
    records = ex.drain()
    assert_type(records, list[tuple[int, int, str, bytes]])
    again = Execution.replay(ex.id, records, schema_version="sha256:1")
    assert_type(again, Execution)
    assert_type(Execution.from_json(again.to_json()), Execution)
    action = Action("step_started", name="fetch")
    assert_type(ex.apply(action), Action)
    assert_type(ex.apply_many([action]), list[Action])
    assert_type(action.kind, str)
    assert_type(action.at_ns, int | None)
    return again


def given() -> None:
    clock = ManualClock()
    clock.advance("1h30m")
    tenant = TenantContext("acme", limits=ResourceLimits(max_steps=10))
    Execution(tenant=tenant, clock=clock, ids=lambda prefix: f"{prefix}_1", key="k", input=[1])
    policy = RetryPolicy.attempts(5, jitter=False)
    assert_type(policy, RetryPolicy)
    assert_type(policy.max_attempts, int)
    assert_type(stepwell.BACKEND, str)


def refused(ex: Execution, step: Step, anything: Any) -> None:
    Execution("acme")  # pyright: ignore[reportCallIssue]
    Execution(tenant=7)  # pyright: ignore[reportArgumentType]
    ex.state = ExecutionState.RUNNING  # pyright: ignore[reportAttributeAccessIssue]
    ex.steps["a"] = step  # pyright: ignore[reportIndexIssue]
    step.output = anything  # pyright: ignore[reportAttributeAccessIssue]
    ex.start_steps(7)  # pyright: ignore[reportArgumentType]
    ex.complete_step(7)  # pyright: ignore[reportArgumentType]
    ex.schedule_step()  # pyright: ignore[reportCallIssue]
    ex.add_usage(step.id, "tokens", "many")  # pyright: ignore[reportArgumentType]
    ex.explode()  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
