"""What can be called at a place of a blueprint: steps, waits, groups, children. Each kind is an `Operation`."""

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, NoReturn

from .. import errors, model
from .._spec import StepType
from . import values
from .values import Codec

if TYPE_CHECKING:
    from .core import Step
    from .places import Call
    from .run import Run


class Operation:
    """One kind of call: its name and type in the record, and what is done where the record has no outcome yet."""

    __slots__ = ("annotation", "codec", "name", "restore", "type", "write")

    callable_id: str | None = None
    keyed = False
    durability: str | None = None
    replays_itself = False
    """Whether it answers from the record itself, whatever state its step is in."""

    holds_steps = False
    """Whether code runs inside that has places of its own."""

    goes_on = False
    """Whether its code or its child has a part in how it is cancelled, also after a restart."""

    def __init__(self, name: str, type: StepType | str, codec: Codec | None = None) -> None:
        self.name = model.label("name", name)
        self.type = type
        self.codec = codec
        self.annotation: Any = Any
        self.restore: Callable[[Any], Any] | None = None
        self.write: Callable[[Any], Any] | None = None

    @property
    def input(self) -> Any:
        """What is recorded as the input, as plain values; another one on replay is a divergence."""
        return None

    def input_of(self, run: "Run", args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes | None:  # noqa: ARG002
        """What is recorded of the arguments of one call."""
        return None

    def returns(self, annotation: Any) -> None:
        """Says what type the result has."""
        self.annotation = annotation
        self.restore, self.write = values.restorer(annotation), values.writer(annotation)

    def perform(self, run: "Run", call: "Call") -> Coroutine[Any, Any, Any]:
        """The outcome of one call: from the record, or done."""
        from . import performing

        return performing.perform(run, call)

    async def go(self, run: "Run", call: "Call", step: "Step | None") -> Any:
        """Does it, from where the record ends: there is no step yet, or one that is pending or running."""
        raise NotImplementedError

    def result(self, run: "Run", step: "Step") -> Any:
        """The outcome of its completed step, as its blueprint sees it."""
        return self.read(run, step.output)

    def read(self, run: "Run", value: Any) -> Any:
        """What is recorded as a result, as the blueprint sees it. Raises `ValidationError` where it does not fit."""
        codec = self.codec or run.kernel.codec
        if codec is not None:
            return codec.decode(value, self.annotation)
        return value if self.restore is None else self.restore(value)

    def encoded(self, run: "Run", value: Any) -> Any:
        """A result as it is recorded."""
        codec = self.codec or run.kernel.codec
        if codec is not None:
            return codec.encode(value)
        return value if self.write is None else self.write(value)

    def received(self, run: "Run", value: Any) -> Any:
        """What came from outside, as the kernel has it, as this operation records it.

        Whoever sends it knows nothing of a codec that the call has for itself. Raises `ValidationError` for what does
        not fit what the operation returns, so that nothing is recorded which could not be read again.
        """
        if self.codec is not None:
            kernel = run.kernel.codec
            if kernel is not None:
                value = kernel.decode(value, self.annotation)
            elif self.restore is not None:
                value = self.restore(value)
            value = self.codec.encode(value)
        self.read(run, value)
        return value

    async def outside(self) -> Any:
        """What it is where no kernel runs: refused, where that cannot be the plain thing."""
        self._needs_a_kernel()

    def outside_blocking(self) -> Any:
        """The same without a loop."""
        self._needs_a_kernel()

    def _needs_a_kernel(self) -> NoReturn:
        raise errors.PlaceError(
            f"{self.name}: this needs a blueprint that a kernel runs, and cannot be called outside of one or in a step"
        )


async def awaited(work: Callable[[], Any]) -> Any:
    """What a call gives, at once or when it is awaited."""
    value = work()
    return await value if inspect.isawaitable(value) else value


def finished(value: Any) -> Any:
    """What a plain call returns; where that has to be awaited, its outcome, in a loop of its own."""
    return asyncio.run(value) if asyncio.iscoroutine(value) else value


class Never(asyncio.Future[None]):
    """What is never done."""


def never_ends(task: "asyncio.Task[Any]") -> bool:
    """Whether a task waits in `for_ever`."""
    return isinstance(getattr(task, "_fut_waiter", None), Never)


async def for_ever() -> NoReturn:
    """Waits until it is cancelled. Raising instead would let code that catches it go round and never give way."""
    await Never(loop=asyncio.get_running_loop())
    raise errors.InternalError("defect in stepwell, please report it: a wait without end has ended")
