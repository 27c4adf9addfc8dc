"""Executions that a blueprint starts and waits for, each with a record of its own."""

import asyncio
import hashlib
import itertools
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NoReturn

from .. import encoding, errors, model, typeid
from .._spec import EXECUTION_TERMINAL, STEP_TERMINAL, ExecutionState, StepState, StepType, WaitReason
from ..failures import ExecutionError
from ..model import ParentLink
from ..store import Delivery, ExecutionRow
from .core import new_id
from .groups import inner_error
from .operations import Operation, finished
from .performing import begin, cancel_step, recorded_error, seen, why_cancelled
from .places import Call
from .stopping import check_left
from .values import Codec
from .waiting import Wait

if TYPE_CHECKING:
    from .core import Step
    from .functions import Blueprint
    from .kernel import Kernel
    from .run import Run

CASCADE: Final = "cascade"
POLICIES: Final = (CASCADE, "wait", "detach")
_ON_CANCEL: Final = " on_cancel="
REFUSALS: Final = (ExecutionError, errors.ValidationError, errors.SchemaMismatch)
"""What starting a child may end in that is not the store's trouble: it is an outcome, and recorded."""


def child_id(step_id: str) -> str:
    """The id of the execution that belongs to a child step: it has the same UUID, so it is known before it is made."""
    return typeid.encode("exec", typeid.decode(step_id)[1])


class ChildWait(Wait):
    """Over when the child has ended."""

    __slots__ = ("_op", "given_up", "starting")

    def __init__(self, run: "Run", step: "Step", op: "Child") -> None:
        super().__init__(run, step, WaitReason.SUB_AGENT, None)
        self._op = op
        self.starting: asyncio.Task[Any] | None = None
        self.given_up = False

    def wants(self, delivery: Delivery) -> bool:
        return not self.over and delivery.kind == "child" and delivery.id == self.step.id

    def take(self, delivery: Delivery) -> None:
        self.ended(encoding.decode(delivery.body), [delivery.id])

    def ended(self, told: Any, taken: "list[str] | None" = None) -> None:
        """The child has ended like this: `{"output": …}` or `{"error": …}`."""
        execution, step = self.run.execution, self.step
        if self.given_up:
            # Its code sees the cancellation, and not how the child ended: so it has to be on replay.
            self.end(lambda: execution.cancel_step(step, reason=why_cancelled(self.run)), taken or ())
        elif "error" in told:
            error = inner_error(ExecutionError.from_dict(told["error"]), step.id)
            self.end(lambda: execution.fail_step(step, error), taken or ())
        else:
            received, run, output = self._op.received, self.run, told.get("output")
            self.end(lambda: execution.complete_step(step, output=received(run, output)), taken or ())


