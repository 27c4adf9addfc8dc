"""Actions as values, and the calls that take many at once."""

import copy
import pickle
from datetime import UTC, datetime

import pytest

from kernel.support import START_NS, made_id, refused, running, seed
from stepwell import (
    Action,
    DuplicateStep,
    EncodingError,
    ExecutionError,
    InvalidId,
    InvalidTransition,
    ManualClock,
    StepRange,
    StepSource,
    StepType,
    TerminalExecution,
    UnknownStep,
    ValidationError,
    WaitReason,
)
from stepwell._spec import RECORDS

STEP = made_id(1)
SAMPLE = {
    "exec": made_id(1, "exec"), "step": STEP, "label": "a", "path": "p", "note": "why", "int": 5, "time": START_NS,
    "json": {"b": [1]}, "StepType": "tool", "WaitReason": "timer", "runs": [STEP, made_id(2)], "labels": ["a", "b"],
    "paths": ["p", "q"], "jsons": [1, None],
}  # fmt: skip


def sample(kind):
    """An action of that kind with every field that it may have, the first of two that exclude each other."""
    given = {name: SAMPLE[type_] for name, type_, _ in RECORDS[kind]}
    for one in ("name", "key", "input", "place", "output", "error"):
        if one in given and one + "s" in given:
            del given[one]
    for name, value in (
        ("error", "broken"),
        ("errors", ["broken", "torn"]),
        ("source", StepSource.retry(STEP)),
    ):
        if name in given:
            given[name] = value
    return Action(kind, at_ns=START_NS, **given), given


