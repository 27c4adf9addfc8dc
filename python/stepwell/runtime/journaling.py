"""How a running execution reaches its store: many changes, few appends, one at a time."""

import asyncio
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from ..store import Projection, Store, Ticket
from .core import Execution

if TYPE_CHECKING:
    from ..store.protocol import Records

START_DELAY: Final = 0.05
"""Seconds that the record of a start waits for other records, so that a short step costs one flush and not two."""


def projection(execution: Execution, wake_at_ns: int | None = None) -> Projection:
    """The row of an execution whose records were drained."""
    reason = None if execution.wait_reason is None else str(execution.wait_reason)
    return Projection(str(execution.state), reason, execution.head or "", wake_at_ns)


class Journaling:
    """Writes the records of one execution, in order, and tells those who wait when theirs are durable.

    All of it runs on the loop; the store's thread does the rest. `lost` is called once, with the error, when an append
    was refused or failed: from then on nothing is written, and whoever waits waits for ever (it is cancelled instead).
    """

    __slots__ = (
        "_again",
        "_execution",
        "_flying",
        "_loop",
        "_lost",
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
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._execution = execution
        self._store = store
        self.epoch = epoch
        self._version = version
        self._lost = lost
        self._flying = False
        self._again = False
        self._timer: asyncio.Handle | None = None
        self._waiters: list[asyncio.Future[None]] = []
        self.failed: BaseException | None = None
        self.wake: Callable[[], int | None] = lambda: None

    def soon(self) -> None:
        """Has what is not written yet written within `START_DELAY`."""
        if self._flying:
            self._again = True
        elif self._timer is None:
            self._timer = self._loop.call_later(START_DELAY, self._flush)

    def durable(self) -> "asyncio.Future[None]":
        """Done when everything up to now is durable."""
        waiter = self._loop.create_future()
        self._waiters.append(waiter)
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
        self._flying, self._again = True, False
        try:
            ticket = self._store.append(
                self._execution.id,
                self._version,
                self.epoch,
                os.urandom(16),
                records,
                projection(self._execution, self.wake()),
            )
        except Exception as error:  # noqa: BLE001 - any failure ends the run, and is told to whoever waits for it
            self._fail(error)
            return
        ticket.then(self._loop, lambda done: self._landed(done, waiters))

    def _landed(self, ticket: Ticket[int], waiters: "list[asyncio.Future[None]]") -> None:
        self._flying = False
        try:
            self._version = ticket.result()
        except Exception as error:  # noqa: BLE001 - likewise
            self._fail(error)
            return
        _wake(waiters)
        if self._waiters:
            self._flush()
        elif self._again:
            self.soon()

    def _fail(self, error: BaseException) -> None:
        self._flying = False
        self.failed = error
        self._lost(error)


def _wake(waiters: "list[asyncio.Future[None]]") -> None:
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(None)
