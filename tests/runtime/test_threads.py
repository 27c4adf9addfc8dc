"""The kernel's own threads: no job waits behind another one while there may be more threads."""

import asyncio
import contextvars
import queue
import threading
from typing import Any

import stepwell
from stepwell import Kernel, blueprint, step
from stepwell.runtime.kernel import STEP_THREADS
from stepwell.runtime.threads import Threads
from stepwell.store import StoreSource


class SlowToTell(queue.SimpleQueue[Any]):
    """A queue whose reader has its job, and does not get on with it until it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.hold = False
        self.taken = threading.Event()
        self.let = threading.Event()

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        job = super().get(block, timeout)
        if self.hold:
            self.hold = False
            self.taken.set()
            self.let.wait(30)
        return job


def test_a_job_has_a_thread_of_its_own_while_an_idle_one_is_on_its_way_to_another() -> None:
    async def main() -> None:
        threads = Threads(8)
        jobs = threads._jobs = SlowToTell()
        context = contextvars.copy_context
        await threads.run(context(), lambda: None)
        while not threads._idle:
            await asyncio.sleep(0)
        jobs.hold = True
        second_ran = threading.Event()
        first = threads.run(context(), lambda: second_ran.wait(30))
        await asyncio.to_thread(jobs.taken.wait, 30)
        second = threads.run(context(), second_ran.set)
        try:
            await asyncio.wait_for(asyncio.shield(second), 10)
        finally:
            second_ran.set()
            jobs.let.set()
        assert await first
        threads.close()

    asyncio.run(main())


def test_steps_that_hold_every_thread_hold_up_neither_the_kernel_nor_its_end(anywhere: StoreSource) -> None:
    go = threading.Event()
    entered: list[int] = []

    @step
    def holds(number: int) -> int:
        entered.append(number)
        go.wait(60)
        return number

    @step
    async def quick(number: int) -> int:
        return number

    @blueprint(name="holds every thread")
    async def all_of_them() -> None:
        await stepwell.map(holds, range(STEP_THREADS + 1))

    @blueprint(name="has a long record")
    async def long() -> None:
        for number in range(100):
            await quick(number)

    async def main() -> None:
        kernel = Kernel(anywhere, tenant="acme")
        async with asyncio.timeout(30):
            await kernel.__aenter__()
            done = await kernel.start(long)
            await done.result()
            held = await kernel.start(all_of_them)
            while len(entered) < STEP_THREADS:
                await asyncio.sleep(0)
            assert len((await done.execution()).steps) == 100
            assert await kernel.close() == [held.id]

    try:
        asyncio.run(main())
    finally:
        go.set()
