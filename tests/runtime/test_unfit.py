"""Arguments that the code does not take: refused before anything is recorded, or else found when it is taken up."""

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

import stepwell
from stepwell import DivergenceError, ExecutionError, Kernel, ValidationError, blueprint
from stepwell.store import StoreSource


@dataclass
class Order:
    number: int


def typed(kind: str) -> Any:
    """A blueprint that takes an `Order`."""
    if kind == "def":

        @blueprint(name="unfit def", version="1")
        def work(order: Order) -> int:
            return order.number
    else:

        @blueprint(name="unfit async def", version="1")
        async def work(order: Order) -> int:
            return order.number

    return work


KINDS = pytest.mark.parametrize("kind", ["async def", "def"])


@KINDS
def test_they_are_refused_before_anything_is_recorded(anywhere: StoreSource, kind: str) -> None:
    async def main() -> None:
        async with Kernel(anywhere, tenant="acme") as kernel:
            with pytest.raises(ValidationError, match=r"argument order: \$: expected Order"):
                await kernel.start(typed(kind), 5, key="k")
            assert await kernel.list() == []
            assert await kernel.run(typed(kind), Order(5), key="k") == 5

    asyncio.run(main())


@KINDS
def test_a_child_with_them_fails(anywhere: StoreSource, kind: str) -> None:
    @blueprint(name="unfit parent")
    async def parent() -> Any:
        return await stepwell.child(typed(kind), 5)

    async def main() -> None:
        async with Kernel(anywhere, tenant="acme") as kernel:
            with pytest.raises(ExecutionError, match="the recorded arguments do not fit") as raised:
                await kernel.run(parent)
            assert raised.value.category == "validation"
            assert {row.state for row in await kernel.list()} == {"failed"}

    asyncio.run(main())


@KINDS
def test_code_that_takes_them_no_more_is_parked_and_mended(anywhere: StoreSource, kind: str) -> None:
    """Of another type, or with another signature under the same version."""
    name = f"unfit {kind}"

    async def waits(order: Order) -> int:
        await stepwell.wait_for("go")
        return order.number

    def waits_blocking(order: Order) -> int:
        stepwell.blocking.wait_for("go")
        return order.number

    def other_type(order: list[Order]) -> int:
        return len(order)

    def other_signature(order: Order, more: int) -> int:
        return order.number + more

    makes = blueprint(name=name, version="1")

    async def main() -> None:
        async with Kernel(anywhere, tenant="acme") as kernel:
            handle = await kernel.start(makes(waits if kind == "async def" else waits_blocking), Order(7))
            while (await kernel.list(state="waiting")) == []:
                await asyncio.sleep(0)
        for wrong, why in (
            (other_type, "expected list"),
            (other_signature, "cannot be called like this"),
        ):
            makes(wrong)
            async with Kernel(anywhere, tenant="acme") as kernel:
                handle = await kernel.get(handle.id)
                if wrong is other_type:
                    await handle.signal("go")
                else:
                    await handle.resume()
                with pytest.raises(DivergenceError, match=f"do not fit {name}: .*{why}"):
                    await handle.result(timeout="20s")
                assert (await kernel.list())[0].state == "paused"
                with pytest.raises(stepwell.Conflict, match="code and record differ"):
                    await handle.accept()
        makes(waits if kind == "async def" else waits_blocking)
        async with Kernel(anywhere, tenant="acme") as kernel:
            handle = await kernel.get(handle.id)
            await handle.resume()
            assert await handle.result(timeout="20s") == 7

    asyncio.run(main())
