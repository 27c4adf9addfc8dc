"""What drives both twins alike: the same ids, the same clock, and everything that can be seen of an execution."""

import copy
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from importlib import import_module
from types import ModuleType
from typing import Any

from backends import BACKENDS
from stepwell import Action, LimitWarning, StepRange, StepState, StepType, typeid

MODULES: dict[str, ModuleType] = {name: import_module(f"stepwell._{name}") for name in BACKENDS}
"""The backends under test by name."""

PAIR = (MODULES[BACKENDS[0]], MODULES[BACKENDS[-1]])
"""The two that are compared; where there is one only, it is compared with copies of itself."""

ALONE = PAIR[0] is PAIR[1]

EXEC = "exec_" + typeid.suffix_of(7 << 76 | 2 << 62)
T0 = 1_700_000_000_000_000_000
_FIRST = 1_700_000_000_000 << 80 | 7 << 76 | 2 << 62

Record = tuple[int, int, str, bytes]


def step_id(number: int) -> str:
    """An id of a step, by number."""
    return "step_" + typeid.suffix_of(_FIRST + number)


class Ids:
    """A source that gives the same ids each time; one that has gaps, so that not all of them are one run."""

    def __init__(self) -> None:
        self.made = 0

    def __call__(self, prefix: str) -> str:
        self.made += 2 if self.made % 5 == 4 else 1
        return f"{prefix}_{typeid.suffix_of(_FIRST + self.made)}"


class ReservingIds(Ids):
    """The same, with whole runs of ids for bulk actions."""

    def reserve(self, prefix: str, count: int) -> str:
        first = self.made + 1
        self.made += count
        return f"{prefix}_{typeid.suffix_of(_FIRST + first)}"


class Clock:
    """A clock that tells what it is told to, and counts how often it is asked."""

    def __init__(self, now: Any = T0) -> None:
        self.now = now
        self.reads = 0

    def now_ns(self) -> Any:
        self.reads += 1
        return self.now


class Twin:
    """One backend's side: its execution, and what belongs to it."""

    def __init__(self, backend: ModuleType, ids: Ids, **given: Any) -> None:
        self.backend = backend
        self.ids = ids
        self.clock = Clock()
        self.warnings: list[LimitWarning] = []
        self.journal: list[Record] = []
        self.ranges: list[StepRange] = []
        self.ex = backend.Execution(clock=self.clock, ids=ids, **given)
        self.stranger = backend.Execution(id=EXEC, clock=Clock(), ids=Ids())
        self.stranger.start()
        self.stranger_steps = self.stranger.start_steps("strange", count=3)
        self.other: Twin = self
        self.before: list[Any] = []
        # What `to_json` gave, and how many records had been drained before.
        self.snapshots: list[tuple[bytes, int]] = []

    def reborn(self) -> None:
        """Goes on with a copy of the execution, which must be as good as the execution itself."""
        self.ex = copy.copy(self.ex)
        self.ranges = [StepRange(self.ex, found._indices) for found in self.ranges]

    def look(self) -> None:
        """Takes the steps as they are, so that both twins find the same by number."""
        self.before = list(self.ex.steps.values())

    def nth(self, index: int, state: str | None = None) -> Any:
        """A step of the execution, counted round, in that state if there is one; `None` while there is no step."""
        found = [step for step in self.before if step.state == state] or self.before
        return found[index % len(found)] if found else None


# --- what is seen -------------------------------------------------------------------------------------------------


def attributes(value: object) -> list[str]:
    """The names of the public attributes that are no methods."""
    kind = type(value)
    return [name for name in dir(kind) if name[0] != "_" and not callable(getattr(kind, name))]


def seen(value: Any) -> dict[str, object]:
    """All attributes of an execution or a step, as far as they can be read."""
    return {name: outcome(lambda: getattr(value, name)) for name in attributes(value)}  # noqa: B023


def shown(value: Any) -> object:
    """A value so that it can be compared between backends."""
    name = type(value).__name__
    if name == "Execution":
        return (
            name,
            repr(value),
            seen(value),
            [seen(step) for step in value.steps.values()],
            value.to_json(),
        )
    if name == "Step":
        return (name, repr(value), hash(value), seen(value))
    if name == "Steps":
        return (name, repr(value), list(value), len(value))
    if isinstance(value, StepRange):
        return (name, repr(value), value.ids(), [repr(step) for step in value])
    if isinstance(value, Action):
        return (name, repr(value), value.to_json())
    if isinstance(value, list | tuple):
        return (name, [shown(item) for item in value])
    if isinstance(value, datetime):
        return (name, value.isoformat(), str(value.tzinfo))
    return (name, repr(value))


