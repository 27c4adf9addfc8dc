"""Bulk calls: the first offending element, what is undone, and the single actions that one stands for."""

import json
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kernel.drive import EXEC, T0, Clock, Ids, ReservingIds, Twin, bodies_of, step_id
from kernel.golden.make import HERE
from kernel.support import refused, running
from stepwell import (
    Action,
    DuplicateStep,
    EncodingError,
    ExecutionError,
    InvalidId,
    InvalidTransition,
    PayloadTooLarge,
    ResourceLimits,
    StepRange,
    StepwellError,
    TenantContext,
    UnknownStep,
    ValidationError,
)
from stepwell._spec import MAX_PAYLOAD_BYTES

# --- refusals -----------------------------------------------------------------------------------------------------

NAN = float("nan")
LARGE = "x" * MAX_PAYLOAD_BYTES
LABEL = "must be 1 to 255 characters without control characters or lone surrogates"


class Case:
    """A bulk call of six running steps (1 to 6), two pending ones (7, 8) and one that has ended (9)."""

    def __init__(
        self,
        cls: type[Exception],
        index: int | None,
        step: int | None,
        message: str | None,
        call: Callable[[Any, Any], object],
    ) -> None:
        self.cls, self.index, self.step, self.message, self.call = cls, index, step, message, call


def ident(*numbers: int) -> list[str]:
    return [step_id(number) for number in numbers]


def while_(step: int, action: str, state: str, needs: str) -> str:
    return f"{action} is not allowed while step {step_id(step)} is {state}; it needs {needs}"


