"""What an execution shows of itself."""

from datetime import datetime
from typing import TYPE_CHECKING, Any

from .. import encoding, model
from .._spec import EXECUTION_ACTIONS, EXECUTION_TERMINAL, INITIAL, ExecutionState, WaitReason
from ..clock import from_ns
from ..failures import ExecutionError
from ..fields import MICRO
from ..steps import Steps
from .step import Step

if TYPE_CHECKING:
    from _thread import LockType


class View:
    """The attributes of `Execution`."""

    __slots__ = ()

    if TYPE_CHECKING:
        _blueprint: str | None
        _created: int
        _ended: int | None
        _error: bytes | None
        _head: str | None
        _id: str
        _input: bytes | None
        _key: str | None
        _lock: LockType
        _order: list[Step]
        _output: bytes | None
        _parent: model.ParentLink | None
        _reason: str | None
        _schema_version: str | None
        _started: int | None
        _state: str
        _steps: dict[str, Step]
        _tenant: str | None
        _usage: dict[str, int]
        _version: int
        _wait: str | None

        def _now(self) -> int: ...

    @property
    def id(self) -> str:
        """The execution's id, a TypeID `exec_…`."""
        return self._id

    @property
    def tenant_id(self) -> str | None:
        """Who owns it; required by everything that stores."""
        return self._tenant

    @property
    def state(self) -> ExecutionState:
        """Where in its lifecycle the execution is."""
        return ExecutionState(self._state)

    @property
    def wait_reason(self) -> WaitReason | None:
        """Why it waits, while it does."""
        return WaitReason(self._wait) if self._wait is not None and self._state == "waiting" else None

    @property
    def reason(self) -> str | None:
        """Why it was paused or cancelled."""
        return self._reason

    @property
    def parent(self) -> model.ParentLink | None:
        """What started it."""
        return self._parent

    @property
    def steps(self) -> Steps:
        """The steps by id in the order in which they were made; read-only and live."""
        return Steps(self)  # type: ignore[arg-type]

    @property
    def step_order(self) -> list[str]:
        """The ids of the steps in the order in which they were made: a new list on each read."""
        with self._lock:
            return [step._id for step in self._order]

    @property
    def schema_version(self) -> str | None:
        """The version of the code and its values that the journal was written with."""
        return self._schema_version

    @property
    def blueprint(self) -> str | None:
        """The name of the blueprint."""
        return self._blueprint

    @property
    def key(self) -> str | None:
        """The user's own key."""
        return self._key

    @property
    def input(self) -> Any:
        """What it was given, decoded afresh on each read."""
        return None if self._input is None else encoding.decode(self._input)

    @property
    def output(self) -> Any:
        """What it completed with, decoded afresh on each read."""
        return None if self._output is None else encoding.decode(self._output)

    @property
    def error(self) -> ExecutionError | None:
        """Why it failed."""
        return None if self._error is None else ExecutionError.from_json(self._error)

    @property
    def usage(self) -> dict[str, float]:
        """What all its steps used, by counter."""
        with self._lock:
            return {counter: self._usage[counter] / MICRO for counter in sorted(self._usage)}

    @property
    def created_at(self) -> datetime:
        """When it was made, in UTC."""
        return from_ns(self._created)

    @property
    def started_at(self) -> datetime | None:
        """When it was first planned or started, in UTC."""
        return None if self._started is None else from_ns(self._started)

    @property
    def ended_at(self) -> datetime | None:
        """When it reached its last state, in UTC."""
        return None if self._ended is None else from_ns(self._ended)

    @property
    def duration_ms(self) -> float | None:
        """Milliseconds from the start to the end, or so far; `None` before the start."""
        if self._started is None:
            return None
        return ((self._now() if self._ended is None else self._ended) - self._started) / 1e6

    @property
    def is_terminal(self) -> bool:
        """Whether no action leads out of its state."""
        return self._state in EXECUTION_TERMINAL

    @property
    def is_active(self) -> bool:
        """Whether it has begun and not ended."""
        return self._state != INITIAL and self._state not in EXECUTION_TERMINAL

    @property
    def can_resume(self) -> bool:
        """Whether `resume` is allowed now."""
        return self._state in EXECUTION_ACTIONS["resume"]

    @property
    def version(self) -> int:
        """How many actions were applied."""
        return self._version

    @property
    def head(self) -> str | None:
        """The digest of the last record that was drained, in hex; `None` before the first."""
        return self._head

    def get_step(self, step_id: str) -> Step | None:
        """The step with this id, a live view; `None` if there is none."""
        return self._steps.get(step_id) if isinstance(step_id, str) else None

    def get_step_mut(self, step_id: str) -> Step | None:
        """The same live view as `get_step`: a step changes only through the methods of its execution."""
        return self.get_step(step_id)
