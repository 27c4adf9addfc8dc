"""The steps of an execution as columns: one for each thing that every step has, all by position."""

from array import array
from collections.abc import Iterable, Mapping, Sequence
from itertools import compress
from typing import Any

from .._spec import STEP_ACTIONS, STEP_TERMINAL, StepState
from ..journal import Fields, Run
from .lookup import Indices, Lookup, joined

STATES = tuple(StepState)
CODES = {state.value: code for code, state in enumerate(STATES)}
ABSENT = -1
"""A time that is not there yet."""

REFUSED = 255
OPEN = tuple(state.value for state in STATES if state not in STEP_TERMINAL)

DESCRIPTION = ("type", "key", "parent_step_id", "input", "source", "callable_id", "place")
"""What a step may be made with, besides its id and its name."""

HISTORY = ("error", "reason", "retry_at", "tried", "usage", "attempts")
"""What a step may get later."""

_RARE = (*DESCRIPTION, *HISTORY)


def _next(row: Mapping[str, str]) -> bytes:
    codes = bytearray([REFUSED]) * 256
    for state, target in row.items():
        if state != "new":
            codes[CODES[state]] = CODES[target]
    return bytes(codes)


NEXT = {kind: _next(row) for kind, row in STEP_ACTIONS.items()}
"""The table of transitions as translations: the code of a state to that of the next one, or to `REFUSED`."""

FIRST = {kind: CODES[row["new"]] for kind, row in STEP_ACTIONS.items() if "new" in row}
"""The code of the state in which an action makes a step."""

_AT_ONCE = 10_000  # columns grow by so much, without as much memory again on the way

# The lists of a bulk action, and what each entry is of its step.
_LISTS = {"keys": "key", "inputs": "input", "places": "place"}


def of(column: Any, at: Indices) -> Any:
    """The entries of a column at these positions: a slice of it, or a list."""
    if isinstance(at, range):
        return column[at.start : at.stop]
    return [column[index] for index in at]


def put(column: Any, at: Indices, values: Sequence[Any]) -> None:
    """Replaces the entries at these positions; for a range the values are of the column's own type."""
    if isinstance(at, range):
        column[at.start : at.stop] = values
        return
    for index, value in zip(at, values, strict=True):
        column[index] = value


def fill(column: "array[int]", at: Indices, value: int) -> None:
    """Replaces the entries at these positions by the same one."""
    put(column, at, array(column.typecode, [value]) * len(at))


def durations(started: Iterable[int], ended: Iterable[int], now: int) -> list[int | None]:
    """How long each took, so far where it has not ended; `None` before the start."""
    return [
        None if start == ABSENT else (now if end == ABSENT else end) - start
        for start, end in zip(started, ended, strict=True)
    ]


def marked(states: Iterable[str]) -> bytes:
    """A translation of codes to 1 for these states, to 0 for others."""
    codes = bytearray(256)
    for state in states:
        codes[CODES[state]] = 1
    return bytes(codes)


