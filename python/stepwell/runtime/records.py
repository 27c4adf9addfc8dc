"""Reading what a store gives back: nothing of it is believed before it was checked."""

from collections.abc import Sequence
from typing import Any

from .. import encoding, errors
from ..journal import Malformed, digest
from ..reading import Reader
from ..store import ExecutionRow, Record, Store
from .core import Execution


def damaged(id: str, why: str) -> errors.StoreCorrupt:
    """The error for a journal that is not what was written."""
    return errors.StoreCorrupt(
        f"the journal of {id} is damaged: {why}. Nothing was run; restore the store from a backup"
    )


def arguments(id: str, records: Sequence[Record]) -> bytes | None:
    """The arguments in the header of a journal."""
    if not records:
        raise damaged(id, "it has no header")
    try:
        return Reader(records[0][3]).record()[4].get("input")
    except Malformed:
        raise damaged(id, "its header cannot be read") from None


def last(row: ExecutionRow, records: Sequence[Record]) -> dict[str, Any]:
    """The last record of an execution, which must be the one that its row is about."""
    if not records or records[0][0] != row.version or digest(records[0][3]) != row.head:
        raise damaged(row.id, "its last record is not the one that was written")
    found: dict[str, Any] = encoding.decode(records[0][3], 1_000)
    return found


def load(store: Store, row: ExecutionRow) -> Execution:
    """An execution as it is recorded; for those who have no loop, as it blocks. Raises `StoreCorrupt`, `NotFound`."""
    parts: list[bytes] = []
    last = -1
    try:
        while last < row.version:
            before = last
            last, page = store.bodies(row.id, last).wait()
            parts.append(page)
            if last == before:
                raise damaged(row.id, "records are missing")
            if last > row.version:  # somebody writes
                row = store.get(row.id).wait()
        found: Execution = Execution.replay(
            row.id, parts, row.schema_version, version=row.version, tenant=store.tenant
        )
    except errors.UnsupportedFormat:
        raise
    except errors.ReplayError as error:
        raise damaged(row.id, str(error)) from error
    if found.head != row.head:
        raise damaged(row.id, "its last record is not the one that was written")
    return found
