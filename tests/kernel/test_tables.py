"""Every state and every action, on both backends, against the tables of `spec/lifecycle.toml` themselves."""

import itertools
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from kernel.drive import EXEC, T0, Clock, Ids, step_id
from stepwell import (
    Action,
    DuplicateStep,
    ExecutionState,
    InvalidTransition,
    OpenSteps,
    ParentType,
    StepState,
    StepType,
    TerminalExecution,
    UnknownStep,
    WaitReason,
)

TABLES = tomllib.loads((Path(__file__).parents[2] / "spec" / "lifecycle.toml").read_text(encoding="utf-8"))
EXECUTION, STEP = TABLES["execution"], TABLES["step"]
STATES: list[str] = EXECUTION["states"]
ACTIONS: dict[str, dict[str, str]] = EXECUTION["actions"]
STEP_STATES: list[str] = STEP["states"]
STEP_ACTIONS: dict[str, dict[str, str]] = STEP["actions"]
ALLOWED: dict[str, list[str]] = STEP["allowed_while"]
BULK: dict[str, str] = STEP["bulk"]

ENDED = {state for state in STATES if not any(state in row for row in ACTIONS.values())}
STEP_ENDED = {
    state for state in STEP_STATES if not any(row.get(state, state) != state for row in STEP_ACTIONS.values())
}
NEEDED: dict[str, dict[str, Any]] = {
    "wait": {"reason": "timer"}, "fail": {"error": "broken"}, "step_retrying": {"error": "again"},
    "step_failed": {"error": "broken"}, "steps_failed": {"error": "broken"},
    "step_usage": {"counter": "tokens", "amount_micros": 1_000_000},
    "step_scheduled": {"name": "a"}, "step_started": {"name": "a"},
    "steps_scheduled": {"name": "a"}, "steps_started": {"name": "a"},
}  # fmt: skip
THIS, FIRST = step_id(1), step_id(2)


def action(kind: str, **given: Any) -> Action:
    return Action(kind, **NEEDED.get(kind, {}), **given)


def path(table: Mapping[str, Mapping[str, str]], start: str, goal: str) -> list[str] | None:
    """The fewest actions from one state to the other, by the table; `None` where none lead there."""
    paths = {start: list[str]()}
    for state in (queue := [start]):
        for kind, row in table.items():
            target = row.get(state)
            if target is not None and target not in ("*", *paths):
                paths[target] = [*paths[state], kind]
                queue.append(target)
    return paths.get(goal)


def seed(backend: ModuleType) -> Any:
    return backend.Execution(id=EXEC, tenant="acme", clock=Clock(), ids=Ids())


def lead(ex: Any, goal: str) -> bool:
    """Leads the execution to a state; whether there is a way."""
    actions = path(ACTIONS, str(ex.state), goal)
    for kind in actions or ():
        ex.apply(action(kind))
    return actions is not None


def make_step(ex: Any, ident: str, state: str) -> None:
    """Makes a step and leads it to a state; "new" is none."""
    actions = path(STEP_ACTIONS, "new", state)
    assert actions is not None, f"nothing leads to {state}"
    for kind in actions:
        ex.apply(action(kind, step_id=ident))


def refused(ex: Any, kind: type[Exception], call: Callable[[], object], **expected: object) -> Any:
    """The call raises exactly that, with these attributes, and leaves every byte as it was."""
    before = ex.to_json()
    with pytest.raises(kind) as info:
        call()
    assert type(info.value) is kind
    assert {name: getattr(info.value, name) for name in expected} == expected
    assert ex.to_json() == before
    return info.value


def replays(ex: Any) -> None:
    """The journal so far gives the same execution again."""
    copy = type(ex).from_json(ex.to_json())
    assert type(ex).replay(ex.id, copy.drain()) == ex


# --- the tables themselves ----------------------------------------------------------------------------------------


def test_the_enumerations_are_those_of_the_tables() -> None:
    assert [*ExecutionState] == STATES
    assert [*StepState] == STEP_STATES
    for kind, name in ((StepType, "StepType"), (WaitReason, "WaitReason"), (ParentType, "ParentType")):
        assert [*kind] == TABLES["enums"][name]


