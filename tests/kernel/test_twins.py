"""What a user sees of the two backends is the same: names, signatures, words, pickles, and how bad data is refused."""

import copy
import inspect
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import stepwell
from backends import BACKENDS
from kernel.drive import (
    EXEC,
    MODULES,
    PAIR,
    T0,
    Clock,
    ReservingIds,
    bodies_of,
    seen,
    shown,
    step_id,
)
from stepwell import Action, InvalidTransition, ParentLink, StepRange, StepSource, TenantContext

CLASSES = ["Execution", "Step", "SystemClock", "IdSource"]


def sample(backend: ModuleType, **given: Any) -> Any:
    """An execution with steps in every state and most fields filled."""
    made = {
        "id": EXEC,
        "tenant": "acme",
        "input": {"n": [1, 2.5]},
        "key": "k",
        "blueprint": "m.f",
        "schema_version": "v1",
    }
    parent = ParentLink("schedule", "nightly")
    ex = backend.Execution(**{**made, "parent": parent, "clock": Clock(), "ids": ReservingIds(), **given})
    ex.start()
    first = ex.start_step(
        "fetch", type="tool", key="k1", place="a:0", callable_id="m.fetch", source=StepSource.initial_plan()
    )
    ex.add_usage(first, "tokens", 12.5)
    ex.retry_step(first, "slow", retry_at=T0 + 5)
    ex.start_step(step_id=first)
    ex.complete_step(first, 'out\n"é')
    many = ex.start_steps(["a", "b", "c"], parent_step_id=first, inputs=[1, None, "x"])
    ex.complete_steps(many[:1], [{"a": 1}])
    ex.fail_step(many[1], ValueError("bad"))
    ex.skip_step(ex.schedule_step("later"), "not needed")
    ex.schedule_step("waits", type="wait")
    return ex


def public(kind: type) -> list[str]:
    return [name for name in dir(kind) if not name.startswith("_")]


# --- names, signatures and words ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CLASSES)
def test_classes_have_the_same_names_and_words(name: str) -> None:
    one, two = (getattr(module, name) for module in PAIR)
    assert public(one) == public(two)
    assert inspect.getdoc(one) == inspect.getdoc(two)
    assert inspect.getdoc(one)
    for kind in (one, two):
        assert (kind.__module__, kind.__name__, kind.__qualname__) == ("stepwell", name, name)


@pytest.mark.parametrize("name", CLASSES)
def test_methods_and_attributes_have_the_same_signatures_and_words(name: str) -> None:
    one, two = (getattr(module, name) for module in PAIR)
    for member in public(one):
        mine, other = getattr(one, member), getattr(two, member)
        assert callable(mine) == callable(other), member
        assert inspect.getdoc(mine) == inspect.getdoc(other), member
        assert inspect.getdoc(mine), member
        if callable(mine):
            assert parameters(mine) == parameters(other), member
            assert mine.__name__ == other.__name__ == member
    assert parameters(one) == parameters(two)


def parameters(what: Any) -> list[tuple[str, object, object]]:
    """What a caller sees of them; `self` of a method in C can only be given by position."""
    found = inspect.signature(what).parameters.values()
    return [(each.name, each.kind, each.default) for each in found if each.name != "self"]


def test_modules_offer_the_same() -> None:
    for module in MODULES.values():
        for name in (*CLASSES, "new_id"):
            assert hasattr(module, name)
        assert type(module.new_id) is module.IdSource
    chosen = import_module(f"stepwell._{stepwell.BACKEND}")
    assert all(getattr(stepwell, name) is getattr(chosen, name) for name in CLASSES)


# --- objects ------------------------------------------------------------------------------------------------------


def test_everything_shown_is_the_same() -> None:
    one, two = (sample(module) for module in PAIR)
    assert shown(one) == shown(two)
    assert hash(one) == hash(two) == hash(EXEC)
    assert [hash(step) for step in one.steps.values()] == [hash(ident) for ident in two.step_order]
    assert (
        repr(one) == repr(two) == f"<Execution {EXEC} running version={one.version} steps={len(one.steps)}>"
    )
    assert bodies_of(one.drain()) == bodies_of(two.drain())
    assert one.head == two.head
    if one.__class__ is not two.__class__:
        assert (one == two) is (two == one) is False
    for module in MODULES.values():
        assert repr(module.SystemClock()) == "SystemClock()"
        assert repr(module.IdSource()) == repr(module.new_id) == "IdSource()"


def test_equality_is_of_state_for_executions_and_of_identity_for_steps(backend: ModuleType) -> None:
    ex, other = sample(backend), sample(backend)
    assert ex == other
    assert (ex != other) is False
    first = ex.step_order[0]
    assert ex.steps[first] == ex.get_step(first)
    assert ex.steps[first] != other.steps[first]
    assert len({ex.steps[first], ex.get_step(first), other.steps[first]}) == 2
    other.drain()
    assert ex == other  # who has drained what is not part of it
    other.pause()
    assert ex != other
    for strange in (5, None, "x", ex.to_json(), ex.steps[first]):
        assert ex != strange
        assert (ex == strange) is False
        assert ex.steps[first] != (strange if strange != ex.steps[first] else ex)
    for left, right in ((ex, ex), (ex.steps[first], ex.steps[first]), (ex, 5)):
        with pytest.raises(TypeError):
            _ = left < right


