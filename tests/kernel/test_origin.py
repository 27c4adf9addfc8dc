"""The surface of the model's origin is here, row by row of docs/origin.md, and what it left open is closed."""

import ast
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from kernel.support import bodies, refused, running, seed
from stepwell import (
    Action,
    Kernel,
    ManualClock,
    SchemaMismatch,
    StepState,
    StepwellError,
    TenantRequired,
    ValidationError,
)
from stepwell.store import open_store

TESTS = Path(__file__).parent
PAGE = TESTS.parents[1] / "docs" / "origin.md"

FIELDS = (
    "id", "tenant_id", "state", "parent", "steps", "step_order", "schema_version", "started_at", "ended_at", "output",
    "error",
)  # fmt: skip
METHODS = (
    "new", "with_id", "with_tenant", "child", "with_schema_version", "get_step_mut", "duration_ms", "is_terminal",
)  # fmt: skip
LEFT_OPEN = (
    "test_planning_is_reachable", "test_skipped_is_reachable", "test_queue_time_is_recorded",
    "test_attempts_are_recorded", "test_times_survive_storage", "test_what_stores_requires_a_tenant",
    "test_replay_compares_the_schema_version", "test_a_refused_action_leaves_every_byte_as_it_was",
    "test_several_waits_can_be_open_at_once",
)  # fmt: skip
START = datetime(2026, 1, 1, tzinfo=UTC)


def tables():
    """The rows of the page's tables, without their heads, as lists of cells."""
    found = []
    for block in re.findall(r"(?:^\|.*\n)+", PAGE.read_text(encoding="utf-8"), re.MULTILINE):
        rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in block.strip().split("\n")]
        found.append(rows[2:])
    return found


ROWS = [row for table in tables() for row in table]


# --- the page -----------------------------------------------------------------------------------------------------


def test_the_page_has_every_row_of_the_origin():
    fields, methods, left_open = tables()
    assert [row[0].strip("`") for row in fields] == list(FIELDS)
    assert [row[0].strip("`") for row in methods] == list(METHODS)
    assert [row[2].strip("`").partition("::")[2] for row in left_open] == list(LEFT_OPEN)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0].strip("`"))
def test_a_row_names_what_exists(backend, row):
    where = row[1]
    names = re.findall(r"`(Execution|Step)(?:\.(\w+)|\(\))`", where)
    assert names, where
    for cls, name in names:
        assert hasattr(getattr(backend, cls), name or "__init__"), name


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0].strip("`"))
def test_a_row_names_tests_that_exist(row):
    names = re.findall(r"`(test_\w+\.py)::(test_\w+)`", row[-1])
    assert names, row[-1]
    for file, name in names:
        tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
        assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


# --- what was left open -------------------------------------------------------------------------------------------


def test_planning_is_reachable(backend):
    ex = seed(backend)
    ex.plan()
    assert (ex.state, ex.is_active, ex.started_at) == ("planning", True, START)
    step = ex.schedule_step("draft")
    ex.pause()
    ex.resume()
    assert ex.state == "planning"
    ex.start()
    ex.start_step(step_id=step)
    assert backend.Execution.replay(ex.id, ex.drain()) == ex


def test_skipped_is_reachable(backend):
    ex = running(backend)
    step = ex.schedule_step("perhaps")
    ex.skip_step(step, "not needed")
    assert (step.state, step.reason, step.is_terminal, step.ended_at) == (
        StepState.SKIPPED,
        "not needed",
        True,
        START,
    )
    ex.complete()
    assert backend.Execution.replay(ex.id, ex.drain()).steps[step.id].state is StepState.SKIPPED


