"""Steps are found again by place, whatever the interleaving, and wherever the process dies."""

import asyncio
import random
import sys
import threading
from collections import Counter
from typing import Any

import pytest

from runtime.dying import crash_often
from stepwell import ExecutionError, Kernel, blueprint, run_step, step
from stepwell.errors import PlaceError
from stepwell.store.memory import MemorySource
from stepwell.testing import Crash, crash_everywhere

effects: Counter[tuple[str, Any]] = Counter()
chance = random.Random(7)


@pytest.fixture(autouse=True)
def nothing_done() -> None:
    effects.clear()


async def turns(most: int = 4) -> None:
    """Lets the others go ahead by a random number of turns of the loop."""
    for _ in range(chance.randrange(most)):
        await asyncio.sleep(0)


@step
async def add(number: int, more: int) -> int:
    await turns()
    effects["add", (number, more)] += 1
    await turns()
    return number + more


@step
def double(number: int) -> int:
    effects["double", number] += 1
    return number * 2


async def branch(start: int) -> list[int]:
    seen = []
    for more in range(3):
        await turns()
        start = await add(start, more)
        seen.append(start)
    seen.append(await run_step(double, start))
    return seen


def expected(start: int) -> list[int]:
    return [start, start + 1, start + 3, 2 * (start + 3)]


@blueprint
async def gathered(count: int) -> list[list[int]]:
    return await asyncio.gather(*(branch(10 * number) for number in range(count)))


@blueprint
async def grouped(count: int) -> list[list[int]]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(branch(10 * number), name="same name") for number in range(count)]
    return [task.result() for task in tasks]


@blueprint
async def nested(count: int) -> list[list[int]]:
    async def pair(number: int) -> list[list[int]]:
        await turns()
        inner = [asyncio.create_task(branch(100 * number + 10 * i)) for i in range(2)]
        await turns()
        return [await task for task in reversed(inner)][::-1]

    found = await asyncio.gather(*(pair(number) for number in range(count)))
    return [part for parts in found for part in parts]


@blueprint
async def limited(count: int) -> list[list[int]]:
    turn = asyncio.Semaphore(2)

    async def one(number: int) -> list[int]:
        async with turn:
            return await asyncio.wait_for(branch(10 * number), timeout=60)

    return await asyncio.gather(*(one(number) for number in range(count)))


@blueprint
async def steps_gathered(count: int) -> list[list[int]]:
    """The calls are made here, and awaited in other tasks."""
    first = await asyncio.gather(*(add(10 * number, 0) for number in range(count)))
    second = await asyncio.gather(*(add(value, 1) for value in first))
    third = await asyncio.gather(*(add(value, 2) for value in second))
    last = await asyncio.gather(*(double(value) for value in third))
    return [list(parts) for parts in zip(first, second, third, last, strict=True)]


@blueprint
async def one_after_the_other(count: int) -> list[list[int]]:
    return [await branch(10 * number) for number in range(count)]


@blueprint
def in_a_thread(count: int) -> list[list[int]]:
    found = []
    for number in range(count):
        seen, start = [], 10 * number
        for more in range(3):
            start = add(start, more)
            seen.append(start)
        found.append([*seen, double(start)])
    return found


ALL = [gathered, grouped, limited, steps_gathered, one_after_the_other, in_a_thread]


@pytest.mark.parametrize("which", ALL, ids=lambda bp: bp.__name__)
def test_killed_at_every_write_the_result_is_the_same(which: Any) -> None:
    result = [expected(10 * number) for number in range(3)]

    def check(crash: Crash) -> None:
        # Twelve different calls, each with an effect; those whose record was lost ran once more.
        assert len(effects) == 12, crash
        assert max(effects.values()) <= 2, crash
        effects.clear()

    report = crash_everywhere(which, 3, check=check)
    assert len(report.crashes) > 8
    assert report.result == result


def test_nested_tasks_killed_at_every_write() -> None:
    result = [expected(start) for start in (0, 10, 100, 110)]
    assert crash_everywhere(nested, 2).result == result


@pytest.mark.parametrize("which", [*ALL, nested], ids=lambda bp: bp.__name__)
def test_one_that_dies_again_and_again_gets_there(which: Any) -> None:
    count = 2 if which is nested else 4
    starts = (0, 10, 100, 110) if which is nested else (0, 10, 20, 30)
    assert crash_often(which, count) == [expected(start) for start in starts]


@pytest.mark.parametrize("seed", range(20))
def test_recorded_steps_do_not_run_again(seed: int) -> None:
    chance.seed(seed)
    source = MemorySource()

    async def life() -> Any:
        async with Kernel(source, tenant="acme") as kernel:
            handle = await kernel.start(gathered, 5, key="k")
            return await handle.result(), sorted(
                step.place for step in (await handle.execution()).steps.values()
            )

    first = asyncio.run(life())
    assert asyncio.run(life()) == first
    assert first[0] == [expected(10 * number) for number in range(5)]
    assert first[1] == sorted(f"~{task}/{call}" for task in range(5) for call in range(4))
    assert set(effects.values()) == {1}


# --- the host's loop ----------------------------------------------------------------------------------------------


class Marked(asyncio.Task[Any]):
    pass


