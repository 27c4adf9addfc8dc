"""What ended long ago goes, a little at a time; nothing else does, and the file becomes shorter."""

import os
import signal
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from backends import BACKENDS
from stepwell import NotFound, ValidationError
from stepwell.store import NewExecution, Projection, Store, retention
from stepwell.store.memory import MemorySource
from stepwell.store.retention import Purged, purge
from stepwell.store.sqlite import SqliteSource, SqliteStore
from store.made import make
from store.processes import in_sqlite, run_python
from waiting import until

DAY = 86_400 * 10**9
RUNNING = Projection("running", None, "0" * 32)


@pytest.fixture(params=["memory", *BACKENDS])
def source(request: pytest.FixtureRequest, path: Path) -> Any:
    return MemorySource() if request.param == "memory" else SqliteSource(path, backend=request.param)


@pytest.fixture
def any_store(source: Any) -> Iterator[Store]:
    store = source.open("acme")
    yield store
    store.close()


@pytest.fixture(params=BACKENDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def file_store(path: Path, kind: str) -> Iterator[SqliteStore]:
    store = SqliteSource(path, backend=kind).open("acme")
    yield store
    store.close()


def add(store: Store, id: str, state: str, at_day: int, *, records: int = 3, size: int = 20) -> None:
    """An execution whose last record was written on that day."""
    at = at_day * DAY
    rows = [(seq, at - records + 1 + seq, "kind", b"x" * size) for seq in range(records)]
    new = NewExecution(id, "m.f", id, None, None, None, None)
    store.create(new, b"c" + id.encode(), rows, Projection(state, None, "0" * 32)).wait(20)


def ids(store: Store) -> set[str]:
    found, after = set(), None
    while page := store.list(None, after, 1000).wait(20):
        found |= {row.id for row in page}
        after = page[-1].id
    return found


def run(store: Store, days: int, **more: Any) -> Purged:
    return purge(store, older_than_ns=days * DAY, now_ns=100 * DAY, rest=0, **more)


def test_only_what_ended_and_is_old_goes(any_store: Store) -> None:
    for state in ("completed", "failed", "cancelled", "running", "waiting", "paused"):
        for day in (10, 69, 70, 71):
            add(any_store, f"exec_{state}_{day}", state, day)
    before = ids(any_store)
    would = run(any_store, 30, dry_run=True)
    assert ids(any_store) == before, "a dry run changes nothing"
    assert would == Purged(6, 18, {"completed": 2, "failed": 2, "cancelled": 2})
    assert run(any_store, 30) == would
    gone = {f"exec_{state}_{day}" for state in ("completed", "failed", "cancelled") for day in (10, 69)}
    assert ids(any_store) == before - gone
    assert run(any_store, 30) == Purged(0, 0, {"completed": 0, "failed": 0, "cancelled": 0})
    for each in gone:
        with pytest.raises(NotFound):
            any_store.load(each).wait(10)
    assert any_store.find("m.f", "exec_failed_10").wait(10) is None
    assert len(any_store.load("exec_failed_70").wait(10)) == 3


def test_states_are_chosen(any_store: Store) -> None:
    for state in ("completed", "failed", "cancelled"):
        add(any_store, f"exec_{state}", state, 1)
    assert run(any_store, 1, states=["failed", "failed"]) == Purged(1, 3, {"failed": 1})
    assert ids(any_store) == {"exec_completed", "exec_cancelled"}
    assert run(any_store, 0, states=[]) == Purged(0, 0, {})


@pytest.mark.parametrize(
    "wrong",
    [{"states": ["running"]}, {"states": ["completed", "odd"]}, {"batch": 0}, {"batch": 1001}, {"days": -1}],
)
def test_what_cannot_be_asked_deletes_nothing(any_store: Store, wrong: dict[str, Any]) -> None:
    add(any_store, "exec_1", "completed", 1)
    with pytest.raises(ValidationError):
        run(any_store, **{"days": 1, **wrong})
    assert ids(any_store) == {"exec_1"}


def test_other_tenants_keep_theirs(any_store: Store, source: Any) -> None:
    other = source.open("other")
    add(other, "exec_1", "completed", 1)
    add(other, "exec_2", "completed", 1)
    add(any_store, "exec_1", "completed", 1)
    assert run(any_store, 1).executions == 1
    assert ids(other) == {"exec_1", "exec_2"}
    assert len(other.load("exec_1").wait(10)) == 3
    other.close()


def test_batches_and_progress(any_store: Store) -> None:
    for number in range(57):
        add(any_store, f"exec_{number:03}", "completed", 1, records=1 + number % 5)
    add(any_store, "exec_long", "completed", 1, records=1_234)
    seen: list[tuple[int, int]] = []
    done = run(any_store, 1, batch=10, progress=lambda *counts: seen.append(counts))
    assert done.executions == 58
    assert seen[-1] == (58, done.records) == (58, 1_234 + sum(1 + number % 5 for number in range(57)))
    assert seen == sorted(seen)
    assert ids(any_store) == set()


def test_a_payload_goes_with_the_last_that_uses_it(file_store: SqliteStore) -> None:
    big = make(file_store, text="x" * 40_000)
    left = make(file_store, text="x" * 40_000, end=None)
    assert rows_of(file_store) == {"payloads": 5, "payload_uses": 9}, "the result of one is its own"
    assert purge(file_store, older_than_ns=0, now_ns=2**62).executions == 1
    assert rows_of(file_store) == {"payloads": 4, "payload_uses": 4}
    assert ids(file_store) == {left.id} != {big.id}
    assert b"x" * 40_000 in file_store.load(left.id).wait(10)[0][3]


def rows_of(store: SqliteStore) -> dict[str, int]:
    """How many rows these tables have."""
    code = """
        import sqlite3, sys
        db = sqlite3.connect(sys.argv[1])
        for table in ("payloads", "payload_uses"):
            print(table, db.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
    """
    output, _ = run_python(code, store.path).communicate(timeout=30)
    return {name: int(count) for name, count in (line.split() for line in output.splitlines())}


def test_the_file_becomes_shorter_while_it_is_open(file_store: SqliteStore, path: Path) -> None:
    for number in range(40):
        add(file_store, f"exec_{number:03}", "completed", 1, records=100, size=1_000)
    add(file_store, "exec_kept", "completed", 99)
    file_store.rows("checkpoint").wait(20)
    before = path.stat().st_size
    assert run(file_store, 30, give_back=False).executions == 40
    file_store.rows("checkpoint").wait(20)
    assert path.stat().st_size == before, "free pages stay where nobody asks for them"
    assert run(file_store, 30).executions == 0
    kept = retention.KEEP_PAGES * 4096
    assert path.stat().st_size < before - 40 * 100 * 1_000 + 2 * kept
    [[free]] = file_store.rows("freelist_count").wait(10)
    assert free <= retention.KEEP_PAGES
    assert file_store.rows("integrity").wait(20) == [("ok",)]
    assert ids(file_store) == {"exec_kept"}


def test_writers_go_on_meanwhile(file_store: SqliteStore) -> None:
    for number in range(60):
        add(file_store, f"exec_{number:03}", "completed", 1, records=20)
    add(file_store, "exec_writer", "running", 1, records=1)
    during: list[int] = []
    over = threading.Event()

    def write() -> None:
        seq = 0
        while not over.is_set():
            seq += 1
            record = (seq, seq, "kind", b"x")
            during.append(
                file_store.append("exec_writer", seq - 1, 1, b"%d" % seq, [record], RUNNING).wait(20)
            )

    writer = threading.Thread(target=write)
    writer.start()
    until(lambda: during)
    started = len(during)
    assert run(file_store, 30, progress=lambda *_: until(lambda: len(during) > started)).executions == 60
    over.set()
    writer.join()
    assert during == [*range(1, len(during) + 1)]
    assert file_store.get("exec_writer").wait(10).version == len(during)
    assert file_store.rows("integrity").wait(20) == [("ok",)]


def test_no_transaction_is_large(file_store: SqliteStore) -> None:
    """What one turn deletes is bounded, so that nobody waits long for it."""
    add(file_store, "exec_long", "completed", 1, records=5_000)
    for number in range(300):
        add(file_store, f"exec_{number:03}", "completed", 1, records=2)
    seen = [0]
    run(file_store, 30, progress=lambda _, records: seen.append(records))
    steps = [after - before for before, after in pairwise(seen)]
    assert 100 < max(steps) <= retention.TURN_RECORDS
    assert sum(steps) == 5_600


PURGER = """
    import os, sys
    from stepwell.store.retention import purge
    from stepwell.store.sqlite import SqliteSource
    store = SqliteSource(sys.argv[1], backend=sys.argv[2]).open("acme")
    def progress(executions, records):
        if records >= int(sys.argv[3]):
            print(executions, flush=True)
            sys.stdin.readline()
    purge(store, older_than_ns=0, now_ns=2**62, batch=30, progress=progress, rest=0)
"""


def test_killed_in_the_middle_the_next_finishes(path: Path, kind: str) -> None:
    store = SqliteSource(path, backend=kind).open("acme")
    for number in range(40):
        add(store, f"exec_{number:03}", "completed", 1, records=50)
    store.close()
    process = run_python(PURGER, path, kind, 700)
    assert process.stdout is not None
    assert process.stdout.readline() == "30\n"
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)
    store = SqliteSource(path, backend=kind).open("acme")
    assert ids(store) == {f"exec_{number:03}" for number in range(30, 40)}, "none of them is half there"
    [[left]] = store.rows("doomed", "acme").wait(10)
    assert 0 < left < 30
    done = run(store, 30)
    assert done.executions == 10
    assert 500 < done.records < 2_000 - 700 + 1, "what was left is swept as well"
    assert store.rows("doomed", "acme").wait(10) == [(0,)]
    assert store.rows("integrity").wait(20) == [("ok",)]
    store.close()


