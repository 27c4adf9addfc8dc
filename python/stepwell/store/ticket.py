"""What a store hands out for a request: something to wait for, in a thread or on an event loop.

The request itself goes on whatever happens to the one who waits: an interrupted or cancelled wait loses nothing.
"""

from collections.abc import Callable, Generator
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Ticket(Protocol[T_co]):
    """One request's outcome, to come. Await it on a loop, or `wait` for it in a thread; as often as you like."""

    @property
    def done(self) -> bool:
        """Whether the outcome is known."""
        ...

    def result(self) -> T_co:
        """The outcome of a finished request, or its error raised. Raises `ValidationError` before that."""
        ...

    def wait(self, timeout: float | None = None) -> T_co:
        """Blocks until the outcome is known. Raises the request's error, or `TimeoutError` after `timeout` seconds."""
        ...

    def then(self, loop: "asyncio.AbstractEventLoop", listener: "Callable[[Any], object]") -> None:
        """Has `listener` called on the loop with this ticket, soon after the outcome is known."""
        ...

    def __await__(self) -> Generator[Any, None, T_co]: ...


class Known:
    """The ticket of a request that is answered when it is made."""

    __slots__ = ("error", "value")

    def __init__(self) -> None:
        self.value: Any = None
        self.error: Exception | None = None

    @property
    def done(self) -> bool:
        """See `Ticket.done`."""
        return True

    def result(self) -> Any:
        """See `Ticket.result`."""
        if self.error is not None:
            raise self.error
        return self.value

    def wait(self, timeout: float | None = None) -> Any:  # noqa: ARG002 - nothing is waited for
        """See `Ticket.wait`."""
        return self.result()

    def then(self, loop: "asyncio.AbstractEventLoop", listener: Callable[[Any], object]) -> None:
        """See `Ticket.then`."""
        loop.call_soon_threadsafe(listener, self)

    def __await__(self) -> Generator[Any, None, Any]:
        return self.result()
        yield


class Parts(NamedTuple):
    """The classes of one backend that a store is made of."""

    engine: Callable[..., Any]
    ticket: Callable[..., Any]
    appender: Callable[..., Any]


@cache
def parts(backend: str) -> Parts:
    """Those of `native` or `pure`."""
    if backend == "native":
        native = import_module("stepwell._native")
        return Parts(native.Engine, native.Ticket, native.Appender)
    pure = import_module("stepwell._pure.appending")
    return Parts(pure.Engine, pure.Ticket, pure.Appender)