CASES = {
    "a value": Case(
        EncodingError, 3, 4, "cannot encode the value at $: NaN and infinity have no JSON form; use None or text",
        lambda ex, six: ex.complete_steps(six, [1.0, 2.0, None, NAN, NAN, 1.0]),
    ),
    "a value in a list of ids": Case(
        EncodingError, 1, 2, None, lambda ex, six: ex.complete_steps(ident(3, 2, 1), ["a", "\ud800", 1j]),
    ),
    "a value for new steps": Case(
        EncodingError, 1, None, None, lambda ex, six: ex.start_steps("a", inputs=[1, 2**64, -(2**70)]),
    ),
    "a large value": Case(
        PayloadTooLarge, 2, 3, None, lambda ex, six: ex.complete_steps(six[:4], ["a", "b", LARGE, LARGE]),
    ),
    "a name": Case(
        ValidationError, 2, None, f"names[2] {LABEL}", lambda ex, six: ex.start_steps(["a", "b", "", "\n"]),
    ),
    "a name that is no text": Case(
        ValidationError, 1, None, "names[1] must be text, got int", lambda ex, six: ex.start_steps(["a", 5, "", "\n"]),
    ),
    "a key": Case(
        ValidationError, 0, None, f"keys[0] {LABEL}", lambda ex, six: ex.start_steps(["a"], keys=np.array(["\t"])),
    ),
    "an error": Case(
        ValidationError, 1, 2, "error must be an ExecutionError, an exception or text; got int",
        lambda ex, six: ex.fail_steps(six[:3], ["a", 5, b"x"]),
    ),
    "no error": Case(
        ValidationError, 2, 5, "step_failed needs error", lambda ex, six: ex.fail_steps(six[2:5], ["a", "b", None]),
    ),
    "no id": Case(InvalidId, 1, None, None, lambda ex, six: ex.cancel_steps([step_id(1), "step_1", 5])),
    "not an id at all": Case(InvalidId, 1, None, None, lambda ex, six: ex.cancel_steps([step_id(1), None])),
    "an unknown id": Case(
        UnknownStep, 1, 77, f"this execution has no step {step_id(77)}",
        lambda ex, six: ex.complete_steps(ident(2, 77, 9, 78), output=1),
    ),
    "an unknown id in a run": Case(
        UnknownStep, 3, 10, f"this execution has no step {step_id(10)}",
        lambda ex, six: ex.apply(Action("steps_failed", steps=ident(1, 2, 7, 10, 11), error="e")),
    ),
    "an id twice": Case(
        DuplicateStep, 2, 3, f"this execution has a step {step_id(3)} already; leave the id out to get a new one",
        lambda ex, six: ex.complete_steps(ident(3, 4, 3, 77)),
    ),
    "a running one twice": Case(
        DuplicateStep, 2, 3, None, lambda ex, six: ex.complete_steps(ident(3, 4, 3)),
    ),
    "a new id twice": Case(
        DuplicateStep, 3, 20, None, lambda ex, six: ex.start_steps("a", steps=ident(20, 21, 22, 20, 1)),
    ),
    "a run over another": Case(
        DuplicateStep, 4, 21, None, lambda ex, six: ex.schedule_steps("a", steps=ident(20, 21, 22, 19, 21, 22)),
    ),
    "an id that is there": Case(
        DuplicateStep, 1, 9, None, lambda ex, six: ex.schedule_steps("a", steps=ident(20, 9, 21)),
    ),
    "the last of a run is there": Case(
        DuplicateStep, 2, 1, None, lambda ex, six: ex.schedule_steps("a", steps=ident(-1, 0, 1)),
    ),
    "a step that has ended": Case(
        InvalidTransition, 3, 9, while_(9, "step_completed", "completed", "running"),
        lambda ex, six: ex.complete_steps(ident(1, 2, 3, 9, 7)),
    ),
    "a pending one in a range": Case(
        InvalidTransition, 6, 7, while_(7, "step_completed", "pending", "running"),
        lambda ex, six: ex.complete_steps(ex.steps.filter()[:9], output=1),
    ),
    "a running one backwards": Case(
        InvalidTransition, 2, 6, while_(6, "step_started", "running", "pending"),
        lambda ex, six: ex.start_steps(steps=ex.steps.filter()[7:0:-1]),
    ),
    "a name that differs": Case(
        ValidationError, 1, 8, f"step {step_id(8)} is named 'b', not 'a'",
        lambda ex, six: ex.start_steps("a", steps=ident(7, 8, 9)),
    ),
    "one of the names differs": Case(
        ValidationError, 1, 8, f"step {step_id(8)} is named 'b', not 'c'",
        lambda ex, six: ex.start_steps(["a", "c"], steps=ident(7, 8)),
    ),
    "a description": Case(
        ValidationError, 1, 8, f"step {step_id(8)} exists already: only its id and its name may be given to start it",
        lambda ex, six: ex.start_steps(steps=ident(7, 8), inputs=[None, 1]),
    ),
    "no name for a new one": Case(
        ValidationError, 1, 20, "step_started needs name", lambda ex, six: ex.start_steps(steps=ident(7, 20, 1)),
    ),
    "new ones, none with a name": Case(
        ValidationError, 0, 20, "step_started needs name", lambda ex, six: ex.start_steps(steps=ident(20, 21)),
    ),
    "an unknown parent": Case(
        UnknownStep, 0, 77, f"this execution has no step {step_id(77)}",
        lambda ex, six: ex.schedule_steps("a", count=2, parent_step_id=step_id(77)),
    ),
    "a parent that would be made": Case(
        UnknownStep, 0, 20, None, lambda ex, six: ex.start_steps("a", steps=ident(20, 21), parent_step_id=step_id(20)),
    ),
    "before a value, an earlier step": Case(  # values are looked at first
        EncodingError, 1, 1, None, lambda ex, six: ex.complete_steps(ident(9, 1), [1, NAN]),
    ),
    "a length": Case(
        ValidationError, None, None, "outputs must have one entry per step: expected 6, got 5",
        lambda ex, six: ex.complete_steps(six, range(5)),
    ),
}  # fmt: skip


def nine(backend: Any, **given: Any) -> tuple[Any, Any, Clock]:
    clock = Clock()
    ex = backend.Execution(**{"id": EXEC, "tenant": "acme", "clock": clock, "ids": ReservingIds(), **given})
    ex.start()
    six = ex.start_steps(list("abcabc"))
    ex.schedule_steps(["a", "b"])
    ex.complete_step(ex.start_step("c"))
    return ex, six, clock


@pytest.mark.parametrize("name", CASES)
def test_the_first_offending_element_is_named_and_nothing_changes(backend, name):
    case = CASES[name]
    ex, six, clock = nine(backend)
    head, reads, states = ex.head, clock.reads, ex.steps.states()
    with refused(ex, case.cls, case.message) as caught:
        case.call(ex, six)
    assert caught.value.index == case.index
    assert caught.value.step_id == (None if case.step is None else step_id(case.step))
    assert clock.reads - reads <= 1
    assert (ex.head, ex.version, len(ex.steps), ex.steps.states()) == (head, 5, 9, states)
    ex.complete_steps(six, range(6))  # all of it is as usable as before
    assert ex.steps.counts()["completed"] == 7


