"""Waits that are interrupted by SIGINT, or cancelled by asyncio, at random moments.

After each, the same request is made again: it has to be answered, and nothing is written twice. Meanwhile another
process takes the write lock: whoever was interrupted must not have left a transaction open.
"""

import asyncio
import random
import select
import signal
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from proofs.children import HANGS_AFTER, Child, Family, Stuck, Voice
from proofs.command import Figures, Progress, check, main
from proofs.executions import Life, all_rows, open_file, passes, results, sound

STEPS = 300
"""So many an execution has; then the next one begins."""
LONGEST = 0.003
"""Seconds until a wait is interrupted."""
AT_ONCE = 2.0
"""Seconds in which another process has to get the lock."""


class Requests:
    """One request after the other, each of one step."""

    def __init__(self, path: Path, backend: str, name: str) -> None:
        self.store = open_file(path, backend)
        self._name = name
        self._number = -1
        self._next_execution()

    def _next_execution(self) -> None:
        self._number += 1
        self._index = 0
        self.life = Life.take_up(self.store, f"{self._name}-{self._number}", "me")

    def prepare(self) -> None:
        """Makes the next one; nothing is asked yet."""
        if self._index == STEPS:
            self._next_execution()
        self.life.end(self.life.begin(self._index), self._index, "once")
        self._index += 1
        self._request = (self._index.to_bytes(16, "big"), *self.life.drained())

    def ask(self) -> "object":
        """Asks for it, the first time or again."""
        return self.life.request(*self._request)

    @property
    def was_done(self) -> bool:
        """Whether it is in the store; asked before it is repeated."""
        return self.store.get(self.life.execution.id).wait(HANGS_AFTER).version == self.life.version

    def told(self) -> str:
        """What `compare` is to find."""
        return f"{self._number * STEPS + self._index}"


# --- a thread and SIGINT ------------------------------------------------------------------------------------------


class Handler:
    """Raises `KeyboardInterrupt` while it is armed; else it remembers that it was late."""

    def __init__(self) -> None:
        self.armed = self.late = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.armed:
            self.armed = False
            raise KeyboardInterrupt
        self.late = True


def waits_in_thread(voice: Voice, path: Path, backend: str, seed: int) -> None:
    """Asks and waits until it is interrupted; then asks again."""
    handler = Handler()
    signal.signal(signal.SIGINT, handler)
    requests = Requests(path, backend, "thread")
    voice.say("ready")
    while True:
        requests.prepare()
        if handler.late:
            handler.late = False
            voice.say("ready", "late")
        try:
            handler.armed = True
            answer = requests.ask().wait()  # type: ignore[attr-defined]
            handler.armed = False
        except KeyboardInterrupt:
            done = requests.was_done
            answer = requests.ask().wait(HANGS_AFTER)  # type: ignore[attr-defined]
            voice.say("resolved", int(done))
            if voice.command() != "go":
                break
            voice.say("ready")
        if answer != requests.life.version:
            voice.say("wrong", f"the answer is {answer}, not {requests.life.version}")
    requests.store.close()
    voice.say("steps", requests.told())


def interrupt(child: Child, draw: random.Random) -> None:
    """Sends the signal at a random moment."""
    passes(draw.uniform(0, LONGEST))
    child.send(signal.SIGINT)


# --- a loop and cancellation --------------------------------------------------------------------------------------


def waits_on_loop(voice: Voice, path: Path, backend: str, seed: int) -> None:
    """Asks and awaits until it is cancelled; then asks again."""
    draw = random.Random(seed)
    requests = Requests(path, backend, "loop")

    async def asks() -> None:
        while True:
            requests.prepare()
            answer = await requests.ask()  # type: ignore[misc]
            if answer != requests.life.version:
                voice.say("wrong", f"the answer is {answer}, not {requests.life.version}")

    async def run() -> None:
        loop = asyncio.get_running_loop()
        while True:
            task = loop.create_task(asks())
            if draw.random() < 0.5:
                loop.call_later(draw.uniform(0, LONGEST), task.cancel)
            else:
                _after_turns(loop, draw.randrange(1, 200), task.cancel)
            await asyncio.wait([task])
            if not task.cancelled():
                task.result()
            done = requests.was_done
            answer = await asyncio.wait_for(_awaited(requests), HANGS_AFTER)
            if answer != requests.life.version:
                voice.say("wrong", f"the answer is {answer}, not {requests.life.version}")
            voice.say("resolved", int(done))
            if voice.command() != "go":
                return

    asyncio.run(run())
    requests.store.close()
    voice.say("steps", requests.told())


