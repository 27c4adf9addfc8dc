"""What happens at one step call: answer from the record, or run it, record it, and answer when that is durable."""

import asyncio
import contextvars
from typing import TYPE_CHECKING, Any, Final, NoReturn

from .. import encoding, errors
from .._spec import StepState
from ..clock import from_ns, to_ns
from ..failures import ExecutionError, policy_for
from . import places
from .core import Step
from .functions import unpack
from .places import Call, CurrentStep

if TYPE_CHECKING:
    from .run import Run

INTERRUPTED: Final = "interrupted"
_REPLAYED_PER_TURN: Final = 64


def input_of(call: Call) -> Any:
    """What the call was given, as plain values."""
    return None if call.input is None else encoding.decode(call.input)


async def perform(run: "Run", call: Call) -> Any:
    """The outcome of a step call: its value as recorded, or its `ExecutionError` raised."""
    if run.left is not None:
        await _for_ever()  # raising would let code that catches it go round and round, and never give way
    step = run.recorded.get(call.place)
    if step is not None:
        differs = _difference(step, call)
        if differs is not None:
            run.park(call.place, call.source, step, call, f"{differs} ({call.source})")
            await _for_ever()
        if step.state == StepState.COMPLETED:
            await _breathe(run)
            return step.output
        if step.state == StepState.FAILED:
            await _breathe(run)
            raise _recorded_error(step)
        if step.state in (StepState.CANCELLED, StepState.SKIPPED):
            # Its own blueprint cancelled it, and is about to do so again.
            await _for_ever()
        if step.state == StepState.RUNNING:
            gone = "the process ended while the step ran"
            run.execution.retry_step(step, ExecutionError("tool", INTERRUPTED, gone, attempt=step.attempt))
        elif step.retry_at is not None:
            await _wait_until(run, step)
    while True:
        step = _start(run, call, step)
        if call.spec.keyed:
            await run.journal.durable()
            _check_left(run)
        else:
            run.journal.soon(call.spec.durability)
        step, error = await _attempt(run, call, step)
        if error is None:
            return step.output
        if step.state == StepState.FAILED:
            raise error
        await _wait_until(run, step)


def _difference(step: Step, call: Call) -> str | None:
    if step.name != call.spec.name:
        return (
            f"at place {call.place} the record has step {step.name!r}, and the code calls {call.spec.name!r}"
        )
    recorded = None if step.input is None else encoding.encode(step.input)
    if recorded == call.input:
        return None
    old, new = unpack(step.input), unpack(input_of(call))
    named = sorted({*old[1], *new[1]})
    where = next(
        (str(i) for i in range(max(len(old[0]), len(new[0]))) if old[0][i : i + 1] != new[0][i : i + 1]), None
    )
    where = where or next((name for name in named if old[1].get(name) != new[1].get(name)), "their form")
    return f"step {step.name!r} at place {call.place} is called with another input than recorded: argument {where}"


def _recorded_error(step: Step) -> ExecutionError:
    return step.error or ExecutionError(
        "kernel_internal", "unreadable_error", "the record of the failure has no error"
    )


def _start(run: "Run", call: Call, step: Step | None) -> Step:
    _check_left(run)
    run.run_again()
    if step is not None:
        started = run.execution.start_step(step_id=step)
    else:
        started = run.execution.start_step(
            call.spec.name,
            type=call.spec.type,
            input=input_of(call),
            callable_id=call.spec.callable_id,
            place=call.place,
        )
    run.open[started.id] = started
    return started


async def _attempt(run: "Run", call: Call, step: Step) -> tuple[Step, ExecutionError | None]:
    """One try: the step as it is now, and the error if it failed. Both are as durable as the step says."""
    run.kernel.tell("step_started", run.execution, step)
    run.active += 1
    raised: BaseException | None = None
    value: Any = None
    try:
        value = await _run_code(run, call, step)
    except asyncio.CancelledError as cancelled:
        if run.left is not None or run.over or _asked_to_stop():
            _cancelled(run, step)
            raise
        raised = cancelled
    except Exception as failure:  # noqa: BLE001 - whatever the step raises is recorded
        raised = failure
    finally:
        run.active -= 1
    # What the code ended with after the execution was left is no part of its record.
    _check_left(run)
    outcome: ExecutionError | None = None
    if raised is None:
        try:
            run.execution.complete_step(step, output=value)
        except errors.ValidationError as refusal:
            raised = refusal
    if raised is not None:
        outcome = _fail(run, call, step, raised)
    if step.state != StepState.PENDING:
        run.open.pop(step.id, None)
    await _seen(run, call, step)
    run.kernel.tell("step_ended", run.execution, step)
    return step, outcome


