"""What is asked of executions from outside: signals, answers, cancelling, pausing, settling, mending."""

import asyncio
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from .. import encoding, errors, model
from .._spec import EXECUTION_TERMINAL, STEP_TERMINAL, ExecutionState, StepState, StepType
from ..failures import ExecutionError, as_error
from ..store import Delivery, ExecutionRow
from . import children, diverging, renewing
from .core import Execution, Step
from .delivering import put, unheard, wishes
from .stopping import IN_DOUBT, INTERRUPTED

if TYPE_CHECKING:
    from .kernel import Kernel
    from .run import Run

UNSET: Final[Any] = type("Unset", (), {"__repr__": lambda _: "…"})()
"""For what may be `None` when it is given."""
_SETTLE_S: Final = 10.0
"""How long `settle` waits for an execution that runs to come to a stop at the step that is in doubt."""
_TRIES: Final = 3
"""How often a wish is seen to that finds an execution in the moment between running and not."""
_ACCEPTED: Final = "its code changed, and that was accepted"
_NO_CODE: Final = (StepType.WAIT, StepType.SCOPE, StepType.CHILD, StepType.CONDITION)


def _delivery(id: str, kind: str, name: str, body: bytes) -> Delivery:
    return Delivery(0, id, 0, kind, name, body)  # when it comes, and in which order, is found there


async def signal(kernel: "Kernel", id: str, name: str, payload: Any, delivery_id: str | None) -> bool:
    """Sends a signal."""
    name = model.label("name", name)
    body = encoding.encode(kernel.encoded(payload))
    # Apart from the ids of answers and wishes, whatever text is given.
    own = f"signal {os.urandom(12).hex() if delivery_id is None else model.label('id', delivery_id)}"
    given = _delivery(own, "signal", name, body)
    return (await renewing.tell(kernel, id, [given], known=delivery_id is not None))[1]


async def answer(kernel: "Kernel", step_id: str, kind: str, body: bytes) -> bool:
    """Answers a callback: whether this answer counts."""
    row = await kernel.store.awaited(kernel.id_of(step_id))
    if kind == "heartbeat":
        own = f"heartbeat {os.urandom(12).hex()}"
        return await put(kernel, row.id, _delivery(own, kind, step_id, body))
    return await put(kernel, row.id, _delivery(step_id, kind, "", body))


def failure_body(error: object) -> bytes:
    """The error that `fail_callback` was given, as it is delivered."""
    return as_error(error).to_json()


async def cancel(kernel: "Kernel", id: str, reason: str | None) -> bool:
    """Asks for an execution to be cancelled; `False` where it has ended."""
    body = encoding.encode({"reason": None if reason is None else model.note("reason", reason)})
    row = await renewing.last_of(kernel, id)
    if row.state in EXECUTION_TERMINAL:
        return False
    id, is_in = await renewing.tell(kernel, row.id, [_delivery("cancel", "cancel", "", body)])
    # Where it is not in, it was asked for before, or has ended meanwhile.
    if not is_in and (await kernel.store.get(id)).state in EXECUTION_TERMINAL:
        return False
    return await _attended(kernel, id)


async def pause(kernel: "Kernel", id: str, reason: str | None) -> bool:
    """Asks for an execution to be paused; `False` where it has ended."""
    body = encoding.encode({"reason": None if reason is None else model.note("reason", reason)})
    row = await renewing.last_of(kernel, id)
    wish = _delivery(f"pause {os.urandom(12).hex()}", "pause", "", body)
    id, is_in = await renewing.tell(kernel, row.id, [wish], known=False)
    return is_in and await _attended(kernel, id)


async def _attended(kernel: "Kernel", id: str) -> bool:
    """Sees to a wish at once: where it runs here, or where nobody runs it and none of its code has to be."""
    for _ in range(_TRIES):
        run = kernel.running(id)
        if run is not None:
            await run.waits.fetch()
            await _pause_is_recorded(run)
        await kernel.left(id)
        if kernel.running(id) is not None:
            break
        row = await kernel.store.get(id)
        if row.state in EXECUTION_TERMINAL or not kernel.taking.may_take(row):
            break
        try:
            await attend(kernel, row, await wishes(kernel, id), asked_now=True)
            break
        except errors.Conflict:
            pass  # somebody took it up meanwhile, and sees the wish; if that was this kernel, it is waited for
    kernel.poke(id)
    return True


async def _pause_is_recorded(run: "Run") -> None:
    """Returns when an execution that is paused, or is leaving memory and can be paused then, has that in its record."""
    if run.execution.state == ExecutionState.PAUSED:
        await asyncio.wait([run.journal.durable(), run.ended], return_when=asyncio.FIRST_COMPLETED)
    elif isinstance(run.left, errors.LeftMemory):
        await asyncio.wait([run.ended])