async def _awaited(requests: Requests) -> object:
    return await requests.ask()  # type: ignore[misc]


def _after_turns(loop: asyncio.AbstractEventLoop, turns: int, work: Callable[[], object]) -> None:
    if turns:
        loop.call_soon(_after_turns, loop, turns - 1, work)
    else:
        work()


# --- the process outside ------------------------------------------------------------------------------------------


class Outside:
    """Another process, with a connection of its own, that wants the write lock."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, timeout=AT_ONCE, isolation_level=None)
        self.longest = 0.0

    def takes_the_lock(self) -> bool:
        """Whether it gets it."""
        start = time.monotonic()
        try:
            self._db.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return False
        self._db.execute("ROLLBACK")
        self.longest = max(self.longest, time.monotonic() - start)
        return True

    def close(self) -> None:
        """Lets go of the file."""
        self._db.close()


def compare(voice: Voice, path: Path, backend: str, steps: int) -> None:
    """Whether each request was done, and once."""
    store = open_file(path, backend)
    for text in sound(store):
        voice.say("wrong", text)
    found = sum(len(results(store, row)) for row in all_rows(store))
    if found != steps:
        voice.say("wrong", f"{steps} steps were asked for, {found} are recorded")
    store.close()


WAYS = {"signals": (waits_in_thread, interrupt), "cancellations": (waits_on_loop, None)}


def prove_way(way: str, count: int, backend: str, folder: Path, draw: random.Random) -> Figures:
    """So many interrupted waits."""
    path = folder / f"{way}.db"
    work, disturb = WAYS[way]
    progress = Progress(f"interrupts {backend} {way}")
    wrong: list[str] = []
    resolved = done = steps = 0
    with Family() as family:
        child = family.fork(work, path, backend, draw.randrange(1 << 32))
        outside: Outside | None = None
        while not child.gone:
            if not select.select([child.reports], [], [], HANGS_AFTER)[0]:
                raise Stuck(f"a repeated request was not answered within {HANGS_AFTER:g} s")
            for line in child.lines():
                word, _, rest = line.partition(" ")
                if word == "ready" and disturb is not None:
                    disturb(child, draw)
                elif word == "resolved":
                    resolved += 1
                    done += int(rest)
                    outside = outside or Outside(path)
                    if not outside.takes_the_lock():
                        wrong.append(f"after {resolved} interrupts another process cannot write")
                    child.tell("go" if resolved < count and not wrong else "end")
                elif word == "steps":
                    steps = int(rest)
                elif word in ("!", "wrong"):
                    wrong.append(rest)
            progress.show(resolved, count)
        longest = 0.0
        if outside is not None:
            longest = outside.longest
            outside.close()
        wrong += family.call(compare, path, backend, steps)
    return check(
        wrong,
        {
            way: resolved,
            "done all the same": done,
            "steps": steps,
            "longest wait for the lock in ms": round(longest * 1000, 1),
        },
    )


def prove(count: int, backend: str, folder: Path, draw: random.Random) -> Figures:
    """So many of each way."""
    figures = [
        f"{name} {value}"
        for way in WAYS
        for name, value in prove_way(way, count, backend, folder, draw).items()
    ]
    return {"interrupts": 2 * count, "of which": "; ".join(figures)}


if __name__ == "__main__":
    sys.exit(main("interrupts", prove, "count", 10_000, __doc__))
