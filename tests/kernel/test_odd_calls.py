"""Arguments that no generated call has, and actions that nobody can change: the same on both backends."""

import copy
import itertools
import pickle
from collections.abc import Iterator
from types import ModuleType

import pytest

from kernel.arguments import FAR_IDS
from kernel.drive import EXEC, T0, Clock, ReservingIds, outcomes, step_id
from kernel.test_twins import public, sample
from stepwell import Action, ResourceLimits, TenantContext


def all_actions() -> Iterator[Action]:
    yield from (
        Action("plan"),
        Action("start", at_ns=T0),
        Action("wait", reason="timer"),
        Action("pause", reason="x"),
    )
    yield from (
        Action("steps_started", names=["a", "b"]),
        Action("step_completed", step_id=step_id(1), output=[1]),
    )


def test_actions_do_not_change() -> None:
    for action in all_actions():
        before = repr(action), action.kind, action.at_ns
        for name in (*public(Action), "reason", "colour"):
            with pytest.raises(AttributeError):
                setattr(action, name, None)
        with pytest.raises(AttributeError):
            del action.kind
        assert (repr(action), action.kind, action.at_ns) == before
        assert not hasattr(action, "__dict__")
        assert copy.copy(action) is copy.deepcopy(action) is action
        assert pickle.loads(pickle.dumps(action)) == action
        assert hash(pickle.loads(pickle.dumps(action))) == hash(action)


def test_an_applied_action_keeps_nothing_that_can_be_changed(backend: ModuleType) -> None:
    ex = sample(backend)
    names, outputs = ["a", "b"], [[1], [2]]
    made = ex.apply(Action("steps_started", names=names, keys=["k", "l"], places=["p", "q"]))
    before = ex.to_json()
    names.append("c")
    for name in ("names", "keys", "places", "steps"):
        getattr(made, name).append("c")
    ended = Action("steps_completed", steps=ex.step_order[-2:], outputs=outputs)
    ended.outputs[0].append(5)
    outputs[0].append(5)
    assert ex.to_json() == before
    ex.apply(ended)
    assert [step.output for step in ex.steps.values()][-2:] == [[1], [2]]


def test_the_same_calls_have_the_same_outcome() -> None:
    """Odd arguments that no generated call has."""
    calls = [
        lambda ex: ex.apply(5), lambda ex: ex.apply(None), lambda ex: ex.apply_many([Action("pause"), 5]),
        lambda ex: ex.apply_many("ab"), lambda ex: ex.apply_many(None), lambda ex: ex.apply_many([]),
        lambda ex: ex.apply_many(Action("pause") for _ in range(2)),
        lambda ex: ex.start_step("a", input="x" * (9 << 20)), lambda ex: ex.complete("é" * (5 << 20)),
        lambda ex: ex.start_steps("a", count=4_194_305), lambda ex: ex.start_step("a", step_id=ex),
        lambda ex: ex.complete_steps(ex.steps), lambda ex: ex.complete_steps({}),
        lambda ex: ex.complete_steps(ex.step_order * 2), lambda ex: ex.complete_steps(None),
        lambda ex: ex.complete_steps(5), lambda ex: ex.start_steps(), lambda ex: ex.start_steps([]),
        lambda ex: ex.schedule_steps("a", steps=[step_id(5)] * 2),
        lambda ex: ex.fail_steps(ex.step_order[:1]),
        lambda ex: ex.fail_steps(ex.step_order[2:4], [None, None]),
        lambda ex: ex.add_usage(ex.step_order[3], "n", 2**62 / 10**6),
        lambda ex: ex.add_usage(ex.step_order[3], "n", 9e12),
    ]  # fmt: skip
    for number, call in enumerate(calls):
        found = outcomes(lambda module: (ex := sample(module), call(ex), ex)[1:])  # noqa: B023
        assert found[0] == found[1], number


@pytest.mark.parametrize(
    "amount", [1, 0.000001, 999_999.999999, 9_000_000_000, 1e12, 9_223_372_036_853, -1e12]
)
def test_large_sums_of_usage_are_shown_as_exactly_as_they_are_kept(
    backend: ModuleType, amount: float
) -> None:
    ex = sample(backend)
    for _ in range(3):
        step = ex.start_step("counts")
        ex.add_usage(step, "mine", amount)
        ex.add_usage(step, "mine", 1)
        ex.add_usage(step, "mine", -1)
        assert step.usage == {"mine": amount}
        ex.add_usage(step, "mine", -amount)
    ex.add_usage(step, "mine", 1_000_000_000_001)
    assert ex.usage["mine"] == 1_000_000_000_001


def test_broken_clocks_and_id_sources_have_the_same_outcome() -> None:
    class Source:
        def __init__(self, value: object) -> None:
            self.value = value

        def __call__(self, prefix: str) -> object:
            return self.value

        def now_ns(self) -> object:
            return self.value

        def reserve(self, prefix: str, count: int) -> object:
            return self.value

    texts = ["", "x", step_id(1), EXEC, *FAR_IDS, "exec_" + "\ud800" * 26]
    values = [*texts, None, 5, b"x", -1, 2**63, 1.5, True]
    calls = [
        lambda ex: None, lambda ex: ex.start_step("a"), lambda ex: ex.start_steps("a", count=3),
        lambda ex: ex.start_steps(["a"]), lambda ex: ex.schedule_steps("a", count=0),
        lambda ex: ex.apply(Action("step_started", name="a")),
        lambda ex: ex.apply(Action("steps_started", names=["a", "b"])), lambda ex: ex.child().parent,
    ]  # fmt: skip
    for value, call in itertools.product(values, calls):
        broken = (
            {"clock": Source(value)},
            {"ids": Source(value)},
            {"id": EXEC, "ids": Source(value)},
            {"id": value or ""},
        )
        for given in broken:

            def make(module: ModuleType) -> object:
                ex = module.Execution(**{"clock": Clock(), "ids": ReservingIds(), **given})  # noqa: B023
                ex.start()
                return call(ex), ex  # noqa: B023

            one, two = outcomes(make)
            assert one == two, (value, given)
    for given in ({"clock": 5}, {"ids": 5}, {"clock": "x"}):
        one, two = outcomes(lambda module: module.Execution(**given))  # noqa: B023
        assert one == two


def test_an_execution_can_fail_whatever_its_limits(backend: ModuleType) -> None:
    """Errors do not count as payloads: a limit must not keep anything from ending."""
    none = ResourceLimits(max_payload_bytes=0, max_tokens=0, max_cost=0, max_wall_time_ms=0)
    ex = backend.Execution(tenant=TenantContext("acme", limits=none), clock=Clock())
    ex.start()
    steps = ex.start_steps("a", count=3)
    ex.retry_step(steps[0], "again")
    ex.fail_step(steps[0], "broken")
    ex.fail_steps(steps[1:2], ["broken"])
    ex.fail("broken")
    assert ex.state == "failed"
    assert [str(step.state) for step in steps] == ["failed", "failed", "cancelled"]
