"""The SQLite store: what each request is in statements, and what their answers mean.

An engine, native or pure, carries the statements out: one thread for each file, many requests in one transaction.
"""

import json
import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, TypeVar

from .. import _backend, errors, model
from ..trouble import store_failure
from . import protocol, rows
from .appending import MARK_EVERY, Changes, refused, written
from .cutting import CUT_BYTES
from .files import OpenFile, close_file, open_file, unfinished
from .protocol import (
    Arrivals,
    Deliveries,
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
from .ticket import Ticket

T = TypeVar("T")

STRIDE: Final = 4 * MARK_EVERY
"""How many records a page of a replay has."""
MAX_WAITING: Final = 65_536
MAX_WAITING_BYTES: Final = 256 * 1024 * 1024
BUSY_SECONDS: Final = 30.0
_AFTER_ALL: Final = "\U0010ffff" * 256  # sorts behind every id

_Asked = list[tuple[str, tuple[Any, ...]]]


class SqliteSource:
    """A store file. The file is made, with rights for its owner alone, when it is not there.

    `busy_seconds` is how long a request may wait for another process before it ends in `StoreBusy`. With `read_only`
    nothing is made, set or written. `network` says that a network file system is good enough. `backend` is `native`
    or `pure`; all that a process has open must be of one.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        busy_seconds: float = BUSY_SECONDS,
        *,
        read_only: bool = False,
        network: bool = False,
        backend: str | None = None,
    ) -> None:
        self._path = os.fspath(path)
        self._busy_seconds = busy_seconds
        self._read_only = read_only
        self._network = network
        self._backend = _backend.choose()[0] if backend is None else backend

    def open(self, tenant: str) -> "SqliteStore":
        """The store of one tenant; opens and checks the file, which blocks.

        Raises `StoreCorrupt` for a file that is no store or is damaged, `StoreTooNew`, `StoreReadOnly`, `StoreBusy`,
        `StoreError`; `ValidationError` for a text that cannot be a tenant.
        """
        tenant = model.label("tenant", tenant)
        opened = open_file(
            self._path, self._backend, self._busy_seconds, read_only=self._read_only, network=self._network
        )
        store = SqliteStore(opened, tenant)
        try:
            store.rows("application_id").wait()
        except errors.StoreReadOnly as error:
            store.close()
            meant = unfinished(store.path) if self._read_only else None
            if meant is None:
                raise
            raise meant from error
        except BaseException:
            store.close()
            raise
        return store

    def __repr__(self) -> str:
        return f"SqliteSource({self._path!r})"


class SqliteStore:
    """One tenant's executions in a file; the contract is that of `stepwell.store.Store`."""

    def __init__(self, opened: OpenFile, tenant: str) -> None:
        self._opened = opened
        self._engine = opened.engine
        self._ticket = opened.parts.ticket
        self._appender = opened.parts.appender(opened.engine, tenant, CUT_BYTES, MARK_EVERY, refused)
        self._tenant = tenant
        self._closed = False

    @property
    def tenant(self) -> str:
        """Whose executions these are."""
        return self._tenant

    @property
    def path(self) -> str:
        """The file."""
        return self._opened.path

    # --- asking the engine ----------------------------------------------------------------------------------------

    def _check(self) -> None:
        if self._closed:
            raise errors.StoreError("this store is closed; open it again")
        if self._opened.is_inherited:
            self._opened.refuse_child()
        engine = self._engine
        if engine.waiting >= MAX_WAITING or engine.waiting_bytes >= MAX_WAITING_BYTES:
            raise store_failure("crowded", self.path, str(engine.waiting))

    def _check_change(self, durability: Durability) -> None:
        self._check()
        if durability != "power":
            protocol.check_durability(durability)
        if self._opened.read_only:
            raise errors.StoreReadOnly(f"{self.path} was opened for reading only")

    def _query(
        self, finish: Callable[[Any], T], name: str, *values: Any, exists: str | None = None
    ) -> Ticket[T]:
        """The rows of a query; where there are none and they are of an execution, it has to exist."""
        self._check()

        def known(found: Any) -> T:
            if found is None:
                raise protocol.not_found(exists or "")
            return finish(found)

        ticket = self._ticket(None, finish if exists is None else known)
        fence = None if exists is None else ("fence", (self._tenant, exists))
        try:
            self._engine.query(ticket, name, values, fence)
        except protocol.UNFIT:
            protocol.unfit()
        return ticket  # type: ignore[no-any-return]

    def rows(self, name: str, *values: Any) -> Ticket[Any]:
        """The rows of a statement of `queries.sql`, as SQLite gives them: for maintenance, over all tenants."""
        return self._query(_same, name, *values)

    def _change(
        self,
        value: Any,
        finish: Callable[[Any], Any] | None,
        guards: _Asked,
        then: Changes,
        otherwise: _Asked,
        durability: Durability = "power",
    ) -> Ticket[Any]:
        self._check_change(durability)
        ticket = self._ticket(value, finish)
        try:
            self._engine.change(ticket, durability == "power", guards, then, otherwise)
        except protocol.UNFIT:
            protocol.unfit()
        return ticket  # type: ignore[no-any-return]

    # --- writing --------------------------------------------------------------------------------------------------

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
        tenant, last = self._tenant, records[-1]
        guard = (
            tenant, *new[:6], row.state, row.wait_reason, last[0], row.head, new.owner, records[0][1], last[1],
            row.wake_at_ns, len(records),
        )  # fmt: skip
        otherwise: _Asked = [
            ("action_id", (tenant, new.id, last[0])),
            ("fence", (tenant, new.id)),
            ("find", (tenant, new.blueprint, new.key)),
        ]

        def known(answers: list[list[tuple[Any, ...]]]) -> tuple[str, bool]:
            mine, there, keyed = answers
            if mine == [(action_id,)]:
                return new.id, True
            if there or not keyed:
                raise protocol.taken(new.id)
            return keyed[0][0], False

        then = written(tenant, new.id, action_id, records, row.head)
        if opened:
            then.append(("insert_awaited", [(tenant, each, new.id) for each in opened]))
        return self._change((new.id, True), known, [("create", guard)], then, otherwise, durability)

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
        if durability not in ("power", "process"):  # of two faults every store tells the same
            protocol.check_append(expected_seq, records)
            protocol.check_head(row.head)
        self._check_change(durability)
        if not taken and not opened:
            power = durability == "power"
            asked = self._appender.append(execution_id, expected_seq, epoch, action_id, records, row, power)
            if asked is not None:
                return asked  # type: ignore[no-any-return]
        protocol.check_records(expected_seq, records)
        tenant, last = self._tenant, records[-1][0]
        state, wait_reason, head, wake_at, progress = row
        values = (
            tenant, execution_id, expected_seq, epoch, last, head, records[-1][1], progress, len(records), state,
            wait_reason, wake_at,
        )  # fmt: skip
        guards = [("advance_same", values), ("advance", values)]
        otherwise = [("action_id", (tenant, execution_id, last)), ("fence", (tenant, execution_id))]
        known = partial(refused, execution_id, action_id, last)
        then = written(tenant, execution_id, action_id, records, head)
        if taken:
            then.append(("take", [(last, tenant, execution_id, each) for each in taken]))
        if opened:
            then.append(("insert_awaited", [(tenant, each, execution_id) for each in opened]))
        return self._change(last, known, guards, then, otherwise, durability)

    def append_drained(
        self, execution: Any, expected_seq: int, epoch: int, progress: bool, durability: Durability
    ) -> Ticket[int] | list[Record]:
        """Drains an execution, and appends that where it runs: for most appends of a runtime, both in one.

        Gives the records back where they are for `append`, or where there are none. If it raises, nothing was drained.
        """
        self._check_change(durability)
        power = durability == "power"
        return self._appender.append_drained(execution, expected_seq, epoch, progress, power)  # type: ignore[no-any-return]

    def append_again(self, ticket: Ticket[int]) -> Ticket[int]:
        """Asks once more for what failed, by its ticket from `append_drained`."""
        self._check()
        return self._appender.again(ticket)  # type: ignore[no-any-return]

    def claim(
        self, execution_id: str, owner: str, epoch: int, lease_until_ns: int | None = None
    ) -> Ticket[int]:
        """See `Store.claim`."""

        def known(answers: list[list[tuple[Any, ...]]]) -> int:
            [found] = answers
            if not found:
                raise protocol.not_found(execution_id)
            if found[0][1:] != (epoch + 1, owner):
                raise protocol.conflict(execution_id)
            return epoch + 1

        whose = (self._tenant, execution_id)
        guards = [("claim", (owner, lease_until_ns, *whose, epoch))]
        return self._change(epoch + 1, known, guards, [], [("fence", whose)])

    def renew(self, execution_id: str, epoch: int, lease_until_ns: int) -> Ticket[bool]:
        """See `Store.renew`."""

        def known(answers: list[list[tuple[Any, ...]]]) -> bool:
            if not answers[0]:
                raise protocol.not_found(execution_id)
            return False

        whose = (self._tenant, execution_id)
        guards = [("renew", (lease_until_ns, *whose, epoch))]
        return self._change(True, known, guards, [], [("fence", whose)], "process")

    def release(self, execution_id: str, epoch: int) -> Ticket[bool]:
        """See `Store.release`."""

        def known(answers: list[list[tuple[Any, ...]]]) -> bool:
            if not answers[0]:
                raise protocol.not_found(execution_id)
            return bool(answers[0][0][1:] == (epoch + 1, None))

        whose = (self._tenant, execution_id)
        return self._change(True, known, [("release", (*whose, epoch))], [], [("fence", whose)])

    def deliver(
        self, execution_id: str, delivery_id: str, kind: str, name: str, body: bytes, at_ns: int
    ) -> Ticket[bool]:
        """See `Store.deliver`."""
        protocol.check_body(body)
        whose = (self._tenant, execution_id)

        def known(answers: list[list[tuple[Any, ...]]]) -> bool:
            delivered, fence = answers
            if not fence:
                raise protocol.not_found(execution_id)
            return bool(delivered) and delivered[0][1:4] == (kind, name, body)

        digest = protocol.delivery_digest(delivery_id, at_ns, kind, name, body)
        guards = [("deliver", (*whose, delivery_id, at_ns, kind, name, body, digest))]
        otherwise = [("delivered", (*whose, delivery_id)), ("fence", whose)]
        return self._change(True, known, guards, [("give_place", [(self._tenant,)])], otherwise)

    # --- reading --------------------------------------------------------------------------------------------------

    def get(self, execution_id: str) -> Ticket[ExecutionRow]:
        """See `Store.get`."""

        def one(found: list[tuple[Any, ...]]) -> ExecutionRow:
            if not found:
                raise protocol.not_found(execution_id)
            return self._rows(found)[0]

        return self._query(one, "get", self._tenant, execution_id)

    def awaited(self, step_id: str) -> Ticket[ExecutionRow]:
        """See `Store.awaited`."""

        def one(found: list[tuple[Any, ...]]) -> ExecutionRow:
            if not found:
                raise protocol.not_awaited(step_id)
            return self._rows(found)[0]

        return self._query(one, "awaited", self._tenant, step_id)

    def find(self, blueprint: str, key: str) -> Ticket[ExecutionRow | None]:
        """See `Store.find`."""
        one = lambda found: self._rows(found)[0] if found else None
        return self._query(one, "find", self._tenant, blueprint, key)

    def _rows(self, found: Any) -> Rows:
        return rows.execution_rows(self.path, found)

    def list(
        self,
        state: str | None = None,
        after: str | None = None,
        limit: int = 100,
        blueprint: str | None = None,
    ) -> Ticket[Rows]:
        """See `Store.list`."""
        protocol.check_limit(limit)
        chosen = [value for value in (state, blueprint) if value is not None]
        name = (
            "list" + ("_state" if state is not None else "") + ("_blueprint" if blueprint is not None else "")
        )
        start = _AFTER_ALL if after is None else after
        return self._query(partial(rows.page, self.path, start), name, self._tenant, *chosen, start, limit)

    def children(self, parent_id: str, after: str | None = None, limit: int = 100) -> Ticket[Rows]:
        """See `Store.children`."""
        protocol.check_limit(limit)
        start = _AFTER_ALL if after is None else after
        known = partial(rows.page, self.path, start)
        return self._query(known, "children", self._tenant, parent_id, start, limit)

    def count(self, blueprint: str | None = None) -> Ticket[dict[str, int]]:
        """See `Store.count`."""
        if blueprint is None:
            return self._query(self._counts, "count", self._tenant)
        return self._query(self._counts, "count_blueprint", self._tenant, blueprint)

    def _counts(self, found: Any) -> dict[str, int]:
        return rows.counts(self.path, found)

    def due(self, now_ns: int, limit: int = 100) -> Ticket[Rows]:
        """See `Store.due`."""
        return self._query(self._rows, "due", self._tenant, now_ns, protocol.check_limit(limit))

    def _follow(
        self,
        execution_id: str,
        name: str,
        after_seq: int,
        finish: Callable[[Any], T],
        stride: int,
        joined: bool,
    ) -> Ticket[T]:
        """A page of records, by going back from behind it."""
        self._check()

        def known(found: Any) -> T:
            if found is None:
                raise protocol.not_found(execution_id)
            return finish(found)

        whose = (self._tenant, execution_id)
        ticket = self._ticket(None, known)
        try:
            self._engine.follow(
                ticket,
                ("start", (*whose, after_seq, stride)),
                (name, whose),
                after_seq,
                STRIDE * 2 if joined else protocol.PAGE_RECORDS,
                protocol.PAGE_BYTES * 2 if joined else protocol.PAGE_BYTES,
                joined,
            )
        except protocol.UNFIT:
            protocol.unfit()
        return ticket  # type: ignore[no-any-return]

    def load(self, execution_id: str, after_seq: int = -1) -> Ticket[Records]:
        """See `Store.load`."""
        return self._follow(
            execution_id, "load", after_seq, lambda found: rows.records(self.path, found), 0, joined=False
        )

    def bodies(self, execution_id: str, after_seq: int = -1) -> Ticket[tuple[int, bytes]]:
        """See `Store.bodies`."""
        return self._follow(
            execution_id, "bodies", after_seq, lambda found: found or (after_seq, b""), STRIDE, joined=True
        )

    def digests(self, execution_id: str, after_seq: int = -1) -> Ticket[Digests]:
        """See `Store.digests`."""
        return self._follow(
            execution_id, "digests", after_seq, lambda found: rows.digests(self.path, found), 0, joined=False
        )

    def inbox(self, execution_id: str, after: int = 0, limit: int = 100) -> Ticket[Deliveries]:
        """See `Store.inbox`."""
        page = (self._tenant, execution_id, after, protocol.check_limit(limit))
        known = partial(rows.deliveries, self.path, after)
        return self._query(known, "inbox", *page, exists=execution_id)

    def arrivals(self, after: int = 0, limit: int = 100) -> Ticket[Arrivals]:
        """See `Store.arrivals`."""
        page = (self._tenant, after, protocol.check_limit(limit))
        return self._query(partial(rows.arrivals, self.path, after), "arrivals", *page)

    # --- retention ------------------------------------------------------------------------------------------------

    def finished(self, state: str, after: str = "", limit: int = 500) -> Ticket[Ended]:
        """See `Store.finished`."""
        protocol.check_ended(state)
        known = partial(rows.ended, self.path, after)
        return self._query(known, "finished", self._tenant, state, after, protocol.check_limit(limit))

    def doom(self, execution_ids: Sequence[str]) -> Ticket[int]:
        """See `Store.doom`."""
        # To SQLite's JSON a text ends at a NUL: what it names then would be another execution.
        wanted = [each for each in execution_ids if "\0" not in each]
        values = [(self._tenant, json.dumps(wanted))]
        names = (
            "doom",
            "doom_marks",
            "doom_payloads",
            "doom_uses",
            "doom_inbox",
            "doom_awaited",
            "doom_rows",
        )
        return self._change(None, lambda counts: counts[0], [], [(name, values) for name in names], [])

    def sweep(self, most: int) -> Ticket[int]:
        """See `Store.sweep`."""
        protocol.check_most(most)
        tenant = self._tenant
        then: Changes = [
            ("sweep_ahead", [(tenant, most)]),
            ("sweep", [(tenant, most)]),
            ("swept", [(tenant,)]),
            ("undoom", [(tenant,)]),
        ]
        # What a power loss brings back is doomed still, and swept the next time: nobody has to wait for the disk.
        return self._change(None, lambda counts: counts[1] or counts[3], [], then, [], "process")

    def close(self) -> None:
        """See `Store.close`."""
        if not self._closed:
            self._closed = True
            close_file(self._opened)


def _same(found: Any) -> Any:
    return found