def test_errors_of_a_single_step_name_it_too(backend):
    ex, _, _ = nine(backend)
    for call in (
        lambda: ex.complete_step(step_id(9)),
        lambda: ex.skip_step(step_id(9)),
        lambda: ex.start_step("z", step_id=step_id(9)),
        lambda: ex.schedule_step("z", step_id=step_id(9)),
        lambda: ex.input_received(step_id(9)),
    ):
        with pytest.raises(StepwellError) as caught:
            call()
        assert (caught.value.step_id, caught.value.index) == (step_id(9), None)
    with pytest.raises(UnknownStep) as caught:
        ex.cancel_step(step_id(77))
    assert caught.value.step_id == step_id(77)


@pytest.mark.parametrize("way", ["outputs", "output", "inputs", "input", "apply"])
def test_what_is_over_the_limit_of_a_payload_names_its_element(backend, way):
    tenant = TenantContext("acme", limits=ResourceLimits(max_payload_bytes=10))
    ex, six, _ = nine(backend, tenant=tenant)
    large = "x" * 20
    index, ident, call = {
        "outputs": (2, step_id(3), lambda: ex.complete_steps(six[:4], ["a", None, large, large])),
        "output": (0, step_id(2), lambda: ex.complete_steps(six[1:], output=large)),
        "inputs": (1, step_id(11), lambda: ex.start_steps("a", inputs=["a", large])),
        "input": (0, step_id(10), lambda: ex.schedule_steps("a", count=3, input=large)),
        "apply": (
            1,
            step_id(1),
            lambda: ex.apply(Action("steps_completed", steps=[six[2], six[0]], outputs=[1, large])),
        ),
    }[way]
    with refused(
        ex, ExecutionError, "quota_exceeded/max_payload_bytes: over the limit max_payload_bytes: 22 of 10"
    ) as caught:
        call()
    assert (caught.value.index, caught.value.step_id) == (index, ident)


def test_in_apply_many_the_index_is_that_of_the_action(backend):
    ex, six, _ = nine(backend)
    actions = [
        Action("steps_completed", steps=six[:2]),
        Action("steps_started", names=["x", "y"]),
        Action("steps_started", steps=ident(7, 8)),
        Action("steps_failed", steps=six[::-2], errors=["a", "b", "c"]),
        Action("step_usage", step_id=step_id(3), counter="tokens", amount_micros=5),
        Action("steps_cancelled", steps=ident(3, 9)),
    ]
    with refused(ex, InvalidTransition) as caught:
        ex.apply_many(actions)
    assert (caught.value.index, caught.value.step_id) == (3, step_id(2))
    ex.apply_many(actions[:3])
    assert ex.steps.states() == ["completed"] * 2 + ["running"] * 6 + ["completed"] + ["running"] * 2


def test_what_was_undone_was_undone_wholly(backend):
    """Steps, ids, counts and histories: the same calls afterwards give the same execution as without the attempt."""
    ex, six, clock = nine(backend)
    twin, _, _ = nine(backend)
    for each in (ex, twin):
        each.retry_step(six[3].id, "once")
        each.add_usage(six[2].id, "tokens", 1.5)
    attempts = [
        Action("steps_started", names=["x"] * 5, inputs=[1, None, 3, 4, 5], type="tool"),
        Action("step_started", step_id=step_id(4)),
        Action("step_retrying", step_id=step_id(4), error="twice", retry_at=T0 + 9),
        Action("steps_failed", steps=ident(1, 2, 4, 7), error="all"),
        Action("steps_started", name="y", steps=ident(500, 501, 502)),
        Action("step_usage", step_id=step_id(3), counter="tokens", amount_micros=5),
        Action("steps_completed", steps=ident(501, 500), outputs=[1, 2]),
        Action("fail", error="done"),
        Action("start"),
    ]
    clock.now += 10**9
    for count in range(len(attempts) - 1):
        before = ex.to_json()
        with pytest.raises(StepwellError):
            ex.apply_many([*attempts[:count], Action("steps_started", steps=ident(9))])
        assert ex.to_json() == before
    clock.now -= 10**9
    assert ex.steps.counts() == twin.steps.counts()
    assert ex.get_step(step_id(500)) is None
    for each in (ex, twin):
        each.start_steps("y", steps=ident(500, 501, 502))
        each.start_step("z", step_id=step_id(503))
        each.fail("over")
    assert ex.to_json() == twin.to_json()
    assert ex.steps.states() == twin.steps.states()


