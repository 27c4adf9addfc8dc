"""The store that keeps everything in memory: for tests, and for work that may be lost with the process."""

import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

from .. import errors, model
from . import protocol
from .protocol import ExecutionRow, NewExecution, Projection, Record, Records, Rows
from .ticket import Ticket, settle

T = TypeVar("T")


class _Entry:
    __slots__ = ("action_ids", "records", "row")

    def __init__(self, row: ExecutionRow) -> None:
        self.row = row
        self.records: Records = []
        self.action_ids: dict[int, bytes] = {}

    def write(self, action_id: bytes, records: Sequence[Record], row: Projection) -> None:
        self.records.extend(records)
        self.action_ids[records[-1][0]] = action_id
        self.row = self.row._replace(
            state=row.state,
            wait_reason=row.wait_reason,
            head=row.head,
            wake_at_ns=row.wake_at_ns,
            version=records[-1][0],
            updated_at_ns=records[-1][1],
        )


class MemorySource:
    """Executions in memory, for as long as this object lives. Kernels that are given the same one share them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tenants: dict[str, dict[str, _Entry]] = {}
        self._keys: dict[tuple[str, str, str], str] = {}

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
        self._closed = False

    @property
    def tenant(self) -> str:
        """Whose executions these are."""
        return self._tenant

    def _ask(self, work: Callable[[], T]) -> Ticket[T]:
        if self._closed:
            raise errors.StoreError("this store is closed; open it again")
        ticket: Ticket[T] = Ticket()
        try:
            with self._lock:
                outcome: tuple[Ticket[T], T | None, Exception | None] = (ticket, work(), None)
        except errors.StepwellError as error:
            outcome = (ticket, None, error)
        settle([outcome])
        return ticket

    def _entry(self, execution_id: str) -> _Entry:
        try:
            return self._entries[execution_id]
        except KeyError:
            raise protocol.not_found(execution_id) from None

    def create(
        self, new: NewExecution, action_id: bytes, records: Sequence[Record], row: Projection
    ) -> Ticket[tuple[str, bool]]:
        """See `Store.create`."""
        protocol.check_records(-1, records)

        def work() -> tuple[str, bool]:
            entry = self._entries.get(new.id)
            if entry is not None:
                if entry.action_ids.get(records[-1][0]) == action_id:
                    return new.id, True
                raise protocol.taken(new.id)
            keyed = (self._tenant, new.blueprint, new.key)
            if new.key is not None and new.blueprint is not None:
                known = self._keys.setdefault(keyed, new.id)  # type: ignore[arg-type]
                if known != new.id:
                    return known, False
            times = records[0][1], records[-1][1]
            entry = _Entry(
                ExecutionRow(
                    *new[:6], row.state, row.wait_reason, -1, row.head, 1, new.owner, *times, row.wake_at_ns
                )
            )
            entry.write(action_id, records, row)
            self._entries[new.id] = entry
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
    ) -> Ticket[int]:
        """See `Store.append`."""
        protocol.check_records(expected_seq, records)

        def work() -> int:
            entry = self._entry(execution_id)
            last = records[-1][0]
            if (entry.row.version, entry.row.epoch) != (expected_seq, epoch):
                if entry.action_ids.get(last) == action_id:
                    return last
                raise protocol.conflict(execution_id)
            entry.write(action_id, records, row)
            return last

        return self._ask(work)

    def claim(self, execution_id: str, owner: str, epoch: int) -> Ticket[int]:
        """See `Store.claim`."""

        def work() -> int:
            entry = self._entry(execution_id)
            if entry.row.epoch == epoch:
                entry.row = entry.row._replace(owner=owner, epoch=epoch + 1)
            elif (entry.row.epoch, entry.row.owner) != (epoch + 1, owner):
                raise protocol.conflict(execution_id)
            return epoch + 1

        return self._ask(work)

    def release(self, execution_id: str, epoch: int) -> Ticket[bool]:
        """See `Store.release`."""

        def work() -> bool:
            entry = self._entry(execution_id)
            if entry.row.epoch != epoch:
                return False
            entry.row = entry.row._replace(owner=None)
            return True

        return self._ask(work)

    def get(self, execution_id: str) -> Ticket[ExecutionRow]:
        """See `Store.get`."""
        return self._ask(lambda: self._entry(execution_id).row)

    def find(self, blueprint: str, key: str) -> Ticket[ExecutionRow | None]:
        """See `Store.find`."""

        def work() -> ExecutionRow | None:
            known = self._keys.get((self._tenant, blueprint, key))
            return None if known is None else self._entries[known].row

        return self._ask(work)

    def list(self, state: str | None = None, after: str | None = None, limit: int = 100) -> Ticket[Rows]:
        """See `Store.list`."""
        protocol.check_limit(limit)

        def work() -> Rows:
            rows = [entry.row for entry in self._entries.values()]
            rows = [
                row
                for row in rows
                if (state is None or row.state == state) and (after is None or row.id < after)
            ]
            return sorted(rows, key=lambda row: row.id, reverse=True)[:limit]

        return self._ask(work)

    def load(self, execution_id: str, after_seq: int = -1) -> Ticket[Records]:
        """See `Store.load`."""

        def work() -> Records:
            start = after_seq + 1
            return self._entry(execution_id).records[start : start + protocol.PAGE_RECORDS]

        return self._ask(work)

    def close(self) -> None:
        """See `Store.close`."""
        self._closed = True