async def _seen(run: "Run", call: Call, step: Step) -> None:
    """Waits until the outcome of an attempt may be seen."""
    if step.state == StepState.PENDING:
        await run.journal.durable()
        return
    written = run.journal.kept(call.spec.durability)
    if written is not None:
        await written
    else:
        # The host has its turn now and then, though nothing is waited for.
        run.unseen += 1
        if run.unseen % _REPLAYED_PER_TURN == 0:
            await asyncio.sleep(0)
        _check_left(run)


async def _run_code(run: "Run", call: Call, step: Step) -> Any:
    current = CurrentStep(run.execution.id, step.id, step.name, call.place, step.attempt)
    spec = call.spec
    if not spec.is_async:
        context = contextvars.copy_context()
        context.run(places.enter, current)
        return await run.kernel.threads.run(context, lambda: spec.fn(*call.args, **call.kwargs))
    token = places.enter(current)
    try:
        if spec.timeout_s is None:
            return await spec.fn(*call.args, **call.kwargs)
        limit = asyncio.timeout(spec.timeout_s)
        try:
            async with limit:
                return await spec.fn(*call.args, **call.kwargs)
        except TimeoutError:
            if not limit.expired():
                raise
            message = f"the attempt took longer than {spec.timeout_s:g} s"
            raise ExecutionError("timeout", "step_timeout", message) from None
    finally:
        places.leave(token)


def _fail(run: "Run", call: Call, step: Step, raised: BaseException) -> ExecutionError:
    """Records a failure: the last one, or one that is followed by another try."""
    execution, spec = run.execution, call.spec
    if not isinstance(raised, Exception):
        raised = ExecutionError("tool", "execution_failed", "the step awaited something that was cancelled")
    error = ExecutionError.from_exception(raised, attempt=step.attempt, step_id=step.id)
    if error is not raised and error.__cause__ is None:
        error.__cause__ = raised
    tries = 1 + sum(1 for past in step.attempts if past.error is not None and past.error.code != INTERRUPTED)
    policy = policy_for(error, spec.retry)
    again = policy.should_retry(error, tries) and (spec.retry_on is None or isinstance(raised, spec.retry_on))
    if again and policy.requires_idempotency_key and not spec.keyed:
        again = False
    if not again:
        execution.fail_step(step, error)
        return error
    delay_ns = policy.delay_ms(tries, execution.id, step.id) * 1_000_000
    due = run.kernel.clock.now_ns() + delay_ns
    execution.retry_step(step, error, retry_at=from_ns(due))
    run.timers[step.id] = due
    run.wait_for_timer()
    return error


async def _wait_until(run: "Run", step: Step) -> None:
    """The time between two attempts."""
    due = None if step.retry_at is None else to_ns(step.retry_at, "retry_at")
    if due is not None:
        run.timers[step.id] = due
        delay = (due - run.kernel.clock.now_ns()) / 1e9
        if delay > 0:
            await asyncio.sleep(delay)
        run.timers.pop(step.id, None)
    _check_left(run)


def _cancelled(run: "Run", step: Step) -> None:
    """The blueprint itself cancelled the step; or whoever ends it as a whole did, then the step stays open."""
    if run.left is None and not run.over and not run.root_cancelled():
        run.execution.cancel_step(step, reason="cancelled by its blueprint")
        run.open.pop(step.id, None)
        run.kernel.tell("step_ended", run.execution, step)
        run.journal.soon()


def _asked_to_stop() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _check_left(run: "Run") -> None:
    """Code of an execution that was left goes no further, whatever it catches."""
    if run.left is not None or run.over:
        raise asyncio.CancelledError


async def _breathe(run: "Run") -> None:
    """Gives up the loop where a step that really runs would have made a difference by doing so.

    Tasks that were made since have begun by then, as they had when the step was run; and now and then the host has its
    turn while a long record is gone through.
    """
    run.replays += 1
    if run.fresh or run.replays % _REPLAYED_PER_TURN == 0:
        run.fresh = False
        await asyncio.sleep(0)
        _check_left(run)


async def _for_ever() -> NoReturn:
    await asyncio.get_running_loop().create_future()
    raise errors.InternalError("defect in stepwell, please report it: a wait without end has ended")
