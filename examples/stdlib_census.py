"""Takes stock of the running interpreter's standard library: one durable step per file.

    stepwell run examples/stdlib_census.py                  # the standard library
    stepwell run examples/stdlib_census.py '"some/folder"'  --key mine

Kill it half way and run it again: it goes on, and reads no file a second time. Run it again after the end, and it
answers from the record. `CENSUS_LOG` names a file that gets a line for every file that is really read.
"""

import ast
import hashlib
import os
import sysconfig
import warnings
from pathlib import Path

import stepwell
from stepwell import blueprint, run_step, step

# What it is run with where the command does not say.
STEPWELL = {"store": "sqlite:///.stepwell/census.db", "tenant": "example", "key": "library"}

LEFT_OUT = {"site-packages", "dist-packages", "__pycache__"}
AT_ONCE = 16

warnings.filterwarnings("ignore", category=SyntaxWarning)  # the library's own tests are full of odd escapes


@step
def list_files(folder: str | None) -> dict:
    """The folder and every file under it, without installed packages and byte code, in order."""
    root = Path(folder or sysconfig.get_path("stdlib")).resolve()
    if not root.is_dir():
        raise NotADirectoryError(f"{root} is not a folder")
    files, unnameable = [], 0
    for place, folders, names in os.walk(root):
        folders[:] = sorted(set(folders) - LEFT_OUT)
        for name in sorted(names):
            path = Path(place, name)
            relative = path.relative_to(root).as_posix()
            if not path.is_file():
                continue
            if relative.isprintable() and len(relative) <= 200:
                files.append(relative)
            else:
                unnameable += 1
    return {"root": str(root), "files": files, "unnameable": unnameable}


@step
def measure(file: tuple[str, str]) -> dict:
    """Size and digest of a file; for Python also its functions and classes, or why they cannot be counted."""
    root, name = file
    if log := os.environ.get("CENSUS_LOG"):
        with Path(log).open("a") as lines:
            lines.write(f"{name}\n")
    try:
        data = Path(root, name).read_bytes()
    except OSError as error:
        return {"problem": f"unreadable: {error.strerror}"}
    found = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    if name.endswith(".py"):
        try:
            nodes = list(ast.walk(ast.parse(data)))
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            # Some files of the library's tests are not Python on purpose, or of an odd encoding.
            return {**found, "problem": f"no Python of this version: {type(error).__name__}"}
        found["functions"] = sum(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) for node in nodes)
        found["classes"] = sum(isinstance(node, ast.ClassDef) for node in nodes)
    return found


@blueprint(version="2")
async def census(folder: str | None = None) -> dict:
    """Measures every file under the folder, a few at a time, and sums up."""
    listed = await run_step(list_files, folder)
    found = await stepwell.map(
        measure,
        [(listed["root"], name) for name in listed["files"]],
        concurrency=AT_ONCE,
        name="measure files",
        item_name=lambda file, _: file[1],
    )
    by_size = sorted(
        zip(found, listed["files"], strict=True), key=lambda pair: (-pair[0].get("bytes", 0), pair[1])
    )
    problems = [
        f"{name} ({part['problem']})"
        for part, name in zip(found, listed["files"], strict=True)
        if "problem" in part
    ]
    digest = hashlib.sha256("".join(part.get("sha256", "-") for part in found).encode()).hexdigest()
    return {
        "folder": listed["root"],
        "files": len(found),
        "python files": sum(name.endswith(".py") for name in listed["files"]),
        "bytes": sum(part.get("bytes", 0) for part in found),
        "functions": sum(part.get("functions", 0) for part in found),
        "classes": sum(part.get("classes", 0) for part in found),
        "digest": digest[:16],
        "largest": [f"{name} ({part.get('bytes', 0)})" for part, name in by_size[:5]],
        "problems": problems,
        "left out": listed["unnameable"],
    }
