"""The contract of a store: what it keeps, and the few things that can be asked of it."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from .. import clock, errors
from .ticket import Ticket

Record = tuple[int, int, str, bytes]
"""A journal record as `Execution.drain` gives it: seq, time in UTC ns, kind, body."""

Records = list[Record]
PAGE_RECORDS = 1_000
PAGE_BYTES = 4 * 1024 * 1024


class ExecutionRow(NamedTuple):
    """What a store knows about an execution without its journal. Times are UTC in ns."""

    id: str
    blueprint: str | None
    key: str | None
    schema_version: str | None
    parent_type: str | None
    parent_id: str | None
    state: str
    wait_reason: str | None
    version: int
    """The seq of the last record."""
    head: str
    """The digest of the last record, hexadecimal."""
    epoch: int
    """Goes up with every claim; an append that names an older one is refused."""
    owner: str | None
    """Who claimed it last, if it was not released."""
    created_at_ns: int
    updated_at_ns: int
    wake_at_ns: int | None
    """When a wait is over, if it is known."""

    @property
    def created_at(self) -> datetime:
        """When it was created, UTC."""
        return clock.from_ns(self.created_at_ns)

    @property
    def updated_at(self) -> datetime:
        """When its last record was written, UTC."""
        return clock.from_ns(self.updated_at_ns)


Rows = list[ExecutionRow]


class NewExecution(NamedTuple):
    """What `create` is told beside the records. `owner` claims the execution at once."""

    id: str
    blueprint: str | None
    key: str | None
    schema_version: str | None
    parent_type: str | None
    parent_id: str | None
    owner: str | None


class Projection(NamedTuple):
    """What the records of an append make of the execution: its row from now on."""

    state: str
    wait_reason: str | None
    head: str
    wake_at_ns: int | None = None


class Store(Protocol):
    """The executions of one tenant. Every other tenant's are not found, in the same words as absent ones.

    Each request returns a `Ticket` at once and never blocks; its outcome is known when it is durable. Any thread and
    any event loop may ask. Every request may end in `StoreError` (or `StoreBusy`, `StoreFull`, `StoreReadOnly`,
    `StoreCorrupt`): then nothing of it is written, or it is written whole. Asking again with the same `action_id`,
    or the same owner and epoch, tells which, and does it once.
    """

    @property
    def tenant(self) -> str:
        """Whose executions these are."""
        ...

    def create(
        self, new: NewExecution, action_id: bytes, records: Sequence[Record], row: Projection
    ) -> Ticket[tuple[str, bool]]:
        """Stores a new execution with its first records, the header included.

        The outcome is its id and `True`; or, where the blueprint has an execution with this key, that one's id and
        `False`. Raises `Conflict` where the id is taken.
        """
        ...

    def append(
        self,
        execution_id: str,
        expected_seq: int,
        epoch: int,
        action_id: bytes,
        records: Sequence[Record],
        row: Projection,
    ) -> Ticket[int]:
        """Writes records after `expected_seq`, the seq of the last one stored. The outcome is the new last seq.

        Raises `Conflict` where another writer was first or the epoch is over, `NotFound`.
        """
        ...

    def claim(self, execution_id: str, owner: str, epoch: int) -> Ticket[int]:
        """Takes the execution over from the epoch that its row showed. The outcome is the new epoch.

        Raises `Conflict` where another was first, `NotFound`.
        """
        ...

    def release(self, execution_id: str, epoch: int) -> Ticket[bool]:
        """Gives a claim up. `False` where another has taken over meanwhile."""
        ...

    def get(self, execution_id: str) -> Ticket[ExecutionRow]:
        """The row of one execution. Raises `NotFound`."""
        ...

    def find(self, blueprint: str, key: str) -> Ticket[ExecutionRow | None]:
        """The execution of a blueprint with this key, if there is one."""
        ...

    def list(self, state: str | None = None, after: str | None = None, limit: int = 100) -> Ticket[Rows]:
        """Rows, newest first, of one state or all; the page after the row with id `after`."""
        ...

    def load(self, execution_id: str, after_seq: int = -1) -> Ticket[Records]:
        """The records after `after_seq`, as many as make a page; empty at the end. Raises `NotFound`."""
        ...

    def close(self) -> None:
        """Waits for what was asked, then lets go of the store. Asking afterwards raises `StoreError`."""
        ...


class StoreSource(Protocol):
    """Where the tenants' stores are: a file, a server, or memory."""

    def open(self, tenant: str) -> Store:
        """The store of one tenant. Raises `ValidationError` for a text that cannot be one."""
        ...


MAX_LIMIT = 1_000


def check_records(expected_seq: int, records: Sequence[Record]) -> None:
    """Raises `ValidationError` where the records do not follow `expected_seq` one by one, or there are none."""
    if not records:
        raise errors.ValidationError("an append needs at least one record")
    for index, record in enumerate(records):
        if record[0] != expected_seq + 1 + index:
            raise errors.ValidationError(
                f"record {index} of the append has seq {record[0]}, expected {expected_seq + 1 + index}"
            )


def check_limit(limit: int) -> int:
    """Raises `ValidationError` for a page size out of range."""
    if not isinstance(limit, int) or not 1 <= limit <= MAX_LIMIT:
        raise errors.ValidationError(f"limit must be between 1 and {MAX_LIMIT}")
    return limit


def not_found(execution_id: str) -> errors.NotFound:
    """The one answer for an absent execution and for another tenant's."""
    return errors.NotFound(f"there is no execution {execution_id[:80]!a} for this tenant")


def conflict(execution_id: str) -> errors.Conflict:
    """The answer for the second of two writers."""
    return errors.Conflict(f"another writer was first at execution {execution_id}; nothing was written")


def taken(execution_id: str) -> errors.Conflict:
    """The answer for a new execution whose id is there already."""
    return errors.Conflict(f"the id {execution_id} is taken")
