"""A rehearsal: a blueprint's code is run against a record, on a copy. No step runs and nothing is written.

It answers what a kernel would find if it took the execution up with the code as it is now. An execution that has ended
is rehearsed to its end; one that has not as far as its record goes.
"""

import asyncio
import contextvars
import copy
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from .. import encoding, errors
from .._spec import EXECUTION_TERMINAL, STEP_TERMINAL, ExecutionState, StepState
from . import diverging, idling, performing, renewing, stopping
from .core import Execution, Step
from .functions import Blueprint
from .groups import Group
from .kernel import Kernel
from .operations import for_ever
from .places import Call, Inside, Scope
from .run import Run
from .values import Codec
from .waits import Callback

if TYPE_CHECKING:
    from .journaling import Journaling

STUCK_S: Final = 5.0
"""How long code may do something else than stepwell's before it counts as waiting for that."""
_TURNS: Final = 6
_BUSY_TURNS: Final = 60
_JUMPS: Final = 1_000
_REPLAYED: Final = 2
"""A version from which on a run counts as a replay: all of a rehearsal is one."""
_UNSURE: Final = frozenset({"quota_exceeded", "kernel_internal", "validation"})
"""An execution that failed with these may have failed in a call that left no record."""


class Waiting(NamedTuple):
    """Where code waits in a rehearsal. Without `step_id` the record has nothing there: a kernel would begin it."""

    place: str
    name: str
    type: str
    source: str | None
    step_id: str | None

    def __str__(self) -> str:
        what = "begins" if self.step_id is None else "waits in"
        return f"{what} {self.type} {self.name!r} at place {self.place} ({self.source})"


class Rehearsed(NamedTuple):
    """What the code did. `ended`: it went to its end, with `output` (as it is recorded) or `error`."""

    ended: bool
    output: Any
    error: BaseException | None
    waits: tuple[Waiting, ...]