def test_every_state_can_be_reached_and_terminal_ones_are_those_without_a_way_out() -> None:
    assert all(path(ACTIONS, EXECUTION["initial"], state) is not None for state in STATES)
    assert all(path(STEP_ACTIONS, "new", state) is not None for state in STEP_STATES)
    assert {"completed", "failed", "cancelled"} == ENDED
    assert {"completed", "failed", "skipped", "cancelled"} == STEP_ENDED
    assert not ENDED & set(ALLOWED)


@pytest.mark.parametrize("state", STATES)
def test_what_a_state_means(backend: ModuleType, state: str) -> None:
    ex = seed(backend)
    assert lead(ex, state)
    assert ex.state is ExecutionState(state)
    assert ex.is_terminal is (state in ENDED)
    assert ex.is_active is (state not in ENDED and state != EXECUTION["initial"])
    assert ex.can_resume is (state in ACTIONS["resume"])
    assert (ex.ended_at is None) is (state not in ENDED)


@pytest.mark.parametrize("state", STEP_STATES)
def test_what_a_state_of_a_step_means(backend: ModuleType, state: str) -> None:
    ex = seed(backend)
    ex.start()
    make_step(ex, THIS, state)
    step = ex.steps[THIS]
    assert step.state is StepState(state)
    assert step.is_terminal is (state in STEP_ENDED)
    assert (step.ended_at is None) is (state not in STEP_ENDED)


# --- execution x action -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("state", "kind"), [*itertools.product(STATES, ACTIONS)])
def test_execution_table(backend: ModuleType, state: str, kind: str) -> None:
    target = ACTIONS[kind].get(state)
    for way in range(3):
        ex = seed(backend)
        lead(ex, "running" if target == "*" else state)
        lead(ex, state)
        calls = [lambda: ex.apply(action(kind)), lambda: ex.apply_many([action(kind)])]  # noqa: B023
        calls.append(lambda: getattr(ex, kind)(**NEEDED.get(kind, {})))  # noqa: B023
        if target is None:
            expected = TerminalExecution if state in ENDED else InvalidTransition
            error = refused(ex, expected, calls[way], state=state, action=kind, index=0 if way == 1 else None)
            assert kind in str(error)
            assert state in str(error)
        else:
            version = ex.version
            calls[way]()
            assert ex.state == ("running" if target == "*" else target)
            assert ex.version == version + 1
            replays(ex)


# --- execution x step x action ------------------------------------------------------------------------------------


def stage(backend: ModuleType, state: str, step_state: str, *others: tuple[str, str]) -> Any:
    """An execution in a state with a step in a state; `None` where that cannot be."""
    ex = seed(backend)
    if state == EXECUTION["initial"]:
        return ex if step_state == "new" else None
    lead(ex, "planning" if state == "planning" else "running")
    make_step(ex, THIS, step_state)
    for ident, other in others:
        make_step(ex, ident, other)
    if state == "completed" and any(not step.is_terminal for step in ex.steps.values()):
        return None
    lead(ex, state)
    return ex


def step_now(ex: Any, ident: str) -> str:
    step = ex.get_step(ident)
    return "new" if step is None else str(step.state)


@pytest.mark.parametrize(("state", "kind"), [*itertools.product(STATES, STEP_ACTIONS)])
def test_step_table(backend: ModuleType, state: str, kind: str) -> None:
    row = STEP_ACTIONS[kind]
    for step_state in ("new", *STEP_STATES):
        ex = stage(backend, state, step_state)
        if ex is None:
            continue
        step_state = step_now(ex, THIS)  # the end of the execution may have cancelled it
        call = lambda: ex.apply(action(kind, step_id=THIS))  # noqa: B023
        if kind not in ALLOWED.get(state, ()):
            expected = TerminalExecution if state in ENDED else InvalidTransition
            refused(ex, expected, call, state=state, action=kind)
        elif step_state in row:
            call()
            assert ex.steps[THIS].state == row[step_state]
            assert ex.state == state
            replays(ex)
        elif step_state == "new":
            assert THIS in str(refused(ex, UnknownStep, call))
        elif kind == "step_scheduled":
            assert THIS in str(refused(ex, DuplicateStep, call))
        else:
            error = refused(ex, InvalidTransition, call, state=step_state, action=kind)
            assert THIS in str(error)


