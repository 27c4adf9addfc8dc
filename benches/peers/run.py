"""The same work by stepwell, by raw `sqlite3` and by other libraries that keep runs in SQLite, on the same disk.

    python benches/peers/run.py                     all of them, as a table
    python benches/peers/run.py --json FILE         and the numbers there
    python benches/peers/run.py dbos burr           some of them
    python benches/peers/run.py --small …           little of everything, to see that it works

Each works in an environment of its own, made here from `requirements/`, and each task in a process of its own with a
folder of its own; the libraries take turns, round by round, and what counts is the median of the rounds. Before that,
untimed and two at a time, one workflow of each is killed in the step after the last that is to be resumed, and another
run of the same program is watched by strace: it counts the calls that wait for the disk. All ends with the first wrong
answer, a step that ran twice, a result lost by the killing, or a record that is said to survive power loss and was not
flushed.
"""

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import venv
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rows import ALL, Row, Size, here
from work import BEGIN, DEAD, END

HERE = Path(__file__).parent
# The tables are made where those of the other benchmarks are.
sys.path.insert(1, str(HERE.parent))
from peer_sheet import read, sheet, spread  # noqa: E402
from show import show  # noqa: E402

ENVIRONMENTS = HERE.parents[1] / ".venvs" / "peers"
PATIENCE = 900
"""Seconds after which a task is given up."""
TRIES = 3
FLUSHES = ("fsync", "fdatasync", "sync_file_range", "msync", "syncfs", "sync")
MARKS = "?access,?faccessat,?faccessat2"

Found = dict[str, Any]


class WrongError(Exception):
    """Something that makes the numbers of a run worthless."""


# --- processes ----------------------------------------------------------------------------------------------------


def environment(name: str) -> Path:
    """The Python of an environment, which is made where it is not there or not what the file says any more."""
    if not name:
        return Path(sys.executable)
    folder, wanted = ENVIRONMENTS / name, (HERE / "requirements" / f"{name}.txt").read_bytes()
    python, made_of = folder / ("Scripts" if os.name == "nt" else "bin") / "python", folder / "made-of.txt"
    if not made_of.exists() or made_of.read_bytes() != wanted:
        print(f"an environment for {name} …", file=sys.stderr, flush=True)
        venv.create(folder, clear=True, with_pip=True)
        pip = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", "-r"]
        subprocess.run([*pip, str(HERE / "requirements" / f"{name}.txt")], check=True)
        made_of.write_bytes(wanted)
    return python


