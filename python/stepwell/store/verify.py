"""Whether a store holds what was written to it: every record, every row, and in a file every table."""

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from .. import _backend, errors
from ..journal import digest
from ..typeid import is_id
from .protocol import ExecutionRow, Record, Records, Store, delivery_digest
from .ticket import Ticket

if TYPE_CHECKING:
    from .sqlite import SqliteStore

PAGE: Final = 500
"""Executions that are listed at once."""
WINDOW: Final = 50_000
"""Numbers of a file's journal that one query looks at."""
MOST: Final = 100
"""Findings of one kind about a file; more of them say nothing new."""
_PAYLOADS: Final = 8


class Finding(NamedTuple):
    """Something that is not as it was written."""

    execution: str | None
    """The execution that it is about; `None` where it is about the file, or about another tenant's."""
    seq: int | None
    """The first record that is bad, where it is about one."""
    what: str
    """What is wrong with it, in words."""


class VerifyReport(NamedTuple):
    """What was looked at, and what was found: nothing, in a sound store."""

    executions: int
    records: int
    findings: list[Finding]


class _Bad(Exception):
    def __init__(self, seq: int | None, what: str) -> None:
        super().__init__(what)
        self.seq = seq


def verify(
    store: Store, ids: Iterable[str] | None = None, progress: Callable[[int, int], object] | None = None
) -> VerifyReport:
    """Looks whether the executions of a tenant are what was written: all of them, or those with these ids.

    Of each: that its records are there one after the other, their chain of digests, what is kept beside them, that they
    replay, and that they end as the execution's row says. Without ids also the file of a SQLite store as a whole: its
    integrity, and what belongs to nothing. Others may go on writing. `progress` is called after each execution with how
    many executions and records were looked at. It holds one execution in memory at a time, and blocks.

    What is damaged is a finding; raised are `NotFound` for an id that is not there, and what keeps a store from being
    read at all (`StoreBusy`, `StoreError` where it is closed).
    """
    findings: list[Finding] = []
    executions = records = 0
    for each in _all_ids(store, findings) if ids is None else ids:
        try:
            count = _execution(store, each)
        except errors.NotFound:
            if ids is not None:
                raise
            if not is_id(each, "exec"):
                findings.append(Finding(None, None, "an execution has an id that is none"))
            continue  # it was purged meanwhile
        except _Bad as bad:
            count = bad.seq or 0
            findings.append(Finding(each, bad.seq, str(bad)))
        executions += 1
        records += count
        if progress is not None:
            progress(executions, records)
    if ids is None:
        findings += _file(store)
    return VerifyReport(executions, records, findings)


def _answer(ticket: Ticket[Any], seq: int | None = None) -> Any:
    """The outcome of a request; what is damaged is `_Bad`."""
    try:
        return ticket.wait()
    except (errors.StoreBusy, errors.StoreFull, errors.StoreReadOnly, errors.ForkedProcessError):
        raise
    except (errors.StoreError, errors.InternalError) as error:
        raise _Bad(seq, str(error)) from error


def _all_ids(store: Store, findings: list[Finding]) -> Iterator[str]:
    after, limit = None, PAGE
    while True:
        try:
            page = _answer(store.list(after=after, limit=limit))
        except _Bad as bad:
            if limit == 1:
                return
            findings.append(Finding(None, None, f"the executions cannot be listed: {bad}"))
            limit = 1  # those before a bad row can be had one by one
            continue
        if not page:
            return
        yield from [row.id for row in page]
        after = page[-1].id


# --- one execution ------------------------------------------------------------------------------------------------


def _execution(store: Any, id: str) -> int:
    """How many records an execution has, all of which are good."""
    # Asked before all else: what is opened later may be in no record that is read.
    asked = store.rows("verify_awaited_steps", store.tenant, id) if _is_file(store) else None
    row: ExecutionRow = _answer(store.get(id))
    records: Records = []
    try:
        # Whoever writes only adds: what was there when the row was read is what the row is about.
        while page := _answer(store.load(id, len(records) - 1)):
            records += page
            _check_places(records, len(records) - len(page))
        row = _answer(store.get(id))
        if len(records) > row.version + 1:
            raise _Bad(
                row.version + 1,
                f"record {row.version + 1} is behind the end, which the row says is {row.version}",
            )
        while len(records) <= row.version and (page := _answer(store.load(id, len(records) - 1))):
            records += page
            _check_places(records, len(records) - len(page))
    except _Bad as bad:
        raise _first_bad(store, id, row, records, bad) from None
    del records[row.version + 1 :]
    execution = _check_records(store, row, records)
    if asked is not None:
        _check_awaited(execution, _answer(asked))
        _check_deliveries(store, id)
    return len(records)