def test_an_undone_bulk_call_leaves_no_trace_among_the_ids(backend):
    """Ids that were taken back are new again, and those given since are not."""
    ex, _, _ = nine(backend)
    for made in (ident(500, 501, 502), ident(600)):
        with pytest.raises(InvalidTransition):
            ex.apply_many(
                [Action("steps_started", name="x", steps=made), Action("steps_started", steps=ident(9))]
            )
    ex.start_step("y", step_id=step_id(501))
    with refused(ex, DuplicateStep) as caught:
        ex.schedule_steps("x", steps=ident(500, 501, 502))
    assert (caught.value.index, caught.value.step_id) == (1, step_id(501))
    assert ex.start_steps("x", steps=ident(502, 503, 600)).ids() == ident(502, 503, 600)
    assert ex.get_step(step_id(500)) is None


@pytest.mark.parametrize("end", ["fail", "cancel", "the execution"])
def test_what_ends_together_waits_for_no_retry(backend, end):
    ex, six, _ = nine(backend)
    ex.retry_step(six[1], "later", retry_at=T0 + 5)
    ex.fail_step(six[5], "broken")
    assert six[1].retry_at is not None
    if end == "fail":
        ex.fail_steps(six[:3], error="over")
    elif end == "cancel":
        ex.cancel_steps(six[:3], "over")
    else:
        ex.cancel("over")
    assert [step.retry_at for step in six] == [None] * 6
    assert [step.reason for step in six[:3]] == (["over"] * 3 if end == "cancel" else [None] * 3)
    assert six[1].attempts[0].error.message == "later"
    assert six[5].error.message == "broken"


# --- the single actions -------------------------------------------------------------------------------------------


def twins(backend: Any) -> tuple[Any, Any]:
    return Twin(backend, Ids(), tenant="acme").ex, Twin(backend, Ids(), tenant="acme").ex


def steps_of(ex: Any) -> Any:
    return json.loads(ex.to_json())["steps"]


@pytest.mark.parametrize("path", sorted(HERE.glob("*.jsonl")), ids=lambda path: path.stem)
def test_a_journal_of_single_actions_makes_the_same_steps(backend, path):
    """Every bulk action of the golden journals, taken apart."""
    bodies = path.read_bytes().removesuffix(b"\n").split(b"\n")
    header = json.loads(bodies[0])
    whole = backend.Execution.replay(header["id"], bodies)
    parts = backend.Execution.replay(header["id"], bodies[:1])
    count = 0
    for body in bodies[1:]:
        action = Action.from_json(b"{" + body.split(b",", 2)[2])
        expanded = action.expand()
        if action.kind.startswith("steps_"):
            assert {one.kind for one in expanded} <= {action.kind.replace("steps_", "step_")}
            assert [one.step_id for one in expanded] == action.steps
            assert {one.at_ns for one in expanded} <= {action.at_ns}
        else:
            assert expanded == [action]
        count += len(expanded)
        parts.apply_many(expanded)
    assert steps_of(parts) == steps_of(whole)
    assert parts.version == count
    again = backend.Execution.replay(header["id"], [*bodies[:1], *bodies_of(parts.drain())])
    assert again == parts


def test_every_field_of_a_bulk_action_goes_to_its_steps(backend):
    one, two = twins(backend)
    for ex in (one, two):
        ex.start()
    scope = one.start_step("scope").id
    two.start_step("scope")
    made = one.apply(
        Action(
            "steps_started", names=["a", "b", "a"], type="tool", keys=["k", "l", "m"], parent_step_id=scope,
            inputs=[{"x": 1}, None, "y"], callable_id="m.f", places=["p", "q", "r"],
        )
    )  # fmt: skip
    ended = one.apply(Action("steps_completed", steps=made.steps[:2], outputs=[None, [1]]))
    failed = one.apply(Action("steps_failed", steps=made.steps[2:], error=ValueError("x")))
    for action in (made, ended, failed):
        two.apply_many(action.expand())
    assert steps_of(one) == steps_of(two)
    assert made.expand()[1].input is None
    assert [action.error.message for action in failed.expand()] == ["x"]


def test_what_has_no_ids_yet_cannot_be_taken_apart():
    with pytest.raises(ValidationError, match="steps_started needs steps"):
        Action("steps_started", names=["a", "b"]).expand()
    assert Action("steps_started", steps=[]).expand() == []
    (only,) = Action("step_started", name="a").expand()
    assert only == Action("step_started", name="a")


