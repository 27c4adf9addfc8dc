"""Lives of a kernel on one store in memory: each may be killed at a write; time passes when nothing else happens."""

import asyncio
import gc
import threading
from collections.abc import Callable
from typing import Any, cast

from runtime.dying import DyingSource
from stepwell import Kernel, ManualClock
from stepwell.store import StoreSource
from stepwell.store.memory import MemorySource

NEVER = 10**9


async def pass_time(kernel: Kernel, clock: ManualClock) -> None:
    """Moves the clock on by a second whenever the kernel does nothing but wait for it."""
    while True:
        for _ in range(30):
            await asyncio.sleep(0)
        if all(run.execution.state == "waiting" for run in kernel.runs()):
            clock.advance("1s")


class Lives:
    """A store, a clock, and the kernels that come and go. `linger_s`: how long what waits stays in memory."""

    def __init__(self, linger_s: float = 0.0) -> None:
        self.source = MemorySource()
        self.clock = ManualClock()
        self.linger_s = linger_s

    def live(self, blueprint: Any, *args: Any, writes: int = NEVER, last_is_done: bool = False) -> Any:
        """Runs `blueprint` under the key `k`: its outcome as a list, or `None` where the store died before."""

        async def main() -> Any:
            dying = DyingSource(self.source, writes, last_is_done)
            kernel = Kernel(cast("StoreSource", dying), tenant="acme", recover=False, clock=self.clock)
            kernel.linger_s = self.linger_s
            await kernel.__aenter__()
            time = asyncio.ensure_future(pass_time(kernel, self.clock))
            try:
                work = asyncio.ensure_future(kernel.run(blueprint, *args, key="k"))
                death = asyncio.ensure_future(dying.died.wait())
                done, _ = await asyncio.wait({work, death}, return_when=asyncio.FIRST_COMPLETED)
                if work in done:
                    death.cancel()
                    error = work.exception()
                    return ["returned", work.result()] if error is None else ["raised", repr(error)]
                return None
            finally:
                time.cancel()
                kernel.threads.close()

        before = {*threading.enumerate()}
        try:
            return asyncio.run(asyncio.wait_for(main(), 60))
        finally:
            for thread in {*threading.enumerate()} - before:
                if thread.name in ("stepwell-step", "stepwell-blueprint"):
                    thread.join(30)

    def record(self) -> Any:
        """The execution under the key `k`, as it is recorded."""

        async def main() -> Any:
            async with Kernel(self.source, tenant="acme", execute=False, clock=self.clock) as kernel:
                return [await (await kernel.get(row.id)).execution() for row in await kernel.list(limit=1000)]

        return asyncio.run(main())


def killed_everywhere(
    lives: Callable[[], Lives],
    blueprint: Any,
    *args: Any,
    check: Callable[[Lives, Any], None],
    every: int = 1,
) -> int:
    """Runs it once for each write that there is, killed there (before it is done, and after) and then resumed."""
    count = 0
    for last_is_done in (False, True):
        writes = 0
        while True:
            made = lives()
            outcome = made.live(blueprint, *args, writes=writes, last_is_done=last_is_done)
            ended = outcome is not None
            if not ended:
                outcome = made.live(blueprint, *args)
            check(made, outcome)
            count += 1
            if ended:
                break
            writes += every
    gc.collect()
    return count