@pytest.mark.parametrize("name", CLASSES)
def test_classes_are_final(backend: ModuleType, name: str) -> None:
    with pytest.raises(TypeError, match=rf"^type 'stepwell\.{name}' is not an acceptable base type$"):
        type("Mine", (getattr(backend, name),), {})


def test_objects_do_not_change_but_by_actions(backend: ModuleType) -> None:
    ex = sample(backend)
    before = ex.to_json()
    step = ex.steps[ex.step_order[0]]
    for thing in (ex, step, backend.SystemClock(), backend.IdSource()):
        assert not hasattr(thing, "__dict__")
        with pytest.raises(AttributeError):
            thing.colour = "red"
        for name in public(type(thing)):
            with pytest.raises(AttributeError):
                setattr(thing, name, None)
            with pytest.raises(AttributeError):
                delattr(thing, name)
    with pytest.raises(TypeError):
        type(step)()
    with pytest.raises(TypeError):
        ex.steps["x"] = step
    ex.step_order.clear()
    ex.usage.clear()
    step.usage["tokens"] = 0
    step.attempts.clear()
    ex.input["n"].append(3)
    assert ex.to_json() == before


@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, lambda ex: type(ex).from_json(ex.to_json())])
def test_a_copy_goes_its_own_way(backend: ModuleType, how: Any) -> None:
    ex = sample(backend, tenant=TenantContext("acme"))
    before = ex.to_json()
    other = how(ex)
    assert other == ex
    assert other is not ex
    other.start_step("more")
    other.drain()
    other.cancel("enough")
    assert ex.to_json() == before
    assert other != ex
    ex.pause()
    assert other.state == "cancelled"
    step = ex.steps[ex.step_order[0]]
    assert copy.copy(step) == step
    assert copy.deepcopy(step) != step  # its execution is copied too


def test_the_steps_are_a_mapping(backend: ModuleType) -> None:
    ex = sample(backend)
    steps = ex.steps
    assert not isinstance(steps, Mapping)  # polars would take it apart instead of asking for its columns
    assert [*steps] == [*steps.keys()] == ex.step_order == [step.id for step in steps.values()]
    assert [*steps.items()] == [(ident, steps[ident]) for ident in ex.step_order]
    assert len(steps) == len(ex.step_order)
    assert bool(steps)
    assert not backend.Execution().steps
    assert [*reversed(ex.step_order)] == [*steps][::-1]
    for absent in (step_id(999), "", "x", "\ud800", EXEC, 5, None, b"x", 1.5, (), steps[ex.step_order[0]]):
        assert absent not in steps
        assert steps.get(absent) is None
        assert ex.get_step(absent) is ex.get_step_mut(absent) is None
        with pytest.raises(KeyError) as info:
            steps[absent]
        assert info.value.args == (absent,)
    ex.start_step("live")
    assert len(steps) == len(ex.step_order)
    assert repr(steps) == f"<{len(steps)} steps of {EXEC}>"


def test_a_step_range_is_a_sequence(backend: ModuleType) -> None:
    ex = sample(backend)
    many = ex.start_steps("x", count=5)
    ids = ex.step_order[-5:]
    assert not isinstance(many, Sequence)  # others would take it apart instead of asking for its columns
    assert many.ids() == ids == [step.id for step in many]
    for index in range(-5, 5):
        assert many[index].id == ids[index]
    for index in (5, -6, 99):
        with pytest.raises(IndexError):
            many[index]
    for cut in (
        slice(None),
        slice(1, 3),
        slice(-2, None),
        slice(None, None, -1),
        slice(0, 5, 2),
        slice(9, 12),
    ):
        assert isinstance(many[cut], StepRange)
        assert many[cut].ids() == ids[cut]
        assert len(many[cut]) == len(ids[cut])
    assert many[1:3] == many[1:4][:2]
    assert many[1:3] != many[2:4]
    assert many != [*many]
    assert many[2] in many
    assert ex.steps[ex.step_order[0]] not in many
    assert many.index(many[3]) == 3
    assert [*reversed(many)] == [*many][::-1]
    with pytest.raises(TypeError):
        hash(many)
    ex.complete_steps(many[::-1][:2], ["last", "before"])
    assert [step.output for step in many] == [None, None, None, "before", "last"]
    ex.cancel_steps(many[:3])
    assert pickle.loads(pickle.dumps(many)).ids() == ids


