"""What a store hands out for a request: something to wait for, in a thread or on an event loop.

The request itself goes on whatever happens to the one who waits: an interrupted or cancelled wait loses nothing.
"""

import threading
import weakref
from collections.abc import Callable, Generator
from functools import cache
from importlib import import_module
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeVar

if TYPE_CHECKING:
    import asyncio

LOOKING_SECONDS: Final = 0.0003

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


@cache
def parts(backend: str) -> Parts:
    """Those of `native` or `pure`."""
    if backend == "native":
        native = import_module("stepwell._native")
        return Parts(native.Engine, _ticket(native.Ticket, native.Mailbox))
    pure = import_module("stepwell._pure.ticket")
    engine = import_module("stepwell._pure.engine").Engine
    return Parts(engine, _ticket(pure.Ticket, pure.Mailbox))


class _Turn(NamedTuple):
    """What a loop has: its mailbox, and in a list how many wait on it."""

    loop: Callable[[], Any]
    mailbox: Any
    waiting: list[None]


class _Latest(threading.local):
    """The loop that last waited in this thread."""

    turn: _Turn | None = None


def _ticket(base: Any, mailbox: Callable[["asyncio.AbstractEventLoop"], Any]) -> type[Any]:
    turns: weakref.WeakKeyDictionary[Any, _Turn] = weakref.WeakKeyDictionary()
    latest = _Latest()
    running: Callable[[], asyncio.AbstractEventLoop] | None = None
    making = threading.Lock()

    def turn_of(loop: "asyncio.AbstractEventLoop") -> _Turn:
        known = latest.turn
        if known is not None and known.loop() is loop:
            return known
        with making:
            found = turns.get(loop)
            if found is None:
                found = turns[loop] = _Turn(weakref.ref(loop), mailbox(loop), [])
        latest.turn = found
        return found

    def running_loop() -> "asyncio.AbstractEventLoop":
        nonlocal running
        known = running
        if known is None:
            from asyncio import get_running_loop  # late: who waits in threads never loads it

            known = running = get_running_loop
        return known()

    class Waiting(base):  # type: ignore[misc]
        __slots__ = ()

        def then(self, loop: "asyncio.AbstractEventLoop", listener: "Callable[[Any], object]") -> None:
            import asyncio

            if asyncio._get_running_loop() is loop:
                self.listen(turn_of(loop).mailbox, listener)
                return
            try:  # what a loop watches is its own thread's to change
                loop.call_soon_threadsafe(self.then, loop, listener)
            except RuntimeError:  # the loop was closed: nobody is left to tell, and the outcome stands
                pass

        def __await__(self) -> Generator[Any, None, Any]:
            if not self.done:
                loop = running_loop()
                _, box, waiting = turn_of(loop)
                waiting.append(None)
                try:
                    # To wake a loop that sleeps takes as long as a small commit. One that waits for nothing else of the
                    # store turns round a little while instead, with whatever else it has to do.
                    until = monotonic() + LOOKING_SECONDS if len(waiting) == 1 else 0
                    while until and len(waiting) == 1 and not self.done and monotonic() < until:
                        yield
                    if not self.done:
                        known: asyncio.Future[None] = loop.create_future()
                        self.wake(box, known)
                        yield from known
                finally:
                    waiting.pop()
            return self.result()

    Waiting.__name__ = Waiting.__qualname__ = "Ticket"
    return Waiting
