"""Cancelling and pausing what nobody runs, where more lies in its inbox than is read at once."""

import asyncio
from typing import Any

import pytest

import stepwell
from runtime.stops import code_of, error_of, in_kernel, in_state
from stepwell import Handle, Kernel, ManualClock, blueprint
from stepwell.store import StoreSource

MANY = 1010


@blueprint(name="full inbox")
async def waits() -> Any:
    return await stepwell.wait_for("go")


async def unread(kernel: Kernel, handle: Handle[Any]) -> None:
    """Sends it more than one page of signals that it does not wait for."""
    sent = [
        kernel.store.deliver(handle.id, f"signal {each}", "signal", "other", b"1", each)
        for each in range(MANY)
    ]
    for each in sent:
        assert await each


async def created(kernel: Kernel) -> Handle[Any]:
    return await kernel.start(waits, at="1h")


async def paused(kernel: Kernel) -> Handle[Any]:
    handle = await kernel.start(waits)
    await in_state(kernel, handle.id, "waiting")
    await handle.pause()
    await in_state(kernel, handle.id, "paused")
    return handle


@pytest.mark.parametrize("made", [created, paused])
def test_a_wish_behind_all_that_is_done_by_who_asks(made: Any, anywhere: StoreSource) -> None:
    async def main(kernel: Kernel) -> None:
        kernel.linger_s = 0
        handle = await made(kernel)
        await unread(kernel, handle)
        assert await handle.cancel("enough")
        assert (await handle.execution()).state == "cancelled"
        assert code_of(await error_of(handle)) == ("tool", "cancelled")

    in_kernel(anywhere, main, clock=ManualClock())


@pytest.mark.parametrize("made", [created, paused])
def test_a_wish_behind_all_that_is_done_by_who_looks_for_what_arrived(
    made: Any, anywhere: StoreSource
) -> None:
    async def main(kernel: Kernel) -> None:
        kernel.linger_s = 0
        handle = await made(kernel)
        await unread(kernel, handle)
        now = kernel.clock.now_ns()
        assert await kernel.store.deliver(handle.id, "cancel", "cancel", "", b'{"reason":"enough"}', now)
        kernel.poke()
        await in_state(kernel, handle.id, "cancelled")

    in_kernel(anywhere, main, clock=ManualClock())


def test_a_pause_behind_all_that_pauses(anywhere: StoreSource) -> None:
    async def main(kernel: Kernel) -> None:
        kernel.linger_s = 0
        handle = await kernel.start(waits)
        await in_state(kernel, handle.id, "waiting")
        await unread(kernel, handle)
        assert await handle.pause("hold on")
        await in_state(kernel, handle.id, "paused")
        assert (await handle.execution()).reason == "hold on"
        await handle.resume()
        await handle.signal("go", 5)
        assert await handle.result(timeout=30) == 5

    in_kernel(anywhere, main, clock=ManualClock())


def test_a_wish_comes_to_one_that_another_process_has_paused(anywhere: StoreSource) -> None:
    async def main() -> None:
        async with Kernel(anywhere, tenant="acme", clock=ManualClock()) as kernel:
            kernel.linger_s = 0
            handle = await paused(kernel)
            await unread(kernel, handle)
        async with Kernel(anywhere, tenant="acme", execute=False, clock=ManualClock()) as kernel:
            assert await (await kernel.get(handle.id)).cancel()
            await in_state(kernel, handle.id, "cancelled")

    asyncio.run(main())
