"""The model as users see it: seeds, steps, attempts, usage, actions as values, bulk calls."""

import copy
import pickle
from datetime import UTC, datetime, timedelta

import pytest

import stepwell
from kernel.support import START_NS, Ids, in_state, made_id, refused, running, seed
from stepwell import (
    Action,
    Attempt,
    DuplicateStep,
    ExecutionState,
    InvalidTransition,
    ManualClock,
    ParentLink,
    ParentType,
    ResourceLimits,
    StepSource,
    StepState,
    StepType,
    TenantContext,
    UnknownStep,
    ValidationError,
    WaitReason,
    _backend,
)

START = datetime(2026, 1, 1, tzinfo=UTC)


# --- seeds --------------------------------------------------------------------------------------------------------


def test_a_new_execution_has_an_id_and_nothing_else(backend):
    ex = backend.Execution()
    assert ex.id.startswith("exec_")
    assert ex.id != backend.Execution().id
    assert (ex.state, ex.version, len(ex.steps), ex.step_order) == (ExecutionState.CREATED, 0, 0, [])
    for name in (
        "tenant_id", "wait_reason", "reason", "parent", "schema_version", "started_at", "ended_at", "blueprint",
        "key", "input", "output", "error", "duration_ms", "head",
    ):  # fmt: skip
        assert getattr(ex, name) is None, name
    assert ex.usage == {}


def test_what_is_given_at_creation_is_shown(backend):
    link = ParentLink(ParentType.SCHEDULE, "nightly")
    ex = backend.Execution(
        id=made_id(7, "exec"), tenant="acme", parent=link, schema_version="v1", blueprint="m.f", key="order-1",
        input={"url": "…"}, clock=ManualClock(),
    )  # fmt: skip
    assert (ex.id, ex.tenant_id, ex.parent, ex.schema_version) == (made_id(7, "exec"), "acme", link, "v1")
    assert (ex.blueprint, ex.key, ex.input) == ("m.f", "order-1", {"url": "…"})
    assert ex.created_at == START


def test_seed_constructors_work_on_the_class_and_on_what_they_return(backend):
    cls = backend.Execution
    one = cls.with_tenant("acme").with_schema_version("v1").with_id(made_id(3, "exec"))
    other = cls.with_id(made_id(3, "exec")).with_schema_version("v1").with_tenant("acme")
    for ex in (one, other):
        assert type(ex) is cls
        assert (ex.id, ex.tenant_id, ex.schema_version) == (made_id(3, "exec"), "acme", "v1")


def test_a_seed_constructor_leaves_the_instance_alone_and_keeps_the_rest(backend):
    link = ParentLink("system", "cron")
    first = seed(backend, parent=link, blueprint="m.f", key="k", input=[1.0])
    second = first.with_schema_version("v2")
    assert first.schema_version is None
    assert second.schema_version == "v2"
    assert (second.id, second.tenant_id, second.parent) == (first.id, "acme", link)
    assert (second.blueprint, second.key, second.input) == ("m.f", "k", [1.0])
    second.start()
    assert second.start_step("a").id == made_id(2)  # clock and ids go along
    assert second.created_at == START


@pytest.mark.parametrize("name", ["with_id", "with_tenant", "with_schema_version"])
def test_a_seed_constructor_is_for_executions_without_a_journal(backend, name):
    message = f"{name} is for an execution without actions; this one has a journal already"
    started = running(backend)
    with refused(started, ValidationError, message):
        getattr(started, name)(made_id(9, "exec"))
    drained = seed(backend)
    drained.drain()
    with refused(drained, ValidationError, message):
        getattr(drained, name)(made_id(9, "exec"))


def test_a_child_is_a_new_execution_of_the_same_tenant(backend):
    parent = running(backend, schema_version="v1", blueprint="m.f", key="k", input=1)
    child = parent.child()
    assert child.id == made_id(2, "exec")
    assert child.tenant_id == "acme"
    assert child.parent == ParentLink("execution", parent.id)
    assert child.state is ExecutionState.CREATED
    assert (child.schema_version, child.blueprint, child.key, child.input) == (None, None, None, None)
    assert child.child().parent == ParentLink("execution", child.id)


def test_a_child_has_the_limits_of_its_tenant(backend):
    context = TenantContext("acme", limits=ResourceLimits(max_steps=1))
    child = seed(backend, tenant=context).child()
    child.start()
    with refused(child, stepwell.ExecutionError):
        child.start_steps("a", count=2)


