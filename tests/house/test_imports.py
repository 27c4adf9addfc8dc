"""Imports go one way, each third-party package has one importer, and `import stepwell` is light."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

from backends import BACKENDS
from house.tree import PACKAGE, files, text

# A module may import what stands on its own line or above. A folder stands for all that is in it.
LAYERS = (
    ("_spec", "_version", "errors", "encoding", "failures", "exceptions", "retries", "model", "typeid", "ids",
     "durations", "clock", "sequences", "trouble"),
    ("_native", "_pure", "_backend", "action", "builder", "fields", "journal", "reading", "steps"),
    ("store",),
    ("runtime",),
    ("", "logging", "testing"),  # the public names
    ("cli", "__main__"),
)  # fmt: skip
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}

# What `import stepwell` must not bring: it is in every process of those who use it, most of which never run a kernel.
HEAVY = {
    "asyncio", "concurrent.futures", "sqlite3", "_sqlite3", "psycopg", "typer", "click", "rich", "pydantic", "numpy",
    "msgspec", "orjson", "http", "ssl", "socket", "subprocess", "multiprocessing", "logging", "dataclasses", "inspect",
    "uuid", "argparse", "unittest", "tomllib", "importlib.metadata", "importlib.resources",
}  # fmt: skip
IMPORT_MS = 25
SCRIPT = """
import sys, time
before = set(sys.modules)
began = time.process_time_ns()
import stepwell
print(time.process_time_ns() - began, stepwell.BACKEND, *sorted(set(sys.modules) - before))
"""


class Import(NamedTuple):
    source: str
    target: str
    line: int
    late: bool  # inside a function


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in files(".py", ".pyi", under=("python/stepwell",))}


def only_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def statements(node: ast.AST, *, late: bool = False) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, late
        elif isinstance(child, ast.If) and only_types(child):
            for other in child.orelse:
                yield from statements(other, late=late)
        else:
            inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from statements(child, late=late or inside)


def absolute(module: str, node: ast.ImportFrom) -> str:
    """The full name of what a `from … import` names."""
    if not node.level:
        return node.module or ""
    package = ["stepwell", *module.split(".")] if module else ["stepwell"]
    if MODULES[module].stem != "__init__":
        package = package[:-1]
    package = package[: len(package) - node.level + 1]
    return ".".join([*package, *([node.module] if node.module else [])])


def imports(module: str) -> Iterator[Import]:
    for node, late in statements(ast.parse(text(MODULES[module]))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            base = absolute(module, node)
            inside = base.removeprefix("stepwell").removeprefix(".")
            dotted = {alias.name: f"{inside}.{alias.name}".lstrip(".") for alias in node.names}
            ours = base.split(".")[0] == "stepwell"
            names = [f"{base}.{name}" if ours and dotted[name] in MODULES else base for name in dotted]
        yield from (Import(module, name, node.lineno, late) for name in names)


ALL = [found for module in MODULES for found in imports(module)]


def ours(found: Import) -> str | None:
    """The module of stepwell that is imported, as named in `MODULES`; `None` for one of others."""
    first, _, rest = found.target.partition(".")
    return rest if first == "stepwell" else None


def rank(module: str) -> int:
    return RANK[module.partition(".")[0]]


def test_every_module_has_a_layer() -> None:
    assert {module for module in MODULES if module.partition(".")[0] not in RANK} == set()


def test_imports_go_one_way() -> None:
    back = []
    for found in ALL:
        target = ours(found)
        if target is not None and rank(target) > rank(found.source):
            back.append(f"{found.source}:{found.line} imports stepwell.{target}")
    assert back == []


def test_no_circles() -> None:
    graph: dict[str, set[str]] = {module: set() for module in MODULES}
    for found in ALL:
        target = ours(found)
        if target is not None and not found.late and target != found.source:
            graph[found.source].add(target)
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_one_importer_for_each_package() -> None:
    importers: dict[str, set[str]] = {}
    for found in ALL:
        package = found.target.partition(".")[0]
        if package != "stepwell" and package not in sys.stdlib_module_names:
            importers.setdefault(package, set()).add(found.source)
    assert {package: modules for package, modules in importers.items() if len(modules) > 1} == {}


def imported(backend: str) -> tuple[float, str, set[str]]:
    """Import stepwell in a new process: milliseconds, the backend, what it loaded."""
    command = [sys.executable, "-c", SCRIPT]
    environment = {"STEPWELL_BACKEND": backend, "PATH": "", "SYSTEMROOT": ""}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    took, name, *modules = done.stdout.split()
    return int(took) / 1e6, name, set(modules)


@pytest.mark.parametrize("backend", BACKENDS)
def test_import_is_light(backend: str) -> None:
    fastest = float("inf")
    for _ in range(40):  # what else the machine does only ever adds to a time
        took, name, loaded = imported(backend)
        assert name == backend
        assert loaded & HEAVY == set()
        fastest = min(fastest, took)
        if fastest < IMPORT_MS:
            return
    raise AssertionError(f"import stepwell took {fastest:.1f} ms, more than {IMPORT_MS}")


@pytest.mark.parametrize("backend", BACKENDS)
def test_import_loads_no_other_backend(backend: str) -> None:
    _, _, modules = imported(backend)
    other = "stepwell._pure" if backend == "native" else "stepwell._native"
    assert {module for module in modules if module.startswith(other)} == set()