def test_bad_calls_are_type_errors_on_both() -> None:
    def call(module: ModuleType, name: str, *given: object, **more: object) -> object:
        try:
            getattr(sample(module), name)(*given, **more)
        except TypeError:
            return "TypeError"
        return "taken"

    for name, given, more in (
        ("start", (1,), {}), ("wait", (), {}), ("pause", (), {"why": 1}), ("start_step", ("a", "b"), {}),
        ("complete", (1, 2), {}), ("complete_step", (), {}), ("schedule_step", (), {}),
        ("add_usage", (1, 2), {}), ("start_steps", ([], []), {}), ("apply_many", (5,), {}),
        ("replay", (EXEC, 5), {}), ("drain", (1,), {}), ("from_json", (), {}),
    ):  # fmt: skip
        assert {call(module, name, *given, **more) for module in PAIR} == {"TypeError"}, name


# --- pickles ------------------------------------------------------------------------------------------------------

_DUMP = """
import pickle, sys
sys.path[:0] = {path!r}
import kernel.test_twins as twins
import stepwell
ex = twins.sample(twins.MODULES[stepwell.BACKEND], clock=None, ids=None)
steps = ex.steps[ex.step_order[0]]
many = ex.start_steps("x", count=3)
sys.stdout.buffer.write(pickle.dumps([ex.to_json(), ex, steps, many, Action_(), ex.steps], {protocol}))
""".replace("Action_()", "twins.Action('steps_started', names=['a', 'b'])")
_LOAD = """
import pickle, sys
sys.path[:0] = {path!r}
import stepwell
json, ex, step, many, action, steps = pickle.load(sys.stdin.buffer)
assert type(ex) is stepwell.Execution and type(step) is stepwell.Step, (type(ex), stepwell.BACKEND)
assert ex.to_json() == json
assert step == ex.steps[step.id] and many[0] == ex.get_step(many.ids()[0]) and many[2].name == "x"
assert [*steps] == ex.step_order and steps[step.id] == step
assert action == stepwell.Action("steps_started", names=["a", "b"])
ex.complete_steps(many, ["a", "b", "c"])
print(stepwell.BACKEND, step.output, many[2].output)
"""


def run(code: str, backend: str, data: bytes = b"") -> bytes:
    path = [str(Path(__file__).parents[1])]
    protocol = pickle.HIGHEST_PROTOCOL
    done = subprocess.run(
        [sys.executable, "-c", code.format(path=path, protocol=protocol)],
        input=data,
        env={**os.environ, "STEPWELL_BACKEND": backend},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def test_pickles_go_in_both_directions() -> None:
    dumps = {name: run(_DUMP, name) for name in BACKENDS}
    for data in dumps.values():
        for name in BACKENDS:
            assert run(_LOAD, name, data).decode().split() == [name, "out", '"é', "c"]


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_of_every_protocol(backend: ModuleType, protocol: int) -> None:
    ex = sample(backend)
    again = pickle.loads(pickle.dumps(ex, protocol))
    assert type(again) is stepwell.Execution  # on the backend that was chosen
    assert again.to_json() == ex.to_json()
    one, two = (pickle.dumps(sample(module), protocol) for module in PAIR)
    assert one == two


# --- threads ------------------------------------------------------------------------------------------------------


def hammer(ex: Any, worker: int, rounds: int, failures: list[BaseException]) -> None:
    try:
        for number in range(rounds):
            step = ex.start_step(f"{worker}", input=number)
            ex.add_usage(step, "tokens", 1)
            ex.complete_step(step, number)
            many = ex.start_steps(f"many {worker}", count=3)
            ex.complete_steps(many, [1, 2, 3])
            try:  # takes back what it did before it was refused
                ex.apply_many(
                    [Action("step_started", name="undone"), Action("step_completed", step_id=many[0].id)]
                )
            except InvalidTransition:
                pass
            seen(step)
            assert step.output == number
            assert len(ex.steps) >= 4 * (number + 1)
            if number % 20 == 0:
                assert ex.to_json()
                repr(ex), ex.step_order, ex.usage, copy.copy(ex)
    except BaseException as error:  # noqa: BLE001 - told to the thread that looks
        failures.append(error)


def test_threads_share_an_execution(backend: ModuleType) -> None:
    ex = backend.Execution(tenant="acme")
    ex.start()
    failures: list[BaseException] = []
    workers, rounds = 3, 60
    threads = [
        threading.Thread(target=hammer, args=(ex, worker, rounds, failures)) for worker in range(workers)
    ]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        records: list[Any] = []
        while any(thread.is_alive() for thread in threads):
            records += ex.drain()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert failures == []
    records += ex.drain()
    assert len(ex.steps) == len({*ex.step_order}) == workers * rounds * 4
    assert ex.usage == {"tokens": workers * rounds}
    assert all(step.state == "completed" for step in ex.steps.values())
    assert not any(step.name == "undone" for step in ex.steps.values())
    assert ex.version == len(records) - 1 == 1 + workers * rounds * 5
    again = backend.Execution.replay(ex.id, records, version=ex.version)
    assert again == ex
    assert again.head == ex.head