KINDS = [kind for kind in RECORDS if kind != "created"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_its_fields_and_survives_json_copy_and_pickle(kind):
    action, given = sample(kind)
    assert (action.kind, action.at_ns) == (kind, START_NS)
    for name in given:
        assert getattr(action, name) is not None
    for other in (
        Action.from_json(action.to_json()), pickle.loads(pickle.dumps(action)), copy.copy(action),
        copy.deepcopy(action), Action(kind, at_ns=START_NS, **given),
    ):  # fmt: skip
        assert other == action
        assert hash(other) == hash(action)
        assert other.to_json() == action.to_json()
    assert repr(action) == f"Action({kind!r}, at_ns={START_NS})"


def test_fields_are_shown_as_what_they_are():
    assert Action("step_started", name="a").type is StepType.FUNCTION
    assert Action("step_started", name="a", type="tool").type is StepType.TOOL
    assert Action("wait", reason="timer").reason is WaitReason.TIMER
    assert Action("step_failed", step_id=STEP, error=KeyError("x")).error.code == "not_found"
    at = datetime(2026, 1, 1, tzinfo=UTC)
    assert Action("step_retrying", step_id=STEP, error="e", retry_at=at).retry_at == at
    assert Action("step_started", name="a").step_id is None
    assert Action("steps_completed", steps=[STEP], outputs=[1]).output == 1
    assert Action("steps_completed", steps=[STEP, made_id(2)], outputs=[1, 2]).outputs == [1, 2]
    assert Action("steps_completed", steps=[STEP, made_id(2)]).steps == [STEP, made_id(2)]
    with pytest.raises(AttributeError, match="an action of kind start has no field 'output'"):
        Action("start").output  # noqa: B018


def test_an_action_is_immutable():
    action = Action("pause", reason="lunch")
    with pytest.raises(AttributeError, match="an action is immutable"):
        action.reason = "tea"
    with pytest.raises(AttributeError, match="an action is immutable"):
        del action.reason
    payload = {"a": [1]}
    completed = Action("complete", output=payload)
    payload["a"].append(2)
    completed.output["a"].append(3)
    assert completed.output == {"a": [1]}


def test_actions_compare_by_value():
    assert Action("pause") != Action("resume")
    assert Action("pause", at_ns=1) != Action("pause")
    assert Action("pause", reason="a") != Action("pause", reason="b")
    assert Action("pause") != "pause"


def test_apply_fills_in_the_time_and_the_ids_of_new_steps(backend):
    ex = running(backend)
    started = ex.apply(Action("step_started", name="a"))
    assert (started.at_ns, started.step_id) == (START_NS, made_id(2))
    many = ex.apply(Action("steps_scheduled", names=["b", "c"]))
    assert many.steps == [made_id(3), made_id(4)]
    given = Action("step_completed", step_id=started.step_id, at_ns=START_NS + 5)
    assert ex.apply(given) == given
    assert ex.apply(Action("pause")).at_ns == START_NS + 5
    twin = running(backend)
    twin.apply_many([started, many, given])
    twin.pause()
    assert twin.to_json() == ex.to_json()


def test_apply_does_what_the_method_does(backend):
    ex = running(backend)
    with refused(
        ex,
        InvalidTransition,
        "start is not allowed while the execution is running; it needs created or planning",
    ):
        ex.apply(Action("start"))
    with refused(ex, ValidationError, "expected an Action, got str"):
        ex.apply("start")
    with refused(ex, ValidationError):
        ex.apply(Action("pause", at_ns=START_NS - 1))


def test_apply_many_is_all_or_nothing(backend):
    ex = running(backend)
    kept = ex.start_step("kept", input=1)
    ex.add_usage(kept, "tokens", 5)
    ex.retry_step(kept, "again", retry_at=START_NS + 9)
    actions = [
        Action("step_started", step_id=kept.id),
        Action("step_usage", step_id=kept.id, counter="tokens", amount_micros=7),
        Action("step_started", step_id=made_id(50), name="new"),
        Action("steps_started", name="more", steps=[made_id(51), made_id(52)]),
        Action("step_completed", step_id=kept.id, output="x"),
        Action("wait", reason="timer"),
        Action("pause", reason="lunch", at_ns=START_NS + 100),
        Action("cancel", reason="enough"),
        Action("start"),
    ]
    for count in range(1, len(actions) - 1):
        with refused(ex, InvalidTransition) as caught:
            ex.apply_many([*actions[:count], Action("plan")])
        assert caught.value.index == count
    with refused(
        ex, TerminalExecution, "start is not allowed: the execution has ended as cancelled"
    ) as caught:
        ex.apply_many(actions)
    assert caught.value.index == 8
    assert ex.get_step(made_id(50)) is None
    assert (kept.state, kept.attempt, kept.usage, ex.version) == ("pending", 1, {"tokens": 5.0}, 4)
    done = ex.apply_many(actions[:-1])
    assert [action.kind for action in done] == [action.kind for action in actions[:-1]]
    assert [action.at_ns for action in done] == [START_NS] * 6 + [START_NS + 100] * 2
    assert ex.state == "cancelled"


def test_apply_many_of_nothing(backend):
    ex = running(backend)
    assert ex.apply_many([]) == []
    assert ex.apply_many(iter(())) == []
    assert ex.version == 1


def test_apply_many_says_which_element_is_no_action(backend):
    ex = running(backend)
    with refused(ex, ValidationError, "expected an Action, got int") as caught:
        ex.apply_many([Action("pause"), 5])
    assert caught.value.index == 1


# --- bulk calls ---------------------------------------------------------------------------------------------------


def test_bulk_calls_return_ranges_that_the_next_one_takes(backend):
    ex = running(backend)
    waiting = ex.schedule_steps(["a", "b", "c"])
    assert isinstance(waiting, StepRange)
    assert ex.start_steps(steps=waiting) == waiting
    assert ex.complete_steps(waiting[:2], [1, 2]) == waiting[:2]
    assert ex.fail_steps(waiting[2:], error="broken") == waiting[2:]
    assert [(step.state, step.output) for step in waiting] == [
        ("completed", 1),
        ("completed", 2),
        ("failed", None),
    ]
    assert ex.version == 5
    more = ex.start_steps("d", count=4)
    ex.cancel_steps([more[0].id, more[3]], "no time")
    ex.cancel_steps(more[1:3])
    assert [step.reason for step in more] == ["no time", None, None, "no time"]
    ex.complete()


def test_a_range_is_a_sequence_of_live_steps(backend):
    ex = running(backend)
    steps = ex.start_steps(["a", "b", "c"])
    assert len(steps) == 3
    assert [step.name for step in steps] == ["a", "b", "c"]
    assert steps[-1].name == "c"
    assert [step.name for step in steps[::-2]] == ["c", "a"]
    assert steps.ids() == ex.step_order == [step.id for step in steps]
    assert steps[::2].ids() == [steps[0].id, steps[2].id]
    assert ex.complete_steps(steps[::-2], ["c", "a"]).ids() == [steps[2].id, steps[0].id]
    assert [step.output for step in steps] == ["a", None, "c"]
    with pytest.raises(IndexError):
        steps[3]
    assert repr(steps) == f"<3 steps of {ex.id}>"
    assert ex.schedule_steps("d", count=0).ids() == []
    with pytest.raises(TypeError):
        hash(steps)


def test_a_bulk_call_is_one_action_and_one_record(backend):
    ex = running(backend)
    ex.drain()
    ex.start_steps("a", count=1000)
    ((seq, _, kind, body),) = ex.drain()
    assert (seq, kind) == (2, "steps_started")
    assert len(body) < 200  # the ids are a run


def test_each_step_of_a_bulk_call_has_its_own_values(backend):
    ex = running(backend)
    scope = ex.start_step("scope", type="scope")
    source = StepSource.initial_plan()
    steps = ex.schedule_steps(
        ["a", "b"], type="tool", keys=["k", "l"], parent_step_id=scope, inputs=[{"x": 1}, None], source=source,
        callable_id="m.f", places=["scope/a:0", "scope/b:0"],
    )  # fmt: skip
    assert [(step.name, step.key, step.input, step.place) for step in steps] == [
        ("a", "k", {"x": 1}, "scope/a:0"),
        ("b", "l", None, "scope/b:0"),
    ]
    for step in steps:
        assert (step.step_type, step.parent_step_id, step.source) == ("tool", scope.id, source)
        assert step.callable_id == "m.f"
    same = ex.start_steps("c", count=2, input=[1])
    assert [step.input for step in same] == [[1], [1]]
    ex.fail_steps(steps, ["one", ValueError("two")])
    assert [step.error.message for step in steps] == ["one", "two"]
    assert [step.output for step in ex.complete_steps(same, output=7)] == [7, 7]


def test_a_bulk_call_is_all_or_nothing_and_names_the_first_offender(backend):
    ex = running(backend)
    steps = ex.start_steps("a", count=4)
    ex.complete_step(steps[2])
    message = f"step_completed is not allowed while step {steps[2].id} is completed; it needs running"
    with refused(ex, InvalidTransition, message) as caught:
        ex.complete_steps(steps)
    assert caught.value.index == 2
    unknown = made_id(99)
    with refused(ex, UnknownStep, f"this execution has no step {unknown}") as caught:
        ex.cancel_steps([steps[0].id, unknown, steps[2].id])
    assert caught.value.index == 1
    with refused(ex, DuplicateStep) as caught:
        ex.fail_steps([steps[0], steps[1], steps[0]], error="e")
    assert caught.value.index == 2
    with refused(ex, DuplicateStep) as caught:
        ex.schedule_steps("b", steps=[made_id(80), steps[3].id])
    assert caught.value.index == 1
    with refused(ex, InvalidId) as caught:
        ex.complete_steps([steps[0].id, "step_nonsense"])
    assert caught.value.index == 1
    with refused(ex, EncodingError) as caught:
        ex.complete_steps(steps[:2], [1, float("nan")])
    assert caught.value.index == 1
    with refused(
        ex,
        ValidationError,
        "names[1] must be 1 to 255 characters without control characters or lone surrogates",
    ) as caught:
        ex.start_steps(["ok", "not\nok"])
    assert caught.value.index == 1


def test_a_bulk_call_can_start_new_and_pending_steps(backend):
    ex = running(backend)
    pending = ex.schedule_step("a")
    steps = ex.start_steps("a", steps=[pending.id, made_id(70)])
    assert [step.id for step in steps] == [pending.id, made_id(70)]
    assert [step.attempt for step in steps] == [1, 1]
    with refused(ex, ValidationError) as caught:
        ex.start_steps(steps=[made_id(71)])
    assert (caught.value.index, str(caught.value)) == (0, "step_started needs name")


def test_a_range_of_another_execution_is_refused(backend):
    ex, other = running(backend), running(backend)
    steps = other.start_steps("a", count=2)
    ex.start_steps("a", count=2)
    with refused(ex, UnknownStep, f"step {steps[0].id} belongs to another execution"):
        ex.complete_steps(steps)
    assert ex.complete_steps(steps[:0]).ids() == []


def test_generators_are_taken_where_sequences_are(backend):
    ex = running(backend)
    steps = ex.start_steps(name for name in "abc")
    ex.complete_steps((step.id for step in steps), (step.name for step in steps))
    assert [step.output for step in steps] == ["a", "b", "c"]


def test_a_failing_iterable_changes_nothing(backend):
    def broken():
        yield "a"
        raise RuntimeError("the caller's own")

    ex = running(backend)
    with refused(ex, RuntimeError, "the caller's own"):
        ex.start_steps(broken())
    with refused(ex, RuntimeError, "the caller's own"):
        ex.apply_many(Action("step_started", name=name) for name in broken())


def test_errors_are_recorded_as_given_once(backend):
    ex = running(backend)
    error = ExecutionError("llm", "rate_limit", "slow down", provider="p")
    steps = ex.start_steps("a", count=2)
    ex.fail_steps(steps, [error, error])
    assert [step.error for step in steps] == [error, error]
    clock = ManualClock()
    assert seed(backend, clock=clock).created_at == datetime(2026, 1, 1, tzinfo=UTC)
