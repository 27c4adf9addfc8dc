"""What has to be written in two places is the same in both."""

import re
import tomllib

import stepwell
from house.tree import ROOT, text
from stepwell.trouble import SAFE_WAL

PROJECT = tomllib.loads(text(ROOT / "pyproject.toml"))["project"]
CARGO = tomllib.loads(text(ROOT / "Cargo.toml"))["workspace"]["package"]


def test_one_version() -> None:
    assert CARGO["version"] == stepwell.__version__ == PROJECT["version"]
    assert re.search(rf"^## .*\b{re.escape(PROJECT['version'])}\b", text(ROOT / "CHANGELOG.md"), re.MULTILINE)


def test_one_licence() -> None:
    assert CARGO["license"] == PROJECT["license"] == "Apache-2.0"
    assert "Apache License" in text(ROOT / "LICENSE")


def test_one_version_of_sqlite_is_safe_with_a_log() -> None:
    """The bundled one is compared with it when the extension is loaded, and in its own tests."""
    source = text(ROOT / "rust" / "store" / "src" / "lib.rs")
    [found] = re.findall(r"SAFE_LIBRARY: i32 = ([\d_]+);", source)
    major, minor, patch = SAFE_WAL
    assert int(found) == major * 1_000_000 + minor * 1_000 + patch


def test_the_abi_is_that_of_the_oldest_python() -> None:
    oldest = PROJECT["requires-python"].removeprefix(">=")
    features = tomllib.loads(text(ROOT / "rust" / "binding" / "Cargo.toml"))["dependencies"]["pyo3"][
        "features"
    ]
    assert f"abi3-py{oldest.replace('.', '')}" in features
    tools = tomllib.loads(text(ROOT / "pyproject.toml"))["tool"]
    assert tools["mypy"]["python_version"] == tools["pyright"]["pythonVersion"] == oldest
    assert tools["ruff"]["target-version"] == f"py{oldest.replace('.', '')}"


def test_public_ci_runs_on_every_version_that_we_name() -> None:
    named = {line.rpartition(" ")[2] for line in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", line)}
    workflow = text(ROOT / ".github" / "workflows" / "ci.yml")
    assert set(re.findall(r'"(3\.\d+)"', workflow)) == named


def test_tools_are_pinned() -> None:
    for name in ("requirements-test.txt", "requirements-dev.txt"):
        lines = text(ROOT / "tools" / name).splitlines()
        loose = [
            line
            for line in lines
            if not re.fullmatch(r"#.*|-r requirements-test\.txt|[\w.-]+==[\w.+]+(; [\w!=\" ]+)?", line)
        ]
        assert loose == [], name


def test_the_tools_build_with_what_the_build_backend_asks_for() -> None:
    backend, pins = text(ROOT / "tools" / "build_backend.py"), text(ROOT / "tools" / "requirements-dev.txt")
    for tool in ("maturin", "hatchling"):
        floor, ceiling = re.findall(rf'"{tool}>=([\d.]+),<(\d+)"', backend)[0]
        pinned = re.findall(rf"^{tool}==([\d.]+)$", pins, re.MULTILINE)[0]
        assert as_numbers(floor) <= as_numbers(pinned) < as_numbers(ceiling), tool


def as_numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
