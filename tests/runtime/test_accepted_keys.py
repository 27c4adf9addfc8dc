"""Idempotency keys after an accepted divergence: no step has the key of another one, and none loses its own."""

import asyncio

import stepwell
from runtime.common import calls
from runtime.stops import in_kernel, in_state, until
from stepwell import DivergenceError, Kernel, blueprint, current_step, step
from stepwell.store import StoreSource


@step(effect="keyed")
async def charge(cents: int) -> int:
    calls.append(("charge", cents, current_step().idempotency_key))
    return cents


@step(effect="keyed")
async def refund(cents: int) -> int:
    calls.append(("refund", cents, current_step().idempotency_key))
    if len(calls) == 3:
        await asyncio.Event().wait()
    return cents


def test_a_step_in_the_place_of_one_that_was_given_up_has_a_key_of_its_own(anywhere: StoreSource) -> None:
    @blueprint(name="keys after accept")
    async def old() -> None:
        await charge(1)
        await charge(100)
        await stepwell.wait_for("go")

    async def before(kernel: Kernel) -> str:
        kernel.linger_s = 0
        handle = await kernel.start(old)
        await in_state(kernel, handle.id, "waiting")
        return handle.id

    known: str = in_kernel(anywhere, before)

    @blueprint(name="keys after accept")
    async def new() -> int:
        await charge(1)
        return await refund(100)

    async def accept(kernel: Kernel) -> None:
        handle = await kernel.get(known)
        await handle.signal("go")
        try:
            await handle.result(timeout=30)
        except DivergenceError:
            await handle.accept()
        await until(lambda: len(calls) == 3)

    in_kernel(anywhere, accept)  # it ends in the middle of the new step

    async def after(kernel: Kernel) -> None:
        assert await (await kernel.get(known)).result(timeout=30) == 100

    in_kernel(anywhere, after)
    keys = [key for _, _, key in calls]
    assert [(name, cents) for name, cents, _ in calls] == [
        ("charge", 1),
        ("charge", 100),
        ("refund", 100),
        ("refund", 100),
    ]
    assert keys[2] == keys[3], "the same in the next life"
    assert len({*keys}) == 3
