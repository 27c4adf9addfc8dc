"""Cancelling what has not begun: an execution that is to start later, a child that is not made yet."""

import asyncio
import logging
from typing import Any

import pytest

import stepwell
from runtime.common import calls
from runtime.stops import code_of, error_of, in_kernel, note
from stepwell import Kernel, ManualClock, blueprint
from stepwell.runtime import commands
from stepwell.store import StoreSource


def test_two_who_see_the_wish_at_once_do_it_once(
    anywhere: StoreSource, caplog: pytest.LogCaptureFixture
) -> None:
    """The one who asked, and the kernel that looks for what arrived: the second one has nothing to complain of."""

    @blueprint(name="never begun")
    async def work() -> None:
        await note("begun")

    ended: list[str] = []

    class Hook:
        def execution_ended(self, execution: Any) -> None:
            ended.append(execution.id)

    async def main(kernel: Kernel) -> None:
        handle = await kernel.start(work, at="1h")
        row = await kernel.store.get(handle.id)
        other = await kernel.start(work, at="1h")
        await kernel.store.deliver(handle.id, "cancel", "cancel", "", b"{}", row.updated_at_ns)
        wishes = await kernel.store.inbox(handle.id)
        attending = [
            kernel.watching._safely(handle.id, commands.attend(kernel, row, wishes)) for _ in range(3)
        ]
        await asyncio.gather(*attending)
        await asyncio.gather(*(other.cancel() for _ in range(3)))
        for each in (handle, other):
            assert code_of(await error_of(each)) == ("tool", "cancelled")
        assert sorted(ended) == sorted([handle.id, other.id])

    with caplog.at_level(logging.WARNING, "stepwell"):
        in_kernel(anywhere, main, hooks=[Hook()], clock=ManualClock())
    assert caplog.records == []
    assert calls == []


@blueprint(name="cancelling.changes its mind")
async def changes_its_mind() -> bool:
    task = asyncio.create_task(stepwell.child(sleeper))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    return task.cancelled()


@blueprint(name="cancelling.sleeper")
async def sleeper() -> None:
    await stepwell.sleep("1h")


def test_a_child_that_is_cancelled_before_it_is_made_is_not_made(anywhere: StoreSource) -> None:
    async def main() -> None:
        async with Kernel(anywhere, tenant="acme") as kernel:
            handle = await kernel.start(changes_its_mind)
            assert await handle.result(timeout="20s") is True
            assert await kernel.list(blueprint="cancelling.sleeper") == []
            (step,) = (await handle.execution()).steps.values()
            assert (step.state, step.reason) == ("cancelled", "cancelled by its blueprint")

    asyncio.run(main())
