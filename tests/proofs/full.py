"""A disk that is full, again and again, in the middle of everything, and then is not; one that is read-only.

What was acknowledged stays, the error is typed, and when there is room again the same store object goes on with
the very request that failed.
"""

import random
import sys
from collections import Counter
from pathlib import Path

from proofs.command import Figures, Progress, check, main
from proofs.disk import Disk, enter_namespace
from proofs.executions import LARGE, TENANT, Life, all_rows, open_file, results, sound
from stepwell import StoreFull, StoreReadOnly
from stepwell.store.sqlite import SqliteSource, SqliteStore

DISK_BYTES = 16 << 20
STORE_BYTES = 6 << 20
"""From this size on a cycle begins with a new store."""
MOST_ROOM = 400_000
"""What is left at most when appends go towards the end of the disk."""
SIZES = (0, 0, 200, 3_000, 20_000, LARGE, 100_000)
MORE = 3
"""So many steps after there is room again."""


class Cycles:
    """One store after the other on one disk."""

    def __init__(self, disk: Disk, backend: str, draw: random.Random) -> None:
        self._disk, self._backend, self._draw = disk, backend, draw
        self.path = disk.folder / "runs.db"
        self.wrong: list[str] = []
        self.seen: Counter[str] = Counter()
        self._number = 0
        self._begin()

    def _begin(self) -> None:
        self.store: SqliteStore = open_file(self.path, self._backend)
        self._life = Life.take_up(self.store, f"execution-{self._number}", "me")
        self._number += 1
        self._index = 0

    def _prepare(self) -> None:
        size = self._draw.choice(SIZES)
        self._life.end(self._life.begin(self._index), self._index, "once", size)
        self._request = (self._draw.randbytes(16), *self._life.drained())

    def _ask(self) -> bool:
        """Whether the request was done; else the disk is full."""
        try:
            answer = self._life.request(*self._request).wait(60)
        except StoreFull:
            self.seen["times full"] += 1
            return False
        except Exception as error:  # noqa: BLE001 - whatever it is, it is not what a full disk ought to be called
            self.wrong.append(f"{type(error).__name__} for a full disk: {error} ({error.__cause__})")
            return False
        if answer != self._life.version:
            self.wrong.append(f"the answer is {answer}, not {self._life.version}")
        self._index += 1
        self.seen["acknowledged steps"] += 1
        return True

    def run(self, number: int) -> None:
        """One cycle."""
        self._disk.fill(but=self._draw.randrange(MOST_ROOM))
        self._prepare()
        while self._ask():
            self._prepare()
        if self._draw.random() < 0.5:
            self._disk.fill()  # the rest, too
        done = any(self._ask() for _ in range(2))
        self._read_while_full()
        if number % 4 == 1:
            self._open_while_full()
        if number % 4 == 2:
            self._create_while_full()
        self._disk.empty()
        if number % 4 == 3:
            self._read_only()
        if not done and not self._ask():
            self.wrong.append("it does not go on though there is room again")
        for _ in range(MORE):
            self._prepare()
            if not self._ask():
                self.wrong.append("there is no room though it was made")
                return
        self._compare(self.store)
        if self.path.stat().st_size > STORE_BYTES or number % 10 == 9:
            self._renew()

    def _read_while_full(self) -> None:
        try:
            row = self.store.get(self._life.execution.id).wait(60)
            if len(results(self.store, row)) != self._index:
                self.wrong.append("while the disk is full, another journal is read than was acknowledged")
            self.seen["read while full"] += 1
        except StoreFull:
            self.seen["not read while full"] += 1

    def _open_while_full(self) -> None:
        """What is not open any more is opened on the full disk, or refused as full."""
        self.store.close()
        try:
            self.store = open_file(self.path, self._backend)
            self.seen["opened while full"] += 1
        except StoreFull:
            self.seen["not opened while full"] += 1
            self._disk.empty()
            self.store = open_file(self.path, self._backend)
        self._life.store = self.store

    def _create_while_full(self) -> None:
        path = self._disk.folder / "other.db"
        self._disk.fill()
        try:
            open_file(path, self._backend).close()
            self.seen["made while full"] += 1
        except StoreFull:
            self.seen["not made while full"] += 1
        self._disk.empty()
        made = open_file(path, self._backend)
        Life.take_up(made, "first", "me")
        made.close()
        for left in self._disk.folder.glob("other.db*"):
            left.unlink()

    def _read_only(self) -> None:
        """The failed request has made the store let go of its file: the disk can be made read-only under it."""
        self._disk.fill()
        if self._ask():
            self.wrong.append("there was room on a full disk")
        self._disk.read_only(True)
        try:
            self._life.request(*self._request).wait(60)
            self.wrong.append("a read-only disk was written")
        except StoreReadOnly:
            self.seen["times read-only"] += 1
        try:
            open_file(self._disk.folder / "other.db", self._backend)
            self.wrong.append("a store was made on a read-only disk")
        except StoreReadOnly:
            pass
        self._disk.read_only(False)
        self._disk.empty()

    def _compare(self, store: SqliteStore) -> None:
        self.wrong += sound(store)
        [row] = all_rows(store)
        found = results(store, row)
        if sorted(found) != list(range(self._index)):
            self.wrong.append(f"{self._index} steps were acknowledged, {len(found)} are there")

    def _renew(self) -> None:
        """Looks at the file as the next process would see it, also one that may only read; then a new one."""
        self.store.close()
        again = open_file(self.path, self._backend)
        self._compare(again)
        again.close()
        self._disk.read_only(True)
        self._frozen()
        self._disk.read_only(False)
        for left in self._disk.folder.glob("runs.db*"):
            left.unlink()
        self._begin()

    def _frozen(self) -> None:
        """On a read-only disk it may be opened or not, and read or not; it is not written, and the error says why."""
        try:
            opened = open_file(self.path, self._backend)
            try:
                Life.take_up(opened, "another", "me")
                self.wrong.append("a store on a read-only disk was written")
            finally:
                opened.close()
        except StoreReadOnly:
            self.seen["refused while read-only"] += 1
        try:
            reader = SqliteSource(self.path, backend=self._backend, read_only=True).open(TENANT)
            self._compare(reader)
            reader.close()
            self.seen["read while read-only"] += 1
        except StoreReadOnly:
            self.seen["not read while read-only"] += 1


def prove(count: int, backend: str, folder: Path, draw: random.Random) -> Figures:
    """So many cycles."""
    progress = Progress(f"full {backend}")
    with Disk(folder / "disk", DISK_BYTES) as disk:
        cycles = Cycles(disk, backend, draw)
        for number in range(count):
            cycles.run(number)
            progress.show(number, count)
            if cycles.wrong:
                break
        cycles.store.close()
    return check(cycles.wrong, {"cycles": count, **cycles.seen})


if __name__ == "__main__":
    enter_namespace("full")
    sys.exit(main("full", prove, "count", 100, __doc__))
