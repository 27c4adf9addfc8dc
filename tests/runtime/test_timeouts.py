"""The time limit of an attempt, at the moment when the kernel looks round by itself."""

import asyncio

from stepwell import ExecutionError, Kernel, RetryPolicy, blueprint, step
from stepwell.runtime.watching import LOOK_BUSY_S
from stepwell.store import StoreSource


def test_a_time_limit_that_is_up_when_the_kernel_looks_round_is_nothing_but_that(
    anywhere: StoreSource,
) -> None:
    @step(timeout=LOOK_BUSY_S, retry=RetryPolicy.never())
    async def endless() -> None:
        await asyncio.Event().wait()

    @blueprint(name="many time limits")
    async def work() -> str:
        try:
            await endless()
        except ExecutionError as error:
            return str(error.code)
        return "it ended"

    async def main() -> None:
        async with Kernel(anywhere, tenant="acme") as kernel, asyncio.timeout(60):
            for _ in range(10):
                assert await kernel.run(work) == "step_timeout"

    asyncio.run(main())


def test_a_kernel_at_work_is_never_taken_for_one_whose_loop_ends(anywhere: StoreSource) -> None:
    async def main() -> None:
        async with Kernel(anywhere, tenant="acme") as kernel, asyncio.timeout(60):
            cancelled: list[object] = []
            watch = kernel._watch
            assert watch is not None
            loop = asyncio.get_running_loop()
            until = loop.time() + 0.6  # two looks of a kernel with nothing to do
            while loop.time() < until:
                await asyncio.sleep(0)
                if kernel.is_interrupted:
                    cancelled.append(watch)
            assert not cancelled

    asyncio.run(main())
