"""What the lockstep machine passes to the kernel's methods: mostly what fits, sometimes anything else."""

import enum
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

from hypothesis import strategies as st

from kernel.drive import T0, Twin, step_id
from stepwell import ExecutionError, RetryPolicy, StepSource, StepType, WaitReason

# --- arguments that are another object on each backend ------------------------------------------------------------


@dataclass(frozen=True)
class Ref:
    """An argument that each twin has for itself, by how it is found."""

    how: str
    index: int
    state: str | None = None

    def of(self, twin: Twin) -> object:
        step = twin.nth(self.index, self.state)
        if self.how == "foreign":
            return twin.stranger_steps[self.index % 3]
        if self.how == "twin's":
            return twin.other.nth(self.index) or step_id(1)
        if self.how == "range":
            return twin.ranges[self.index % len(twin.ranges)] if twin.ranges else []
        if self.how == "slice":
            found = twin.ranges[self.index % len(twin.ranges)] if twin.ranges else []
            return found[:: -1 if self.index % 2 else 2]
        if self.how == "foreign range":
            return twin.stranger_steps
        if step is None:
            return step_id(1)
        return step if self.how == "view" else step.id


@dataclass(frozen=True)
class Once:
    """An iterator over the items, which can be read once."""

    items: tuple[object, ...]

    def of(self, twin: Twin) -> Iterator[object]:
        return iter([resolved(twin, item) for item in self.items])


def resolved(twin: Twin, value: object) -> object:
    """The argument as this twin takes it."""
    if isinstance(value, Ref | Once):
        return value.of(twin)
    if type(value) is list:
        return [resolved(twin, item) for item in value]
    return value


# --- values -------------------------------------------------------------------------------------------------------


class Text(str):
    """Text of a class of the user's, which says something else of itself."""

    def __str__(self) -> str:
        return "not this"


class Word(str, enum.Enum):
    """Text that is also a member of an enumeration."""

    TOOL = "tool"
    TIMER = "timer"
    PLAIN = "plain"


class Number(enum.IntEnum):
    ONE = 1
    NOW = T0


class Real(float):
    def __repr__(self) -> str:
        return "a real"


class Opaque:
    def __repr__(self) -> str:
        return "opaque"


@dataclass
class Point:
    x: int
    y: object = None


def nested(levels: int, inner: Any = None) -> Any:
    """A list in a list in a list."""
    for _ in range(levels):
        inner = [inner]
    return inner


NAIVE = datetime(2026, 1, 1)  # noqa: DTZ001 - it is to be refused
NOT_TEXT = [None, 5, True, b"bytes", 1.5, ["x"], {"x": 1}, Opaque(), SimpleNamespace(id=step_id(1))]
BAD_TEXT = [
    "", "a\0b", "a\nb", "\x7f", "\x9f", "\ud800", "x\udfff", "x" * 256, "é" * 256, "x" * 1025, "x" * 4097,
]  # fmt: skip
ODD_TEXT = [
    "é" * 255, "a\u2028b", "\u200b", "日本 🎉", '"\\/', " ", Text("text"), Word.PLAIN, "x" * 255, "step_",
]  # fmt: skip
BAD_IDS = [
    "", "step", "step_", "exec_" + step_id(1)[5:], step_id(1).upper(), step_id(1) + "0",
    step_id(1)[:-1] + "u", "step_8" + step_id(1)[6:], "step-" + step_id(1)[5:], step_id(1)[:-1] + "\ud800",
    step_id(1) + "\n", " " + step_id(1), step_id(1)[:-1] + "٣", SimpleNamespace(id=5),
]  # fmt: skip
FAR_IDS = [
    "step_7" + "z" * 25, "step_" + "0" * 26, step_id((1 << 62) - 1), step_id(1 << 62), Text(step_id(77)),
]  # fmt: skip
BAD_PAYLOADS = [
    float("nan"), float("inf"), {"a": [1, float("-inf")]}, 2**64, -(2**63) - 1, [10**400], "\ud800",
    {"\udc00": 1}, {1: 2}, {None: 1}, nested(129), {"a": {"b": nested(127)}}, Opaque(), {"k": {1, 2}},
    b"bytes", NAIVE, [NAIVE.time()], Decimal(1), 1j, {"a": Point(1, float("nan"))}, ...,
]  # fmt: skip
ODD_PAYLOADS = [
    (1, 2), {"t": datetime(2026, 1, 1, tzinfo=UTC)}, uuid.UUID(int=5), Word.TOOL, Text("text"), Number.ONE,
    True, False, Point(1, [2]), 2**64 - 1, -(2**63), 2**63, -0.0, 1e22, 5e-324, 1e-5, nested(128), "x" * 300,
    '"\\\x00\x1f\x7f\u2028', [], {}, "", {"": None}, [None], "null", [[], {}], Real(1.5),
]  # fmt: skip
ERRORS = [
    "broken", "", "a\0b\ud800", "x" * 3000, ValueError("bad"), KeyError("k"), TimeoutError(),
    ExceptionGroup("g", [OSError(2)]),
    ExecutionError("llm", "rate_limit", details={"a": [1]}, retry_policy=RetryPolicy.attempts(3), attempt=2),
    ExecutionError("policy_violation", cause=ExecutionError("network"), occurred_at=datetime.fromtimestamp(0, UTC)),
]  # fmt: skip
BAD_ERRORS = [5, b"x", {"category": "tool"}, KeyboardInterrupt(), SystemExit(1), ValueError, Opaque(), ["x"]]
SOURCES = [
    StepSource.initial_plan(), StepSource.discovered("me", "because", 3), StepSource.retry(step_id(1)),
    StepSource.user_guidance(by="you"),
]  # fmt: skip
BAD_TIMES = [
    NAIVE, -1, 2**63, 2**70, -(2**70), "x", 1.5, True, datetime.max.replace(tzinfo=UTC), Opaque(),
    datetime.min.replace(tzinfo=timezone(timedelta(hours=1))),
    datetime.max.replace(tzinfo=timezone(-timedelta(hours=1))),
    datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC), datetime(2263, 1, 1, tzinfo=UTC),
]  # fmt: skip
TIMES = [0, T0, 2**63 - 1, datetime(2026, 1, 1, 0, 0, 0, 1, tzinfo=timezone(timedelta(hours=-5))), Number.NOW]
AMOUNTS = [
    1, 0, -3, 0.1, 2.5e-7, 1e12, 1234567, Decimal("0.0000015"), Decimal("1e5"), Number.ONE, 9_223_372_036_854,
]  # fmt: skip
BAD_AMOUNTS = [
    float("nan"), float("inf"), 1e300, 10**400, 2**63, "5", None, True, Decimal("NaN"), Decimal("sNaN"),
    Decimal("1e500"), 1j, Fraction(1, 3), Opaque(), Decimal("-Infinity"),
]  # fmt: skip
COUNTERS = ["tokens", "cost", "calls", "zeichen ü"]
BAD_COUNTS = [-1, 2**32, 2**70, 4_194_305, "2", True, 1.5]

