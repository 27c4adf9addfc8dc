"""Executions out of a store and into another, as lines of JSON.

A file begins with a line about itself and ends with one that counts and has the SHA-256 of all before. Between them an
execution is a line about it, its records byte for byte, and what was delivered to it and is not taken.
"""

import re
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO, Final, NamedTuple

from .. import _backend, encoding, errors, typeid
from .._spec import EXECUTION_TERMINAL, MAX_PAYLOAD_BYTES, StepType
from .._version import VERSION
from ..journal import NO_DIGEST, digest
from .protocol import Deliveries, Delivery, ExecutionRow, NewExecution, Projection, Records, Store

FORMAT: Final = 1
LINE_BYTES: Final = 512 * 1024 * 1024
"""What one line may have; a store keeps no longer record."""
SHORT_BYTES: Final = 64 * 1024
"""What a line may have that is about an execution or about the file."""
DELIVERY_BYTES: Final = MAX_PAYLOAD_BYTES * 2
MAX_RECORDS: Final = 100_000_000
"""Of one execution, and deliveries to it."""
PAGE: Final = 500
AWAITED: Final = (StepType.WAIT, StepType.CHILD)
"""Steps of these types are registered: somebody outside may answer them."""
_ROUNDS: Final = 1_000
_TEXT: Final = 1_024

RECORD: Final = re.compile(
    rb'\{"seq":(0|[1-9][0-9]{0,17}),"prev":"([0-9a-f]{32})","at":(0|[1-9][0-9]{0,18}),"kind":"([a-z_]{1,40})"'
)

Progress = Callable[[int, int], object]


class Moved(NamedTuple):
    """What an export wrote or an import took."""

    executions: int
    """Those that were written."""
    records: int
    skipped: int
    """Executions that were there already, with the same journal."""
    cut: str | None
    """Where the file ends too early, if it does; all that is whole before that was taken."""


# --- out ----------------------------------------------------------------------------------------------------------


def export(
    store: Store, file: BinaryIO, ids: Iterable[str] | None = None, progress: Progress | None = None
) -> Moved:
    """Writes executions of a tenant, all or those with these ids, to a file or a pipe. It blocks.

    Each is written as it is at one moment; others may go on writing. `progress` is called after each execution with how
    many executions and records were written. Raises `NotFound` for an id that is not there, `StoreCorrupt` where a
    journal is damaged (what was written then has no end, and whoever imports it is told so), `StoreError`, `OSError`.
    """
    import hashlib

    summed = hashlib.sha256()

    def put(line: bytes) -> None:
        line += b"\n"
        summed.update(line)
        file.write(line)

    put(_line("export", {"format": FORMAT, "tenant": store.tenant, "stepwell": VERSION}))
    executions = records = 0
    for each in _all_ids(store) if ids is None else ids:
        try:
            records += _export_one(store, each, put)
        except errors.NotFound:
            if ids is None:
                continue  # it was purged meanwhile
            raise
        executions += 1
        if progress is not None:
            progress(executions, records)
    put(_line("end", {"executions": executions, "records": records, "sha256": summed.hexdigest()}))
    file.flush()
    return Moved(executions, records, 0, None)


def _line(kind: str, fields: dict[str, Any]) -> bytes:
    return encoding.encode({kind: fields}, DELIVERY_BYTES)


def _all_ids(store: Store) -> Iterator[str]:
    after = None
    while page := store.list(after=after, limit=PAGE).wait():
        yield from (row.id for row in page)
        after = page[-1].id


def _export_one(store: Store, id: str, put: Callable[[bytes], None]) -> int:
    row, deliveries = _moment(store, id)
    if row.state in EXECUTION_TERMINAL:
        deliveries = []  # nobody takes them any more
    about = {
        "id": row.id,
        "version": row.version,
        "head": row.head,
        "wake_at_ns": row.wake_at_ns,
        "deliveries": len(deliveries),
    }
    seq, prev = 0, NO_DIGEST
    page = store.load(id).wait()  # one that was purged meanwhile is noticed before there is a line about it
    put(_line("execution", about))
    while seq <= row.version:
        if not page:
            raise _damaged(id, seq, "it is missing")
        for record in page[: row.version + 1 - seq]:
            start = RECORD.match(record[3])
            if start is None or (int(start[1]), start[2]) != (seq, prev.encode()):
                raise _damaged(id, seq, "it does not follow the one before")
            put(_record_line(id, seq, record[3]))
            prev = digest(record[3])
            seq += 1
        if seq <= row.version:
            page = _next_page(store, id, seq)
    if prev != row.head:
        raise _damaged(id, row.version, "it is not the one whose digest the execution's row has")
    for each in deliveries:
        put(_delivery_line(each))
    return seq