# --- the execution ------------------------------------------------------------------------------------------------

LIFE = {  # state: is_active, can_resume, is_terminal
    "created": (False, False, False),
    "planning": (True, False, False),
    "running": (True, False, False),
    "paused": (True, True, False),
    "waiting": (True, True, False),
    "completed": (False, False, True),
    "failed": (False, False, True),
    "cancelled": (False, False, True),
}


@pytest.mark.parametrize("state", ExecutionState)
def test_what_a_state_says_of_the_execution(backend, state):
    ex = in_state(backend, state)
    assert ex.state is state
    assert (ex.is_active, ex.can_resume, ex.is_terminal) == LIFE[state]
    assert ex.wait_reason is (WaitReason.APPROVAL if state == "waiting" else None)
    assert repr(ex) == f"<Execution {ex.id} {state} version={ex.version} steps={len(ex.steps)}>"


def test_the_whole_life(backend):
    clock = ManualClock()
    ex = seed(backend, clock=clock)
    clock.advance(1)
    ex.plan()
    draft = ex.start_step("draft", type=StepType.LLM)
    ex.complete_step(draft, {"todo": ["a"]})
    clock.advance(1)
    ex.start()
    ex.pause("lunch")
    assert (ex.state, ex.reason) == (ExecutionState.PAUSED, "lunch")
    ex.resume()
    assert (ex.state, ex.reason) == (ExecutionState.RUNNING, None)
    ex.wait(WaitReason.TIMER)
    ex.resume()
    clock.advance(1)
    ex.complete("done")
    assert (ex.state, ex.output, ex.error, ex.version) == (ExecutionState.COMPLETED, "done", None, 9)
    assert ex.started_at == START + timedelta(seconds=1)
    assert ex.ended_at == START + timedelta(seconds=3)
    assert ex.duration_ms == 2000


@pytest.mark.parametrize("before", ["planning", "running", "waiting"])
def test_resume_returns_to_where_it_was_paused_from(backend, before):
    ex = in_state(backend, before)
    ex.pause()
    ex.resume()
    assert ex.state == before
    assert ex.wait_reason is (WaitReason.APPROVAL if before == "waiting" else None)


def test_input_for_a_wait_that_was_paused_is_kept_until_the_resume(backend):
    ex = in_state(backend, "waiting")
    (step_id,) = ex.step_order
    ex.pause()
    ex.input_received(step_id, {"ok": True})
    assert (ex.state, ex.steps[step_id].output) == (ExecutionState.PAUSED, {"ok": True})
    ex.resume()
    assert (ex.state, ex.wait_reason) == (ExecutionState.RUNNING, None)


def test_several_waits_can_be_open_at_once(backend):
    ex = running(backend)
    waits = ex.start_steps(["approval", "timer", "signal"], type="wait")
    ex.wait("external")
    ex.input_received(waits[1], 1)
    assert [step.state for step in waits] == ["running", "completed", "running"]
    ex.wait("external")
    ex.input_received(waits[0].id, 2)
    ex.input_received(waits[2], 3)  # while it runs
    assert [step.output for step in waits] == [2, 1, 3]
    ex.complete()


@pytest.mark.parametrize("end", ["fail", "cancel"])
def test_the_end_closes_every_open_step(backend, end):
    ex = running(backend)
    done, open_, waiting = ex.start_step("a"), ex.start_step("b"), ex.schedule_step("c")
    ex.complete_step(done)
    getattr(ex, end)("enough")
    assert [step.state for step in (done, open_, waiting)] == ["completed", "cancelled", "cancelled"]
    assert open_.ended_at == ex.ended_at
    assert ex.reason == ("enough" if end == "cancel" else None)
    assert ex.error == (
        None if end == "cancel" else stepwell.ExecutionError("tool", "execution_failed", "enough")
    )


def test_equality_copies_and_pickles(backend, monkeypatch):
    monkeypatch.setattr(_backend, "chosen", lambda: backend)
    ex = running(backend)
    step = ex.start_step("a", input=[1])
    for other in (copy.copy(ex), copy.deepcopy(ex), pickle.loads(pickle.dumps(ex))):
        assert other == ex
        assert other is not ex
        assert hash(other) == hash(ex)
        assert other.to_json() == ex.to_json()
        other.complete_step(step.id)
        assert other != ex
        assert step.state is StepState.RUNNING
    assert ex != 1
    assert ex == ex.from_json(ex.to_json())
    restored = pickle.loads(pickle.dumps(step))
    assert (restored.id, restored.name, restored.input) == (step.id, "a", [1])
    assert pickle.loads(pickle.dumps(ex.steps))[step.id].name == "a"
    assert pickle.loads(pickle.dumps(ex.start_steps("b", count=2))).ids() == ex.step_order[1:]


