"""The columns that the pure backend hands to pyarrow; the tables themselves are compared where pyarrow is."""

import json
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from kernel.drive import EXEC, Clock, ReservingIds, step_id
from kernel.test_twins import sample
from stepwell import ExecutionError, _pure
from stepwell._pure import arrow

NAMES = [
    "id", "parent_step_id", "name", "type", "state", "attempt", "scheduled_at", "started_at", "ended_at", "duration_ns",
    "queued_ns", "input", "output", "error_category", "error_code", "error_message", "place",
]  # fmt: skip
REQUIRED = {"id", "name", "type", "state", "attempt", "scheduled_at", "queued_ns"}
TIMES = {"scheduled_at", "started_at", "ended_at"}


def row(step: Any) -> dict[str, object]:
    """What a row has to say of this step, times aside."""
    error = step.error
    return {
        "id": step.id,
        "parent_step_id": step.parent_step_id,
        "name": step.name,
        "type": step.step_type.value,
        "state": step.state.value,
        "attempt": step.attempt,
        "input": step.input,
        "output": step.output,
        "error_category": None if error is None else error.category.value,
        "error_code": None if error is None or error.code is None else str(error.code),
        "error_message": None if error is None else error.message,
        "place": step.place,
    }


@pytest.mark.parametrize("cut", [slice(None), slice(2, 5), slice(None, None, -2), slice(0, 0)])
def test_every_column_says_what_the_steps_say(cut):
    clock = Clock()
    ex = sample(_pure, clock=clock)
    ex.fail_step(ex.start_step("no code"), ExecutionError("llm", message="what"))
    clock.now += 7_000_001
    table = ex.steps.filter()[cut]
    before = clock.reads
    found = arrow.columns(ex, table._at)
    assert clock.reads == before + 1
    assert list(found) == NAMES
    steps = list(table)
    assert {len(column) for column in found.values()} == {len(steps)}
    for index, step in enumerate(steps):
        mine = {name: column[index] for name, column in found.items()}
        for name in ("input", "output"):
            mine[name] = None if mine[name] is None else json.loads(mine[name])
        expected = row(step)
        assert {name: mine[name] for name in expected} == expected
        for name in TIMES:
            shown = getattr(step, name)
            assert mine[name] == (None if shown is None else round(shown.timestamp() * 1e6) * 1000), name
        assert mine["queued_ns"] / 1e6 == step.queued_ms
        duration = mine["duration_ns"]
        assert (None if duration is None else duration / 1e6) == step.duration_ms


def test_a_forged_error_reads_as_it_does_there():
    ex = sample(_pure)
    data = ex.to_json().replace(b'"error":{"category":"tool"', b'"error":{"category":"mystery"')
    again = _pure.Execution.from_json(data)
    found = arrow.columns(again, range(len(again.steps)))
    errors = [step.error for step in again.steps.values()]
    assert "unreadable_error" in found["error_code"]
    assert found["error_message"] == [None if error is None else error.message for error in errors]


class Recorder:
    """Stands for pyarrow and keeps what it is called with."""

    def __init__(self) -> None:
        self.made: dict[str, Any] = {}
        self.DictionaryArray = SimpleNamespace(from_arrays=lambda codes, names: ("dictionary", codes, names))
        self.Table = SimpleNamespace(from_arrays=self.table)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *args, **more: (name, *args, *more.values())

    def field(self, name: str, type: Any, *, nullable: bool = True) -> Any:
        return SimpleNamespace(name=name, type=type, nullable=nullable)

    def schema(self, fields: list[Any]) -> list[Any]:
        return fields

    def array(self, values: Any, type: Any) -> Any:
        return (list(values), type)

    def table(self, arrays: list[Any], *, schema: list[Any]) -> Any:
        self.made = {field.name: (field, array) for field, array in zip(schema, arrays, strict=True)}
        return SimpleNamespace(__arrow_c_stream__=lambda: "a stream")


def test_the_schema(monkeypatch):
    recorder = Recorder()
    monkeypatch.setitem(sys.modules, "pyarrow", recorder)
    ex = _pure.Execution(id=EXEC, tenant="acme", clock=Clock(), ids=ReservingIds())
    ex.start()
    ex.start_steps(["z", "unused", "b", "z"])
    table = ex.steps.filter()[::-1].filter(name="z")
    assert ex.steps.__arrow_c_stream__() == table.__arrow_c_stream__(None) == "a stream"
    assert list(recorder.made) == NAMES
    assert {name for name, (field, _) in recorder.made.items() if not field.nullable} == REQUIRED
    types = {name: field.type for name, (field, _) in recorder.made.items()}
    assert {types[name] for name in TIMES} == {("timestamp", "ns", "UTC")}
    assert types["name"] == ("dictionary", ("int32",), ("string",))
    assert types["attempt"] == ("uint32",)
    assert types["duration_ns"] == types["queued_ns"] == ("int64",)
    assert types["input"] == types["output"] == ("large_string",)
    texts = [name for name in NAMES if name not in TIMES and types[name] == ("string",)]
    assert texts == [
        "id", "parent_step_id", "type", "state", "error_category", "error_code", "error_message", "place",
    ]  # fmt: skip
    assert recorder.made["id"][1] == ([step_id(4), step_id(1)], ("string",))
    assert recorder.made["name"][1] == ("dictionary", ([0, 0], ("int32",)), (["z"], ("string",)))
    ex.steps.filter()[1:].__arrow_c_stream__()
    assert recorder.made["name"][1][1:] == (([0, 1, 2], ("int32",)), (["unused", "b", "z"], ("string",)))


def test_without_pyarrow_it_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    ex = sample(_pure)
    before = ex.to_json()
    for table in (ex.steps, ex.steps.open()):
        with pytest.raises(ImportError) as caught:
            table.__arrow_c_stream__()
        assert str(caught.value) == (
            "the pure backend makes Arrow columns with pyarrow, which is not installed: pip install pyarrow, or use "
            "the native backend"
        )
    assert ex.to_json() == before
