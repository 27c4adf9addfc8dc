"""The kernel's own threads: no job waits behind another one while there may be more threads."""

import asyncio
import contextvars
import queue
import threading
from typing import Any

import pytest

import stepwell
from runtime.common import calls, echo
from stepwell import Kernel, blueprint, step
from stepwell.runtime.kernel import STEP_THREADS
from stepwell.runtime.threads import Threads
from stepwell.store import StoreSource
from stepwell.store.memory import MemorySource


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


@pytest.mark.parametrize("asks", [lambda: echo(1), lambda: stepwell.now()])
def test_a_thread_that_asks_a_loop_in_its_last_moment_ends(source: MemorySource, asks: Any) -> None:
    """Where the host ends its loop and has not closed the kernel: what is asked then is neither refused nor done."""
    computing, go, asked, over = (threading.Event() for _ in range(4))

    class Loop(asyncio.SelectorEventLoop):
        def close(self) -> None:
            if not self.is_closed():
                go.set()
                assert asked.wait(30)
            super().close()

        def call_soon_threadsafe(self, *given: Any, **options: Any) -> Any:
            handle = super().call_soon_threadsafe(*given, **options)
            if go.is_set() and threading.current_thread().name == "stepwell-blueprint":
                asked.set()
            return handle

    @blueprint(name="asks too late")
    def work() -> None:
        try:
            computing.set()
            assert go.wait(30)
            asks()
        finally:
            over.set()

    async def main() -> Kernel:
        kernel = await Kernel(source, tenant="acme").__aenter__()
        await kernel.start(work)
        while not computing.is_set():
            await asyncio.sleep(0)
        return kernel

    with asyncio.Runner(loop_factory=Loop) as runner:
        kernel = runner.run(main())
    assert over.wait(30)
    kernel.threads.close()
    assert calls == []
