"""The part of a run that lets code of blueprints block: threads, and how they ask the loop."""

import asyncio
import inspect
import threading
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any, cast

from . import places, stopping
from .gates import Abandoned, Gate
from .places import Call, Scope
from .threads import run_job

if TYPE_CHECKING:
    from .run import Run


class Threaded:
    """What `Run` has for `def` blueprints and scopes. `bodies` are their threads, `gates` where they wait."""

    if TYPE_CHECKING:
        loop: asyncio.AbstractEventLoop
        bodies: int
        gates: dict[Gate, asyncio.Task[Any]]
        left: BaseException | None
        over: bool
        stop: stopping.Stop | None

        def adopt(self, task: asyncio.Task[Any]) -> None: ...
    else:
        __slots__ = ()

    async def in_thread(self, scope: Scope, work: Callable[[], Any], context: Context | None = None) -> Any:
        """Runs code of a blueprint that blocks, in this scope and a thread of its own."""
        outcome: asyncio.Future[Any] = self.loop.create_future()
        outcome.add_done_callback(
            stopping.seen
        )  # where the execution is left, nobody asks how its thread ended

        scope.blocking = True

        def body() -> Any:
            scope.owner = threading.get_ident()
            places.enter(scope)
            result = work()
            scope.ended = not inspect.isawaitable(result)
            return result

        context = copy_context() if context is None else context
        threading.Thread(
            target=run_job, args=(context, body, self.loop, outcome), name="stepwell-blueprint", daemon=True
        ).start()
        self.bodies += 1
        outcome.add_done_callback(self._thread_ended)
        try:
            return await stopping.outcome_of(cast("Run", self), outcome)
        except asyncio.CancelledError:
            self._let_go(scope)
            raise

    def _thread_ended(self, outcome: "asyncio.Future[Any]") -> None:
        self.bodies -= 1
        if not outcome.cancelled():
            outcome.exception()

    def _let_go(self, scope: Scope) -> None:
        """Ends the thread of a scope that nobody waits for any more, where it asks for something."""
        for gate, task in list(self.gates.items()):
            if gate.scope is scope:
                gate.give_up()
                task.cancel()

    def perform_blocking(self, call: Call) -> Any:
        """The call of a def blueprint: the thread waits until the loop has done it."""
        return self.wait_blocking(lambda: call.op.perform(cast("Run", self), call))

    def wait_blocking(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """The outcome of a coroutine on the loop; the thread of a def blueprint waits for it."""
        gate = Gate(places.here())
        try:
            self.loop.call_soon_threadsafe(self._start_for, work, gate)
        except RuntimeError:  # the loop was closed: whoever closed it left the execution
            raise Abandoned from None
        return gate.wait(self.loop)

    def on_loop(self, work: Callable[[], Any]) -> Any:
        """What `work` returns or raises; called on the loop, where a def blueprint's thread asks."""
        if not places.in_blocking_scope():
            return work()
        gate = Gate()

        def do() -> None:
            if self.left is not None or self.over:
                gate.give_up()
                return
            try:
                gate.open(work(), None)
            except asyncio.CancelledError:
                gate.give_up()
            except BaseException as error:  # noqa: BLE001 - it belongs to the thread that asked
                gate.open(None, error)

        try:
            self.loop.call_soon_threadsafe(do)
        except RuntimeError:
            raise Abandoned from None
        return gate.wait(self.loop)

    def _start_for(self, work: Callable[[], Coroutine[Any, Any, Any]], gate: Gate) -> None:
        scope = gate.scope if isinstance(gate.scope, Scope) else None
        if self.left is not None or self.over or (scope is not None and scope.is_over):
            gate.give_up()
            return
        if scope is not None and not scope.stopped and self.stop is not None and self.stop.heard:
            scope.end_places()
            gate.open(None, asyncio.CancelledError())
            return
        task = self.gates[gate] = self.loop.create_task(work())
        self.adopt(task)

        def done(task: "asyncio.Task[Any]") -> None:
            del self.gates[gate]
            if task.cancelled():
                if self.left is None and not self.over and self.stop is not None:
                    gate.open(None, asyncio.CancelledError())
                else:
                    gate.give_up()
            else:
                gate.open(None if task.exception() is not None else task.result(), task.exception())

        task.add_done_callback(done)

    @property
    def threads_running(self) -> bool:
        """Whether code of a def blueprint runs, and does not wait at a gate."""
        return self.bodies > len(self.gates)

    def stop_threads(self) -> None:
        """Cancels what the threads of a def blueprint wait for, once; the others hear of it at their next call."""
        if self.stop is not None and self.stop.heard:
            for gate, task in list(self.gates.items()):
                scope = gate.scope
                if isinstance(scope, Scope) and not scope.stopped:
                    scope.end_places()
                    task.cancel()
