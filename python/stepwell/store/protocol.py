"""The contract of a store: what it keeps, and the few things that can be asked of it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, Literal, NamedTuple, NoReturn, Protocol

from .. import clock, errors, journal
from .._spec import EXECUTION_TERMINAL
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
    """When it has to be looked at again: a wait is over then, or it starts; if that is known."""
    lease_until_ns: int | None
    """How long its owner may be believed to live where that cannot be looked up."""
    claims: int
    """How often it was claimed since its last progress, without the claims that were given up."""

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
    progress: bool = True
    """Whether the claims without progress are counted from here on anew."""


class Delivery(NamedTuple):
    """What came to an execution from outside, a signal or the answer to a callback, and is not in its journal yet."""

    place: int
    """The order in which deliveries came to the tenant: no other has it, nor ever will."""
    id: str
    at_ns: int
    kind: str
    name: str
    body: bytes


Deliveries = list[Delivery]
Arrivals = list[tuple[int, str]]
Digests = list[tuple[int, str | None]]
Ended = list[tuple[str, int, int]]
Durability = Literal["power", "process"]
"""When a change counts as done: on the disk, or in the file (which survives the process, not the power)."""


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
        self,
        new: NewExecution,
        action_id: bytes,
        records: Sequence[Record],
        row: Projection,
        durability: Durability = "power",
        opened: Sequence[str] = (),
    ) -> Ticket[tuple[str, bool]]:
        """Stores a new execution with its first records, the header included.

        The outcome is its id and `True`; or, where the blueprint has an execution with this key, that one's id and
        `False`. `opened` as in `append`. Raises `Conflict` where the id is taken.
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
        durability: Durability = "power",
        taken: Sequence[str] = (),
        opened: Sequence[str] = (),
    ) -> Ticket[int]:
        """Writes records after `expected_seq`, the seq of the last one stored. The outcome is the new last seq.

        `taken` are the deliveries that went into these records: they are out of the inbox with them. `opened` are the
        ids of steps that somebody outside answers: `awaited` finds the execution by them. The first execution to open
        one keeps it, until it is purged.
        Raises `Conflict` where another writer was first or the epoch is over, `NotFound`.
        """
        ...

    def claim(
        self, execution_id: str, owner: str, epoch: int, lease_until_ns: int | None = None
    ) -> Ticket[int]:
        """Takes the execution over from the epoch that its row showed. The outcome is the new epoch.

        Raises `Conflict` where another was first, `NotFound`.
        """
        ...

    def renew(self, execution_id: str, epoch: int, lease_until_ns: int) -> Ticket[bool]:
        """Moves the lease of a claim. `False` where the claim is over; the disk is not waited for."""
        ...

    def release(self, execution_id: str, epoch: int) -> Ticket[bool]:
        """Gives a claim up: its epoch is over, too, and of `claims` it is one no more, if that is not 0.

        `False` where another has taken over meanwhile.
        """
        ...

    def get(self, execution_id: str) -> Ticket[ExecutionRow]:
        """The row of one execution. Raises `NotFound`."""
        ...

    def awaited(self, step_id: str) -> Ticket[ExecutionRow]:
        """The row of the execution that opened this step, also when it is answered or over. Raises `NotFound`."""
        ...

    def find(self, blueprint: str, key: str) -> Ticket[ExecutionRow | None]:
        """The execution of a blueprint with this key, if there is one."""
        ...

    def list(
        self,
        state: str | None = None,
        after: str | None = None,
        limit: int = 100,
        blueprint: str | None = None,
    ) -> Ticket[Rows]:
        """Rows, newest first, of one state or blueprint or all; the page after the row with id `after`."""
        ...

    def children(self, parent_id: str, after: str | None = None, limit: int = 100) -> Ticket[Rows]:
        """The rows of the executions whose parent link has this id, newest first, by pages as in `list`."""
        ...

    def count(self, blueprint: str | None = None) -> Ticket[dict[str, int]]:
        """How many executions there are in each state that has any."""
        ...

    def due(self, now_ns: int, limit: int = 100) -> Ticket[Rows]:
        """Rows of executions that have not ended and whose `wake_at_ns` has come, the earliest first."""
        ...

    def load(self, execution_id: str, after_seq: int = -1) -> Ticket[Records]:
        """The records after `after_seq`, as many as make a page; empty at the end. Raises `NotFound`."""
        ...

    def bodies(self, execution_id: str, after_seq: int = -1) -> Ticket[tuple[int, bytes]]:
        """The same for a replay: the seq of the page's last record, and the bodies, each followed by a newline.

        At the end the seq is `after_seq` and there are none. Raises `NotFound`.
        """
        ...

    def digests(self, execution_id: str, after_seq: int = -1) -> Ticket[Digests]:
        """The digest stored beside each record (hexadecimal), where there is one; pages as in `load`."""
        ...

    def deliver(
        self, execution_id: str, delivery_id: str, kind: str, name: str, body: bytes, at_ns: int
    ) -> Ticket[bool]:
        """Puts something into the inbox of an execution, once for each `delivery_id`.

        `True` where it is in, also when it was before; `False` where something else came under this id first, or the
        execution has ended. Raises `NotFound`.
        """
        ...

    def inbox(self, execution_id: str, after: int = 0, limit: int = 100) -> Ticket[Deliveries]:
        """What was delivered to an execution and not taken, in order, after the one with that place."""
        ...

    def arrivals(self, after: int = 0, limit: int = 100) -> Ticket[Arrivals]:
        """What was delivered to any execution and not taken, in the order in which it came: place and execution.

        It begins after the delivery with that place, and is cheap: made to be asked many times a second. What nobody
        took of an execution that has ended is among it, until that is purged.
        """
        ...

    def finished(self, state: str, after: str = "", limit: int = 500) -> Ticket[Ended]:
        """Executions that ended in this state, by id: id, version and time of the last record (UTC, ns)."""
        ...

    def doom(self, execution_ids: Sequence[str]) -> Ticket[int]:
        """Takes executions that have ended out of every answer, for good; `sweep` deletes what is left of them.

        The outcome is how many they were: others are left alone.
        """
        ...

    def sweep(self, most: int) -> Ticket[int]:
        """Deletes at most so many records of one of the doomed; the outcome is how many, 0 when there are none left.

        Raises `ValidationError` for less than one.
        """
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
        if not isinstance(record[3], bytes):
            unfit()


