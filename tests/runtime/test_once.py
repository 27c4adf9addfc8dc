"""What becomes of a step that was running when its process ended, by its `effect`."""

import asyncio
from typing import Any

import pytest

import stepwell
from runtime.common import calls
from runtime.stops import in_kernel, in_state, steps_of, until
from stepwell import Conflict, ExecutionError, Handle, Kernel, NotFound, ValidationError, blueprint, step
from stepwell.runtime import current_step
from stepwell.store import StoreSource

holding: list[bool] = []


@pytest.fixture(autouse=True)
def hold() -> Any:
    holding.append(True)
    yield
    holding.clear()


async def charges(value: Any) -> Any:
    calls.append((value, current_step().idempotency_key))
    if holding:
        await asyncio.Event().wait()
    return value


once = step(name="once", effect="once")(charges)
keyed = step(name="keyed", effect="keyed")(charges)
again = step(name="again")(charges)
pure = step(name="pure", effect="pure")(charges)


@blueprint(name="one charge")
async def one() -> str:
    return str(await once("a"))


@blueprint(name="two charges")
async def two() -> list[Any]:
    return await asyncio.gather(once("a"), again("b"), once("c"))


def interrupted(source: StoreSource, which: Any, running: int) -> str:
    """The known of an execution whose kernel was closed while its steps ran."""

    async def begin(kernel: Kernel) -> str:
        handle = await kernel.start(which)
        await until(lambda: len(calls) == running)
        return handle.id

    known: str = in_kernel(source, begin)
    holding.clear()
    return known


async def in_doubt(kernel: Kernel, known: str) -> Handle[Any]:
    await in_state(kernel, known, "paused")
    handle = await kernel.get(known)
    assert (await handle.execution()).reason == "in_doubt"
    return handle


async def running(handle: Handle[Any]) -> list[str]:
    steps = (await handle.execution()).steps.values()
    return [found.id for found in steps if found.state == "running"]


@pytest.mark.parametrize(("effect", "which"), [("keyed", keyed), ("again", again), ("pure", pure)])
def test_others_are_done_again_with_the_same_key(anywhere: StoreSource, effect: str, which: Any) -> None:
    @blueprint(name=f"again {effect}")
    async def work() -> str:
        return str(await which("a"))

    known = interrupted(anywhere, work, 1)

    async def end(kernel: Kernel) -> None:
        handle = await kernel.get(known)
        assert await handle.result(timeout=30) == "a"
        (found,) = (await handle.execution()).steps.values()
        if found.attempt == 2:  # else its start was not recorded yet
            assert found.attempts[0].error is not None
            assert found.attempts[0].error.code == "interrupted"

    in_kernel(anywhere, end)
    assert calls == [calls[0], calls[0]]


@pytest.mark.parametrize("effect", ["keyed", "once"])
def test_its_start_is_in_the_store_before_its_code_runs(anywhere: StoreSource, effect: Any) -> None:
    """Else nobody would know of an act outside whose process died."""

    @step(name="looks", effect=effect)
    async def looks() -> int:
        store = anywhere.open("acme")
        [row] = await store.list()
        _, bodies = await store.bodies(row.id)
        store.close()
        return bodies.count(b'"kind":"step_started"')

    @blueprint(name=f"looks {effect}")
    async def work() -> int:
        return await looks()

    async def found(kernel: Kernel) -> int:
        return await (await kernel.start(work)).result(timeout=30)

    assert in_kernel(anywhere, found) == 1


@pytest.mark.parametrize("execute", [True, False])
@pytest.mark.parametrize("way", ["output", "error", "retry"])
def test_settle(anywhere: StoreSource, way: str, execute: bool) -> None:
    known = interrupted(anywhere, one, 1)

    async def look(kernel: Kernel) -> None:
        handle = await in_doubt(kernel, known)
        assert await steps_of(handle) == [("once", "running")]
        with pytest.raises(TimeoutError):
            await handle.result(timeout="10ms")
        await handle.resume()
        await in_doubt(kernel, known)

    in_kernel(anywhere, look)
    assert len(calls) == 1, "it was not done again"

    async def settle(kernel: Kernel) -> None:
        handle = await kernel.get(known)
        (step_id,) = await running(handle)
        if way == "output":
            await handle.settle(step_id, output="told")
        elif way == "error":
            await handle.settle(step_id, error="it was refused")
        else:
            await handle.settle(step_id, retry=True)
        with pytest.raises(Conflict):
            await handle.settle(step_id, output="told")

    async def end(kernel: Kernel) -> None:
        handle = await kernel.get(known)
        if way == "error":
            with pytest.raises(ExecutionError, match="refused"):
                await handle.result(timeout=30)
        else:
            assert await handle.result(timeout=30) == ("told" if way == "output" else "a")

    if execute:

        async def both(kernel: Kernel) -> None:
            await settle(kernel)
            await end(kernel)

        in_kernel(anywhere, both)
    else:
        in_kernel(anywhere, settle, execute=False)
        in_kernel(anywhere, end)
    assert calls == [calls[0]] * (2 if way == "retry" else 1)