class _Unwritten:
    """In the place of a `Journaling`: what is recorded stays in memory."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.epoch = 0
        self.failed: BaseException | None = None
        self.progress = True
        self.taken: list[str] = []
        self.opened: list[str] = []

    def soon(self, level: str | None = None) -> None:
        """See `Journaling`."""

    def durable(self) -> "asyncio.Future[None]":
        """See `Journaling`."""
        done: asyncio.Future[None] = self._loop.create_future()
        done.set_result(None)
        return done

    def kept(self, level: str | None = None) -> None:
        """See `Journaling`."""

    def close(self) -> "asyncio.Future[None]":
        """See `Journaling`."""
        return self.durable()


class Rehearsal(Run):
    """A run that only answers from the record."""

    journal: "Journaling"
    rehearses = True

    def __init__(self, kernel: Kernel, blueprint: Blueprint[..., Any], execution: Execution) -> None:
        super().__init__(kernel, blueprint, execution, 0, max(execution.version, _REPLAYED))
        self.journal = _Unwritten(self.loop)  # type: ignore[assignment]
        self.has_ended = execution.state in EXECUTION_TERMINAL
        self.broken: errors.DivergenceError | None = None
        self.waiting: dict[asyncio.Future[Any], Waiting] = {}
        self.to_be_cancelled = 0

    def begin(self, context: contextvars.Context) -> None:
        """Starts the code."""
        body = self._body(self.new_scope(""), context.copy())
        self.root = self.loop.create_task(body, name="stepwell rehearsal", context=context.copy())

    def halt(self, reason: str, error: BaseException) -> None:  # noqa: ARG002
        """Code and record differ."""
        if isinstance(error, errors.DivergenceError):
            self.broken = error
        self.leave(error)

    def takes_new_way(self, scope: Scope) -> bool:
        """See `Run`; one that has ended went past it before there was the question."""
        return not self.has_ended and super().takes_new_way(scope)

    async def rehearsed(self, call: Call) -> Any:
        """The outcome of a call, if the record has it."""
        if self.left is not None:
            await for_ever()
        step = self.recorded.get(call.place)
        if step is None:
            await self.wait_at(call, None)
        assert step is not None
        await performing.compare(self, call, step)
        if self.stop is None and stopping.was_cancelled_at(self, call.place):
            return await self.wait_at(call, step)
        await performing.breathe(self, None if call.op.replays_itself else call)
        if call.op.replays_itself:
            return _Answered(self, call, step)
        if step.state == StepState.COMPLETED:
            return call.op.result(self, step)
        if step.state == StepState.FAILED:
            raise performing.recorded_error(step)
        if isinstance(call.op, Group) and step.state not in STEP_TERMINAL:
            try:
                await call.op.inside(self, call, step, Inside())
            except Exception:  # noqa: BLE001, S110 - a kernel would record it: the rehearsal ends before that
                pass
        return await self.wait_at(call, step)

    async def wait_at(self, call: Call, step: Step | None) -> Any:
        """The record has no more for this call."""
        waiting: asyncio.Future[Any] = self.loop.create_future()
        step_id = None if step is None else step.id
        self.waiting[waiting] = Waiting(call.place, call.op.name, str(call.op.type), call.source, step_id)
        self.quiet.add(waiting)
        # Its own code cancelled it, and is about to do so again.
        cancelled = step is not None and step.state in STEP_TERMINAL
        self.to_be_cancelled += cancelled
        try:
            await waiting
        finally:
            self.to_be_cancelled -= cancelled
            self.quiet.discard(waiting)
            del self.waiting[waiting]


class _Answered(Callback[Any]):
    """A callback of a rehearsal."""

    async def _result(self) -> Any:
        run, step = self._run, self._step
        assert isinstance(run, Rehearsal)
        run.replays += 1
        await self._turn()
        if run.left is not None:
            await for_ever()
        if step.state == StepState.COMPLETED:
            return self._call.op.result(run, step)
        if step.state == StepState.FAILED:
            raise performing.recorded_error(step)
        return await run.wait_at(self._call, step)


class _Loop(asyncio.SelectorEventLoop):
    """A loop whose time can be put forward, so that code's own timers need no waiting."""

    ahead = 0.0

    def time(self) -> float:
        """The loop's clock."""
        return super().time() + self.ahead

    def jump(self) -> bool:
        """Puts the time forward to the next timer, if there is one."""
        due = [timer.when() for timer in self._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]
        if not due:
            return False
        self.ahead += max(0.0, min(due) - self.time())
        return True


def rehearse(
    execution: Execution,
    blueprint: Blueprint[..., Any],
    codec: Codec | None = None,
    ended: Callable[[], Sequence[str]] | None = None,
) -> Rehearsed:
    """Runs the code of a blueprint against the record of an execution, on a loop of its own that nothing else uses.

    `ended` is asked for the ids of its steps in the order in which they ended, where their times do not say that.
    Raises `DivergenceError` where they differ, `SchemaMismatch` where the blueprint does not accept its version,
    `ValidationError` where its arguments do not fit.
    """
    blueprint.check_version(execution.schema_version)
    loop = _Loop()
    # What tasks raise that nobody waits for has been told by the run that made the record.
    loop.set_exception_handler(lambda _loop, _context: None)
    try:
        return loop.run_until_complete(_rehearse(loop, copy.copy(execution), blueprint, codec, ended))
    finally:
        loop.close()


async def _rehearse(
    loop: _Loop,
    execution: Execution,
    blueprint: Blueprint[..., Any],
    codec: Codec | None,
    ended: Callable[[], Sequence[str]] | None,
) -> Rehearsed:
    tenant = execution.tenant_id or "rehearsal"
    async with Kernel("memory", tenant=tenant, execute=False, codec=codec) as kernel:
        run = Rehearsal(kernel, blueprint, execution)
        if ended is not None and run.order is not None:
            run.order.ended = lambda: _given(ended)
        run.begin(kernel.bare_context())
        try:
            await _until_quiet(loop, run)
            if _is_to_be_stopped(run) and run.root is not None and not run.root.done() and run.left is None:
                run.stop = stopping.Stop("cancel", execution.reason)
                run.stop.heard = True
                run.end_places()
                run.root.cancel()
                await _until_quiet(loop, run)
            return _judged(run)
        finally:
            run.leave(errors.KernelClosed("the rehearsal is over"))
            await run.wind_up()


