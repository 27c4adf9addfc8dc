"""What a history left in its store, in a form in which two of them can be compared."""

from functools import partial
from typing import Any, Final, NamedTuple

from .. import errors
from .._spec import EXECUTION_TERMINAL, ExecutionState, StepState
from ..failures import ExecutionError
from ..runtime import records
from ..runtime.core import Execution, Step
from ..runtime.functions import known_blueprint
from ..runtime.rehearsing import rehearse
from ..runtime.renewing import renewed
from ..runtime.values import Codec
from ..store import Store

Path = tuple[str, str, str]
"""An execution, a place in it or "", and what of it."""
_LONGEST: Final = 200


class Left(NamedTuple):
    """All executions of a history, by the way in which they were started."""

    executions: dict[str, Execution]
    ended: dict[str, list[str]]
    """By the id of an execution the ids of its steps, in the order in which they ended."""

    def step(self, execution_id: str, place: str | None) -> "tuple[str, Step | None]":
        """The name of an execution with this id, and its step at this place."""
        for label, execution in self.executions.items():
            if execution.id == execution_id:
                return label, self.at(label, place)
        return "", None

    def at(self, label: str, place: str | None) -> Step | None:
        """The step of an execution at this place."""
        execution = self.executions.get(label)
        steps = () if execution is None else execution.steps.values()
        return next((step for step in steps if step.place == place), None)

    @property
    def raced(self) -> bool:
        """Whether steps were cancelled: then what was done of them may depend on what was quicker."""
        return any(
            step.state == StepState.CANCELLED
            for execution in self.executions.values()
            for step in execution.steps.values()
        )


def left_in(store: Store) -> Left:
    """Everything that is in a store."""
    rows = store.list(None, None, 1000).wait()
    loaded = [records.load(store, row) for row in reversed(rows)]
    ended = {row.id: records.endings(store, row) for row in rows}
    owners = {step.id: (one.id, step.place) for one in loaded for step in one.steps.values()}
    labels: dict[str, str] = {}
    found: dict[str, Execution] = {}
    for one in loaded:
        label, link = str(one.blueprint), one.parent
        if link is not None and link.parent_id in owners:
            parent, place = owners[link.parent_id]
            label = f"{labels.get(parent, '?')} > {place} {label}"
        elif link is not None and link.parent_id in labels:
            label = f"{labels[link.parent_id]} > continued"
        while label in found:
            label += "'"
        labels[one.id] = label
        found[label] = one
    return Left(found, ended)


def _facts(left: Left) -> dict[Path, Any]:
    facts: dict[Path, Any] = {}
    for label, execution in left.executions.items():
        facts[label, "", "state"] = str(execution.state)
        facts[label, "", "error"] = _error(execution.error)
        if renewed(execution.output) is None:
            facts[label, "", "result"] = execution.output
        for step in execution.steps.values():
            place = step.place or f"({step.name})"
            facts[label, place, "step"] = f"{step.step_type} {step.name!r}"
            facts[label, place, "state"] = str(step.state)
            facts[label, place, "error"] = _error(step.error)
            if not isinstance(step.output, str) or step.step_type != "child":
                facts[label, place, "output"] = step.output
    return facts


def _error(error: ExecutionError | None) -> str | None:
    return None if error is None else f"{error.category}, {error.code} ({error.exception_type or '-'})"


def unstable(one: Left, other: Left) -> set[Path]:
    """What is not the same in two undisturbed histories, and so cannot be expected of a disturbed one."""
    first, second = _facts(one), _facts(other)
    return {path for path in first.keys() | second.keys() if first.get(path) != second.get(path)}


def differences(expected: Left, found: Left, left_out: set[Path]) -> list[str]:
    """In what two histories differ, in words."""
    first, second = _facts(expected), _facts(found)
    raced = expected.raced or found.raced
    root = next(iter(expected.executions), "")
    told = []
    for path in [*first, *(path for path in second if path not in first)]:
        if path in left_out or first.get(path) == second.get(path):
            continue
        if raced and (path[0] != root or path[1]) and _depends_on_what_was_quicker(path, first, second):
            continue
        if path in first and path in second:
            told.append(f"{_named(path)} is {_shown(second[path])}, undisturbed {_shown(first[path])}")
        elif path[2] in ("step", "result"):
            have = "only when undisturbed" if path in first else "only after the crash"
            told.append(f"{_named(path)}: {_shown(first.get(path, second.get(path)))} is there {have}")
    return told


def _depends_on_what_was_quicker(path: Path, first: dict[Path, Any], second: dict[Path, Any]) -> bool:
    """Whether a race may decide about this: not about outcomes of what came to its end in both histories."""
    label, place, what = path
    states = {first.get((label, place, "state")), second.get((label, place, "state"))}
    is_group = str(first.get((label, place, "step"))).startswith("scope ") and what == "output"
    return is_group or not states <= {"completed", "failed"}


def _named(path: Path) -> str:
    label, place, what = path
    return f"{label}: its {what}" if not place else f"{label}: the {what} at place {place}"


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"


def replays(left: Left, codec: Codec | None) -> list[str]:
    """Where the code does not do again what is recorded of the executions that have ended."""
    told = []
    for label, execution in left.executions.items():
        blueprint = known_blueprint(execution.blueprint)
        if blueprint is None or execution.state not in EXECUTION_TERMINAL:
            continue
        try:
            again = rehearse(execution, blueprint, codec, partial(left.ended.__getitem__, execution.id))
        except errors.DivergenceError as error:
            told.append(f"{label} does not replay: {error}")
            continue
        completed = execution.state == ExecutionState.COMPLETED and renewed(execution.output) is None
        if completed and again.output != execution.output:
            told.append(
                f"{label}: on replay the code returns {_shown(again.output)}, recorded is "
                f"{_shown(execution.output)}: it depends on something that is not recorded"
            )
    return told
