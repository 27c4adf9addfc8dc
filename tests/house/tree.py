"""The files of the project, for the tests that look at them."""

from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "python" / "stepwell"
CODE = ("python", "rust", "spec", "tools", "tests", "benches", "examples")
GENERATED = "Made from `spec/*.toml` by `spec/generate.py`"
PASSED_OVER = {"__pycache__", "target", "node_modules"}


def files(*suffixes: str, under: tuple[str, ...] = CODE) -> Iterator[Path]:
    """The files with these suffixes in these folders of the project; never empty, so no test passes for want of any."""
    found = False
    for folder in under:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in suffixes and path.is_file() and not PASSED_OVER.intersection(path.parts):
                found = True
                yield path
    assert found, f"no {' or '.join(suffixes)} file in {', '.join(under)}"


def text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def shown(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()
