"""What `apply_many` needs to take back actions that were applied before a refused one."""

from typing import TYPE_CHECKING, Any

from .step import Step

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
    "_open",
)
_STEP_FIELDS = tuple(name for name in Step.__slots__ if name not in ("_execution", "_index"))


class Undo:
    """The state of an execution before a series of actions: its scalars, and each step before it was first changed."""

    __slots__ = ("_count", "_execution", "_pending", "_scalars", "_steps", "_usage", "_warned")

    def __init__(self, execution: "Execution") -> None:
        self._execution = execution
        self._scalars = [getattr(execution, name) for name in _SCALARS]
        self._usage = dict(execution._usage)
        self._warned = set(execution._warned)
        self._count = len(execution._order)
        self._pending = len(execution._pending)
        self._steps: dict[int, list[Any]] = {}

    def touch(self, step: Step) -> None:
        """To be called before a step changes."""
        if step._index < self._count and step._index not in self._steps:
            self._steps[step._index] = [getattr(step, name) for name in _STEP_FIELDS]

    def restore(self) -> None:
        """Puts everything back."""
        execution = self._execution
        for name, value in zip(_SCALARS, self._scalars, strict=True):
            setattr(execution, name, value)
        for step in execution._order[self._count :]:
            del execution._steps[step._id]
        del execution._order[self._count :]
        for index, values in self._steps.items():
            for name, value in zip(_STEP_FIELDS, values, strict=True):
                setattr(execution._order[index], name, value)
        del execution._pending[self._pending :]
        execution._usage = self._usage
        execution._warned = self._warned
        execution._warnings.clear()
