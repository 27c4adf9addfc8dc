"""The code of the documentation runs, and what it names exists."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from backends import BACKENDS
from docs.pages import PAGES, blocks, prose, script
from house.tree import ROOT, text

README = ROOT / "README.md"
RUNNABLE = [page for page in PAGES if any(block.language == "python" for block in blocks(page))]
TOP = r"(?:python|rust|spec|tests|tools|docs|benches|examples|\.github|\.ci)/"


def name(page: Path) -> str:
    return page.name if page.parent != ROOT / "examples" else "examples.md"


def run(folder: Path, backend: str, *arguments: object) -> str:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("STEPWELL_")}
    done = subprocess.run(
        [sys.executable, "-W", "error", *map(str, arguments)],
        cwd=folder,
        env={**kept, "STEPWELL_BACKEND": backend, "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_page(page: Path, folder: Path, backend: str) -> list[str]:
    """What each of its Python blocks prints."""
    (folder / "page.py").write_text(script(page), encoding="utf-8")
    return run(folder, backend, "page.py").split("\x1e")


# --- the code -----------------------------------------------------------------------------------------------------


def test_there_is_code() -> None:
    assert {"README.md", "kernel.md", "journal.md", "values.md", "runtime.md"} <= {*map(name, RUNNABLE)}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("page", RUNNABLE, ids=name)
def test_code_runs_and_prints_what_it_says(page: Path, backend: str, tmp_path: Path) -> None:
    expected = [block.prints for block in blocks(page) if block.language == "python"]
    assert run_page(page, tmp_path, backend) == [*expected, ""]


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_readme_is_true_of_its_example(backend: str, tmp_path: Path) -> None:
    """It prints 192, a second run answers from the record, and the command shows what is recorded."""
    assert "It prints `192`" in prose(README)
    assert run_page(README, tmp_path, backend)[0] == "192\n"
    program = script(README).replace("[page * 10", "1 // 0 or [page * 10")
    assert program != script(README)
    (tmp_path / "page.py").write_text(program, encoding="utf-8")
    assert run(tmp_path, backend, "page.py").startswith("192\n"), "it called a step"
    (command,) = re.findall(r"`stepwell (list [^`]*)`", prose(README))
    assert "monday" in run(tmp_path, backend, "-m", "stepwell", *command.split())


# --- the names ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", prose(page))
    inside = [link.partition("#")[0] for link in links if not re.match(r"[a-z]+:", link)]
    assert [link for link in inside if link and not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_files_and_tests_that_are_named_exist(page: Path) -> None:
    absent = []
    for found in re.findall(rf"`({TOP}[^`\s]*)`", prose(page)):
        path, _, test = found.partition("::")
        files = [*ROOT.glob(path.rstrip("/"))]
        if not files or (test and test not in names_in(files[0])):
            absent.append(found)
    assert absent == []


def names_in(file: Path) -> set[str]:
    """The names of a test file's functions and classes, and `class::function` of those in classes."""
    found = set()
    for node in ast.walk(ast.parse(text(file))):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}::{item.name}" for item in node.body if isinstance(item, ast.FunctionDef)}
    return found


def test_the_two_commands_of_the_readme_come_first() -> None:
    commands = re.findall(r"^make (\w+)", blocks(README)[0].code, re.MULTILINE)
    assert commands == ["run", "test"]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_are_targets_of_the_makefile(page: Path) -> None:
    targets = {*re.findall(r"^([a-z-]+):", text(ROOT / "Makefile"), re.MULTILINE)}
    code = "\n".join(block.code for block in blocks(page))
    named = re.findall(r"^make ([a-z-]+)", code, re.MULTILINE)
    named += re.findall(r"`make ([a-z-]+)`", prose(page))
    assert {*named} - targets == set()