def test_far_elements_are_named_as_well(backend):
    ex, _, _ = nine(backend)
    count = 25_000
    steps = ex.start_steps("a", count=count)
    for outputs in ([1.5] * (count - 1) + [NAN], ["x"] * (count - 1) + [1j], [*range(count - 1), 2**64]):
        with refused(ex, EncodingError) as caught:
            ex.complete_steps(steps, outputs)
        assert (caught.value.index, caught.value.step_id) == (count - 1, steps[-1].id)
    mixed = ["x", None, 1, "y", {"z": 1}] * (count // 5)
    ex.complete_steps(steps, mixed)
    assert [steps[index].output for index in (0, 10_001, 19_999, 24_999)] == ["x", None, {"z": 1}, {"z": 1}]


# --- how long it takes --------------------------------------------------------------------------------------------


def test_many_steps_are_one_block(backend):
    """A hundred thousand of them, in calls that name them in every way; and each is found."""
    count = 100_000
    ex, _, clock = nine(backend)
    steps = ex.start_steps(np.array(["a", "b"])[np.arange(count) % 2], inputs=np.arange(count))
    assert isinstance(steps._indices, range)
    assert ex.complete_steps(steps[: count // 2], np.arange(count // 2) / 2) == steps[: count // 2]
    ex.fail_steps(steps[count // 2 :].filter(name="a"), error="no")
    ex.cancel_steps(steps.open().ids())
    assert steps.counts() == {
        **dict.fromkeys(steps.counts(), 0),
        "completed": 50_000,
        "failed": 25_000,
        "cancelled": 25_000,
    }
    assert steps[-1].id == steps.ids()[-1] == ex.step_order[-1]
    assert ex.get_step(steps[70_000].id) == steps[70_000]
    assert (steps[10_001].name, steps[10_001].input, steps[10_001].output) == ("b", 10_001, 5000.5)
    assert isinstance(steps, StepRange)
    records = ex.drain()
    assert len(records) == 10
    assert backend.Execution.replay(ex.id, records, clock=clock) == ex


LENGTHS = (0, 1, 61, 62, 32_766, 65_531, 65_532, 65_533, 65_534, 65_535, 200_000)
"""Of texts whose JSON has two characters more: where the native backend keeps them in another way."""


@pytest.mark.parametrize("first", LENGTHS)
def test_texts_of_every_length_stay_what_they_were(backend, first):
    for second in LENGTHS:
        ex = running(backend)
        outputs = ["x" * first, "y" * second, 7, "", "x" * first]
        steps = ex.start_steps("a", count=6)
        ex.complete_steps(steps[:5], outputs)
        ex.cancel_step(steps[5], reason="")
        ex.start_step("b", input=1)
        assert [step.output for step in steps[:5]] == outputs
        assert steps[5].reason == ""
        again = backend.Execution.replay(ex.id, ex.drain())
        assert again == ex
        assert backend.Execution.from_json(ex.to_json()).to_json() == ex.to_json()


def test_what_is_the_same_for_all_is_kept_once(backend):
    ex = running(backend)
    large = "x" * 500_000
    before = resident()
    steps = ex.start_steps("a", count=2000)
    ex.complete_steps(steps[::2], output=large)
    ex.apply_many([Action("steps_completed", steps=steps[1::2].ids(), output=large)])
    assert steps[-1].output == large
    assert resident() - before < 300  # as many copies would be a thousand


def resident():
    """Megabytes that the process holds, where the system says so."""
    told = Path("/proc/self/statm")
    return int(told.read_text().split()[1]) * 4096 // 1_000_000 if told.exists() else 0


@pytest.mark.parametrize(
    "indices", [range(6), range(0, 7, 2), range(-1, 2), array("I", [0, 5]), array("I", [9])]
)
def test_a_range_made_by_hand_is_of_steps(backend, indices):
    ex = running(backend)
    ex.start_steps("a", count=5)
    with pytest.raises(IndexError):
        StepRange(ex, indices)
    found = StepRange(ex, range(0, 5, 2))
    ex.complete_steps(found)
    assert [str(state) for state in ex.steps.states()] == ["completed", "running"] * 2 + ["completed"]


@pytest.mark.parametrize("name", ["complete_steps", "fail_steps", "cancel_steps"])
def test_none_is_no_steps(backend, name):
    ex = running(backend)
    given = {"complete_steps": [(1, 2)], "fail_steps": ["no"], "cancel_steps": "why"}[name]
    with pytest.raises(ValidationError, match="needs steps"):
        getattr(ex, name)(None, given)
    assert len(ex.steps) == 0
