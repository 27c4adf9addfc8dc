"""Children in a kernel that was made for their parents' blueprints, and not for theirs."""

import asyncio
from typing import Any

import pytest

import stepwell
from runtime.stops import in_state
from stepwell import ExecutionError, Kernel, ManualClock, blueprint
from stepwell.errors import ValidationError
from stepwell.store import StoreSource


@blueprint(name="elsewhere.kid")
async def kid() -> Any:
    await stepwell.sleep("1h")
    return await stepwell.wait_for("go")


@blueprint(name="elsewhere.between")
async def between() -> Any:
    return await stepwell.child(kid)


@blueprint(name="elsewhere.parent")
async def parent() -> Any:
    return await stepwell.child(between)


async def asleep(kernel: Kernel) -> str:
    """The id of the youngest, when all three have left memory."""
    kernel.linger_s = 0
    rows: list[Any] = []
    while len(rows) < 3:
        rows = await kernel.list()
        await asyncio.sleep(0)
    for row in rows:
        await in_state(kernel, row.id, "waiting")
    return next(row.id for row in rows if row.blueprint == "elsewhere.kid")


async def to_the_end(kernel: Kernel, clock: ManualClock, id: str, child: str) -> None:
    clock.advance(3600)
    await (await kernel.get(child)).signal("go", 5)
    assert await (await kernel.get(id)).result(timeout=30) == 5


@pytest.mark.parametrize("recover", [True, False])
def test_a_child_that_left_memory_comes_back(recover: bool, anywhere: StoreSource) -> None:
    async def main() -> None:
        clock = ManualClock()
        async with Kernel(
            anywhere, tenant="acme", blueprints=[parent], clock=clock, recover=recover
        ) as kernel:
            handle = await kernel.start(parent)
            await to_the_end(kernel, clock, handle.id, await asleep(kernel))

    asyncio.run(main())


def test_it_comes_back_in_the_next_kernel_too(anywhere: StoreSource) -> None:
    async def main() -> None:
        clock = ManualClock()
        async with Kernel(anywhere, tenant="acme", blueprints=[parent], clock=clock) as kernel:
            handle = await kernel.start(parent)
            child = await asleep(kernel)
        async with Kernel(anywhere, tenant="acme", blueprints=[parent], clock=clock) as kernel:
            await to_the_end(kernel, clock, handle.id, child)

    asyncio.run(main())


def test_only_the_parents_are_started_by_name(anywhere: StoreSource) -> None:
    async def main() -> None:
        async with Kernel(anywhere, tenant="acme", blueprints=[parent], clock=ManualClock()) as kernel:
            await kernel.start(parent)
            await asleep(kernel)
            with pytest.raises(ValidationError, match="made for other blueprints"):
                await kernel.start(kid)

    asyncio.run(main())


@blueprint(name="elsewhere.itself")
async def itself(key: str) -> Any:
    return await stepwell.child(itself, key, key=key) if key != "end" else "ended"


def test_none_is_its_own_child(anywhere: StoreSource) -> None:
    async def main() -> None:
        async with Kernel(anywhere, tenant="acme") as kernel:
            assert await kernel.run(itself, "end", key="other") == "ended"
            handle = await kernel.start(itself, "own", key="own")
            with pytest.raises(ExecutionError, match="its own child"):
                await handle.result(timeout=30)
            assert len(await kernel.list()) == 2

    asyncio.run(main())
