"""Finds the CPythons of this machine that stepwell supports, and runs the suite on those beside the one of .venv.

`python tools/pythons.py` lists them. `python tools/pythons.py test native` (or `pure`) runs the suite on each
but this one, in a virtual environment of its own under .venvs/, with the package installed from a wheel.
"""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
TOOLS = ROOT / "tools"
VENVS = ROOT / ".venvs"
OLDEST = (3, 11)
PROBE = """
import json, platform, sys, sysconfig
free_threaded = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
base = getattr(sys, "_base_executable", None) or sys.executable
print(json.dumps([platform.python_implementation(), sys.version_info, free_threaded, base]))
"""


class Python(NamedTuple):
    """An interpreter that is no virtual environment."""

    version: tuple[int, int, int]
    free_threaded: bool
    path: Path

    @property
    def label(self) -> str:
        """As in the names of commands, such as `3.13t`."""
        return f"{self.version[0]}.{self.version[1]}{'t' if self.free_threaded else ''}"

    @property
    def is_this(self) -> bool:
        """Whether the suite's own interpreter is of this version."""
        here = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
        return self.version[:2] == sys.version_info[:2] and self.free_threaded == here

    def __str__(self) -> str:
        return f"CPython {self.label} ({'.'.join(map(str, self.version))})"


def candidates() -> Iterator[Path]:
    """Every file that may be an interpreter: this one, then the PATH, then what pyenv and uv keep."""
    yield Path(sys.executable)
    home = Path.home()
    pyenv = Path(os.environ.get("PYENV_ROOT", home / ".pyenv"))
    kept = [pyenv / "versions", pyenv / "pyenv-win" / "versions", home / ".local" / "share" / "uv" / "python"]
    folders = [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep) if folder]
    folders += [
        version / name for root in kept for version in sorted(root.glob("*")) for name in ("bin", ".")
    ]
    for folder in folders:
        # The shims of pyenv answer with the version that is chosen, or not at all.
        if folder.name != "shims":
            names = ("python3", "python.exe", *(path.name for path in sorted(folder.glob("python3.[0-9]*"))))
            yield from (folder / name for name in names if (folder / name).is_file())


def probe(path: Path) -> Python | None:
    """What the interpreter says of itself; `None` where it is not one that stepwell supports."""
    if path.suffix not in ("", ".exe") and not path.suffix[1:].rstrip("t").isdigit():
        return None
    command: list[str | Path] = [path, "-IS", "-c", PROBE]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        implementation, (major, minor, micro, level, _), free_threaded, base = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    if implementation != "CPython" or (major, minor) < OLDEST or level not in ("final", "candidate"):
        return None
    return Python((major, minor, micro), free_threaded, Path(base).resolve())


def found() -> list[Python]:
    """One for each minor version, with and without the GIL: this one, else the newest."""
    best: dict[str, Python] = {}
    seen: set[Path] = set()
    for path in candidates():
        real = path.resolve()
        python = None if real in seen else probe(path)
        seen.add(real)
        if python is None:
            continue
        known = best.get(python.label)
        if known is None or (python.version > known.version and not known.is_this):
            best[python.label] = python
    return sorted(best.values())


def run(*command: str | Path, **environment: str) -> None:
    subprocess.run(command, cwd=ROOT, check=True, env={**os.environ, **environment})


def install(inside: Path, *what: str | Path) -> None:
    # By the pip of this environment: Debian's own python, for one, has none and cannot make one.
    run(sys.executable, "-m", "pip", "--python", inside, "install", "-q", *what)


def wheel(kind: str, target: Path, python: Path) -> Path:
    """The wheel that `python`, which has the build tools, makes of the tree."""
    shutil.rmtree(target, ignore_errors=True)
    command = (python, "-m", "pip", "wheel", "-q", "--no-build-isolation", "--no-deps", "-w", target, ".")
    run(*command, STEPWELL_PURE="1" if kind == "pure" else "0")
    return next(target.glob("*.whl"))


def venv(python: Python) -> Path:
    """The interpreter of a virtual environment of `python` with what the tests need."""
    folder = VENVS / python.label
    inside = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    pins = TOOLS / "requirements-test.txt"
    stamp = folder / ".tools"
    wanted = f"{python.path} {python.version}\n{pins.read_text(encoding='utf-8')}"
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        run(python.path, "-m", "venv", "--without-pip", folder)
        install(inside, "-r", pins)
        stamp.write_text(wanted, encoding="utf-8")
    return inside


def passes(python: Python, kind: str, package: Path) -> bool:
    """Whether the suite passes on this interpreter."""
    began = time.monotonic()
    print(f"\n=== {python}, {kind} ===", flush=True)
    inside = venv(python)
    if python.free_threaded and kind == "native":
        # There is no abi3 without the GIL: this one gets a wheel of its own.
        install(inside, "pip", "-r", TOOLS / "requirements-dev.txt")
        package = wheel(kind, VENVS / f"wheel-{python.label}", inside)
    install(inside, "--no-deps", "--force-reinstall", package)
    # How wheels are built, and what the report is made of, is tested once: it takes what is not in this environment.
    # So are the proofs, which are about files and processes, and take their time.
    command: list[str | Path] = [
        inside,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--ignore=tests/house/test_wheels.py",
        "--ignore=tests/house/test_report.py",
        "--ignore=tests/proofs",
        "--ignore=tests/examples",
    ]
    ended = subprocess.run(command, cwd=ROOT, check=False)
    print(f"=== {python}: {time.monotonic() - began:.0f} s ===", flush=True)
    return ended.returncode == 0


def main() -> int:
    arguments = sys.argv[1:]
    pythons = found()
    if not arguments:
        for python in pythons:
            print(f"{python}: {python.path}{' (the one of .venv)' if python.is_this else ''}")
        return 0
    if arguments not in (["test", "native"], ["test", "pure"]):
        print(__doc__, file=sys.stderr)
        return 2
    kind = arguments[1]
    others = [python for python in pythons if not python.is_this]
    print("\nother CPythons here:", ", ".join(map(str, others)) or "none", flush=True)
    if not others:
        return 0
    package = wheel(kind, VENVS / "wheel", Path(sys.executable))
    failed = [python for python in others if not passes(python, kind, package)]
    if failed:
        print("the suite failed on", ", ".join(map(str, failed)), file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
