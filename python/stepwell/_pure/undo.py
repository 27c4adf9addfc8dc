"""What `apply_many` needs to take back actions that were applied before a refused one."""

from typing import TYPE_CHECKING, Any

from .columns import HISTORY, of, put
from .lookup import Indices

if TYPE_CHECKING:
    from .execution import Execution

_SCALARS = (
    "_state",
    "_wait",
    "_paused_from",
    "_reason",
    "_last",
    "_started",
    "_ended",
    "_output",
    "_error",
    "_version",
)
_CHANGING = ("states", "attempt", "started", "ended", "outputs")


class Undo:
    """The state of an execution before a series of actions: its scalars, and what its steps were before each change."""

    __slots__ = ("_count", "_counts", "_execution", "_pending", "_scalars", "_touched", "_usage", "_warned")

    def __init__(self, execution: "Execution") -> None:
        self._execution = execution
        self._scalars = [getattr(execution, name) for name in _SCALARS]
        self._usage = dict(execution._usage)
        self._warned = set(execution._warned)
        self._count = len(execution._columns)
        self._counts = list(execution._columns.counts)
        self._pending = len(execution._pending)
        self._touched: list[tuple[Indices, list[Any], list[dict[int, Any]]]] = []

    def touch(self, at: Indices) -> None:
        """To be called before the steps at these positions change."""
        columns = self._execution._columns
        entries = [of(getattr(columns, name), at) for name in _CHANGING]
        more = [columns.more[field] for field in HISTORY]
        rare = [
            {index: column[index] for index in at if index in column} if column else {} for column in more
        ]
        self._touched.append((at, entries, rare))

    def restore(self) -> None:
        """Puts everything back."""
        execution = self._execution
        columns = execution._columns
        for at, entries, rare in reversed(self._touched):
            for name, values in zip(_CHANGING, entries, strict=True):
                put(getattr(columns, name), at, values)
            for field, values in zip(HISTORY, rare, strict=True):
                columns.clear(field, at)
                columns.more[field].update(values)
        columns.truncate(self._count)
        columns.counts = self._counts
        for name, value in zip(_SCALARS, self._scalars, strict=True):
            setattr(execution, name, value)
        del execution._pending[self._pending :]
        execution._usage = self._usage
        execution._warned = self._warned
        execution._warnings.clear()