def check_append(expected_seq: int, records: Sequence[Record]) -> None:
    """`check_records`, and `check_values` of each; quickly, where they are as `drain` gives them."""
    following = expected_seq
    for seq, at, kind, body in records:
        following += 1
        if (
            seq != following
            or body.__class__ is not bytes
            or at.__class__ is not int
            or not 0 <= at < 1 << 63
            or kind.__class__ is not str
            or not kind.isascii()
        ):
            break
    else:
        if records:
            return
    check_records(expected_seq, records)
    for record in records:
        check_values(*record)


def check_limit(limit: int) -> int:
    """Raises `ValidationError` for a page size out of range."""
    if not isinstance(limit, int) or not 1 <= limit <= MAX_LIMIT:
        raise errors.ValidationError(f"limit must be between 1 and {MAX_LIMIT}")
    return limit


def check_most(most: int) -> int:
    """Raises `ValidationError` for a number of records that a sweep cannot have."""
    if not isinstance(most, int) or most < 1:
        raise errors.ValidationError("a sweep deletes at least one record")
    return most


def check_durability(durability: object) -> None:
    """Raises `ValidationError` for what is no durability of a change."""
    if durability not in ("power", "process"):
        raise errors.ValidationError(
            f"the durability of a change is power or process, got {str(durability)[:40]!a}"
        )


def check_ended(state: str) -> str:
    """Raises `ValidationError` for a state that an execution does not end in."""
    if state not in EXECUTION_TERMINAL:
        raise errors.ValidationError(
            f"executions end as {', '.join(sorted(EXECUTION_TERMINAL))}, not as {state!a}"
        )
    return state


UNFIT: Final = (UnicodeEncodeError, OverflowError, TypeError)
"""What an engine raises for a value that SQLite cannot keep as it is."""


def unfit() -> NoReturn:
    """Raises `ValidationError` for such a value."""
    raise errors.ValidationError(
        "a value of the request cannot be stored as it is: text needs a UTF-8 form, numbers 64 bits, bodies bytes"
    ) from None


def check_head(head: str) -> bytes:
    """The digest of a projection. Raises `ValidationError` for what is none."""
    try:
        return bytes.fromhex(head)
    except (TypeError, ValueError):
        raise errors.ValidationError("the head of a projection is a digest, hexadecimal") from None


def check_body(body: object) -> None:
    """Raises `ValidationError` for a body that is no bytes."""
    if not isinstance(body, bytes):
        unfit()


def check_values(*values: object) -> None:
    """Raises the same for a value of another kind of store."""
    for value in values:
        kind = value.__class__
        if kind is str:
            if not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):  # type: ignore[attr-defined]
                unfit()
        elif kind is int:
            if not -(1 << 63) <= value < 1 << 63:  # type: ignore[operator]
                unfit()
        elif value is not None and kind is not bytes:
            _check_other(value)


def _check_other(value: object) -> None:
    # A kind of text or number, such as an enumeration's, is what it is a kind of.
    if isinstance(value, str):
        check_values(str.__str__(value))
    elif isinstance(value, int):
        check_values(int(value))
    elif not isinstance(value, bytes):
        unfit()


def not_found(execution_id: str) -> errors.NotFound:
    """The one answer for an absent execution and for another tenant's."""
    return errors.NotFound(f"there is no execution {execution_id[:80]!a} for this tenant")


def not_awaited(step_id: str) -> errors.NotFound:
    """The one answer for a step that nobody opened and for another tenant's."""
    return errors.NotFound(f"there is no step {step_id[:80]!a} for this tenant that waits for an answer")


def conflict(execution_id: str) -> errors.Conflict:
    """The answer for the second of two writers."""
    return errors.Conflict(f"another writer was first at execution {execution_id}; nothing was written")


def taken(execution_id: str) -> errors.Conflict:
    """The answer for a new execution whose id is there already."""
    return errors.Conflict(f"the id {execution_id} is taken")


def delivery_digest(id: str, at_ns: int, kind: str, name: str, body: bytes) -> bytes:
    """What is kept beside a delivery, so that a change of it can be found."""
    import json

    told = json.dumps([id, at_ns, kind, name, len(body)]).encode()
    return bytes.fromhex(journal.digest(told + body))
