"""Code and record differ: how that is found, told, and mended.

A place in the record that the code calls with another name or input, or that code which went to its end did not call at
all, is a divergence. A mark in the record (`ACCEPTED`) says that what was recorded from a place on was given up, and
that the code's own way counts.
"""

import re
from typing import TYPE_CHECKING, Any, Final

from .. import encoding, errors
from .._spec import STEP_TERMINAL, StepState, StepType
from .arguments import unpack
from .core import Step

if TYPE_CHECKING:
    from .places import Call
    from .run import Run

DIVERGED: Final = "diverged: "
"""How the reason of an execution begins that was paused because its code and its record differ."""
ACCEPTED: Final = "divergence accepted"
"""The name of the step that marks what was given up. Its place is none that code can call."""
_ENDED: Final = re.compile(r"x(\d+)(r?)\.")
Missing = tuple[str, str | None, Step | None, None, str]


def index(run: "Run") -> None:
    """Sorts the steps of a record by their places."""
    recorded, opened = run.recorded, run.open
    for step in run.execution.steps.values():
        place = step.place
        if place is not None:
            recorded[place] = step
            if place[0] == "!" and step.name == ACCEPTED:
                given_up(recorded, step.input)
        if step.state not in STEP_TERMINAL:
            opened[place or step.id] = step


def given_up(recorded: dict[str, Step], place: Any) -> list[Step]:
    """Takes out what was recorded at a place and after it in its scope; returns those steps."""
    path, call = split(place)
    gone = [known for known in recorded if known.startswith(path) and _is_after(known[len(path) :], call)]
    return [recorded.pop(known) for known in gone]


def reason(place: str, why: str) -> str:
    """The reason of an execution that is paused because of a divergence at this place."""
    return f"{DIVERGED}[{place}] {why}"


def place_of(reason: str | None) -> str | None:
    """The place in such a reason."""
    if reason is None or not reason.startswith(DIVERGED + "["):
        return None
    return reason[len(DIVERGED) + 1 :].partition("]")[0] or None


def words_of(reason: str) -> str:
    """What is said in such a reason."""
    return reason.partition("] ")[2] or reason[len(DIVERGED) :]


def split(place: str) -> tuple[str, int]:
    """The path of a place's scope, and its number there. A place in a task is given up with its whole scope."""
    path, _, call = place.rpartition("/")
    begin, dot, call = call.rpartition(".")
    return (path + "/" if path else "") + begin + dot, int(call) if call.isdecimal() else 0


def ended_places(recorded: dict[str, Step]) -> dict[str, tuple[str, int, bool]]:
    """What `Run.ended_places` says, from a record."""
    found: dict[str, tuple[str, int, bool]] = {}
    for place in recorded:
        if "x" in place and place[0] != "!":
            path = ""
            for part in place.split("/"):
                ended = _ENDED.match(part)
                if ended is not None:
                    found[path] = (ended[0], int(ended[1]), bool(ended[2]))
                path = f"{path}{part}/"
    return found


def _is_after(rest: str, call: int) -> bool:
    # Whatever task was made in the scope, it may have been made after the call.
    number = rest.split("/", 1)[0]
    return number.startswith("~") or (number.isdecimal() and int(number) >= call)


def difference(step: Step, call: "Call") -> str | None:
    """How a call differs from the record at its place, in words; `None` where it does not."""
    op = call.op
    if step.name != op.name:
        return f"at place {call.place} the record has step {step.name!r}, and the code calls {op.name!r}"
    recorded = None if step.input is None else encoding.encode(step.input)
    if recorded == call.input:
        return None
    old, new = _arguments(step.input), _arguments(None if call.input is None else encoding.decode(call.input))
    named = sorted({*old[1], *new[1]})
    where = next(
        (str(i) for i in range(max(len(old[0]), len(new[0]))) if old[0][i : i + 1] != new[0][i : i + 1]), None
    )
    where = where or next((name for name in named if old[1].get(name) != new[1].get(name)), "their form")
    return f"step {step.name!r} at place {call.place} is called with another input than recorded: argument {where}"


def _arguments(given: Any) -> tuple[list[Any], dict[str, Any]]:
    if isinstance(given, dict) and set(given) != {"args", "kwargs"}:
        return [], given  # of an operation that is no step: its options by name
    return unpack(given)


def error(
    place: str,
    source: str | None,
    recorded: Step | None,
    call: "Call | None",
    why: str,
    then: str = "nothing was run, and the execution is paused",
) -> errors.DivergenceError:
    """The error with both sides."""
    made = errors.DivergenceError(f"{why}; {then}")
    made.place, made.source = place, source
    made.recorded = None if recorded is None else {"name": recorded.name, "input": recorded.input}
    given = None if call is None or call.input is None else encoding.decode(call.input)
    made.called = None if call is None else {"name": call.op.name, "input": given}
    return made


def missing(run: "Run") -> Missing | None:
    """A recorded step that the code, having run to its end, did not call any more."""
    if not run.replayed:
        return None
    for place, step in run.recorded.items():
        if place[0] != "!" and _is_gone(run, place):
            why = f"the record has step {step.name!r} at place {place}, and the code ended without calling it"
            return place, None, step, None, why
    return None


def _is_gone(run: "Run", place: str) -> bool:
    """Whether code that went to its end neither called this place nor made the task that it is in."""
    path = ""
    *outer, call = place.split("/")
    for part in outer:
        scope = run.scope_at(path)
        if scope is not None and scope.ended:
            number = part.removeprefix("~")
            made = scope.tasks if part.startswith("~") else scope.calls
            if number.isdecimal() and int(number) >= made:
                return True
        path = f"{path}{part}/"
    scope = run.scope_at(path)
    return scope is not None and scope.ended and call.isdecimal() and int(call) >= scope.calls


def recorded_tasks(recorded: dict[str, Step]) -> dict[str, int]:
    """The highest number of a recorded task in each scope that has any."""
    highest: dict[str, int] = {}
    for place in recorded:
        path = ""
        for part in place.split("/")[:-1]:
            if part.startswith("~") and part[1:].isdecimal():
                highest[path] = max(highest.get(path, -1), int(part[1:]))
            path = f"{path}{part}/"
    return highest


def has_ended_like(run: "Run", group: Step | None) -> bool:
    """Whether a group of this name, or another branch of the same batch, ended in an earlier life.

    Its code went past whatever is asked in this one, and is not run again.
    """
    steps = run.execution.steps
    while group is not None and run.replayed:
        parent = None if group.parent_step_id is None else steps[group.parent_step_id]
        batch = parent is not None and isinstance(parent.input, dict) and "branches" in parent.input
        for known in run.recorded.values():
            alike = known.name == group.name or (batch and known.parent_step_id == group.parent_step_id)
            if alike and known.step_type == StepType.SCOPE and known.state == StepState.COMPLETED:
                return True
        group = parent
    return False


def is_of_cleanup(place: str) -> bool:
    """Whether code that had been cancelled called it."""
    return any(_ENDED.match(part) for part in place.split("/"))
