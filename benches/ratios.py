"""The ratios of one run of the benchmarks, as a table with their targets.

    python benches/ratios.py .venv/bench.json [--check] [--json FILE]

Reads what pytest-benchmark wrote, then measures memory and the import in processes of their own. A ratio is one of
minimums: what disturbs a run only ever adds to it, so the smallest of several is nearest to what the code costs; the
medians are shown beside it. `--check` ends with 1 where a target is missed by more than a margin for noise.
"""

import argparse
import json
import platform
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import memory
import startup
from rich.console import Console
from rich.table import Table
from targets import IMPORT, MARGIN, MEMORY, ROWS, Row, Target
from workload import MAKERS

Times = dict[tuple[str, str], dict[str, float]]


class Line(NamedTuple):
    """One measured number beside its target."""

    name: str
    value: float
    target: Target
    shown: str = ""


def times(report: dict[str, Any]) -> Times:
    """Nanoseconds per unit by workload and who did it: minimum and median."""
    found: Times = {}
    for bench in report["benchmarks"]:
        info, stats = bench["extra_info"], bench["stats"]
        found[info["workload"], info["who"]] = {
            which: stats[which] / info["units"] * 1e9 for which in ("min", "median")
        }
    return found


def ratio(row: Row, found: Times, which: str, who: str) -> float | None:
    """How many times as fast as the other one the native backend is; for pure how many times the other one's cost."""
    other = found.get((row.against_workload or row.workload, row.against))
    own = found.get((row.workload, who))
    if other is None or own is None:
        return None
    return other[which] / own[which] if who == "native" else own[which] / other[which]


def verdict(target: Target, value: float) -> str:
    if not str(target):
        return ""
    return "pass" if target.met(value) else "near" if target.met(value, MARGIN) else "MISS"


def speed_table(found: Times) -> Table:
    table = Table(title="ns per unit, and ratios of the minimums (of the medians)", title_justify="left")
    for heading in ("workload", "per", "native", "pure", "against", "native is faster by", "pure costs"):
        table.add_column(heading, justify="left" if heading in ("workload", "per", "against") else "right")
    for row in ROWS:
        cells = [row.workload, row.unit]
        for who in ("native", "pure"):
            own = found.get((row.workload, who))
            cells.append("" if own is None else f"{own['min']:,.0f}")
        other = found.get((row.against_workload or row.workload, row.against))
        cells.append("" if other is None else f"{row.against} {other['min']:,.0f}")
        for who, target in (("native", row.faster), ("pure", row.cost)):
            value, median = ratio(row, found, "min", who), ratio(row, found, "median", who)
            if value is None or median is None:
                cells.append("not measured" if str(target) else "")
            else:
                cells.append(f"{value:.2f}x ({median:.2f}) {target} {verdict(target, value)}".strip())
        table.add_row(*cells)
    return table


def others() -> Iterator[Line]:
    """Memory and the import; it takes a while."""
    for who in MAKERS:
        value = memory.measured(who)
        yield Line(f"memory per finished step, {who}", value, MEMORY[who], f"{value:.0f} bytes")
    for backend in [who for who in MAKERS if who != "hand"]:
        value = startup.measured(backend)
        yield Line(f"import stepwell, {backend}", value, IMPORT, f"{value:.1f} ms")


def other_table(lines: list[Line]) -> Table:
    table = Table(title="memory and import", title_justify="left")
    for heading in ("what", "measured", "target", ""):
        table.add_column(heading)
    for line in lines:
        table.add_row(line.name, line.shown, str(line.target), verdict(line.target, line.value))
    return table


def machine(report: dict[str, Any]) -> str:
    """Where and when this was measured."""
    info, commit = report["machine_info"], report.get("commit_info", {})
    try:
        rustc = subprocess.run(
            ["rustc", "--version"], capture_output=True, text=True, check=True
        ).stdout.strip()
    except OSError:
        rustc = "no rustc"
    state = f"{str(commit.get('id', 'no commit'))[:12]}{' with changes' if commit.get('dirty') else ''}"
    cpu = info["cpu"]
    return (
        f"{cpu.get('brand_raw', platform.machine())}, {cpu.get('count', '?')} CPUs, {platform.system()}\n"
        f"CPython {platform.python_version()}, {rustc}\n"
        f"commit {state}, {datetime.fromisoformat(report['datetime']).astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("report", type=Path, help="the JSON of pytest-benchmark")
    parser.add_argument("--check", action="store_true", help="end with 1 when a target is missed")
    parser.add_argument("--json", type=Path, help="write the numbers there, too")
    given = parser.parse_args()
    report = json.loads(given.report.read_bytes())
    found = times(report)
    console = Console(width=None if sys.stdout.isatty() else 130, highlight=False)
    console.print(machine(report), speed_table(found), sep="\n")
    lines = list(others())
    console.print(other_table(lines))
    gates = [
        Line(f"{row.workload}, {who}", ratio(row, found, "min", who) or 0.0, target)
        for row in ROWS
        for who, target in (("native", row.faster), ("pure", row.cost))
        if str(target)
    ]
    missing = [line.name for line in gates if not line.value]
    missed = missing + [
        line.name for line in [*gates, *lines] if line.value and not line.target.met(line.value, MARGIN)
    ]
    if given.json:
        numbers = {line.name: line.value for line in [*gates, *lines]}
        given.json.write_text(
            json.dumps({"machine": machine(report), "numbers": numbers, "missed": missed}, indent=1)
        )
    console.print(f"missed or not measured: {', '.join(missed)}" if missed else "every target is met")
    return int(bool(missed) and given.check)


if __name__ == "__main__":
    sys.exit(main())
