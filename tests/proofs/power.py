"""Power is lost after every system call of a writing process: the store opens, and has what it promised.

strace records the calls. After each of them the disk may hold what was synced and any part of what was not: none, all,
some, reordered, torn within a write. The product opens what is left. Never is it damaged, never does an error come;
what is there is what some first so many requests have made; and what was acknowledged at level `power` is among it.
"""

import os
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from proofs import older
from proofs.command import Figures, Progress, Violation, check, main
from proofs.images import Chosen, Disk, Image
from proofs.plan import TENANT, Plan, plan
from proofs.reading import PARTS, STORE, Reader, contents, memory
from proofs.trace import Event, events, record
from stepwell.store.sqlite import SqliteSource

LOSSES: Final = "images with losses"
AGAIN: Final = "again"
"""The scenario in which power is lost a second time, while the store comes to itself and after that."""
TIMES: Final = 5
"""So many images are taken for that."""
SHARES: Final = {"power": 0.33, "process": 0.27, "mixed": 0.21, "older": 0.07, "long": 0.02, AGAIN: 0.1}
"""Which part of the images is of which scenario."""
MOST_TRIES: Final = 3_000
"""With so many images a store that forgets to sync is found out; it takes some ten."""


class Recording(NamedTuple):
    """What a writer did, and the folder before that."""

    plan: Plan
    before: Image
    events: list[Event]