def test_an_execution_that_was_drained_equals_one_that_was_not(backend):
    one, other = running(backend), running(backend)
    one.drain()
    assert one == other
    assert one.to_json() != other.to_json()


# --- steps --------------------------------------------------------------------------------------------------------


def test_steps_are_a_read_only_mapping_in_the_order_of_their_making(backend):
    ex = running(backend)
    names = ["c", "a", "b"]
    made = [ex.start_step("c"), ex.schedule_step("a"), ex.start_step("b")]
    assert ex.step_order == [step.id for step in made] == list(ex.steps)
    assert [step.name for step in ex.steps.values()] == names
    assert len(ex.steps) == 3
    assert ex.steps[made[0].id] == made[0] == ex.get_step(made[0].id) == ex.get_step_mut(made[0].id)
    assert made[0].id in ex.steps
    assert made_id(99) not in ex.steps
    assert ex.get_step(made_id(99)) is None
    assert ex.get_step("nonsense") is None
    with pytest.raises(KeyError):
        ex.steps[made_id(99)]
    with pytest.raises(TypeError):
        ex.steps["a"] = made[0]
    assert ex.steps.get("a") is None
    ex.step_order.clear()
    assert len(ex.step_order) == 3


def test_a_view_of_a_step_is_live(backend):
    ex = running(backend)
    step = ex.start_step("a")
    ex.complete_step(step.id, 1)
    assert (step.state, step.output) == (StepState.COMPLETED, 1)
    assert ex.get_step_mut(step.id).state is StepState.COMPLETED
    with pytest.raises(AttributeError):
        step.state = "running"


def test_the_attributes_of_a_step(backend):
    clock = ManualClock()
    ex = running(backend, clock=clock)
    parent = ex.start_step("scope", type="scope")
    source = StepSource.discovered(by=parent.id, reason="it was missing", depth=1)
    step = ex.schedule_step(
        "fetch", type=StepType.TOOL, key="k", parent_step_id=parent, input={"url": "…"}, source=source,
        callable_id="m.fetch", place="fetch:0",
    )  # fmt: skip
    assert (step.id, step.parent_step_id, step.step_type, step.name) == (
        made_id(3),
        parent.id,
        "tool",
        "fetch",
    )
    assert (step.key, step.input, step.source) == ("k", {"url": "…"}, source)
    assert (step.callable_id, step.place) == ("m.fetch", "fetch:0")
    assert (step.state, step.attempt, step.attempts, step.usage) == ("pending", 0, [], {})
    assert (step.output, step.error, step.reason, step.retry_at) == (None, None, None, None)
    assert (step.scheduled_at, step.started_at, step.ended_at) == (START, None, None)
    assert repr(step) == f"<Step {step.id} 'fetch' pending>"
    assert isinstance(step.step_type, StepType)
    assert isinstance(step.state, StepState)
    assert not step.is_terminal


def test_queue_time_and_duration_are_recorded(backend):
    clock = ManualClock()
    ex = running(backend, clock=clock)
    step = ex.schedule_step("a")
    assert (step.queued_ms, step.duration_ms) == (0, None)
    clock.advance("2s")
    assert step.queued_ms == 2000  # so far
    ex.start_step(step_id=step.id)
    clock.advance("3s")
    assert (step.queued_ms, step.duration_ms) == (2000, 3000)
    ex.complete_step(step)
    clock.advance("5s")
    assert (step.queued_ms, step.duration_ms) == (2000, 3000)
    skipped = ex.schedule_step("b")
    clock.advance("1s")
    ex.skip_step(skipped, "not needed")
    clock.advance("1s")
    assert (skipped.queued_ms, skipped.duration_ms, skipped.reason) == (1000, None, "not needed")
    assert skipped.ended_at == START + timedelta(seconds=11)


