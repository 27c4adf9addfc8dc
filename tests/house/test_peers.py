"""The comparison with other libraries refuses what is wrong; shown with those of its rows that need no environment."""

import importlib
import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backends import BACKENDS
from house.tree import ROOT, text

PEERS = ROOT / "benches" / "peers"
OURS = ["sqlite", *(f"stepwell-{backend}-{kept}" for backend in BACKENDS for kept in ("power", "process"))]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The runner as a module. Its neighbours have short names, and are forgotten afterwards."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(PEERS))
    yield importlib.import_module("run")
    for name in set(sys.modules) - before:
        if str(ROOT / "benches") in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def test_a_small_run_of_what_is_here(tmp_path: Path) -> None:
    file = tmp_path / "peers.json"
    command = [sys.executable, str(PEERS / "run.py"), "--small", "--rounds", "1", "--json", str(file), *OURS]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = {row["key"]: row for row in json.loads(file.read_bytes())["found"]}
    assert set(found) == set(OURS)
    assert [path.name for path in tmp_path.iterdir()] == ["peers.json"]
    if sys.platform == "linux":  # elsewhere there is no strace, and nothing is counted
        assert found["sqlite"]["flushes"] == {"series": 1, "at_once": 1}
        assert all(found[key]["flushes"]["series"] >= 1 for key in OURS if key.endswith("-power"))


def test_rows_name_files_and_exact_versions(run: Any) -> None:
    for row in run.ALL:
        assert (PEERS / row.script).is_file()
        if row.environment:
            lines = text(PEERS / "requirements" / f"{row.environment}.txt").splitlines()
            assert all(line.startswith("#") or "==" in line for line in lines)


def test_no_peer_is_a_dependency() -> None:
    project = tomllib.loads(text(ROOT / "pyproject.toml"))["project"]
    ours = json.dumps([project["dependencies"], project["optional-dependencies"]])
    tools = "".join(text(file) for file in (ROOT / "tools").glob("requirements-*.txt"))
    for peer in ("dbos", "langgraph", "eventsourcing", "burr", "duroxide"):
        assert peer not in ours + tools


@pytest.mark.parametrize(
    ("task", "size", "found"),
    [
        ("series", (2, 5), {"answers": [25, 25], "calls": 10}),
        ("resume", (1, 20), {"answers": [441], "calls": 1}),
    ],
)
def test_wrong_answers_and_steps_that_ran_again_are_refused(
    run: Any, task: str, size: tuple[int, int], found: dict[str, Any]
) -> None:
    row = run.ALL[0]
    run.check(row, task, size, found)
    with pytest.raises(run.WrongError, match="the answers are"):
        run.check(row, task, size, found | {"answers": [found["answers"][0] + 1]})
    for calls in (found["calls"] + 1, found["calls"] - 1):
        with pytest.raises(run.WrongError, match="steps were run"):
            run.check(row, task, size, found | {"calls": calls})


def test_power_without_flushes_is_refused(run: Any) -> None:
    power, process = (
        next(row for row in run.ALL if row.survives == said) for said in ("power loss", "`kill -9`")
    )
    run.check_flushes(power, {"series": 1.0, "at_once": 0.1})
    run.check_flushes(power, {"series": None, "at_once": None})
    run.check_flushes(process, {"series": 0.0, "at_once": 0.0})
    with pytest.raises(run.WrongError, match="do not survive power loss"):
        run.check_flushes(power, {"series": 0.9, "at_once": 2.0})


TRACE = """\
7 fsync(3) = 0
7 access("data/timed-from-here", F_OK) = -1 ENOENT (No such file or directory)
7 fdatasync(3 <unfinished ...>
8 fsync(4) = 0
7 <... fdatasync resumed>) = 0
8 sync_file_range(4, 0, 0, 0) = 0
7 access("data/timed-to-here", F_OK) = -1 ENOENT (No such file or directory)
8 fsync(4) = 0
"""


def test_flushes_are_counted_once_and_between_the_marks(run: Any) -> None:
    assert run.counted(TRACE) == 3
    with pytest.raises(run.WrongError, match="not in the trace"):
        run.counted("7 fsync(3) = 0\n")


def test_a_task_that_fails_is_done_again_and_counted(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    statuses = [1, 1, 0]

    def process(row: Any, task: str, folder: Path, size: tuple[int, int], around: tuple[str, ...]) -> int:
        found = {"answers": [25], "calls": 5, "seconds": 1}
        (folder / "result.json").write_text(json.dumps(found), encoding="utf-8")
        return statuses.pop(0)

    monkeypatch.setattr(run, "process", process)
    assert run.result(run.ALL[0], "series", (1, 5))["failures"] == 2
    statuses += [1, 1, 1]
    with pytest.raises(run.WrongError, match="it failed 3 times"):
        run.result(run.ALL[0], "series", (1, 5))
    assert list(tmp_path.iterdir()) == []
