"""What a kernel looks after by itself: whose time has come, for whom something arrived, what others left behind."""

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakValueDictionary

from .. import errors
from .._spec import EXECUTION_TERMINAL, ExecutionState, WaitReason
from ..store import Delivery, ExecutionRow
from . import children, commands, renewing
from .delivering import wishes
from .stopping import seen
from .taking import LEASE_S, sleeps

if TYPE_CHECKING:
    from .kernel import Kernel

log = logging.getLogger("stepwell")

LOOK_BUSY_S: Final = 0.05
"""Seconds between two looks into the store while something runs: that long a wish from another process may take."""
LOOK_IDLE_S: Final = 0.25
SEARCH_S: Final = 5.0
"""Seconds between two searches for executions whose owner has gone."""
SEARCH_WAITING_S: Final = 30.0
"""The same for those that wait: what they wait for is heard of without a search."""
PARENT_S: Final = 60.0
"""Seconds between two looks whether a child has ended and its parent was not told, since a process died just then."""
RENEW_S: Final = 20.0
_SUSPECT: Final = 2
"""After so many claims without progress an execution is run apart from other suspects."""
_BATCH: Final = 100
_LARGE_BATCH: Final = 1000
_AT_ONCE: Final = 32
_RUNNABLE: Final = ("created", "planning", "running")


