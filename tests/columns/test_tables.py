"""The steps as tables of polars, pyarrow, duckdb and pandas: what they read is what a loop over the steps finds."""

import importlib
import subprocess
import sys
from collections import Counter
from datetime import datetime
from types import ModuleType
from typing import Any

import duckdb
import pandas
import polars
import pyarrow
import pytest

from backends import BACKENDS
from docs.pages import table as page_table
from kernel.drive import PAIR, Clock
from kernel.support import running
from kernel.test_twins import sample
from stepwell import ExecutionError, encoding
from stepwell._spec import StepState

MILLION = 1_000_000
NAMES = ["fetch", "parse ü", "日本語 🎉", 'quo"te\\', "\u2028"]
TEXTS = ["plain", "", "é\n\t\x00\x7f", "🎉" * 5, '"\\/']
TIMES = ("scheduled_at", "started_at", "ended_at")


def rows(steps: Any) -> list[dict[str, Any]]:
    """What a plain loop says of the steps, times and durations in nanoseconds."""
    found = []
    for step, duration in zip(steps, steps.durations_ns(), strict=True):
        error = step.error
        started = step.started_at or step.ended_at
        found.append(
            {
                "id": step.id,
                "parent_step_id": step.parent_step_id,
                "name": step.name,
                "type": str(step.step_type),
                "state": str(step.state),
                "attempt": step.attempt,
                **{name: nanoseconds(getattr(step, name)) for name in TIMES},
                "duration_ns": duration,
                "queued_ns": None
                if started is None
                else nanoseconds(started) - nanoseconds(step.scheduled_at),
                "input": step.input,
                "output": step.output,
                "error_category": None if error is None else str(error.category),
                "error_code": None if error is None or error.code is None else str(error.code),
                "error_message": None if error is None else error.message,
                "place": step.place,
            }
        )
    return found


def nanoseconds(moment: datetime | None) -> Any:
    return None if moment is None else int(moment.timestamp()) * 10**9 + moment.microsecond * 1000


def read(table: pyarrow.Table) -> list[dict[str, Any]]:
    """The same of a table."""
    for name in TIMES:
        position = table.schema.get_field_index(name)
        table = table.set_column(position, name, table.column(name).cast(pyarrow.int64()))
    found = table.to_pylist()
    for row in found:
        for name in ("input", "output"):
            row[name] = None if row[name] is None else encoding.decode(row[name].encode())
        if row["started_at"] is None and row["ended_at"] is None:
            row["queued_ns"] = None  # it goes on: the loop has another moment
    return found


def everything(backend: ModuleType) -> Any:
    """Steps in every state, with every field, under a clock that ticks in microseconds."""
    clock = Clock()
    ex = sample(backend, clock=clock)
    clock.now += 5_000
    ex.fail_steps(ex.start_steps(NAMES), [ExecutionError("llm", message=text) for text in TEXTS])
    clock.now += 7_000
    ex.cancel_steps(ex.schedule_steps(NAMES, places=[f"a:{n}" for n in range(5)], inputs=[*TEXTS[:4], None]))
    return ex


@pytest.mark.parametrize("cut", [slice(None), slice(2, 9), slice(None, None, -2), slice(0, 0)])
def test_a_table_says_what_a_loop_says(backend: ModuleType, cut: slice) -> None:
    steps = everything(backend).steps.filter()[cut]
    table = pyarrow.table(steps)
    assert read(table) == rows(steps)
    assert table.num_rows == len(steps)
    table.validate(full=True)


def test_both_backends_make_the_same_tables() -> None:
    one, two = (pyarrow.table(everything(backend).steps) for backend in PAIR)
    assert one.schema.equals(two.schema, check_metadata=True)
    assert one.to_pylist() == two.to_pylist()
    names = [table.column("name").combine_chunks().dictionary.to_pylist() for table in (one, two)]
    assert names[0] == names[1] == [*dict.fromkeys(one.column("name").to_pylist())]


def test_the_columns_have_types_that_others_know(backend: ModuleType) -> None:
    steps = everything(backend).steps
    frame = polars.DataFrame(steps)
    assert frame.height == len(steps)
    assert frame.schema["scheduled_at"] == polars.Datetime("ns", "UTC")
    assert frame.schema["name"] == polars.Categorical
    assert frame.schema["attempt"] == polars.UInt32
    assert frame["id"].to_list() == steps.filter().ids()
    assert polars.DataFrame(steps.filter(state="failed"))["error_message"].to_list() == ["bad", *TEXTS[:2], *[
        step.error.message for step in steps.filter(state="failed")[3:]
    ]]  # fmt: skip
    shown = pandas.DataFrame.from_arrow(steps)
    assert [*shown["id"]] == steps.filter().ids()
    assert str(shown.dtypes["ended_at"]) == "datetime64[ns, UTC]"