class Columns:
    """What is known of the steps of an execution.

    `more` has, by the name of a field and then by position, what most steps lack; what it holds is replaced, never
    changed.
    """

    __slots__ = (
        "at_end",
        "attempt",
        "counts",
        "ended",
        "lookup",
        "more",
        "names",
        "outputs",
        "scheduled",
        "spelled",
        "started",
        "states",
    )

    def __init__(self) -> None:
        self.lookup = Lookup()
        self.states = bytearray()
        self.attempt = array("I")
        self.scheduled = array("q")
        self.started = array("q")
        self.ended = array("q")
        self.names: list[str] = []
        self.outputs: list[bytes | None] = []
        self.more: dict[str, dict[int, Any]] = {name: {} for name in _RARE}
        # What a step that ends has or has not, besides its output.
        self.at_end = [(name, self.more[name]) for name in ("error", "reason", "retry_at")]
        self.counts = [0] * len(STATES)
        # Each name by itself, so that it is kept once.
        self.spelled: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self.lookup.texts)

    @property
    def open(self) -> int:
        """How many steps have not ended."""
        return sum(self.counts[CODES[state]] for state in OPEN)

    # --- reading ---

    def states_at(self, at: Indices) -> bytes:
        """The codes of the states."""
        return bytes(of(self.states, at))

    def tried(self, index: int) -> int:
        """When the current or last attempt of a step started, `ABSENT` before the first."""
        return self.more["tried"].get(index) or self.started[index]

    def in_states(self, states: Iterable[str], at: "Indices | None" = None) -> Indices:
        """Those of the positions, or of all, at which a step is in one of these states."""
        if at is None:
            at = range(len(self))
        return chosen(at, self.states_at(at).translate(marked(states)))

    # --- new steps ---

    def add(self, fields: Fields, state: int, at: int, attempt: int) -> int:
        """A step in its first state, with what it is made with; `attempt` is 1 if it starts at once."""
        index = len(self.states)
        self.states.append(state)
        self.attempt.append(attempt)
        self.scheduled.append(at)
        self.started.append(at if attempt else ABSENT)
        self.ended.append(ABSENT)
        self.names.append(self.spelled.setdefault(fields["name"], fields["name"]))
        self.outputs.append(None)
        if len(fields) > 2:
            for field in DESCRIPTION:
                if field in fields:
                    self.more[field][index] = fields[field]
        self.counts[state] += 1
        lookup = self.lookup
        lookup.by_text[fields["step_id"]] = index
        lookup.texts.append(fields["step_id"])
        return index

    def add_many(
        self, runs: list[Run], count: int, fields: Fields, state: int, at: int, attempt: int
    ) -> range:
        """The same for many: their ids as runs, the other fields as a bulk action has them."""
        made = range(len(self.states), len(self.states) + count)
        for first in range(0, count, _AT_ONCE):
            some = min(count - first, _AT_ONCE)
            self.states += bytes([state]) * some
            self.attempt += array("I", [attempt]) * some
            self.scheduled += array("q", [at]) * some
            self.started += array("q", [at if attempt else ABSENT]) * some
            self.ended += array("q", [ABSENT]) * some
            self.outputs += [None] * some
        spell = self.spelled.setdefault
        if "names" in fields:
            self.names.extend(map(spell, fields["names"], fields["names"]))
        elif count:
            self.names += [spell(fields["name"], fields["name"])] * count
        for field in DESCRIPTION:
            if field in fields:
                self.more[field].update(dict.fromkeys(made, fields[field]))
        for many, field in _LISTS.items():
            values = fields.get(many)
            if values is not None:
                self.more[field].update(zip(made, values, strict=True))
                if None in values:
                    self.clear(field, [at for at, value in zip(made, values, strict=True) if value is None])
        self.counts[state] += count
        self.lookup.add_runs(runs)
        return made

    # --- changes ---

    def move(self, at: Indices, codes: bytes) -> None:
        """Puts the steps into the states of these codes."""
        before = self.states_at(at)
        for code in range(len(STATES)):
            self.counts[code] += codes.count(code) - before.count(code)
        put(self.states, at, codes)

    def clear(self, field: str, at: Iterable[int]) -> None:
        """Takes away what most steps lack."""
        column = self.more[field]
        if column:
            for index in at:
                column.pop(index, None)

    def truncate(self, count: int) -> None:
        """Forgets all steps but the first so many, not their names. The counts are the caller's."""
        for column in self.more.values():
            if column:
                for index in range(count, len(self.states)):
                    column.pop(index, None)
        for name in ("states", "attempt", "scheduled", "started", "ended", "names", "outputs"):
            del getattr(self, name)[count:]
        self.lookup.truncate(count)


def chosen(at: Indices, flags: Iterable[object]) -> Indices:
    """Those of the positions whose flag is true."""
    return joined([compress(at, flags)])