async def _given(ended: Callable[[], Sequence[str]]) -> Sequence[str]:
    return ended()  # it blocks, and nothing else is on this loop


def _was_stopped(execution: Execution) -> bool:
    """Whether its code was cancelled from outside."""
    failure = execution.error
    deadline = failure is not None and failure.code == "max_wall_time_ms"
    return execution.state == ExecutionState.CANCELLED or deadline


def _is_to_be_stopped(run: Rehearsal) -> bool:
    """The same, also where the code went on all the same."""
    return _was_stopped(run.execution) or bool(run.ended_places())


async def _until_quiet(loop: _Loop, run: Rehearsal) -> None:
    """Returns when the code has ended, differs, or waits."""
    still, jumps, since = 0, 0, time.monotonic()
    before = (-1, -1, False)
    while run.left is None and run.root is not None and not run.root.done():
        await asyncio.sleep(0)
        busy = idling.may_run(run)
        now = (run.replays, len(run.waiting), busy)
        if now != before:
            before, still, jumps, since = now, 0, 0, time.monotonic()
            continue
        still += 1
        if run.threads_running:
            time.sleep(0.0005)  # noqa: ASYNC251 - nothing else is on this loop
        if still < (_BUSY_TURNS if busy else _TURNS):
            continue
        # Its own timers are put forward where they are what it waits for, and not over what it waits for in the record.
        may_jump = run.to_be_cancelled if run.threads_running else busy or run.to_be_cancelled
        if may_jump and not _is_to_be_stopped(run) and jumps < _JUMPS and loop.jump():
            jumps, still = jumps + 1, 0
        elif not busy or time.monotonic() - since > STUCK_S:
            return


def _judged(run: Rehearsal) -> Rehearsed:
    root, execution = run.root, run.execution
    if run.broken is not None:
        raise run.broken
    assert root is not None
    missing = diverging.missing(run) if run.stop is None else None
    if missing is not None:
        raise diverging.error(*missing, then="nothing was run")
    waits = tuple(run.waiting.values())
    if not root.done() or root.cancelled():
        if run.has_ended and not _was_stopped(execution):
            _check_went_on(execution, waits)
        return Rehearsed(root.done(), None, asyncio.CancelledError() if root.done() else None, waits)
    error, output = root.exception(), None
    if error is None:
        try:
            output = encoding.decode(encoding.encode(run.blueprint.encoded(run, root.result())))
        except errors.ValidationError as refusal:
            error = refusal
    if run.has_ended and not _was_stopped(execution):
        _check_end(execution, error)
    return Rehearsed(True, output, error, () if run.has_ended else waits)


def _check_went_on(execution: Execution, waits: tuple[Waiting, ...]) -> None:
    """The code of an execution that ended does not end."""
    failure = execution.error
    if failure is not None and str(failure.category) in _UNSURE:
        return
    new = next((wait for wait in waits if wait.step_id is None), None)
    where = new or next(iter(waits), None)
    does = "waits for something that is not in the record" if where is None else f"{where}"
    place, source = ("", None) if where is None else (where.place, where.source)
    why = f"the record ends with the execution as {execution.state}, and the code {does}"
    raised = diverging.error(place, source, None, None, why, then="nothing was run")
    raised.called = None if new is None else {"name": new.name, "input": None}
    raise raised


def _check_end(execution: Execution, error: BaseException | None) -> None:
    """The code of an execution that ended comes to its end: it has to be one of the same kind."""
    if isinstance(error, renewing.ContinueAsNew):
        now = ExecutionState.COMPLETED
        differs = renewing.renewed(execution.output) is None
    else:
        now = ExecutionState.COMPLETED if error is None else ExecutionState.FAILED
        differs = now != execution.state or renewing.renewed(execution.output) is not None
    if differs:
        what = "returns" if error is None else f"raises {error.__class__.__name__}"
        why = f"the record ends with the execution as {execution.state}, and the code {what}"
        raise diverging.error("", None, None, None, why, then="nothing was run") from error
