"""The SQLite store beside raw `sqlite3`, the same work on the same disk in turns.

    python benches/stores.py                    all of it, as a table with its targets
    python benches/stores.py --json FILE        and the numbers there
    python benches/stores.py --check            ends with 1 where a target is missed
    python benches/stores.py one-power          some of it

A raw commit is one row of a journal, by its key, in a transaction of its own: WAL, and FULL or NORMAL synchronisation.
What is compared with it are appends of a store: a started and a completed step, checked against their fence, in one
transaction with the execution's row. Every round measures both, one right after the other, and the median of the
rounds' ratios counts: a disk is faster in one minute than in the next.
"""

import argparse
import asyncio
import json
import os
import platform
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from results import missed
from show import show
from store_sheet import TASKS, lines, sheet

import stepwell
from stepwell import Execution
from stepwell.runtime.records import load
from stepwell.store import NewExecution, Projection, Store
from stepwell.store.memory import MemorySource
from stepwell.store.retention import purge
from stepwell.store.sqlite import SqliteSource

BACKEND = stepwell.BACKEND
HUNDRED_THOUSAND = 100_000
OUTPUT = "what came of it, in a few words"

EXECUTION = f"exec_{0:026d}"
INSERT = "INSERT INTO journal VALUES (?, ?, ?, ?, ?, ?)"

# --- raw ----------------------------------------------------------------------------------------------------------


@contextmanager
def raw_file(folder: Path, synchronous: str) -> Iterator[sqlite3.Connection]:
    path = folder / "raw.db"
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute({"FULL": "PRAGMA synchronous = FULL", "NORMAL": "PRAGMA synchronous = NORMAL"}[synchronous])
    db.execute(
        "CREATE TABLE journal (tenant TEXT, execution TEXT, seq INTEGER, at INTEGER, kind TEXT, body BLOB, "
        "PRIMARY KEY (tenant, execution, seq)) STRICT, WITHOUT ROWID"
    )
    try:
        yield db
    finally:
        db.close()
        for file in folder.glob("raw.db*"):
            file.unlink()


def raw_commits(folder: Path, synchronous: str, count: int) -> float:
    """Commits per second."""
    body = b"x" * 200
    with raw_file(folder, synchronous) as db:
        began = time.perf_counter()
        for seq in range(count):
            db.execute("BEGIN IMMEDIATE")
            db.execute(INSERT, ("acme", EXECUTION, seq, seq, "step_completed", body))
            db.execute("COMMIT")
        took = time.perf_counter() - began
        assert db.execute("SELECT count(*) FROM journal").fetchone() == (count,)
    return count / took


def raw_rows(folder: Path) -> float:
    """Rows per second of `executemany`, in one transaction."""
    rows = [("acme", EXECUTION, seq, seq, "step_completed", b"x" * 200) for seq in range(HUNDRED_THOUSAND)]
    with raw_file(folder, "FULL") as db:
        began = time.perf_counter()
        db.execute("BEGIN IMMEDIATE")
        db.executemany(INSERT, rows)
        db.execute("COMMIT")
        return HUNDRED_THOUSAND / (time.perf_counter() - began)


# --- the store ----------------------------------------------------------------------------------------------------


@contextmanager
def opened(folder: Path) -> Iterator[Store]:
    store = SqliteSource(folder / "runs.db").open("acme")
    try:
        yield store
    finally:
        store.close()
        for file in folder.glob("runs.db*"):
            file.unlink()


def begun(store: Store, state: str = "running") -> Execution:
    execution = Execution(tenant="acme", blueprint="bench.work")
    execution.start()
    new = NewExecution(execution.id, "bench.work", None, None, None, None, "bench")
    records = execution.drain()
    row = Projection(state, None, execution.head or "")
    store.create(new, os.urandom(16), records, row, "process").wait()
    return execution


def one_step(store: Store, execution: Execution, durability: Any) -> Any:
    step = execution.start_step("work")
    execution.complete_step(step, output=OUTPUT)
    records = execution.drain()
    row = Projection("running", None, execution.head or "")
    first = records[0][0]
    return store.append(execution.id, first - 1, 1, b"%d" % first, records, row, durability)


def check_journal(store: Store, execution: Execution, records: int) -> None:
    data, last = [], -1
    while True:
        seq, page = store.bodies(execution.id, last).wait()
        if seq == last:
            break
        data.append(page)
        last = seq
    again = Execution.replay(execution.id, data)
    assert (again.head, last) == (execution.head, records)


def one_after_the_other(folder: Path, durability: str, count: int) -> float:
    with opened(folder) as store:
        execution = begun(store)
        began = time.perf_counter()
        for _ in range(count):
            one_step(store, execution, durability).wait()
        took = time.perf_counter() - began
        check_journal(store, execution, 1 + 2 * count)
    return count / took


