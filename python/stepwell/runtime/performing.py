"""What happens at one call: answer from the record, or do it, record it, and answer when that is durable."""

import asyncio
import contextvars
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, Final

from .. import errors
from .._spec import STEP_TERMINAL, ExecutionState, StepState
from ..clock import from_ns, to_ns
from ..failures import ExecutionError, policy_for
from . import diverging, stopping
from .core import Step, start_step
from .operations import Never, for_ever
from .places import HERE, Call
from .retrying import RetryWait
from .stopping import INTERRUPTED, check_left

if TYPE_CHECKING:
    from .functions import StepSpec
    from .run import Run

_REPLAYED_PER_TURN: Final = 64
SAME: Final = frozenset((bool, int, str, type(None)))
"""What is the same after it was recorded."""


async def perform(run: "Run", call: Call) -> Any:
    """The outcome of a call that is no step's: as it is recorded, or as it comes to be."""
    if call.scope.step is not None and call.scope.is_over:
        await never(run)
    step = None
    if run.replayed:
        if run.rehearses:
            return await run.rehearsed(call)
        step = run.recorded.get(call.place)
        if step is not None:
            await compare(run, call, step)
            if not call.op.replays_itself and step.state in STEP_TERMINAL:
                return await _recorded(run, call, step)
        # A group goes on to what its code has in the record, and so does code that has its callback.
        goes_in = call.op.holds_steps or (step is not None and call.op.replays_itself)
        if run.order is not None and not goes_in and not run.order.is_through:
            await run.order.end()
    goes_on = step is not None and call.op.goes_on and stopping.is_coming(run)
    if run.held and not goes_on and await stopping.before_start(run, call):
        return await perform(run, call)
    task = asyncio.current_task() if run.late else None
    if task is not None and is_overtaken(run):
        task.uncancel()
        task.cancel()  # it begins, and is cancelled as soon as it waits
    return await call.op.go(run, call, step)


async def never(run: "Run") -> None:
    """Waits until it is cancelled, and is no reason to stay in memory."""
    waiting = Never(loop=run.loop)
    run.quiet.add(waiting)
    try:
        await waiting
    finally:
        run.quiet.discard(waiting)


async def compare(run: "Run", call: Call, step: Step) -> None:
    """Parks the execution where the record differs from the call."""
    if run.left is not None:
        await for_ever()
    call.step = step
    differs = diverging.difference(step, call)
    if differs is not None:
        run.park(call.place, call.source, step, call, f"{differs} ({call.source})")
        await for_ever()


async def _recorded(run: "Run", call: Call, step: Step) -> Any:
    """The outcome of a step that has ended."""
    if run.held:
        await stopping.before_recorded(run, call, step)
    if step.state == StepState.COMPLETED:
        await breathe(run, call)
        return call.op.result(run, step)
    if step.state == StepState.FAILED:
        await breathe(run, call)
        raise recorded_error(step)
    # Its own blueprint cancelled it, or skipped it, and is about to do so again.
    await for_ever()
    return None


def recorded_error(step: Step) -> ExecutionError:
    """The error of a failed step."""
    return step.error or ExecutionError(
        "kernel_internal", "unreadable_error", "the record of the failure has no error"
    )


def begin(
    run: "Run", call: Call, step: Step | None, key: str | None = None, step_id: str | None = None
) -> Step:
    """Starts a step, or the next attempt of a pending one."""
    if run.left is not None or run.over:
        raise asyncio.CancelledError
    execution = run.execution
    if execution.state is ExecutionState.WAITING:
        execution.resume()
    if step is not None:
        execution.start_step(step_id=step)
    else:
        op = call.op
        parent, place = call.scope.step, call.place
        step = call.step = start_step(
            execution, op.name, op.type, key, parent, call.input, op.callable_id, place, step_id
        )
    run.open[call.place] = step
    return step


async def perform_step(spec: "StepSpec", run: "Run", call: Call) -> Any:
    """The outcome of a step that runs code: as it is recorded, or after as many attempts as it takes."""
    if call.scope.step is not None and call.scope.is_over:
        await never(run)
    step = None
    if run.replayed:
        if run.rehearses:
            return await run.rehearsed(call)
        step = run.recorded.get(call.place)
        if step is not None:
            await compare(run, call, step)
            if step.state in STEP_TERMINAL:
                return await _recorded(run, call, step)
        if run.order is not None and not run.order.is_through:
            await run.order.end()
    if run.held and await _held(run, call, step):
        return await perform_step(spec, run, call)
    if step is not None:
        await _take_up(run, step, spec)
        call.attempt = step.attempt + 1
    while True:
        step = begin(run, call, step)
        if spec.keyed:
            await _started(run, step, spec)
        else:
            run.journal.soon(spec.durability)
        value, error = await (_told if run.is_told else _attempt)(run, call, step, spec)
        if error is None:
            return value
        if step.state is StepState.FAILED:
            raise error
        await _until_retry(run, step)
        call.attempt += 1