def _check_places(records: Records, start: int) -> None:
    for seq in range(start, len(records)):
        if records[seq][0] != seq:
            raise _Bad(seq, f"record {seq} is missing: {records[seq][0]} is in its place")
        if [type(column) for column in records[seq]] != [int, int, str, bytes]:
            raise _Bad(seq, f"record {seq} is not of the types that a record is of")


def _first_bad(store: Any, id: str, row: ExecutionRow, records: Records, bad: _Bad) -> _Bad:
    """The first bad record of a journal that cannot be read to its end."""
    good = records if bad.seq is None else records[: bad.seq]
    try:
        _check_records(store, row, good[: row.version + 1], whole=False)
    except _Bad as earlier:
        return earlier
    if bad.seq is None and _is_file(store):
        try:
            found = _answer(store.rows("verify_place", store.tenant, id))
        except _Bad:
            found = []
        if found:
            return _Bad(found[0][0], f"record {found[0][0]} is missing or is not where it belongs ({bad})")
    return bad if bad.seq is not None else _Bad(len(records), str(bad))


def _check_records(store: Store, row: ExecutionRow, records: Records, *, whole: bool = True) -> Any:
    """Raises `_Bad` for the first record that is not what was written; if they are the whole, also for the row.

    What is given back is the execution that they make.
    """
    wrong = _digests(store, row.id, records)
    try:
        execution = _backend.chosen().Execution.replay(row.id, records, tenant=None) if records else None
    except errors.StepwellError as error:
        seq = error.index if error.index is not None else 0
        if wrong is None or seq < wrong:
            wrong, what = seq, str(error)
        else:
            what = f"record {wrong} is not the one whose digest is kept beside it"
        raise _Bad(wrong, what) from error
    if wrong is not None:
        raise _Bad(wrong, f"record {wrong} is not the one whose digest is kept beside it")
    if whole:
        _check_row(store, row, records, execution)
    return execution


def _digests(store: Store, id: str, records: Records) -> int | None:
    """The first record whose digest is not the one that is kept beside it."""
    after = -1
    while after < len(records) - 1 and (page := _answer(store.digests(id, after), after + 1)):
        for seq, kept in page:
            after += 1
            if after >= len(records):
                break
            if seq != after or (kept is not None and kept != digest(records[seq][3])):
                return after
    return None if after >= len(records) - 1 else after + 1


def _check_row(store: Store, row: ExecutionRow, records: list[Record], execution: Any) -> None:
    """Whether the row of an execution says what its journal says."""
    if not records:
        raise _Bad(0, "its header is missing")
    last = row.version
    if len(records) <= last:
        raise _Bad(len(records), f"record {len(records)} is missing: its row says that it ends with {last}")
    if execution.head != row.head:
        raise _Bad(last, f"record {last} is not the one whose digest the row has")
    reason = execution.wait_reason
    parent = execution.parent
    told = {
        "tenant": (execution.tenant_id, store.tenant),
        "state": (str(execution.state), row.state),
        "wait reason": (None if reason is None else str(reason), row.wait_reason),
        "blueprint": (execution.blueprint, row.blueprint),
        "key": (execution.key, row.key),
        "schema version": (execution.schema_version, row.schema_version),
        "parent": (
            (None, None) if parent is None else (str(parent.parent_type), parent.parent_id),
            (row.parent_type, row.parent_id),
        ),
        "time of creation": (records[0][1], row.created_at_ns),
        "time of its last change": (records[-1][1], row.updated_at_ns),
    }
    wrong = [name for name, (recorded, kept) in told.items() if recorded != kept]
    if wrong:
        raise _Bad(None, f"its row says something else than its journal about: {', '.join(wrong)}")
    if not 0 <= row.claims <= row.epoch or row.epoch < 1:
        raise _Bad(None, "its row has impossible counts of claims")


def _check_awaited(execution: Any, found: list[tuple[Any]]) -> None:
    for (step,) in found:
        if not isinstance(step, str) or execution.get_step(step) is None:
            raise _Bad(None, "it is registered for a step that is not in its journal")