def at_once(folder: Path, executions: int, count: int) -> float:
    async def work(store: Store, execution: Execution) -> None:
        for _ in range(count):
            await one_step(store, execution, "power")

    async def main(store: Store) -> float:
        all_of_them = [begun(store) for _ in range(executions)]
        began = time.perf_counter()
        await asyncio.gather(*(work(store, execution) for execution in all_of_them))
        took = time.perf_counter() - began
        check_journal(store, all_of_them[-1], 1 + 2 * count)
        return executions * count / took

    with opened(folder) as store:
        return asyncio.run(main(store))


def in_bulk(folder: Path) -> float:
    """Steps per second: recorded, handed to the store and on the disk."""
    names = ["work"] * HUNDRED_THOUSAND
    outputs = [f"{OUTPUT} {number}" for number in range(HUNDRED_THOUSAND)]
    with opened(folder) as store:
        execution = begun(store)
        began = time.perf_counter()
        execution.complete_steps(execution.start_steps(names), outputs=outputs)
        records = execution.drain()
        row = Projection("running", None, execution.head or "")
        store.append(execution.id, records[0][0] - 1, 1, os.urandom(16), records, row).wait()
        took = time.perf_counter() - began
        check_journal(store, execution, 1 + len(records))
    return HUNDRED_THOUSAND / took


# --- loading ------------------------------------------------------------------------------------------------------