class Child(Operation):
    """Starts an execution of a blueprint, once, and waits for its end."""

    __slots__ = ("_args", "_blueprint", "_key", "_kwargs", "_policy")

    goes_on = True

    def __init__(
        self,
        blueprint: "Blueprint[..., Any]",
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        name: str | None,
        key: str | None,
        tenant: str | None,
        on_cancel: str,
        codec: Codec | None,
    ) -> None:
        from .functions import Blueprint, result_type

        if not isinstance(blueprint, Blueprint):
            raise errors.ValidationError(
                f"a child is made of a function with @blueprint, got {blueprint.__class__.__name__}"
            )
        super().__init__(blueprint.name if name is None else name, StepType.CHILD, codec)
        blueprint.check_arguments(args, kwargs)
        self._blueprint = blueprint
        self._args, self._kwargs = args, kwargs
        self._key = None if key is None else model.label("key", key)
        self._policy = model.choice("on_cancel", on_cancel, POLICIES)
        self.returns(result_type(blueprint.fn))
        self._check_tenant(tenant)
        self._check_other()

    def _check_other(self) -> None:
        """An execution that waited for itself would do so for ever."""
        from . import places

        here = places.here()
        own = here.run.execution if isinstance(here, places.Scope) else None
        if self._key is None or own is None:
            return
        if (own.blueprint, own.key) == (self._blueprint.name, self._key):
            raise errors.ValidationError(
                f"key {self._key!r} of {self._blueprint.name} is that of this execution itself: "
                "it cannot be its own child"
            )

    @staticmethod
    def _check_tenant(tenant: str | None) -> None:
        from . import places

        here = places.here()
        own = here.run.kernel.tenant if isinstance(here, places.Scope) else None
        if tenant is not None and own is not None and tenant != own:
            raise ExecutionError(
                "policy_violation",
                "foreign_tenant",
                "a child belongs to the tenant of its parent: nothing was started",
            )

    def _recorded(self, codec: Codec | None) -> Any:
        return self._blueprint.recorded(self._args, self._kwargs, codec)

    @property
    def input(self) -> Any:
        from . import places

        here = places.here()
        return self._recorded(self.codec or here.run.kernel.codec) if isinstance(here, places.Scope) else None

    @property
    def callable_id(self) -> str:  # type: ignore[override]
        """The blueprint, and what becomes of the child: whoever ends the parent without its code has to know."""
        policy = "" if self._policy == CASCADE else f"{_ON_CANCEL}{self._policy}"
        return self._blueprint.name[-200:] + policy

    async def go(self, run: "Run", call: Call, step: "Step | None") -> Any:
        starting: asyncio.Task[Any] | None = None
        fresh = step is None or step.state == StepState.PENDING
        # Where all of it waited, the child had been made: if there is none now, it was purged, and is not made again.
        was_made = run.waited and step is not None and step.state == StepState.RUNNING
        if step is None and self._key is not None:
            step, starting = await self._begin_keyed(run, call)
        elif step is None or step.state == StepState.PENDING:
            step_id = typeid_of_step()
            step = begin(run, call, step, key=child_id(step_id), step_id=step_id)
            run.journal.opened.append(step.id)
        wait = ChildWait(run, step, self)
        wait.starting = starting
        run.waits.add(wait)
        try:
            if fresh:  # nothing is started that is not on the record
                await run.journal.durable()
                check_left(run)
            if not wait.over:
                wait.starting = starting or self._start(run, step.key or child_id(step.id), step.id, was_made)
                await self._begin(run, step, wait)
                run.waits.idle_soon()
            await _over(run, wait)
        except asyncio.CancelledError:
            if fresh and starting is None and wait.starting is None:
                self._closed(run, step, wait)
            else:
                await self._cancelled(run, step, wait)
            raise
        check_left(run)
        if step.state == StepState.FAILED:
            raise recorded_error(step)
        return self.result(run, step)

    async def _begin_keyed(self, run: "Run", call: Call) -> "tuple[Step, asyncio.Task[Any]]":
        """Begins a step for the child with a key: only when that was looked for it is known which execution it is."""
        step_id = _keyed_step_id(run, call.place)
        starting = self._start(run, child_id(step_id), step_id)
        try:
            known = await asyncio.shield(starting)
        except REFUSALS as refusal:
            await self._refused(run, begin(run, call, None, step_id=step_id), refusal)
        except asyncio.CancelledError:
            if run.left is None and not run.over and not run.root_cancelled():
                step = begin(run, call, None, step_id=step_id)
                run.journal.opened.append(step.id)
                wait = ChildWait(run, step, self)
                wait.starting = starting
                await self._cancelled(run, step, wait)
            raise
        check_left(run)
        step = begin(run, call, None, key=known, step_id=step_id)
        run.journal.opened.append(step.id)
        return step, starting

    def _start(self, run: "Run", id: str, step_id: str, was_made: bool = False) -> "asyncio.Task[Any]":
        """Makes or finds the child; whoever is cancelled meanwhile knows afterwards that there is one."""
        link = ParentLink("step_execution", step_id)
        return run.kernel.spawn(
            run.kernel.start_child(
                self._blueprint, id, self._recorded(run.kernel.codec), self._key, link, was_made=was_made
            )
        )

    async def _begin(self, run: "Run", step: "Step", wait: ChildWait) -> None:
        """Sees to it that there is the child, and that its end will be heard of."""
        assert wait.starting is not None
        try:
            known = await asyncio.shield(wait.starting)
        except REFUSALS as refusal:
            run.waits.remove(wait)
            await self._refused(run, step, refusal)
        await self._hear(run, step, wait, known)

    async def _hear(self, run: "Run", step: "Step", wait: ChildWait, known: str) -> None:
        """Has this kernel tell of the end of the child, if it has not ended."""
        kernel = run.kernel
        last, told = await told_of(kernel, known)
        while told is None and kernel.will_tell(last, {(run.execution.id, step.id)}):
            last, told = await told_of(kernel, last)
        if told is not None:
            wait.ended(told)

    async def _refused(self, run: "Run", step: "Step", refusal: Exception) -> NoReturn:
        """There is no child, and there will be none on replay."""
        error = inner_error(refusal, step.id)
        run.run_again()
        run.execution.fail_step(step, error)
        run.no_longer_open(step)
        run.journal.progress = True
        await seen(run, None)
        raise error

    async def _cancelled(self, run: "Run", step: "Step", wait: ChildWait) -> None:
        try:
            if wait.over or self._policy == "detach":
                return
            if run.left is None and not run.over and not run.root_cancelled():
                await self._end_child(run, step, wait)
        finally:
            self._closed(run, step, wait)

    @staticmethod
    def _closed(run: "Run", step: "Step", wait: ChildWait) -> None:
        run.waits.remove(wait)
        if run.left is None and not run.over and not run.root_cancelled() and step.state not in STEP_TERMINAL:
            cancel_step(run, step)

    async def _end_child(self, run: "Run", step: "Step", wait: ChildWait) -> None:
        """Before the parent goes on: the child has ended, by itself or because it was cancelled, too.

        Whoever cancels this once more does not wait any longer; what is asked of the child stays asked.
        """
        wait.given_up = True
        if self._policy == CASCADE:
            why = None if run.stop is None else run.stop.reason
            await asyncio.shield(run.kernel.spawn(cancel_child(run.kernel, step, why, wait.starting)))
        try:
            known = step.key or child_id(step.id)
            if wait.starting is not None:
                known = await asyncio.shield(wait.starting)
            if run.waits.get(step.id) is not wait:
                run.waits.add(wait)
            await self._hear(run, step, wait, known)
        except (*REFUSALS, errors.NotFound):
            return  # there is none
        await _over(run, wait)

    async def outside(self) -> Any:
        value = self._blueprint.fn(*self._args, **self._kwargs)
        return await value if asyncio.iscoroutine(value) else value

    def outside_blocking(self) -> Any:
        return finished(self._blueprint.fn(*self._args, **self._kwargs))


