"""The tables and the plot of `docs/performance.md` are what the numbers of the run give. It takes matplotlib."""

import json
import subprocess
import sys
from pathlib import Path

from house.tree import ROOT, text

FIGURES = ROOT / "docs" / "figures"
NUMBERS = FIGURES / "bench.json"


def report(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "benches" / "report.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_tables_and_plot_are_made_from_the_numbers() -> None:
    done = report("--check")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_another_number_is_noticed(tmp_path: Path) -> None:
    """One that is in a table and in the plot."""
    found = json.loads(text(NUMBERS))
    sizes = found["growth"]["one by one"]["hand"]
    sizes["10000"] *= 2
    (tmp_path / "bench.json").write_text(json.dumps(found), encoding="utf-8")
    done = report("--check", tmp_path / "bench.json")
    assert done.returncode == 1, done.stderr
    assert {line.split()[0] for line in done.stdout.splitlines()} == {"performance.md", "cost.svg"}


def test_the_runtime_was_measured_in_full() -> None:
    """Every row of the table has both backends."""
    found = json.loads(text(FIGURES / "runtime.json"))["found"]
    code = "import json, runtime_sheet; print(json.dumps([*runtime_sheet.TASKS]))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT / "benches", capture_output=True, text=True, check=True
    )
    tasks = json.loads(done.stdout)
    assert {backend: [*pairs] for backend, pairs in found.items()} == {"native": tasks, "pure": tasks}