def _moment(store: Store, id: str) -> tuple[ExecutionRow, Deliveries]:
    """An execution's row and what is not taken of what was delivered to it, both at one moment."""
    row = store.get(id).wait()
    for _ in range(_ROUNDS):
        deliveries: Deliveries = []
        while page := store.inbox(id, deliveries[-1].place if deliveries else 0, PAGE).wait():
            deliveries += page
        before, row = row, store.get(id).wait()
        if before.version == row.version:
            return row, deliveries
    raise errors.StoreBusy(f"execution {id} changes all the time: export it when it waits or has ended")


def _next_page(store: Store, id: str, seq: int) -> Records:
    try:
        return store.load(id, seq - 1).wait()
    except errors.NotFound:
        raise errors.StoreError(
            f"execution {id} was purged while it was being exported, and the export is not whole: export again"
        ) from None


def _record_line(id: str, seq: int, body: bytes) -> bytes:
    """A record as it is; where a payload from elsewhere has line breaks in it, as text in JSON."""
    if b"\n" not in body:
        return body
    try:
        return encoding.encode({"record": body.decode()}, LINE_BYTES)
    except (UnicodeDecodeError, errors.ValidationError) as error:
        raise _damaged(id, seq, "it is no text, or too long for a line") from error


def _delivery_line(each: Delivery) -> bytes:
    body = b64encode(each.body).decode()
    return _line(
        "delivery", {"id": each.id, "at_ns": each.at_ns, "kind": each.kind, "name": each.name, "body": body}
    )


def _damaged(id: str, seq: int, why: str) -> errors.StoreCorrupt:
    return errors.StoreCorrupt(
        f"record {seq} of execution {id} is damaged: {why}; the export ends before it. `stepwell verify` says more; "
        "restore the store from a backup, or export the others by their ids"
    )


# --- in ------------------------------------------------------------------------------------------------------------


class _Cut(Exception):
    """The file ends where it should go on."""

    def __init__(self, line: bytes) -> None:
        super().__init__()
        self.line = line


class _Broken(Exception):
    """A line is not what was written."""


class _About(NamedTuple):
    """The line about an execution."""

    id: str
    version: int
    head: str
    wake_at_ns: int | None
    deliveries: int


class _Lines:
    """The lines of an export, none longer than it may be, and their SHA-256."""

    def __init__(self, file: BinaryIO) -> None:
        import hashlib

        self._file = file
        self._summed = hashlib.sha256()
        self._last: bytes | None = None
        self.number = 0

    def next(self, most: int) -> bytes:
        """The next line; raises `_Cut` at the end and for a line without one."""
        if self._last is not None:
            self._summed.update(self._last)
        self.number += 1
        line = self._file.readline(most + 1)
        if not line.endswith(b"\n"):
            if len(line) > most:
                raise _Broken(f"it is longer than {most} bytes")
            raise _Cut(line)
        self._last = line
        return line[:-1]

    def digest(self) -> str:
        """That of all lines before the last one."""
        return self._summed.hexdigest()

    def rest(self) -> bool:
        """Whether anything follows."""
        return self._file.read(1) != b""


