"""The runtime beside what it stands on, the same disk and the same minute.

    python benches/runtime.py                   all of it, as a table with its targets
    python benches/runtime.py --json FILE       and the numbers there
    python benches/runtime.py --check           ends with 1 where the native backend misses a target
    python benches/runtime.py resume            some of it; `--backend native`: for one backend; `--rounds 1`: in short

Each backend is measured in processes of its own. Every round measures ours and what it is compared with, one right
after the other, and the median round counts, by its ratio. A raw commit is that of `stores.py`, one row each, WAL and
FULL. Every workflow's result is checked, and in the file that each of its steps was committed by itself.
"""

import argparse
import asyncio
import gc
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from allocators import keep_memory
from memory import resident
from results import missed
from runtime_sheet import TASKS, Found, lines, sheet
from show import show
from stores import described, raw_commits
from workload import MAKERS

import stepwell
from stepwell import Kernel, ManualClock, blueprint, step
from stepwell.store.memory import MemorySource

TENANT = "acme"
DIED = 9
TEN_THOUSAND, HUNDRED_THOUSAND = 10_000, 100_000

Pair = tuple[float, float]


async def same(number: int) -> int:
    return number


trivial = step(name="trivial")(same)
beginning: asyncio.Future[tuple[float, int]] | None = None
"""When the step behind the recorded ones begins, and what they gave; `None` where its process dies of it."""


@blueprint(name="bench.steps")
async def steps(count: int) -> int:
    total = 0
    for number in range(count):
        total += await trivial(number)
    return total


@step(name="beyond")
async def beyond(total: int) -> None:
    if beginning is None:
        os._exit(DIED)
    beginning.set_result((time.perf_counter(), total))
    await asyncio.get_running_loop().create_future()


@blueprint(name="bench.long")
async def long(count: int) -> None:
    total = 0
    for number in range(count):
        total += await trivial(number)
    await beyond(total)


@step(name="large", record_input=False)
async def large(number: int) -> str:
    return f"{number:07d}" * 150_000


@blueprint(name="bench.fill")
async def fill() -> None:
    """Thirty megabytes: SQLite keeps pages of a file in memory, up to 16 MiB, whatever they are of."""
    for number in range(30):
        await large(number)


@blueprint(name="bench.sleeps")
async def sleeps(hours: int) -> int:
    await stepwell.sleep(hours * 3600)
    return hours


# --- steps per second ---------------------------------------------------------------------------------------------


@contextmanager
def fresh(folder: Path) -> Iterator[Path]:
    path = folder / "runs.db"
    try:
        yield path
    finally:
        for file in folder.glob("runs.db*"):
            file.unlink()


