"""What a store hands out for a request: something to wait for, in a thread or on an event loop.

The request itself goes on whatever happens to the one who waits: an interrupted or cancelled wait loses nothing.
"""

import os
import threading
from collections.abc import Callable, Generator, Iterable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")

_lock = threading.Lock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)


class Ticket(Generic[T]):
    """One request's outcome, to come. Await it on a loop, or `wait` for it in a thread; as often as you like."""

    __slots__ = ("_done", "_error", "_gate", "_listeners", "_result")

    def __init__(self) -> None:
        self._gate = threading.Lock()
        self._gate.acquire()
        self._done = False
        self._result: T | None = None
        self._error: BaseException | None = None
        self._listeners: list[tuple[Any, Callable[[Ticket[T]], object]]] = []

    @property
    def done(self) -> bool:
        """Whether the outcome is known."""
        return self._done

    def result(self) -> T:
        """The outcome of a finished request, or its error raised."""
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value]

    def wait(self, timeout: float | None = None) -> T:
        """Blocks until the outcome is known. Raises the request's error, or `TimeoutError` after `timeout` seconds."""
        if not self._gate.acquire(timeout=-1 if timeout is None else timeout):
            raise TimeoutError(f"the store did not answer within {timeout} s")
        self._gate.release()
        return self.result()

    def then(self, loop: "asyncio.AbstractEventLoop", listener: "Callable[[Ticket[T]], object]") -> None:
        """Has `listener` called on the loop with this ticket, soon after the outcome is known."""
        with _lock:
            if not self._done:
                self._listeners.append((loop, listener))
                return
        loop.call_soon_threadsafe(listener, self)

    def __await__(self) -> Generator[Any, None, T]:
        import asyncio

        if not self._done:
            loop = asyncio.get_running_loop()
            waiting: asyncio.Future[None] = loop.create_future()

            def known(_: Ticket[T]) -> None:
                if not waiting.done():
                    waiting.set_result(None)

            self.then(loop, known)
            yield from waiting.__await__()
        return self.result()


def settle(outcomes: "Iterable[tuple[Ticket[Any], Any, BaseException | None]]") -> None:
    """Makes outcomes known: (ticket, result, error). Every loop that listens is woken once for all of them."""
    calls: dict[Any, list[tuple[Callable[[Ticket[Any]], object], Ticket[Any]]]] = {}
    for ticket, result, error in outcomes:
        with _lock:
            ticket._result, ticket._error, ticket._done = result, error, True
            listeners, ticket._listeners = ticket._listeners, []
        ticket._gate.release()
        for loop, listener in listeners:
            calls.setdefault(loop, []).append((listener, ticket))
    for loop, made in calls.items():
        try:
            loop.call_soon_threadsafe(_deliver, made)
        except RuntimeError:  # the loop was closed meanwhile: nobody is left to tell, and the outcome stands
            pass


def _deliver(calls: "list[tuple[Callable[[Ticket[Any]], object], Ticket[Any]]]") -> None:
    for listener, ticket in calls:
        listener(ticket)