payloads = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.text(max_size=8),
        st.floats(allow_nan=False, allow_infinity=False),
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=4,
)  # fmt: skip


@st.composite
def mostly(draw: st.DrawFn, good: st.SearchStrategy[Any], *others: Iterable[Any], odds: int = 12) -> Any:
    """Nearly always what fits; else one of the others."""
    roll = draw(st.integers(0, odds))
    if roll < len(others):
        return draw(st.sampled_from(list(others[roll])))
    return draw(good)


def existing(state: str | None = None) -> st.SearchStrategy[Any]:
    """A step that is there, mostly, and mostly in that state."""
    how = mostly(st.sampled_from(["id", "view"]), ["foreign", "twin's"], odds=15)
    return mostly(
        st.builds(Ref, how, st.integers(0, 30), mostly(st.just(state), [None], odds=6)),
        [*BAD_IDS, *NOT_TEXT],
        [*FAR_IDS, *map(step_id, range(1, 6))],
        odds=25,
    )


def texts(*good: str, more: Iterable[Any] = ()) -> st.SearchStrategy[Any]:
    """Labels."""
    return mostly(st.sampled_from(good), [*ODD_TEXT, *more], [*BAD_TEXT, *NOT_TEXT], odds=20)


json_values = mostly(payloads, ODD_PAYLOADS, BAD_PAYLOADS, odds=8)
error_values = mostly(st.sampled_from(ERRORS), BAD_ERRORS)
times = mostly(st.sampled_from(TIMES), BAD_TIMES, odds=5)
reasons = mostly(
    st.sampled_from(["because", "", "a\0b\n", "so", Text("so")]),
    ["\ud800", "é" * 4096, "é" * 4097, 5, b"x", []],
)
step_types = mostly(
    st.sampled_from([*StepType, "tool", "wait", "wait", "function", Word.TOOL]),
    ["x", "Tool", 5, "\ud800", [], ""],
)
wait_reasons = mostly(st.sampled_from([*WaitReason, Word.TIMER]), ["x", 5, None, "\ud800", ""], odds=8)
counts = mostly(st.integers(0, 4), BAD_COUNTS, odds=8)
amounts = mostly(st.sampled_from(AMOUNTS), BAD_AMOUNTS, odds=6)
at_times = mostly(st.none(), [T0, T0 + 10, T0 + 10**9, 0], [-1, 2**63, "x", 1.5, True, NAIVE], odds=6)

# What a field of each type of `spec/journal.toml` takes.
_FIELDS: dict[str, Callable[[], st.SearchStrategy[Any]]] = {
    "step": existing,
    "label": lambda: texts("a", "b", "fetch"),
    "path": lambda: texts("a:0", "b/c:1", more=["x" * 1024]),
    "note": lambda: reasons,
    "time": lambda: times,
    "StepType": lambda: step_types,
    "WaitReason": lambda: wait_reasons,
    "json": lambda: json_values,
}
_BY_NAME = {
    "error": error_values,
    "source": mostly(st.sampled_from(SOURCES), NOT_TEXT, odds=8),
    "counter": texts(*COUNTERS),
}
_ITEMS = {
    "names": _FIELDS["label"](),
    "keys": _FIELDS["label"](),
    "places": _FIELDS["path"](),
    "errors": error_values,
}


