"""Eight processes write into one file; now and then one is stopped for a while, also with the lock in its hands.

None of them sees an error, nothing that was acknowledged is missing, and no journal has a gap.
"""

import random
import sys
import time
from collections import Counter
from pathlib import Path

from proofs.children import HANGS_AFTER, Child, Family, Voice
from proofs.command import Figures, Progress, Violation, check, main
from proofs.executions import LARGE, Life, all_rows, open_file, passes, results, sound
from proofs.locks import keeps_others_out

PROCESSES = 8
STEPS = 200
"""So many an execution has; then the process begins the next one."""
BETWEEN = (0.02, 0.15)
"""Seconds between two stops."""
STOPPED = (0.08, 0.3)
"""Seconds that a process stands still."""
TRIES = 300
"""So often a process is stopped and let go at once until it is caught with the lock."""


def writer(voice: Voice, path: Path, backend: str, slot: int) -> None:
    """Writes until it is told to end; says which steps are acknowledged, and its longest wait."""
    store = open_file(path, backend)
    number, longest = 0, 0.0
    while not voice.is_told():
        key = f"{slot}-{number}"
        life = Life.take_up(store, key, str(slot))
        for index in range(STEPS):
            start = time.monotonic()
            step = life.begin(index)
            if index % 5 == 0:
                life.write().wait()
            life.end(step, index, str(slot), LARGE if index % 20 == 19 else 0)
            life.write().wait()
            longest = max(longest, time.monotonic() - start)
            voice.say("done", key, index)
            if voice.is_told():
                break
        number += 1
    store.close()
    voice.say("ends", longest)


class Writers:
    """The processes, and what they said."""

    def __init__(self, family: Family, path: Path, backend: str, draw: random.Random) -> None:
        self._family, self._path, self._draw = family, path, draw
        self.done: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.longest = 0.0
        self.stops = self.held = 0
        self.children = [family.fork(writer, path, backend, slot) for slot in range(PROCESSES)]

    def hear(self, seconds: float) -> None:
        """Takes down what they say for so long."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            for child in self._family.hear(left):
                self._lines(child)
            silent = [child for child in self.children if time.monotonic() - child.heard > HANGS_AFTER]
            if silent:
                raise Violation(f"{len(silent)} processes said nothing for {HANGS_AFTER:g} s")

    def _lines(self, child: Child) -> None:
        for line in child.lines():
            word, _, rest = line.partition(" ")
            if word == "done":
                self.done[rest.partition(" ")[0]] += 1
            elif word == "ends":
                self.longest = max(self.longest, float(rest))
            else:
                self.wrong.append(rest)

    def stop_one(self) -> None:
        """Has one of them stand still for a while, every second time with the lock in its hands."""
        child = self._draw.choice(self.children)
        tries = TRIES if self.stops % 2 else 1
        child.stop()
        held = keeps_others_out(child.pid, self._path)
        while not held and tries > 1:
            tries -= 1
            child.go_on()
            passes(self._draw.uniform(0, 0.002))
            child.stop()
            held = keeps_others_out(child.pid, self._path)
        self.stops += 1
        self.held += held
        self.hear(self._draw.uniform(*STOPPED))
        child.go_on()

    def finish(self) -> None:
        """Has them all end."""
        for child in self.children:
            child.tell("end")
        while not all(child.gone for child in self.children):
            self.hear(0.05)


def compare(voice: Voice, path: Path, backend: str, done: dict[str, int]) -> None:
    """Whether each execution has the steps that were acknowledged, and no others."""
    store = open_file(path, backend)
    for text in sound(store):
        voice.say("wrong", text)
    left = dict(done)
    for row in all_rows(store):
        found, wanted = results(store, row), left.pop(row.key or "", 0)
        if sorted(found) != list(range(wanted)):
            voice.say("wrong", f"{row.key}: {wanted} steps were acknowledged, {len(found)} are there")
    for key in left:
        voice.say("wrong", f"{key}: it is not there")
    store.close()


def prove(seconds: int, backend: str, folder: Path, draw: random.Random) -> Figures:
    """For so many seconds."""
    path = folder / "processes.db"
    progress = Progress(f"processes {backend}")
    with Family() as family:
        writers = Writers(family, path, backend, draw)
        while not writers.done:
            writers.hear(0.05)
        end = time.monotonic() + seconds
        while time.monotonic() < end and not writers.wrong:
            writers.stop_one()
            writers.hear(draw.uniform(*BETWEEN))
            progress.show(progress.seconds, seconds, f"({writers.done.total()} steps)")
        writers.finish()
        writers.wrong += family.call(compare, path, backend, writers.done)
    return check(
        writers.wrong,
        {
            "seconds": seconds,
            "processes": PROCESSES,
            "stops": writers.stops,
            "of these with the lock held": writers.held,
            "acknowledged steps": writers.done.total(),
            "longest wait in s": round(writers.longest, 2),
        },
    )


if __name__ == "__main__":
    sys.exit(main("processes", prove, "seconds", 60, __doc__))
