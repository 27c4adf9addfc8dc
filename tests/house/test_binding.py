"""What the crates promise in their source: classes that no two threads can fight over, a core without Python."""

import re
import tomllib

import pytest

from house.tree import ROOT, files, shown, text

BINDING = {shown(path): text(path) for path in files(".rs", under=("rust/binding/src",))}
CORE = {shown(path): text(path) for path in files(".rs", under=("rust/core/src",))}
STORE = {shown(path): text(path) for path in files(".rs", under=("rust/store/src",))}
HASHER = re.compile(
    r"\b(?:with_hasher|with_capacity_and_hasher|BuildHasherDefault)\b|\bimpl\b[^{;]*\b(?:Build)?Hasher\s+for\b"
)
HASHING_CRATES = {"ahash", "fnv", "foldhash", "fxhash", "hashbrown", "indexmap", "rustc-hash", "twox-hash"}


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


@pytest.mark.parametrize("crate", ["core", "store"])
def test_the_core_and_the_store_are_safe_and_without_python(crate: str) -> None:
    """The store's thread never waits for the interpreter's lock: it does not know it."""
    assert "#![forbid(unsafe_code)]" in (CORE | STORE)[f"rust/{crate}/src/lib.rs"]
    assert not [name for name in dependencies(crate) if name.startswith(("pyo3", "python"))]


@pytest.mark.parametrize("crate", ["core", "store", "binding"])
def test_every_map_is_hashed_with_a_seed(crate: str) -> None:
    """Those of the standard library are. With a hash that is known, a journal could be made to take for ever."""
    sources = {"core": CORE, "store": STORE, "binding": BINDING}[crate]
    assert [file for file, source in sources.items() if HASHER.search(source)] == []
    assert not HASHING_CRATES & dependencies(crate)


@pytest.mark.parametrize(
    "source",
    [
        "HashMap::with_hasher(state)",
        "HashMap<u32, u32, BuildHasherDefault<Quick>>",
        "impl Hasher for Quick {",
        "impl std::hash::BuildHasher for Quick {",
    ],
)
def test_a_hash_without_a_seed_is_found(source: str) -> None:
    assert HASHER.search(source)


def dependencies(crate: str) -> set[str]:
    return {*tomllib.loads(text(ROOT / "rust" / crate / "Cargo.toml")).get("dependencies", {})}


@pytest.mark.parametrize(
    "forbidden", ["SystemTime", "Instant::now", "std::fs", "std::net", "std::env", "rand::", "getrandom"]
)
def test_the_core_does_no_input_and_asks_no_clock(forbidden: str) -> None:
    assert [file for file, source in CORE.items() if forbidden in source] == []
