"""What the runtime has to reach beside what it stands on, and the table of a run."""

import json
from pathlib import Path
from typing import Any

from results import Line, Sheet
from store_sheet import MICROSECONDS, MILLISECONDS, RATE, RAW, Task, amount, goal
from targets import Target

Found = dict[str, dict[str, tuple[float, float]]]
"""What was reached, and what the other reached, by backend and task."""

TASKS = {
    "one-by-one": Task("50 workflows of 100 steps, one after the other", RAW, RATE, 1, Target(least=0.75)),
    "50-at-once": Task("the same 50 at once", RAW, RATE, 1, Target(least=6)),
    "1000-at-once": Task("1,000 workflows of 100 steps at once", RAW, RATE, 1, Target(least=10)),
    "resume": Task(
        "resume behind 10,000 completed steps",
        "raw fetch of its rows, and `json.loads`",
        MILLISECONDS,
        1e3,
        Target(most=3),
    ),
    "resume-growth": Task(
        "resume behind 100,000, a step", "a step of 10,000", MICROSECONDS, 1e6, Target(most=1.1)
    ),
    "overhead": Task(
        "a step on the memory store, less the plain call",
        "`await asyncio.sleep(0)`",
        "µs of processor time",
        1e6,
        Target(most=5),
    ),
    "waiting": Task("each of 10,000 executions that wait for timers", "", "bytes", 1, Target(most=2_000)),
}
"""Where there is no other, the number itself has a bound."""


def lines(found: Found) -> list[Line]:
    """What the native backend reached, beside its targets; the pure one has none."""
    return [
        Line(TASKS[what].workload, ours / theirs, TASKS[what].target)
        for what, (ours, theirs) in found.get("native", {}).items()
    ]


def sheet(found: Found) -> Sheet:
    """The table of a run."""
    head = (
        "workload",
        "compared with",
        "unit",
        "native",
        "the other",
        "ratio",
        "target",
        "",
        "pure",
        "its ratio",
    )
    verdicts = {line.name: line.verdict for line in lines(found)}
    rows = []
    for what, task in TASKS.items():
        if any(what in pairs for pairs in found.values()):
            native, other, ratio = _cells(task, found.get("native", {}).get(what))
            pure, _, pure_ratio = _cells(task, found.get("pure", {}).get(what))
            verdict = verdicts.get(task.workload, "")
            cells = [native, other, ratio, goal(task.target), verdict, pure, pure_ratio]
            rows.append([task.workload, task.other, task.unit, *cells])
    return Sheet("The runtime", 3, head, rows)


def _cells(task: Task, pair: tuple[float, float] | None) -> tuple[str, str, str]:
    if pair is None:
        return "", "", ""
    ours, theirs = pair
    if not task.other:
        return amount(ours * task.scale), "", ""
    return amount(ours * task.scale), amount(theirs * task.scale), f"{ours / theirs:.2f}"


def read(file: Path) -> dict[str, Any]:
    """What `runtime.py --json` wrote."""
    found: dict[str, Any] = json.loads(file.read_bytes())
    return found
