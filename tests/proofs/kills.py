"""Processes that are killed at random moments and started again on the same file, again and again.

Eight executions at once: in eight processes that use a store directly, or in four with a kernel that runs two each. A
step says that it runs before it does, and that it is acknowledged when its result is known to be durable.
"""

import asyncio
import os
import random
import signal
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from proofs.children import HANGS_AFTER, Child, Family, Voice
from proofs.command import Figures, Progress, check, main
from proofs.executions import LARGE, TENANT, Life, all_rows, open_file, results, sound
from stepwell import Kernel, blueprint, step
from stepwell.store.sqlite import SqliteSource

EXECUTIONS = 8
STEPS = 40
"""So many an execution has; then the next one begins in its place."""
EARLY = 0.25
"""How many of the lives may end before the first step."""
LONGEST_START = 0.06
MEAN_LIFE = 0.02
ALL_AT_ONCE = 5
"""In how many of a hundred kills all processes are killed at the same moment."""


# --- the children -------------------------------------------------------------------------------------------------


def use_store(voice: Voice, path: Path, backend: str, slots: list[tuple[int, int]]) -> None:
    """Goes on with one execution, and with the one after it, without end."""
    [(slot, number)] = slots
    store = open_file(path, backend)
    while True:
        key = f"{slot}-{number}"
        life = Life.take_up(store, key, f"process {os.getpid()}")
        voice.say("loaded", key, life.steps)
        for index in range(life.steps, STEPS):
            # What another life has begun goes on; its start may be recorded or not.
            opened = [known.id for known in life.execution.steps.values() if not known.is_terminal]
            step_id = opened[0] if opened else life.begin(index)
            if index % 3 == 0 and not opened:
                life.write().wait()
            nonce = os.urandom(6).hex()
            voice.say("ran", key, index, nonce)
            life.end(step_id, index, nonce, LARGE if index % 10 == 9 else 0)
            life.write().wait()
            voice.say("done", key, index)
        if not life.execution.is_terminal:
            life.execution.complete()
            life.write().wait()
        voice.say("ended", key)
        number += 1


_voice: Voice | None = None


def _marked(key: str, number: int) -> list[object]:
    assert _voice is not None
    nonce = os.urandom(6).hex()
    _voice.say("ran", key, number, nonce)
    return [number, nonce, "x" * (LARGE if number % 10 == 9 else 0)]


@step
async def mark(key: str, number: int) -> list[object]:
    return _marked(key, number)


@step
def mark_in_thread(key: str, number: int) -> list[object]:
    return _marked(key, number)


@step(effect="keyed")
async def mark_keyed(key: str, number: int) -> list[object]:
    return _marked(key, number)


@blueprint(version="1")
async def walk(key: str) -> None:
    assert _voice is not None
    for number in range(STEPS):
        await (mark, mark_in_thread, mark_keyed, mark)[number % 4](key, number)
        _voice.say("done", key, number)


def use_kernel(voice: Voice, path: Path, backend: str, slots: list[tuple[int, int]]) -> None:
    """The same with a kernel, and several executions."""
    global _voice  # steps and blueprints are given data alone
    _voice = voice

    async def one_after_the_other(kernel: Kernel, slot: int, number: int) -> None:
        while True:
            key = f"{slot}-{number}"
            handle = await kernel.start(walk, key, key=key)
            voice.say("loaded", key, -1)
            await handle.result()
            voice.say("ended", key)
            number += 1

    async def run() -> None:
        source = SqliteSource(path, backend=backend)
        async with Kernel(source, tenant=TENANT, recover=False) as kernel:
            await asyncio.gather(*(one_after_the_other(kernel, *each) for each in slots))

    asyncio.run(run())