async def _held(run: "Run", call: Call, step: Step | None) -> bool:
    """Holds up a step while the execution stops; `True` where it has another place now."""
    if await stopping.before_start(run, call):
        return True
    if is_overtaken(run):
        cancel_step(run, begin(run, call, step))
        raise asyncio.CancelledError
    return False


async def _started(run: "Run", step: Step, spec: "StepSpec") -> None:
    """What must not be done without a trace: its start is on the record before its code runs."""
    await run.journal.durable()
    check_left(run)
    if spec.once:
        run.kernel.tell("_step_once", run.execution, step)


async def _take_up(run: "Run", step: Step, spec: "StepSpec") -> None:
    """A step of an earlier life: it was running when that ended, or waits for its next attempt."""
    if step.state == StepState.RUNNING:
        if spec.once:
            stopping.doubt(run, step)
            await for_ever()
        gone = "the process ended while the step ran"
        run.execution.retry_step(step, ExecutionError("tool", INTERRUPTED, gone, attempt=step.attempt))
    elif step.retry_at is not None:
        await _until_retry(run, step)


async def _attempt(run: "Run", call: Call, step: Step, spec: "StepSpec") -> tuple[Any, ExecutionError | None]:
    """One try: its value as it is recorded, or the error if it failed. The outcome is as durable as the step says."""
    run.attempts[call.place] = call
    call.task = asyncio.current_task(run.loop) if spec.may_interrupt else None
    call.is_stopped = call.interrupted = False
    heard = run.stop is not None and run.stop.heard
    run.active += 1
    raised: BaseException | None = None
    value: Any = None
    token = HERE.set(call)
    try:
        if spec.is_plain:
            value = await spec.fn(*call.args, **call.kwargs)
        else:
            value = await _run_otherwise(run, call, spec)
    except asyncio.CancelledError as cancelled:
        if await _was_stopped(run, call, step):
            raise
        raised = cancelled
    except Exception as failure:  # noqa: BLE001 - whatever the step raises is recorded
        raised = failure
    finally:
        HERE.reset(token)
        run.active -= 1
        del run.attempts[call.place]
    value, outcome = _record(run, call, step, spec, value, raised)
    if run.held:
        if step.state in STEP_TERMINAL:
            await seen(run, spec.durability, call)
    elif outcome is None or step.state in STEP_TERMINAL:
        written = run.journal.kept(spec.durability, run.active == 0)
        try:
            if written is not None:
                run.journal.landed(written, await written)
            elif run.is_turn():
                await _turn(run)
        except (asyncio.CancelledError, errors.StepwellError) as error:
            await _unwritten(run, written, call, error)
    if run.waits.open and run.active == 0:
        run.waits.idle_soon()
    if not heard and stopping.was_cancelled(run):
        # Its outcome is kept; the code that called it is cancelled here all the same.
        call.scope.kept()
        raise asyncio.CancelledError
    return value, outcome


async def _was_stopped(run: "Run", call: Call, step: Step) -> bool:
    """Whether an attempt that was cancelled was so by who stops the step; its step is cancelled then, too."""
    if call.interrupted and run.left is None and not run.over:
        await stopping.interrupted(run, step)
    if run.is_stopping or asked_to_stop():
        _cancelled(run, step)
        return True
    return False


def _record(
    run: "Run", call: Call, step: Step, spec: "StepSpec", value: Any, raised: BaseException | None
) -> tuple[Any, ExecutionError | None]:
    """Records what an attempt ended with. What it ended with after it was given up is no part of the record."""
    if run.held:
        check_left(run)
    if step.state is not StepState.RUNNING:
        raise asyncio.CancelledError
    run.journal.progress = True
    output = value
    if raised is None and (not spec.is_bare or value.__class__ not in SAME or run.has_codec):
        try:
            output, value = spec.recorded(run, value)
        except Exception as refusal:  # noqa: BLE001 - what cannot be recorded, a codec's errors too, is a failure
            raised = refusal
    if raised is None:
        try:
            run.execution.complete_step(step, output)
        except errors.ValidationError as refusal:
            raised = refusal
        else:
            run.open.pop(call.place, None)
            return value, None
    outcome = _fail(run, step, raised, spec)
    if step.state in STEP_TERMINAL:
        run.no_longer_open(step)
    else:
        run.journal.soon()
    return None, outcome


async def _told(run: "Run", call: Call, step: Step, spec: "StepSpec") -> tuple[Any, ExecutionError | None]:
    """The same, with the hooks told."""
    run.kernel.tell("step_started", run.execution, step)
    try:
        return await _attempt(run, call, step, spec)
    finally:
        _tell_end(run, step)


def _tell_end(run: "Run", step: Step) -> None:
    """Tells the hooks how an attempt ended, unless its process leaves it: then it is made again elsewhere."""
    leaves = run.left is not None and not isinstance(run.left, errors.LeftMemory)
    told = run.over and step.state == StepState.CANCELLED
    if step.state != StepState.RUNNING and not leaves and not told:
        run.kernel.tell("step_ended", run.execution, step)


