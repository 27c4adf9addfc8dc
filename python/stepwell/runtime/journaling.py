"""How a running execution reaches its store: many changes, few appends, one at a time, as durable as is asked."""

import asyncio
import itertools
import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from .._spec import ExecutionState
from ..errors import StoreBusy
from ..store import Durability, Projection, Store, Ticket
from .core import Execution

if TYPE_CHECKING:
    from ..store.protocol import Records

START_DELAY: Final = 0.05
"""Seconds that the record of a start waits for other records, so that a short step costs one flush and not two.

With durability `behind` results wait as long: that, and what one commit takes, is what may be lost.
"""
BUSY_DELAY: Final = 0.1
"""Seconds after which a store that is busy is asked again."""
LEVELS: Final = ("power", "process", "behind", "end")
"""When a result is seen: on the disk, in the file, soon to be written, written at the next wait or the end."""


def projection(execution: Execution, wake_at_ns: int | None = None, progress: bool = True) -> Projection:
    """The row of an execution whose records were drained."""
    reason = execution.wait_reason  # `value` of an enumeration is a slow property
    state = execution.state._value_
    return _made(
        Projection,
        (state, None if reason is None else reason._value_, execution.head or "", wake_at_ns, progress),
    )


_made = tuple.__new__  # what a named tuple's own `__new__` comes to


def boundary(level: str) -> Durability:
    """How durable the waits and the end of an execution are with this level."""
    return "process" if level == "process" else "power"


