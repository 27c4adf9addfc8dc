"""What a blueprint cancels by itself, in its own task or another, is the same in every life."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

import stepwell
from runtime.common import calls, echo
from stepwell import ExecutionError, Kernel, blueprint, current_step, step
from stepwell.store.memory import MemorySource
from stepwell.store.sqlite import SqliteSource

first_life = True


@pytest.fixture(autouse=True)
def _first() -> None:
    global first_life
    first_life = True


@pytest.fixture(params=["memory", "sqlite"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return MemorySource() if request.param == "memory" else SqliteSource(tmp_path / "runs.db")


@step
async def long() -> str:
    calls.append("long")
    if first_life:
        await asyncio.get_running_loop().create_future()
    return "quick now"


@step(effect="once")
async def pay() -> str:
    await asyncio.get_running_loop().create_future()
    return "paid"


@step
async def broken() -> None:
    raise LookupError("broken")


def kinds() -> dict[str, Any]:
    return {
        "step": long,
        "once": pay,
        "signal": lambda: stepwell.wait_for("late"),
        "sleep": lambda: stepwell.sleep("1h"),
    }


@blueprint(name="own.timing_out", version="1")
async def timing_out(kind: str) -> list[Any]:
    try:
        async with asyncio.timeout(0.01):
            return [await kinds()[kind]()]
    except TimeoutError:
        pass
    await echo("after")
    return ["timed out", await stepwell.wait_for("go")]


@blueprint(name="own.group", version="1")
async def group(kind: str) -> list[Any]:
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(broken())
            await kinds()[kind]()
    except ExceptionGroup:
        pass
    await echo("after")
    return ["timed out", await stepwell.wait_for("go")]


async def waiting(handle: stepwell.Handle[Any]) -> stepwell.Execution:
    async with asyncio.timeout(30):
        while True:
            found = await handle.execution()
            if any(one.name == "go" for one in found.steps.values()):
                return found
            await asyncio.sleep(0)


@pytest.mark.parametrize("kind", ["step", "once", "signal", "sleep"])
@pytest.mark.parametrize("which", [timing_out, group])
def test_what_a_time_out_cancels_is_recorded_so(source: Any, which: Any, kind: str) -> None:
    async def main() -> None:
        global first_life
        async with Kernel(source, tenant="acme") as kernel:
            handle = await kernel.start(which, kind, key="k")
            found = await waiting(handle)
            states = {one.name: str(one.state) for one in found.steps.values()}
            assert states.pop("go") == "running"
            assert states.pop("echo") == "completed"
            assert states.pop("broken", "failed") == "failed"
            assert set(states.values()) == {"cancelled"}
            await handle.signal("late", "for nobody")
        first_life = False
        async with Kernel(source, tenant="acme") as kernel:
            handle = await kernel.get(handle.id)
            await handle.signal("go", "gone on")
            assert await handle.result() == ["timed out", "gone on"]

    asyncio.run(main())
    assert calls.count("after") == 1
    assert calls.count("long") == (kind == "step")


@blueprint(name="own.itself", version="1")
async def itself() -> None:
    await echo("before")
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await long()


def test_a_blueprint_that_cancels_itself_fails(source: Any) -> None:
    async def main() -> None:
        async with Kernel(source, tenant="acme") as kernel:
            handle = await kernel.start(itself)
            with pytest.raises(ExecutionError, match="cancelled"):
                await handle.result()
            assert (await handle.execution()).state == "failed"

    asyncio.run(main())


@step
async def blocking() -> str:
    until = time.monotonic() + 0.03
    while time.monotonic() < until:  # the time-out passes, and the loop has no turn to see it
        pass
    return "value"


async def in_timeout() -> list[Any]:
    found = []
    try:
        async with asyncio.timeout(0.01):
            found.append(await blocking())
            found.append(await echo("next"))
    except TimeoutError:
        found.append("timed out")
    return found


async def in_wait_for() -> list[Any]:
    try:
        return [await asyncio.wait_for(blocking(), 0.01)]
    except TimeoutError:
        return ["timed out"]


async def just_in_time() -> list[Any]:
    async with asyncio.timeout(0.01):
        found = [await blocking()]
    return [*found, await echo("behind it")]


async def task_cancelled() -> list[Any]:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().call_soon(task.cancel)
    try:
        value = await blocking()
        return [value, await stepwell.sleep("1h")]
    except asyncio.CancelledError:
        task.uncancel()
        return ["cancelled"]


WAYS: dict[str, Any] = {way.__name__: way for way in (in_timeout, in_wait_for, just_in_time, task_cancelled)}


@blueprint(name="own.too_late", version="1")
async def too_late(way: str) -> list[Any]:
    found = await WAYS[way]()
    await echo(found)
    return [found, await stepwell.wait_for("go")]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("durability", ["power", "process", "end"])
def test_a_cancellation_that_comes_behind_the_outcome(source: Any, way: str, durability: str) -> None:
    async def main() -> tuple[Any, Any]:
        async with Kernel(source, tenant="acme", durability=durability) as kernel:
            handle = await kernel.start(too_late, way, key="k")
            found = await waiting(handle)
            live = next(one.output for one in found.steps.values() if isinstance(one.output, list))
        async with Kernel(source, tenant="acme", durability=durability) as kernel:
            handle = await kernel.get(handle.id)
            await handle.signal("go", "gone on")
            return live, await handle.result()

    live, after = asyncio.run(main())
    assert after == [live, "gone on"]
    assert (
        live
        in {
            # Where nothing is waited for the loop has no turn to cancel anything.
            "in_timeout": (["value", "timed out"], ["value", "next"]),
            "in_wait_for": (["value"],),
            "just_in_time": (["value", "behind it"],),
            "task_cancelled": (["cancelled"],),
        }[way]
    )


@blueprint(name="own.usage", version="1")
async def forever() -> None:
    for number in range(1_000_000):
        await echo(number)
        await turn()


@step
async def turn() -> str:
    await asyncio.sleep(0)
    return current_step().id


@pytest.mark.parametrize("durability", ["power", "process", "behind", "end"])
def test_a_kernel_whose_last_write_fails_closes(source: Any, durability: str) -> None:
    async def main() -> list[str]:
        async with asyncio.timeout(30):
            kernel = Kernel(source, tenant="acme", durability=durability)
            await kernel.__aenter__()
            handle = await kernel.start(forever)
            while len(calls) < 3:
                await asyncio.sleep(0)
            row = await kernel.store.get(handle.id)
            await kernel.store.claim(handle.id, "somebody else", row.epoch, time.time_ns() + 10**12)
            return [handle.id, *await kernel.close()]

    id, *left = asyncio.run(main())
    assert left in ([id], [])