async def attend(
    kernel: "Kernel", row: ExecutionRow, wishes: list[Delivery], asked_now: bool = False
) -> None:
    """Cancels or pauses an execution that nobody runs, as it was asked, as far as its code has no part in it.

    One that came to be paused, or in doubt, while its cancelled code was ending is not cut short by that old wish: it
    goes on when it is resumed.
    """
    still = row.state in (ExecutionState.CREATED, ExecutionState.PAUSED)
    for wish in wishes:
        given = encoding.decode(wish.body)
        reason = given.get("reason") if isinstance(given, dict) else None

        def change(execution: Execution, wish: Delivery = wish, reason: Any = reason) -> list[str]:
            if wish.kind == "cancel":
                execution.cancel(reason)
            elif execution.state != ExecutionState.PAUSED:
                execution.pause(reason)
            else:
                return []
            return [wish.id]

        if wish.kind == "cancel" and still and (asked_now or wish.at_ns >= row.updated_at_ns):
            execution = await kernel.taking.load(row.id)
            for step in filter(children.cascades, execution.steps.values()):
                await children.cancel_child(kernel, step, reason if isinstance(reason, str) else None)
            with suppress(errors.TerminalExecution):  # the watcher saw to the same wish a moment ago
                await kernel.taking.alter(row, change)
            return
        if any(other.kind == "cancel" and other.place < wish.place for other in wishes):
            continue
        if wish.kind == "pause" and row.state in (ExecutionState.RUNNING, ExecutionState.WAITING):
            row = await kernel.taking.alter(row, change)
            still = True


async def settle(
    kernel: "Kernel", row: ExecutionRow, step_id: str, output: Any, error: Any, retry: bool
) -> None:
    """Says what became of a step that may or may not have been done, and lets its execution go on."""
    if [output is not UNSET, error is not None, retry].count(True) != 1:
        raise errors.ValidationError("settle takes one of output, error and retry=True")
    failure = None if error is None else as_error(error)
    refused: list[errors.Conflict] = []

    def change(execution: Execution) -> list[str]:
        step = execution.get_step(step_id)
        if step is None:
            raise errors.NotFound(f"execution {row.id} has no step {step_id[:80]!a}")
        moves = not doubted and execution.state != ExecutionState.PAUSED
        if moves and (row.owner is not None or row.version != execution.version):
            raise errors.Conflict(f"execution {row.id} is being taken up")  # it comes to a stop, or goes on
        no_code = step.step_type in _NO_CODE and step.callable_id is None
        if step.state != StepState.RUNNING or no_code or step.step_type == StepType.CHILD or moves:
            refused.append(
                errors.Conflict(f"step {step_id} is {step.state}, not in doubt: nothing was changed")
            )
            raise refused[0]
        if retry:
            gone = "the process ended while the step ran; it is done once more"
            execution.retry_step(step, ExecutionError("tool", INTERRUPTED, gone, attempt=step.attempt))
        elif failure is not None:
            execution.fail_step(step, failure.replace(step_id=failure.step_id or step.id))
        else:
            execution.complete_step(step, output=kernel.encoded(output))
        if execution.state != ExecutionState.PAUSED:
            execution.pause(IN_DOUBT)  # so that the next one of it may be settled, too
        if execution.reason == IN_DOUBT:
            execution.resume()
        return []

    doubted = False
    until = time.monotonic() + _SETTLE_S
    while row.state not in EXECUTION_TERMINAL:
        if kernel.running(row.id) is None and kernel.taking.may_take(row):
            doubted = await _is_doubted(kernel, row)
            with suppress(errors.Conflict):
                await kernel.taking.alter(row, change)
                return
            if refused:
                raise refused[0]
        if time.monotonic() >= until:
            break
        # Another step of it was settled just now: it comes to a stop at this one by itself.
        await asyncio.wait([kernel.watching.change(row.id)], timeout=0.02)
        row = await kernel.store.get(row.id)
    raise errors.Conflict(f"execution {row.id} is {row.state}, not in doubt: nothing was changed")


async def pause_is_heard(kernel: "Kernel", row: ExecutionRow) -> ExecutionRow:
    """Waits until an execution that another process runs is paused and left there, where somebody asked for that."""
    until = time.monotonic() + _SETTLE_S
    while row.state not in EXECUTION_TERMINAL and time.monotonic() < until:
        if kernel.running(row.id) is not None or kernel.taking.may_take(row):
            break
        asked = any(wish.kind == "pause" for wish in await wishes(kernel, row.id))
        row = await kernel.store.get(row.id)  # a pause that is no wish any more is in here by now
        if not asked and row.state != ExecutionState.PAUSED:
            break
        await asyncio.wait([kernel.watching.change(row.id)], timeout=0.02)
        row = await kernel.store.get(row.id)
    return row