def import_(store: Store, file: BinaryIO, progress: Progress | None = None) -> Moved:
    """Takes over the executions of an export from a file or a pipe, those of the store's own tenant. It blocks.

    Each is checked by replay and written at once with all its records, or not at all. One that is there with the same
    journal is skipped, so an import may be made again. Nobody owns what was taken over. Where the file ends too early,
    what is whole is taken over and `cut` says where it ends. `progress` is called after each execution with how many
    executions and records were looked at.

    Raises `StoreCorrupt` with the number of the line for a file that is damaged elsewhere, `StoreTooNew` for one of a
    newer format (`UnsupportedFormat` for a journal of one), `ValidationError` for another tenant's, `Conflict` for an
    execution that is there with another journal or whose key another one has, `StoreError`. Executions
    before that stay taken over.
    """
    lines = _Lines(file)
    taken = records = skipped = 0
    about: _About | None = None
    try:
        _begin(store, _object(lines.next(SHORT_BYTES), "export"))
        while True:
            about = None
            line = lines.next(SHORT_BYTES)
            if line.startswith(b'{"end":'):
                _end(lines, line, taken + skipped, records)
                return Moved(taken, records, skipped, None)
            about = _about(line)
            found = _records(lines, about)
            deliveries = [_delivery(lines.next(DELIVERY_BYTES)) for _ in range(about.deliveries)]
            new = _take(store, about, found, deliveries)
            taken, skipped, records = taken + new, skipped + (not new), records + len(found)
            if progress is not None:
                progress(taken + skipped, records)
    except _Broken as why:
        raise errors.StoreCorrupt(
            f"line {lines.number} of the export is damaged: {why}; {_so_far(taken, skipped)}"
        ) from None
    except _Cut as cut:
        if about is None and _ends_in(lines, cut.line, taken + skipped, records):
            return Moved(taken, records, skipped, None)
        where = (
            "before its end" if about is None else f"inside execution {about.id}, which was not taken over"
        )
        return Moved(taken, records, skipped, f"the export ends in line {lines.number}, {where}")


def _ends_in(lines: _Lines, line: bytes, executions: int, records: int) -> bool:
    """Whether a last line without an end of its own is the last one nevertheless: some editors take that away."""
    try:
        _end(lines, line, executions, records)
    except _Broken:
        return False
    return True


def _so_far(taken: int, skipped: int) -> str:
    return f"{taken} executions before it were taken over, {skipped} were there already"


# --- lines --------------------------------------------------------------------------------------------------------


def _object(line: bytes, kind: str) -> dict[str, Any]:
    """The fields of a line of this kind, in the one form that it is written in."""
    try:
        found = encoding.decode(line, 4)
        fields = found[kind] if isinstance(found, dict) and len(found) == 1 else None
        if isinstance(fields, dict) and encoding.encode(found, DELIVERY_BYTES) == line:
            return fields
    except (errors.ValidationError, KeyError):
        pass
    raise _Broken(f"a line about {kind!a} was expected")


def _whole(value: object, most: int = 2**63 - 1) -> int:
    if type(value) is not int or not 0 <= value <= most:
        raise _Broken("a number is missing or out of range")
    return value


def _words(value: object, least: int = 1) -> str:
    if not isinstance(value, str) or not least <= len(value) <= _TEXT:
        raise _Broken("a text is missing or too long")
    return value


def _begin(store: Store, fields: dict[str, Any]) -> None:
    if _whole(fields.get("format")) > FORMAT:
        raise errors.StoreTooNew(
            f"the export has format {fields['format']}, this stepwell reads up to {FORMAT}: upgrade stepwell"
        )
    if list(fields) != ["format", "tenant", "stepwell"]:
        raise _Broken("it is not the first line of an export")
    if fields["tenant"] != store.tenant:
        raise errors.ValidationError(
            f"the export is of another tenant than {store.tenant!a}, whose store this is: nothing crosses tenants"
        )


def _about(line: bytes) -> _About:
    fields = _object(line, "execution")
    if list(fields) != [*_About._fields]:
        raise _Broken("a line about an execution has other fields")
    about = _About(**fields)
    _whole(about.version, MAX_RECORDS)
    _whole(about.deliveries, MAX_RECORDS)
    if about.wake_at_ns is not None:
        _whole(about.wake_at_ns)
    if not typeid.is_id(about.id, "exec") or not isinstance(about.head, str):
        raise _Broken("it has no id of an execution")
    return about


def _records(lines: _Lines, about: _About) -> Records:
    found: Records = []
    prev = NO_DIGEST
    for seq in range(about.version + 1):
        body = _record(lines.next(LINE_BYTES))
        start = RECORD.match(body)
        if start is None or int(start[1]) != seq:
            raise _Broken(f"record {seq} of {about.id} was expected")
        if start[2].decode() != prev:
            raise _Broken(
                f"record {seq} of {about.id} does not follow the one before: that or this was changed"
            )
        prev = digest(body)
        found.append((seq, _whole(int(start[3])), start[4].decode(), body))
    if prev != about.head:
        raise _Broken(f"it is not the last record of {about.id} that the line about it tells")
    return found


