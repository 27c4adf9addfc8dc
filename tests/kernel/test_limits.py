"""Limits: what is over one is refused and changes nothing; the tenant is warned once at 80 %."""

import copy
import logging
import pickle
import threading

import pytest

from kernel.support import bodies, refused, running, seed
from stepwell import (
    Action,
    ErrorCategory,
    ExecutionError,
    InvalidTransition,
    LimitWarning,
    ManualClock,
    ResourceLimits,
    TenantContext,
    _backend,
)


def tenant(hook=None, **limits):
    return TenantContext("acme", limits=ResourceLimits(**limits), on_warning=hook)


def limited(backend, hook=None, clock=None, **limits):
    return running(backend, tenant=tenant(hook, **limits), clock=clock or ManualClock())


def over(limit, used, maximum):
    return f"quota_exceeded/{limit}: over the limit {limit}: {used} of {maximum}"


# --- over a limit -------------------------------------------------------------------------------------------------


def test_the_error_says_which_limit_and_how_far(backend):
    ex = limited(backend, max_steps=1)
    ex.start_step("a")
    with refused(ex, ExecutionError, over("max_steps", 2, 1)) as caught:
        ex.start_step("b")
    error = caught.value
    assert (error.category, error.code) == (ErrorCategory.QUOTA_EXCEEDED, "max_steps")
    assert error.details == {"used": 2.0, "maximum": 1.0}
    assert (error.http_status, error.retryable, error.fatal) == (429, False, True)


def test_an_execution_can_fail_of_its_quota(backend):
    ex = limited(backend, max_steps=0)
    with refused(ex, ExecutionError) as caught:
        ex.start_step("a")
    ex.fail(caught.value)
    assert ex.error == caught.value


STEPS = {
    "start_step": (lambda ex: ex.start_step("b"), None),
    "schedule_step": (lambda ex: ex.schedule_step("b"), None),
    "start_steps": (lambda ex: ex.start_steps("b", count=1), None),
    "schedule_steps": (lambda ex: ex.schedule_steps(["b"]), None),
    "apply": (lambda ex: ex.apply(Action("step_started", name="b")), None),
    "apply_many": (
        lambda ex: ex.apply_many([Action("pause"), Action("resume"), Action("step_started", name="b")]),
        2,
    ),
}


@pytest.mark.parametrize("way", STEPS)
def test_the_number_of_steps(backend, way):
    ex = limited(backend, max_steps=2)
    first = ex.schedule_step("a")
    ex.complete_step(ex.start_step("a"))
    call, index = STEPS[way]
    with refused(ex, ExecutionError, over("max_steps", 3, 2)) as caught:
        call(ex)
    assert caught.value.index == index
    ex.start_step(step_id=first)  # it is counted already
    ex.complete_step(first)
    ex.complete()


def test_a_bulk_call_over_the_limit_makes_no_step(backend):
    ex = limited(backend, max_steps=5)
    with refused(ex, ExecutionError, over("max_steps", 1000, 5)):
        ex.start_steps("a", count=1000)
    assert len(ex.start_steps("a", count=5)) == 5


def test_the_time_since_the_start(backend):
    clock = ManualClock()
    ex = seed(backend, clock=clock, tenant=tenant(max_wall_time_ms=1000))
    clock.advance(10)  # before the start nothing is counted
    ex.start()
    step, late = ex.start_step("a"), ex.schedule_step("b")
    clock.advance("1s")
    ex.start_step("c")
    clock.advance("1ms")
    for call in (
        lambda: ex.start_step("d"),
        lambda: ex.schedule_step("d"),
        lambda: ex.start_step(step_id=late),
        lambda: ex.start_steps("d", count=2),
    ):
        with refused(ex, ExecutionError, over("max_wall_time_ms", 1001, 1000)):
            call()
    ex.complete_step(step, "what runs may end")
    ex.cancel("late")


@pytest.mark.parametrize("counter", ["tokens", "cost"])
def test_usage(backend, counter):
    ex = limited(backend, **{f"max_{counter}": 1})
    one, other = ex.start_step("a"), ex.start_step("b")
    ex.add_usage(one, counter, 0.75)
    ex.add_usage(other, counter, 0.25)  # exactly all of it
    with refused(ex, ExecutionError, over(f"max_{counter}", 1.000001, 1)):
        ex.add_usage(one, counter, 0.000001)
    ex.add_usage(one, counter, -0.5)
    ex.add_usage(one, counter, 0.5)
    ex.add_usage(one, "bytes", 10**9)  # a counter of one's own has no limit
    assert ex.usage == {"bytes": 1e9, counter: 1.0}


