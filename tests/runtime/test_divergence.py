"""Code that no longer does what its record says is stopped before it runs anything, and goes on when it is mended."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from runtime.common import calls, run as ended
from stepwell import DivergenceError, Kernel, blueprint, run_step, step
from stepwell.store import StoreSource
from stepwell.store.memory import MemorySource


@step
async def first(value: Any = None, **named: Any) -> Any:
    calls.append(("first", value))
    return value


@step
async def second(value: Any = None) -> Any:
    calls.append(("second", value))
    return value


def make(body: Callable[[], Any]) -> Any:
    return blueprint(name="diverges")(body)


async def original() -> str:
    await first(1)
    await first({"a": 1}, flag=True)
    await asyncio.create_task(as_task())
    await asyncio.Event().wait()
    return "unreachable"


async def as_task() -> None:
    await second(2)


def record(body: Callable[[], Any] = original, steps: int = 3) -> MemorySource:
    """A record of a life that ended after some steps."""
    source = MemorySource()

    async def main() -> None:
        async with Kernel(source, tenant="acme") as kernel:
            handle = await kernel.start(make(body), key="k")
            done = 0
            while done < steps:
                await asyncio.sleep(0)
                done = sum(step.is_terminal for step in (await handle.execution()).steps.values())

    asyncio.run(main())
    calls.clear()
    return source


def go_on(source: MemorySource, body: Callable[[], Any]) -> DivergenceError:
    """What comes of going on with other code; the execution is paused by then."""

    async def main() -> DivergenceError:
        async with Kernel(source, tenant="acme", recover=False) as kernel:
            handle = await kernel.start(make(body), key="k")
            with pytest.raises(DivergenceError) as live:
                await asyncio.wait_for(handle.result(), 10)
            row = (await kernel.list())[0]
            while row.owner is not None:
                await asyncio.sleep(0)
                row = (await kernel.list())[0]
            assert row.state == "paused"
            with pytest.raises(DivergenceError, match="resume it"):
                await (await kernel.get(handle.id)).result()
            # Started again it stays parked: only `resume` goes on.
            with pytest.raises(DivergenceError):
                await (await kernel.start(make(body), key="k")).result()
            assert (await handle.execution()).reason.startswith("diverged: ")
            return live.value

    return asyncio.run(main())


async def other_name() -> None:
    await second(1)


async def other_input() -> None:
    await first(1)
    await first({"a": 2}, flag=True)


async def other_option() -> None:
    await first(1)
    await first({"a": 1}, flag=False)


async def one_more() -> None:
    await first(1)
    await run_step(calls.append, "new")
    await first({"a": 1}, flag=True)


async def in_no_task() -> None:
    await first(1)
    await first({"a": 1}, flag=True)
    await second(3)


async def ends_early() -> None:
    await first(1)


async def task_ends_early() -> None:
    await first(1)
    await first({"a": 1}, flag=True)
    await asyncio.create_task(asyncio.sleep(0))


async def swallows() -> None:
    try:
        await second(1)
    except Exception:  # noqa: BLE001
        calls.append("swallowed")
    try:
        await second(2)
    finally:
        await second(3)


@pytest.mark.parametrize(
    ("body", "place", "words", "recorded", "called"),
    [
        (
            other_name,
            "0",
            "'first'.*'second'",
            {"name": "first", "input": [1]},
            {"name": "second", "input": [1]},
        ),
        (
            other_input,
            "1",
            "another input.*argument 0",
            {"name": "first", "input": {"args": [{"a": 1}], "kwargs": {"flag": True}}},
            {"name": "first", "input": {"args": [{"a": 2}], "kwargs": {"flag": True}}},
        ),
        (
            other_option,
            "1",
            "argument flag",
            {"name": "first", "input": {"args": [{"a": 1}], "kwargs": {"flag": True}}},
            {"name": "first", "input": {"args": [{"a": 1}], "kwargs": {"flag": False}}},
        ),
        (
            one_more,
            "1",
            "'first'.*'append'",
            {"name": "first", "input": {"args": [{"a": 1}], "kwargs": {"flag": True}}},
            {"name": "append", "input": ["new"]},
        ),
        (
            ends_early,
            "1",
            "without calling it",
            {"name": "first", "input": {"args": [{"a": 1}], "kwargs": {"flag": True}}},
            None,
        ),
        (task_ends_early, "~0/0", "without calling it", {"name": "second", "input": [2]}, None),
        (
            swallows,
            "0",
            "'first'.*'second'",
            {"name": "first", "input": [1]},
            {"name": "second", "input": [1]},
        ),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_difference_parks_the_execution_and_runs_nothing(
    body: Any, place: str, words: str, recorded: Any, called: Any
) -> None:
    source = record()
    error = go_on(source, body)
    assert calls == []
    assert error.place == place
    assert error.recorded == recorded
    assert error.called == called
    with pytest.raises(DivergenceError, match=words):
        raise error
    if called is not None:
        assert error.source is not None
        file, _, line = error.source.rpartition(":")
        assert file == __file__
        code = body.__code__
        assert code.co_firstlineno < int(line) < code.co_firstlineno + 8
        assert error.source in str(error)


def test_new_steps_after_the_recorded_ones_are_no_difference() -> None:
    async def longer() -> str:
        await first(1)
        await first({"a": 1}, flag=True)
        await asyncio.create_task(as_task())
        await second("new")
        return "done"

    source = record()

    async def main() -> str:
        async with Kernel(source, tenant="acme") as kernel:
            return str(await kernel.run(make(longer), key="k"))

    assert asyncio.run(main()) == "done"
    assert calls == [("second", "new")]


@pytest.mark.parametrize("body", [other_name, in_no_task, ends_early], ids=lambda body: body.__name__)
def test_resume_goes_on_when_the_code_is_mended(body: Any) -> None:
    async def mended() -> str:
        await first(1)
        await first({"a": 1}, flag=True)
        await asyncio.create_task(as_task())
        return "done"

    source = record()
    if body is not in_no_task:
        go_on(source, body)
    else:
        # A step that was never recorded is only new; that the recorded one is missing shows at the end.
        error = go_on(source, body)
        assert error.place == "~0/0"
        assert calls == [("second", 3)]
        calls.clear()

        async def mended() -> str:
            await first(1)
            await first({"a": 1}, flag=True)
            task = asyncio.create_task(as_task())
            await second(3)
            await task
            return "done"

    async def main() -> str:
        async with Kernel(source, tenant="acme", recover=False) as kernel:
            which = make(mended)
            known = (await kernel.list())[0].id
            handle = await kernel.resume(known)
            assert which.name == "diverges"
            return str(await handle.result())

    assert asyncio.run(main()) == "done"
    assert calls == []


def test_a_def_blueprint_is_parked_too() -> None:
    ready: list[int] = []

    def original_in_thread() -> None:
        first(1)
        ready.append(1)
        second(2)
        first(3)

    def other_in_thread() -> None:
        try:
            first(2)
        except Exception:  # noqa: BLE001
            calls.append("swallowed")
        first(3)

    source = record(original_in_thread, steps=1)
    (row,) = source.open("acme").list().wait()
    if row.state == "completed":  # it was quicker than the kernel's end: nothing is left to go on with
        return
    error = go_on(source, other_in_thread)
    assert calls == []
    assert error.place == "0"


def test_the_place_is_known_to_whoever_asks_later(anywhere: StoreSource) -> None:
    def made(value: int) -> Any:
        @blueprint(name="asked about later")
        async def work() -> None:
            await first(value)
            await first("never recorded")
            await asyncio.Event().wait()

        return work

    async def begins(which: Any) -> None:
        async with Kernel(anywhere, tenant="acme") as kernel:
            handle = await kernel.start(which, key="k")
            while len((await handle.execution()).steps) < 2:
                await asyncio.sleep(0)

    asyncio.run(begins(made(0)))
    places = []
    for _ in range(2):
        with pytest.raises(DivergenceError) as found:
            ended(anywhere, made(1))  # type: ignore[arg-type]
        places.append(found.value.place)
    assert places == ["0", "0"]