def recorded(what: Plan, backend: str, folder: Path, before: Image | None = None) -> Recording:
    """Has a writer carry out a plan in a new folder with these files, under strace."""
    folder.mkdir()
    if before is None:
        before = {}
        if what.before:
            older.make(folder / STORE, what)
            before = contents(folder)
    for name, data in before.items():
        (folder / name).write_bytes(data)
    there = {name: number for number, name in enumerate(before, 1)}
    environment = {
        **os.environ,
        "STEPWELL_BACKEND": backend,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    command = [sys.executable, "-m", "proofs.power_writer", what.scenario, backend]
    command += [str(folder / STORE), str(what.before)]
    lines = record(command, folder.parent / f"{folder.name}.trace", environment)
    found = events(lines, folder, there)
    disk = Disk(before)
    for event in found:
        disk.happen(event)
    # The picture of the disk is right where the process ended: everything that it did is in it.
    if disk.image([Chosen(number) for number in disk.pending]) != contents(folder):
        raise Violation("the recorded calls do not make the files that are there")
    return Recording(what, before, found)


class Account:
    """What was promised at a point, and what was found there."""

    def __init__(self, what: Plan) -> None:
        self._safe = [0]
        self._plan = what
        self.promised = self.acknowledged = what.before
        self.seen: Counter[str] = Counter()

    def said(self, number: int) -> None:
        """The writer has acknowledged the first so many requests."""
        self.acknowledged = number
        for place, request in enumerate(self._plan.requests[:number], 1):
            if request.durability == "power":
                self.promised = max(self.promised, place)

    def found(self, prefix: int) -> None:
        """An image has so many."""
        if prefix < self.promised:
            raise Violation(f"{self.promised} requests were safe, {prefix} are there")
        if prefix < self.acknowledged:
            self.seen[LOSSES] += 1
            self.seen["most lost"] = max(self.seen["most lost"], self.acknowledged - prefix)


class Proof:
    """The images of one recording."""

    def __init__(self, recording: Recording, backend: str, folder: Path) -> None:
        self._recording = recording
        self._plan = recording.plan
        self.reader = Reader(self._plan, backend, folder)
        self.account = Account(self._plan)
        self._known: dict[int, int] = {}
        self.points = 0

    def round(self, choose: "Chooser", count: int) -> None:
        """Once through all points; ends when so many images were opened."""
        disk, account = Disk(self._recording.before), self.account
        account.promised = account.acknowledged = self._plan.before
        self.points = 0
        for event in self._recording.events:
            if event.kind == "said":
                account.said(event.offset)
            else:
                disk.happen(event)
            self.points += 1
            for chosen in choose(disk):
                self._try(disk, chosen, event)
                if self.reader.opened >= count:
                    return

    def _try(self, disk: Disk, chosen: list[Chosen], event: Event) -> None:
        key = hash((disk.generation, tuple(chosen)))
        prefix = self._known.get(key)
        try:
            if prefix is None:
                prefix = self._known[key] = self.reader.read(disk.image(chosen))
            self.account.found(prefix)
        except Violation as violation:
            raise Violation(
                f"{self._plan.scenario}: after call {self.points} ({event.kind} {event.name}), with "
                f"{len(chosen)} of {len(disk.pending)} pending: {violation}"
            ) from violation


class Chooser:
    """Which images of a disk are opened: the plain ones in the first round, then others."""

    def __init__(self, draw: random.Random, plain: bool, step: int = 1) -> None:
        self._draw, self._plain, self._step = draw, plain, step
        self._number = draw.randrange(step)

    def __call__(self, disk: Disk) -> Iterator[list[Chosen]]:
        self._number += 1
        if self._number % self._step:
            return
        if self._plain:
            yield from disk.plain()
        for _ in range(3):
            yield disk.draw(self._draw)


def prove_scenario(
    recording: Recording, count: int, backend: str, folder: Path, draw: random.Random
) -> Counter[str]:
    """So many images of one recording."""
    proof = Proof(recording, backend, folder)
    progress = Progress(f"power {backend} {recording.plan.scenario}")
    # Where they are few they are spread over all points.
    step = max(1, 9 * len(recording.events) // count)
    plain = True
    while proof.reader.opened < count:
        before = proof.reader.opened
        proof.round(Chooser(draw, plain, step), count)
        plain = False
        progress.show(proof.reader.opened, count)
        if proof.reader.opened == before:
            break  # there are no others
    proof.account.seen["images"] = proof.reader.opened
    return proof.account.seen


def unsynced(recording: Recording, name: str = "") -> Recording:
    """The same calls without those that sync, or without those that sync files of one name."""
    files = {each.file for each in recording.events if each.kind == "link" and each.name.endswith(name)}

    def stays(event: Event) -> bool:
        if not name:
            return not event.kind.startswith("sync")
        return event.kind != "sync" or event.file not in files

    return recording._replace(events=[each for each in recording.events if stays(each)])


def blind(recordings: dict[str, Recording], backend: str, folder: Path, draw: random.Random) -> list[str]:
    """Which stores that forget to sync something the proof does not find out."""
    power, process = recordings["power"], recordings["process"]
    journal = PARTS[2] if loses(backend, folder) else PARTS[1]
    worse = {
        "nothing": unsynced(power),
        "not its file": unsynced(power, STORE),
        "not its journal": unsynced(power, journal),
    }
    if loses(backend, folder):
        # Both make the same requests, and promise otherwise.
        worse["as level process does"] = process._replace(plan=power.plan)
    return [
        f"a store that syncs {what} was not found out: the proof sees nothing"
        for what, recording in worse.items()
        if not found_out(recording, backend, folder, draw)
    ]


def found_out(recording: Recording, backend: str, folder: Path, draw: random.Random) -> bool:
    """Whether the proof fails, as it has to."""
    try:
        prove_scenario(recording, MOST_TRIES, backend, folder, draw)
    except Violation:
        return True
    return False


def prove(count: int, backend: str, folder: Path, draw: random.Random) -> Figures:
    """So many images over all scenarios; then the proof itself is put to the test."""
    figures: Figures = {}
    total: Counter[str] = Counter()
    wrong: list[str] = []
    recordings: dict[str, Recording] = {}
    with tempfile.TemporaryDirectory(dir=memory(folder)) as name:
        place = Path(name).resolve()
        for scenario, share in SHARES.items():
            part = max(1, int(count * share))
            try:
                if scenario == AGAIN:
                    seen = prove_again(list(recordings.values()), part, backend, place, draw)
                else:
                    recording = recordings[scenario] = recorded(plan(scenario), backend, place / scenario)
                    seen = prove_scenario(recording, part, backend, place / scenario, draw)
            except Violation as violation:
                wrong.append(str(violation))
                continue
            figures[scenario] = "; ".join(f"{value} {what}" for what, value in seen.items())
            total += Counter({what: seen[what] for what in ("images", LOSSES)})
            if scenario == "power" and seen[LOSSES]:
                wrong.append("something acknowledged was lost at level power")
            if scenario == "process" and bool(seen[LOSSES]) != loses(backend, place / scenario):
                wrong.append("level process shows no losses, or others than it may: the proof sees nothing")
        if not wrong:
            wrong += blind(recordings, backend, place / "power", draw)
    return check(wrong, {"images": total["images"], "with losses": total[LOSSES], **figures})


def prove_again(
    recordings: list[Recording], count: int, backend: str, folder: Path, draw: random.Random
) -> Counter[str]:
    """Power is lost; a writer opens what is there and goes on; power is lost again. So many images of the latter."""
    seen: Counter[str] = Counter()
    times = min(TIMES, -(-count // 10))
    for number in range(times):
        what, image = interrupted(draw.choice(recordings[:4]), backend, folder, draw)
        place = folder / f"{AGAIN}{number}"
        part = prove_scenario(recorded(what, backend, place, image), count // times, backend, place, draw)
        seen.update(images=part["images"])
        seen[LOSSES] += part[LOSSES]
    return seen


def interrupted(recording: Recording, backend: str, folder: Path, draw: random.Random) -> tuple[Plan, Image]:
    """An image from which the store has to come to itself: with a journal that is not empty; and what is in it."""
    scratch = folder / "scratch"
    scratch.mkdir(exist_ok=True)
    reader = Reader(recording.plan, backend, scratch)
    while True:
        disk = Disk(recording.before)
        for event in recording.events[: draw.randrange(len(recording.events))]:
            if event.kind != "said":
                disk.happen(event)
        image = disk.image(disk.draw(draw))
        if any(image.get(name) for name in PARTS[1:3]):
            return recording.plan._replace(before=reader.read(image)), image


def loses(backend: str, folder: Path) -> bool:
    """Whether level `process` is weaker than `power`: in WAL mode it is."""
    store = SqliteSource(folder / STORE, backend=backend).open(TENANT)
    try:
        return bool(store.rows("journal_mode").wait(60) == [("wal",)])
    finally:
        store.close()


if __name__ == "__main__":
    sys.exit(main("power", prove, "count", 100_000, __doc__))
