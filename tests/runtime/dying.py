"""A store that dies after so many writes, as if its process had been killed at that moment."""

import asyncio
import threading
from collections.abc import Callable, Generator
from typing import Any, cast

from stepwell import Kernel
from stepwell.store import StoreSource, Ticket
from stepwell.store.memory import MemorySource, MemoryStore

WRITES = frozenset({"create", "append", "claim", "release", "deliver", "doom", "sweep"})


class Unanswered:
    """The ticket of a request that nobody answers any more."""

    done = False

    def result(self) -> Any:
        raise AssertionError("a request of a dead process has no outcome")

    def wait(self, timeout: float | None = None) -> Any:
        raise AssertionError("nobody waits in a thread here")

    def then(self, loop: asyncio.AbstractEventLoop, listener: Callable[[Any], object]) -> None:
        pass

    def __await__(self) -> Generator[Any, None, Any]:
        return (yield from asyncio.get_running_loop().create_future())


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
        self.tenant = store.tenant

    def close(self) -> None:
        self._store.close()

    def __getattr__(self, name: str) -> Callable[..., Ticket[Any]]:
        ask, source = getattr(self._store, name), self._source

        def asked(*args: Any, **options: Any) -> Ticket[Any]:
            if source.died.is_set():
                return Unanswered()
            if name not in WRITES:
                return ask(*args, **options)
            if source.left == 0:
                if source.last_is_done:
                    ask(*args, **options)
                source.died.set()
                return Unanswered()
            source.left -= 1
            return ask(*args, **options)

        return asked


def run_until_death(source: MemorySource, writes: int, last_is_done: bool, blueprint: Any, *args: Any) -> Any:
    """Runs `blueprint` under the key `k` until the store dies: `None`. Its result if it ended before."""

    async def main() -> Any:
        dying = DyingSource(source, writes, last_is_done)
        kernel = Kernel(cast("StoreSource", dying), tenant="acme", recover=False)
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