def refusal(error: BaseException) -> object:
    """An exception so that it can be compared between backends: its class, its words and its attributes."""
    kind = type(error)
    found = {name: repr(value) for name, value in vars(error).items() if not name.startswith("__")}
    return ("raised", f"{kind.__module__}.{kind.__qualname__}", str(error), sorted(found.items()))


def outcome(call: Callable[[], object]) -> object:
    """What a call returns or raises."""
    try:
        return shown(call())
    except Exception as error:  # noqa: BLE001 - whatever it is, the other backend must raise the same
        return refusal(error)


def raised(found: object) -> str | None:
    """The class of what was raised, if anything was."""
    return found[1] if isinstance(found, tuple) and found[0] == "raised" else None


def outcomes(call: Callable[[ModuleType], object]) -> tuple[object, object]:
    """The same call on both backends."""
    return outcome(lambda: call(PAIR[0])), outcome(lambda: call(PAIR[1]))


# --- what is read without a loop ------------------------------------------------------------------------------------


def readings(table: Any) -> dict[str, object]:
    """What `Steps` and `StepRange` tell of their steps without making any."""
    found: dict[str, object] = {
        "states": table.states(),
        "durations": table.durations_ns(),
        "counts": table.counts(),
        "open": table.open().ids(),
        "slowest": table.slowest(3).ids(),
        "all slowest": table.slowest(2**40).ids(),
        "all": table.filter().ids(),
    }
    for state in StepState:
        found[state] = table.filter(state=state).ids()
    for type_ in StepType:
        found[type_] = table.filter(type=type_).ids()
    for name in NAMES_READ:
        found["name " + name] = table.filter(name=name).ids()
    found["two"] = table.filter(state="running", name="a").ids()
    found["three"] = table.filter(state="pending", name="a", type="tool").ids()
    return found


NAMES_READ = ("a", "b", "many", "no step has this name")


def looped(ex: Any, steps: Sequence[Any], clock: int) -> dict[str, object]:
    """The same by a plain loop over the steps, and from what `to_json` says of their times."""
    written = json.loads(ex.to_json())
    times = {one["id"]: (one.get("started_at"), one.get("ended_at")) for one in written["steps"]}
    now = max(clock, written["last_at"])

    def ids(fits: Callable[[Any], bool]) -> list[str]:
        return [step.id for step in steps if fits(step)]

    took = [
        None if start is None else (now if end is None else end) - start
        for start, end in (times[step.id] for step in steps)
    ]
    began = [index for index, duration in enumerate(took) if duration is not None]
    slowest = [steps[index].id for index in sorted(began, key=lambda index: -(took[index] or 0))]
    found: dict[str, object] = {
        "states": [step.state for step in steps],
        "durations": took,
        "counts": {state: sum(step.state == state for step in steps) for state in StepState},
        "open": ids(lambda step: not step.is_terminal),
        "slowest": slowest[:3],
        "all slowest": slowest,
        "all": ids(lambda step: True),
    }
    for state in StepState:
        found[state] = ids(lambda step: step.state == state)  # noqa: B023
    for type_ in StepType:
        found[type_] = ids(lambda step: step.step_type == type_)  # noqa: B023
    for name in NAMES_READ:
        found["name " + name] = ids(lambda step: step.name == name)  # noqa: B023
    found["two"] = ids(lambda step: step.state == "running" and step.name == "a")
    found["three"] = ids(lambda step: (step.state, step.name, step.step_type) == ("pending", "a", "tool"))
    return found


# --- journals -----------------------------------------------------------------------------------------------------


def forged(bodies: Iterable[bytes]) -> list[bytes]:
    """The bodies as a journal again: numbered and chained afresh, whatever they say."""
    chained: list[bytes] = []
    prev = "0" * 32
    for seq, body in enumerate(bodies):
        head = b'{"seq":%d,"prev":"%s",' % (seq, prev.encode())
        again = re.sub(rb'\A\{"seq":-?\d+,"prev":"[^"]*",', lambda _: head, body, count=1)  # noqa: B023
        chained.append(again)
        prev = hashlib.sha256(again).hexdigest()[:32]
    return chained


def bodies_of(records: Sequence[Record]) -> list[bytes]:
    """The records' bodies."""
    return [body for _, _, _, body in records]