def test_the_hosts_task_factory_is_used_and_left_alone() -> None:
    made: list[str] = []
    seen: list[object] = []

    def factory(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> Any:
        made.append(type(coro).__name__)
        return Marked(coro, loop=loop, **options)

    @blueprint(name="factory")
    async def work() -> bool:
        task = asyncio.create_task(branch(1))
        await task
        return isinstance(task, Marked) and isinstance(asyncio.current_task(), Marked)

    async def beside(stop: asyncio.Event) -> None:
        while not stop.is_set():
            seen.append(asyncio.get_running_loop().get_task_factory())
            await asyncio.create_task(asyncio.sleep(0))

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(factory)
        stop = asyncio.Event()
        other = asyncio.create_task(beside(stop))
        async with Kernel("memory", tenant="acme") as kernel:
            assert await kernel.run(work)
        stop.set()
        await other
        assert loop.get_task_factory() is factory

    asyncio.run(main())
    assert made.count("Driver") == 2
    assert set(seen) == {factory}


def test_without_a_factory_there_is_none_afterwards() -> None:
    async def main() -> None:
        async with Kernel("memory", tenant="acme") as kernel:
            await kernel.run(gathered, 2)
        assert asyncio.get_running_loop().get_task_factory() is None

    asyncio.run(main())


def test_a_factory_that_the_blueprint_sets_stays() -> None:
    def factory(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> Any:
        return Marked(coro, loop=loop, **options)

    @blueprint(name="sets a factory")
    async def work() -> list[int]:
        asyncio.get_running_loop().set_task_factory(factory)
        await asyncio.sleep(0)
        task = asyncio.create_task(branch(1))
        assert isinstance(task, Marked)
        return await task

    async def main() -> None:
        async with Kernel("memory", tenant="acme") as kernel:
            assert await kernel.run(work) == expected(1)
        assert asyncio.get_running_loop().get_task_factory() is factory

    asyncio.run(main())


def test_eager_tasks_have_the_same_places() -> None:
    eager = getattr(asyncio, "eager_task_factory", None)
    if eager is None:  # before Python 3.12 there are none; one that starts at once is the nearest thing
        assert sys.version_info < (3, 12)
        return
    places = []
    for factory in (None, eager):

        async def main(factory: Any = factory) -> list[str]:
            asyncio.get_running_loop().set_task_factory(factory)
            async with Kernel("memory", tenant="acme") as kernel:
                handle = await kernel.start(nested, 3)
                await handle.result()
                assert asyncio.get_running_loop().get_task_factory() is factory
                return sorted(step.place for step in (await handle.execution()).steps.values())

        places.append(asyncio.run(main()))
    assert places[0] == places[1]


def test_two_kernels_on_one_loop() -> None:
    async def main() -> None:
        async with Kernel("memory", tenant="a") as one, Kernel("memory", tenant="b") as two:
            results = await asyncio.gather(one.run(gathered, 4), two.run(nested, 2), one.run(grouped, 3))
        assert results[0] == [expected(10 * number) for number in range(4)]
        assert results[2] == [expected(10 * number) for number in range(3)]

    asyncio.run(main())


# --- where there is no place --------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["callback", "thread"])
def test_a_call_whose_place_cannot_be_known_is_refused(how: str) -> None:
    @blueprint(name=f"no place in a {how}")
    async def work() -> str:
        if how == "thread":
            await asyncio.to_thread(double, 1)
        loop = asyncio.get_running_loop()
        done = loop.create_future()

        def callback() -> None:
            try:
                add(1, 1)
            except PlaceError as error:
                done.set_exception(error)

        loop.call_soon(callback)
        await done
        return "unreachable"

    async def main() -> None:
        async with Kernel("memory", tenant="acme") as kernel:
            with pytest.raises(ExecutionError, match="place"):
                await kernel.run(work)

    asyncio.run(main())
    assert effects == {}


def test_a_chain_of_tasks_has_a_place_for_each() -> None:
    @blueprint(name="chain")
    async def work(depth: int) -> int:
        async def link(left: int) -> int:
            value = await add(left, 0)
            return value if left == 0 else value + await asyncio.create_task(link(left - 1))

        return await link(depth)

    async def main() -> list[str]:
        async with Kernel("memory", tenant="acme") as kernel:
            handle = await kernel.start(work, 300)
            assert await handle.result() == sum(range(301))
            return [step.place or "" for step in (await handle.execution()).steps.values()]

    places = asyncio.run(main())
    assert len(set(places)) == 301
    assert max(map(len, places)) < 600


def test_in_a_step_other_steps_are_plain_calls() -> None:
    @step
    async def outer(number: int) -> int:
        inner = await asyncio.create_task(add(number, 1))
        return double(inner)

    @blueprint(name="nested steps")
    async def work() -> int:
        return await outer(1)

    async def main() -> None:
        async with Kernel("memory", tenant="acme") as kernel:
            handle = await kernel.start(work)
            assert await handle.result() == 4
            assert [step.name for step in (await handle.execution()).steps.values()] == ["outer"]

    asyncio.run(main())


def test_outside_a_kernel_everything_is_a_plain_call() -> None:
    assert double(2) == 4
    assert asyncio.run(add(1, 2)) == 3
    assert asyncio.run(branch(1)) == expected(1)
    assert asyncio.run(gathered(2)) == [expected(0), expected(10)]
    assert asyncio.run(run_step(double, 4)) == 8
    thread_results: list[int] = []
    thread = threading.Thread(target=lambda: thread_results.append(double(5)))
    thread.start()
    thread.join()
    assert thread_results == [10]
