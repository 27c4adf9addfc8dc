"""The ratios of one run of the benchmarks, as tables with their targets.

    python benches/ratios.py .venv/bench.json [--check] [--json FILE]

Reads what pytest-benchmark wrote, then measures growth, memory and the import in processes of their own. A ratio is one
of minimums: what disturbs a run only ever adds to it, so the smallest of several is nearest to what the code costs; the
medians are shown beside it. `--check` ends with 1 where a target is missed.
"""

import argparse
import json
import platform
import subprocess
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import growth
import memory
import startup
from results import Results, Times, all_lines, missed, sheets
from show import show
from targets import GROWTH, MEMORY
from workload import MAKERS


def times(report: dict[str, Any]) -> Times:
    """Nanoseconds per unit by workload and who did it: minimum and median."""
    found: Times = {}
    for bench in report["benchmarks"]:
        info, stats = bench["extra_info"], bench["stats"]
        found.setdefault(info["workload"], {})[info["who"]] = {
            which: rounded(stats[which] / info["units"] * 1e9) for which in ("min", "median")
        }
    return found


def rounded(value: float) -> float:
    return float(f"{value:.4g}")


def machine(report: dict[str, Any]) -> dict[str, str]:
    """Where and when this was measured, and what."""
    cpu, commit = report["machine_info"]["cpu"], report.get("commit_info", {})
    try:
        rustc = subprocess.run(["rustc", "--version"], capture_output=True, text=True, check=True).stdout
    except OSError:
        rustc = "no rustc"
    when = datetime.fromisoformat(report["datetime"]).astimezone(UTC)
    return {
        "cpu": f"{cpu.get('brand_raw', platform.machine())}, {cpu.get('count', '?')} CPUs",
        "system": platform.system(),
        "python": f"CPython {platform.python_version()}",
        "rustc": rustc.partition("(")[0].strip(),
        "commit": f"{str(commit.get('id', 'unknown'))[:12]}{' with changes' if commit.get('dirty') else ''}",
        "date": f"{when:%Y-%m-%d}",
    }


def each(table: Iterable[tuple[str, str]], measured: Callable[[str, str], Any]) -> dict[str, dict[str, Any]]:
    """What is measured for each workload and who does it, of those that are here."""
    found: dict[str, dict[str, Any]] = {}
    for workload, who in table:
        if who in MAKERS:
            found.setdefault(workload, {})[who] = measured(workload, who)
    return found


def gathered(report: dict[str, Any]) -> Results:
    """All of a run; what pytest does not measure takes a minute or two."""
    backends = [who for who in MAKERS if who != "hand"]
    sizes = lambda *what: {size: rounded(ns) for size, ns in growth.measured(*what).items()}
    return Results(
        machine=machine(report),
        backends=backends,
        times=times(report),
        growth=each(GROWTH, sizes),
        memory=each(MEMORY, lambda *what: rounded(memory.measured(*what))),
        startup={backend: rounded(startup.measured(backend)) for backend in backends},
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("report", type=Path, help="the JSON of pytest-benchmark")
    parser.add_argument("--check", action="store_true", help="end with 1 when a target is missed")
    parser.add_argument("--json", type=Path, help="write the numbers there, too")
    given = parser.parse_args()
    results = gathered(json.loads(given.report.read_bytes()))
    if given.json:
        results.write(given.json)
    print(*results.machine.values(), sep="\n")
    show(*sheets(results).values())
    wrong = missed(all_lines(results))
    print(*wrong or ["every target is met"], sep="\n")
    return int(bool(wrong) and given.check)


if __name__ == "__main__":
    sys.exit(main())
