"""Processes that are forked from one that has imported everything and opened no store, and what they say.

A child writes lines into a pipe and reads commands from another. A line is one `write`, so a child that is killed
leaves no half of one. Whoever waits, waits for these pipes and for the states of processes; nobody sleeps.
"""

import gc
import os
import select
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self

HANGS_AFTER = 90.0
"""Seconds of silence after which a child is taken for stuck: three times what a store may wait for a lock."""


class Stuck(AssertionError):
    """A child that says nothing any more."""


class Voice:
    """The child's end of its pipes."""

    def __init__(self, reports: int, commands: int) -> None:
        self._reports = reports
        self.commands = commands
        self._rest = b""

    def say(self, *words: object) -> None:
        """Reports a line, as a whole."""
        os.write(self._reports, " ".join(map(str, words)).encode() + b"\n")

    def command(self) -> str:
        """The next command; waits for it. Empty when the parent is gone."""
        while b"\n" not in self._rest:
            got = os.read(self.commands, 4096)
            if not got:
                return ""
            self._rest += got
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode()

    def is_told(self) -> bool:
        """Whether there is a command."""
        return bool(self._rest) or bool(select.select([self.commands], [], [], 0)[0])


class Child:
    """The parent's end."""

    def __init__(self, pid: int, reports: int, commands: int) -> None:
        self.pid = pid
        self.reports = reports
        self._commands = commands
        self._rest = b""
        self.heard = time.monotonic()
        self.gone = False

    def tell(self, *words: object) -> None:
        """Gives a command; one that has ended has said why."""
        if not self.gone:
            try:
                os.write(self._commands, " ".join(map(str, words)).encode() + b"\n")
            except BrokenPipeError:
                pass

    def send(self, number: int) -> None:
        """Sends a signal; to one that has ended and is not reaped yet it does nothing."""
        if not self.gone:
            os.kill(self.pid, number)

    def stop(self) -> None:
        """Stops it; returns when it stands still."""
        self.send(signal.SIGSTOP)
        if not self.gone:
            os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def go_on(self) -> None:
        """Lets it go on."""
        self.heard = time.monotonic()
        self.send(signal.SIGCONT)

    def lines(self) -> list[str]:
        """What it said since; waits for at least something. At its end it is reaped, and `gone`."""
        got = os.read(self.reports, 1 << 16)
        self.heard = time.monotonic()
        if not got:
            self._reap()
            return []
        *whole, self._rest = (self._rest + got).split(b"\n")
        return [line.decode() for line in whole]

    def until(self, word: str, seconds: float = HANGS_AFTER) -> Iterator[str]:
        """Its lines up to one that begins with `word`, or its end."""
        while not self.gone:
            if not select.select([self.reports], [], [], seconds)[0]:
                raise Stuck(
                    f"process {self.pid} said nothing for {seconds:g} s while {word!r} was waited for"
                )
            found = False
            for line in self.lines():
                yield line
                found = found or line.split(" ", 1)[0] == word
            if found:
                return

    def _reap(self) -> None:
        if not self.gone:
            self.gone = True
            os.waitpid(self.pid, 0)
            os.close(self.reports)
            os.close(self._commands)

    def end(self) -> None:
        """Kills it if it lives, and reads nothing more."""
        if not self.gone:
            os.kill(self.pid, signal.SIGKILL)
            self._reap()


class Family:
    """All children; none outlives the block."""

    def __init__(self) -> None:
        self.children: list[Child] = []

    def __enter__(self) -> Self:
        # What was imported is not looked at again in every child: that would copy its pages.
        gc.collect()
        gc.freeze()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for child in self.children:
            child.end()

    def fork(self, work: Callable[..., object], *values: Any) -> Child:
        """A child that does this work, which is given its `Voice` first. What it raises it reports as `!`."""
        self.children = [child for child in self.children if not child.gone]
        reports, reports_end = os.pipe()
        commands_end, commands = os.pipe()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                for other in self.children:
                    os.close(other.reports)
                    os.close(other._commands)
                os.close(reports)
                os.close(commands)
                voice = Voice(reports_end, commands_end)
                code = _work(voice, work, values)
            finally:
                os._exit(code)
        os.close(reports_end)
        os.close(commands_end)
        child = Child(pid, reports, commands)
        self.children.append(child)
        return child

    def call(self, work: Callable[..., object], *values: Any) -> list[str]:
        """What a child says that does this work and ends."""
        child = self.fork(work, *values)
        return list(child.until("\n"))

    def hear(self, seconds: float | None) -> list[Child]:
        """Those of the children that have said something, or ended; waits so long for one."""
        poll = select.poll()
        alive = {child.reports: child for child in self.children if not child.gone}
        for number in alive:
            poll.register(number, select.POLLIN)
        found = poll.poll(None if seconds is None else max(0.0, seconds) * 1000)
        return [alive[number] for number, _ in found]


def _work(voice: Voice, work: Callable[..., object], values: tuple[Any, ...]) -> int:
    try:
        work(voice, *values)
    except BaseException as error:  # noqa: BLE001 - whatever it is, the parent is told
        text = traceback.format_exc().strip().replace("\n", " | ")
        voice.say("!", f"{type(error).__name__}: {str(error)[:500]}".replace("\n", " "), text[-2500:])
        return 1
    return 0
