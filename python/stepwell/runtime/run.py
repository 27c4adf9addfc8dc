"""One execution while a kernel runs it: the blueprint's task or thread, its scopes, and how it ends."""

import asyncio
import inspect
import logging
import threading
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import TYPE_CHECKING, Any, Final

from .. import errors
from .._spec import EXECUTION_TERMINAL, STEP_TERMINAL, ExecutionState, StepType
from ..failures import ExecutionError
from ..store import Delivery
from . import children, diverging, ordering, places, renewing, stopping
from .core import Execution, Step
from .functions import Blueprint
from .gates import Gate
from .journaling import Journaling
from .operations import awaited, never_ends
from .places import Call, Driver, Scope
from .threaded import Threaded
from .waiting import Waits

if TYPE_CHECKING:
    from .kernel import Kernel
    from .timers import Timer

log = logging.getLogger("stepwell")

WIND_UP_SECONDS: Final = 5.0
_UNSEEN_PER_TURN: Final = 64


class Run(Threaded):
    """An execution that this kernel runs. Everything but a def blueprint's own code happens on the loop."""

    rehearses = False
    """Whether nothing is to be done that the record does not have."""

    __slots__ = (
        "__weakref__",
        "_ended_places",
        "_recorded_tasks",
        "_scopes",
        "_tasks",
        "active",
        "attempts",
        "blueprint",
        "bodies",
        "deadline",
        "deadline_ns",
        "ended",
        "execution",
        "fresh",
        "gates",
        "has_codec",
        "hears_nothing",
        "held",
        "is_told",
        "journal",
        "kernel",
        "late",
        "left",
        "loop",
        "open",
        "order",
        "over",
        "overrules_pauses",
        "passes_on",
        "patches",
        "quiet",
        "recorded",
        "replayed",
        "replays",
        "root",
        "stop",
        "thread",
        "unseen",
        "waited",
        "waits",
    )

    def __init__(
        self, kernel: "Kernel", blueprint: Blueprint[..., Any], execution: Execution, epoch: int, stored: int
    ) -> None:
        self.kernel = kernel
        self.blueprint = blueprint
        self.execution = execution
        self.loop = asyncio.get_running_loop()
        self.thread = threading.get_ident()
        self.journal = Journaling(
            execution, kernel.store, epoch, stored, self.leave, kernel.durability, kernel.late
        )
        self.replayed = stored > 1
        self.waited = self.replayed and execution.state == ExecutionState.WAITING
        self.recorded: dict[str, Step] = {}
        self.open: dict[str, Step] = {}  # by their places
        self.active = 0
        self.replays = 0
        self.unseen = 0
        self.is_told = bool(kernel.hooks)
        self.has_codec = kernel.codec is not None
        self.fresh = False
        self.left: BaseException | None = None
        self.over = False
        self.held = False
        self.overrules_pauses = False
        # What comes is for the execution that this one goes on as: no wait takes a signal.
        self.passes_on = False
        self.hears_nothing = False  # it is about to end so: nobody cancels or pauses it any more
        self.stop: stopping.Stop | None = None
        self.attempts: dict[str, Call] = {}
        self.late: set[asyncio.Task[Any]] | None = (
            None  # tasks that were cancelled when their step had its outcome
        )
        self.patches: dict[str, bool] = {}
        self.quiet: set[asyncio.Future[Any]] = set()
        self.ended: asyncio.Future[Any] = self.loop.create_future()
        self.ended.add_done_callback(stopping.seen)
        self.waits = Waits(self)
        self.journal.wake = self.waits.wake_at
        self.journal.progress = not self.replayed
        self.order: ordering.Order | None = None
        self._scopes: dict[str, Scope] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self.root: asyncio.Task[Any] | None = None
        self.deadline: Timer | None = None
        self.deadline_ns: int | None = None
        self.bodies = 0
        self.gates: dict[Gate, asyncio.Task[Any]] = {}
        self._ended_places: dict[str, tuple[str, int, bool]] | None = None
        self._recorded_tasks: dict[str, int] | None = None
        if self.replayed:
            diverging.index(self)
            self.order = ordering.Order(self)
            self.passes_on = renewing.PLACE in self.recorded

    # --- beginning and ending -------------------------------------------------------------------------------------

    def begin(self, context: Context) -> None:
        """Starts the blueprint, in a copy of the given context."""
        if self.left is not None:  # what lay in its inbox had it paused
            self._resolve(self.left)
            return
        self.kernel.tell("execution_started", self.execution, self.replayed)
        scope = self.new_scope("")
        try:
            body = self._body(scope, context.copy())
        except errors.ValidationError as problem:
            body = self._unfit(problem)
        self.root = self.loop.create_task(body, name=f"stepwell {self.execution.id}", context=context.copy())
        self.root.add_done_callback(self._returned)
        stopping.set_deadline(self)
        if self.replayed:
            self.waits.look()

    def _body(self, scope: Scope, context: Context) -> Coroutine[Any, Any, Any]:
        args, kwargs = self.blueprint.arguments(self)
        fn = self.blueprint.fn
        if self.blueprint.is_async:
            return Driver(fn(*args, **kwargs), scope)
        return self.in_thread(scope, lambda: fn(*args, **kwargs), context)

    async def _unfit(self, problem: errors.ValidationError) -> Any:
        """The code does not take the recorded arguments. If it did once, it was changed since, and can be mended."""
        if self.replayed:
            self.park("", None, None, None, str(problem))
        raise problem

    def _returned(self, root: "asyncio.Task[Any]") -> None:
        """The blueprint is through: by itself, or because the execution was left."""
        error: BaseException | None = None
        if root.cancelled():
            if self.stop is not None:
                error = asyncio.CancelledError()
            elif self.left is None and not self.kernel.is_interrupted:
                error = ExecutionError(
                    "tool", "execution_failed", "the blueprint awaited something that was cancelled"
                )
            else:
                self.leave(self._interrupted())
        else:
            error = root.exception()
        if self.left is None and error is not None and not isinstance(error, Exception):
            if isinstance(error, renewing.ContinueAsNew):
                pass
            elif not (isinstance(error, asyncio.CancelledError) and self.stop is not None):
                self.leave(error)
        if self.left is not None:
            self._resolve(self.left)
            return
        closing = self._close(None if error is not None else root.result(), error)
        task = self.loop.create_task(closing)
        self._tasks.add(task)
        task.add_done_callback(self._closed)

    def _closed(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if task.cancelled():
            self.leave(self._interrupted())
        elif task.exception() is not None:
            self.leave(task.exception() or errors.InternalError("unreachable"))
        if self.left is not None:
            self._resolve(self.left)

    async def _close(self, output: Any, error: BaseException | None) -> None:
        """Records the end, and makes it known once it is durable."""
        missing, new = diverging.missing(self), None
        if missing is not None and self.stop is None:
            self.park(*missing)
            return
        if isinstance(error, renewing.ContinueAsNew):
            new = await renewing.renew(self, error)
            if self.left is not None:
                return
        if self.open:
            await children.cascade(self, None if self.stop is None else self.stop.reason)
        if self.left is not None:
            return
        self.over = self.held = True
        if self.deadline is not None:
            self.deadline.cancel()
        for task in list(self._tasks):
            if task is not asyncio.current_task():
                task.cancel()
        self.waits.close()
        self.run_again()
        failure = self._record_end(output, error, new)
        for call in self.attempts.values():
            self.kernel.tell("step_ended", self.execution, call.step)
        await self.journal.durable()
        self.kernel.tell("execution_ended", self.execution)
        self._resolve(failure)

    def _record_end(
        self, output: Any, error: BaseException | None, new: dict[str, str] | None
    ) -> ExecutionError | None:
        if self.stop is not None and self.stop.taken is not None:
            self.journal.taken.append(self.stop.taken)
        if isinstance(error, asyncio.CancelledError) and self.stop is not None:
            return self.stop.record(self.execution)
        if error is None or new is not None:
            for step in list(self.open.values()):
                if step.state not in STEP_TERMINAL:
                    self.execution.cancel_step(step, reason="its blueprint returned")
            self.open.clear()
            try:
                self.execution.complete(self.blueprint.final(self, output) if new is None else new)
                return None
            except errors.ValidationError as refusal:
                error = refusal
        failure = ExecutionError.from_exception(error)
        if failure is not error and failure.__cause__ is None:
            failure.__cause__ = error
        self.execution.fail(failure)
        return failure

    def _resolve(self, error: BaseException | None) -> None:
        if not self.ended.done():
            if error is None:
                self.ended.set_result(None)
            else:
                self.ended.set_exception(error)
        self.kernel.forget(self)

    def leave(self, reason: BaseException) -> None:
        """Stops running the execution here. What is recorded stays; nothing more is recorded by its code."""
        if self.left is not None:
            return
        self.left = reason
        self.held = True
        self.waits.close()
        if self.deadline is not None:
            self.deadline.cancel()
        for gate in list(self.gates):
            gate.give_up()
        for task in [*self._tasks, *([] if self.root is None else [self.root])]:
            task.cancel()
        self.loop.call_soon(self._end_parked, 0.001)

    def check_host(self) -> None:
        """Code of the execution is being cancelled. Where the host ends its loop, that is no reason to clean up."""
        if self.left is None and self.kernel.is_interrupted:
            self.leave(self._interrupted())

    def _interrupted(self) -> errors.KernelClosed:
        return errors.KernelClosed(f"execution {self.execution.id} was interrupted; its record is kept")

    def _end_parked(self, pause: float) -> None:
        """Code that is left may call steps in `finally`: each such call is cancelled, too, until it has ended."""
        live = self.live_tasks()
        if self.ended.done() and not live:
            return
        if pause > WIND_UP_SECONDS:
            self._resolve(self.left)
            return
        for task in live:
            if never_ends(task):
                task.cancel()
        self.loop.call_later(pause, self._end_parked, pause * 2)

    async def wind_up(self) -> None:
        """After `leave`: lets the code end, a while at most, and writes what it recorded before."""
        tasks = [task for task in (*self._tasks, self.root) if task is not None and not task.done()]
        if tasks:
            _, stubborn = await asyncio.wait(tasks, timeout=WIND_UP_SECONDS)
            if stubborn:
                log.warning(
                    "code of execution %s does not end when it is cancelled; left as it is", self.execution.id
                )
        lost = self.journal.failed
        await self.journal.close()
        if lost is None and self.journal.failed is not None:
            log.warning(
                "what execution %s recorded last could not be written: %s",
                self.execution.id,
                self.journal.failed,
            )

    def park(
        self, place: str, source: str | None, recorded: Step | None, call: Call | None, why: str
    ) -> None:
        """Pauses the execution because its code and its record differ, and leaves it."""
        if self.left is None:
            then = "nothing was run" + ("" if self.rehearses else ", and the execution is paused")
            found = diverging.error(place, source, recorded, call, why, then)
            self.halt(diverging.reason(place, why), found)

    def halt(self, reason: str, error: BaseException) -> None:
        """Pauses the execution for this reason and leaves it."""
        if self.execution.state != ExecutionState.PAUSED:
            self.execution.pause(reason[:4096])
        waiting = self.journal.durable()
        self.leave(error)
        waiting.add_done_callback(lambda _: None)

    # --- scopes and tasks -----------------------------------------------------------------------------------------

    def new_scope(self, path: str, step: Step | None = None, inside: places.Inside | None = None) -> Scope:
        """A scope with this path; `step` is the group that it belongs to, and `inside` what that began."""
        path = places.shortened(path)
        scope = self._scopes[path] = Scope(self, path, step, inside)
        return scope

    def scope_at(self, path: str) -> Scope | None:
        """The scope with this path, if its code ran in this life."""
        return self._scopes.get(path)

    def has_task(self, path: str, number: int) -> bool:
        """Whether the record has steps of this task of a scope, or of one that it makes later."""
        if self._recorded_tasks is None:
            self._recorded_tasks = diverging.recorded_tasks(self.recorded)
        return self._recorded_tasks.get(path, -1) >= number

    def takes_new_way(self, scope: Scope) -> bool:
        """Whether code that asks for the first time which way to take is past what the record has."""
        # Where any of its code has not come to the end of its record, that may lie past the question elsewhere.
        behind = scope.is_replaying or self.is_replaying
        return not (behind or diverging.has_ended_like(self, scope.step))

    def live_tasks(self) -> "set[asyncio.Task[Any]]":
        """The tasks of the blueprint that have not ended."""
        return {task for task in (self.root, *self._tasks) if task is not None and not task.done()}

    def is_turn(self) -> bool:
        """Whether others should have the loop now, though nothing is waited for: the host, or tasks just made."""
        self.unseen += 1
        return self.fresh or self.unseen % _UNSEEN_PER_TURN == 0

    def adopt(self, task: "asyncio.Task[Any]") -> None:
        """Remembers a task that the blueprint made, to end it with the execution."""
        self.fresh = True
        self._tasks.add(task)
        task.add_done_callback(self._adopted_ended)
        if self.left is not None or self.over:
            task.cancel()

    def _adopted_ended(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if len(self.waits):  # perhaps the last one that did something else
            self.waits.idle_soon()

    async def run_body(
        self, fn: Callable[..., Any], args: tuple[Any, ...], scope: Scope, blocking: bool
    ) -> Any:
        """Runs a function of the blueprint in a scope of its own: in this task, or in a thread where it blocks.

        `blocking`: it was called in a thread. Else a lambda is taken for the one line round an `await` that it is.
        """
        from .functions import is_async, is_lambda

        if is_async(fn) or (not blocking and is_lambda(fn)):
            return await self._in_task(lambda: fn(*args), scope)
        value = await self.in_thread(scope, lambda: fn(*args))
        return await self._in_task(lambda: value, scope) if inspect.isawaitable(value) else value

    async def _in_task(self, work: Callable[[], Any], scope: Scope) -> Any:
        scope.owner, scope.blocking = asyncio.current_task(), False
        token = places.enter(scope)
        try:
            body = awaited(work)
            result = await (body if places.is_driven() else places.InnerDriver(body, scope))
            scope.ended = True
            return result
        finally:
            places.leave(token)

    # --- calls ----------------------------------------------------------------------------------------------------

    async def rehearsed(self, call: Call) -> Any:
        """The outcome of a call where `rehearses`."""
        raise NotImplementedError

    def end_places(self) -> None:
        """The code is being cancelled: what it calls from here on has places of its own."""
        for scope in self._scopes.values():
            if scope.owner is not None and not isinstance(scope.owner, int):
                scope.end_places()

    def ended_places(self) -> dict[str, tuple[str, int, bool]]:
        """By the paths of scopes that were cancelled in an earlier life: what their places began with after that.

        And after how many calls it was, and whether the last of those kept its outcome.
        """
        if self._ended_places is None:
            self._ended_places = diverging.ended_places(self.recorded)
        return self._ended_places

    @property
    def is_replaying(self) -> bool:
        """Whether code that runs has not come to the end of its record, or not even begun."""
        if not self.replayed:
            return False
        if self.order is not None and self.order.is_holding:
            return True
        live = (scope for scope in self._scopes.values() if scope.owner is not None and not scope.ended)
        groups = (step for step in self.open.values() if step.step_type == StepType.SCOPE)
        return any(scope.is_replaying for scope in live) or any(
            places.shortened(f"{place}/") not in self._scopes
            for place in (step.place for step in groups)
            if place is not None and not diverging.is_of_cleanup(place)
        )

    def no_longer_open(self, step: Step) -> None:
        """A step that was begun here, or in an earlier life, has ended."""
        self.open.pop(step.place or step.id, None)

    # --- states ---------------------------------------------------------------------------------------------------

    def run_again(self) -> None:
        """Leaves the state `waiting`, where the execution is in it."""
        if self.execution.state == ExecutionState.WAITING:
            self.execution.resume()

    def asked(self, delivery: Delivery) -> None:
        """Somebody wants the execution to be cancelled or paused."""
        stopping.asked(self, delivery)

    @property
    def is_stopping(self) -> bool:
        """Whether what still runs should come to an end."""
        return self.stop is not None or self.left is not None or self.over

    def root_cancelled(self) -> bool:
        """Whether the blueprint as a whole was asked to stop, from outside of this kernel.

        That its own code cancelled its task, as `asyncio.timeout` does, is part of what it does.
        """
        return self.stop is None and (self.root is None or self.root.done() or self.kernel.is_interrupted)

    @property
    def is_terminal(self) -> bool:
        """Whether the execution has ended."""
        return self.execution.state in EXECUTION_TERMINAL