@pytest.mark.parametrize(("state", "kind"), [*itertools.product(STATES, BULK)])
def test_bulk_step_table(backend: ModuleType, state: str, kind: str) -> None:
    """Each element follows the row of its single action; here the first of two always may."""
    single = BULK[kind]
    row = STEP_ACTIONS[single]
    good = next(iter(row))
    for step_state in ("new", *STEP_STATES):
        ex = stage(backend, state, step_state, (FIRST, good))
        if ex is None:
            continue
        step_state = step_now(ex, THIS)
        call = lambda: ex.apply(action(kind, steps=[FIRST, THIS]))  # noqa: B023
        if single not in ALLOWED.get(state, ()):
            expected = TerminalExecution if state in ENDED else InvalidTransition
            refused(ex, expected, call, state=state, action=kind, index=None)
        elif step_state in row:
            call()
            assert {str(ex.steps[ident].state) for ident in (FIRST, THIS)} == {row[good], row[step_state]}
            replays(ex)
        elif step_state == "new":
            refused(ex, UnknownStep, call, index=1)
        elif single == "step_scheduled":
            refused(ex, DuplicateStep, call, index=1)
        else:
            refused(ex, InvalidTransition, call, state=step_state, action=single, index=1)


# --- what the tables leave to rules -------------------------------------------------------------------------------


@pytest.mark.parametrize("origin", EXECUTION["resume_returns_to"])
def test_resume_returns_to_where_it_was_paused_from(backend: ModuleType, origin: str) -> None:
    ex = seed(backend)
    lead(ex, origin)
    reason = ex.wait_reason
    ex.pause("lunch")
    assert (ex.reason, ex.wait_reason, ex.can_resume) == ("lunch", None, True)
    replays(ex)
    ex.resume()
    assert (ex.state, ex.wait_reason, ex.reason) == (origin, reason, None)
    assert (reason is None) is (origin != "waiting")
    replays(ex)


def test_every_state_that_can_be_paused_is_returned_to() -> None:
    assert {*EXECUTION["resume_returns_to"]} == {*ACTIONS["pause"]}


@pytest.mark.parametrize("origin", EXECUTION["resume_returns_to"])
def test_input_while_it_is_paused(backend: ModuleType, origin: str) -> None:
    ex = seed(backend)
    lead(ex, origin)
    ex.pause()
    ex.input_received(payload=1)
    assert ex.state == "paused"
    ex.resume()  # what it waited for is there
    assert (ex.state, ex.wait_reason) == ("running" if origin == "waiting" else origin, None)
    replays(ex)


def test_the_reason_of_a_wait_is_that_of_the_last(backend: ModuleType) -> None:
    ex = seed(backend)
    ex.start()
    for reason in WaitReason:
        ex.wait(reason)
        assert ex.wait_reason is reason
        ex.pause()
        ex.resume()
        assert ex.wait_reason is reason
        ex.resume()
        assert (ex.state, ex.wait_reason) == ("running", None)
    replays(ex)


@pytest.mark.parametrize("kind", ["fail", "cancel"])
@pytest.mark.parametrize(
    "state", [state for state in STATES if state not in ENDED and state != EXECUTION["initial"]]
)
def test_the_end_closes_every_open_step(backend: ModuleType, state: str, kind: str) -> None:
    idents = {step_state: step_id(number) for number, step_state in enumerate(STEP_STATES, 10)}
    ex = stage(backend, state, "pending", *((ident, found) for found, ident in idents.items()))
    before = {ident: repr(step.ended_at) for ident, step in ex.steps.items()}
    getattr(ex, kind)(**NEEDED.get(kind, {}))
    for step_state, ident in [*idents.items(), ("pending", THIS)]:
        step = ex.steps[ident]
        assert step.is_terminal
        if step_state in STEP_ENDED:
            assert (step.state, repr(step.ended_at)) == (step_state, before[ident])
        else:
            assert (step.state, step.ended_at, step.output, step.error) == (
                "cancelled",
                ex.ended_at,
                None,
                None,
            )
    replays(ex)


