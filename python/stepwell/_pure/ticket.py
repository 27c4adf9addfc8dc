"""What an engine makes known to those who wait: the pure twin of the native ticket.

The request goes on whatever happens to the one who waits: an interrupted or cancelled wait loses nothing.
"""

import os
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterable
from time import monotonic
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    import asyncio

AT_ONCE: Final = 64
"""How many are told in one turn of a loop, so that its other work is not held up."""
LOOKING_SECONDS: Final = 0.0003

_lock = threading.Lock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)


class Ticket:
    """One request's outcome, to come."""

    __slots__ = ("__weakref__", "_done", "_error", "_finish", "_gate", "_listeners", "_outcome", "_value")

    def __init__(self, value: Any = None, finish: Callable[[Any], Any] | None = None) -> None:
        self._gate = threading.Lock()
        self._gate.acquire()
        self._done = False
        self._value = value
        self._finish = finish
        self._outcome: Any = None
        self._error: BaseException | None = None
        self._listeners: list[tuple[Mailbox, Callable[[Any], object]]] = []

    @property
    def done(self) -> bool:
        """Whether the outcome is known."""
        return self._done

    def result(self) -> Any:
        """The outcome of a finished request, or its error raised. Raises `ValidationError` before that."""
        if not self._done:
            from ..trouble import not_done

            not_done()
        if self._error is not None:
            raise self._error
        if self._finish is not None and self._outcome is not True:
            return self._finish(self._outcome)
        return self._value

    def wait(self, timeout: float | None = None) -> Any:
        """Blocks until the outcome is known. Raises the request's error, or `TimeoutError` after `timeout` seconds."""
        if not self._gate.acquire(timeout=-1 if timeout is None else max(timeout, 0)):
            raise TimeoutError(f"the store did not answer within {timeout:g} s")
        self._gate.release()
        return self.result()

    def then(self, loop: "asyncio.AbstractEventLoop", listener: Callable[[Any], object]) -> None:
        """Has `listener` called on the loop with this ticket, soon after the outcome is known. From any thread."""
        import asyncio

        if asyncio._get_running_loop() is loop:
            self._tell(_turn_of(loop).mailbox, listener)
            return
        try:  # what a loop watches is its own thread's to change
            loop.call_soon_threadsafe(self.then, loop, listener)
        except RuntimeError:  # the loop was closed: nobody is left to tell, and the outcome stands
            pass

    def _tell(self, mailbox: "Mailbox", listener: Callable[[Any], object]) -> None:
        with _lock:
            if not self._done:
                self._listeners.append((mailbox, listener))
                return
        mailbox.post([(listener, self)])

    def __await__(self) -> Generator[Any, None, Any]:
        if not self._done:
            from asyncio import get_running_loop  # late: who waits in threads never loads it

            loop = get_running_loop()
            _, mailbox, waiting = _turn_of(loop)
            waiting.append(None)
            try:
                # To wake a loop that sleeps takes as long as a small commit. One that waits for nothing else of the
                # store turns round a little while instead, with whatever else it has to do.
                until = monotonic() + LOOKING_SECONDS if len(waiting) == 1 else 0
                while until and len(waiting) == 1 and not self._done and monotonic() < until:
                    yield
                if not self._done:
                    known: asyncio.Future[None] = loop.create_future()
                    self._tell(mailbox, lambda _: None if known.done() else known.set_result(None))
                    yield from known
            finally:
                waiting.pop()
        return self.result()


class Mailbox:
    """What is to be told on one event loop. The loop is woken once for all of it."""

    __slots__ = ("__weakref__", "_calls", "_loop")

    def __init__(self, loop: "asyncio.AbstractEventLoop") -> None:
        self._loop = weakref.ref(loop)
        self._calls: deque[tuple[Callable[[Any], object], Ticket]] = deque()

    def post(self, calls: "list[tuple[Callable[[Any], object], Ticket]]") -> None:
        """Has these made on the loop. From any thread."""
        self._calls.extend(calls)
        loop = self._loop()
        if loop is not None:
            try:
                loop.call_soon_threadsafe(self._drain)
            except (
                RuntimeError
            ):  # the loop was closed meanwhile: nobody is left to tell, and the outcome stands
                pass

    def _drain(self) -> None:
        """Tells some of those who wait, and has itself called again where there are more."""
        try:
            for _ in range(AT_ONCE):
                try:
                    listener, ticket = self._calls.popleft()
                except IndexError:
                    return
                try:
                    listener(ticket)
                except Exception as error:  # noqa: BLE001 - others wait behind it
                    _drop(error, listener)
        finally:
            loop = self._loop()
            if self._calls and loop is not None:
                loop.call_soon(self._drain)


class _Turn(NamedTuple):
    """What a loop has: its mailbox, and in a list how many wait on it."""

    loop: Callable[[], Any]
    mailbox: Mailbox
    waiting: list[None]


class _Latest(threading.local):
    """The loop that last waited in this thread."""

    turn: _Turn | None = None


_turns: "weakref.WeakKeyDictionary[Any, _Turn]" = weakref.WeakKeyDictionary()
_latest = _Latest()
_making = threading.Lock()


def _turn_of(loop: "asyncio.AbstractEventLoop") -> _Turn:
    known = _latest.turn
    if known is not None and known.loop() is loop:
        return known
    with _making:
        found = _turns.get(loop)
        if found is None:
            found = _turns[loop] = _Turn(weakref.ref(loop), Mailbox(loop), [])
    _latest.turn = found
    return found


def settle(outcomes: "Iterable[tuple[Ticket, Any, BaseException | None]]") -> None:
    """Makes outcomes known: (ticket, outcome, error)."""
    calls: dict[Mailbox, list[tuple[Callable[[Any], object], Ticket]]] = {}
    for ticket, outcome, error in outcomes:
        with _lock:
            ticket._outcome, ticket._error, ticket._done = outcome, error, True
            listeners, ticket._listeners = ticket._listeners, []
        ticket._gate.release()
        for mailbox, listener in listeners:
            calls.setdefault(mailbox, []).append((listener, ticket))
    for mailbox, made in calls.items():
        mailbox.post(made)


def _drop(error: Exception, listener: object) -> None:
    """Reports what a listener raised, as Python does with errors that nobody can be told of."""
    what: Any = SimpleNamespace(
        exc_type=type(error),
        exc_value=error,
        exc_traceback=error.__traceback__,
        err_msg=None,
        object=listener,
    )
    sys.unraisablehook(what)
