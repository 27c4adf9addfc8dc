"""How a running execution reaches its store: many changes, few appends, one at a time, as durable as is asked."""

import asyncio
import itertools
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

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


def projection(execution: Execution, wake_at_ns: int | None = None) -> Projection:
    """The row of an execution whose records were drained."""
    reason = None if execution.wait_reason is None else str(execution.wait_reason)
    return Projection(str(execution.state), reason, execution.head or "", wake_at_ns)


def boundary(level: str) -> Durability:
    """How durable the waits and the end of an execution are with this level."""
    return "process" if level == "process" else "power"


class Journaling:
    """Writes the records of one execution, in order, and tells those who wait when theirs are durable.

    All of it runs on the loop; the store's thread does the rest. `lost` is called once, with the error, when an append
    was refused or failed: from then on nothing is written, and whoever waits waits for ever (it is cancelled instead).
    """

    __slots__ = (
        "_again",
        "_boundary",
        "_closing",
        "_execution",
        "_flying",
        "_level",
        "_loop",
        "_lost",
        "_power",
        "_store",
        "_timer",
        "_version",
        "_waiters",
        "epoch",
        "failed",
        "wake",
    )

    def __init__(
        self,
        execution: Execution,
        store: Store,
        epoch: int,
        version: int,
        lost: Callable[[BaseException], None],
        level: str,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._execution = execution
        self._store = store
        self.epoch = epoch
        self._version = version
        self._lost = lost
        self._level = level
        self._boundary: Durability = boundary(level)
        self._power = False
        self._flying = False
        self._again = False
        self._closing = False
        self._timer: asyncio.Handle | None = None
        self._waiters: list[asyncio.Future[None]] = []
        self.failed: BaseException | None = None
        self.wake: Callable[[], int | None] = lambda: None

    def soon(self, level: str | None = None) -> None:
        """Has what is not written yet written within `START_DELAY`, unless it waits for the end."""
        if (level or self._level) == "end":
            return
        if self._flying:
            self._again = True
        elif self._timer is None:
            self._timer = self._loop.call_later(START_DELAY, self._flush)

    def durable(self) -> "asyncio.Future[None]":
        """Done when everything up to now is as durable as a wait or an end of this execution has to be."""
        return self._written(self._boundary)

    def kept(self, level: str | None) -> "asyncio.Future[None] | None":
        """Done when everything up to now is as durable as this level says; `None` where nothing is waited for."""
        level = level or self._level
        if level in {"behind", "end"}:
            self.soon(level)
            return None
        return self._written("power" if level == "power" else "process")

    def _written(self, durability: Durability) -> "asyncio.Future[None]":
        waiter = self._loop.create_future()
        self._waiters.append(waiter)
        self._power |= durability == "power"
        if not self._flying:
            # At the end of this turn of the loop: others who finish in it share the append.
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_soon(self._flush)
        return waiter

    def _flush(self) -> None:
        self._timer = None
        if self._flying or self.failed is not None:
            return
        records: Records = self._execution.drain()
        waiters, self._waiters = self._waiters, []
        if not records:
            _wake(waiters)
            return
        power = self._power or (not waiters and self._boundary == "power")
        self._flying, self._again, self._power = True, False, False
        row = projection(self._execution, self.wake())
        level: Durability = "power" if power else "process"
        whose = (self._execution.id, self._version, self.epoch, _action_id())
        self._send(lambda: self._store.append(*whose, records, row, level), waiters)

    def _send(self, append: Callable[[], Ticket[int]], waiters: "list[asyncio.Future[None]]") -> None:
        try:
            ticket = append()
        except Exception as error:  # noqa: BLE001 - any failure ends the run, and is told to whoever waits for it
            self._not_sent(append, waiters, error)
            return
        ticket.then(self._loop, lambda done: self._landed(append, done, waiters))

    def _landed(
        self, append: Callable[[], Ticket[int]], ticket: Ticket[int], waiters: "list[asyncio.Future[None]]"
    ) -> None:
        try:
            self._version = ticket.result()
        except Exception as error:  # noqa: BLE001 - likewise
            self._not_sent(append, waiters, error)
            return
        self._flying = False
        _wake(waiters)
        if self._waiters:
            self._flush()
        elif self._again:
            self.soon()

    def _not_sent(
        self, append: Callable[[], Ticket[int]], waiters: "list[asyncio.Future[None]]", error: Exception
    ) -> None:
        if isinstance(error, StoreBusy) and not self._closing:
            # Too much waits for the store, or another process holds it. The steps of this execution wait, too.
            self._loop.call_later(BUSY_DELAY, self._send, append, waiters)
        else:
            self._fail(error)

    def close(self) -> None:
        """From now on a store that is busy is a failure: nobody waits for it any longer."""
        self._closing = True

    def _fail(self, error: BaseException) -> None:
        self._flying = False
        self.failed = error
        self._lost(error)


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


def _wake(waiters: "list[asyncio.Future[None]]") -> None:
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(None)