def _record(line: bytes) -> bytes:
    """The record on a line. What it says is seen by its digest, and when it is replayed."""
    if not line.startswith(b'{"record":'):
        return line
    try:
        found = encoding.decode(line, 2)
        text = found.get("record") if isinstance(found, dict) else None
        if isinstance(text, str) and "\n" in text and encoding.encode({"record": text}, LINE_BYTES) == line:
            return text.encode()
    except errors.ValidationError:
        pass
    raise _Broken("a record was expected")


def _delivery(line: bytes) -> Delivery:
    fields = _object(line, "delivery")
    if list(fields) != ["id", "at_ns", "kind", "name", "body"] or not isinstance(fields["body"], str):
        raise _Broken("a line about a delivery has other fields")
    try:
        body = b64decode(fields["body"], validate=True)
    except (NotBase64, ValueError):
        raise _Broken("a delivery cannot be read") from None
    id, kind = _words(fields["id"]), _words(fields["kind"])
    name = _words(fields["name"], 0)  # what is known by its id has none
    return Delivery(0, id, _whole(fields["at_ns"]), kind, name, body)


def _end(lines: _Lines, line: bytes, executions: int, records: int) -> None:
    fields = _object(line, "end")
    # The digest is of all before this line, which `next` adds when the one after is asked for.
    told = {"executions": executions, "records": records, "sha256": lines.digest()}
    if list(fields.items()) != list(told.items()):
        raise _Broken(
            "its counts or its digest are not those of what was read: a line was lost, changed or added"
        )
    if lines.rest():
        lines.number += 1
        raise _Broken("something follows the end")


# --- into the store -----------------------------------------------------------------------------------------------


def _take(store: Store, about: _About, records: Records, deliveries: list[Delivery]) -> bool:
    """Whether the execution was new here."""
    try:
        execution = _backend.chosen().Execution.replay(
            about.id, records, version=about.version, tenant=store.tenant
        )
    except errors.UnsupportedFormat:
        raise
    except errors.StepwellError as error:
        raise _Broken(f"the journal of {about.id} cannot be replayed: {error}") from error
    if execution.head != about.head:
        raise _Broken(f"the journal of {about.id} has another head")
    new = _create(store, about, records, execution)
    # Also where it was there: an import that was interrupted between the two is made good by the next.
    for each in deliveries:
        if not store.deliver(about.id, each.id, each.kind, each.name, each.body, each.at_ns).wait():
            raise errors.Conflict(
                f"something else was delivered to execution {about.id} here under the same id"
            )
    return new


def _create(store: Store, about: _About, records: Records, execution: Any) -> bool:
    if _is_there(store, about):
        return False
    parent, reason = execution.parent, execution.wait_reason
    new = NewExecution(
        about.id,
        execution.blueprint,
        execution.key,
        execution.schema_version,
        None if parent is None else str(parent.parent_type),
        None if parent is None else parent.parent_id,
        None,
    )
    row = Projection(
        str(execution.state), None if reason is None else str(reason), about.head, about.wake_at_ns
    )
    opened = [step for kind in AWAITED for step in execution.steps.filter(type=kind).ids()]
    action_id = bytes.fromhex(digest(b"import " + about.id.encode() + about.head.encode()))
    try:
        found, _ = store.create(new, action_id, records, row, opened=opened).wait()
    except errors.Conflict:
        if _is_there(store, about):  # somebody else imports it at the same time
            return False
        raise
    if found != about.id:
        raise errors.Conflict(
            f"the key of execution {about.id} belongs to {found} in this store; it was not taken over"
        )
    return True


def _is_there(store: Store, about: _About) -> bool:
    try:
        row = store.get(about.id).wait()
    except errors.NotFound:
        return False
    if (row.version, row.head) != (about.version, about.head):
        raise errors.Conflict(
            f"execution {about.id} is in this store with another journal (up to record {row.version}, in the export up "
            f"to {about.version}); it was left as it is"
        )
    return True