def _check_deliveries(store: Any, id: str) -> None:
    place = before = 0
    while page := _answer(store.rows("verify_deliveries", store.tenant, id, before, PAGE)):
        for place, *told, kept in page:
            kinds = [type(each) for each in (place, *told)]
            if kinds != [int, str, int, str, str, bytes] or (
                kept is not None and kept != delivery_digest(*told)
            ):
                raise _Bad(None, f"what was delivered to it at place {place} is not what was sent")
        if place <= before:
            raise _Bad(None, "the list of what was delivered to it does not end")
        before = place


# --- the file -----------------------------------------------------------------------------------------------------


def _is_file(store: Any) -> bool:
    return hasattr(store, "rows")


def _file(store: Any) -> Iterator[Finding]:
    """What is wrong with the file of a SQLite store; of another tenant's it does not say whose."""
    if not _is_file(store):
        return
    for look in (_integrity, _records, _doubles, _payloads, _tables):
        try:
            yield from look(store)
        except _Bad as bad:
            yield Finding(None, None, str(bad))


def _integrity(store: "SqliteStore") -> Iterator[Finding]:
    found = _answer(store.rows("integrity"))
    if found != [("ok",)]:
        yield from (Finding(None, None, f"SQLite: {line[0]}"[:300]) for line in found)


def _about(mine: object, execution: str, seq: int | None, what: str) -> Finding:
    return Finding(execution, seq, what) if mine else Finding(None, None, f"{what} (another tenant's)")


def _records(store: "SqliteStore") -> Iterator[Finding]:
    """Records that belong to nothing, or do not know the one before them."""
    [(first, last)] = _answer(store.rows("verify_numbers"))
    left = MOST
    while first <= last and left > 0:
        # Numbers may have large gaps behind: a piece without any ends where the next one is.
        found = _answer(store.rows("verify_records", store.tenant, first, first + WINDOW - 1, left))
        for mine, execution, seq, number, what in found:
            yield _about(mine, execution, seq, f"record {seq} (number {number}) {what}")
        left -= len(found)
        following = _answer(store.rows("verify_next", first + WINDOW))
        if not following:
            return
        if following[0][0] <= first:
            raise _Bad(None, "the list of records does not end")
        first = following[0][0]


def _doubles(store: "SqliteStore") -> Iterator[Finding]:
    [(more,)] = _answer(store.rows("verify_count"))
    if more:
        for mine, execution, seq, _ in _answer(store.rows("verify_doubles", store.tenant, MOST)):
            yield _about(mine, execution, seq, f"record {seq} is there more than once")
        yield Finding(None, None, f"the file has {abs(more)} records {'too many' if more > 0 else 'too few'}")


def _payloads(store: "SqliteStore") -> Iterator[Finding]:
    import hashlib

    at: tuple[str, bytes] = ("", b"")
    left = MOST
    while left > 0 and (page := _answer(store.rows("verify_payloads", *at, _PAYLOADS))):
        for tenant, hashed, body in page:
            if [type(tenant), type(hashed), type(body)] != [str, bytes, bytes]:
                raise _Bad(None, "a payload or its hash is not of the types that they are of")
            if hashlib.sha256(body).digest() != hashed:
                mine = "" if tenant == store.tenant else " (another tenant's)"
                yield Finding(
                    None, None, f"the payload {hashed.hex()[:16]}… is not the one of this hash{mine}"
                )
                left -= 1
        if page[-1][:2] <= at:
            raise _Bad(None, "the list of payloads does not end")
        at = page[-1][:2]


def _tables(store: "SqliteStore") -> Iterator[Finding]:
    asked = store.tenant, MOST
    for mine, execution, seq in _answer(store.rows("verify_marks", *asked)):
        yield _about(mine, execution, seq, f"the mark of record {seq} is of no such record")
    for (mine,) in _answer(store.rows("verify_unused", *asked)):
        yield Finding(None, None, "a payload is used by nobody" + ("" if mine else " (another tenant's)"))
    for mine, execution in _answer(store.rows("verify_uses", *asked)):
        yield _about(mine, execution, None, "the use of a payload is of no payload or of no execution")
    for mine, execution, taken in _answer(store.rows("verify_inbox", *asked)):
        yield _about(mine, execution, taken, "a delivery belongs to no execution, or to no record of it")
    for mine, execution in _answer(store.rows("verify_given_places", *asked)):
        yield _about(mine, execution, None, "a delivery has a place that was not given to it")
    for mine, execution in _answer(store.rows("verify_awaited", *asked)):
        yield _about(mine, execution, None, "a step that is waited for is of no execution")
    for mine, execution in _answer(store.rows("verify_doomed", *asked)):
        yield _about(mine, execution, None, "it is purged, and is there")