class Late:
    """The journals of a kernel that are to be written soon: one alarm for all, which no append puts off."""

    __slots__ = ("_alarm", "_journals", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._journals: list[Journaling] = []
        self._alarm: asyncio.Handle | None = None

    def add(self, journal: "Journaling") -> None:
        """Looks after this one, too."""
        journal.is_late = True
        self._journals.append(journal)
        if self._alarm is None:
            self._alarm = self._loop.call_later(START_DELAY, self._ring)

    def _ring(self) -> None:
        """Writes what is old enough, and looks again when the next one will be."""
        now, first = self._loop.time(), None
        journals, self._journals, self._alarm = self._journals, [], None
        for journal in journals:
            since = journal.since
            if since is None:
                journal.is_late = False
                continue
            self._journals.append(journal)
            if since + START_DELAY <= now + 0.001:
                journal.write_late()
            elif first is None or since < first:
                first = since
        if self._journals:
            pause = START_DELAY if first is None else max(first + START_DELAY - now, 0.001)
            self._alarm = self._loop.call_later(pause, self._ring)


class Journaling:
    """Writes the records of one execution, in order, and tells those who wait when theirs are durable.

    All of it runs on the loop; the store's thread does the rest. `lost` is called once, with the error, when an append
    was refused or failed: from then on nothing is written, and whoever waits waits for ever (it is cancelled instead).
    """

    __slots__ = (
        "_asked",
        "_at_once",
        "_boundary",
        "_closing",
        "_execution",
        "_flown",
        "_flying",
        "_late",
        "_level",
        "_loop",
        "_lost",
        "_needed",
        "_power",
        "_request",
        "_rest",
        "_short",
        "_store",
        "_theirs",
        "_turn",
        "_version",
        "_waiters",
        "epoch",
        "failed",
        "is_late",
        "opened",
        "progress",
        "since",
        "taken",
        "wake",
        "wakes",
    )

    def __init__(
        self,
        execution: Execution,
        store: Store,
        epoch: int,
        version: int,
        lost: Callable[[BaseException], None],
        level: str,
        late: "Late",
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._execution = execution
        self._store = store
        self._short: Any = store if hasattr(type(store), "append_drained") else None
        self.epoch = epoch
        self._version = version
        self._lost = lost
        self._level = level
        self._late = late
        self.is_late = False
        self._boundary: Durability = boundary(level)
        self._power = False
        self._asked = False
        self._flying = False
        self._closing = False
        self._at_once = False
        self._needed: Durability = "power"
        # What is being asked, for as long as it may have to be asked again: arguments of `append`, or a ticket.
        self._request: Any = None
        self._rest: asyncio.Future[None] | None = None
        self._theirs: object = None  # the ticket that somebody awaits, who says when it is answered
        self._turn: asyncio.Handle | None = None
        self.since: float | None = None
        self._waiters: list[asyncio.Future[None]] = []
        self._flown: list[asyncio.Future[None]] = []
        self.failed: BaseException | None = None
        self.wake: Callable[[], int | None] = lambda: None
        self.wakes: int | None = None  # what the row says about it
        self.progress = True
        self.taken: list[str] = []
        self.opened: list[str] = []

    def soon(self, level: str | None = None) -> None:
        """Has what is not written yet written within `START_DELAY`, unless it waits for the end."""
        if self.since is None and (level or self._level) != "end":
            self.since = self._loop.time()
            if not self.is_late:
                self._late.add(self)

    def write_late(self) -> None:
        """It was soon enough."""
        if self.failed is None and not self._flying:
            self._fly()

    def durable(self, waiter: "asyncio.Future[None] | None" = None) -> "asyncio.Future[None]":
        """Done when everything up to now is as durable as a wait or an end of this execution has to be.

        It is `waiter`, where that is given.
        """
        self._asked = True
        self._power |= self._boundary == "power"
        return self._waiter(waiter)

    def kept(self, level: str | None, alone: bool = False) -> Awaitable[Any] | None:
        """Done when everything up to now is as durable as this level says; `None` where nothing is waited for.

        `alone`: nothing else of this execution can come to an end in this turn of the loop. Whoever awaits it says what
        came of it: by `landed`, or by `let_go` where that was an exception.
        """
        level = level or self._level
        if level == "power":
            self._power = True
        elif level != "process":
            self.soon(level)
            return None
        self._asked = True
        if self._flying or not (alone or self._at_once):
            return self._waiter()
        if self._turn is not None:
            self._turn.cancel()
        ticket = self._flush()
        if ticket is not None:
            self._theirs = ticket
            return ticket
        if not self._flying and self.failed is None:
            return None  # it was written while we looked
        waiter = self._loop.create_future()
        (self._flown if self.failed is None else self._waiters).append(waiter)
        return waiter

    def landed(self, written: Awaitable[Any], last: int) -> None:
        """What `kept` gave was awaited, and this came of it."""
        if written is self._theirs:
            self._theirs = None
            self._version = last
            self._arrived()

    def let_go(self, written: Awaitable[Any]) -> None:
        """What `kept` gave is not awaited any longer, or raised an error."""
        if written is self._theirs:
            self._theirs = None
            written.then(self._loop, self._landed)  # type: ignore[attr-defined]

    def _waiter(self, waiter: "asyncio.Future[None] | None" = None) -> "asyncio.Future[None]":
        waiter = self._loop.create_future() if waiter is None else waiter
        self._waiters.append(waiter)
        if not self._flying and self._turn is None:
            # At the end of this turn of the loop: others who finish in it share the append.
            self._turn = self._loop.call_soon(self._fly)
        return waiter

    def _fly(self) -> None:
        """Asks for what is not written, and sees to it that it lands."""
        ticket = self._flush()
        if ticket is not None:
            ticket.then(self._loop, self._landed)

    def _flush(self) -> Ticket[int] | None:
        """Asks for what is not written. The ticket, unless it was answered at once or there is nothing to ask."""
        self._turn = None
        if self._flying or self.failed is not None:
            return None
        if self._waiters:
            self._flown, self._waiters = self._waiters, []
        self.since = None
        power = self._power or (not self._asked and self._boundary == "power")
        self._needed = "power" if power else "process"
        self._flying, self._power, self._asked = True, False, False
        return self._ask()

    def _ask(self) -> Ticket[int] | None:
        """Drains, and asks for the append of that; or once more for what failed."""
        execution, short = self._execution, self._short
        ticket: Ticket[int] | None
        try:
            if self._request is not None:
                ticket = self._asked_again()
            elif short is not None and not self.taken and not self.opened:
                found = short.append_drained(
                    execution, self._version, self.epoch, self.progress, self._needed
                )
                if found.__class__ is not list:
                    self.wakes, self._request = None, found
                    return found  # type: ignore[no-any-return]
                ticket = self._asked_for(found)
            else:
                ticket = self._asked_for(execution.drain())
            if ticket is not None and not ticket.done:
                return ticket
            if ticket is not None:
                self._at_once = True
                self._version = ticket.result()
            self._arrived()
        except Exception as error:  # noqa: BLE001 - any failure ends the run, and is told to whoever waits for it
            self._not_sent(error)
        return None

    def _asked_for(self, records: "Records") -> Ticket[int] | None:
        """The ticket of an append; `None` if there is nothing."""
        if not records:
            return None
        execution = self._execution
        self.wakes = None if execution.state is ExecutionState.RUNNING else self.wake()
        row = projection(execution, self.wakes, self.progress)
        whose = (execution.id, self._version, self.epoch, _action_id(), records, row, self._needed)
        if self.taken or self.opened:
            whose = (*whose, self.taken, self.opened)  # type: ignore[assignment]
            self.taken, self.opened = [], []
        self._request = whose
        return self._store.append(*whose)

    def _asked_again(self) -> Ticket[int]:
        request = self._request
        if isinstance(request, tuple):
            return self._store.append(*request)
        self._request = again = self._short.append_again(request)
        return again  # type: ignore[no-any-return]

    def _landed(self, ticket: Ticket[int]) -> None:
        try:
            self._version = ticket.result()
        except Exception as error:  # noqa: BLE001 - likewise
            self._not_sent(error)
            return
        self._arrived()

    def _arrived(self) -> None:
        """Nothing is on its way any more."""
        self._request = None
        self._flying = False
        if self._flown:
            flown, self._flown = self._flown, []
            for waiter in flown:
                if not waiter.done():
                    waiter.set_result(None)
        if self._waiters and self._turn is None:
            self._fly()

    def _not_sent(self, error: Exception) -> None:
        if isinstance(error, StoreBusy) and not self._closing:
            # Too much waits for the store, or another process holds it. The steps of this execution wait, too.
            self._loop.call_later(BUSY_DELAY, self._ask_again)
        else:
            self._request = None
            self._fail(error)

    def _ask_again(self) -> None:
        ticket = self._ask()
        if ticket is not None:
            ticket.then(self._loop, self._landed)

    def close(self) -> "asyncio.Future[None]":
        """From now on a store that is busy is a failure: nobody waits for it any longer.

        Done when everything up to now is durable, or cannot be: `failed` says which.
        """
        self._closing = True
        if self.failed is None:
            self._rest = self.durable()
        else:
            self._rest = self._loop.create_future()
            self._rest.set_result(None)
        return self._rest

    def _fail(self, error: BaseException) -> None:
        self._flying = False
        self.failed = error
        self._lost(error)
        if self._rest is not None and not self._rest.done():
            self._rest.set_result(None)


_process = os.urandom(8)
_numbers = itertools.count()


def _action_id() -> bytes:
    """An id that no other append of this or another process has."""
    return _process + next(_numbers).to_bytes(8, "big")


def _after_fork() -> None:
    global _process
    _process = os.urandom(8)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