class Watching:
    """The kernel's own task. With `everything` it takes up what anybody left; else only what is its own."""

    def __init__(self, kernel: "Kernel", everything: bool) -> None:
        self._kernel = kernel
        self._everything = everything
        self._own: set[str] = set()
        # Those who wait hold theirs; a dict would keep one for every execution whose end was ever asked for.
        self._changed: WeakValueDictionary[str, asyncio.Future[None]] = WeakValueDictionary()
        self._poked = asyncio.Event()
        self._place = 0
        # Something came while they were leaving, or while nobody ran them: nobody has seen it.
        self._left: list[str] = []
        self._later: set[str] = set()
        self._seen: dict[str, int] = {}
        self._parents: dict[str, float] = {}
        self._search_at = 0.0
        self._search_waiting_at = 0.0
        self._renew_at = 0.0
        self._suspects: dict[str, ExecutionRow] = {}
        self._suspect: str | None = None
        self._warned: set[str] = set()
        self.first_search: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        watch = getattr(kernel.clock, "watch", None)
        self._loop = asyncio.get_running_loop()
        self._unwatch = (lambda: None) if watch is None else watch(self._moved)

    def _moved(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._poked.set)
        except RuntimeError:  # the loop is closed
            pass

    def close(self) -> None:
        """Looks after nothing any more."""
        self._unwatch()
        for changed in list(self._changed.values()):
            if not changed.done():
                changed.set_result(None)

    def own(self, id: str) -> None:
        """This execution is looked after, whoever else there is."""
        if not self._everything:
            self._own.add(id)

    def poke(self, id: str | None = None) -> None:
        """Something has changed: looks at once, and tells who waits for this execution."""
        self._poked.set()
        if id is not None:
            changed = self._changed.pop(id, None)
            if changed is not None and not changed.done():
                changed.set_result(None)

    def forget(self, id: str) -> None:
        """This execution has ended."""
        self._own.discard(id)
        self._later.discard(id)
        self._seen.pop(id, None)
        self._parents.pop(id, None)

    def left(self, id: str, place: int) -> None:
        """This execution left memory here, and has seen what was delivered up to this place."""
        if place:
            self._seen[id] = place
        self._left.append(id)
        self.poke(id)

    def change(self, id: str) -> "asyncio.Future[None]":
        """Done when this kernel does something with an execution."""
        future = self._changed.get(id)
        if future is None:
            future = self._changed[id] = self._loop.create_future()
        return future

    async def is_called(self, row: ExecutionRow) -> bool:
        """Whether something came to an execution that nobody runs, and that it has not seen; or should have come."""
        if any(delivery.kind != "heartbeat" for delivery in await self._mail(row.id)):
            return True
        return row.wait_reason == WaitReason.SUB_AGENT and await self._is_to_be_told(row)

    async def _mail(self, id: str) -> list[Delivery]:
        """What it has not seen, up to the first page with more than heartbeats in it. Those only put a time off."""
        after = self._seen.get(id, 0)
        while page := await self._kernel.store.inbox(id, after, _BATCH):
            if len(page) < _BATCH or any(delivery.kind != "heartbeat" for delivery in page):
                return page
            after = page[-1].place
        return []

    async def work(self) -> None:
        """Looks, and looks again, until it is cancelled."""
        kernel = self._kernel
        while True:
            self._poked.clear()
            try:
                await self._look_and_hear()
            except errors.KernelClosed:
                return
            except Exception as error:  # noqa: BLE001 - a store in trouble is asked again
                if not self.first_search.done():
                    self.first_search.set_result(None)
                log.warning("the store could not be looked into: %s", error)
            pause = LOOK_BUSY_S if kernel.is_busy else LOOK_IDLE_S
            # No asyncio.timeout: it cancels this task, which is how `Kernel.is_interrupted` sees that the loop ends.
            alarm = self._loop.call_later(pause, self._poked.set)
            try:
                await self._poked.wait()
            finally:
                alarm.cancel()

    async def _look_and_hear(self) -> None:
        """Looks. Where there is much to be taken up that lasts, and what runs is told meanwhile what is asked of it."""
        look = self._kernel.spawn(self._look())
        look.add_done_callback(seen)
        try:
            while not (await asyncio.wait([look], timeout=LOOK_BUSY_S))[0]:
                await self._hear()
        except BaseException:
            look.cancel()
            raise
        look.result()

    async def _look(self) -> None:
        now = self._loop.time()
        await self._hear()
        left, self._left = [*dict.fromkeys(self._left)], []
        try:
            await self._attend_all(left)
        except errors.StoreCorrupt:
            raise
        except BaseException:
            self._left += left
            raise
        await self._due()
        if now >= self._search_at:
            self._search_at = now + SEARCH_S
            later, self._later = self._later, set()
            await self._attend_all([*later])
            await self._search(_RUNNABLE)
        if now >= self._search_waiting_at:
            self._search_waiting_at = now + SEARCH_WAITING_S
            await self._search(("waiting",))
        if not self.first_search.done():
            self.first_search.set_result(None)
        if now >= self._renew_at:
            self._renew_at = now + RENEW_S
            await self._renew()
        self._next_suspect()

    # --- what is to be done ---------------------------------------------------------------------------------------

    async def _hear(self) -> None:
        """Tells what runs here that something was delivered to it; the others are attended to by the next look."""
        kernel = self._kernel
        while True:
            page = await kernel.store.arrivals(self._place, _BATCH)
            for id in dict.fromkeys(id for _, id in page):
                run = kernel.running(id)
                if run is not None:
                    run.waits.look()
                elif self._is_ours(id):
                    self._left.append(id)
            if page:
                self._place = max(self._place, page[-1][0])
            if len(page) < _BATCH:
                return

    async def _attend_all(self, ids: list[str]) -> None:
        for first in range(0, len(ids), _AT_ONCE):
            await asyncio.gather(*(self._attend(id) for id in ids[first : first + _AT_ONCE]))

    async def _attend(self, id: str) -> None:
        """Something lies in the inbox of an execution that does not run here."""
        kernel = self._kernel
        if kernel.is_closing:
            return
        try:
            row = await kernel.store.get(id)
        except errors.NotFound:
            return
        if row.state in EXECUTION_TERMINAL:
            self.forget(id)
            if row.state == ExecutionState.COMPLETED:
                await self._safely(id, renewing.carry_rest(kernel, row))
            return
        deliveries = await self._mail(id)
        if all(delivery.kind == "heartbeat" for delivery in deliveries) or kernel.running(id) is not None:
            return
        if not kernel.taking.may_take(row):
            self._later.add(id)  # whoever owns it may leave it, or die, before it has looked
        elif row.state in (ExecutionState.CREATED, ExecutionState.PAUSED):
            # What else arrived waits for its code; a wish behind all of that is done now.
            wished = await wishes(kernel, id, self._seen.get(id, 0))
            await self._safely(id, commands.attend(kernel, row, wished))
        else:
            await self._take(row)

    async def _due(self) -> None:
        kernel, limit = self._kernel, _BATCH
        tried: set[str] = set()
        while True:
            rows = await kernel.store.due(kernel.clock.now_ns(), limit)
            ours = [row for row in rows if row.id not in tried and self._wants(row)]
            ours = [row for row in ours if row.state != ExecutionState.PAUSED]
            tried.update(row.id for row in ours)
            await self._take_all(ours)
            if len(tried) >= _LARGE_BATCH:  # what has arrived meanwhile has its turn
                self._poked.set()
                return
            if len(rows) < limit or (not ours and limit == _LARGE_BATCH):
                return
            if not ours:  # those of others are before
                limit = _LARGE_BATCH

    async def _search(self, states: tuple[str, ...]) -> None:
        """Looks for what was left by processes that are gone, oldest first; and for parents of ended children."""
        kernel = self._kernel
        rows: list[ExecutionRow] = []
        for state in states:
            after = None
            while page := await kernel.store.list(state, after, 1000):
                now = kernel.clock.now_ns()
                for row in page:
                    if row.owner is None and row.wait_reason == WaitReason.SUB_AGENT:
                        if self._wants(row) and await self._is_to_be_told(row):
                            rows.append(row)
                    elif not sleeps(row, now) and self._wants(row):
                        if row.owner == kernel.taking.owner:  # it has just left, or is about to
                            await kernel.left(row.id)
                            row = await kernel.store.get(row.id)
                            if row.state in EXECUTION_TERMINAL or sleeps(row, now):
                                continue
                        rows.append(row)
                after = page[-1].id
                if len(page) < 1000:
                    break
        await self._take_all(sorted(rows, key=lambda row: row.id))

    async def _is_to_be_told(self, row: ExecutionRow) -> bool:
        """Whether a child of it has ended, and a process died before it told the parent."""
        now = self._loop.time()
        if now < self._parents.get(row.id, 0):
            return False
        self._parents[row.id] = now + PARENT_S
        try:
            return await children.has_ended_child(self._kernel, row)
        except errors.StepwellError as error:
            self._warn(row.id, error)
            return False

    async def _take_all(self, rows: list[ExecutionRow]) -> None:
        for first in range(0, len(rows), _AT_ONCE):
            await asyncio.gather(*(self._take(row) for row in rows[first : first + _AT_ONCE]))

    async def _take(self, row: ExecutionRow) -> None:
        if self._kernel.is_closing or self._kernel.blueprint_of(row) is None:
            return
        if row.claims >= _SUSPECT:
            if row.id != self._suspect:
                self._suspects[row.id] = row
            return
        await self._safely(row.id, self._kernel.taking.take_up(row))

    def _next_suspect(self) -> None:
        """Executions whose process died again and again are run one at a time, so that the guilty one shows."""
        kernel = self._kernel
        if self._suspect is not None:
            run = kernel.running(self._suspect)
            if run is not None and not run.journal.progress:
                return
            self._suspect = None
        if self._suspects and not kernel.is_closing:
            id = next(iter(self._suspects))
            row = self._suspects.pop(id)
            if kernel.running(id) is None:
                self._suspect = id
                _ = kernel.spawn(self._safely(id, kernel.taking.take_up(row)))

    async def _safely(self, id: str, work: Any) -> None:
        try:
            await work
            self.poke(id)
        except (errors.Conflict, errors.KernelClosed):
            pass  # somebody else was first
        except Exception as error:  # noqa: BLE001 - one that cannot be run must not keep the others from it
            if isinstance(error, errors.StoreError) and not isinstance(error, errors.StoreCorrupt):
                self._later.add(id)  # it is the store's trouble, and may be over soon
                log.warning("execution %s could not be taken up yet: %s", id, error)
            else:
                self._warn(id, error)

    def _warn(self, id: str, error: Exception) -> None:
        if id not in self._warned:
            self._warned.add(id)
            log.warning("execution %s could not be taken up: %s", id, error)

    async def _renew(self) -> None:
        kernel = self._kernel
        until = kernel.clock.now_ns() + LEASE_S * 1_000_000_000
        for run in kernel.runs():
            if not await kernel.store.renew(run.execution.id, run.journal.epoch, until):
                id = run.execution.id
                run.leave(errors.Conflict(f"execution {id} was taken over by another process"))

    def _is_ours(self, id: str) -> bool:
        return self._everything or id in self._own

    def _wants(self, row: ExecutionRow) -> bool:
        kernel = self._kernel
        return (
            self._is_ours(row.id)
            and row.id not in self._warned
            and kernel.running(row.id) is None
            and kernel.blueprint_of(row) is not None
            and kernel.taking.may_take(row)
        )
