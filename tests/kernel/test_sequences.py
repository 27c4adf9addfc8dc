"""What bulk calls take as a sequence, and that its elements are what they are one by one."""

import json
from array import array
from collections import UserList, deque
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from kernel.arguments import Text, Word
from kernel.support import refused, running
from stepwell import (
    EncodingError,
    ValidationError,
)


class Arrow:
    """What a sequence of Arrow looks like: it can be iterated, but gives scalars of its own."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __iter__(self) -> Iterator[object]:
        return map(Scalar, self.items)

    def __len__(self) -> int:
        return len(self.items)

    def to_pylist(self) -> list[Any]:
        return list(self.items)


class Scalar:
    def __init__(self, value: object) -> None:
        self.value = value


class Polars:
    """A series of polars: `to_list`."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __iter__(self) -> Iterator[object]:
        return iter(self.items)

    def to_list(self) -> list[Any]:
        return list(self.items)


SHAPES: dict[str, Callable[[list[Any]], Any]] = {
    "list": list,
    "tuple": tuple,
    "iterator": iter,
    "generator": lambda items: (item for item in items),
    "deque": deque,
    "UserList": UserList,
    "dict view": lambda items: dict.fromkeys(items).keys(),
    "numpy": np.array,
    "numpy objects": lambda items: np.array(items, dtype=object),
    "Arrow": Arrow,
    "polars": Polars,
}
TEXTS = ["a", "b", "ü", 'say "no", "yes"', "back\\slash", "c"]


@pytest.mark.parametrize("shape", SHAPES)
def test_texts_may_come_in_any_sequence(backend, shape):
    of = SHAPES[shape]
    ex = running(backend)
    steps = ex.start_steps(of(TEXTS), keys=of(TEXTS), inputs=of(TEXTS), places=of(TEXTS))
    ex.complete_steps(of(steps.ids()), of(TEXTS[::-1]))
    assert [(step.name, step.key, step.input, step.place) for step in steps] == [
        (text,) * 4 for text in TEXTS
    ]
    assert [step.output for step in steps] == TEXTS[::-1]
    for step in steps:
        assert type(step.name) is type(step.key) is type(step.place) is str
    assert backend.Execution.replay(ex.id, ex.drain()) == ex


VALUES = [
    range(3),
    array("q", [1, -2, 3]),
    array("d", [0.5, 1e22, -0.0]),
    np.arange(3),
    np.array([1, 2, 255], dtype=np.uint8),
    np.array([2**63, 2**64 - 1, 0], dtype=np.uint64),
    np.array([0.1, 1e-7, 1e300]),
    np.array([0.1, 0.5, -1.5], dtype=np.float32),
    np.array([True, False, True]),
    np.array([[1, 2], [3, 4], [5, 6]]),
    np.array(["x", "y", ""]),
    Arrow([1, None, 3]),
    Arrow([{"a": [1]}, None, "x"]),
    [None, None, 1.5],
    [1, True, None],
    ["null", None, "x"],
    ["null", "null", ""],
    (1.0, 2, False),
    ["\n", "\u2028", "\x00"],
    ['","', '"', "\\"],
    [",", '",', ',"'],
    [Text("a"), Word.TOOL, "b"],
    [[1], {"b": 2}, ()],
    deque([1, "a", None]),
]


def plain(values: Any) -> list[Any]:
    """The elements as Python's own values, by what each kind of sequence says of itself."""
    for name in ("to_pylist", "tolist"):
        if hasattr(values, name):
            return getattr(values, name)()
    return list(values)


@pytest.mark.parametrize("number", range(len(VALUES)))
def test_values_are_encoded_as_they_are_one_by_one(backend, number):
    """Together they are the same bytes as each by itself."""
    values = VALUES[number]
    ex, other = running(backend), running(backend)
    steps = ex.start_steps("a", inputs=values)
    ex.complete_steps(steps, values)
    single = [other.start_step("a", input=value) for value in plain(values)]
    for step, value in zip(single, plain(values), strict=True):
        other.complete_step(step, value)
    assert [(step.input, step.output) for step in steps] == [(step.input, step.output) for step in single]
    assert json.loads(ex.to_json())["steps"] == json.loads(other.to_json())["steps"]


REFUSED = [
    ("x" * 3, "inputs must be a sequence, got str"),
    (b"xyz", "inputs must be a sequence, got bytes"),
    (bytearray(3), "inputs must be a sequence, got bytearray"),
    ({"a": 1}, "inputs must be a sequence, got dict"),
    (5, "inputs must be a sequence, got int"),
    (np.array(5), "inputs must be a sequence, got ndarray"),
]


@pytest.mark.parametrize("number", range(len(REFUSED)))
def test_what_is_no_sequence_is_refused(backend, number):
    values, message = REFUSED[number]
    ex = running(backend)
    with refused(ex, ValidationError, message) as caught:
        ex.start_steps("a", inputs=values)
    assert caught.value.index is None


def test_times_of_numpy_are_no_numbers(backend):
    """They have no unit as numbers; one by one they are refused too."""
    ex = running(backend)
    for values in (np.array(["2026-01-01", "2026-01-02"], "M8[D]"), np.array([1, 2], "m8[s]")):
        with refused(ex, EncodingError) as caught:
            ex.start_steps("a", inputs=values)
        assert caught.value.index == 0
        with refused(ex, EncodingError, str(caught.value)):
            ex.start_step("a", input=values[0])


def test_a_list_is_taken_as_it_was(backend):
    ex = running(backend)
    names, outputs = ["a", "b"], ["x", "y"]
    steps = ex.start_steps(names)
    ex.complete_steps(steps, outputs)
    names[0] = outputs[0] = "changed"
    names.append("more")
    assert [(step.name, step.output) for step in steps] == [("a", "x"), ("b", "y")]
    assert [json.loads(body).get("names") for _, _, _, body in ex.drain()][2] == ["a", "b"]