def test_tenths_add_up(backend):
    """Three times 0.1 is 0.3 here: usage is kept in millionths."""
    ex = limited(backend, max_cost=0.3)
    step = ex.start_step("a")
    for _ in range(3):
        ex.add_usage(step, "cost", 0.1)
    with refused(ex, ExecutionError, over("max_cost", 0.300001, 0.3)):
        ex.add_usage(step, "cost", 0.000001)


PAYLOADS = {
    "input": lambda ex, value: ex.start_step("b", input=value),
    "scheduled": lambda ex, value: ex.schedule_step("b", input=value),
    "bulk input": lambda ex, value: ex.start_steps("b", count=2, input=value),
    "bulk inputs": lambda ex, value: ex.schedule_steps(["b", "c"], inputs=["x", value]),
    "output": lambda ex, value: ex.complete_step(ex.step_order[0], value),
    "bulk output": lambda ex, value: ex.complete_steps(ex.step_order, output=value),
    "bulk outputs": lambda ex, value: ex.complete_steps(ex.step_order, ["x", value]),
    "payload": lambda ex, value: ex.input_received(ex.step_order[0], value),
    "loose payload": lambda ex, value: ex.input_received(payload=value),
    "apply": lambda ex, value: ex.apply(Action("step_completed", step_id=ex.step_order[0], output=value)),
}


@pytest.mark.parametrize("name", PAYLOADS)
def test_the_size_of_a_payload(backend, name):
    ex = limited(backend, max_payload_bytes=10)
    ex.start_steps("a", count=2, type="wait")
    with refused(ex, ExecutionError, over("max_payload_bytes", 11, 10)):
        PAYLOADS[name](ex, "é" + "x" * 7)
    PAYLOADS[name](ex, "é" + "x" * 6)  # bytes of the JSON, not characters


def test_the_size_of_the_outcome(backend):
    ex = limited(backend, max_payload_bytes=10)
    with refused(ex, ExecutionError, over("max_payload_bytes", 12, 10)):
        ex.complete("x" * 10)
    ex.complete("x" * 8)


def test_the_size_of_an_executions_own_input(backend):
    context = tenant(max_payload_bytes=10)
    with refused(None, ExecutionError, over("max_payload_bytes", 12, 10)):
        backend.Execution(tenant=context, input="x" * 10)
    with refused(None, ExecutionError, over("max_payload_bytes", 12, 10)):
        backend.Execution(input="x" * 10).with_tenant(context)
    assert backend.Execution(tenant=context, input="x" * 8).input == "x" * 8


def test_limits_that_are_not_set_do_not_bind(backend):
    ex = running(backend, tenant=TenantContext("acme", limits=ResourceLimits()))
    step = ex.start_steps("a", count=1000)[0]
    ex.add_usage(step, "tokens", 10**12)
    ex.complete_step(step, "x" * 100_000)
    assert running(backend, tenant=TenantContext("acme")).start_steps("a", count=10).ids()


# --- warnings -----------------------------------------------------------------------------------------------------


def test_a_warning_comes_once_at_80_percent(backend):
    seen = []
    ex = limited(backend, seen.append, max_steps=10, max_tokens=100)
    ex.start_steps("a", count=7)
    assert seen == []
    step = ex.start_step("b")
    assert seen == [LimitWarning("max_steps", 8, 10)]
    ex.start_step("c")
    ex.start_step("d")
    ex.add_usage(step, "tokens", 79.999999)
    assert len(seen) == 1
    ex.add_usage(step, "tokens", 0.000001)
    ex.add_usage(step, "tokens", -50)
    ex.add_usage(step, "tokens", 60)
    assert seen == [LimitWarning("max_steps", 8, 10), LimitWarning("max_tokens", 80, 100)]


def test_every_limit_warns(backend):
    seen, clock = [], ManualClock()
    ex = limited(
        backend,
        seen.append,
        clock,
        max_steps=1,
        max_wall_time_ms=1000,
        max_tokens=1,
        max_cost=1,
        max_payload_bytes=10,
    )
    clock.advance("900ms")
    step = ex.start_step("a", input="x" * 7)
    ex.add_usage(step, "tokens", 0.9)
    ex.add_usage(step, "cost", 0.9)
    assert sorted((warning.limit, warning.used, warning.maximum) for warning in seen) == [
        ("max_cost", 0.9, 1),
        ("max_payload_bytes", 9, 10),
        ("max_steps", 1, 1),
        ("max_tokens", 0.9, 1),
        ("max_wall_time_ms", 900, 1000),
    ]


