"""Reading what a store gives back: nothing of it is believed before it was checked."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from .. import encoding, errors
from ..clock import Clock
from ..journal import Malformed, digest
from ..model import TenantContext
from ..reading import Reader
from ..store import ExecutionRow, Record, Store
from .core import Execution

_OUTCOMES: Final = ("step_completed", "step_failed", "input_received")


def damaged(id: str, why: str) -> errors.StoreCorrupt:
    """The error for a journal that is not what was written."""
    return errors.StoreCorrupt(
        f"the journal of {id} is damaged: {why}. Nothing was run; restore the store from a backup"
    )


@contextmanager
def believed(id: str) -> Iterator[None]:
    """Whatever says in here that the journal of an execution is broken says it with one `StoreCorrupt`."""
    try:
        yield
    except errors.UnsupportedFormat:
        raise
    except (errors.ReplayError, errors.StoreCorrupt) as error:
        raise damaged(id, str(error)) from error


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


def load(
    store: Store, row: ExecutionRow, context: TenantContext | None = None, clock: Clock | None = None
) -> Execution:
    """An execution as it is recorded; for those who have no loop, as it blocks. Raises `StoreCorrupt`, `NotFound`."""
    newest = [row]
    return replayed(newest, _pages(store, newest), store.tenant if context is None else context, clock)


def replayed(
    newest: list[ExecutionRow], parts: Iterable[bytes], tenant: str | TenantContext, clock: Clock | None
) -> Execution:
    """The execution of these parts of a journal; its row is looked at behind the last one.

    Raises `StoreCorrupt` where the journal is damaged, or is not the one that the row is about.
    """
    id, version = newest[0].id, newest[0].schema_version
    with believed(id):
        found: Execution = Execution.replay(id, parts, version, tenant=tenant, clock=clock)
    if found.head != newest[0].head:
        raise damaged(id, "its last record is not the one that was written")
    return found


def endings(store: Store, row: ExecutionRow) -> list[str]:
    """The ids of the steps of an execution that came to an outcome, in the order in which they did; blocks."""
    found: list[str] = []
    last = -1
    while last < row.version and (page := store.load(row.id, last).wait()):
        last = page[-1][0]
        for _, _, kind, body in page:
            if kind in _OUTCOMES:
                with believed(row.id):
                    found.append(encoding.decode(body, 1_000).get("step_id", ""))
    return found


def _pages(store: Store, newest: list[ExecutionRow]) -> Iterator[bytes]:
    """The pages of a journal. While one is replayed the store reads the next, and no more than these are in memory."""
    (row,) = newest
    id, last = row.id, -1
    asked = store.bodies(id, last)
    while last < row.version:
        before = last
        last, page = asked.wait()
        if last == before:
            raise errors.StoreCorrupt("records are missing")
        if last > row.version:  # somebody writes
            newest[0] = row = store.get(id).wait()
        if last < row.version:
            asked = store.bodies(id, last)
        yield page