async def _is_doubted(kernel: "Kernel", row: ExecutionRow) -> bool:
    """Whether an execution that nobody runs came to a stop at a step in doubt, or one of several was settled just now.

    A step that merely ran when its process ended is done again by itself.
    """
    if row.state == ExecutionState.PAUSED:
        return True
    return (await kernel.last_record(row)).get("kind") == "resume"


async def resume(kernel: "Kernel", row: ExecutionRow) -> None:
    """Lets a paused execution go on, wherever it is run."""

    def change(execution: Execution) -> list[str]:
        if execution.state == ExecutionState.PAUSED:
            execution.resume()
        return []

    if row.state in EXECUTION_TERMINAL:
        errors.terminal_execution(row.state, "resume")
    if row.state == ExecutionState.PAUSED:
        await kernel.taking.alter(row, change)


async def unpause(kernel: "Kernel", row: ExecutionRow) -> None:
    """Takes back that an execution is to be paused which has not started yet: that can only be when it does."""
    asked = [each for each in await unheard(kernel, row.id) if each.kind == "pause"]
    if asked:
        await put(kernel, row.id, _delivery(f"resume {asked[-1].id}", "resume", "", b"null"))


async def accept(kernel: "Kernel", row: ExecutionRow) -> None:
    """Lets an execution that diverged go on as its code is now: what was recorded from there on is given up."""
    if row.state != ExecutionState.PAUSED:
        raise errors.Conflict(f"execution {row.id} is {row.state}, not paused: there is nothing to accept")

    def change(execution: Execution) -> list[str]:
        place, gone = _given_up(execution)
        execution.resume()
        if execution.state == ExecutionState.WAITING:
            execution.resume()
        for step in gone:
            if step.state not in STEP_TERMINAL:
                execution.cancel_step(step, reason=_ACCEPTED)
        number = sum(step.name == diverging.ACCEPTED for step in execution.steps.values())
        mark = execution.start_step(diverging.ACCEPTED, place=f"!accepted {number}", input=place)
        execution.complete_step(mark)
        return []

    # Before it is on the record, so that a crash leaves none behind.
    for step in filter(children.cascades, _given_up(await kernel.taking.load(row.id))[1]):
        await children.give_up_child(kernel, step, _ACCEPTED)
    await kernel.taking.alter(row, change)


def _given_up(execution: Execution) -> tuple[str, list[Step]]:
    """The place where an execution diverged, and the steps that are given up where that is accepted."""
    place = diverging.place_of(execution.reason) if execution.state == ExecutionState.PAUSED else None
    if place is None:
        raise errors.Conflict(f"execution {execution.id} is not paused because its code and record differ")
    recorded: dict[str, Step] = {}
    for step in execution.steps.values():
        if step.place is not None:
            recorded[step.place] = step
            if step.name == diverging.ACCEPTED:
                diverging.given_up(recorded, step.input)
    return place, diverging.given_up(recorded, place)


def _is_callback(step: Step) -> bool:
    """Whether this is a wait whose id the code gives away: in a copy it says that id as before."""
    given = step.input
    return step.step_type == StepType.WAIT and isinstance(given, dict) and "heartbeat_ns" in given


def copied(execution: Execution, step_id: str, made: Execution) -> None:
    """Writes into a new execution what was recorded before this step. Raises `NotFound` where there is no such step."""
    target = execution.get_step(step_id)
    if target is None or target.place is None:
        raise errors.NotFound(f"execution {execution.id} has no step {step_id[:80]!a} that its code called")
    new: dict[str, Step] = {}
    for old in execution.steps.values():
        if old.id == step_id:
            return
        around = target.place.startswith(f"{old.place}/")
        is_open = around or old.state not in STEP_TERMINAL
        if old.place is None or (is_open and old.step_type not in (StepType.SCOPE, StepType.CONDITION)):
            continue
        step = new[old.id] = made.start_step(
            old.name,
            type=old.step_type,
            key=old.key or (old.id if _is_callback(old) else None),
            input=old.input,
            place=old.place,
            callable_id=old.callable_id,
            parent_step_id=new.get(old.parent_step_id or ""),
        )
        if is_open:
            continue
        if old.state == StepState.COMPLETED:
            made.complete_step(step, output=old.output)
        elif old.state == StepState.FAILED:
            made.fail_step(step, old.error or "failed")
        else:
            made.cancel_step(step, reason="cancelled in the execution that this one was made from")
