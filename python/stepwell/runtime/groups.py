"""A group of steps: a scope that is a step itself, whose body is not run again once it has ended."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .. import errors
from .._spec import STEP_TERMINAL, StepState, StepType
from ..failures import ExecutionError
from .operations import Operation, finished
from .performing import asked_to_stop, begin, cancel_step, seen
from .places import Call, Inside
from .stopping import check_left
from .values import Codec

if TYPE_CHECKING:
    from .core import Step
    from .run import Run


def inner_error(error: BaseException, step_id: str) -> ExecutionError:
    """The error of a group: what failed in it first, with that as its cause."""
    inner = ExecutionError.from_exception(error)
    if inner is not error and inner.__cause__ is None:
        inner.__cause__ = error
    made = ExecutionError(
        inner.category,
        inner.code,
        inner.message,
        step_id=inner.step_id or step_id,
        provider=inner.provider,
        http_status=inner.http_status,
        cause=inner,
        exception_type=inner.exception_type,
    )
    made.__cause__ = error
    return made


class Group(Operation):
    """An operation whose step stays running while others run inside it, over any number of processes."""

    __slots__ = ()

    holds_steps = True
    goes_on = True

    async def body(self, run: "Run", call: Call, step: "Step") -> Any:
        """What runs inside."""
        raise NotImplementedError

    def output(self, run: "Run", value: Any) -> Any:
        """What is recorded of the body's result."""
        return self.encoded(run, value)

    async def go(self, run: "Run", call: Call, step: "Step | None") -> Any:
        if step is None or step.state == StepState.PENDING:
            step = begin(run, call, step)
        inside = Inside()
        error: ExecutionError | None = None
        value: Any = None
        try:
            value = await self.inside(run, call, step, inside)
            check_left(run)
            run.run_again()
            run.execution.complete_step(step, output=self.output(run, value))
        except asyncio.CancelledError as cancelled:
            close(run, inside)
            if run.is_stopping or asked_to_stop() or step.state in STEP_TERMINAL:
                _cancelled(run, step)
                raise
            error = _failed(run, step, _awaited_cancelled(cancelled))
        except Exception as raised:
            close(run, inside)
            check_left(run)
            if step.state in STEP_TERMINAL:
                raise
            error = _failed(run, step, raised)
        else:
            close(run, inside)
        run.no_longer_open(step)
        run.journal.progress = True
        await seen(run, None, call)
        if len(run.waits):
            run.waits.idle_soon()
        if error is not None:
            raise error
        return self.ended(run, call, step, value)

    def ended(self, run: "Run", call: Call, step: "Step", value: Any) -> Any:  # noqa: ARG002
        """What the blueprint gets."""
        return self.result(run, step)

    async def inside(self, run: "Run", call: Call, step: "Step", inside: Inside) -> Any:
        """Runs the body with its places inside this one's."""
        scope = run.new_scope(call.place + "/", step, inside)
        return await run.run_body(self.body, (run, call, step), scope, False)


def close(run: "Run", inside: Inside) -> None:
    """Ends what the code of a group has begun and left behind. It would not be begun again: the group has ended."""
    for task in list(inside.tasks):
        task.cancel()
    for step in inside.opened:
        wait = run.waits.get(step.id)
        if wait is not None and run.left is None and not run.over:
            run.waits.remove(wait)
            cancel_step(run, step)


def _cancelled(run: "Run", step: "Step") -> None:
    if run.left is None and not run.over and not run.root_cancelled() and step.state not in STEP_TERMINAL:
        cancel_step(run, step)


def _failed(run: "Run", step: "Step", raised: BaseException) -> ExecutionError:
    error = inner_error(raised, step.id)
    run.run_again()
    run.execution.fail_step(step, error)
    return error


def _awaited_cancelled(cancelled: asyncio.CancelledError) -> ExecutionError:
    """As in a step: nobody cancelled the group, but something that it awaited was cancelled."""
    error = ExecutionError("tool", "execution_failed", "the group awaited something that was cancelled")
    error.__cause__ = cancelled
    return error


class ScopeGroup(Group):
    """A function of the blueprint as a named group of steps."""

    __slots__ = ("_args", "_fn")

    def __init__(
        self, fn: Callable[..., Any], args: tuple[Any, ...], name: str | None, codec: Codec | None
    ) -> None:
        from .functions import name_of, result_type

        if not callable(fn):
            raise errors.ValidationError(f"a scope is made of a function, got {fn.__class__.__name__}")
        super().__init__(name_of(fn) if name is None else name, StepType.SCOPE, codec)
        self._fn = fn
        self._args = args
        self.returns(result_type(fn))

    async def inside(self, run: "Run", call: Call, step: "Step", inside: Inside) -> Any:
        scope = run.new_scope(call.place + "/", step, inside)
        return await run.run_body(self._fn, self._args, scope, call.scope.blocking)

    async def outside(self) -> Any:
        value = self._fn(*self._args)
        return await value if asyncio.iscoroutine(value) else value

    def outside_blocking(self) -> Any:
        return finished(self._fn(*self._args))