def field(name: str, type_: str) -> st.SearchStrategy[Any]:
    """Values for a field that is no list."""
    if name == "amount_micros":
        return mostly(st.integers(-(10**9), 10**12), [2**63, -(2**63), 2**63 - 1, 1.5, "x", True])
    return _BY_NAME[name] if name in _BY_NAME else _FIELDS[type_]()


@st.composite
def many(draw: st.DrawFn, name: str, length: int) -> Any:
    """A list with so many entries, nearly always."""
    length = draw(mostly(st.just(length), [length + 1, max(length - 1, 0), 0], odds=25))
    item = _ITEMS.get(name, json_values)
    if draw(st.integers(0, 3)) == 0:
        found = [draw(item)] * length
    else:
        found = draw(st.lists(item, min_size=length, max_size=length))
    wrap: Any = draw(
        mostly(
            st.just(list), [tuple, lambda items: Once(tuple(items))], [len, str, lambda _: {"a": 1}], odds=20
        )
    )
    return wrap(found)


@st.composite
def some_steps(draw: st.DrawFn, length: int, state: str | None = None) -> Any:
    """Steps that are there, as a bulk call takes them."""
    shape = draw(st.integers(0, 9))
    if shape < 4:
        how = draw(mostly(st.sampled_from(["range", "slice"]), ["foreign range"]))
        return Ref(how, draw(st.integers(0, 30)))
    if shape < 8:  # neighbours, so that they differ
        first = draw(st.integers(0, 30))
        return [Ref("id" if index % 2 else "view", first + index, state) for index in range(length)]
    found = draw(st.lists(existing(state), min_size=length, max_size=length))
    return found if shape == 8 else draw(mostly(st.just(Once(tuple(found))), NOT_TEXT, odds=2))


NEW_STEP: Mapping[str, str] = {
    "step_id": "step", "type": "StepType", "key": "label", "parent_step_id": "step", "input": "json", "source": "json",
    "callable_id": "label", "place": "path",
}  # fmt: skip


@st.composite
def new_step(draw: st.DrawFn) -> dict[str, Any]:
    """The keyword arguments of `schedule_step` and `start_step`, besides the name."""
    given = {}
    for name, type_ in NEW_STEP.items():
        odds = 12 if name == "step_id" else 6
        if draw(st.integers(0, odds)) == 0:
            given[name] = draw(field(name, type_))
    if "twin's" in {getattr(given.get(name), "how", None) for name in ("step_id", "parent_step_id")}:
        # Of two wrong steps each backend may name another; nobody mixes backends.
        given.pop("parent_step_id", None)
    return given


@st.composite
def new_steps(draw: st.DrawFn) -> dict[str, Any]:
    """The keyword arguments of `schedule_steps` and `start_steps`."""
    length = draw(st.integers(0, 4))
    given: dict[str, Any] = {}
    shape = draw(st.integers(0, 7))
    if shape < 3:
        given["names"] = draw(many("names", length))
    elif shape < 6:
        given["names"] = draw(texts("a", "b"))
        given["count"] = draw(mostly(st.just(length), [None], BAD_COUNTS, odds=25))
    else:
        given["steps"] = draw(some_steps(length, "pending"))
    for name in ("keys", "inputs", "places"):
        if draw(st.integers(0, 5)) == 0:
            given[name] = draw(many(name, length))
    for name in ("type", "parent_step_id", "input", "source", "callable_id"):
        if draw(st.integers(0, 7)) == 0:
            given[name] = draw(field(name, NEW_STEP[name]))
    return given


@st.composite
def fields_of(draw: st.DrawFn, kind: str, table: Mapping[str, str]) -> dict[str, Any]:
    """The fields of an action of this kind, by the journal's table."""
    length = draw(st.integers(0, 3))
    given: dict[str, Any] = {}
    for name, type_ in table.items():
        likely = not type_.endswith("?") or name in ("name", "names", "error")
        if draw(st.integers(0, 5)) >= (5 if likely else 1):
            continue
        type_ = type_.removesuffix("?")
        if type_ == "runs":
            given[name] = draw(some_steps(length, "pending" if kind == "steps_started" else "running"))
        elif type_ in ("labels", "paths", "jsons"):
            given[name] = draw(many(name, length))
        else:
            state = "pending" if kind in ("step_started", "step_skipped") else "running"
            given[name] = draw(existing(state) if name == "step_id" else field(name, type_))
    for one in ("name", "input", "output", "error"):
        if one in given and one + "s" in given and draw(st.integers(0, 6)):
            del given[one]
    if draw(st.integers(0, 40)) == 0:
        given[draw(st.sampled_from(["colour", "kind ", "at", "\ud800"]))] = 1
    return given
