"""The steps of an execution as a mapping, and some of them as a sequence; both read without a loop, and as columns."""

from array import array
from collections.abc import ItemsView, Iterator, KeysView, Mapping, ValuesView
from typing import TYPE_CHECKING, Any, TypeVar, overload

from . import errors, journal, model
from ._spec import STEP_TERMINAL, StepState, StepType

if TYPE_CHECKING:
    from . import Execution, Step

    Indices = range | array[int]  # positions that count up by one, or an `array("I")` of any

_T = TypeVar("_T")
_STATES = tuple(StepState)
_TYPES = tuple(StepType)
_OPEN = tuple(state for state in StepState if state not in STEP_TERMINAL)
_MAX_STEPS = 2**32 - 1


class Table:
    """What `Steps` and `StepRange` have in common; in what it costs, n is how many steps they hold."""

    __slots__ = ("_execution",)

    _execution: "Execution"

    @property
    def _at(self) -> "Indices":
        raise TypeError  # every class of these has its own

    def states(self) -> list[StepState]:
        """The state of each step, in order. O(n); no object is made but the list."""
        return self._execution._states(self._at)

    def durations_ns(self) -> list[int | None]:
        """`Step.duration_ms` of each in nanoseconds, at one reading of the clock; `None` before the start. O(n)."""
        return self._execution._durations(self._at)

    def counts(self) -> dict[StepState, int]:
        """How many steps are in each state, every state named. O(1) for all steps of an execution, O(n) for some."""
        return self._execution._counts(self._at)

    def filter(
        self,
        *,
        state: StepState | str | None = None,
        name: str | None = None,
        type: StepType | str | None = None,
    ) -> "StepRange":
        """The steps in this state, of this name, of this type; what is not given does not matter. O(n).

        Raises `ValidationError` for what is no state, no type, or no text.
        """
        states = None if state is None else (model.choice("state", state, _STATES),)
        wanted = None if type is None else model.choice("type", type, _TYPES)
        if name is not None and not isinstance(name, str):
            errors.not_text("name", name)
        return StepRange(self._execution, self._execution._pick(self._at, states, name, wanted))

    def open(self) -> "StepRange":
        """The steps that are pending or running. O(n)."""
        return StepRange(self._execution, self._execution._pick(self._at, _OPEN, None, None))

    def slowest(self, n: int = 10) -> "StepRange":
        """The `n` steps with the longest durations so far, the longest first, of equal ones the first made first.

        Steps that have not started are not among them. O(n + m log m), of m steps that have started.
        """
        if not isinstance(n, int) or isinstance(n, bool):
            errors.not_int("n", n)
        if n < 0:
            raise errors.ValidationError("n must not be negative")
        return StepRange(self._execution, self._execution._slowest(self._at, min(n, _MAX_STEPS)))

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """The steps as a table, by the Arrow C stream interface: polars, pyarrow, duckdb and pandas read it. O(n).

        The columns are in `docs/columns.md`. The pure backend makes them with pyarrow and raises `ImportError` where
        that is not installed. `requested_schema` is left to the reader, as the interface allows.
        """
        return self._execution._arrow(self._at)

    def __len__(self) -> int:
        return len(self._at)

    def __repr__(self) -> str:
        return f"<{len(self)} steps of {self._execution.id}>"


class _Values(ValuesView["Step"]):
    # Without a look at the ids.
    __slots__ = ()
    _mapping: "Steps"

    def __iter__(self) -> Iterator["Step"]:
        return map(self._mapping._execution._step_at, self._mapping._at)


class _Items(ItemsView[str, "Step"]):
    __slots__ = ()
    _mapping: "Steps"

    def __iter__(self) -> Iterator[tuple[str, "Step"]]:
        ids = self._mapping._execution.step_order
        return zip(ids, map(self._mapping._execution._step_at, range(len(ids))), strict=True)


class Steps(Table):
    """The steps of an execution by id, in the order in which they were made; a mapping, read-only and live.

    `len` takes constant time, a look-up by id at most logarithmic time.
    """

    # Neither this nor `StepRange` is one of `collections.abc`: polars would take it apart, step by step, instead of
    # asking for its columns.
    __slots__ = ()

    def __init__(self, execution: "Execution") -> None:
        self._execution = execution

    @property
    def _at(self) -> range:
        return range(self._execution._step_count())

    def __getitem__(self, step_id: str) -> "Step":
        step = self._execution.get_step(step_id)
        if step is None:
            raise KeyError(step_id)
        return step

    @overload
    def get(self, step_id: str, default: None = None) -> "Step | None": ...
    @overload
    def get(self, step_id: str, default: _T) -> "Step | _T": ...
    def get(self, step_id: str, default: object = None) -> object:
        """The step with this id, else the default."""
        step = self._execution.get_step(step_id)
        return default if step is None else step

    def __contains__(self, step_id: object) -> bool:
        return isinstance(step_id, str) and self._execution.get_step(step_id) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(self._execution.step_order)

    def __reversed__(self) -> Iterator[str]:
        return reversed(self._execution.step_order)

    def keys(self) -> KeysView[str]:
        """The ids of the steps."""
        return KeysView(self)

    def values(self) -> "ValuesView[Step]":
        """The steps."""
        return _Values(self)

    def items(self) -> "ItemsView[str, Step]":
        """The steps with their ids."""
        return _Items(self)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Steps | Mapping):
            return NotImplemented
        return dict(self.items()) == dict(other.items())

    __hash__ = None  # type: ignore[assignment]


class StepRange(Table):
    """Steps of one execution by position: a sequence; what a bulk call returns and the next one takes.

    It holds positions, not steps: `Step` objects and ids are made when asked for. Made by hand, of positions in a
    range or an `array("I")`, it raises `IndexError` for one that is no step's.
    """

    __slots__ = ("_indices",)

    def __init__(self, execution: "Execution", indices: "Indices") -> None:
        if isinstance(indices, range) and indices.step != 1:
            indices = array("I", indices)
        ends = indices[:: len(indices) - 1 or 1] if isinstance(indices, range) else indices
        if ends and (min(ends) < 0 or max(ends) >= execution._step_count()):
            raise IndexError("step index out of range")
        self._execution = execution
        self._indices = indices

    @property
    def _at(self) -> "Indices":
        return self._indices

    @overload
    def __getitem__(self, index: int) -> "Step": ...
    @overload
    def __getitem__(self, index: slice) -> "StepRange": ...
    def __getitem__(self, index: int | slice) -> "Step | StepRange":
        if not isinstance(index, slice):
            return self._execution._step_at(self._indices[index])
        return StepRange(self._execution, self._indices[index])

    def __iter__(self) -> "Iterator[Step]":
        return map(self._execution._step_at, self._indices)

    def __reversed__(self) -> "Iterator[Step]":
        return iter(self[::-1])

    def __contains__(self, step: object) -> bool:
        return any(mine == step for mine in self)

    def index(self, step: "Step") -> int:
        """The position of this step; raises `ValueError` if it is not among them. O(n)."""
        for position, mine in enumerate(self):
            if mine == step:
                return position
        raise ValueError("the step is not among these")

    def count(self, step: "Step") -> int:
        """How often this step is among them. O(n)."""
        return sum(mine == step for mine in self)

    def ids(self) -> list[str]:
        """The ids of the steps, in order. O(n)."""
        return self._execution._ids(self._indices)

    @property
    def _runs(self) -> "list[journal.Run]":
        return self._execution._runs(self._indices)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, StepRange):
            return NotImplemented
        return self._execution is other._execution and list(self._indices) == list(other._indices)

    __hash__ = None  # type: ignore[assignment]

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
