"""Reads a store's files with the product, and says how many of a plan's requests are in them: first ones, and whole."""

import os
from pathlib import Path
from typing import Final

from proofs.command import Violation
from proofs.images import Image
from proofs.plan import TENANT, Plan
from stepwell import StepwellError
from stepwell.store import Record
from stepwell.store.sqlite import SqliteSource, SqliteStore

STORE: Final = "runs.db"
PARTS: Final = (STORE, f"{STORE}-journal", f"{STORE}-wal", f"{STORE}-shm")
GO_ON_EVERY: Final = 8
"""Every so many images the next request is made, too."""


def memory(folder: Path) -> str:
    """Where files can be written and forgotten fast: in memory, where there is room for that."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else str(folder)


def contents(folder: Path) -> Image:
    """The store's files."""
    return {name: (folder / name).read_bytes() for name in PARTS[:3] if (folder / name).exists()}


class Reader:
    """Opens images with the product, and says how many requests are in them."""

    def __init__(self, what: Plan, backend: str, folder: Path) -> None:
        self._plan, self._requests = what, what.requests
        self._source = SqliteSource(folder / STORE, backend=backend)
        self._paths = {name: str(folder / name) for name in PARTS}
        self.opened = 0
        self._prefixes = self._after_each()
        first = what.requests[: what.before]
        self._undigested = {request.execution: request.last for request in first}

    def _after_each(self) -> dict[tuple[tuple[str, int], ...], int]:
        versions: dict[str, int] = {}
        found: dict[tuple[tuple[str, int], ...], int] = {(): 0}
        for number, request in enumerate(self._requests, 1):
            versions[request.execution] = request.last
            found[tuple(sorted(versions.items()))] = number
        return found

    def write(self, image: Image) -> None:
        """Puts the files there."""
        for name, path in self._paths.items():
            data = image.get(name)
            if data is not None:
                with open(path, "wb") as file:  # noqa: PTH123 - this is done very often
                    file.write(data)
            elif os.path.lexists(path):
                os.unlink(path)  # noqa: PTH108 - likewise

    def read(self, image: Image) -> int:
        """How many requests are in it. Raises `Violation` as `look` does."""
        self.write(image)
        return self.look()

    def look(self) -> int:
        """How many requests are in what is there, first ones and whole. Raises `Violation` for anything else."""
        self.opened += 1
        try:
            store = self._source.open(TENANT)
            try:
                prefix = self._prefix(store)
                if self.opened % GO_ON_EVERY == 0 and prefix < len(self._requests):
                    self._go_on(store, prefix)
            finally:
                store.close()
        except StepwellError as error:
            raise Violation(f"{type(error).__name__}: {error} ({error.__cause__})") from error
        return prefix

    def _prefix(self, store: SqliteStore) -> int:
        integrity = store.rows("integrity")
        rows = store.list().wait(60)
        if integrity.wait(60) != [("ok",)]:
            raise Violation(f"the integrity check says {integrity.wait(60)[0][0][:200]!r}")
        asked = [(row, store.load(row.id), store.digests(row.id)) for row in rows]
        for row, loading, digests in asked:
            expected = self._plan.everything.get(row.id, [])[: row.version + 1]
            if not expected or _whole(store, row.id, loading.wait(60)) != expected:
                raise Violation(f"the records of {row.id} are not those that were written")
            if row.head != self._plan.heads.get((row.id, row.version)):
                raise Violation(f"the head of {row.id} is not the digest of its last record")
            self._check_digests(row.id, row.head, expected, digests.wait(60))
        prefix = self._prefixes.get(tuple(sorted((row.id, row.version) for row in rows)))
        if prefix is None:
            raise Violation("what is there is not what some first requests make")
        return prefix

    def _check_digests(
        self, id: str, head: str, records: list[Record], found: list[tuple[int, str | None]]
    ) -> None:
        chain = [*(_previous(record) for record in records[1:]), head]
        older = self._undigested.get(id, -1)
        for (seq, digest), expected in zip(found, chain, strict=True):
            if digest != expected and not (digest is None and seq <= older):
                raise Violation(f"the digest of record {seq} of {id} is not that of the chain")

    def _go_on(self, store: SqliteStore, prefix: int) -> None:
        request = self._requests[prefix]
        asked = request.ask(store).wait(60)
        if asked != (request.last if request.after >= 0 else (request.execution, True)):
            raise Violation("the store does not go on where it is")


def _whole(store: SqliteStore, id: str, records: list[Record]) -> list[Record]:
    found = list(records)
    while records:
        records = store.load(id, found[-1][0]).wait(60)
        found += records
    return found


def _previous(record: Record) -> str:
    start = record[3].index(b'"prev":"') + 8
    return record[3][start : start + 32].decode("ascii")