def test_retries_record_every_attempt(backend):
    clock = ManualClock()
    ex = running(backend, clock=clock)
    step = ex.start_step("a")
    clock.advance(1)
    due = START + timedelta(seconds=5)
    ex.retry_step(step, ValueError("first"), retry_at=due)
    assert (step.state, step.attempt, step.retry_at, step.error) == (StepState.PENDING, 1, due, None)
    clock.advance(4)
    ex.start_step(step_id=step)
    assert (step.state, step.attempt, step.retry_at) == (StepState.RUNNING, 2, None)
    clock.advance(1)
    ex.retry_step(step, "second", retry_at=START_NS)  # a time that has passed is the caller's business
    ex.start_step("a", step_id=step.id)
    clock.advance(1)
    ex.fail_step(step, "third")
    at = [START + timedelta(seconds=seconds) for seconds in range(8)]
    first = stepwell.ExecutionError.from_exception(ValueError("first"))
    text = stepwell.ExecutionError("tool", "execution_failed", "second")
    assert step.attempts == [
        Attempt(1, at[0], at[1], first),
        Attempt(2, at[5], at[6], text),
        Attempt(3, at[6], at[7], step.error),
    ]
    assert (step.attempt, step.error.message, step.started_at, step.duration_ms) == (3, "third", at[0], 7000)
    assert step.is_terminal


def test_a_step_can_be_given_up_while_it_waits_for_its_retry(backend):
    ex = running(backend)
    step = ex.start_step("a")
    ex.retry_step(step, "first", retry_at=START + timedelta(hours=1))
    ex.fail_step(step, "given up")
    assert (step.state, step.retry_at, step.attempt) == (StepState.FAILED, None, 1)
    assert [(attempt.number, attempt.error.message) for attempt in step.attempts] == [(1, "first")]


def test_usage_is_summed_exactly(backend):
    ex = running(backend)
    one, other = ex.start_step("a"), ex.start_step("b")
    for amount in (0.1, 0.2):
        ex.add_usage(one, "cost", amount)
    ex.add_usage(one, "tokens", 100)
    ex.add_usage(other, "tokens", 11)
    ex.add_usage(other.id, "bytes", 1.5)
    assert one.usage == {"cost": 0.3, "tokens": 100.0}
    assert other.usage == {"bytes": 1.5, "tokens": 11.0}
    assert ex.usage == {"bytes": 1.5, "cost": 0.3, "tokens": 111.0}
    ex.add_usage(one, "tokens", -100)  # a correction
    assert ex.usage["tokens"] == 11.0
    assert list(ex.usage) == ["bytes", "cost", "tokens"]


def test_payloads_are_read_afresh(backend):
    ex = running(backend)
    given = {"list": [1]}
    step = ex.start_step("a", input=given)
    given["list"].append(2)
    step.input["list"].append(3)
    assert step.input == {"list": [1]}


def test_new_ids_come_from_the_given_source(backend):
    ids = Ids()
    ex = seed(backend, ids=ids)
    ex.start()
    ex.start_step("a")
    ex.start_steps("b", count=3)
    assert ex.step_order == [made_id(number) for number in (2, 3, 4, 5)]
    assert ids.count == 5


def test_two_views_are_equal_when_they_are_of_the_same_step_of_the_same_execution(backend):
    ex = running(backend)
    step = ex.start_step("a")
    twin = ex.from_json(ex.to_json())
    assert step == ex.get_step(step.id)
    assert hash(step) == hash(ex.get_step(step.id))
    assert step != twin.get_step(step.id)
    assert step != step.id
    with refused(twin, UnknownStep, f"step {step.id} belongs to another execution"):
        twin.complete_step(step)
    twin.complete_step(step.id)
    assert twin.get_step(step.id).state is StepState.COMPLETED


def test_a_duplicate_step_id_is_refused(backend):
    ex = running(backend)
    step = ex.schedule_step("a")
    with refused(ex, DuplicateStep):
        ex.schedule_step("b", step_id=step.id)
    ex.start_step(step_id=step)
    with refused(ex, InvalidTransition):
        ex.start_step(step_id=step)


def test_an_action_is_an_action_however_it_is_given(backend):
    """Methods, `apply` and `apply_many` leave the same journal."""
    one, two, three = (running(backend) for _ in range(3))
    step = one.start_step("a", type="tool", input=1)
    one.complete_step(step, 2)
    actions = [
        Action("step_started", step_id=step.id, name="a", type="tool", input=1),
        Action("step_completed", step_id=step.id, output=2),
    ]
    for action in actions:
        two.apply(action)
    three.apply_many(actions)
    assert one.to_json() == two.to_json() == three.to_json()
