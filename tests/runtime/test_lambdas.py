"""A function that is not `async def` and gives a coroutine, as a lambda may: that is awaited, as outside a kernel."""

import asyncio
from typing import Any

import stepwell
from runtime.stops import in_kernel
from stepwell import Kernel, blueprint
from stepwell.store import StoreSource


async def twice(value: int) -> int:
    return value * 2


async def look(number: int) -> tuple[bool, int]:
    return number == 2, number + 1


async def both() -> Any:
    return [
        await stepwell.run_step(lambda: twice(4)),
        await stepwell.wait_until(lambda number: look(number), 0, every="1ms"),
    ]


def test_the_coroutine_of_a_lambda_is_awaited(anywhere: StoreSource) -> None:
    async def main(kernel: Kernel) -> Any:
        return await kernel.run(blueprint(name="lambdas")(both))

    assert in_kernel(anywhere, main) == asyncio.run(both())
