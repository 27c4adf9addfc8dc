"""What an execution shows of itself."""

from datetime import datetime
from typing import TYPE_CHECKING, Any

from .. import encoding, model
from .._spec import EXECUTION_ACTIONS, EXECUTION_TERMINAL, INITIAL, ExecutionState, StepState, WaitReason
from ..clock import from_ns
from ..failures import ExecutionError
from ..fields import MICRO
from ..journal import Run
from ..steps import Steps
from .columns import STATES, Columns, chosen, durations, of
from .lookup import Indices, joined
from .step import Step, view

if TYPE_CHECKING:
    from _thread import LockType


class View:
    """The attributes of `Execution`."""

    __slots__ = ()

    if TYPE_CHECKING:
        _blueprint: str | None
        _columns: Columns
        _created: int
        _ended: int | None
        _error: bytes | None
        _head: str | None
        _id: str
        _input: bytes | None
        _key: str | None
        _lock: LockType
        _output: bytes | None
        _parent: model.ParentLink | None
        _reason: str | None
        _schema_version: str | None
        _started: int | None
        _state: str
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
            return self._columns.lookup.ids(range(len(self._columns)))

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
        if not isinstance(step_id, str):
            return None
        text = str.__str__(step_id)
        index = self._columns.lookup.find(text)
        return None if index is None else view(self, index, text)  # type: ignore[arg-type]

    def get_step_mut(self, step_id: str) -> Step | None:
        """The same live view as `get_step`: a step changes only through the methods of its execution."""
        return self.get_step(step_id)

    # --- what `steps` reads without a loop over the steps ---

    def _step_count(self) -> int:
        with self._lock:  # not those that `apply_many` may yet take back
            return len(self._columns)

    def _step_at(self, index: int) -> Step:
        if not 0 <= index < len(self._columns):
            raise IndexError("step index out of range")
        return view(self, index)  # type: ignore[arg-type]

    def _states(self, at: Indices) -> list[StepState]:
        with self._lock:
            codes = self._columns.states_at(at)
        return [*map(STATES.__getitem__, codes)]

    def _durations(self, at: Indices) -> list[int | None]:
        with self._lock:
            started, ended = of(self._columns.started, at), of(self._columns.ended, at)
        return durations(started, ended, self._now())

    def _counts(self, at: Indices) -> dict[StepState, int]:
        with self._lock:
            if at == range(len(self._columns)):
                counts = list(self._columns.counts)
            else:
                codes = self._columns.states_at(at)
                counts = [codes.count(code) for code in range(len(STATES))]
        return dict(zip(STATES, counts, strict=True))

    def _pick(
        self, at: Indices, states: tuple[str, ...] | None, name: str | None, type: str | None
    ) -> Indices:
        with self._lock:
            columns = self._columns
            if states is not None:
                at = columns.in_states(states, at)
            if name is not None:
                at = chosen(at, map(name.__eq__, of(columns.names, at)))
            if type is not None:
                types = columns.more["type"]
                at = chosen(at, [types.get(index, "function") == type for index in at])
        return at if isinstance(at, range) else joined([at])

    def _slowest(self, at: Indices, n: int) -> Indices:
        from heapq import nlargest

        taken = self._durations(at)
        began = [position for position, duration in enumerate(taken) if duration is not None]
        return joined([[at[position] for position in nlargest(n, began, key=taken.__getitem__)]])  # type: ignore[arg-type]

    def _ids(self, at: Indices) -> list[str]:
        with self._lock:
            return self._columns.lookup.ids(at)

    def _runs(self, at: Indices) -> list[Run]:
        with self._lock:
            return self._columns.lookup.runs(at)

    def _arrow(self, at: Indices) -> object:
        from .arrow import stream

        return stream(self, at)  # type: ignore[arg-type]
