"""Deletes executions that ended long ago, a little at a time: whoever writes meanwhile hardly notices."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from .. import errors
from . import protocol
from .protocol import ExecutionRow, Store

TURN_RECORDS: Final = 8_000
"""How many records one transaction deletes at most: some ten milliseconds, for which others wait."""
TURN_REQUESTS: Final = 1_000
DOOM_AT_ONCE: Final = 1_000
"""How many executions one transaction takes out of every answer."""
MOST_REST: Final = 1_000
_OPEN: Final = ("created", "planning", "running", "paused", "waiting")
_WENT_ON: Final = b"stepwell.continued_as"
LONGEST_SECONDS: Final = 1.0
KEEP_PAGES: Final = 256
"""So many free pages stay in a file: the next records need them again."""

Progress = Callable[[int, int], object]


class Purged(NamedTuple):
    """What a purge deleted, or what one would."""

    executions: int
    records: int
    """What an interrupted purge had left is among them."""
    states: dict[str, int]
    """How many executions of each state that was asked for."""


def purge(
    store: Store,
    *,
    older_than_ns: int,
    now_ns: int,
    states: Iterable[str] = ("completed", "failed", "cancelled"),
    dry_run: bool = False,
    batch: int = 1_000,
    progress: Progress | None = None,
    give_back: bool = True,
    rest: float = 15.0,
) -> Purged:
    """Deletes a tenant's executions that ended in one of `states` and whose last record is older than that.

    One that went on as a new execution is kept until that one, or the last of those that it went on as, has ended: who
    waits for the first finds the last by it.

    It blocks, for minutes where there are millions: others go on writing, since each transaction is small and after it
    this rests `rest` times as long as it took. One that is interrupted has deleted what it had come to; the next
    goes on with it.
    `batch` is how many executions are looked at at once, `progress` is called with how many executions and records are
    gone. With `give_back` a file becomes shorter. With `dry_run` nothing is deleted, and the outcome is what would be.
    Raises `ValidationError` for a state in which nothing ends, and `StoreError`.
    """
    if older_than_ns < 0:
        raise errors.ValidationError("the age of what is purged must not be negative")
    wanted = dict.fromkeys(protocol.check_ended(str(state)) for state in states)
    protocol.check_limit(batch)
    if not 0 <= rest <= MOST_REST:
        raise errors.ValidationError(f"rest must be between 0 and {MOST_REST}")
    work = _Work(store, now_ns - older_than_ns, progress, rest)
    if not dry_run:
        work.sweep()
    work.hold()
    for state in wanted:
        work.counts[state] = 0
        for page in work.old(state, batch):
            if dry_run:
                work.add(state, len(page), sum(version + 1 for _, version in page))
            else:
                work.delete(state, [execution_id for execution_id, _ in page])
    if give_back and not dry_run:
        shrink(store, rest)
    return Purged(sum(work.counts.values()), work.records, work.counts)


class _Work:
    def __init__(self, store: Store, before_ns: int, progress: Progress | None, rest: float) -> None:
        self._store = store
        self._before_ns = before_ns
        self._progress = progress
        self._rest = rest
        self._requests = 8
        self.counts: dict[str, int] = {}
        self.records = 0
        self._held: set[str] = set()

    def hold(self) -> None:
        """Looks which of those that have ended went on as executions that have not."""
        for state in _OPEN:
            after = None
            while page := self._store.list(state, after, protocol.MAX_LIMIT).wait():
                after = page[-1].id
                for row in page:
                    self._hold(row)

    def _hold(self, row: ExecutionRow) -> None:
        while (
            row.parent_type == "execution" and row.parent_id is not None and row.parent_id not in self._held
        ):
            try:
                before = self._store.get(row.parent_id).wait()
                last = self._store.load(before.id, before.version - 1).wait()
            except errors.NotFound:
                return
            # One that was forked says nothing of the other.
            if before.state != "completed" or not all(
                word in last[-1][3] for word in (_WENT_ON, row.id.encode())
            ):
                return
            self._held.add(before.id)
            row = before

    def old(self, state: str, batch: int) -> Iterator[list[tuple[str, int]]]:
        """Pages of what is old enough: id and version."""
        after = ""
        while page := self._store.finished(state, after, batch).wait():
            after = page[-1][0]
            old = [
                (each, version)
                for each, version, at in page
                if at < self._before_ns and each not in self._held
            ]
            if old:
                yield old

    def delete(self, state: str, ids: Sequence[str]) -> None:
        """Takes these out of every answer, then deletes their records."""
        for start in range(0, len(ids), DOOM_AT_ONCE):
            with _Rest(self._rest):
                gone = self._store.doom(ids[start : start + DOOM_AT_ONCE]).wait()
            self.add(state, gone, 0)
        self.sweep()

    def sweep(self) -> None:
        """Deletes the records of all that is doomed."""
        while True:
            most = TURN_RECORDS // self._requests
            with _Rest(self._rest):
                tickets = [self._store.sweep(most) for _ in range(self._requests)]
                deleted = [ticket.wait() for ticket in tickets]
            gone = sum(deleted)
            self.add(None, 0, gone)
            if not deleted[-1]:
                return
            # One request deletes of one execution. Short ones ask for many requests, long ones for large.
            if gone * 2 <= TURN_RECORDS:
                self._requests = min(TURN_REQUESTS, self._requests * 2)
            elif deleted.count(most) * 2 > len(deleted):
                self._requests = max(1, self._requests // 2)

    def add(self, state: str | None, executions: int, records: int) -> None:
        """Counts, and says so."""
        if state is not None:
            self.counts[state] += executions
        self.records += records
        if self._progress is not None:
            self._progress(sum(self.counts.values()), self.records)


class _Rest:
    """After some work a rest, in which the store's thread is free for others."""

    def __init__(self, rest: float) -> None:
        self._rest = rest

    def __enter__(self) -> None:
        self._start = time.monotonic()

    def __exit__(self, kind: object, *about: object) -> None:
        if kind is None:
            time.sleep(min(LONGEST_SECONDS, (time.monotonic() - self._start) * self._rest))


def shrink(store: Store, rest: float = 1.0) -> int:
    """Gives the free pages of a store's file back, but for a few, and returns how many. Others go on writing.

    A store in memory has none, nor has a file that was made by a stepwell that could not do this.
    """
    from .sqlite import SqliteStore

    if not isinstance(store, SqliteStore):
        return 0

    def free() -> int:
        [[pages]] = store.rows("freelist_count").wait()
        return int(pages)

    first = left = free()
    while left > KEEP_PAGES:
        with _Rest(rest):
            store.rows("give_back").wait()
        before, left = left, free()
        if left >= before:
            break
    if left < first:
        store.rows("checkpoint").wait()
    return max(0, first - left)
