"""The store that keeps everything in memory: for tests, and for work that may be lost with the process."""

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeVar

from .. import errors, journal, model
from .._spec import EXECUTION_TERMINAL
from . import protocol
from .entries import Entry, is_usual
from .protocol import (
    Arrivals,
    Deliveries,
    Delivery,
    Digests,
    Durability,
    Ended,
    ExecutionRow,
    NewExecution,
    Projection,
    Record,
    Records,
    Rows,
)
from .ticket import Known, Ticket

T = TypeVar("T")


class MemorySource:
    """Executions in memory, for as long as this object lives. Kernels that are given the same one share them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tenants: dict[str, dict[str, Entry]] = {}
        self._keys: dict[tuple[str, str, str], str] = {}
        self._doomed: dict[str, dict[str, int]] = {}
        self._awaited: dict[str, dict[str, str]] = {}
        self._arrived: dict[str, dict[int, str]] = {}
        self._places: Counter[str] = Counter()

    def open(self, tenant: str) -> "MemoryStore":
        """The store of one tenant. Raises `ValidationError` for a text that cannot be one."""
        return MemoryStore(self, model.label("tenant", tenant))

    def __repr__(self) -> str:
        return "MemorySource()"


class MemoryStore:
    """One tenant's executions in a `MemorySource`; the contract is that of `stepwell.store.Store`."""

    def __init__(self, source: MemorySource, tenant: str) -> None:
        self._tenant = tenant
        self._lock = source._lock
        self._keys = source._keys
        with source._lock:
            self._entries = source._tenants.setdefault(tenant, {})
            self._doomed = source._doomed.setdefault(tenant, {})
            self._awaited = source._awaited.setdefault(tenant, {})
            self._arrived = source._arrived.setdefault(tenant, {})
        self._places = source._places
        self._closed = False

    @property
    def tenant(self) -> str:
        """Whose executions these are."""
        return self._tenant

    def _ask(self, work: Callable[[], T]) -> Ticket[T]:
        if self._closed:
            raise errors.StoreError("this store is closed; open it again")
        ticket = Known()
        try:
            with self._lock:
                ticket.value = work()
        except errors.StepwellError as error:
            ticket.error = error
        return ticket

    def _entry(self, execution_id: str) -> Entry:
        try:
            return self._entries[execution_id]
        except KeyError:
            raise protocol.not_found(execution_id) from None

    def _open(self, entry: Entry, opened: Sequence[str]) -> None:
        for each in opened:
            if each not in self._awaited:
                self._awaited[each] = entry.row.id
                entry.opened.append(each)

    def create(
        self,
        new: NewExecution,
        action_id: bytes,
        records: Sequence[Record],
        row: Projection,
        durability: Durability = "power",
        opened: Sequence[str] = (),
    ) -> Ticket[tuple[str, bool]]:
        """See `Store.create`."""
        protocol.check_records(-1, records)
        protocol.check_durability(durability)
        protocol.check_head(row.head)
        protocol.check_values(*new, action_id, *row[:4], *opened)
        protocol.check_values(*(value for record in records for value in record))

        def work() -> tuple[str, bool]:
            entry = self._entries.get(new.id)
            if entry is not None:
                if entry.action_ids.get(records[-1][0]) == action_id:
                    return new.id, True
                raise protocol.taken(new.id)
            keyed = (
                None if new.blueprint is None or new.key is None else (self._tenant, new.blueprint, new.key)
            )
            if keyed in self._keys:
                return self._keys[keyed], False
            if new.id in self._doomed:
                raise protocol.taken(new.id)
            if keyed is not None:
                self._keys[keyed] = new.id
            times = records[0][1], records[-1][1]
            entry = Entry(
                ExecutionRow(
                    *new[:6],
                    row.state,
                    row.wait_reason,
                    -1,
                    row.head,
                    1,
                    new.owner,
                    *times,
                    row.wake_at_ns,
                    None,
                    0,
                )
            )
            entry.write(action_id, records, row)
            self._entries[new.id] = entry
            self._open(entry, opened)
            return new.id, True

        return self._ask(work)

    def append(
        self,
        execution_id: str,
        expected_seq: int,
        epoch: int,
        action_id: bytes,
        records: Sequence[Record],
        row: Projection,
        durability: Durability = "power",
        taken: Sequence[str] = (),
        opened: Sequence[str] = (),
    ) -> Ticket[int]:
        """See `Store.append`."""
        protocol.check_append(expected_seq, records)
        ticket = Known()
        last = records[-1][0]
        protocol.check_head(row.head)
        if taken or opened or not is_usual(action_id, row, durability):
            protocol.check_durability(durability)
            protocol.check_values(execution_id, expected_seq, epoch, action_id, *row[:4], *taken, *opened)
        if self._closed:
            raise errors.StoreError("this store is closed; open it again")
        with self._lock:
            entry = self._entries.get(execution_id)
            if entry is None:
                protocol.check_values(execution_id)
                ticket.error = protocol.not_found(execution_id)
            elif entry.last[0] != expected_seq or entry.epoch != epoch:
                protocol.check_values(expected_seq, epoch)
                if entry.action_ids.get(last) == action_id:
                    ticket.value = last
                else:
                    ticket.error = protocol.conflict(execution_id)
            else:
                entry.write(action_id, records, row)
                if taken:
                    self._take(entry, taken)
                if opened:
                    self._open(entry, opened)
                ticket.value = last
        return ticket

    def _take(self, entry: Entry, taken: Sequence[str]) -> None:
        for each in taken:
            if each in entry.inbox and each not in entry.taken:
                entry.taken.add(each)
                del self._arrived[entry.inbox[each].place]

    def claim(
        self, execution_id: str, owner: str, epoch: int, lease_until_ns: int | None = None
    ) -> Ticket[int]:
        """See `Store.claim`."""
        protocol.check_values(execution_id, owner, epoch, lease_until_ns)

        def work() -> int:
            entry = self._entry(execution_id)
            row = entry.row
            if row.epoch == epoch:
                entry.row = row._replace(
                    owner=owner, epoch=epoch + 1, lease_until_ns=lease_until_ns, claims=row.claims + 1
                )
            elif (row.epoch, row.owner) != (epoch + 1, owner):
                raise protocol.conflict(execution_id)
            return epoch + 1

        return self._ask(work)

    def renew(self, execution_id: str, epoch: int, lease_until_ns: int) -> Ticket[bool]:
        """See `Store.renew`."""
        protocol.check_values(execution_id, epoch, lease_until_ns)

        def work() -> bool:
            entry = self._entry(execution_id)
            if entry.row.epoch != epoch or entry.row.owner is None:
                return False
            entry.row = entry.row._replace(lease_until_ns=lease_until_ns)
            return True

        return self._ask(work)

    def release(self, execution_id: str, epoch: int) -> Ticket[bool]:
        """See `Store.release`."""
        protocol.check_values(execution_id, epoch)

        def work() -> bool:
            entry = self._entry(execution_id)
            row = entry.row
            if row.epoch != epoch:
                return (row.epoch, row.owner) == (epoch + 1, None)
            entry.row = row._replace(
                owner=None, lease_until_ns=None, epoch=epoch + 1, claims=max(row.claims - 1, 0)
            )
            return True

        return self._ask(work)

    def deliver(
        self, execution_id: str, delivery_id: str, kind: str, name: str, body: bytes, at_ns: int
    ) -> Ticket[bool]:
        """See `Store.deliver`."""
        protocol.check_body(body)
        protocol.check_values(execution_id, delivery_id, kind, name, at_ns)

        def work() -> bool:
            entry = self._entry(execution_id)
            known = entry.inbox.get(delivery_id)
            if known is not None:
                return known[3:] == (kind, name, body)
            if entry.row.state in EXECUTION_TERMINAL:
                return False
            self._places[self._tenant] += 1
            place = self._places[self._tenant]
            self._arrived[place] = execution_id
            entry.inbox[delivery_id] = Delivery(place, delivery_id, at_ns, kind, name, body)
            return True

        return self._ask(work)

    def get(self, execution_id: str) -> Ticket[ExecutionRow]:
        """See `Store.get`."""
        protocol.check_values(execution_id)
        return self._ask(lambda: self._entry(execution_id).row)

    def awaited(self, step_id: str) -> Ticket[ExecutionRow]:
        """See `Store.awaited`."""
        protocol.check_values(step_id)

        def work() -> ExecutionRow:
            if step_id not in self._awaited:
                raise protocol.not_awaited(step_id)
            return self._entries[self._awaited[step_id]].row

        return self._ask(work)

    def find(self, blueprint: str, key: str) -> Ticket[ExecutionRow | None]:
        """See `Store.find`."""
        protocol.check_values(blueprint, key)

        def work() -> ExecutionRow | None:
            known = self._keys.get((self._tenant, blueprint, key))
            return None if known is None else self._entries[known].row

        return self._ask(work)

    def _page(self, wanted: Callable[[ExecutionRow], bool], after: str | None, limit: int) -> Ticket[Rows]:
        protocol.check_limit(limit)

        def work() -> Rows:
            rows = [entry.row for entry in self._entries.values() if wanted(entry.row)]
            rows = [row for row in rows if after is None or row.id < after]
            return sorted(rows, key=lambda row: row.id, reverse=True)[:limit]

        return self._ask(work)

    def list(
        self,
        state: str | None = None,
        after: str | None = None,
        limit: int = 100,
        blueprint: str | None = None,
    ) -> Ticket[Rows]:
        """See `Store.list`."""
        protocol.check_values(state, after, blueprint)
        return self._page(
            lambda row: (
                (state is None or row.state == state) and (blueprint is None or row.blueprint == blueprint)
            ),
            after,
            limit,
        )

    def children(self, parent_id: str, after: str | None = None, limit: int = 100) -> Ticket[Rows]:
        """See `Store.children`."""
        protocol.check_values(parent_id, after)
        return self._page(lambda row: row.parent_id == parent_id, after, limit)

    def count(self, blueprint: str | None = None) -> Ticket[dict[str, int]]:
        """See `Store.count`."""
        protocol.check_values(blueprint)

        def work() -> dict[str, int]:
            rows = (entry.row for entry in self._entries.values())
            states = Counter(row.state for row in rows if blueprint is None or row.blueprint == blueprint)
            return dict(sorted(states.items()))

        return self._ask(work)

    def due(self, now_ns: int, limit: int = 100) -> Ticket[Rows]:
        """See `Store.due`."""
        protocol.check_values(now_ns)
        protocol.check_limit(limit)

        def work() -> Rows:
            rows = [entry.row for entry in self._entries.values()]
            timed = [(row.wake_at_ns, row.id, row) for row in rows if row.state not in EXECUTION_TERMINAL]
            come = sorted((at, own, row) for at, own, row in timed if at is not None and at <= now_ns)
            return [row for _, _, row in come[:limit]]

        return self._ask(work)

    def load(self, execution_id: str, after_seq: int = -1) -> Ticket[Records]:
        """See `Store.load`."""
        protocol.check_values(execution_id, after_seq)

        def work() -> Records:
            start = max(after_seq, -1) + 1
            return self._entry(execution_id).records[start : start + protocol.PAGE_RECORDS]

        return self._ask(work)

    def bodies(self, execution_id: str, after_seq: int = -1) -> Ticket[tuple[int, bytes]]:
        """See `Store.bodies`."""
        protocol.check_values(execution_id, after_seq)

        def work() -> tuple[int, bytes]:
            page = self._entry(execution_id).records[max(after_seq, -1) + 1 :]
            if not page:
                return after_seq, b""
            return page[-1][0], b"".join(part for record in page for part in (record[3], b"\n"))

        return self._ask(work)

    def digests(self, execution_id: str, after_seq: int = -1) -> Ticket[Digests]:
        """See `Store.digests`."""
        protocol.check_values(execution_id, after_seq)

        def work() -> Digests:
            page = self._entry(execution_id).records[max(after_seq, -1) + 1 :][: protocol.PAGE_RECORDS]
            return [(record[0], journal.digest(record[3])) for record in page]

        return self._ask(work)

    def inbox(self, execution_id: str, after: int = 0, limit: int = 100) -> Ticket[Deliveries]:
        """See `Store.inbox`."""
        protocol.check_values(execution_id, after)
        protocol.check_limit(limit)

        def work() -> Deliveries:
            entry = self._entry(execution_id)
            left = [each for each in entry.inbox.values() if each.id not in entry.taken]
            return [each for each in left if each.place > after][:limit]

        return self._ask(work)

    def arrivals(self, after: int = 0, limit: int = 100) -> Ticket[Arrivals]:
        """See `Store.arrivals`."""
        protocol.check_values(after)
        protocol.check_limit(limit)
        return self._ask(lambda: [each for each in self._arrived.items() if each[0] > after][:limit])

    # --- retention ------------------------------------------------------------------------------------------------

    def finished(self, state: str, after: str = "", limit: int = 500) -> Ticket[Ended]:
        """See `Store.finished`."""
        protocol.check_ended(state)
        protocol.check_limit(limit)

        def work() -> Ended:
            rows = [entry.row for entry in self._entries.values()]
            rows = sorted(
                (row for row in rows if row.state == state and row.id > after), key=lambda row: row.id
            )
            return [(row.id, row.version, row.updated_at_ns) for row in rows[:limit]]

        return self._ask(work)

    def doom(self, execution_ids: Sequence[str]) -> Ticket[int]:
        """See `Store.doom`."""

        def work() -> int:
            count = 0
            for each in dict.fromkeys(execution_ids):
                entry = self._entries.get(each)
                if entry is not None and entry.row.state in EXECUTION_TERMINAL:
                    count += 1
                    del self._entries[each]
                    for step in entry.opened:
                        del self._awaited[step]
                    for delivery in entry.inbox.values():
                        self._arrived.pop(delivery.place, None)
                    self._keys.pop((self._tenant, entry.row.blueprint, entry.row.key), None)  # type: ignore[arg-type]
                    self._doomed[each] = len(entry.records)
            return count

        return self._ask(work)

    def sweep(self, most: int) -> Ticket[int]:
        """See `Store.sweep`."""
        protocol.check_most(most)

        def work() -> int:
            left = most
            for each in sorted(self._doomed)[:1]:
                deleted = min(left, self._doomed[each])
                left -= deleted
                self._doomed[each] -= deleted
                if not self._doomed[each]:
                    del self._doomed[each]
            return most - left

        return self._ask(work)

    def close(self) -> None:
        """See `Store.close`."""
        self._closed = True