def process(row: Row, task: str, folder: Path, size: Size, around: tuple[str, ...] = ()) -> int:
    """Runs a task; its exit status."""
    shown = dict(os.environ)
    if row.environment:
        shown.pop("PYTHONPATH", None)
    shown |= {"LANGSMITH_TRACING": "false", **row.variables}
    script = (environment(row.environment), HERE / row.script, task, folder, *size, *row.options)
    try:
        done = subprocess.run([*around, *map(str, script)], env=shown, check=False, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        raise WrongError(f"{row.key}, {task}: no end after {PATIENCE} seconds") from None
    return done.returncode


def result(row: Row, task: str, size: Size, around: tuple[str, ...] = (), left: Path | None = None) -> Found:
    """What came of a task, in a folder of its own. One that does not get to its end is tried again, which is kept."""
    for failures in range(TRIES):
        with tempfile.TemporaryDirectory(prefix=".peers-", dir=".") as place:
            folder = Path(place).resolve() / "data"
            if left is None:
                folder.mkdir()
            else:
                shutil.copytree(left, folder)
            if process(row, task, folder, size, around):
                continue
            found: Found = json.loads((folder / "result.json").read_bytes())
        check(row, task, size, found)
        return found | {"failures": failures, "workflows": size[0], "steps": size[1]}
    raise WrongError(f"{row.key}, {task}: it failed {TRIES} times")


# --- the answers --------------------------------------------------------------------------------------------------


def check(row: Row, task: str, size: Size, found: Found) -> None:
    """Raises where what was found is not what the work gives."""
    workflows, steps = size
    again = found["calls"] - 1
    if task == "resume":
        answers, calls = [(steps + 1) ** 2], 0 <= again <= row.lost
    else:
        answers, calls = [steps**2] * workflows, found["calls"] == workflows * steps
    if found["answers"] != answers:
        raise WrongError(f"{row.key}, {task}: the answers are {found['answers']}, not {answers}")
    if not calls:
        raise WrongError(f"{row.key}, {task}: {found['calls']} steps were run for {workflows} of {steps}")


def check_flushes(row: Row, flushes: dict[str, float | None]) -> None:
    """Raises where a record that is said to survive power loss was not waited for."""
    found = flushes["series"]
    if found is not None and row.flushes_each_step and found < 1:
        raise WrongError(f"{row.key}: {found:.2f} flushes a step do not survive {row.survives}")


# --- before the rounds --------------------------------------------------------------------------------------------


def leave(row: Row, folder: Path) -> None:
    """A workflow whose process is killed in the step after the last that is recorded."""
    folder.mkdir()
    status = process(row, "leave", folder, (1, row.long))
    if status != DEAD:
        raise WrongError(f"{row.key}, leave: exit status {status}, not killed")


def traced(row: Row, task: str, trace: Path, size: Size) -> float | None:
    """Flushes a step, where there is a strace."""
    if shutil.which("strace") is None:
        return None
    calls = f"trace={MARKS},{','.join(f'?{name}' for name in FLUSHES)}"
    strace = ("strace", "-f", "--seccomp-bpf", "-qq", "-o", str(trace), "-e", calls, "-e", "signal=none")
    result(row, task, size, strace)
    return counted(trace.read_text(encoding="utf-8", errors="replace")) / (size[0] * size[1])


def counted(trace: str) -> int:
    """How many flushes began between the marks."""
    begin, end = (re.search(f"{re.escape(mark)}.*", trace) for mark in (BEGIN, END))
    if begin is None or end is None:
        raise WrongError("the timed part is not in the trace")
    calls = rf"^\d+ +(?:{'|'.join(FLUSHES)})\("
    return len(re.findall(calls, trace[begin.end() : end.start()], re.MULTILINE))


def prepare(row: Row, folder: Path) -> dict[str, float | None]:
    """Leaves one to be resumed, and counts flushes."""
    print(f"{row.key}: left, and watched …", file=sys.stderr, flush=True)
    leave(row, folder / f"{row.key}-left")
    flushes = {
        "series": traced(row, "series", folder / f"{row.key}-series.trace", row.traced_series),
        "at_once": traced(row, "at_once", folder / f"{row.key}-at-once.trace", row.traced_at_once),
    }
    check_flushes(row, flushes)
    return flushes


# --- the rounds ---------------------------------------------------------------------------------------------------


def measured(row: Row, left: Path) -> dict[str, Found]:
    """One round of a row."""
    print(f"{row.key} …", file=sys.stderr, flush=True)
    return {
        "one": result(row, "series", row.one),
        "series": result(row, "series", row.series),
        "at_once": result(row, "at_once", row.at_once),
        "resume": result(row, "resume", (1, row.long), left=left),
    }


def summed_up(row: Row, rounds: list[dict[str, Found]], flushes: dict[str, float | None]) -> Found:
    """What is kept of a row."""
    first = rounds[0]
    kept: Found = {
        "key": row.key,
        "who": row.who.format_map(first["one"]["versions"]),
        "versions": first["one"]["versions"],
        "survives": row.survives,
        "mode": first["one"]["mode"],
        "flushes": {task: None if found is None else round(found, 3) for task, found in flushes.items()},
    }
    for task, part in first.items():
        times = [float(f"{each[task]['seconds']:.4g}") for each in rounds]
        kept[task] = {"workflows": part["workflows"], "steps": part["steps"], "seconds": times}
    if failures := sum(part["failures"] for each in rounds for part in each.values()):
        kept["failures"] = failures
    if row.lost:
        kept["resume"]["again"] = max(each["resume"]["calls"] for each in rounds) - 1
    return kept


def compare(rows: list[Row], rounds: int) -> list[Found]:
    for row in rows:
        environment(row.environment)
    with tempfile.TemporaryDirectory(prefix=".peers-", dir=".") as place:
        folder = Path(place).resolve()
        with ThreadPoolExecutor(2) as pool:
            flushes = list(pool.map(lambda row: prepare(row, folder), rows))
        found: dict[str, list[dict[str, Found]]] = {row.key: [] for row in rows}
        for _ in range(rounds):
            for row in rows:
                found[row.key].append(measured(row, folder / f"{row.key}-left"))
    return [summed_up(row, found[row.key], counts) for row, counts in zip(rows, flushes, strict=True)]


# --- all of it ----------------------------------------------------------------------------------------------------


def small(row: Row) -> Row:
    few = (2, 5)
    return replace(row, one=(1, 5), series=few, at_once=few, long=20, traced_series=few, traced_at_once=few)


def described() -> str:
    """Where and when this was measured, and what."""
    git = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip() or "unknown"
    return (
        f"{platform.machine()}, {os.cpu_count()} CPUs, {platform.system()}; CPython {platform.python_version()}; "
        f"commit {commit}, {datetime.now(UTC):%Y-%m-%d}.\n"
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("who", nargs="*", help=f"of {', '.join(row.key for row in ALL)}")
    parser.add_argument("--json", type=Path, help="write the numbers there")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--small", action="store_true", help="little of everything; no numbers to be shown")
    given = parser.parse_args()
    known = {row.key: row for row in here()}
    if unknown := set(given.who) - set(known):
        parser.error(f"not here: {', '.join(sorted(unknown))}; here are {', '.join(known)}")
    rows = [row for row in known.values() if not given.who or row.key in given.who]
    machine = described()
    try:
        found = compare([small(row) if given.small else row for row in rows], given.rounds)
    except WrongError as wrong:
        print(f"no number counts: {wrong}", file=sys.stderr)
        return 1
    if given.json:
        kept = {"machine": machine, "found": found}
        given.json.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
        found = read(given.json)["found"]
    show(sheet(found))
    print(spread(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
