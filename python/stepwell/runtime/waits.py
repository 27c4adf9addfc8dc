"""Waiting in a blueprint: for a time, a signal, the answer to a callback, a condition."""

import asyncio
import inspect
import logging
import time
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from .. import durations, encoding, errors, model
from .._spec import STEP_TERMINAL, StepState, StepType, WaitReason
from ..clock import to_ns
from ..failures import ExecutionError
from ..retries import Backoff, RetryPolicy
from ..store import Delivery
from . import places
from .groups import Group
from .operations import Operation, for_ever
from .performing import begin, cancel_step, recorded_error, too_late
from .places import Call
from .values import Codec
from .waiting import AGAIN_S, Wait, check_reason, timed_out

if TYPE_CHECKING:
    from .core import Step
    from .run import Run

log = logging.getLogger("stepwell")

T = TypeVar("T")
Duration = str | float | timedelta

ANSWERS: Final = ("complete", "fail", "timeout")
"""The kinds of what is delivered under the id of a callback; the first one counts."""


async def outcome(wait: Wait) -> None:
    """Awaits the end of a wait; whoever is cancelled meanwhile has cancelled its step."""
    run, step = wait.run, wait.step
    try:
        await wait.future
    except asyncio.CancelledError as error:
        if not wait.over:
            run.waits.remove(wait)
        if wait.over and step.state in STEP_TERMINAL and run.stop is None:
            await too_late(run, None, error)
            return
        if run.left is None and not run.over and not run.root_cancelled() and step.state not in STEP_TERMINAL:
            cancel_step(run, step)
        raise
    if run.is_stopping and run.left is not None:
        await for_ever()


def asking(
    wait: Wait, asked: "asyncio.Task[None] | None", ask: Callable[[], Coroutine[Any, Any, None]]
) -> "asyncio.Task[None]":
    """A task that sees in the store what a wait whose time has come ends with, until the store answers."""
    if asked is not None and not asked.done():
        return asked
    run = wait.run

    async def work() -> None:
        try:
            await ask()
        except errors.StepwellError as error:
            if run.left is None and not run.over and not wait.over:
                log.warning("the end of a wait of %s is not known yet: %s", run.execution.id, error)
                run.waits.set_timer(wait, run.kernel.clock.now_ns() + int(AGAIN_S * 1e9))

    return run.loop.create_task(work())


def started_ns(step: "Step") -> int:
    """When a step began, UTC ns."""
    return 0 if step.started_at is None else to_ns(step.started_at, "started_at")


# --- time ---------------------------------------------------------------------------------------------------------


class SleepWait(Wait):
    """Over when its time has come."""

    __slots__ = ()

    def expire(self) -> None:
        self.end(lambda: self.run.execution.complete_step(self.step))


class Sleep(Operation):
    """A time that passes, whether or not a kernel runs."""

    __slots__ = ("_ns",)

    def __init__(self, duration: Duration, name: str | None) -> None:
        super().__init__("sleep" if name is None else name, StepType.WAIT)
        self._ns = durations.parse(duration)

    @property
    def input(self) -> Any:
        return {"ns": self._ns}

    async def go(self, run: "Run", call: Call, step: "Step | None") -> Any:
        step = begin(run, call, step) if step is None or step.state == StepState.PENDING else step
        wait = SleepWait(run, step, WaitReason.TIMER, started_ns(step) + self._ns)
        run.waits.add(wait)
        await outcome(wait)

    async def outside(self) -> Any:
        await asyncio.sleep(self._ns / 1e9)

    def outside_blocking(self) -> Any:
        time.sleep(self._ns / 1e9)


# --- signals ------------------------------------------------------------------------------------------------------


class SignalWait(Wait):
    """Over when a signal of this name is there, or when that took too long."""

    __slots__ = ("_asking", "_op", "name")

    def __init__(self, run: "Run", step: "Step", reason: WaitReason, due: int | None, op: Operation) -> None:
        super().__init__(run, step, reason, due)
        self._op = op
        self.name = op.name
        self._asking: asyncio.Task[None] | None = None

    def wants(self, delivery: Delivery) -> bool:
        is_ours = not self.over and not self.run.passes_on
        return is_ours and delivery.kind == "signal" and delivery.name == self.name

    def take(self, delivery: Delivery) -> None:
        run, payload = self.run, encoding.decode(delivery.body)
        received = self._op.received
        self.end(lambda: run.execution.input_received(self.step, received(run, payload)), [delivery.id])

    def expire(self) -> None:
        # One that came in time may lie in the store.
        self._asking = asking(self, self._asking, self._expire)

    async def _expire(self) -> None:
        await self.run.waits.fetch()
        error = timed_out(self.name, "wait_timeout", "no signal of this name came in time")
        self.end(lambda: self.run.execution.fail_step(self.step, error.replace(step_id=self.step.id)))