DRIVERS = {"store": (use_store, EXECUTIONS), "kernel": (use_kernel, EXECUTIONS // 2)}


# --- what they said -----------------------------------------------------------------------------------------------


@dataclass
class Account:
    """What was said of each execution, over all its lives."""

    acknowledged: dict[str, set[int]] = field(default_factory=dict)
    ran: dict[str, dict[int, str]] = field(default_factory=dict)
    """The last time that each step ran."""
    next: dict[int, int] = field(default_factory=dict)
    """Which execution each slot is at."""
    wrong: list[str] = field(default_factory=list)
    runs: int = 0

    def hear(self, line: str) -> bool:
        """Takes a line down. `True` where the child is about to run steps."""
        word, key, *rest = line.split(" ", 3)
        if word == "!":
            self.wrong.append(f"an error in a process: {line}")
            return False
        acknowledged = self.acknowledged.setdefault(key, set())
        if word == "loaded":
            found = int(rest[0])
            if 0 <= found < len(acknowledged):
                self.wrong.append(f"{key}: {len(acknowledged)} steps were acknowledged, {found} were found")
            # What is found is durable, although the process that wrote it did not live to say so.
            acknowledged.update(range(found))
            return True
        if word == "ran":
            self.runs += 1
            number = int(rest[0])
            if number in acknowledged:
                self.wrong.append(f"{key}: step {number} ran again after it was acknowledged")
            self.ran.setdefault(key, {})[number] = rest[1]
        elif word == "done":
            acknowledged.add(int(rest[0]))
        elif word == "ended":
            slot, number = map(int, key.split("-"))
            if len(acknowledged) != STEPS and number >= self.next.get(slot, 0):
                self.wrong.append(f"{key}: it ended with {len(acknowledged)} steps acknowledged")
            self.next[slot] = number + 1
        return False


def compare(voice: Voice, path: Path, backend: str, account: Account) -> None:
    """Whether the file has what was acknowledged, and of each step the result of the last time it ran."""
    store = open_file(path, backend)
    for text in sound(store):
        voice.say("wrong", text)
    recorded = executions = 0
    known: dict[str, dict[int, str]] = {}
    for row in all_rows(store):
        found = known[row.key or ""] = results(store, row)
        executions += 1
        recorded += len(found)
        ran = account.ran.get(row.key or "", {})
        for number, nonce in found.items():
            if ran.get(number) != nonce:
                voice.say("wrong", f"{row.key}: step {number} ran again though its result was recorded")
    for key, numbers in account.acknowledged.items():
        for number in numbers - known.get(key, {}).keys():
            voice.say("wrong", f"{key}: step {number} was acknowledged and is not in the store")
    store.close()
    voice.say("compared", executions, recorded)


# --- the killing --------------------------------------------------------------------------------------------------


class Killing:
    """Processes, and the moments at which they are killed."""

    def __init__(self, driver: str, path: Path, backend: str, draw: random.Random, family: Family) -> None:
        self._work, processes = DRIVERS[driver]
        self._path, self._backend, self._draw, self._family = path, backend, draw, family
        self.account = Account()
        self.kills = 0
        self._share = EXECUTIONS // processes
        self._ends: dict[Child, float] = {}
        self._first: dict[Child, int] = {}
        for index in range(processes):
            self._begin(index * self._share)

    def _begin(self, first: int) -> None:
        slots = [(slot, self.account.next.get(slot, 0)) for slot in range(first, first + self._share)]
        child = self._family.fork(self._work, self._path, self._backend, slots)
        early = self._draw.random() < EARLY
        end = time.monotonic() + (self._draw.uniform(0, LONGEST_START) if early else HANGS_AFTER)
        self._first[child], self._ends[child] = first, end

    def turn(self) -> None:
        """Hears what there is, kills whose moment has come, and starts them again."""
        for child in self._family.hear(min(self._ends.values(), default=0) - time.monotonic()):
            for line in child.lines():
                if self.account.hear(line) and self._ends.get(child, 0) > time.monotonic() + LONGEST_START:
                    self._ends[child] = time.monotonic() + self._draw.expovariate(1 / MEAN_LIFE)
            if child.gone:
                self._ends.pop(child, None)
                self._begin(self._first.pop(child))
        now = time.monotonic()
        due = [child for child, end in self._ends.items() if end <= now]
        for child in due:
            if now - child.heard > HANGS_AFTER - 1:
                self.account.wrong.append(f"process {child.pid} was stuck for {HANGS_AFTER:g} s")
        if due and self._draw.randrange(100) < ALL_AT_ONCE:
            due = list(self._ends)
        self._kill(due)

    def _kill(self, children: Iterable[Child]) -> None:
        for child in children:
            child.send(signal.SIGKILL)
            del self._ends[child]  # its pipe ends when it is dead
            self.kills += 1

    def finish(self) -> None:
        """Kills them all, and hears them out."""
        self._kill(list(self._ends))
        for child in self._first:
            while not child.gone:
                for line in child.lines():
                    self.account.hear(line)


def prove_driver(driver: str, count: int, backend: str, folder: Path, draw: random.Random) -> Figures:
    """Kills so many times, then compares."""
    path = folder / f"{driver}.db"
    progress = Progress(f"kills {backend} {driver}")
    with Family() as family:
        killing = Killing(driver, path, backend, draw, family)
        while killing.kills < count and not killing.account.wrong:
            killing.turn()
            progress.show(killing.kills, count, f"({killing.account.runs} steps ran)")
        killing.finish()
        seconds, account = progress.seconds, killing.account
        said = family.call(compare, path, backend, account)
    account.wrong += [line for line in said if not line.startswith("compared")]
    executions, recorded = (said[-1].split()[1:] if said else ["0", "0"])[:2]
    acknowledged = sum(map(len, account.acknowledged.values()))
    return check(
        account.wrong,
        {
            f"{driver}: kills": killing.kills,
            "a second": round(killing.kills / seconds),
            "executions": executions,
            "runs": account.runs,
            "acknowledged": acknowledged,
            "recorded": recorded,
        },
    )


def prove(count: int, backend: str, folder: Path, draw: random.Random) -> Figures:
    """Half of the kills for each driver."""
    figures = [
        f"{name} {value}"
        for driver in DRIVERS
        for name, value in prove_driver(driver, count // len(DRIVERS), backend, folder, draw).items()
    ]
    return {"kills": count, "of which": "; ".join(figures)}


if __name__ == "__main__":
    sys.exit(main("kills", prove, "count", 10_000, __doc__))
