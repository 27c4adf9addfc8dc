"""Writes `_native.pyi` from the pure twin, whose annotations are the types of both.

Stubtest holds the stub against the extension module.
`python tools/native_stub.py` writes it, `--check` fails when it is not up to date.
"""

import ast
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
PURE = ROOT / "python" / "stepwell" / "_pure"
STUB = ROOT / "python" / "stepwell" / "_native.pyi"
# class -> the modules and classes that make it up
CLASSES = {
    "Execution": (("execution", "Execution"), ("view", "View"), ("methods", "Methods")),
    "Step": (("step", "Step"),),
    "SystemClock": (("clock", "SystemClock"),),
    "IdSource": (("ids", "IdSource"),),
    "Engine": (("engine", "Engine"),),
    "Ticket": (("ticket", "Ticket"),),
    "Appender": (("appending", "Appender"),),
}
SPECIAL = {
    f"__{name}__" for name in ("new", "init", "eq", "hash", "copy", "deepcopy", "reduce", "call", "await")
}
HEAD = """# Made from `_pure/` by `tools/native_stub.py`; change that.
import asyncio
from collections.abc import Callable, Generator, Iterable, Sequence
from datetime import datetime
from typing import Any, ClassVar, Final, Self, TypeAlias, final

from . import model
from ._pure import IdSource as _TwinSource
from ._spec import ExecutionState, StepState, StepType, WaitReason
from .action import Action
from .clock import Clock
from .failures import ExecutionError
from .model import Attempt, StepSource
from .steps import StepRange, Steps

__all__ = [
    "VERSION", "Appender", "Engine", "Execution", "IdSource", "Step", "SystemClock", "Ticket", "encode",
    "new_id", "start_step",
]

_Record: TypeAlias = tuple[int, int, str, bytes]
_Asked: TypeAlias = tuple[str, tuple[Any, ...]]
_Work: TypeAlias = tuple[str, list[tuple[Any, ...]]]
VERSION: Final[str]
new_id: Final[_TwinSource]

def encode(value: object) -> bytes: ...
def start_step(
    execution: Execution, name: str, type: str, key: str | None, parent: str | Step | None, input: bytes | None,
    callable_id: str | None, place: str, step_id: str | None,
) -> Step: ...
"""


def definition(module: str, name: str) -> ast.ClassDef:
    tree = ast.parse((PURE / f"{module}.py").read_text(encoding="utf-8"))
    return next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)


def members(node: ast.ClassDef) -> list[str]:
    """The public methods and properties of a class, without bodies."""
    found = []
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and (item.name in SPECIAL or not item.name.startswith("_")):
            item.body = [ast.Expr(ast.Constant(...))]
            if item.name == "__init__":
                item.name = "__new__"
                item.returns = ast.Name(node.name)
                item.args.args[0].arg = "cls"
            if item.name == "__new__" and node.name == "Step":
                continue  # there is no constructor
            if item.name == "__eq__":
                item.args.posonlyargs, item.args.args = item.args.args, []
            found.append(re.sub(r"\b(Record|Asked|Work)\b", r"_\1", ast.unparse(item)))
        elif isinstance(item, ast.Assign) and "builder." in ast.unparse(item.value):
            found.append(f"{ast.unparse(item.targets[0])}: ClassVar[Callable[[Any], Execution]]")
    return found


def source() -> str:
    lines = [HEAD]
    for name, parts in CLASSES.items():
        lines += ["@final", f"class {name}:"]
        for module, part in parts:
            for member in members(definition(module, part)):
                lines += ["    " + line for line in member.splitlines()]
        if name in ("SystemClock", "IdSource") and not any("__new__" in line for line in lines[-12:]):
            lines += [f"    def __new__(cls) -> {name}: ..."]
    text = "\n".join(lines)
    for arguments in (["check", "--fix-only", "--quiet"], ["format"]):
        command = [sys.executable, "-m", "ruff", *arguments, "--stdin-filename", str(STUB), "-"]
        text = subprocess.run(
            command, input=text, capture_output=True, text=True, check=True, cwd=ROOT
        ).stdout
    return text


def main() -> int:
    text = source()
    if STUB.exists() and STUB.read_text(encoding="utf-8") == text:
        return 0
    if "--check" in sys.argv[1:]:
        print(f"{STUB.relative_to(ROOT)} is not what _pure/ says: run `make spec`", file=sys.stderr)
        return 1
    STUB.write_text(text, encoding="utf-8")
    print(f"wrote {STUB.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
