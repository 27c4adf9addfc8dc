"""How executions, steps and kernels end."""

import asyncio

import pytest

from runtime.common import calls, echo, run
from stepwell import (
    Kernel,
    blueprint,
    step,
)
from stepwell.errors import KernelClosed
from stepwell.store.memory import MemorySource


def test_what_is_open_when_the_blueprint_returns_is_cancelled(source: MemorySource) -> None:
    @step
    async def endless() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            calls.append("ended")

    @blueprint(name="returns")
    async def work() -> int:
        task = asyncio.create_task(endless())
        await asyncio.sleep(0)
        calls.append(task)
        return int(await echo(1))

    async def main() -> None:
        async with Kernel(source, tenant="acme") as kernel:
            handle = await kernel.start(work)
            assert await handle.result() == 1
            states = {step.name: str(step.state) for step in (await handle.execution()).steps.values()}
            assert states == {"endless": "cancelled", "echo": "completed"}
            await asyncio.sleep(0)

    asyncio.run(main())
    assert "ended" in calls


def test_a_step_that_its_blueprint_cancels_is_recorded_as_such(source: MemorySource) -> None:
    @step
    async def endless() -> None:
        calls.append("started")
        await asyncio.Event().wait()

    go: list[bool] = []

    @blueprint(name="cancels")
    async def work() -> list[str]:
        async def one() -> str:
            try:
                await endless()
            except asyncio.CancelledError:
                return "cancelled"
            return "unreachable"

        task = asyncio.create_task(one())
        await echo(1)
        task.cancel()
        found = [await task]
        if not go:
            await asyncio.Event().wait()
        await echo(2)
        return found

    async def first() -> None:
        async with Kernel(source, tenant="acme") as kernel:
            handle = await kernel.start(work, key="k")
            while "cancelled" not in {str(s.state) for s in (await handle.execution()).steps.values()}:
                await asyncio.sleep(0)

    asyncio.run(first())
    go.append(True)
    assert run(source, work) == ["cancelled"]
    assert sorted(map(str, calls)) == ["1", "2", "started"], "neither ran a second time"


def test_cancellation_by_the_host_fails_nothing(source: MemorySource) -> None:
    """As `asyncio.run` does on Ctrl-C: every task is cancelled, those of blueprints too."""
    go: list[bool] = []

    @blueprint(name="host")
    async def work() -> list[int]:
        async def one(number: int) -> int:
            await echo(number)
            while not go:
                await asyncio.sleep(0)
            return number

        return await asyncio.gather(*(one(number) for number in range(3)))

    async def first() -> None:
        kernel = Kernel(source, tenant="acme")
        await kernel.__aenter__()
        await kernel.start(work, key="k")
        while len(calls) < 3:
            await asyncio.sleep(0)
        kernel.threads.close()

    asyncio.run(first())
    go.append(True)
    assert run(source, work) == [0, 1, 2]
    (row,) = source.open("acme").list().wait()
    assert row.state == "completed"
    assert len(calls) in (3, 6), "the three results were on their way when everything was cancelled"


def test_a_cancelled_start_still_starts(source: MemorySource) -> None:
    @blueprint(name="starts")
    async def work() -> int:
        return 1

    async def main() -> None:
        async with Kernel(source, tenant="acme") as kernel:
            task = asyncio.create_task(kernel.start(work, key="k"))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await (await kernel.start(work, key="k")).result() == 1
            assert len(await kernel.list()) == 1

    asyncio.run(main())


def test_a_closed_kernel_says_so(source: MemorySource) -> None:
    @blueprint(name="closed")
    async def work() -> int:
        return 1

    async def main() -> None:
        kernel = Kernel(source, tenant="acme")
        with pytest.raises(KernelClosed):
            await kernel.start(work)
        async with kernel:
            handle = await kernel.start(work)
            await handle.result()
        for request in (
            lambda: kernel.start(work),
            lambda: kernel.list(),
            lambda: kernel.get(handle.id),
            handle.execution,
        ):
            with pytest.raises(KernelClosed):
                await request()
        with pytest.raises(KernelClosed):
            await kernel.__aenter__()

    asyncio.run(main())