class WaitFor(Operation):
    """Waits for a signal."""

    __slots__ = ("_reason", "_timeout_ns")

    def __init__(
        self, name: str, timeout: Duration | None, reason: WaitReason | str, codec: Codec | None
    ) -> None:
        super().__init__(name, StepType.WAIT, codec)
        self._timeout_ns = None if timeout is None else durations.parse(timeout, "timeout")
        self._reason = check_reason(reason)

    @property
    def input(self) -> Any:
        return {"reason": str(self._reason), "timeout_ns": self._timeout_ns}

    async def go(self, run: "Run", call: Call, step: "Step | None") -> Any:
        step = begin(run, call, step) if step is None or step.state == StepState.PENDING else step
        due = None if self._timeout_ns is None else started_ns(step) + self._timeout_ns
        wait = SignalWait(run, step, self._reason, due, self)
        run.waits.add(wait)
        await outcome(wait)
        if step.state == StepState.FAILED:
            raise recorded_error(step)
        return self.result(run, step)


# --- callbacks ----------------------------------------------------------------------------------------------------


class CallbackWait(Wait):
    """Over with the first answer under its step's id. A time that is up is such an answer, of the kernel's own."""

    __slots__ = ("_asking", "_beats", "_heard_at", "_heartbeat_ns", "_op", "name")

    def __init__(
        self, run: "Run", step: "Step", due: int | None, heartbeat_ns: int | None, op: Operation
    ) -> None:
        super().__init__(run, step, WaitReason.EXTERNAL, due)
        self._op = op
        self.name = op.name
        self._heartbeat_ns = heartbeat_ns
        self._heard_at = started_ns(step)
        self._beats: list[str] = []
        self._asking: asyncio.Task[None] | None = None

    @property
    def next_due(self) -> int | None:
        beat = None if self._heartbeat_ns is None else self._heard_at + self._heartbeat_ns
        return min((due for due in (self.due, beat) if due is not None), default=None)

    def wants(self, delivery: Delivery) -> bool:
        if self.over:
            return False
        if delivery.kind == "heartbeat":
            return delivery.name == self.step.id
        return delivery.id == self.step.id

    def take(self, delivery: Delivery) -> None:
        execution, step = self.run.execution, self.step
        if delivery.kind == "heartbeat":
            self._heard_at = max(self._heard_at, delivery.at_ns)
            self._beats.append(delivery.id)
            self.run.waits.set_timer(self)
            return
        given = encoding.decode(delivery.body)
        taken = [delivery.id, *self._beats]
        if delivery.kind == "complete":
            received, run = self._op.received, self.run
            self.end(lambda: execution.input_received(step, received(run, given)), taken)
        else:
            error = ExecutionError.from_dict(given)
            self.end(
                lambda: execution.fail_step(step, error.replace(step_id=error.step_id or step.id)), taken
            )

    def expire(self) -> None:
        self._asking = asking(self, self._asking, self._expire)

    async def _expire(self) -> None:
        run, store = self.run, self.run.kernel.store
        now = run.kernel.clock.now_ns()  # before it is looked who was heard of until then
        await run.waits.fetch()
        due = self.next_due
        if self.over or due is None:
            return
        if due > now:  # it was heard of meanwhile
            run.waits.set_timer(self)
            return
        code = "wait_timeout" if due == self.due else "heartbeat_timeout"
        what = "no answer came in time" if due == self.due else "no heartbeat came in time"
        error = timed_out(self.name, code, what).replace(step_id=self.step.id)
        await store.deliver(run.execution.id, self.step.id, "timeout", "", error.to_json(), now)
        await run.waits.fetch()


class Callback(Generic[T]):
    """An answer to come from outside: give `id` to who has it, and `await cb.result()`."""

    __slots__ = ("_call", "_run", "_step")

    def __init__(self, run: "Run", call: Call, step: "Step") -> None:
        self._run = run
        self._call = call
        self._step = step

    @property
    def id(self) -> str:
        """What the answer is given under; the same on every replay."""
        return self._step.key or self._step.id  # in a fork that of the one which was answered

    def result(self) -> Coroutine[Any, Any, T]:
        """The answer. Raises the error that was given instead, or `ExecutionError` (category `timeout`)."""
        return self._result()

    def give_up(self) -> None:
        """Nobody waits for an answer any more, if there is none yet."""
        run, step = self._run, self._step
        wait = run.waits.get(step.id)
        if wait is None or run.left is not None or run.over or run.root_cancelled():
            return
        run.waits.remove(wait)
        if step.state not in STEP_TERMINAL:
            cancel_step(run, step)

    async def _result(self) -> T:
        run, step = self._run, self._step
        await self._turn()
        if run.left is not None:
            await for_ever()
        wait = run.waits.get(step.id)
        if wait is not None:
            # Others may wait for the same answer; only the wait's own end decides about its step.
            waiting = asyncio.shield(wait.future)
            run.quiet.add(waiting)
            run.waits.idle_soon()
            try:
                await waiting
            finally:
                run.quiet.discard(waiting)
        if run.left is not None:
            await for_ever()
        if step.state == StepState.COMPLETED:
            value: T = self._call.op.result(run, step)
            return value
        if step.state == StepState.FAILED:
            raise recorded_error(step)
        await for_ever()
        return None

    async def _turn(self) -> None:
        """An answer that is recorded is seen when it is its turn, and one that is new after all of those."""
        order, here = self._run.order, places.here()
        if order is None or order.is_through:
            return
        if self._call.place in await order.numbers():
            await order.turn(here if isinstance(here, places.Scope) else self._call.scope, self._call.place)
        else:
            await order.end()

    def __repr__(self) -> str:
        return f"<Callback {self.id}>"