def loading(folder: Path, steps: int) -> tuple[float, float]:
    """Seconds to load an execution with so many steps, and to fetch its rows by `sqlite3`."""
    with opened(folder) as store:
        execution = begun(store)
        for _ in range(steps // 100):
            for _ in range(100):
                execution.complete_step(execution.start_step("work"), output=OUTPUT)
            records = execution.drain()
            row = Projection("running", None, execution.head or "")
            store.append(execution.id, records[0][0] - 1, 1, os.urandom(16), records, row, "process").wait()
        best = fetched = float("inf")
        for _ in range(5):
            began = time.perf_counter()
            again = load(store, store.get(execution.id).wait())
            best = min(best, time.perf_counter() - began)
            assert again.head == execution.head
        store.rows("checkpoint").wait()  # type: ignore[attr-defined]
        store.close()
        for _ in range(5):
            db = sqlite3.connect(folder / "runs.db")
            began = time.perf_counter()
            rows = db.execute(
                "SELECT seq, at, kind, body FROM journal WHERE tenant = ? AND execution = ? ORDER BY number",
                ("acme", execution.id),
            ).fetchall()
            fetched = min(fetched, time.perf_counter() - began)
            db.close()
            assert len(rows) == 2 + 2 * steps
    return best, fetched


# --- the host's loop and its other threads ------------------------------------------------------------------------


async def _lags(store: Store, seconds: float) -> list[float]:
    """How late a timer of the loop was, again and again, while a thousand executions commit."""
    executions = [begun(store) for _ in range(1_000)]
    stop = False

    async def work(execution: Execution) -> None:
        while not stop:
            await one_step(store, execution, "power")
            await asyncio.sleep(0)

    tasks = [asyncio.ensure_future(work(execution)) for execution in executions]
    lags: list[float] = []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        due = time.perf_counter() + 0.001
        await asyncio.sleep(0.001)
        lags.append(time.perf_counter() - due)
    stop = True
    await asyncio.gather(*tasks)
    return lags


def lag(folder: Path) -> tuple[float, float]:
    """Seconds that the loop's timers are late at the 99th percentile: the SQLite store's, and the memory store's."""
    with opened(folder) as store:
        ours = statistics.quantiles(asyncio.run(_lags(store, 4)), n=100)[98]
    memory = MemorySource().open("acme")
    return ours, statistics.quantiles(asyncio.run(_lags(memory, 4)), n=100)[98]


HOLDER = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.readline()
db.execute("ROLLBACK")
"""


def beside_a_busy_thread(folder: Path) -> tuple[float, float]:
    """Appends per second of what is asked for already: with a thread that burns the processor in Python, and without.

    Another process holds the file until all has been asked.
    """
    found = []
    for busy in (True, False):
        stop = threading.Event()
        with opened(folder) as store:
            executions = [begun(store) for _ in range(1_000)]
            burner = threading.Thread(target=_burn, args=(stop,))
            holder = subprocess.Popen(
                [sys.executable, "-c", HOLDER, str(folder / "runs.db")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            tickets = [one_step(store, each, "power") for _ in range(30) for each in executions]
            if busy:
                burner.start()
            assert not any(ticket.done for ticket in tickets)
            began = time.perf_counter()
            holder.communicate("go\n")
            tickets[-1].wait()
            found.append(len(tickets) / (time.perf_counter() - began))
            stop.set()
            if busy:
                burner.join()
    return found[0], found[1]


def _burn(stop: threading.Event) -> None:
    while not stop.is_set():
        sum(range(1_000))


# --- purging ------------------------------------------------------------------------------------------------------


def purging(folder: Path, finished: int) -> tuple[float, float]:
    """The 99th percentile of an append's seconds while so many finished executions are purged, and while none are."""
    with opened(folder) as store:
        _fill(store, finished)
        execution = begun(store)

        def appends(until: Callable[[int], bool]) -> float:
            took: list[float] = []
            while not until(len(took)):
                began = time.perf_counter()
                one_step(store, execution, "power").wait()
                took.append(time.perf_counter() - began)
            return statistics.quantiles(took, n=100)[98]

        quiet = appends(lambda done: done >= 10_000)
        now = time.time_ns()
        work = threading.Thread(target=lambda: purge(store, older_than_ns=0, now_ns=now, give_back=False))
        work.start()
        during = appends(lambda done: not work.is_alive() and done > 1_000)
        assert store.count().wait() == {"running": 1}
    return during, quiet


def _fill(store: Store, count: int) -> None:
    execution = Execution(tenant="acme", blueprint="bench.work")
    execution.start()
    execution.complete_step(execution.start_step("work"), output=OUTPUT)
    execution.complete("done")
    records = execution.drain()
    row = Projection("completed", None, execution.head or "")
    tickets: list[Any] = []
    for number in range(count):
        new = NewExecution(f"exec_{number:026d}", "bench.work", None, None, None, None, None)
        tickets.append(store.create(new, b"%d" % number, records, row, "process"))
        if len(tickets) == 10_000:
            tickets[-1].wait()
            tickets.clear()
    for ticket in tickets:
        ticket.wait()


# --- all of it ----------------------------------------------------------------------------------------------------

Pair = tuple[float, float]


def rounds(count: int, ours: Callable[[], float], theirs: Callable[[], float]) -> Pair:
    """The median round, by its ratio: what each of both reached in it."""
    pairs = [(ours(), theirs()) for _ in range(count)]
    return sorted(pairs, key=lambda pair: pair[0] / pair[1])[count // 2]


def measured(what: str, folder: Path) -> Pair:
    full = lambda: raw_commits(folder, "FULL", 3_000)
    normal = lambda: raw_commits(folder, "NORMAL", 20_000)
    if what == "one-power":
        return rounds(7, lambda: one_after_the_other(folder, "power", 3_000), full)
    if what == "50-power":
        return rounds(5, lambda: at_once(folder, 50, 600), full)
    if what == "1000-power":
        return rounds(5, lambda: at_once(folder, 1_000, 60), full)
    if what == "one-process":
        return rounds(5, lambda: one_after_the_other(folder, "process", 20_000), normal)
    if what == "bulk":
        return rounds(3, lambda: in_bulk(folder), lambda: raw_rows(folder))
    if what == "load":
        return loading(folder, HUNDRED_THOUSAND)
    if what == "load-growth":
        return loading(folder, HUNDRED_THOUSAND)[0] / 100, loading(folder, 1_000)[0]
    if what == "lag":
        return lag(folder)
    if what == "busy":
        pairs = sorted((beside_a_busy_thread(folder) for _ in range(3)), key=lambda pair: pair[0] / pair[1])
        return pairs[1]
    return purging(folder, 1_000_000 if what == "purge" else int(what.removeprefix("purge-")))


ALL = (
    "one-power",
    "50-power",
    "1000-power",
    "one-process",
    "bulk",
    "load",
    "load-growth",
    "lag",
    "busy",
    "purge",
)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="*", help="which of them")
    parser.add_argument("--json", type=Path, help="write the numbers there")
    parser.add_argument("--check", action="store_true", help="end with 1 when a target is missed")
    given = parser.parse_args()
    found: dict[str, Pair] = {}
    for what in given.what or TASKS:
        print(f"{TASKS[what].workload} …", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(dir=".") as folder:
            ours, theirs = measured(what, Path(folder).resolve())
        found[what] = float(f"{ours:.4g}"), float(f"{theirs:.4g}")
    if given.json:
        kept = {"machine": described(), "found": found}
        given.json.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    show(sheet(found))
    wrong = missed(lines(found))
    print(*wrong or ["every target is met"], sep="\n")
    return int(bool(wrong) and given.check)


def described() -> str:
    """Where and when this was measured, and what."""
    git = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip() or "unknown"
    with opened(Path(tempfile.mkdtemp())) as store:
        [(library,)] = store.rows("library").wait()  # type: ignore[attr-defined]
    return (
        f"{platform.machine()}, {os.cpu_count()} CPUs, {platform.system()}; CPython {platform.python_version()}, "
        f"{BACKEND} with SQLite {library}, raw with {sqlite3.sqlite_version}; commit {commit}, "
        f"{datetime.now(UTC):%Y-%m-%d}.\n"
    )


if __name__ == "__main__":
    sys.exit(main())
