"""Cancelling, pausing, deadlines, doubt: how an execution comes to a stop before its blueprint does by itself.

A cancelled blueprint gets one `CancelledError`, where it is at that moment; what it does then, in `finally` or
`except`, may run steps. After a crash the same happens again: the blueprint is replayed as far as the record goes, and
then cancelled. A paused execution starts nothing; what runs is interrupted, and tried again when it is resumed.
"""

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

from .. import encoding, errors, model
from .._spec import EXECUTION_TERMINAL, ExecutionState
from ..clock import to_ns
from ..failures import ExecutionError
from ..store import Delivery
from . import diverging
from .operations import for_ever

if TYPE_CHECKING:
    from .core import Execution, Step
    from .places import Call
    from .run import Run

log = logging.getLogger("stepwell")

INTERRUPTED: Final = "interrupted"
"""The code of an attempt that ended before its time; it does not count against `max_attempts`."""
IN_DOUBT: Final = "in_doubt"
"""The reason of an execution that is paused because nobody knows whether a step with `effect="once"` was done."""
_QUIET_TURNS: Final = 5
_LOOK_S: Final = 0.005
_REPLAY_S: Final = 5.0
"""How long code may take to come to the end of its record before it is cancelled all the same."""


class Stop:
    """The wish that an execution ends. `heard`: its code was cancelled. `taken`: the delivery that asked for it.

    The delivery stays in the inbox until the end is recorded: whoever takes the execution up before that sees it, too.
    """

    __slots__ = ("at_ns", "heard", "holding", "kind", "reason", "since", "taken")

    def __init__(self, kind: str, reason: str | None, taken: str | None = None, at_ns: int = 0) -> None:
        self.kind = kind
        self.at_ns = at_ns
        self.reason = reason
        self.taken = taken
        self.heard = False
        self.since = 0.0
        self.holding: list[asyncio.Future[None]] = []

    def record(self, execution: "Execution") -> ExecutionError:
        """Ends the execution, and returns the error that whoever waits for its result gets."""
        if self.kind == "cancel":
            execution.cancel(self.reason)
            return ExecutionError("tool", "cancelled", self.reason or "the execution was cancelled")
        failure = ExecutionError("quota_exceeded", "max_wall_time_ms", self.reason or "")
        execution.fail(failure)
        return failure


def asked(run: "Run", delivery: Delivery) -> None:
    """Somebody asks for it from outside."""
    given = encoding.decode(delivery.body)
    reason = given.get("reason") if isinstance(given, dict) else None
    reason = reason if isinstance(reason, str) else None
    if delivery.kind == "cancel":
        request(run, Stop(delivery.name or "cancel", reason, delivery.id, delivery.at_ns))
    elif run.stop is not None or run.overrules_pauses:  # it is ending, or was resumed since
        run.journal.taken.append(delivery.id)
    else:
        pause(run, reason, delivery.id)


def request(run: "Run", stop: Stop) -> None:
    """Has the blueprint cancelled once it has come to the end of its record."""
    if run.stop is not None or run.left is not None or run.over:
        return
    if (
        run.execution.state == ExecutionState.PAUSED
    ):  # what still runs of it keeps it here: it ends from here, too
        run.execution.resume()
    run.stop = stop
    stop.since = run.loop.time()
    run.held = True
    for attempt in run.attempts.values():
        attempt.stop()
    run.loop.call_soon(_inject_when_quiet, run, run.replays, 0)


def _inject_when_quiet(run: "Run", replays: int, turns: int) -> None:
    stop = run.stop
    if stop is None or stop.heard or run.left is not None or run.over:
        return
    if run.threads_running and run.replayed:  # until it comes to its next call
        run.loop.call_later(_LOOK_S, _inject_when_quiet, run, run.replays, 0)
        return
    if run.root is None or run.replays != replays:
        turns = 0
    if turns < (_QUIET_TURNS if run.replayed else 1):
        run.loop.call_soon(_inject_when_quiet, run, run.replays, turns + 1)
        return
    if run.is_replaying and run.loop.time() < stop.since + _REPLAY_S:
        run.loop.call_later(_LOOK_S, _inject_when_quiet, run, run.replays, 0)
        return
    stop.heard = True
    run.end_places()
    for held in stop.holding:
        if not held.done():
            held.set_result(None)
    if run.root is not None:
        run.root.cancel()


def is_coming(run: "Run") -> bool:
    """Whether the code will be cancelled, and was not yet: what it is inside of is entered again until then."""
    if run.stop is None or run.stop.heard or run.left is not None or run.over:
        return False
    return run.execution.state != ExecutionState.PAUSED


async def before_start(run: "Run", call: "Call | None" = None) -> bool:
    """Holds up a call that would start something while the execution stops.

    `True` where the call has another place now: what runs after the code was cancelled is counted by itself, because
    nobody can say in the next life how far the code would have come before.
    """
    if run.left is not None or run.over or run.execution.state == ExecutionState.PAUSED:
        await for_ever()
    if run.stop is None:
        return False
    await _heard(run, run.stop)
    await asyncio.sleep(0)  # a cancellation that is on its way arrives here, before anything is begun
    check_left(run)
    return call is not None and call.moved()


async def _heard(run: "Run", stop: Stop) -> None:
    if not stop.heard:
        held: asyncio.Future[None] = run.loop.create_future()
        stop.holding.append(held)
        await held


