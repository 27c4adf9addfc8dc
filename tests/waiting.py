"""Waiting for something that another process does, without guessing how long it takes."""

import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

_NEVER = threading.Event()


def until(condition: Callable[[], object], seconds: float = 60) -> None:
    """Returns as soon as the condition holds; fails when it does not within the time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        _NEVER.wait(0.001)


def until_lines(process: subprocess.Popen[str], log: Path, count: int) -> None:
    """Returns when the log has so many lines, or the process has ended."""
    until(lambda: process.poll() is not None or log.read_text().count("\n") >= count)
