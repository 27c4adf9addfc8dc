"""What the tests of waits share: kernels whose executions leave memory at once, and what to wait for."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from stepwell import Kernel, ManualClock
from stepwell._spec import EXECUTION_TERMINAL
from stepwell.runtime import Handle
from stepwell.store import StoreSource
from stepwell.store.memory import MemorySource
from stepwell.store.sqlite import SqliteSource

SOURCES = ("memory", "sqlite")


def made_source(kind: str, folder: Path) -> StoreSource:
    """A new store of this kind."""
    return MemorySource() if kind == "memory" else SqliteSource(folder / "runs.db")


@pytest.fixture(params=SOURCES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> StoreSource:
    """Each kind of store, empty."""
    return made_source(request.param, tmp_path)


@asynccontextmanager
async def opened(
    source: StoreSource, clock: ManualClock | None = None, linger: float = 0, **options: Any
) -> AsyncIterator[Kernel]:
    """A kernel whose executions stay in memory no longer than `linger` seconds when all of them waits."""
    kernel = Kernel(source, tenant=options.pop("tenant", "acme"), clock=clock, **options)
    kernel.linger_s = linger
    async with kernel:
        yield kernel


async def until(condition: Callable[[], Awaitable[Any]]) -> None:
    """Returns when it holds."""
    while not await condition():
        await asyncio.sleep(0)


async def left(kernel: Kernel, handle: Handle[Any], state: str = "waiting") -> Any:
    """Returns the row of an execution when it is in this state and in nobody's memory."""
    row = await left_or_ended(kernel, handle, state)
    assert row.state == state, f"it has ended ({row.state}) instead of being left {state}"
    return row


async def left_or_ended(kernel: Kernel, handle: Handle[Any], state: str = "waiting") -> Any:
    """The same, or the row of an execution that has ended."""
    while True:
        row = await kernel.store.get(handle.id)
        if row.state in EXECUTION_TERMINAL and row.state != state:
            return row
        if row.state == state and row.owner is None and kernel.running(handle.id) is None:
            return row
        await asyncio.sleep(0)


async def kept(kernel: Kernel, handle: Handle[Any], turns: int = 300) -> None:
    """Gives an execution time to leave memory, and sees that it does not."""
    for _ in range(turns):
        await kernel.store.get(handle.id)
        await asyncio.sleep(0)
        assert kernel.running(handle.id) is not None


async def names(handle: Handle[Any]) -> list[tuple[str, str, int]]:
    """The steps of an execution: name, state, attempts."""
    return [(one.name, str(one.state), one.attempt) for one in (await handle.execution()).steps.values()]