def test_queue_time_is_recorded(backend):
    clock = ManualClock()
    ex = running(backend, clock=clock)
    step = ex.schedule_step("a")
    clock.advance("1500ms")
    ex.start_step(step_id=step)
    clock.advance("1s")
    ex.complete_step(step)
    for found in (step, backend.Execution.replay(ex.id, ex.drain()).get_step(step.id)):
        assert (found.scheduled_at, found.started_at) == (START, START + timedelta(milliseconds=1500))
        assert (found.queued_ms, found.duration_ms) == (1500.0, 1000.0)


def test_attempts_are_recorded(backend):
    clock = ManualClock()
    ex = running(backend, clock=clock)
    step = ex.start_step("a")
    for number in (1, 2):
        clock.advance(1)
        ex.retry_step(step, f"error {number}", retry_at=clock.now_ns() + 1)
        clock.advance(1)
        ex.start_step(step_id=step)
    ex.complete_step(step, "at last")
    for found in (step, backend.Execution.replay(ex.id, ex.drain()).get_step(step.id)):
        assert (found.attempt, found.output, found.error) == (3, "at last", None)
        assert [
            (attempt.number, attempt.started_at - START, attempt.error and attempt.error.message)
            for attempt in found.attempts
        ] == [
            (1, timedelta(0), "error 1"),
            (2, timedelta(seconds=2), "error 2"),
            (3, timedelta(seconds=4), None),
        ]


def test_times_survive_storage(backend):
    clock = ManualClock()
    ex = running(backend, clock=clock)
    step = ex.start_step("a")
    clock.advance("90m")
    ex.complete_step(step)
    ex.complete()
    records = ex.drain()
    clock.advance("30d")
    for other in (
        backend.Execution.replay(ex.id, bodies(records), clock=clock),
        backend.Execution.from_json(ex.to_json(), clock=clock),
    ):
        assert (other.created_at, other.started_at) == (START, START)
        assert other.ended_at == other.get_step(step.id).ended_at == START + timedelta(minutes=90)
        assert other.duration_ms == other.get_step(step.id).duration_ms == 5_400_000


def test_what_stores_requires_a_tenant(backend):
    ex = running(backend, tenant=None)
    with refused(
        ex, TenantRequired, "a journal needs a tenant: make the execution with Execution.with_tenant(…)"
    ):
        ex.drain()
    for call in (lambda: open_store("memory", None), lambda: Kernel("memory", tenant=None)):
        with refused(None, ValidationError, "tenant must be text, got NoneType"):
            call()


def test_replay_compares_the_schema_version(backend):
    ex = seed(backend, schema_version="sha256:1")
    records = ex.drain()
    assert backend.Execution.replay(ex.id, records, "sha256:1").schema_version == "sha256:1"
    with refused(ex, SchemaMismatch):
        backend.Execution.replay(ex.id, records, "sha256:2")


def test_a_refused_action_leaves_every_byte_as_it_was(backend):
    """The refusals of tests/kernel/refusals.py are all looked at for this; here are those that could stop half way."""
    ex = running(backend)
    steps = ex.start_steps(["a", "b", "c"])
    ex.complete_step(steps[1])
    for call in (
        lambda: ex.complete_steps(steps),
        lambda: ex.start_steps(["d", "e"], steps=[steps[0].id, steps[0].id]),
        lambda: ex.apply_many(
            [Action("step_completed", step_id=steps[0].id), Action("pause"), Action("start")]
        ),
        lambda: ex.complete("with steps open"),
    ):
        before = ex.to_json()
        with pytest.raises(StepwellError):
            call()
        assert ex.to_json() == before


def test_several_waits_can_be_open_at_once(backend):
    ex = running(backend)
    approval, timer = (ex.start_step(name, type="wait") for name in ("approval", "timer"))
    ex.wait("approval")
    ex.input_received(timer)
    assert (ex.state, approval.state, timer.state) == ("running", "running", "completed")
    ex.wait("approval")
    ex.input_received(approval, {"yes": True})
    ex.complete(approval.output)
    assert backend.Execution.replay(ex.id, ex.drain()).output == {"yes": True}
