"""One execution while a kernel runs it: the blueprint's task or thread, its scopes, and how it ends."""

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import TYPE_CHECKING, Any, Final

from .. import errors
from .._spec import EXECUTION_TERMINAL, STEP_TERMINAL, ExecutionState, WaitReason
from ..failures import ExecutionError
from . import performing, places
from .core import Execution, Step
from .functions import Blueprint, unpack
from .journaling import Journaling
from .places import Call, Driver, Scope
from .threads import run_job

if TYPE_CHECKING:
    from .kernel import Kernel

log = logging.getLogger("stepwell")

WIND_UP_SECONDS: Final = 5.0
DIVERGED: Final = "diverged: "
"""How the reason of an execution begins that was paused because its code and its record differ."""


class Abandoned(BaseException):
    """Ends the thread of a def blueprint whose execution was left; no `except Exception` holds it up."""


class Run:
    """An execution that this kernel runs. Everything but a def blueprint's own code happens on the loop."""

    def __init__(
        self, kernel: "Kernel", blueprint: Blueprint[..., Any], execution: Execution, epoch: int, stored: int
    ) -> None:
        self.kernel = kernel
        self.blueprint = blueprint
        self.execution = execution
        self.loop = asyncio.get_running_loop()
        self.journal = Journaling(execution, kernel.store, epoch, stored, self.leave, kernel.durability)
        self.journal.wake = self._wake_at
        self.replayed = stored > 1
        self.recorded: dict[str, Step] = {}
        self.open: dict[str, Step] = {}
        self.active = 0
        self.replays = 0
        self.unseen = 0
        self.fresh = False
        self.timers: dict[str, int] = {}
        self.left: BaseException | None = None
        self.over = False
        self.ended: asyncio.Future[Any] = self.loop.create_future()
        self.ended.add_done_callback(_seen)
        self._scopes: dict[str, Scope] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._root: asyncio.Task[Any] | None = None
        self._gates: set[_Gate] = set()
        self._index()

    def _index(self) -> None:
        for step in self.execution.steps.values():
            if step.place is not None:
                self.recorded[step.place] = step
            if step.state not in STEP_TERMINAL:
                self.open[step.id] = step

    # --- beginning and ending -------------------------------------------------------------------------------------

    def begin(self, context: Context) -> None:
        """Starts the blueprint, in a copy of the given context."""
        self.kernel.tell("execution_started", self.execution, self.replayed)
        args, kwargs = unpack(self.execution.input)
        scope = self.new_scope("")
        if self.blueprint.is_async:
            body: Coroutine[Any, Any, Any] = Driver(self.blueprint.fn(*args, **kwargs), scope)
        else:
            body = self._in_thread(scope, lambda: self.blueprint.fn(*args, **kwargs), context.copy())
        self._root = self.loop.create_task(body, name=f"stepwell {self.execution.id}", context=context.copy())
        self._root.add_done_callback(self._returned)

    async def _in_thread(self, scope: Scope, work: Callable[[], Any], context: Context) -> Any:
        outcome: asyncio.Future[Any] = self.loop.create_future()

        def body() -> Any:
            scope.owner = threading.get_ident()
            places.enter(scope)
            try:
                return work()
            finally:
                scope.ended = True

        threading.Thread(
            target=run_job, args=(context, body, self.loop, outcome), name="stepwell-blueprint", daemon=True
        ).start()
        return await outcome

    def _returned(self, root: "asyncio.Task[Any]") -> None:
        """The blueprint is through: by itself, or because the execution was left."""
        if root.cancelled():
            error: BaseException | None = None
            if root.cancelling() == 0 and self.left is None:
                error = ExecutionError(
                    "tool", "execution_failed", "the blueprint awaited something that was cancelled"
                )
            else:
                self.leave(
                    errors.KernelClosed(f"execution {self.execution.id} was interrupted; its record is kept")
                )
        else:
            error = root.exception()
        if self.left is None and error is not None and not isinstance(error, Exception):
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
            self.leave(
                errors.KernelClosed(f"execution {self.execution.id} was interrupted; its record is kept")
            )
        elif task.exception() is not None:
            self.leave(task.exception() or errors.InternalError("unreachable"))
        if self.left is not None:
            self._resolve(self.left)

    async def _close(self, output: Any, error: BaseException | None) -> None:
        """Records the end, and makes it known once it is durable."""
        missing = self._missing()
        if missing is not None:
            self.park(*missing)
            return
        self.over = True
        for task in list(self._tasks):
            if task is not asyncio.current_task():
                task.cancel()
        self.run_again()
        failure: ExecutionError | None = None
        if error is None:
            for step in list(self.open.values()):
                self.execution.cancel_step(step, reason="its blueprint returned")
            self.open.clear()
            try:
                self.execution.complete(output)
            except errors.ValidationError as refusal:
                error = refusal
        if error is not None:
            failure = _recordable(error)
            self.execution.fail(failure)
        await self.journal.durable()
        self.kernel.tell("execution_ended", self.execution)
        self._resolve(failure)

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
        for gate in list(self._gates):
            gate.give_up()
        for task in [*self._tasks, *([] if self._root is None else [self._root])]:
            task.cancel()

    async def wind_up(self) -> None:
        """After `leave`: lets the code end, a while at most, and writes what it recorded before."""
        self.journal.close()
        tasks = [task for task in (*self._tasks, self._root) if task is not None and not task.done()]
        if tasks:
            _, stubborn = await asyncio.wait(tasks, timeout=WIND_UP_SECONDS)
            if stubborn:
                log.warning(
                    "code of execution %s does not end when it is cancelled; left as it is", self.execution.id
                )
        if self.journal.failed is None:
            await self.journal.durable()

    # --- parking --------------------------------------------------------------------------------------------------

    def park(
        self, place: str, source: str | None, recorded: Step | None, call: Call | None, why: str
    ) -> None:
        """Pauses the execution because its code and its record differ, and leaves it."""
        if self.left is not None:
            return
        error = errors.DivergenceError(f"{why}; nothing was run, and the execution is paused")
        error.place, error.source = place, source
        error.recorded = None if recorded is None else {"name": recorded.name, "input": recorded.input}
        error.called = None if call is None else {"name": call.spec.name, "input": performing.input_of(call)}
        self.execution.pause((DIVERGED + why)[:4096])
        waiting = self.journal.durable()
        self.leave(error)
        waiting.add_done_callback(lambda _: None)

    def _missing(self) -> "tuple[str, str | None, Step | None, None, str] | None":
        """A recorded step that the code, having run to its end, did not call any more."""
        for place, step in self.recorded.items():
            if self._is_gone(place):
                why = f"the record has step {step.name!r} at place {place}, and the code ended without calling it"
                return place, None, step, None, why
        return None

    def _is_gone(self, place: str) -> bool:
        """Whether code that went to its end neither called this place nor made the task that it is in."""
        path = ""
        *tasks, call = place.split("/")
        for task in tasks:
            scope = self._scopes.get(path)
            number = task[1:]
            if scope is not None and scope.ended and number.isdecimal() and int(number) >= scope.tasks:
                return True
            path = f"{path}{task}/"
        scope = self._scopes.get(path)
        return scope is not None and scope.ended and call.isdecimal() and int(call) >= scope.calls

    # --- steps ----------------------------------------------------------------------------------------------------

    def new_scope(self, path: str) -> Scope:
        """A scope with this path."""
        scope = self._scopes[path] = Scope(self, path)
        return scope

    def adopt(self, task: "asyncio.Task[Any]") -> None:
        """Remembers a task that the blueprint made, to end it with the execution."""
        self.fresh = True
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self.left is not None or self.over:
            task.cancel()

    def perform(self, call: Call) -> Coroutine[Any, Any, Any]:
        """The step call of an async blueprint."""
        return performing.perform(self, call)

    def perform_blocking(self, call: Call) -> Any:
        """The step call of a def blueprint: the thread waits until the loop has done it."""
        gate = _Gate()
        try:
            self.loop.call_soon_threadsafe(self._start_for, call, gate)
        except RuntimeError:  # the loop was closed: whoever closed it left the execution
            raise Abandoned from None
        return gate.wait()

    def _start_for(self, call: Call, gate: "_Gate") -> None:
        if self.left is not None or self.over:
            gate.give_up()
            return
        self._gates.add(gate)
        task = self.loop.create_task(performing.perform(self, call))
        self.adopt(task)

        def done(task: "asyncio.Task[Any]") -> None:
            self._gates.discard(gate)
            if task.cancelled():
                gate.give_up()
            else:
                gate.open(None if task.exception() is not None else task.result(), task.exception())

        task.add_done_callback(done)

    def run_again(self) -> None:
        """Leaves the wait between two attempts, where the execution is in one."""
        if self.execution.state == ExecutionState.WAITING:
            self.execution.resume()

    def wait_for_timer(self) -> None:
        """Enters that wait, where nothing runs any more."""
        if self.active == 0 and self.execution.state == ExecutionState.RUNNING:
            self.execution.wait(WaitReason.TIMER)

    def _wake_at(self) -> int | None:
        if self.execution.state != ExecutionState.WAITING or not self.timers:
            return None
        return min(self.timers.values())

    def root_cancelled(self) -> bool:
        """Whether the blueprint as a whole was asked to stop."""
        return self._root is None or self._root.done() or self._root.cancelling() > 0

    @property
    def is_terminal(self) -> bool:
        """Whether the execution has ended."""
        return self.execution.state in EXECUTION_TERMINAL


class _Gate:
    """Where the thread of a def blueprint waits for its step."""

    __slots__ = ("_error", "_lock", "_result")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()
        self._result: Any = None
        self._error: BaseException | None = None

    def wait(self) -> Any:
        self._lock.acquire()
        if self._error is not None:
            raise self._error
        return self._result

    def open(self, result: Any, error: BaseException | None) -> None:
        if self._lock.locked():
            self._result, self._error = result, error
            self._lock.release()

    def give_up(self) -> None:
        self.open(None, Abandoned())


def _recordable(error: BaseException) -> ExecutionError:
    failure = ExecutionError.from_exception(error)
    if failure is not error and failure.__cause__ is None:
        failure.__cause__ = error
    return failure


def _seen(ended: "asyncio.Future[Any]") -> None:
    """An outcome that nobody asks for is no forgotten error: it is in the record."""
    if not ended.cancelled():
        ended.exception()
