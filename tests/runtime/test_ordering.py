"""Which of several tasks saw its outcome first is on replay what it was, also where the code decides by it."""

import asyncio
import itertools
from collections.abc import Iterator
from typing import Any

import pytest

import stepwell
from runtime.asleep import left, opened, place
from runtime.common import calls
from stepwell import ExecutionError, Kernel, ManualClock, RetryPolicy, blueprint, step
from stepwell.store import StoreSource
from stepwell.testing import crash_everywhere

__all__ = ["place"]

ORDERS = [*itertools.permutations(range(3))]
gates: dict[int, "asyncio.Event"] = {}


@pytest.fixture(autouse=True)
def no_gates() -> Iterator[None]:
    gates.clear()
    yield
    gates.clear()


@step(retry=RetryPolicy.never())
async def fails_when_told(number: int) -> None:
    await gates.setdefault(number, asyncio.Event()).wait()
    raise LookupError(f"the one of {number}")


@step
async def returns_when_told(number: int) -> int:
    await gates.setdefault(number, asyncio.Event()).wait()
    return number


@step
async def quick(value: Any) -> Any:
    return value


async def nested(call: Any, number: int, depth: int) -> Any:
    if depth:
        return await asyncio.create_task(nested(call, number, depth - 1))
    return await call(number)


# Each of these decides by who was first, and its result says who that was. A task's number is how deep it lies, too.


async def by_gather() -> str:
    try:
        await asyncio.gather(*(nested(fails_when_told, number, number) for number in range(3)))
    except ExecutionError as error:
        return error.message
    return "?"


async def by_plain_gather() -> str:
    """The calls are all in one scope, and each is awaited in a task of its own."""
    try:
        await asyncio.gather(*(fails_when_told(number) for number in range(3)))
    except ExecutionError as error:
        return error.message
    return "?"


async def by_plain_as_completed() -> list[int]:
    return [await one for one in asyncio.as_completed([returns_when_told(number) for number in range(3)])]


async def by_wait() -> list[int]:
    tasks = {asyncio.create_task(nested(returns_when_told, number, 2 - number)) for number in range(3)}
    seen = []
    while tasks:
        done, tasks = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        seen += [task.result() for task in done]
    return seen


async def by_as_completed() -> list[int]:
    tasks = [asyncio.create_task(nested(returns_when_told, number, number)) for number in range(3)]
    return [await one for one in asyncio.as_completed(tasks)]


async def by_group() -> str:
    try:
        async with asyncio.TaskGroup() as group:
            for number in range(3):
                group.create_task(nested(fails_when_told, number, number))
    except ExceptionGroup as errors:
        return str(errors.exceptions[0].args[-1] if errors.exceptions[0].args else errors.exceptions[0])
    return "?"


async def by_variable() -> list[int]:
    seen: list[int] = []

    async def one(number: int) -> None:
        seen.append(await returns_when_told(number))

    await asyncio.gather(one(0), one(1), one(2))
    return seen


async def by_signals() -> list[Any]:
    seen: list[Any] = []

    async def one(number: int) -> None:
        seen.append(await stepwell.wait_for(f"word {number}"))

    await asyncio.gather(one(0), one(1), one(2))
    return seen


async def by_callbacks() -> list[Any]:
    seen: list[Any] = []

    async def one(number: int) -> None:
        callback = await stepwell.callback(name=f"word {number}")
        seen.append(await callback.result())

    await asyncio.gather(one(0), one(1), one(2))
    return seen


WAYS = {
    fn.__name__: fn
    for fn in (
        by_gather,
        by_plain_gather,
        by_plain_as_completed,
        by_wait,
        by_as_completed,
        by_group,
        by_variable,
        by_signals,
        by_callbacks,
    )
}


@blueprint(name="ordering.decides")
async def decides(way: str) -> list[Any]:
    before = await WAYS[way]()
    calls.append(before)
    await stepwell.wait_for("go")
    return [before, await quick("after")]


async def open_steps(handle: Any) -> int:
    """How many there are of what is raced for."""
    steps = (await handle.execution()).steps.values()
    return sum(one.name != "go" and not one.is_terminal for one in steps)


async def tell(kernel: Kernel, handle: Any, way: str, number: int) -> None:
    if way == "by_signals":
        await handle.signal(f"word {number}", number)
    elif way == "by_callbacks":
        steps = (await handle.execution()).steps.values()
        (id,) = [one.id for one in steps if one.name == f"word {number}"]
        await kernel.complete_callback(id, number)
    else:
        gates.setdefault(number, asyncio.Event()).set()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("clock", ["stands", "goes"])
