"""The steps of an execution as a mapping, and some of them as a sequence."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, overload

from . import journal

if TYPE_CHECKING:
    from . import Execution, Step


class Steps(Mapping[str, "Step"]):
    """The steps of an execution by id, in the order in which they were made; read-only and live.

    `len` and a look-up by id take constant time.
    """

    __slots__ = ("_execution",)

    def __init__(self, execution: "Execution") -> None:
        self._execution = execution

    def __getitem__(self, step_id: str) -> "Step":
        step = self._execution.get_step(step_id)
        if step is None:
            raise KeyError(step_id)
        return step

    def __contains__(self, step_id: object) -> bool:
        return isinstance(step_id, str) and self._execution.get_step(step_id) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(self._execution.step_order)

    def __len__(self) -> int:
        return self._execution._step_count()

    def __repr__(self) -> str:
        return f"<{len(self)} steps of {self._execution.id}>"


class StepRange(Sequence["Step"]):
    """Steps of one execution by position; what a bulk call returns and the next one takes.

    It holds positions, not steps: `Step` objects and ids are made when asked for.
    """

    __slots__ = ("_execution", "_indices")

    def __init__(self, execution: "Execution", indices: Sequence[int]) -> None:
        self._execution = execution
        self._indices = indices

    @overload
    def __getitem__(self, index: int) -> "Step": ...
    @overload
    def __getitem__(self, index: slice) -> "StepRange": ...
    def __getitem__(self, index: int | slice) -> "Step | StepRange":
        if isinstance(index, slice):
            return StepRange(self._execution, self._indices[index])
        return self._execution._step_at(self._indices[index])

    def __len__(self) -> int:
        return len(self._indices)

    def ids(self) -> list[str]:
        """The ids of the steps, in order."""
        return journal.ids_of(self._runs)

    @property
    def _runs(self) -> "list[journal.Run]":
        indices = self._indices
        if isinstance(indices, range) and indices.step == 1:
            return self._execution._runs(indices.start, len(indices))
        return [run for index in indices for run in self._execution._runs(index, 1)]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, StepRange):
            return NotImplemented
        return self._execution is other._execution and tuple(self._indices) == tuple(other._indices)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{len(self)} steps of {self._execution.id}>"

    def __reduce__(self) -> Any:
        return StepRange, (self._execution, self._indices)


def restored_execution(data: bytes) -> "Execution":
    """What unpickles an execution, on whichever backend runs."""
    from . import _backend

    execution: Execution = _backend.chosen().Execution.from_json(data)
    return execution


def restored_step(execution: "Execution", index: int) -> "Step":
    """What unpickles a step, with its execution."""
    return execution._step_at(index)


Steps.__module__ = StepRange.__module__ = "stepwell"