def test_the_plan_of_a_batch_does_not_grow_with_the_store(file_store: SqliteStore) -> None:
    """A batch is looked up by its ids: going through all executions made purging quadratic."""
    code = """
        import sqlite3, sys
        from stepwell.store.sql import QUERIES
        db = sqlite3.connect(sys.argv[1])
        for name in ("doom", "doom_marks", "doom_payloads", "doom_uses", "doom_inbox", "doom_awaited", "doom_rows"):
            for row in db.execute("EXPLAIN QUERY PLAN " + QUERIES[name], ("acme", "[]")):
                if row[3].endswith("(tenant=?)"):
                    print(name, row[3])
    """
    output, _ = run_python(code, file_store.path).communicate(timeout=30)
    assert output == ""


def test_what_is_asked_all_the_time_is_looked_up(file_store: SqliteStore) -> None:
    """By an index that begins where the answer does, and has nothing that is taken or has ended."""
    code = """
        import sqlite3, sys
        from stepwell.store.sql import QUERIES
        db = sqlite3.connect(sys.argv[1])
        for name in ("arrivals", "due", "awaited"):
            values = {"1": "acme", "2": "step_1"} if name == "awaited" else ("acme", 5, 100)
            print(*[row[3] for row in db.execute("EXPLAIN QUERY PLAN " + QUERIES[name], values)], sep=", ")
    """
    arrivals, due, awaited = run_python(code, file_store.path).communicate(timeout=30)[0].splitlines()
    assert arrivals.endswith("INDEX inbox_arrivals (tenant=? AND place>?)")
    assert due.endswith("INDEX executions_by_wake (tenant=? AND wake_at<?)")
    assert awaited.count("SEARCH") == 2
    assert "SCAN" not in arrivals + due + awaited


def test_a_file_that_cannot_become_shorter_is_purged_all_the_same(path: Path, kind: str) -> None:
    """One that was made before stores could give space back."""
    SqliteSource(path, backend=kind).open("acme").close()
    in_sqlite(path, "PRAGMA journal_mode = DELETE", "PRAGMA auto_vacuum = NONE", "VACUUM")
    store = SqliteSource(path, backend=kind).open("acme")
    for number in range(10):
        add(store, f"exec_{number}", "completed", 1, records=300, size=1_000)
    assert run(store, 30).executions == 10
    assert store.rows("auto_vacuum").wait(10) == [(0,)]
    assert store.rows("freelist_count").wait(10)[0][0] > retention.KEEP_PAGES
    assert ids(store) == set()
    store.close()
