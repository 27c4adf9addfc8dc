"""The example, as the command runs it, killed with the real signal: it reads no file twice whose step is recorded."""

import ast
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from stepwell.store import open_store
from waiting import until_lines

EXAMPLE = Path(__file__).parents[2] / "examples" / "stdlib_census.py"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small library with everything in it that a real one has."""
    root = tmp_path / "library"
    chance = random.Random(3)
    for number in range(300):
        place = root / f"part{number % 7}"
        place.mkdir(parents=True, exist_ok=True)
        body = "".join(f"def f{i}():\n    class C: pass\n" for i in range(chance.randrange(60)))
        (place / f"m{number}.py").write_text(body)
    (root / "odd.py").write_bytes(b"# coding: latin-1\nname = '\xe9'\ndef f(): pass\n")
    (root / "bad_coding.py").write_bytes(b"# coding: nonsense\n")
    (root / "python2.py").write_text("print 'hello'\n")
    (root / "zero.py").write_bytes(b"a = 1\0")
    (root / "data.bin").write_bytes(bytes(range(256)) * 100)
    (root / "a\nb.txt").write_text("its name cannot be shown")
    for left_out in ("site-packages", "__pycache__"):
        (root / left_out).mkdir()
        (root / left_out / "x.py").write_text("def f(): pass\n")
    (root / "dangling.py").symlink_to(root / "absent.py")
    return root


def start(folder: Path, store: Path, log: Path) -> subprocess.Popen[str]:
    """A run whose output goes to a file: more than a pipe holds, while the test looks elsewhere."""
    command = [sys.executable, "-m", "stepwell", "run", str(EXAMPLE), json.dumps(str(folder)), "--json"]
    command += ["--store", f"sqlite:///{store}", "--tenant", "acme", "--key", "k"]
    environment = os.environ | {"CENSUS_LOG": str(log)}
    with output_of(log).open("w") as output:
        return subprocess.Popen(command, stdout=output, stderr=subprocess.PIPE, text=True, env=environment)


def output_of(log: Path) -> Path:
    return log.with_suffix(".json")


def recorded(store: Path) -> set[str]:
    """The files whose result is in the record."""
    if not store.exists():
        return set()
    opened = open_store(f"sqlite:///{store}", "acme")
    names, done = {}, set()
    for row in opened.list().wait(10):
        after = -1
        while page := opened.load(row.id, after).wait(10):
            for _, _, kind, body in page:
                record = json.loads(body)
                if kind == "step_started":
                    names.setdefault(record["step_id"], record.get("name"))
                elif kind == "step_completed":
                    done.add(names[record["step_id"]])
            after = page[-1][0]
    opened.close()
    return done - {"list_files", "measure files"}


def lines(log: Path) -> list[str]:
    return log.read_text().split("\n")[:-1]


def expected(folder: Path) -> dict[str, Any]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and "\n" not in path.name)
    files = [path for path in files if not {"site-packages", "__pycache__"} & {*path.parts}]
    counts = Counter[str]()
    for path in files:
        counts["files"] += 1
        counts["bytes"] += path.stat().st_size
        if path.suffix == ".py":
            counts["python files"] += 1
            try:
                nodes = list(ast.walk(ast.parse(path.read_bytes())))
            except (SyntaxError, ValueError):
                counts["problems"] += 1
                continue
            counts["functions"] += sum(isinstance(node, ast.FunctionDef) for node in nodes)
            counts["classes"] += sum(isinstance(node, ast.ClassDef) for node in nodes)
    return dict(counts)


def test_killed_half_way_it_goes_on_and_reads_nothing_twice(folder: Path, tmp_path: Path) -> None:
    store, log = tmp_path / "runs.db", tmp_path / "log"
    log.touch()
    chance = random.Random()
    wanted = expected(folder)
    kills = 0
    while True:
        known, read = recorded(store), lines(log)
        assert known <= {*read}
        process = start(folder, store, log)
        enough = len(read) + chance.randrange(1, 90)
        until_lines(process, log, enough)
        if process.poll() is None and kills < 6:
            os.kill(process.pid, signal.SIGKILL)
            kills += 1
            process.communicate(timeout=30)
        _, errors = process.communicate(timeout=60)
        again = {*lines(log)[len(read) :]}
        assert again & known == set(), "a file was read again whose step was recorded"
        if process.returncode != -signal.SIGKILL:
            break
    assert process.returncode == 0, errors
    assert kills >= 3
    execution = json.loads(output_of(log).read_text())
    result = execution["output"]
    assert {name: result[name] for name in ("files", "bytes", "python files", "functions", "classes")} == {
        name: wanted[name] for name in ("files", "bytes", "python files", "functions", "classes")
    }
    assert len(result["problems"]) == wanted["problems"] == 3
    assert result["left out"] == 1
    digests = [hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in sorted({*lines(log)})]
    listing, batch, *measured = execution["steps"]
    assert (listing["name"], batch["name"]) == ("list_files", "measure files")
    assert {step["output"]["sha256"] for step in measured} == {*digests}
    assert {step["parent"] for step in measured} == {batch["id"]}
    assert len(measured) == wanted["files"]

    # After the end it answers from the record, even when the files are gone.
    before = log.read_text()
    folder.rename(tmp_path / "moved")
    process = start(folder, store, log)
    process.communicate(timeout=60)
    assert json.loads(output_of(log).read_text())["output"] == result
    assert log.read_text() == before


def test_the_real_job_killed_and_gone_on_with(tmp_path: Path) -> None:
    """The shape of `make run`: the interpreter's own library, as far as a second or so goes."""
    store, log = tmp_path / "runs.db", tmp_path / "log"
    log.touch()
    library = Path(os.__file__).parent
    process = start(library, store, log)
    until_lines(process, log, 60)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)
    known, read = recorded(store), len(lines(log))
    assert 20 <= len(known) <= read
    process = start(library, store, log)
    until_lines(process, log, read + 60)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)
    assert {*lines(log)[read:]} & known == set()
    assert len(recorded(store)) > len(known)
