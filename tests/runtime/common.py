"""What the tests of the runtime share."""

import asyncio
from typing import Any

from stepwell import Kernel, RetryPolicy, step
from stepwell.store.memory import MemorySource

calls: list[Any] = []
"""What was really done; empty before each test."""
QUICK = RetryPolicy.attempts(3, base_delay_ms=1, jitter=False)


@step(retry=RetryPolicy.never())
async def echo(value: Any = None, **named: Any) -> Any:
    calls.append(value)
    return value


@step(retry=RetryPolicy.never())
async def broken(message: str) -> None:
    calls.append(message)
    raise LookupError(message)


def run(source: MemorySource, which: Any, *args: Any, **options: Any) -> Any:
    """The result of the execution with the key `k`, in a loop and a kernel of its own."""

    async def main() -> Any:
        async with Kernel(source, tenant="acme", **options) as kernel:
            return await kernel.run(which, *args, key="k")

    return asyncio.run(main())
