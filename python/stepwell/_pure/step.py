"""A step: one recorded act of an execution."""

from datetime import datetime
from typing import TYPE_CHECKING, Any, Self

from .. import encoding
from .._spec import STEP_TERMINAL, StepState, StepType
from ..clock import from_ns
from ..failures import ExecutionError
from ..fields import MICRO
from ..journal import Fields
from ..model import Attempt, StepSource
from ..steps import restored_step

if TYPE_CHECKING:
    from .execution import Execution


class Step:
    """One recorded act of an execution: a live view, changed only through the methods of its execution.

    Two views are equal when they are of the same step of the same execution object.
    """

    # What it was made with is the action's own fields; what most steps never have is in `_more`, which is replaced,
    # never changed.
    __slots__ = (
        "_attempt",
        "_ended",
        "_execution",
        "_id",
        "_index",
        "_made",
        "_more",
        "_output",
        "_scheduled",
        "_started",
        "_state",
    )

    _execution: "Execution"
    _index: int
    _id: str
    _made: Fields
    _state: str
    _attempt: int
    _scheduled: int
    _started: int | None
    _ended: int | None
    _output: bytes | None
    _more: Fields | None

    def __new__(cls) -> Self:
        raise TypeError("cannot create 'stepwell.Step' instances")

    @property
    def _type(self) -> str:
        kind: str = self._made.get("type", "function")
        return kind

    @property
    def _tried(self) -> int | None:
        """When the current or last attempt started."""
        return self._rest("tried") or self._started

    def _of(self, execution: object) -> bool:
        return self._execution is execution

    def _rest(self, name: str) -> Any:
        return None if self._more is None else self._more.get(name)

    @property
    def id(self) -> str:
        """The step's id, a TypeID `step_…`."""
        return self._id

    @property
    def parent_step_id(self) -> str | None:
        """The step that this one belongs to."""
        return self._made.get("parent_step_id")

    @property
    def step_type(self) -> StepType:
        """What kind of act it is."""
        return StepType(self._type)

    @property
    def name(self) -> str:
        """The step's name."""
        name: str = self._made["name"]
        return name

    @property
    def key(self) -> str | None:
        """The user's own key for the step."""
        return self._made.get("key")

    @property
    def state(self) -> StepState:
        """Where in its lifecycle the step is."""
        return StepState(self._state)

    @property
    def attempt(self) -> int:
        """How many times it was started; the current or last attempt's number."""
        return self._attempt

    @property
    def attempts(self) -> list[Attempt]:
        """Every attempt with its times and its error, the first first."""
        past = self._rest("attempts") or ()
        found = [
            Attempt(number, from_ns(start), from_ns(end), ExecutionError.from_json(error))
            for number, (start, end, error) in enumerate(past, 1)
        ]
        if self._attempt > len(past) and self._tried is not None:
            ended = None if self._ended is None else from_ns(self._ended)
            found.append(Attempt(self._attempt, from_ns(self._tried), ended, self.error))
        return found

    @property
    def retry_at(self) -> datetime | None:
        """When the next attempt is due, while the step waits for one."""
        at = self._rest("retry_at")
        return None if at is None else from_ns(at)

    @property
    def input(self) -> Any:
        """What the step was given, decoded afresh on each read."""
        given = self._made.get("input")
        return None if given is None else encoding.decode(given)

    @property
    def output(self) -> Any:
        """What the step completed with, decoded afresh on each read."""
        return None if self._output is None else encoding.decode(self._output)

    @property
    def error(self) -> ExecutionError | None:
        """Why the step failed; the errors of attempts that were retried are in `attempts`."""
        error = self._rest("error")
        return None if error is None else ExecutionError.from_json(error)

    @property
    def reason(self) -> str | None:
        """Why the step was skipped or cancelled."""
        reason: str | None = self._rest("reason")
        return reason

    @property
    def scheduled_at(self) -> datetime:
        """When the step was made, in UTC."""
        return from_ns(self._scheduled)

    @property
    def started_at(self) -> datetime | None:
        """When its first attempt started, in UTC."""
        return None if self._started is None else from_ns(self._started)

    @property
    def ended_at(self) -> datetime | None:
        """When the step reached its last state, in UTC."""
        return None if self._ended is None else from_ns(self._ended)

    @property
    def duration_ms(self) -> float | None:
        """Milliseconds from the first start to the end, or so far; `None` before the start."""
        if self._started is None:
            return None
        end = self._execution._now() if self._ended is None else self._ended
        return (end - self._started) / 1e6

    @property
    def queued_ms(self) -> float:
        """Milliseconds from when the step was made to its first start, its end without one, or so far."""
        end = self._started if self._started is not None else self._ended
        return ((self._execution._now() if end is None else end) - self._scheduled) / 1e6

    @property
    def source(self) -> StepSource | None:
        """Why the step exists."""
        source = self._made.get("source")
        return None if source is None else StepSource.from_dict(encoding.decode(source))

    @property
    def callable_id(self) -> str | None:
        """The code that the step runs, by name."""
        return self._made.get("callable_id")

    @property
    def place(self) -> str | None:
        """Where in its blueprint the step was called."""
        return self._made.get("place")

    @property
    def usage(self) -> dict[str, float]:
        """What the step used, by counter: `tokens`, `cost` and own ones."""
        usage = self._rest("usage") or {}
        return {counter: usage[counter] / MICRO for counter in sorted(usage)}

    @property
    def is_terminal(self) -> bool:
        """Whether no action leads out of the step's state."""
        return self._state in STEP_TERMINAL

    def __init_subclass__(cls) -> None:
        raise TypeError("type 'stepwell.Step' is not an acceptable base type")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Step):
            return NotImplemented
        return self._execution is other._execution and self._index == other._index

    def __hash__(self) -> int:
        return hash(self._id)

    def __repr__(self) -> str:
        return f"<Step {self._id} {self.name!r} {self._state}>"

    def __reduce__(self) -> tuple[object, ...]:
        return restored_step, (self._execution, self._index)


Step.__module__ = "stepwell"


def made(execution: "Execution", index: int, fields: Fields, state: str, at: int) -> Step:
    """A step in its first state, with what it was made with."""
    step = object.__new__(Step)
    step._execution = execution
    step._index = index
    step._id = fields["step_id"]
    step._made = fields
    step._state = state
    step._attempt = 0
    step._scheduled = at
    step._started = step._ended = step._output = step._more = None
    return step
