"""The tables of a run beside other libraries, from the numbers that `peers/run.py --json` wrote."""

import json
import statistics
from pathlib import Path
from typing import Any

from results import Sheet

HEAD = (
    "who",
    "survives",
    "journal, synchronous",
    "flushes a step",
    "flushes a step, 50 at once",
    "ms, 1 workflow of 100 steps",
    "steps per s, 50 after another",
    "steps per s, 50 at once",
    "ms, resume after 10,000 steps",
)
SHORT = ("who", "survives", *HEAD[3:5], *HEAD[6:])
"""The columns of the README."""

USUAL = {"one": (1, 100), "series": (50, 100), "at_once": (50, 100), "resume": (1, 10_000)}
"""How many workflows of how many steps, where nothing else is said."""


def read(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read_bytes())
    return found


def number(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def seconds(part: dict[str, Any]) -> float:
    """The median of the rounds."""
    return float(statistics.median(part["seconds"]))


def smaller(task: str, part: dict[str, Any]) -> str:
    """What was done, where it is less than the usual."""
    size = (part["workflows"], part["steps"])
    if size == USUAL[task]:
        return ""
    return f" (after {part['steps']:,})" if task == "resume" else f" ({size[0]} of {size[1]})"


def rate(row: dict[str, Any], task: str) -> str:
    part = row[task]
    return number(part["workflows"] * part["steps"] / seconds(part)) + smaller(task, part)


def milliseconds(row: dict[str, Any], task: str) -> str:
    part = row[task]
    again = f", {part['again']} run again" if part.get("again") else ""
    return number(seconds(part) * 1e3) + smaller(task, part) + again


def flushes(row: dict[str, Any], task: str) -> str:
    found = row["flushes"].get(task)
    return "not counted" if found is None else f"{found:.2f}"


def who(row: dict[str, Any]) -> str:
    failures = row.get("failures", 0)
    return str(row["who"]) + (f" (failed {failures} times, and was run again)" if failures else "")


def spread(found: list[dict[str, Any]]) -> str:
    """How far the rounds of a number are apart: what the disk and whoever else was on it did to this run."""
    rounds = [row[task]["seconds"] for row in found for task in USUAL]
    apart = [max(times) / min(times) for times in rounds]
    return (
        f"The slowest of {len(rounds[0])} rounds took {statistics.median(apart):.2g} times as long as the quickest "
        f"in the median of all numbers, and {max(apart):.2g} times at most.\n"
    )


def sheet(found: list[dict[str, Any]]) -> Sheet:
    """The table of a run."""
    rows = [
        [
            who(row),
            row["survives"],
            row["mode"],
            flushes(row, "series"),
            flushes(row, "at_once"),
            milliseconds(row, "one"),
            rate(row, "series"),
            rate(row, "at_once"),
            milliseconds(row, "resume"),
        ]
        for row in found
    ]
    return Sheet("Beside others", 3, HEAD, rows)


def short(full: Sheet) -> Sheet:
    """Some of its columns."""
    places = [full.head.index(name) for name in SHORT]
    return Sheet(full.title, 2, SHORT, [[row[place] for place in places] for row in full.rows])
