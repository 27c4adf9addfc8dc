"""An execution from its journal, or from a snapshot and the tail of its journal."""

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, NoReturn

from .. import errors, fields, journal
from .._spec import FORMAT
from ..clock import Clock
from ..journal import Fields, Malformed, Newer
from . import snapshot
from .reducer import reduce

if TYPE_CHECKING:
    from .execution import Execution, Record

_Read = tuple[bytes, tuple[int, str, int, str, Fields]]
"""The body of a record, and what `Reader.record` found in it."""


def replay(
    ex: "Execution",
    id: str,
    records: "Iterable[Record | bytes] | bytes | bytearray | memoryview",
    schema_version: str | None,
    version: int | None,
    start: bytes | None,
    clock: Clock | None,
    ids: Callable[[str], str] | None,
) -> None:
    """Fills an empty execution from its records: all of them, or those that come after the snapshot `start`."""
    fields.execution_id(id)
    schema_version, version = fields.asked(schema_version, version)
    held: list[bytes] = []
    first, prev = 0, journal.NO_DIGEST
    if start is not None:
        snapshot.load(ex, start, clock, ids)
        _compare(ex._id, ex._schema_version, id, schema_version)
        held = [action for _, _, action in snapshot.undrained(ex)]
        if ex._head is not None:
            first, prev = ex._version - len(held) + 1, ex._head
    index = -1
    for index, (body, (seq, before, at, kind, values)) in enumerate(_records(records)):
        if seq != first + index:
            errors.seq_differs(index, first + index, seq)
        if before != prev:
            errors.chain_broken(index)
        if (kind == "created") != (seq == 0):
            errors.header_misplaced(index)
        if index < len(held):
            if body != journal.record(seq, prev, held[index]):
                errors.snapshot_differs(index)
        elif seq:
            _go_on(ex, index, at, kind, values)
        else:
            _begin(ex, values, at, clock, ids)
            _compare(ex._id, ex._schema_version, id, schema_version)
        prev = journal.digest(body)
    if index < 0 and start is None:
        errors.journal_empty()
    if version is not None and version != ex._version:
        errors.journal_length(max(index, 0), ex._version, version)
    if index >= 0:
        drained = min(index + 1, len(held)) - (ex._head is None)
        del ex._pending[: 3 * max(drained, 0)]
        ex._head = prev


def _begin(
    ex: "Execution", header: Fields, at: int, clock: Clock | None, ids: Callable[[str], str] | None
) -> None:
    try:
        fields.check("created", header)
        ex._begin(header, at, clock, ids)
    except errors.StepwellError as error:
        errors.replay(0, str(error))


def _compare(id: str, recorded: str | None, wanted: str, schema_version: str | None) -> None:
    """Whether the record is of the execution and the schema that were asked for."""
    if id != wanted:
        errors.other_execution(id, wanted)
    if schema_version is not None and recorded != schema_version:
        errors.schema_mismatch(recorded, schema_version)


def _go_on(ex: "Execution", index: int, at: int, kind: str, values: Fields) -> None:
    try:
        fields.check(kind, values)
        if at < ex._last:
            errors.time_backwards(at, ex._last)
        reduce(ex, kind, at, values)
    except errors.StepwellError as error:
        errors.replay(index, str(error))
    ex._last = at
    ex._version += 1


# --- reading ------------------------------------------------------------------------------------------------------


def _records(records: "Iterable[Record | bytes] | bytes | bytearray | memoryview") -> Iterator[_Read]:
    from ..reading import Reader

    if isinstance(records, bytes | bytearray | memoryview):
        yield from _in_buffer(bytes(records), 0)
        return
    index = 0
    for record in records:
        if isinstance(record, bytes) and record.endswith(b"\n"):
            for found in _in_buffer(record, index):
                yield found
                index += 1
            continue
        body = record if isinstance(record, bytes) else _body(index, record)
        try:
            read = Reader(body).record()
        except Malformed as why:
            _refuse(index, why)
        if not isinstance(record, bytes) and not _beside(record, read):
            errors.columns_differ(index)
        yield body, read
        index += 1


def _in_buffer(data: bytes, index: int) -> Iterator[_Read]:
    """Records with a newline after each. The buffer is not split: a payload from elsewhere may hold newlines."""
    from ..reading import Reader

    end = len(data)
    try:
        data.decode()
    except UnicodeDecodeError as error:
        end = error.start  # the record of this byte has no end then
    reader = Reader(data[:end])
    text = reader.text
    while reader.position < len(text) or end < len(data):
        start = reader.position
        try:
            found = reader.next_record()
            body = text[start : reader.position].encode()
            if not reader.take("\n") and (reader.position < len(text) or end < len(data)):
                raise Malformed
        except Malformed as why:
            _refuse(index, why)
        yield body, found
        index += 1


def _refuse(index: int, why: Malformed) -> NoReturn:
    if isinstance(why, Newer):
        errors.replay_newer(why.found, FORMAT)
    errors.not_a_record(index)


def _body(index: int, record: object) -> bytes:
    if not isinstance(record, tuple) or len(record) != 4 or not isinstance(record[3], bytes):
        errors.not_record_columns(index)
    return record[3]


def _beside(record: "Record", found: tuple[int, str, int, str, Fields]) -> bool:
    """Whether what a store keeps beside the body is what the body says, in type too."""
    columns, (seq, _, at, kind, _) = record[:3], found
    return columns == (seq, at, kind) and [type(column) for column in columns] == [int, int, str]
