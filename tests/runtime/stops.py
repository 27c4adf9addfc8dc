"""What the tests of stopping, mending and taking over share."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

from runtime.common import calls
from stepwell import ExecutionError, Handle, Kernel, step
from stepwell.store import StoreSource


@step
async def endless(name: str = "endless") -> str:
    """Runs until it is cancelled."""
    calls.append(name)
    try:
        await asyncio.Event().wait()
    finally:
        calls.append(f"{name} ended")
    return "unreachable"


@step
async def note(value: Any) -> Any:
    calls.append(value)
    return value


def held_step() -> tuple[Any, threading.Event, threading.Event]:
    """A `def` step that returns "kept", whether it was entered, and what lets it go on."""
    entered, go = threading.Event(), threading.Event()

    @step
    def slow() -> str:
        entered.set()
        assert go.wait(30)
        return "kept"

    return slow, entered, go


async def begun(kernel: Kernel, work: Any) -> Handle[Any]:
    """Starts a blueprint, and returns its handle when a step of it has been called."""
    handle: Handle[Any] = await kernel.start(work)
    await until(lambda: calls)
    return handle


async def until(condition: Callable[[], Any] | Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """The condition's first true value."""
    async with asyncio.timeout(30):
        while True:
            found = condition()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return found
            await asyncio.sleep(0)


async def in_state(kernel: Kernel, known: str, *states: str) -> Any:
    """The row of an execution, once it is in one of these states and nobody owns it."""

    async def look() -> Any:
        row = await kernel.store.get(known)
        return row if row.state in states and row.owner is None else None

    return await until(look)


async def is_in(kernel: Kernel, known: str, state: str) -> bool:
    """Whether an execution is in this state."""
    return bool((await kernel.store.get(known)).state == state)


def code_of(error: ExecutionError) -> tuple[str, str]:
    """Its category and code."""
    return str(error.category), str(error.code)


async def error_of(handle: Handle[Any]) -> ExecutionError:
    """The error that its result raises."""
    try:
        value = await handle.result(timeout=30)
    except ExecutionError as error:
        return error
    raise AssertionError(f"it returned {value!r}")


async def steps_of(handle: Handle[Any]) -> list[tuple[str, str]]:
    """Names and states of its steps, in order."""
    return [(found.name, str(found.state)) for found in (await handle.execution()).steps.values()]


def in_kernel(source: StoreSource, work: Callable[[Kernel], Coroutine[Any, Any, Any]], **options: Any) -> Any:
    """What `work` returns in a loop and a kernel of its own."""

    async def main() -> Any:
        async with Kernel(source, tenant="acme", **options) as kernel:
            async with asyncio.timeout(60):
                return await work(kernel)

    return asyncio.run(main())