def rate(folder: Path, workflows: int, count: int, at_once: bool) -> float:
    """Steps per second, of workflows that are started, run to their end and give the right result."""

    async def work(path: Path) -> float:
        async with Kernel(f"sqlite:///{path}", tenant=TENANT, blueprints=[steps]) as kernel:
            await kernel.recovered()
            began = time.perf_counter()
            if at_once:
                results = await asyncio.gather(*(kernel.run(steps, count) for _ in range(workflows)))
            else:
                results = [await kernel.run(steps, count) for _ in range(workflows)]
            took = time.perf_counter() - began
        assert results == [count * (count - 1) // 2] * workflows
        return workflows * count / took

    with fresh(folder) as path:
        gc.collect()
        reached_rate = asyncio.run(work(path))
        check_commits(path, workflows, count)
    return reached_rate


def check_commits(path: Path, workflows: int, count: int) -> None:
    """All are recorded as completed, and each step was written before the next one began."""
    db = sqlite3.connect(path)
    states = db.execute("SELECT state, count(*) FROM executions GROUP BY state").fetchall()
    assert states == [("completed", workflows)]
    completed = "SELECT count(*) FROM journal WHERE kind = 'step_completed' GROUP BY execution"
    assert db.execute(completed).fetchall() == [(count,)] * workflows
    appends = "SELECT count(DISTINCT action_id) FROM journal GROUP BY execution"
    assert all(each > count for (each,) in db.execute(appends))  # its making or its end is another
    db.close()


# --- resuming -----------------------------------------------------------------------------------------------------


def prepare(folder: Path, count: int) -> Path:
    """A file in which a process left an execution behind, with so many completed steps, when it died."""
    path = folder / f"left-{count}.db"
    if not path.exists():
        command = [sys.executable, __file__, "--leave", str(path), str(count)]
        died = subprocess.run(command, check=False)
        assert died.returncode == DIED, died
        db = sqlite3.connect(path)
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert db.execute("SELECT count(*) FROM journal").fetchone()[0] >= 2 + 2 * count
        db.close()
    return path


async def leave(path: Path, count: int) -> None:
    async with Kernel(f"sqlite:///{path}", tenant=TENANT, blueprints=[long], durability="process") as kernel:
        await kernel.run(long, count, key="k")


def resumed(left: Path, count: int) -> float:
    """Seconds from when it is taken up until the step behind the recorded ones begins."""

    async def work(path: Path) -> float:
        global beginning
        # Nothing is taken up before it is asked for: only so is it known when that begins.
        async with Kernel(f"sqlite:///{path}", tenant=TENANT, blueprints=[long], recover=False) as kernel:
            [row] = await kernel.list()
            await kernel.recovered()
            beginning = asyncio.get_running_loop().create_future()
            began = time.perf_counter()
            await kernel.resume(row.id)
            at, total = await beginning
        assert total == count * (count - 1) // 2
        return at - began

    with fresh(left.parent) as path:
        shutil.copy(left, path)
        gc.collect()
        return asyncio.run(work(path))


def fetched(left: Path, count: int) -> float:
    """Seconds for the same rows by `sqlite3`, and their JSON."""
    db = sqlite3.connect(left)
    [(execution,)] = db.execute("SELECT id FROM executions").fetchall()
    db.close()
    gc.collect()
    began = time.perf_counter()
    db = sqlite3.connect(left)
    rows = db.execute(
        "SELECT seq, at, kind, body FROM journal WHERE tenant = ? AND execution = ? ORDER BY number",
        (TENANT, execution),
    ).fetchall()
    parsed = [json.loads(body) for _, _, _, body in rows]
    took = time.perf_counter() - began
    db.close()
    assert sum(row[2] == "step_completed" for row in rows) == count
    assert len(parsed) == rows[-1][0] + 1
    return took


def growth(folder: Path) -> Pair:
    few, many = prepare(folder, TEN_THOUSAND), prepare(folder, HUNDRED_THOUSAND)
    return resumed(many, HUNDRED_THOUSAND) / HUNDRED_THOUSAND, resumed(few, TEN_THOUSAND) / TEN_THOUSAND


# --- processor time and memory ------------------------------------------------------------------------------------


def overhead(count: int = 5_000) -> Pair:
    """Seconds of processor time: of a step more than its function takes, and of a turn of the loop."""

    async def work() -> Pair:
        async with Kernel(MemorySource(), tenant=TENANT, blueprints=[steps]) as kernel:
            await kernel.recovered()
            keep_memory(64)  # what fresh memory costs is the system's
            gc.collect()
            began = time.process_time()
            total = await kernel.run(steps, count)
            by_kernel = time.process_time() - began
        began = time.process_time()
        plain = 0
        for number in range(count):
            plain += await same(number)
        called = time.process_time() - began
        began = time.process_time()
        for _ in range(count):
            await asyncio.sleep(0)
        turned = time.process_time() - began
        assert total == plain
        return (by_kernel - called) / count, turned / count

    return asyncio.run(work())


def waiting(folder: Path, count: int = TEN_THOUSAND, warm_up: int = 500) -> Pair:
    """Bytes that the process has more of for each execution that waits for a timer."""

    async def begin(kernel: Kernel, hours: int, many: int) -> list[str]:
        handles = await asyncio.gather(*(kernel.start(sleeps, hours) for _ in range(many)))
        for run in kernel.runs():
            await asyncio.wait([run.ended])  # it has left memory
        for handle in handles:
            await kernel.left(handle.id)  # and is released
        return [handle.id for handle in handles]

    async def work(path: Path) -> float:
        clock = ManualClock()
        async with Kernel(
            f"sqlite:///{path}", tenant=TENANT, blueprints=[sleeps, fill], clock=clock
        ) as kernel:
            kernel.linger_s = 0
            await kernel.run(fill)
            await begin(kernel, 2, warm_up)
            before = resident()
            for _ in range(count // 100 - 1):
                await begin(kernel, 2, 100)
            some = await begin(kernel, 1, 100)
            used = resident() - before
            assert await kernel.store.count() == {"waiting": count + warm_up, "completed": 1}
            clock.advance("1h")
            assert [await (await kernel.get(known)).result("1m") for known in some] == [1] * 100
            assert await kernel.store.count() == {"waiting": count + warm_up - 100, "completed": 101}
        return used / count

    with fresh(folder) as path:
        return asyncio.run(work(path)), 1


# --- all of it ----------------------------------------------------------------------------------------------------

ROUNDS = {
    "one-by-one": (5, 3),
    "50-at-once": (7, 3),
    "1000-at-once": (5, 3),
    "resume": (7, 3),
    "resume-growth": (5, 3),
    "overhead": (9, 5),
    "waiting": (1, 1),
}
"""Of the native backend, and of the pure one, which takes longer and has no targets."""

LEFT = {"resume": (TEN_THOUSAND,), "resume-growth": (TEN_THOUSAND, HUNDRED_THOUSAND)}
"""How many steps the executions have that were left behind."""


def work_of(what: str, folder: Path) -> Callable[[], Pair]:
    """One round: what was reached, and what the other reached."""
    if what in {"one-by-one", "50-at-once", "1000-at-once"}:
        workflows, count = (1_000, 100) if what == "1000-at-once" else (50, 100)
        at_once = what != "one-by-one"
        return lambda: (rate(folder, workflows, count, at_once), raw_commits(folder, "FULL", 2_000))
    if what == "resume":
        left = prepare(folder, TEN_THOUSAND)
        return lambda: (resumed(left, TEN_THOUSAND), fetched(left, TEN_THOUSAND))
    if what == "resume-growth":
        return lambda: growth(folder)
    return overhead if what == "overhead" else lambda: waiting(folder)


def measured(what: str, folder: Path, rounds: int) -> Pair:
    """The median round, by its ratio, in this process."""
    once = work_of(what, folder)
    if what in {"resume", "overhead"}:
        once()  # short as they are, it shows what happens the first time only
    pairs = sorted((once() for _ in range(rounds)), key=lambda pair: pair[0] / pair[1])
    return pairs[rounds // 2]


def in_process(what: str, backend: str, folder: Path, rounds: int) -> Pair:
    """The same in a process of its own, with this backend."""
    command = [sys.executable, __file__, "--here", what, str(folder), str(rounds)]
    env = {**os.environ, "STEPWELL_BACKEND": backend}
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=True)
    who, ours, theirs = json.loads(done.stdout)
    assert who == backend
    return float(f"{ours:.4g}"), float(f"{theirs:.4g}")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="*", help="which of them")
    parser.add_argument("--json", type=Path, help="write the numbers there")
    parser.add_argument("--check", action="store_true", help="end with 1 when a target is missed")
    parser.add_argument("--backend", choices=("native", "pure"), help="only this one")
    parser.add_argument("--rounds", type=int, help="so many of each")
    given = parser.parse_args()
    backends = [who for who in ("native", "pure") if who in MAKERS and given.backend in (None, who)]
    found: Found = {backend: {} for backend in backends}
    with tempfile.TemporaryDirectory(dir=".") as name:
        folder = Path(name).resolve()
        for what in given.what or TASKS:
            for count in LEFT.get(what, ()):
                prepare(folder, count)  # by the faster backend: what both write is the same
            for backend, rounds in zip(("native", "pure"), ROUNDS[what], strict=True):
                if backend in backends:
                    print(f"{TASKS[what].workload}, {backend} …", file=sys.stderr, flush=True)
                    found[backend][what] = in_process(what, backend, folder, given.rounds or rounds)
    if given.json:
        kept = {"machine": described(), "found": found}
        given.json.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    show(sheet(found))
    wrong = missed(lines(found))
    print(*wrong or ["every target is met"], sep="\n")
    return int(bool(wrong) and given.check)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--here"]:
        print(json.dumps([stepwell.BACKEND, *measured(sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))]))
    elif sys.argv[1:2] == ["--leave"]:
        asyncio.run(leave(Path(sys.argv[2]), int(sys.argv[3])))
    else:
        sys.exit(main())