def typeid_of_step() -> str:
    """A new id for a step."""
    return new_id("step")


def _keyed_step_id(run: "Run", place: str) -> str:
    """The id of the step for a child with a key: the same in the next life, since the child may be there by then."""
    started = run.execution.created_at
    # A step at this place that was given up has an id, too. Each mark of that stays in the record.
    given_up = next(number for number in itertools.count() if f"!accepted {number}" not in run.recorded)
    text = f"{run.execution.id} {place}" + (f" {given_up}" if given_up else "")
    random = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    number = int(started.timestamp() * 1000) << 80 | int.from_bytes(random[:10])
    number = number & ~(0xF << 76) | 0x7 << 76
    number = number & ~(0x3 << 62) | 0x2 << 62
    return typeid.encode("step", uuid.UUID(int=number))


async def _over(run: "Run", wait: ChildWait) -> None:
    """Returns when the child has ended. Who is cancelled meanwhile may come back to wait for it."""
    waiting = asyncio.shield(wait.future)
    run.quiet.add(waiting)
    try:
        await waiting
    finally:
        run.quiet.discard(waiting)


async def cancel_child(
    kernel: "Kernel", step: "Step", why: str | None, starting: "asyncio.Task[Any] | None" = None
) -> None:
    """Asks for the child of this step to be cancelled, once there is one."""
    id = step.key or child_id(step.id)
    if starting is not None:
        await asyncio.wait([starting])
        if not starting.cancelled() and starting.exception() is None:
            id = starting.result()
    try:
        await kernel.request_cancel(id, why or "its parent was cancelled")
    except errors.NotFound:
        pass  # it was never made, or has been purged