class BlockingCallback(Generic[T]):
    """The same in a `def` blueprint."""

    __slots__ = ("_callback",)

    def __init__(self, callback: Callback[T]) -> None:
        self._callback = callback

    @property
    def id(self) -> str:
        """See `Callback.id`."""
        return self._callback.id

    def result(self) -> T:
        """See `Callback.result`."""
        callback = self._callback
        value: T = callback._run.wait_blocking(callback.result)
        return value

    def __repr__(self) -> str:
        return f"<BlockingCallback {self.id}>"


class MakeCallback(Operation):
    """Opens a callback."""

    __slots__ = ("_heartbeat_ns", "_timeout_ns")

    replays_itself = True

    def __init__(
        self,
        name: str | None,
        timeout: Duration | None,
        heartbeat_timeout: Duration | None,
        codec: Codec | None,
    ) -> None:
        super().__init__("callback" if name is None else name, StepType.WAIT, codec)
        self._timeout_ns = None if timeout is None else durations.parse(timeout, "timeout")
        self._heartbeat_ns = (
            None if heartbeat_timeout is None else durations.parse(heartbeat_timeout, "heartbeat_timeout")
        )

    @property
    def input(self) -> Any:
        return {"timeout_ns": self._timeout_ns, "heartbeat_ns": self._heartbeat_ns}

    async def go(self, run: "Run", call: Call, step: "Step | None") -> Any:
        fresh = step is None
        if step is None or step.state == StepState.PENDING:
            step = begin(run, call, step)
            run.journal.opened.append(step.id)
        if step.state not in STEP_TERMINAL:
            if call.scope.inside is not None:
                call.scope.inside.opened.append(step)
            due = None if self._timeout_ns is None else started_ns(step) + self._timeout_ns
            run.waits.add(CallbackWait(run, step, due, self._heartbeat_ns, self))
        if fresh:  # nobody may hear of it before it is there
            await run.journal.durable()
        return Callback(run, call, step)


def answer_type(op: Operation, type: Any) -> Operation:
    """The operation, with the type of what it gives."""
    op.returns(type)
    return op


# --- conditions ---------------------------------------------------------------------------------------------------


def check_every(every: "Duration | Backoff") -> Backoff:
    """How long to wait between looks. Raises `ValidationError`."""
    if isinstance(every, Backoff):
        return every
    durations.parse(every, "every")
    return Backoff("fixed", every, every, jitter=False)


class WaitUntil(Group):
    """Looks until a condition holds: each look is a step, and each pause between two is a wait."""

    __slots__ = ("_check", "_every", "_initial", "_max")

    def __init__(
        self,
        check: Callable[[Any], Any],
        initial: Any,
        every: "Duration | Backoff",
        max_attempts: int | None,
        name: str | None,
        codec: Codec | None,
    ) -> None:
        from .functions import StepSpec, name_of

        super().__init__("wait_until" if name is None else name, StepType.CONDITION, codec)
        if not callable(check):
            raise errors.ValidationError(f"check must be a function, got {check.__class__.__name__}")
        self._check = StepSpec(check, name_of(check), retry=RetryPolicy.never(), codec=codec, untyped=True)
        self._initial = initial
        self._every = check_every(every)
        self._max = None if max_attempts is None else model.whole("max_attempts", max_attempts, 1)

    async def body(self, run: "Run", call: Call, step: "Step") -> Any:  # noqa: ARG002
        state, look = self._initial, 0
        while True:
            look += 1
            found = await places.call(self._check, (state,), {})
            if not isinstance(found, (list, tuple)) or len(found) != 2:
                raise ExecutionError("validation", "invalid_check", "check must return (done, state)")
            done, state = found
            if done:
                return state
            if self._max is not None and look >= self._max:
                raise timed_out(self.name, "attempts_exhausted", f"looked {look} times in vain")
            delay = self._every.delay_ms(look, run.execution.id, step.id)
            await places.ask(Sleep(f"{delay}ms", "pause"))

    async def outside(self) -> Any:
        state, look = self._initial, 0
        while True:
            look += 1
            found = self._check.fn(state)
            done, state = await found if inspect.isawaitable(found) else found
            if done:
                return state
            if self._max is not None and look >= self._max:
                raise timed_out(self.name, "attempts_exhausted", f"looked {look} times in vain")
            await asyncio.sleep(self._every.delay_ms(look, "", "") / 1000)

    def outside_blocking(self) -> Any:
        return asyncio.run(self.outside())