def test_the_page_names_the_columns(backend: ModuleType) -> None:
    named = {
        name: kind.endswith(", null")
        for names, kind, _ in page_table("columns", "column", "type", "what it is")
        for name in names.replace("`", "").split(", ")
    }
    schema = pyarrow.table(everything(backend).steps).schema
    assert named == {field.name: field.nullable for field in schema}
    assert [*named] == schema.names


def test_duckdb_reads_them_by_name(backend: ModuleType) -> None:
    steps = everything(backend).steps
    with duckdb.connect() as connection:
        found = connection.sql("select state, count(*) from steps group by state").fetchall()
    assert dict(found) == {str(state): count for state, count in steps.counts().items() if count}


def test_it_is_read_as_it_was_when_it_was_asked_for(backend: ModuleType) -> None:
    ex = running(backend)
    ex.start_steps("a", count=3)
    stream = ex.steps.__arrow_c_stream__()
    ex.start_steps("b", count=3)

    class Taken:
        def __arrow_c_stream__(self, requested_schema: object = None) -> object:
            return stream

    assert pyarrow.table(Taken()).num_rows == 3
    ex.steps.__arrow_c_stream__()  # nobody reads it, and nothing is left behind


def test_steps_may_be_none_at_all(backend: ModuleType) -> None:
    ex = running(backend)
    table = pyarrow.table(ex.steps)
    assert (table.num_rows, table.num_columns) == (0, 17)
    assert polars.DataFrame(ex.steps).height == duckdb.from_arrow(ex.steps).count("*").fetchall()[0][0] == 0


@pytest.fixture(scope="module", params=BACKENDS)
def million(request: pytest.FixtureRequest) -> Any:
    """A million steps in every state, with nulls and text of all kinds."""
    ex = importlib.import_module(f"stepwell._{request.param}").Execution(tenant="acme")
    ex.start()
    each = MILLION // 10
    for number in range(6):
        names = NAMES * (each // 5)
        inputs = [None if n % 3 == 0 else TEXTS[n % 5] for n in range(each)]
        steps = ex.start_steps(names, inputs=inputs, type="tool" if number % 2 else "llm")
        if number < 2:
            ex.complete_steps(steps, [n if n % 2 else None for n in range(each)])
        elif number == 2:
            ex.fail_steps(steps, error=ExecutionError("network", message="down ü"))
        elif number == 3:
            ex.cancel_steps(steps[: each // 2])
    pending = ex.schedule_steps(NAMES[1], count=4 * each)
    ex.cancel_steps(pending[:each], "enough")
    for step in pending[-7:]:
        ex.skip_step(step)
    return ex


def test_a_million_rows_are_those_of_a_loop(million: Any) -> None:
    steps = million.steps
    assert len(steps) == MILLION
    names: Counter[str] = Counter()
    inputs = outputs = 0
    for step in steps.filter(type="llm"):  # a view each: for a part of them
        names[step.name] += 1
        inputs += step.input is None
        outputs += step.output or 0
    states = Counter(map(str, steps.states()))
    durations = sum(filter(None, steps.filter(state="completed").durations_ns()))
    failed, pending = len(steps.filter(state="failed")), len(steps.filter(state="pending"))
    assert set(states) == {str(state) for state in StepState}

    frame = polars.DataFrame(steps)
    llm = frame.filter(polars.col("type") == "llm")
    assert dict(llm["name"].cast(polars.String).value_counts().iter_rows()) == names
    assert llm["input"].null_count() == inputs
    assert llm["output"].cast(polars.Int64).sum() == outputs
    assert dict(frame["state"].value_counts().iter_rows()) == states
    assert frame["error_code"].null_count() == MILLION
    assert frame.filter(polars.col("error_message") == "down ü").height == failed

    table = pyarrow.table(steps)
    done = table.filter(pyarrow.compute.equal(table["state"], "completed"))
    assert pyarrow.compute.sum(done["duration_ns"]).as_py() == durations
    assert table["started_at"].null_count == 4 * MILLION // 10
    assert table["ended_at"].null_count == pending + len(steps.filter(state="running"))

    with duckdb.connect() as connection:
        found = connection.sql(
            "select count(*), count(distinct id), sum(duration_ns) filter (state = 'completed'), "
            "count(*) filter (parent_step_id is null), min(id), max(id) from steps"
        ).fetchall()
    assert found == [(MILLION, MILLION, durations, MILLION, steps.filter()[0].id, steps.filter()[-1].id)]


@pytest.mark.parametrize("name", [name for name in BACKENDS if name == "native"])
def test_the_native_backend_needs_no_pyarrow(name: str) -> None:
    script = """
import sys
sys.modules["pyarrow"] = None
import polars
from stepwell import BACKEND, Execution
ex = Execution(tenant="acme")
ex.start()
ex.start_steps(["a", "b"])
print(BACKEND, polars.DataFrame(ex.steps)["name"].to_list())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "native ['a', 'b']"