async def give_up_child(kernel: "Kernel", step: "Step", why: str) -> None:
    """Cancels a child that the code of its parent starts no more.

    One with a key goes on: the code as it is now finds it by that.
    """
    with suppress(errors.NotFound):
        if (await kernel.store.get(step.key or child_id(step.id))).key is None:
            await cancel_child(kernel, step, why)


def cascades(step: "Step") -> bool:
    """Whether this is an open child that ends with its parent."""
    is_open = step.step_type == StepType.CHILD and step.state not in STEP_TERMINAL
    return is_open and not (step.callable_id or "").endswith(
        tuple(_ON_CANCEL + other for other in POLICIES[1:])
    )


async def cascade(run: "Run", why: str | None) -> None:
    """The parent is about to end: so do the children that it has not waited for."""
    for step in [step for step in run.open.values() if cascades(step)]:
        wait = run.waits.get(step.id)
        await cancel_child(run.kernel, step, why, wait.starting if isinstance(wait, ChildWait) else None)


async def told_of(kernel: "Kernel", id: str) -> tuple[str, Any]:
    """The execution that a child has come to be, and how it ended, as its parent is told; `None` while it has not."""
    from .renewing import last_of

    row = await last_of(kernel, id)
    if row.state not in EXECUTION_TERMINAL:
        return row.id, None
    last = await kernel.last_record(row)
    if row.state == ExecutionState.COMPLETED:
        return row.id, {"output": last.get("output")}
    if row.state == ExecutionState.FAILED:
        return row.id, {"error": last.get("error")}
    reason = last.get("reason") or "the execution was cancelled"
    return row.id, {"error": ExecutionError("tool", "cancelled", reason).to_dict()}


async def tell_parents(
    kernel: "Kernel", id: str, step_id: str | None, waiting: set[tuple[str, str]]
) -> set[tuple[str, str]]:
    """Tells those who wait for a child that has just ended. Where it went on as another one, they wait for that."""
    if step_id is not None:
        with suppress(errors.NotFound):
            row = await kernel.store.awaited(step_id)
            waiting = waiting | {(row.id, step_id)}
    told = None
    try:
        while told is None:
            id, told = await told_of(kernel, id)
            if told is None and not kernel.will_tell(id, waiting):
                return set()  # it has not ended since
    except errors.NotFound:
        return set()
    body = encoding.encode(told)
    for parent, step in waiting:
        await kernel.store.deliver(parent, step, "child", "", body, kernel.clock.now_ns())
    return waiting


async def has_ended_child(kernel: "Kernel", row: ExecutionRow) -> bool:
    """Whether a child that an execution waits for has ended, or is not there: nobody told the execution, then.

    The others are gone on with, where nobody runs them.
    """
    from .renewing import last_of

    execution = await kernel.taking.load(row.id)
    for step in execution.steps.values():
        if step.step_type == StepType.CHILD and step.state == StepState.RUNNING:
            try:
                child = await last_of(kernel, step.key or child_id(step.id))
                while child.state not in EXECUTION_TERMINAL and kernel.will_tell(
                    child.id, {(row.id, step.id)}
                ):
                    child = await last_of(kernel, child.id)  # it may have ended before
            except errors.NotFound:
                return True
            if child.state in EXECUTION_TERMINAL:
                return True
            await kernel.taking.go_on_with_child(child)
    return False