async def before_recorded(run: "Run", call: "Call", step: "Step") -> None:
    """Holds up the answer of a call during which the code was cancelled in an earlier life.

    Where that died before it recorded any of the cleanup, such a call is the last one, and ended after the wish came.
    """
    stop = run.stop
    if stop is None or stop.heard:
        return
    last = call.scope.path not in run.ended_places() and not call.scope.is_replaying
    late = step.ended_at is not None and to_ns(step.ended_at, "ended_at") > stop.at_ns
    if was_cancelled_at(run, call.place) or (last and late):
        await _heard(run, stop)


def was_cancelled_at(run: "Run", place: str) -> bool:
    """Whether the code was cancelled in an earlier life during this call, which kept its outcome."""
    path, number = diverging.split(place)
    known = run.ended_places().get(path)
    return known is not None and known[2] and known[1] == number + 1


def check_left(run: "Run") -> None:
    """Code of an execution that was left goes no further, whatever it catches."""
    if run.left is not None or run.over:
        raise asyncio.CancelledError


def was_cancelled(run: "Run") -> bool:
    """Whether the task that runs was cancelled with its execution, whatever its code made of that."""
    if run.stop is None or not run.stop.heard:
        return False
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def outcome_of(run: "Run", outcome: "asyncio.Future[Any]", current: "Call | None" = None) -> Any:
    """What a thread returns. It cannot be stopped: it is waited for, unless the execution is left."""
    while True:
        waiting = asyncio.shield(outcome)
        if current is None:
            run.quiet.add(waiting)
        try:
            return await waiting
        except asyncio.CancelledError:
            outcome.add_done_callback(seen)
            run.check_host()
            if current is not None:
                current.stop()
            if outcome.done() or run.left is not None or run.over:
                raise
            if current is None:
                if run.stop is None:
                    raise
                run.stop_threads()
            elif run.stop is None and run.execution.state != ExecutionState.PAUSED:
                raise
        finally:
            run.quiet.discard(waiting)


def seen(outcome: "asyncio.Future[Any]") -> None:
    """An outcome that nobody asks for, or waits for any more, is no forgotten error: it is in the record, or left."""
    if not outcome.cancelled():
        outcome.exception()


# --- pausing ------------------------------------------------------------------------------------------------------


def pause(run: "Run", reason: str | None, taken: str | None = None) -> None:
    """Starts nothing more, interrupts what can be, and leaves the execution when the rest has ended."""
    if run.left is not None or run.over or run.execution.state in EXECUTION_TERMINAL:
        return
    if run.execution.state != ExecutionState.PAUSED:
        run.execution.pause(reason)
        if taken is not None:
            run.journal.taken.append(taken)
    run.held = True
    _ = run.journal.durable()
    for attempt in list(run.attempts.values()):
        attempt.interrupt()
    after_attempt(run)


async def interrupted(run: "Run", step: "Step") -> None:
    """An attempt was ended by a pause: it will be made again."""
    error = ExecutionError("tool", INTERRUPTED, "the execution was paused", attempt=step.attempt)
    run.execution.retry_step(step, error)
    run.active -= 1
    try:
        after_attempt(run)
        await for_ever()
    finally:
        run.active += 1


def after_attempt(run: "Run") -> None:
    """Leaves a paused execution where nothing of it runs any more."""
    if run.execution.state == ExecutionState.PAUSED and run.active == 0:
        run.leave(errors.LeftMemory(f"execution {run.execution.id} is paused"))


def doubt(run: "Run", step: "Step") -> None:
    """Nobody knows whether this step was done: the execution waits for `settle`."""
    message = (
        f"step {step.name!r} ({step.id}) was running when its process ended, and must not be done twice: find out "
        "whether it was done, and tell with `settle`"
    )
    log.warning("execution %s is paused: %s", run.execution.id, message)
    run.kernel.tell("_step_in_doubt", run.execution, step)
    pause(run, IN_DOUBT)


# --- deadlines ----------------------------------------------------------------------------------------------------


def set_deadline(run: "Run") -> None:
    """Has the execution stopped when it has run as long as its tenant's limits allow."""
    limit = run.kernel.max_wall_time_ms
    started = run.execution.started_at
    if limit is None or started is None:
        return
    due = to_ns(started, "started_at") + limit * 1_000_000
    message = f"the execution has run for more than {limit} ms, which its tenant's limits allow"
    run.deadline_ns = due
    timers, context = run.kernel.timers, run.kernel.context

    def near() -> None:
        used = (run.kernel.clock.now_ns() - due) / 1e6 + limit
        if used <= limit:
            model.warn(context.on_warning, "max_wall_time_ms", used, float(limit))
        run.deadline = timers.at(due, lambda: _passed(run, message))

    if context.on_warning is None:
        run.deadline = timers.at(due, lambda: _passed(run, message))
    else:
        run.deadline = timers.at(to_ns(started, "started_at") + int(limit * 1e6 * model.WARN_AT), near)


def _passed(run: "Run", message: str) -> None:
    """The deadline has come. It is kept as a wish like any other: whoever takes it up next ends it, too."""
    if run.stop is not None or run.left is not None or run.over:
        return
    if run.execution.state == ExecutionState.PAUSED:  # the time it is paused is looked at when it goes on
        return
    kernel, body, now = run.kernel, encoding.encode({"reason": message}), run.kernel.clock.now_ns()
    _ = kernel.store.deliver(run.execution.id, "cancel", "cancel", "deadline", body, now)
    request(run, Stop("deadline", message, "cancel", now))
