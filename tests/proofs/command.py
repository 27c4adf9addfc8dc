"""The command line of the proofs: how many, on which backends, and what it says in the end."""

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from backends import BACKENDS

Figures = dict[str, object]


class Violation(AssertionError):
    """Something that must hold did not."""


class Progress:
    """How far it is, on stderr, once a second."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._start = self._last = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self._start

    def show(self, done: float, whole: float, more: str = "") -> None:
        """Says it, if it is time to."""
        now = time.monotonic()
        if now - self._last >= 1:
            self._last = now
            print(
                f"{self._what}: {done:.0f} of {whole:g} after {now - self._start:.0f} s {more}",
                file=sys.stderr,
            )


def check(wrong: list[str], figures: Figures) -> Figures:
    """The figures, with the number of violations; raises where there are any."""
    figures["violations"] = len(wrong)
    if wrong:
        shown = "\n  ".join(wrong[:10])
        raise Violation(f"something is wrong:\n  {shown}\n{shown_figures(figures)}")
    return figures


def shown_figures(figures: Figures) -> str:
    """In one line."""
    return ", ".join(f"{name} {value}" for name, value in figures.items())


def main(
    module: str,
    prove: Callable[[int, str, Path, random.Random], Figures],
    size: str,
    full: int,
    words: str | None,
) -> int:
    """Runs a proof, on each backend in a process of its own, and returns the exit code."""
    parser = argparse.ArgumentParser(prog=f"python -m proofs.{module}", description=words)
    parser.add_argument(f"--{size}", type=int, default=full, dest="size", help=f"default: {full}")
    parser.add_argument(
        "--backend", choices=["native", "pure"], action="append", help="default: those under test"
    )
    parser.add_argument(
        "--folder", type=Path, help="where the files go; default: a new one, removed at the end"
    )
    parser.add_argument("--seed", type=int, help="of the random moments; default: another each time")
    chosen = parser.parse_args()
    backends = chosen.backend or list(BACKENDS)
    if [os.environ.get("STEPWELL_BACKEND")] != backends:
        # The classes of a backend are chosen once in a process.
        return max(_apart(module, backend, sys.argv[1:]) for backend in backends)
    seed = random.randrange(1 << 32) if chosen.seed is None else chosen.seed
    print(f"{module} {backends[0]}: seed {seed}", file=sys.stderr)
    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
        try:
            figures = prove(chosen.size, backends[0], Path(folder), random.Random(seed))
        except AssertionError as error:
            print(f"{module} {backends[0]}: {error} (seed {seed})")
            return 1
    print(f"{module} {backends[0]}: {shown_figures(figures)}")
    return 0


def _apart(module: str, backend: str, arguments: list[str]) -> int:
    environment = {**os.environ, "STEPWELL_BACKEND": backend}
    command = [sys.executable, "-m", f"proofs.{module}", *arguments, "--backend", backend]
    without = [value for index, value in enumerate(command[3:]) if not _names_backend(command[3:], index)]
    return subprocess.run(
        [*command[:3], *without, "--backend", backend], env=environment, check=False
    ).returncode


def _names_backend(arguments: list[str], index: int) -> bool:
    return arguments[index].startswith("--backend") or (index > 0 and arguments[index - 1] == "--backend")
