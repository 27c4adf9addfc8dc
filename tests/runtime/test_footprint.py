"""What waits costs a line in the store, and next to nothing in memory: the small edition of a measurement of 10,000."""

import asyncio
import gc
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

import stepwell
from runtime.asleep import made_source, opened, until
from stepwell import Kernel, ManualClock, RetryPolicy, blocking, blueprint, step

WARM = 100
COUNT = 200
MOST = 1024
"""Bytes for each that waits: under half of what is promised. Measured, of 10,000: 100 to 400."""


@step(retry=RetryPolicy.attempts(2, base_delay_ms=3_600_000, max_delay_ms=3_600_000))
async def fails() -> None:
    raise ConnectionError("not there")


@blueprint(name="sleeps in memory")
async def sleeps() -> None:
    await asyncio.gather(stepwell.sleep("8h"), stepwell.sleep("9h"))


@blueprint(name="sleeps in a thread")
def sleeps_too() -> None:
    blocking.sleep("8h")


@blueprint(name="asks in memory")
async def asks() -> Any:
    return await stepwell.wait_for("go", timeout="8h")


@blueprint(name="fails in memory")
async def retries() -> None:
    await fails()


async def all_have_left(kernel: Kernel, name: str, count: int) -> bool:
    return not kernel.runs() and await kernel.store.count(name) == {"waiting": count}


async def traced() -> int:
    """The memory in use, when what was left has come to its end."""
    least = 2**63
    for _ in range(10):
        gc.collect()
        least = min(least, tracemalloc.get_traced_memory()[0])
        await asyncio.sleep(0)
    return least


@pytest.mark.parametrize("which", [sleeps, sleeps_too, asks, retries])
def test_memory_of_many_that_wait(tmp_path: Path, which: Any) -> None:
    async def main() -> float:
        async with opened(made_source("sqlite", tmp_path), ManualClock(), durability="process") as kernel:

            async def more(count: int, before: int) -> int:
                for there in range(before + 100, before + count + 1, 100):
                    await asyncio.gather(*(kernel.start(which) for _ in range(100)))
                    await until(lambda there=there: all_have_left(kernel, which.name, there))
                return await traced()

            await more(WARM, 0)
            tracemalloc.start()
            try:
                return await more(COUNT, WARM) / COUNT
            finally:
                tracemalloc.stop()

    assert asyncio.run(main()) < MOST


@blueprint(name="ends at once")
async def ends() -> int:
    return 1


def test_memory_of_those_that_have_ended(tmp_path: Path) -> None:
    async def main() -> float:
        async with opened(made_source("sqlite", tmp_path), durability="process") as kernel:
            for _ in range(COUNT):
                await kernel.run(ends)
            tracemalloc.start()
            before = await traced()
            for _ in range(5 * COUNT):
                await kernel.run(ends)
            return (await traced() - before) / (5 * COUNT)

    try:
        each = asyncio.run(main())
    finally:
        tracemalloc.stop()
    assert each < 128  # an id and a future are more
