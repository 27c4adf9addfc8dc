"""Waits over real processes: killed while they wait, answered from elsewhere, and woken once, whoever is there."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from backends import BACKENDS
from stepwell import Kernel
from waiting import until

SLEEPER = Path(__file__).parent / "sleeper.py"


class Others:
    """Processes on one file, and what they said."""

    def __init__(self, folder: Path, backend: str) -> None:
        self.store, self.log = folder / "runs.db", folder / "log"
        self.log.touch()
        self._backend = backend
        self._processes: list[subprocess.Popen[bytes]] = []

    def lines(self, word: str) -> list[str]:
        found = (line.partition(" ") for line in self.log.read_text().splitlines())
        return [rest for first, _, rest in found if first == word]

    def start(self, *roles: str) -> subprocess.Popen[bytes]:
        count = len(self.lines("ready"))
        command = [sys.executable, str(SLEEPER), str(self.store), str(self.log), *roles]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, env={**os.environ, "STEPWELL_BACKEND": self._backend}
        )
        self._processes.append(process)
        until(lambda: len(self.lines("ready")) > count or process.poll() is not None)
        assert process.poll() is None
        return process

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        process.send_signal(signal.SIGKILL)
        process.wait()

    def ask(self, work: Callable[[str], str]) -> str:
        """What a process that runs nothing, and has just begun, prints: its kernel has `execute=False`."""
        code = f"""
from stepwell import Kernel
with Kernel("sqlite:///{self.store}", tenant="acme", execute=False) as kernel:
    {work("kernel")}
"""
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "STEPWELL_BACKEND": self._backend},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        return done.stdout.strip()

    def end(self) -> None:
        for process in self._processes:
            if process.poll() is None:
                process.kill()
            process.wait()
            assert process.stdin is not None
            process.stdin.close()


@pytest.fixture(params=BACKENDS)
def others(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Others]:
    made = Others(tmp_path, request.param)
    yield made
    made.end()


@pytest.mark.parametrize("how", ["left", "lingering"])
def test_killed_while_all_wait_and_woken_once_by_one_of_several(others: Others, how: str) -> None:
    """Whether they were in memory or not when it died; each attempt of each step is made once."""
    first = others.start("start", how)
    until(lambda: len(others.lines("asleep")) == 5 and others.lines("callback") and others.lines("attempt"))
    others.kill(first)
    for _ in range(3):
        others.start(how)
    until(lambda: len(others.lines("awake")) >= 5 and len(others.lines("attempt")) >= 3)
    (answer,) = {*others.lines("callback")}
    found = others.ask(lambda kernel: f"print({kernel}.complete_callback({answer!r}, 1))")
    assert found == "True"
    assert others.ask(lambda kernel: f"print({kernel}.complete_callback({answer!r}, 2))") == "False"
    known = others.ask(lambda kernel: f"print([row.id for row in {kernel}.list(blueprint='asks')][0])")
    assert others.ask(lambda kernel: f"print({kernel}.get({known!r}).signal('more', 2))") == "True"
    assert others.ask(lambda kernel: f"print({kernel}.get({known!r}).result(timeout=60))") == "[1, 2]"
    count = "print({*(row.state for row in kernel.list())})"
    until(lambda: others.ask(lambda _: count) == "{'completed'}")
    assert sorted(others.lines("asleep")) == [*"01234"]
    assert sorted(others.lines("awake")) == [*"01234"]
    assert others.lines("attempt") == ["1", "2", "3"]
    assert others.lines("got") == ["1 2"]


def test_time_passes_while_nobody_is_there(others: Others) -> None:
    first = others.start("start", "left")
    until(lambda: len(others.lines("asleep")) == 5)
    others.kill(first)
    waits = "print(all(row.state == 'waiting' for row in kernel.list(blueprint='sleeps')))"
    assert others.ask(lambda _: waits) in ("True", "False")
    others.start("left")
    until(lambda: len(others.lines("awake")) == 5)
    assert isinstance(Kernel, type)
