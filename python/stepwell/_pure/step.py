"""A step: one recorded act of an execution."""

from datetime import datetime
from typing import TYPE_CHECKING, Any

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

    __slots__ = (
        "_attempt",
        "_callable_id",
        "_ended",
        "_error",
        "_execution",
        "_id",
        "_index",
        "_input",
        "_key",
        "_name",
        "_output",
        "_parent",
        "_past",
        "_place",
        "_reason",
        "_retry_at",
        "_scheduled",
        "_source",
        "_started",
        "_state",
        "_tried",
        "_type",
        "_usage",
    )

    _execution: "Execution"
    _index: int

    def __init__(self, execution: "Execution", index: int, fields: Fields, state: str, at: int) -> None:
        self._execution = execution
        self._index = index
        self._id: str = fields["step_id"]
        self._name: str = fields["name"]
        self._type: str = fields.get("type", "function")
        self._key: str | None = fields.get("key")
        self._parent: str | None = fields.get("parent_step_id")
        self._input: bytes | None = fields.get("input")
        self._source: bytes | None = fields.get("source")
        self._callable_id: str | None = fields.get("callable_id")
        self._place: str | None = fields.get("place")
        self._state = state
        self._scheduled = at
        self._attempt = 0
        self._started: int | None = None
        self._tried: int | None = None
        self._ended: int | None = None
        self._retry_at: int | None = None
        self._output: bytes | None = None
        self._error: bytes | None = None
        self._reason: str | None = None
        self._usage: dict[str, int] | None = None
        self._past: tuple[tuple[int, int, bytes], ...] = ()

    @property
    def id(self) -> str:
        """The step's id, a TypeID `step_…`."""
        return self._id

    @property
    def parent_step_id(self) -> str | None:
        """The step that this one belongs to."""
        return self._parent

    @property
    def step_type(self) -> StepType:
        """What kind of act it is."""
        return StepType(self._type)

    @property
    def name(self) -> str:
        """The step's name."""
        return self._name

    @property
    def key(self) -> str | None:
        """The user's own key for the step."""
        return self._key

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
        found = [
            Attempt(number, from_ns(start), from_ns(end), ExecutionError.from_json(error))
            for number, (start, end, error) in enumerate(self._past, 1)
        ]
        if self._attempt > len(self._past) and self._tried is not None:
            ended = None if self._ended is None else from_ns(self._ended)
            found.append(Attempt(self._attempt, from_ns(self._tried), ended, self.error))
        return found

    @property
    def retry_at(self) -> datetime | None:
        """When the next attempt is due, while the step waits for one."""
        return None if self._retry_at is None else from_ns(self._retry_at)

    @property
    def input(self) -> Any:
        """What the step was given, decoded afresh on each read."""
        return None if self._input is None else encoding.decode(self._input)

    @property
    def output(self) -> Any:
        """What the step completed with, decoded afresh on each read."""
        return None if self._output is None else encoding.decode(self._output)

    @property
    def error(self) -> ExecutionError | None:
        """Why the step failed; the errors of attempts that were retried are in `attempts`."""
        return None if self._error is None else ExecutionError.from_json(self._error)

    @property
    def reason(self) -> str | None:
        """Why the step was skipped or cancelled."""
        return self._reason

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
        return None if self._source is None else StepSource.from_dict(encoding.decode(self._source))

    @property
    def callable_id(self) -> str | None:
        """The code that the step runs, by name."""
        return self._callable_id

    @property
    def place(self) -> str | None:
        """Where in its blueprint the step was called."""
        return self._place

    @property
    def usage(self) -> dict[str, float]:
        """What the step used, by counter: `tokens`, `cost` and own ones."""
        return {counter: self._usage[counter] / MICRO for counter in sorted(self._usage)} if self._usage else {}

    @property
    def is_terminal(self) -> bool:
        """Whether no action leads out of the step's state."""
        return self._state in STEP_TERMINAL

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Step):
            return NotImplemented
        return self._execution is other._execution and self._index == other._index

    def __hash__(self) -> int:
        return hash(self._id)

    def __repr__(self) -> str:
        return f"<Step {self._id} {self._name!r} {self._state}>"

    def __reduce__(self) -> tuple[object, ...]:
        return restored_step, (self._execution, self._index)


Step.__module__ = "stepwell"