async def seen(run: "Run", durability: str | None, call: Call | None = None) -> None:
    """Waits until the outcome of a step may be seen."""
    if run.execution.state == ExecutionState.PAUSED:
        stopping.after_attempt(run)
        await for_ever()
    written = run.journal.kept(durability)
    try:
        if written is not None:
            run.journal.landed(written, await written)
            return
        if run.is_turn():
            await _turn(run)
    except (asyncio.CancelledError, errors.StepwellError) as error:
        await _unwritten(run, written, call, error)
    check_left(run)


async def _turn(run: "Run") -> None:
    """Others have their turn now and then, though nothing is waited for: the host, and tasks that were just made."""
    run.fresh = False
    await asyncio.sleep(0)
    check_left(run)


async def _unwritten(
    run: "Run", written: Awaitable[Any] | None, call: Call | None, error: BaseException
) -> None:
    """What is awaited until it is written came to an error, or the wait for it to an end."""
    if written is not None:
        run.journal.let_go(written)
    if isinstance(error, asyncio.CancelledError):
        await too_late(run, call, error)
    else:
        # The run is left if this was for good, and waits for another append if not.
        await run.journal.durable()


async def too_late(run: "Run", call: Call | None, error: asyncio.CancelledError) -> None:
    """The code is cancelled during a call whose outcome is recorded already.

    Where its own blueprint does that, the outcome stands, here as on replay, and what the task calls next is cancelled
    instead, if that is still wanted by then.
    """
    run.check_host()
    if run.left is not None or run.over:
        raise error
    if stopping.was_cancelled(run):
        await run.journal.durable()
        if call is not None:
            call.scope.kept()
        raise error
    task = asyncio.current_task()
    if task is not None:
        run.late = {*(run.late or ()), task}
        run.held = True
    try:
        await asyncio.wait([run.journal.durable()])
    except asyncio.CancelledError as again:
        await too_late(run, call, again)


def is_overtaken(run: "Run") -> bool:
    """Whether the task that runs was cancelled when its call had its outcome, and its cancellation still stands."""
    task = asyncio.current_task()
    if not run.late or task not in run.late:
        return False
    run.late.discard(task)
    return task.cancelling() > 0


async def _run_otherwise(run: "Run", call: Call, spec: "StepSpec") -> Any:
    """Runs code that blocks, or that has a time limit."""
    if not spec.is_async:
        work = run.kernel.threads.run(contextvars.copy_context(), lambda: spec.fn(*call.args, **call.kwargs))
        value = await stopping.outcome_of(run, work, call)
        # As outside a kernel: a lambda may give a coroutine.
        return await value if asyncio.iscoroutine(value) else value
    limit = asyncio.timeout(spec.timeout_s)
    try:
        async with limit:
            return await spec.fn(*call.args, **call.kwargs)
    except TimeoutError:
        if not limit.expired():
            raise
        message = f"the attempt took longer than {spec.timeout_s:g} s"
        raise ExecutionError("timeout", "step_timeout", message) from None


def _fail(run: "Run", step: Step, raised: BaseException, spec: "StepSpec") -> ExecutionError:
    """Records a failure: the last one, or one that is followed by another try."""
    execution = run.execution
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
    execution.retry_step(step, error, retry_at=from_ns(run.kernel.clock.now_ns() + delay_ns))
    return error


async def _until_retry(run: "Run", step: Step) -> None:
    """The time between two attempts."""
    due = None if step.retry_at is None else to_ns(step.retry_at, "retry_at")
    if due is not None and due > run.kernel.clock.now_ns():
        wait = RetryWait(run, step, due)
        run.waits.add(wait)
        try:
            await wait.future
        except asyncio.CancelledError:
            if not wait.over:
                run.waits.remove(wait)
                _cancelled(run, step)
            raise
    check_left(run)
    if run.held:
        await stopping.before_start(run)


def _cancelled(run: "Run", step: Step) -> None:
    """The blueprint itself, or who cancelled the execution, cancelled the step; else it stays open."""
    if run.left is None and not run.over and not run.root_cancelled() and step.state not in STEP_TERMINAL:
        cancel_step(run, step)


def cancel_step(run: "Run", step: Step) -> None:
    """Records that a step was cancelled."""
    run.execution.cancel_step(step, reason=why_cancelled(run))
    run.no_longer_open(step)
    run.journal.soon()


def why_cancelled(run: "Run") -> str:
    """The reason that is recorded of a step that was cancelled."""
    return "cancelled by its blueprint" if run.stop is None else f"the execution was stopped: {run.stop.kind}"


def asked_to_stop() -> bool:
    """Whether somebody cancelled the task that runs, and not only something that it awaited."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def breathe(run: "Run", call: Call | None) -> None:
    """Waits for the turn of a recorded outcome, and gives up the loop where a step that really runs would have.

    Tasks that were made since have begun by then, as they had when the step was run; and now and then the host has its
    turn while a long record is gone through.
    """
    order = run.order
    if order is not None and call is not None and not order.passes(call.scope, call.place):
        await order.turn(call.scope, call.place)
        check_left(run)
    run.replays += 1
    if run.fresh or run.replays % _REPLAYED_PER_TURN == 0:
        run.fresh = False
        await asyncio.sleep(0)
        check_left(run)