@pytest.mark.parametrize("order", ORDERS)
def test_who_was_first_is_first_on_replay(place: StoreSource, way: str, clock: str, order: Any) -> None:
    """The clock may say nothing about it, as one that stands."""

    async def main() -> None:
        async with opened(place, ManualClock() if clock == "stands" else None) as kernel:
            handle = await kernel.start(decides, way)
            while await open_steps(handle) < 3:
                await asyncio.sleep(0)
            for number in order[:1] if way == "by_group" else order:
                still = await open_steps(handle)
                await tell(kernel, handle, way, number)
                while await open_steps(handle) == still:
                    await asyncio.sleep(0)
                for _ in range(20):  # what that has brought about
                    await asyncio.sleep(0)
            await left(kernel, handle)
            await handle.signal("go")
            assert await handle.result() == [calls[0], "after"]
            assert calls == [calls[0], calls[0]]
            fails = way in ("by_gather", "by_plain_gather", "by_group")
            assert calls[0] == (f"the one of {order[0]}" if fails else [*order])

    asyncio.run(asyncio.wait_for(main(), 20))


@step(retry=RetryPolicy.never())
async def fails_with(number: int) -> None:
    raise LookupError(f"the one of {number}")


@blueprint(name="ordering.races")
async def races(pauses: list[int]) -> list[Any]:
    """The pauses of the tasks, in seconds: each does something before and after its own."""
    seen: list[Any] = []

    async def one(number: int) -> None:
        seen.append(await quick(number))
        await stepwell.sleep(pauses[number])
        seen.append(await stepwell.scope(quick, [number]))
        await fails_with(number)

    found = await asyncio.gather(*(one(number) for number in range(len(pauses))), return_exceptions=True)
    first = None
    try:
        await asyncio.gather(*(nested(fails_with, number, number) for number in range(3)))
    except ExecutionError as error:
        first = error.message
    await stepwell.sleep("1s")
    return [len(found), first, await quick(seen)]


@pytest.mark.parametrize("pauses", [[3, 1, 2], [2, 1, 2]])
def test_killed_anywhere_the_code_sees_the_same_order(pauses: list[int]) -> None:
    report = crash_everywhere(races, pauses)
    assert report.error is None
    assert report.result[0] == 3
    assert len(report.crashes) > 20


def test_a_record_of_many_tasks_is_gone_through_quickly(place: StoreSource) -> None:
    """Each waits for the one before, and that costs a few turns of the loop, not a time."""

    @blueprint(name="many tasks")
    async def many() -> int:
        found = await asyncio.gather(*(quick(number) for number in range(300)))
        await stepwell.wait_for("go")
        return sum(found)

    async def main() -> None:
        async with opened(place) as kernel:
            handle = await kernel.start(many)
            await left(kernel, handle)
            before = asyncio.get_running_loop().time()
            await handle.signal("go")
            assert await handle.result() == sum(range(300))
            assert asyncio.get_running_loop().time() - before < 5

    asyncio.run(asyncio.wait_for(main(), 20))


def test_code_that_waits_for_something_else_holds_nobody_up(place: StoreSource) -> None:
    """One task comes to its recorded call late; the others go on, and it sees its outcome when it comes."""

    @blueprint(name="waits for something else")
    async def waits() -> list[int]:
        seen: list[int] = []

        async def late() -> None:
            if len(calls) > 1:  # in the second life
                while len(seen) < 2:
                    await asyncio.sleep(0)
            seen.append(await quick(0))

        async def others(number: int) -> None:
            await stepwell.sleep("1s")
            seen.append(await quick(number))

        calls.append("begun")
        await asyncio.gather(late(), others(1), others(2))
        await stepwell.wait_for("go")
        return sorted(seen)

    async def main() -> None:
        clock = ManualClock()
        async with opened(place, clock) as kernel:
            handle = await kernel.start(waits)
            clock.advance("0s")
            while (await kernel.store.get(handle.id)).wait_reason != "user_input":
                clock.advance("1s")
                await asyncio.sleep(0)
            await left(kernel, handle)
            await handle.signal("go")
            assert await handle.result() == [0, 1, 2]

    asyncio.run(asyncio.wait_for(main(), 20))
