"""Files and functions stay small, tests do not sleep or skip, and no path of anybody's machine is in the tree."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from house.tree import CODE, GENERATED, ROOT, files, shown, text

FILE_LINES = 500
FUNCTION_LINES = 70  # those of Rust are counted by clippy: clippy.toml
OURS = ("python", "rust", "spec", "tools", "examples")
HERE = Path(__file__)


def test_files_are_short() -> None:
    lengths = {shown(path): len(text(path).splitlines()) for path in files(".py", ".pyi", ".rs", under=OURS)
               if GENERATED not in text(path)}  # fmt: skip
    assert {name: lines for name, lines in lengths.items() if lines > FILE_LINES} == {}


def functions(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(text(path))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0]
            docstring = 0
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                docstring = (first.end_lineno or 0) - first.lineno + 1
            yield (
                f"{shown(path)}:{node.lineno} {node.name}",
                (node.end_lineno or 0) - node.lineno + 1 - docstring,
            )


def test_functions_are_short() -> None:
    lengths = dict(found for path in files(".py", under=OURS) for found in functions(path))
    assert {name: lines for name, lines in lengths.items() if lines > FUNCTION_LINES} == {}


def lines_with(pattern: str, paths: Iterator[Path]) -> list[str]:
    wanted = re.compile(pattern)
    return [
        f"{shown(path)}:{number}: {line.strip()}"
        for path in paths
        if path != HERE
        for number, line in enumerate(text(path).splitlines(), 1)
        if wanted.search(line)
    ]


def test_no_test_sleeps() -> None:
    # `sleep(0)` lets other tasks run, and `stepwell.sleep` and `blocking.sleep` are waits of the runtime.
    pattern = r"(?<!stepwell\.)(?<!blocking\.)(?<!def )\bsleep\((?!0\))"
    assert lines_with(pattern, files(".py", under=("tests",))) == []


def test_no_test_is_skipped() -> None:
    pattern = r"pytest\.skip\(|mark\.(skip|xfail)|importorskip|pytest\.xfail\(|unittest\.skip|#\[ignore"
    assert lines_with(pattern, files(".py", ".rs", under=("tests", "rust"))) == []


def test_nobodys_paths() -> None:
    suffixes = (".py", ".pyi", ".rs", ".toml", ".md", ".sql", ".yml", ".json", ".jsonl", ".txt")
    top = (path for path in sorted(ROOT.iterdir()) if path.suffix in suffixes or path.name == "Makefile")
    inside = files(*suffixes, under=(*CODE, "docs", ".github"))
    pattern = r"(?<![\w.~$}])/(root|home|work|Users|opt|mnt)/\w"
    assert lines_with(pattern, iter([*top, ROOT / ".ci" / "run", *inside])) == []
