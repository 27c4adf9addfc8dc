"""What the two crates promise in their source: classes that no two threads can fight over, a core without Python."""

import re
import tomllib

import pytest

from house.tree import ROOT, files, shown, text

BINDING = {shown(path): text(path) for path in files(".rs", under=("rust/binding/src",))}
CORE = {shown(path): text(path) for path in files(".rs", under=("rust/core/src",))}


def attributes(name: str) -> list[tuple[str, str]]:
    """The arguments of every attribute of this name, with its file."""
    pattern = re.compile(rf"^\s*#\[(?:pyo3::)?{name}\b(?:\((.*?)\))?\]", re.MULTILINE | re.DOTALL)
    return [
        (file, match.group(1) or "") for file, source in BINDING.items() for match in pattern.finditer(source)
    ]


def test_classes_are_frozen() -> None:
    classes = attributes("pyclass")
    assert classes
    assert [(file, arguments) for file, arguments in classes if not re.search(r"\bfrozen\b", arguments)] == []


def test_nothing_is_borrowed_mutably() -> None:
    found = [
        file
        for file, source in BINDING.items()
        if re.search(r"&\s*(?:'\w+\s+)?mut\s+self|PyRefMut|borrow_mut", source)
    ]
    assert found == []


def test_the_module_says_whether_it_needs_the_gil() -> None:
    modules = attributes("pymodule")
    assert len(modules) == 1
    assert "gil_used" in modules[0][1]


def test_the_core_is_safe_and_without_python() -> None:
    assert "#![forbid(unsafe_code)]" in CORE["rust/core/src/lib.rs"]
    manifest = tomllib.loads(text(ROOT / "rust" / "core" / "Cargo.toml"))
    assert not [name for name in manifest.get("dependencies", {}) if name.startswith(("pyo3", "python"))]


@pytest.mark.parametrize(
    "forbidden", ["SystemTime", "Instant::now", "std::fs", "std::net", "std::env", "rand::", "getrandom"]
)
def test_the_core_does_no_input_and_asks_no_clock(forbidden: str) -> None:
    assert [file for file, source in CORE.items() if forbidden in source] == []
