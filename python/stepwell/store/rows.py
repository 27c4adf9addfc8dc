"""What a file answers, before it is believed: a damaged one may hold anything in any place."""

import operator
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any, Final

from .. import errors
from ..trouble import store_failure
from .protocol import Arrivals, Deliveries, Delivery, Ended, ExecutionRow, Records, Rows

_TEXT, _NUMBER = {str}, {int}
_TEXT_OR_NONE, _NUMBER_OR_NONE = {str, type(None)}, {int, type(None)}
_ROW: Final = (
    _TEXT, _TEXT_OR_NONE, _TEXT_OR_NONE, _TEXT_OR_NONE, _TEXT_OR_NONE, _TEXT_OR_NONE, _TEXT, _TEXT_OR_NONE,
    _NUMBER, _TEXT, _NUMBER, _TEXT_OR_NONE, _NUMBER, _NUMBER, _NUMBER_OR_NONE, _NUMBER_OR_NONE, _NUMBER,
)  # fmt: skip
_DELIVERY: Final = (_NUMBER, _TEXT, _NUMBER, _TEXT, _TEXT, {bytes})


def execution_rows(path: str, found: Iterable[tuple[Any, ...]]) -> Rows:
    """Rows of executions. Raises `StoreCorrupt` where a value is of another type than it has to be."""
    rows = [ExecutionRow(*values) for values in found]
    _check(path, rows, _ROW)
    return rows


def page(path: str, after: str, found: Iterable[tuple[Any, ...]]) -> Rows:
    """The same for a page of them, newest first. Raises it also where they do not go on from the page before."""
    rows = execution_rows(path, found)
    _check_order(path, operator.gt, after, [row.id for row in rows])
    return rows


def deliveries(path: str, after: int, found: Iterable[tuple[Any, ...]]) -> Deliveries:
    """The same for a page of deliveries."""
    rows = [Delivery(*values) for values in found]
    _check(path, rows, _DELIVERY)
    _check_order(path, operator.lt, after, [row.place for row in rows])
    return rows


def arrivals(path: str, after: int, found: Arrivals) -> Arrivals:
    """The same for the places of deliveries, and whose they are."""
    _check(path, found, (_NUMBER, _TEXT))
    _check_order(path, operator.lt, after, [place for place, _ in found])
    return found


def ended(path: str, after: str, found: Ended) -> Ended:
    """The same for what has ended."""
    _check(path, found, (_TEXT, _NUMBER, _NUMBER))
    _check_order(path, operator.lt, after, [id for id, _, _ in found])
    return found


def records(path: str, found: Records) -> Records:
    """The same for records, whose columns are compared with their bodies when they are replayed."""
    for record in found:
        if type(record[3]) is not bytes or type(record[0]) is not int:
            raise _broken(
                path, "a payload is missing" if record[3] is None else "a record is not of its types"
            )
    return found


def digests(path: str, found: list[tuple[int, Any]]) -> list[tuple[int, str | None]]:
    """The same for digests, as text."""
    if not all(digest is None or type(digest) is bytes for _, digest in found):
        raise _broken(path, "a digest is not of its type")
    return [(seq, None if digest is None else digest.hex()) for seq, digest in found]


def counts(path: str, found: Iterable[tuple[Any, ...]]) -> dict[str, int]:
    """How many there are of each, as a store counts them."""
    each = list(found)
    _check(path, each, ({str}, {int}))
    return dict(each)


def _check(path: str, rows: Iterable[tuple[Any, ...]], wanted: tuple[set[Any], ...]) -> None:
    for row in rows:
        for value, kinds in zip(row, wanted, strict=True):
            if type(value) not in kinds:
                raise _broken(path, "a row has values of other types than it has to have")


def _check_order(path: str, goes_on: Callable[[Any, Any], bool], after: Any, places: Sequence[Any]) -> None:
    # SQLite believes a tree whose keys are out of order: its pages would lead whoever asks for the next in a circle.
    if not all(map(goes_on, chain((after,), places), places)):
        raise _broken(path, "rows are not in their order")


def _broken(path: str, why: str) -> errors.StepwellError:
    return store_failure("broken", path, why)
