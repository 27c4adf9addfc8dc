"""A writer is stopped with work in flight, another one takes its execution over, and the first goes on.

Whatever it still writes under its old epoch has to be refused: in flight when it was stopped, asked afterwards, and
asked with the very record that is the last one now.
"""

import random
import signal
import sys
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from proofs.children import Child, Family, Voice
from proofs.command import Figures, Progress, Violation, check, main
from proofs.executions import (
    BLUEPRINT,
    TENANT,
    Life,
    all_rows,
    open_file,
    passes,
    records_of,
    results,
    sound,
)
from proofs.locks import keeps_others_out
from stepwell import Conflict, StoreBusy
from stepwell.runtime.core import Execution
from stepwell.store import Ticket

IN_FLIGHT = 4
TAKEN_FURTHER = 3
"""So many steps the second writer adds."""
BUSY_SECONDS = 0.05
"""How long the second one waits for a lock that the first may hold while it stands still."""
LONGEST_WAIT = 0.004
RENEWED_AFTER = 50
"""After so many rounds both writers are new processes."""


# --- the writers --------------------------------------------------------------------------------------------------


def first_writer(voice: Voice, path: Path, backend: str) -> None:
    """Writes steps to an execution until it is refused; then tries once more with everything right but the epoch."""
    store = open_file(path, backend)
    while key := voice.command():
        life = Life.take_up(store, key, "first")
        _write_until_refused(voice, life, key)
        assert voice.command() == "again"
        row = store.find(BLUEPRINT, key).wait()
        assert row is not None
        later = Life(store, Execution.replay(row.id, records_of(store, row.id)), life.epoch)
        later.version = row.version
        later.end(later.begin(row.version), row.version, "first")
        try:
            later.write().wait()
            voice.say("wrong", f"{key}: an append under the old epoch was accepted")
        except Conflict:
            voice.say("refused", key, row.version)
        if store.release(row.id, life.epoch).wait():
            voice.say("wrong", f"{key}: a release under the old epoch was accepted")
        voice.say("over", key)
    store.close()


def _write_until_refused(voice: Voice, life: Life, key: str) -> None:
    flying: deque[tuple[int, Ticket[int]]] = deque()
    number, refused = 0, False
    while flying or not refused:
        while not refused and len(flying) < IN_FLIGHT:
            life.end(life.begin(number), number, "first")
            flying.append((number, life.write()))
            number += 1
        index, ticket = flying.popleft()
        try:
            ticket.wait()
            if refused:
                voice.say("wrong", f"{key}: step {index} was accepted after one was refused")
            voice.say("done", key, index)
        except Conflict:
            refused = True
            voice.say("refused", key, index)
    voice.say("fenced", key)


def second_writer(voice: Voice, path: Path, backend: str) -> None:
    """Takes an execution over and goes on with it."""
    store = open_file(path, backend, BUSY_SECONDS)
    while key := voice.command():
        try:
            life = Life.take_up(store, key, "second")
        except StoreBusy:
            voice.say("busy", key)
            continue
        voice.say("claimed", key, life.steps)
        for number in range(life.steps, life.steps + TAKEN_FURTHER):
            life.end(life.begin(number), number, "second")
            request = bytes(16), *life.drained()
            while True:
                try:
                    life.request(number.to_bytes(16, "big"), *request[1:]).wait()
                    break
                except StoreBusy:  # the first one is back, and writes
                    continue
        voice.say("went", key)
    store.close()


# --- the rounds ---------------------------------------------------------------------------------------------------


@dataclass
class Rounds:
    """What was heard."""

    draw: random.Random
    path: Path
    wrong: list[str] = field(default_factory=list)
    done: dict[str, set[int]] = field(default_factory=dict)
    refused: dict[str, set[int]] = field(default_factory=dict)
    held: int = 0
    """How often the first one was stopped with the lock in its hands, so that there was no taking over."""

    def hear(self, child: Child, word: str) -> str:
        """The last of a child's lines up to one that begins with this word; the rest is taken down."""
        last = ""
        for line in child.until(word):
            what, _, rest = line.partition(" ")
            if what in ("!", "wrong"):
                self.wrong.append(rest)
            elif what in ("done", "refused"):
                key, number = rest.split(" ")
                getattr(self, what).setdefault(key, set()).add(int(number))
            last = line
        if child.gone:
            raise Violation(f"a writer ended by itself: {self.wrong}")
        return last

    def run(self, key: str, first: Child, second: Child) -> None:
        """One zombie."""
        first.tell(key)
        self.hear(first, "done")
        while True:
            passes(self.draw.uniform(0, LONGEST_WAIT))
            first.stop()
            answer = "busy"
            if not keeps_others_out(first.pid, self.path):
                second.tell(key)
                answer = self._answer(second)
            if answer != "busy":
                break
            self.held += 1
            first.go_on()
        early = self.draw.random() < 0.5
        if early:
            first.go_on()  # both write now
        if "went" not in answer:
            self.hear(second, "went")
        if not early:
            first.go_on()
        self.hear(first, "fenced")
        first.tell("again")
        self.hear(first, "over")

    def _answer(self, second: Child) -> str:
        words: list[str] = []
        while not words:
            for line in second.lines():
                word = line.split(" ", 1)[0]
                words.append(word)
                if word == "!":
                    raise Violation(line)
        return " ".join(words)


def compare(voice: Voice, path: Path, backend: str, rounds: Rounds) -> None:
    """Whether each journal is the first writer's, then the second's, and has what was acknowledged and no more."""
    store = open_file(path, backend)
    for text in sound(store):
        voice.say("wrong", text)
    for row in all_rows(store):
        found = results(store, row)
        key = row.key or ""
        by = [found[number] for number in sorted(found)]
        cut = by.count("first")
        if by != ["first"] * cut + ["second"] * TAKEN_FURTHER:
            voice.say("wrong", f"{key}: written by {by}")
        done, refused = rounds.done.get(key, set()), rounds.refused.get(key, set())
        if done != set(range(cut)):
            voice.say("wrong", f"{key}: {cut} steps of the first writer, {sorted(done)} were acknowledged")
        if not refused or min(refused) < cut:
            voice.say("wrong", f"{key}: {cut} steps of the first writer, {sorted(refused)} were refused")
    store.close()


def prove(count: int, backend: str, folder: Path, draw: random.Random) -> Figures:
    """So many zombies."""
    path = folder / "zombies.db"
    progress = Progress(f"zombies {backend}")
    rounds = Rounds(draw, path)
    with Family() as family:
        first, second = family.fork(first_writer, path, backend), family.fork(second_writer, path, backend)
        for number in range(count):
            if number % RENEWED_AFTER == RENEWED_AFTER - 1:
                for child in (first, second):
                    child.send(signal.SIGKILL)
                    list(child.until("\n"))
                first, second = (
                    family.fork(first_writer, path, backend),
                    family.fork(second_writer, path, backend),
                )
            rounds.run(f"{TENANT}-{number}", first, second)
            progress.show(number, count)
            if rounds.wrong:
                break
        first.end()
        second.end()
        rounds.wrong += family.call(compare, path, backend, rounds)
    return check(
        rounds.wrong,
        {
            "zombies": count,
            "seconds": round(progress.seconds),
            "stopped with the lock held": rounds.held,
            "appends accepted before": sum(map(len, rounds.done.values())),
            "refused after": sum(map(len, rounds.refused.values())),
        },
    )


if __name__ == "__main__":
    sys.exit(main("zombies", prove, "count", 500, __doc__))
