"""A step: one recorded act of an execution."""

from array import array
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self

from .. import encoding
from .._spec import STEP_TERMINAL, StepState, StepType
from ..clock import from_ns
from ..failures import ExecutionError
from ..fields import MICRO
from ..model import Attempt, StepSource
from ..steps import restored_step
from .columns import ABSENT, STATES

if TYPE_CHECKING:
    from .execution import Execution


class Step:
    """One recorded act of an execution: a live view, changed only through the methods of its execution.

    Two views are equal when they are of the same step of the same execution object.
    """

    # The id is made when it is asked for: of steps that were made together it is no text yet.
    __slots__ = ("_execution", "_index", "_text")

    _execution: "Execution"
    _index: int
    _text: str | None

    def __new__(cls) -> Self:
        raise TypeError("cannot create 'stepwell.Step' instances")

    def _of(self, execution: object) -> bool:
        return self._execution is execution

    def _more(self, field: str) -> Any:
        return self._execution._columns.more[field].get(self._index)

    @property
    def _output(self) -> bytes | None:
        return self._execution._columns.outputs[self._index]

    def _time(self, column: "array[int]") -> int | None:
        at = column[self._index]
        return None if at == ABSENT else at

    @property
    def _started(self) -> int | None:
        return self._time(self._execution._columns.started)

    @property
    def _ended(self) -> int | None:
        return self._time(self._execution._columns.ended)

    @property
    def id(self) -> str:
        """The step's id, a TypeID `step_…`."""
        text = self._text
        if text is None:
            text = self._text = self._execution._columns.lookup.text(self._index)
        return text

    @property
    def parent_step_id(self) -> str | None:
        """The step that this one belongs to."""
        found: str | None = self._more("parent_step_id")
        return found

    @property
    def step_type(self) -> StepType:
        """What kind of act it is."""
        return StepType(self._more("type") or "function")

    @property
    def name(self) -> str:
        """The step's name."""
        return self._execution._columns.names[self._index]

    @property
    def key(self) -> str | None:
        """The user's own key for the step."""
        key: str | None = self._more("key")
        return key

    @property
    def state(self) -> StepState:
        """Where in its lifecycle the step is."""
        return STATES[self._execution._columns.states[self._index]]

    @property
    def attempt(self) -> int:
        """How many times it was started; the current or last attempt's number."""
        return self._execution._columns.attempt[self._index]

    @property
    def attempts(self) -> list[Attempt]:
        """Every attempt with its times and its error, the first first."""
        past = self._more("attempts") or ()
        found = [
            Attempt(number, from_ns(start), from_ns(end), ExecutionError.from_json(error))
            for number, (start, end, error) in enumerate(past, 1)
        ]
        tried = self._execution._columns.tried(self._index)
        if self.attempt > len(past) and tried != ABSENT:
            found.append(Attempt(self.attempt, from_ns(tried), self.ended_at, self.error))
        return found

    @property
    def retry_at(self) -> datetime | None:
        """When the next attempt is due, while the step waits for one."""
        at = self._more("retry_at")
        return None if at is None else from_ns(at)

    @property
    def input(self) -> Any:
        """What the step was given, decoded afresh on each read."""
        given = self._more("input")
        return None if given is None else encoding.decode(given)

    @property
    def output(self) -> Any:
        """What the step completed with, decoded afresh on each read."""
        output = self._output
        return None if output is None else encoding.decode(output)

    @property
    def error(self) -> ExecutionError | None:
        """Why the step failed; the errors of attempts that were retried are in `attempts`."""
        error = self._more("error")
        return None if error is None else ExecutionError.from_json(error)

    @property
    def reason(self) -> str | None:
        """Why the step was skipped or cancelled."""
        reason: str | None = self._more("reason")
        return reason

    @property
    def scheduled_at(self) -> datetime:
        """When the step was made, in UTC."""
        return from_ns(self._execution._columns.scheduled[self._index])

    @property
    def started_at(self) -> datetime | None:
        """When its first attempt started, in UTC."""
        at = self._started
        return None if at is None else from_ns(at)

    @property
    def ended_at(self) -> datetime | None:
        """When the step reached its last state, in UTC."""
        at = self._ended
        return None if at is None else from_ns(at)

    @property
    def duration_ms(self) -> float | None:
        """Milliseconds from the first start to the end, or so far; `None` before the start."""
        start, end = self._started, self._ended
        if start is None:
            return None
        return ((self._execution._now() if end is None else end) - start) / 1e6

    @property
    def queued_ms(self) -> float:
        """Milliseconds from when the step was made to its first start, its end without one, or so far."""
        end = self._started
        if end is None:
            end = self._ended
        scheduled = self._execution._columns.scheduled[self._index]
        return ((self._execution._now() if end is None else end) - scheduled) / 1e6

    @property
    def source(self) -> StepSource | None:
        """Why the step exists."""
        source = self._more("source")
        return None if source is None else StepSource.from_dict(encoding.decode(source))

    @property
    def callable_id(self) -> str | None:
        """The code that the step runs, by name."""
        found: str | None = self._more("callable_id")
        return found

    @property
    def place(self) -> str | None:
        """Where in its blueprint the step was called."""
        place: str | None = self._more("place")
        return place

    @property
    def usage(self) -> dict[str, float]:
        """What the step used, by counter: `tokens`, `cost` and own ones."""
        usage = self._more("usage") or {}
        return {counter: usage[counter] / MICRO for counter in sorted(usage)}

    @property
    def is_terminal(self) -> bool:
        """Whether no action leads out of the step's state."""
        return self.state in STEP_TERMINAL

    def __init_subclass__(cls) -> None:
        raise TypeError("type 'stepwell.Step' is not an acceptable base type")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Step):
            return NotImplemented
        return self._execution is other._execution and self._index == other._index

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"<Step {self.id} {self.name!r} {self.state}>"

    def __reduce__(self) -> tuple[object, ...]:
        return restored_step, (self._execution, self._index)


Step.__module__ = "stepwell"


def view(execution: "Execution", index: int, text: str | None = None) -> Step:
    """The step at this position, which is there; `text` is its id where that is at hand."""
    step = object.__new__(Step)
    step._execution = execution
    step._index = index
    step._text = text
    return step
