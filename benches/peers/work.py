"""What every peer does, and how its process tells what came of it.

    python with_PEER.py TASK FOLDER WORKFLOWS STEPS [OPTION …]

A step doubles its number and adds one; a workflow of n steps sums what they return, which is n squared. TASK is
`series` (one workflow after the other), `at_once`, `leave` (one workflow, killed after so many steps) or `resume` (the
same one, in a new process). What was found is in `FOLDER/result.json`; whether it is right is for `run.py` to say.
"""

import json
import os
import signal
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

WARM_WORKFLOWS, WARM_STEPS = 2, 20
LONG = "long"
DEAD = -signal.SIGKILL if os.name == "posix" else 9
"""The exit status of one that died."""
BEGIN, END = "timed-from-here", "timed-to-here"
"""Files that are asked for around the timed part: that is how a trace of system calls knows it."""


class _Work:
    calls = 0
    deadly: int | None = None


def work(number: int) -> int:
    """The code of a step."""
    _Work.calls += 1
    if number == _Work.deadly:
        die()
    return 2 * number + 1


def die() -> None:
    """As `kill -9` has it: nothing is written any more. Where there are no signals, the next best."""
    if os.name == "posix":
        os.kill(os.getpid(), signal.SIGKILL)
    os._exit(DEAD)


class Peer(ABC):
    """One who does the work. `packages` are the distributions whose versions are shown."""

    packages: tuple[str, ...] = ()

    @abstractmethod
    def open(self, folder: Path) -> None: ...

    @abstractmethod
    def series(self, names: list[str], steps: int) -> list[int]:
        """Workflows of so many steps, one after the other; their results."""

    @abstractmethod
    def at_once(self, names: list[str], steps: int) -> list[int]:
        """All of them at the same time."""

    def leave(self, name: str, steps: int) -> None:
        """One with one step more than that, in which the process dies."""
        _Work.deadly = steps
        self.series([name], steps + 1)

    @abstractmethod
    def resume(self, name: str, steps: int) -> int:
        """The result of the one that was left."""

    @abstractmethod
    def mode(self) -> str:
        """`journal_mode` and `synchronous`, asked of its own connection where that can be had."""

    @abstractmethod
    def close(self) -> None:
        """Ends what has to be ended."""

    def versions(self) -> dict[str, str]:
        return {name: version(name) for name in self.packages}


def asked(execute: Callable[[str], Any]) -> str:
    """The mode of a connection to SQLite."""
    [journal] = execute("PRAGMA journal_mode").fetchone()
    [number] = execute("PRAGMA synchronous").fetchone()
    return f"{journal.upper()}, {('OFF', 'NORMAL', 'FULL', 'EXTRA')[number]}"


def _timed(folder: Path, run: Callable[[], list[int]]) -> dict[str, Any]:
    before = _Work.calls
    os.access(folder / BEGIN, os.F_OK)
    began = time.perf_counter()
    answers = run()
    took = time.perf_counter() - began
    os.access(folder / END, os.F_OK)
    return {"seconds": took, "answers": answers, "calls": _Work.calls - before}


def main(make: Callable[..., Peer]) -> None:
    task, where, workflows, steps = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    peer = make(*sys.argv[5:])
    if task == "leave":
        peer.open(where)
        peer.leave(LONG, steps)
        raise SystemExit("it should be dead")
    if task == "resume":

        def again() -> list[int]:
            peer.open(where)
            return [peer.resume(LONG, steps)]

        found = _timed(where, again)
    else:
        peer.open(where)
        run = peer.series if task == "series" else peer.at_once
        run([f"warm-{number}" for number in range(WARM_WORKFLOWS)], WARM_STEPS)
        found = _timed(where, lambda: run([f"run-{number}" for number in range(workflows)], steps))
    found |= {"mode": peer.mode(), "versions": peer.versions()}
    peer.close()
    (where / "result.json").write_text(json.dumps(found), encoding="utf-8")
