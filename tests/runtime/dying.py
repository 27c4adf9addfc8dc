"""A store that dies after so many writes, as if its process had been killed at that moment."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any

from stepwell import Kernel
from stepwell.store import ExecutionRow, NewExecution, Projection, Record, Ticket
from stepwell.store.memory import MemorySource, MemoryStore


class DyingSource:
    """Passes `writes` writes on to `source`; the one after is done or not, and unanswered, as is all that follows."""

    def __init__(self, source: MemorySource, writes: int, last_is_done: bool) -> None:
        self.source = source
        self.left = writes
        self.last_is_done = last_is_done
        self.died = asyncio.Event()

    def open(self, tenant: str) -> "DyingStore":
        return DyingStore(self, self.source.open(tenant))


class DyingStore:
    def __init__(self, source: DyingSource, store: MemoryStore) -> None:
        self._source = source
        self._store = store

    @property
    def tenant(self) -> str:
        return self._store.tenant

    def _read(self, ask: Callable[[], Ticket[Any]]) -> Ticket[Any]:
        return Ticket() if self._source.died.is_set() else ask()

    def _write(self, ask: Callable[[], Ticket[Any]]) -> Ticket[Any]:
        if self._source.died.is_set():
            return Ticket()
        if self._source.left == 0:
            if self._source.last_is_done:
                ask()
            self._source.died.set()
            return Ticket()
        self._source.left -= 1
        return ask()

    def create(
        self, new: NewExecution, action_id: bytes, records: Sequence[Record], row: Projection
    ) -> Ticket[tuple[str, bool]]:
        return self._write(lambda: self._store.create(new, action_id, records, row))

    def append(
        self,
        execution_id: str,
        expected_seq: int,
        epoch: int,
        action_id: bytes,
        records: Sequence[Record],
        row: Projection,
    ) -> Ticket[int]:
        return self._write(
            lambda: self._store.append(execution_id, expected_seq, epoch, action_id, records, row)
        )

    def claim(self, execution_id: str, owner: str, epoch: int) -> Ticket[int]:
        return self._write(lambda: self._store.claim(execution_id, owner, epoch))

    def release(self, execution_id: str, epoch: int) -> Ticket[bool]:
        return self._write(lambda: self._store.release(execution_id, epoch))

    def get(self, execution_id: str) -> Ticket[ExecutionRow]:
        return self._read(lambda: self._store.get(execution_id))

    def find(self, blueprint: str, key: str) -> Ticket[ExecutionRow | None]:
        return self._read(lambda: self._store.find(blueprint, key))

    def list(self, state: str | None = None, after: str | None = None, limit: int = 100) -> Ticket[Any]:
        return self._read(lambda: self._store.list(state, after, limit))

    def load(self, execution_id: str, after_seq: int = -1) -> Ticket[Any]:
        return self._read(lambda: self._store.load(execution_id, after_seq))

    def close(self) -> None:
        self._store.close()


def run_until_death(source: MemorySource, writes: int, last_is_done: bool, blueprint: Any, *args: Any) -> Any:
    """Runs `blueprint` under the key `k` until the store dies: `None`. Its result if it ended before."""

    async def main() -> Any:
        dying = DyingSource(source, writes, last_is_done)
        kernel = Kernel(dying, tenant="acme", recover=False)
        await kernel.__aenter__()
        try:
            work = asyncio.ensure_future(kernel.run(blueprint, *args, key="k"))
            death = asyncio.ensure_future(dying.died.wait())
            done, _ = await asyncio.wait({work, death}, return_when=asyncio.FIRST_COMPLETED)
            if work in done:
                death.cancel()
                return ("returned", work.result())
            return None
        finally:
            kernel.threads.close()

    before = {*threading.enumerate()}
    try:
        return asyncio.run(asyncio.wait_for(main(), 60))
    finally:
        # What a thread still does belongs to this life, not to the next one's counts.
        for thread in {*threading.enumerate()} - before:
            if thread.name == "stepwell-step":
                thread.join(30)


def crash_everywhere(blueprint: Any, *args: Any, check: Callable[[int], None] = lambda _: None) -> list[Any]:
    """The result of each life: one per write that there is, killed there, and resumed to its end in the next."""
    results = []
    for last_is_done in (False, True):
        writes = 0
        while True:
            source = MemorySource()
            first = run_until_death(source, writes, last_is_done, blueprint, *args)
            if first is not None:
                results.append(first[1])
                break
            again = run_until_death(source, 10**9, False, blueprint, *args)
            results.append(again[1])
            check(writes)
            writes += 1
    return results


def crash_often(blueprint: Any, *args: Any, lives: int = 200) -> Any:
    """The result of an execution whose process dies at every second write of every life."""
    source = MemorySource()
    for life in range(lives):
        done = run_until_death(source, 2, life % 2 == 0, blueprint, *args)
        if done is not None:
            return done[1]
    raise AssertionError("it never ends")