def test_a_refused_action_warns_of_nothing_and_the_warning_is_not_lost(backend):
    seen = []
    ex = limited(backend, seen.append, max_steps=10, max_payload_bytes=10)
    with refused(ex, ExecutionError):
        ex.start_steps(
            "a", count=9, input="x" * 100
        )  # enough steps for a warning, but the payload is too large
    with refused(ex, InvalidTransition):
        ex.apply_many([*(Action("step_started", name="a") for _ in range(9)), Action("plan")])
    assert seen == []
    ex.start_steps("a", count=9)
    assert seen == [LimitWarning("max_steps", 9, 10)]


def test_apply_many_warns_after_all_of_it_is_done(backend):
    seen = []
    ex = limited(backend, lambda warning: seen.append((warning.limit, ex.version)), max_steps=2)
    ex.apply_many([Action("step_started", name="a"), Action("step_started", name="b"), Action("pause")])
    assert seen == [("max_steps", 4)]


def test_what_the_hook_raises_is_logged_and_dropped(backend, caplog):
    def broken(warning):
        raise RuntimeError("the hook's own")

    ex = limited(backend, broken, max_steps=1)
    with caplog.at_level(logging.ERROR, logger="stepwell"):
        step = ex.start_step("a")
    assert step.state == "running"
    (record,) = caplog.records
    assert record.name == "stepwell"
    assert record.getMessage() == "the on_warning hook of a tenant failed"
    assert "the hook's own" in str(record.exc_info[1])


def test_what_is_no_exception_comes_through_after_the_action_is_done(backend):
    def interrupted(warning):
        raise KeyboardInterrupt

    ex = limited(backend, interrupted, max_steps=1)
    with pytest.raises(KeyboardInterrupt):
        ex.start_step("a")
    assert (ex.version, len(ex.steps)) == (2, 1)
    assert [kind for _, _, kind, _ in ex.drain()] == ["created", "start", "step_started"]


def test_the_hook_may_call_back(backend):
    """It runs outside the execution's lock; in a thread, so that a deadlock fails the test and does not hang it."""
    seen = []

    def hook(warning):
        seen.append((warning.limit, ex.state, ex.version, ex.to_json()[:1]))
        ex.complete_step(ex.step_order[0], "from the hook")
        ex.add_usage(ex.step_order[1], "tokens", 9)  # which warns of another limit, in the hook

    ex = limited(backend, hook, max_steps=2, max_tokens=10)
    calls = threading.Thread(target=lambda: ex.start_steps("a", count=2), daemon=True)
    calls.start()
    calls.join(30)
    assert not calls.is_alive()
    assert [limit for limit, *_ in seen] == ["max_steps", "max_tokens"]
    assert ex.steps[ex.step_order[0]].output == "from the hook"


# --- where limits stay, and where they do not go ------------------------------------------------------------------


def test_a_copy_has_the_limits_and_does_not_warn_again(backend):
    seen = []
    ex = limited(backend, seen.append, max_steps=10)
    ex.start_steps("a", count=8)
    for other in (copy.copy(ex), copy.deepcopy(ex)):
        other.start_step("b")
        with refused(other, ExecutionError, over("max_steps", 11, 10)):
            other.start_steps("c", count=2)
    assert len(seen) == 1


def test_a_child_has_the_limits_and_counts_for_itself(backend):
    seen = []
    ex = limited(backend, seen.append, max_steps=2)
    ex.start_steps("a", count=2)
    child = ex.child()
    child.start()
    child.start_steps("a", count=2)
    with refused(child, ExecutionError, over("max_steps", 3, 2)):
        child.start_step("b")
    assert len(seen) == 2


@pytest.mark.parametrize("way", ["replay", "from_json", "pickle"])
def test_limits_are_no_part_of_the_record(backend, monkeypatch, way):
    """What was allowed once is replayed, whatever the limits are now."""
    monkeypatch.setattr(_backend, "chosen", lambda: backend)
    seen = []
    ex, free = limited(backend, seen.append, max_steps=2), running(backend)
    for execution in (ex, free):
        execution.start_steps("a", count=2)
    assert ex == free
    other = {
        "replay": lambda: backend.Execution.replay(ex.id, bodies(ex.drain())),
        "from_json": lambda: backend.Execution.from_json(ex.to_json()),
        "pickle": lambda: pickle.loads(pickle.dumps(ex)),
    }[way]()
    assert other == free
    other.start_steps("a", count=100)
    assert len(seen) == 1