@pytest.mark.parametrize("count", [1, 2, 5, 6, 100])
def test_complete_is_refused_while_steps_are_open(backend: ModuleType, count: int) -> None:
    ex = seed(backend)
    ex.start()
    done = ex.start_steps("done", count=2)
    pending = ex.schedule_steps("open", count=count // 2)
    running = ex.start_steps("open", count=count - count // 2)
    ex.complete_steps(done)
    open_ids = [*pending.ids(), *running.ids()]
    error = refused(ex, OpenSteps, ex.complete, state="running", action="complete", count=count)
    assert error.step_ids == tuple(open_ids[:5])
    assert all(ident in str(error) for ident in open_ids[:5])
    assert not any(ident in str(error) for ident in open_ids[5:])
    ex.cancel_steps(open_ids)
    ex.complete("done")
    assert (ex.state, ex.output) == ("completed", "done")
    replays(ex)


def test_several_waits_can_be_open_at_once(backend: ModuleType) -> None:
    ex = seed(backend)
    ex.start()
    waits = ex.start_steps(["mail", "timer", "signal"], type="wait")
    ex.wait("user_input")
    ex.input_received(waits[1], {"late": True})
    assert (ex.state, ex.wait_reason) == ("running", None)
    assert [str(step.state) for step in waits] == ["running", "completed", "running"]
    assert waits[1].output == {"late": True}
    ex.input_received(waits[0].id)  # from running it stays running
    ex.wait("timer")
    ex.pause()
    ex.input_received(waits[2], 3)  # from paused it stays paused
    assert ex.state == "paused"
    assert [step.output for step in waits] == [None, {"late": True}, 3]
    ex.resume()
    ex.complete()
    replays(ex)


@pytest.mark.parametrize("state", ["running", "waiting", "paused"])
def test_input_names_an_open_wait_step_or_none(backend: ModuleType, state: str) -> None:
    def fresh() -> Any:
        ex = seed(backend)
        ex.start()
        ex.start_step("wait", step_id=step_id(10), type="wait")
        ex.complete_step(ex.start_step("over", step_id=step_id(11), type="wait"))
        ex.schedule_step("later", step_id=step_id(12), type="wait")
        ex.start_step("work", step_id=step_id(13))
        lead(ex, state)
        return ex

    ex = fresh()
    refused(
        ex,
        InvalidTransition,
        lambda: ex.input_received(step_id(11)),
        state="completed",
        action="step_completed",
    )
    refused(
        ex,
        InvalidTransition,
        lambda: ex.input_received(step_id(12)),
        state="pending",
        action="step_completed",
    )
    refused(ex, InvalidTransition, lambda: ex.input_received(step_id(13), 5), action="input_received")
    refused(ex, UnknownStep, lambda: ex.input_received(step_id(99)))
    ex.input_received(step_id(10), [1])
    assert (ex.steps[step_id(10)].state, ex.steps[step_id(10)].output) == ("completed", [1])
    assert ex.state == ACTIONS["input_received"][state]
    replays(ex)
    other = fresh()
    other.input_received(payload=[1])  # names none: no step changes
    assert other.steps[step_id(10)].state == "running"
    replays(other)


def test_attempts_count_the_starts(backend: ModuleType) -> None:
    ex = seed(backend)
    ex.start()
    step = ex.schedule_step("a")
    for number in range(1, 4):
        assert ex.start_step(step_id=step).attempt == number
        ex.retry_step(step, f"failure {number}", retry_at=T0 + number)
        assert (step.state, step.attempt) == ("pending", number)
    ex.fail_step(step, "given up")  # while it waits for a retry
    assert (step.state, step.attempt, step.error.message) == ("failed", 3, "given up")
    assert [found.error.message for found in step.attempts] == ["failure 1", "failure 2", "failure 3"]
    replays(ex)