@pytest.mark.parametrize("execute", [True, False])
def test_several_in_doubt(anywhere: StoreSource, execute: bool) -> None:
    known = interrupted(anywhere, two, 3)

    async def look(kernel: Kernel) -> None:
        await in_doubt(kernel, known)

    async def settle(kernel: Kernel) -> None:
        handle = await kernel.get(known)
        steps = (await handle.execution()).steps.values()
        doubtful = [found.id for found in steps if found.name == "once"]
        assert len(doubtful) == 2
        for step_id in doubtful:
            await handle.settle(step_id, output="settled")

    async def end(kernel: Kernel) -> None:
        handle = await kernel.get(known)
        assert await handle.result(timeout=30) == ["settled", "b", "settled"]

    in_kernel(anywhere, look)
    in_kernel(anywhere, settle, execute=execute)
    in_kernel(anywhere, end)
    assert [value for value, _ in calls].count("a") == 1
    assert [value for value, _ in calls].count("c") == 1


def test_settle_refuses(anywhere: StoreSource) -> None:
    known = interrupted(anywhere, one, 1)

    async def look(kernel: Kernel) -> None:
        handle = await in_doubt(kernel, known)
        (step_id,) = await running(handle)
        for given in ({}, {"output": 1, "retry": True}, {"error": "x", "output": None}):
            with pytest.raises(ValidationError):
                await handle.settle(step_id, **given)  # type: ignore[arg-type]
        with pytest.raises(NotFound):
            await handle.settle("step_00000000000000000000000000", output=1)
        assert (await handle.execution()).state == "paused"
        await handle.settle(step_id, output=None)
        assert await handle.result(timeout=30) == "None"
        with pytest.raises(Conflict):
            await handle.settle(step_id, output=1)

    in_kernel(anywhere, look)


def test_a_cancelled_execution_in_doubt_ends(anywhere: StoreSource) -> None:
    known = interrupted(anywhere, one, 1)

    async def look(kernel: Kernel) -> None:
        handle = await in_doubt(kernel, known)
        await handle.cancel("leave it")
        with pytest.raises(ExecutionError, match="leave it"):
            await handle.result(timeout=30)
        assert await steps_of(handle) == [("once", "cancelled")]

    in_kernel(anywhere, look)


def test_a_pause_waits_for_it(anywhere: StoreSource) -> None:
    go: list[asyncio.Event] = []

    @step(effect="once")
    async def slow() -> str:
        calls.append("began")
        await go[0].wait()
        return "kept"

    @blueprint(name="paused once")
    async def work() -> str:
        return str(await slow())

    async def main(kernel: Kernel) -> None:
        go.append(asyncio.Event())
        handle = await kernel.start(work)
        await until(lambda: calls)
        await handle.pause()
        go[0].set()
        await handle.resume()
        assert await handle.result(timeout=30) == "kept"

    in_kernel(anywhere, main)
    assert calls == ["began"]


@step
async def begun() -> None:
    calls.append("begun")
    await asyncio.Event().wait()


@blueprint(name="once.not in doubt")
async def not_in_doubt(how: str) -> Any:
    if how == "child":
        return await stepwell.child(waits_inside)
    return await begun()


@blueprint(name="once.waits inside")
async def waits_inside() -> Any:
    calls.append("child")
    return await stepwell.wait_for("go")


@pytest.mark.parametrize("execute", [True, False])
@pytest.mark.parametrize("how", ["child", "step"])
def test_what_is_not_in_doubt_is_not_settled(anywhere: StoreSource, how: str, execute: bool) -> None:
    """A child says itself how it ended, and a step that may be done twice is done again."""

    async def begin(kernel: Kernel) -> str:
        handle = await kernel.start(not_in_doubt, how)
        state = "waiting" if how == "child" else "running"

        async def there() -> bool:
            return bool(calls) and (await handle.execution()).state == state

        await until(there)
        return handle.id

    async def settle(kernel: Kernel) -> None:
        handle = await kernel.get(known)
        (step_id,) = await running(handle)
        with pytest.raises(Conflict, match="not in doubt"):
            await handle.settle(step_id, output="forged")
        assert await running(handle) == [step_id]

    known = in_kernel(anywhere, begin)
    if how == "child" or not execute:
        in_kernel(anywhere, settle, execute=execute)
