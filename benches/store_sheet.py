"""What the SQLite store has to reach beside raw `sqlite3`, and the table of a run."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from results import Line, Sheet
from targets import Target


class Task(NamedTuple):
    """One comparison: what is done, what it is compared with, in which unit, and the bound of the ratio."""

    workload: str
    other: str
    unit: str
    scale: float
    target: Target


RATE, MILLISECONDS, MICROSECONDS = "per s", "ms", "µs a step"
RAW = "raw commits, WAL, FULL"

TASKS = {
    "one-power": Task("one execution, step after step, `power`", RAW, RATE, 1, Target(least=0.85)),
    "50-power": Task("50 executions at once, `power`", RAW, RATE, 1, Target(least=8)),
    "1000-power": Task("1,000 executions at once, `power`", RAW, RATE, 1, Target(least=12)),
    "one-process": Task(
        "one execution, step after step, `process`", "raw commits, WAL, NORMAL", RATE, 1, Target(least=0.5)
    ),
    "bulk": Task("100,000 steps in bulk", "rows of raw `executemany`", RATE, 1, Target(least=0.6)),
    "load": Task(
        "load an execution of 100,000 steps", "raw fetch of its rows", MILLISECONDS, 1e3, Target(most=1.5)
    ),
    "load-growth": Task(
        "the same, a step", "a step of an execution of 1,000", MICROSECONDS, 1e3, Target(most=1)
    ),
    "lag": Task(
        "lag of the loop while 1,000 executions commit, p99",
        "the same on the memory store",
        MILLISECONDS,
        1e3,
        Target(most=3),
    ),
    "busy": Task(
        "what waits is committed while a thread burns the processor", "without it", RATE, 1, Target(least=0.7)
    ),
    "purge": Task(
        "an append while a million executions are purged, p99",
        "while none are",
        MILLISECONDS,
        1e3,
        Target(most=1.2),
    ),
}


def amount(value: float) -> str:
    """Four digits, or all before the point."""
    return f"{value:,.4g}" if value < 1e4 else f"{value:,.0f}"


def goal(target: Target) -> str:
    """The bound of a ratio."""
    return f">= {target.least:,g}" if target.least is not None else f"<= {target.most:,g}"


def lines(found: dict[str, Any]) -> list[Line]:
    """Each ratio beside its target."""
    return [
        Line(TASKS[what].workload, ours / theirs, TASKS[what].target)
        for what, (ours, theirs) in found.items()
    ]


def sheet(found: dict[str, Any]) -> Sheet:
    """The table of a run."""
    rows = []
    for what, line in zip(found, lines(found), strict=True):
        task, (ours, theirs) = TASKS[what], found[what]
        rows.append(
            [
                task.workload,
                task.other,
                task.unit,
                amount(ours * task.scale),
                amount(theirs * task.scale),
                f"{ours / theirs:.2f}",
                goal(task.target),
                line.verdict,
            ]
        )
    head = ("workload", "compared with", "unit", "stepwell", "the other", "ratio", "target", "")
    return Sheet("The SQLite store", 3, head, rows)


def read(file: Path) -> dict[str, Any]:
    """What `stores.py --json` wrote."""
    found: dict[str, Any] = json.loads(file.read_bytes())
    return found
