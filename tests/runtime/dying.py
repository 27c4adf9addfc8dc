"""Executions whose process dies again and again, on the store of `stepwell.testing` that dies after so many writes."""

import asyncio
import threading
from typing import Any, cast

from stepwell import Kernel
from stepwell.store import StoreSource
from stepwell.store.memory import MemorySource
from stepwell.testing.dying import DyingSource


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
            if thread.name in ("stepwell-step", "stepwell-blueprint"):
                thread.join(30)


def crash_often(blueprint: Any, *args: Any, lives: int = 200) -> Any:
    """The result of an execution whose process dies at every second write of every life."""
    source = MemorySource()
    for life in range(lives):
        done = run_until_death(source, 2, life % 2 == 0, blueprint, *args)
        if done is not None:
            return done[1]
    raise AssertionError("it never ends")
