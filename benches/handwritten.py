"""What one would write without stepwell: the competitor of the benchmarks.

An execution and its steps as `dataclass(slots=True)`, with the lifecycle checked before anything changes: the execution
allows the action, the step exists or is new, its state allows it, its name is a name. Each action reads the clock once
and is logged in order, as a tuple, the cheapest record that keeps the fields. Ids are a random prefix and a counter. It
takes no lock and keeps payloads as the objects they are: where stepwell does more, this does less, not the other way.
"""

import hashlib
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import orjson


class State(StrEnum):
    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class StepState(StrEnum):
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"


CREATED, RUNNING, PAUSED, COMPLETED = State.CREATED, State.RUNNING, State.PAUSED, State.COMPLETED
STEP_RUNNING, STEP_COMPLETED, STEP_FAILED = StepState.RUNNING, StepState.COMPLETED, StepState.FAILED

NO_DIGEST = "0" * 32


class Refused(Exception):
    """The action is not allowed; nothing has changed."""


@dataclass(slots=True)
class Step:
    id: str
    name: str
    state: StepState
    type: str
    key: str | None
    parent_step_id: str | None
    attempt: int
    scheduled_at: int
    started_at: int
    ended_at: int | None
    input: Any
    output: Any
    error: Any


@dataclass(slots=True)
class Execution:
    tenant: str
    id: str = field(default_factory=lambda: f"exec_{secrets.token_hex(16)}")
    state: State = CREATED
    created_at: int = field(default_factory=time.time_ns)
    started_at: int | None = None
    ended_at: int | None = None
    reason: str | None = None
    output: Any = None
    open: int = 0
    version: int = 0
    head: str = NO_DIGEST
    steps: dict[str, Step] = field(default_factory=dict)
    log: list[tuple[Any, ...]] = field(default_factory=list)
    _prefix: str = field(default_factory=lambda: f"step_{secrets.token_hex(8)}_")
    _made: int = 0

    # --- the execution ---

    def start(self) -> None:
        if self.state is not CREATED:
            raise Refused(f"start while {self.state}")
        at = time.time_ns()
        self.state = RUNNING
        self.started_at = at
        self.log.append((at, "start"))

    def pause(self, reason: str | None = None) -> None:
        if self.state is not RUNNING:
            raise Refused(f"pause while {self.state}")
        at = time.time_ns()
        self.state = PAUSED
        self.reason = reason
        self.log.append((at, "pause", reason))

    def resume(self) -> None:
        if self.state is not PAUSED:
            raise Refused(f"resume while {self.state}")
        at = time.time_ns()
        self.state = RUNNING
        self.reason = None
        self.log.append((at, "resume"))

    def complete(self, output: Any = None) -> None:
        if self.state is not RUNNING:
            raise Refused(f"complete while {self.state}")
        if self.open:
            raise Refused(f"complete while {self.open} steps are open")
        at = time.time_ns()
        self.state = COMPLETED
        self.ended_at = at
        self.output = output
        self.log.append((at, "complete", output))

    # --- its steps ---

    def start_step(
        self,
        name: str,
        *,
        step_id: str | None = None,
        type: str = "function",
        key: str | None = None,
        parent_step_id: str | None = None,
        input: Any = None,
    ) -> Step:
        if self.state is not RUNNING:
            raise Refused(f"start_step while {self.state}")
        if not 0 < len(name) <= 255 or not name.isprintable():
            raise Refused("a name is 1 to 255 characters")
        steps = self.steps
        if step_id is None:
            self._made += 1
            step_id = f"{self._prefix}{self._made}"
        if step_id in steps:
            raise Refused(f"step {step_id} is there already")
        if parent_step_id is not None and parent_step_id not in steps:
            raise Refused(f"no step {parent_step_id}")
        at = time.time_ns()
        step = Step(
            step_id, name, STEP_RUNNING, type, key, parent_step_id, 1, at, at, None, input, None, None
        )
        steps[step_id] = step
        self.open += 1
        self.log.append((at, "step_started", step_id, name, type, key, parent_step_id, input))
        return step

    def complete_step(self, step_id: str, output: Any = None) -> Step:
        state = self.state
        if state is not RUNNING and state is not PAUSED:
            raise Refused(f"complete_step while {state}")
        step = self.steps.get(step_id)
        if step is None:
            raise Refused(f"no step {step_id}")
        if step.state is not STEP_RUNNING:
            raise Refused(f"complete_step of a step that is {step.state}")
        at = time.time_ns()
        step.state = STEP_COMPLETED
        step.ended_at = at
        step.output = output
        self.open -= 1
        self.log.append((at, "step_completed", step_id, output))
        return step

    def fail_step(self, step_id: str, error: Any) -> Step:
        state = self.state
        if state is not RUNNING and state is not PAUSED:
            raise Refused(f"fail_step while {state}")
        step = self.steps.get(step_id)
        if step is None:
            raise Refused(f"no step {step_id}")
        if step.state is not STEP_RUNNING:
            raise Refused(f"fail_step of a step that is {step.state}")
        at = time.time_ns()
        step.state = STEP_FAILED
        step.ended_at = at
        step.error = error
        self.open -= 1
        self.log.append((at, "step_failed", step_id, error))
        return step

    # --- the journal ---

    def drain(self) -> list[tuple[int, int, str, bytes]]:
        """The log as chained JSON records, which are the store's from then on."""
        log, self.log = self.log, []
        records = []
        seq, prev = self.version, self.head
        for entry in log:
            at, kind = entry[0], entry[1]
            seq += 1
            action = {"seq": seq, "prev": prev, "at": at, "kind": kind}
            for name, value in zip(FIELDS[kind], entry[2:], strict=True):
                if value is not None:
                    action[name] = value  # noqa: PERF403 - a comprehension costs more here
            body = orjson.dumps(action)
            records.append((seq, at, kind, body))
            prev = hashlib.sha256(body).hexdigest()[:32]
        self.version, self.head = seq, prev
        return records

    @classmethod
    def rebuild(cls, tenant: str, bodies: Iterable[bytes], *, chained: bool = True) -> "Execution":
        """The execution that wrote these bodies; `chained` checks the digests, as stepwell always does."""
        execution = cls(tenant)
        steps = execution.steps
        expected, prev = 0, NO_DIGEST
        for body in bodies:
            action = orjson.loads(body)
            if action["seq"] != expected:
                raise Refused(f"record {action['seq']} where {expected} was expected")
            expected += 1
            if chained:
                if action["prev"] != prev:
                    raise Refused("the chain of records is broken")
                prev = hashlib.sha256(body).hexdigest()[:32]
            at, kind = action["at"], action["kind"]
            if kind == "step_started":
                execution._restart(at, action)
            elif kind == "step_completed":
                step = steps.get(action["step_id"])
                if step is None or step.state is not STEP_RUNNING or execution.state is not RUNNING:
                    raise Refused("step_completed is not allowed here")
                step.state = STEP_COMPLETED
                step.ended_at = at
                step.output = action.get("output")
                execution.open -= 1
            elif kind == "start":
                execution.state, execution.started_at = RUNNING, at
            elif kind == "created":
                execution.id, execution.created_at = action["id"], at
            elif kind == "complete":
                if execution.state is not RUNNING or execution.open:
                    raise Refused("complete is not allowed here")
                execution.state, execution.ended_at = COMPLETED, at
                execution.output = action.get("output")
            else:
                raise Refused(f"unknown kind {kind}")
        execution.version, execution.head = expected - 1, prev
        return execution

    def _restart(self, at: int, action: dict[str, Any]) -> None:
        step_id, get = action["step_id"], action.get
        if self.state is not RUNNING or step_id in self.steps:
            raise Refused("step_started is not allowed here")
        self.steps[step_id] = Step(
            step_id,
            action["name"],
            STEP_RUNNING,
            get("type", "function"),
            get("key"),
            get("parent_step_id"),
            1,
            at,
            at,
            None,
            get("input"),
            None,
            None,
        )
        self.open += 1

    # --- the whole execution ---

    def to_json(self) -> bytes:
        """Everything; orjson writes the dataclasses of the steps itself."""
        return orjson.dumps(
            {
                "id": self.id,
                "tenant": self.tenant,
                "state": self.state,
                "created_at": self.created_at,
                "started_at": self.started_at,
                "ended_at": self.ended_at,
                "output": self.output,
                "version": self.version,
                "head": self.head,
                "steps": list(self.steps.values()),
                "log": self.log,
            }
        )

    @classmethod
    def from_json(cls, data: bytes) -> "Execution":
        """What `to_json` wrote."""
        found = orjson.loads(data)
        steps: dict[str, Step] = {}
        execution = cls(
            found["tenant"],
            found["id"],
            State(found["state"]),
            found["created_at"],
            found["started_at"],
            found["ended_at"],
            None,
            found["output"],
            0,
            found["version"],
            found["head"],
            steps,
            [tuple(entry) for entry in found["log"]],
        )
        states = {str(state): state for state in StepState}
        for fields in found["steps"]:
            step = Step(**fields)
            step.state = states[step.state]
            if steps.setdefault(step.id, step) is not step:
                raise Refused(f"step {step.id} is there twice")
            execution.open += step.state is STEP_RUNNING
        return execution


FIELDS = {
    "start": (),
    "pause": ("reason",),
    "resume": (),
    "complete": ("output",),
    "step_started": ("step_id", "name", "type", "key", "parent_step_id", "input"),
    "step_completed": ("step_id", "output"),
    "step_failed": ("step_id", "error"),
}
