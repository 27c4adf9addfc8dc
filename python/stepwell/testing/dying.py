"""A store that stops answering at one of its writes, as if the process had been killed at that moment."""

import asyncio
import json
from collections.abc import Callable, Generator
from typing import Any, Final

from ..store import Store, StoreSource, Ticket

WRITES: Final = frozenset({"create", "append", "claim", "release", "deliver", "doom", "sweep"})
"""What a store is asked for that changes it for good."""
_RECORDS: Final = {"create": 2, "append": 4}


class Unanswered:
    """The ticket of a request that nobody answers any more."""

    done = False

    def result(self) -> Any:
        """Part of `Ticket`."""
        raise AssertionError("a request of a dead process has no outcome")

    def wait(self, timeout: float | None = None) -> Any:  # noqa: ARG002
        """Part of `Ticket`."""
        raise AssertionError("nobody waits in a thread here")

    def then(self, loop: asyncio.AbstractEventLoop, listener: Callable[[Any], object]) -> None:
        """Part of `Ticket`."""

    def __await__(self) -> Generator[Any, None, Any]:
        return (yield from asyncio.get_running_loop().create_future())


class DyingSource:
    """Passes `writes` writes on to `source`; the one after is done or not, and unanswered, as is all that follows."""

    def __init__(self, source: StoreSource, writes: int, last_is_done: bool) -> None:
        self.source = source
        self.left = writes
        self.last_is_done = last_is_done
        self.died = asyncio.Event()
        self.asked: list[str] = []
        self._opened: list[Store] = []

    def open(self, tenant: str) -> "DyingStore":
        """Part of `StoreSource`."""
        store = self.source.open(tenant)
        self._opened.append(store)
        return DyingStore(self, store)

    def close(self) -> None:
        """What the death of a process does to the stores that it has open."""
        for store in self._opened:
            store.close()


class DyingStore:
    """A store of a `DyingSource`."""

    def __init__(self, source: DyingSource, store: Store) -> None:
        self._source = source
        self._store = store
        self.tenant = store.tenant

    def close(self) -> None:
        """Part of `Store`."""
        self._store.close()

    def __getattr__(self, name: str) -> Callable[..., Ticket[Any]]:
        ask, source = getattr(self._store, name), self._source

        def asked(*args: Any, **options: Any) -> Ticket[Any]:
            if source.died.is_set():
                return Unanswered()
            if name not in WRITES:
                return ask(*args, **options)  # type: ignore[no-any-return]
            source.asked.append(_described(name, args))
            if source.left == 0:
                if source.last_is_done:
                    ask(*args, **options)
                source.died.set()
                return Unanswered()
            source.left -= 1
            return ask(*args, **options)  # type: ignore[no-any-return]

        return asked


def _described(name: str, args: tuple[Any, ...]) -> str:
    """A write in a few words: what its records say."""
    at = _RECORDS.get(name)
    if at is None:
        return name
    told = []
    for _, _, kind, body in args[at]:
        step = json.loads(body).get("name")
        told.append(kind if not isinstance(step, str) else f"{kind} {step}")
    return f"{name} ({', '.join(told)})"
