"""Hooks: each is told once of what really happens, in order, and what it raises is nobody else's trouble."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import stepwell
from runtime.common import QUICK, broken, calls, echo
from stepwell import Completion, ExecutionError, Kernel, ManualClock, blocking, blueprint, step
from stepwell.errors import ValidationError
from stepwell.store import StoreSource
from stepwell.store.memory import MemorySource
from stepwell.store.sqlite import SqliteSource


class Listener:
    """Writes down what it is told, and fails each time."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []

    def execution_started(self, execution: Any, replay: bool) -> None:
        self.tell("execution_started", replay)

    def execution_ended(self, execution: Any) -> None:
        self.tell("execution_ended", str(execution.state))

    def step_started(self, execution: Any, step: Any) -> None:
        self.tell("step_started", step.name, step.attempt)

    def step_ended(self, execution: Any, step: Any) -> None:
        self.tell("step_ended", step.name, str(step.state))

    def tell(self, *event: Any) -> None:
        self.events.append(event)
        raise RuntimeError("a hook must not matter")

    def named(self, name: str) -> list[tuple[Any, ...]]:
        return [event for event in self.events if event[1] == name]


@pytest.fixture(params=["memory", "sqlite"])
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> StoreSource:
    return MemorySource() if request.param == "memory" else SqliteSource(tmp_path / "runs.db")


@pytest.fixture
def listener() -> Listener:
    return Listener()


def kernel(stores: StoreSource, listener: Listener, **options: Any) -> Kernel:
    return Kernel(stores, tenant="acme", hooks=[object(), listener], **options)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0)


@step(retry=QUICK)
async def second_time() -> str:
    if stepwell.current_step().attempt == 1:
        raise ConnectionError("first")
    return "there"


async def group() -> Any:
    return await echo("inside")


def first_looks_in_vain(state: int) -> tuple[bool, int]:
    return state > 0, state + 1


@blueprint(name="hooks of all kinds")
async def kinds() -> Any:
    stepwell.now()
    await stepwell.scope(group)
    await stepwell.sleep("1h")
    await stepwell.wait_until(first_looks_in_vain, 0, every="1m")
    return await second_time()


@blueprint(name="hooks of all kinds, blocking")
def kinds_blocking() -> Any:
    stepwell.now()
    blocking.scope(lambda: echo("inside"))
    blocking.sleep("1h")
    blocking.wait_until(first_looks_in_vain, 0, every="1m")
    return second_time()


@pytest.mark.parametrize("which", [kinds, kinds_blocking], ids=["async", "def"])
def test_steps_are_told_of_each_attempt_and_waits_and_groups_are_no_steps(
    stores: StoreSource, listener: Listener, which: Any, caplog: pytest.LogCaptureFixture
) -> None:
    clock = ManualClock()

    async def main() -> None:
        async with kernel(stores, listener, clock=clock) as running:
            running.linger_s = 0
            handle = await running.start(which, key="k")
            result = asyncio.ensure_future(handle.result())
            while not result.done():
                await asyncio.sleep(0)
                if running.running(handle.id) is None:  # it has left memory
                    clock.advance("30m")
            assert await result == "there"
            assert await running.run(which, key="k") == "there"

    with caplog.at_level(logging.CRITICAL):
        asyncio.run(main())
    assert [event for event in listener.events if event[0] != "execution_started"] == [
        ("step_started", "echo", 1),
        ("step_ended", "echo", "completed"),
        ("step_started", "first_looks_in_vain", 1),
        ("step_ended", "first_looks_in_vain", "completed"),
        ("step_started", "first_looks_in_vain", 1),
        ("step_ended", "first_looks_in_vain", "completed"),
        ("step_started", "second_time", 1),
        ("step_ended", "second_time", "pending"),
        ("step_started", "second_time", 2),
        ("step_ended", "second_time", "completed"),
        ("execution_ended", "completed"),
    ]
    begun = [event for event in listener.events if event[0] == "execution_started"]
    assert begun[0] == ("execution_started", False)
    assert begun[1:] == [("execution_started", True)] * (len(begun) - 1)
    assert len(begun) > 1, "it left memory and came back"


def test_what_is_taken_up_is_told_as_a_replay_and_tells_only_what_is_new(
    stores: StoreSource, listener: Listener
) -> None:
    go: list[bool] = []

    @blueprint(name="hooks of two lives")
    async def lives() -> int:
        await echo(1)
        if not go:
            await asyncio.Event().wait()
        await echo(2)
        with pytest.raises(ExecutionError):
            await broken("no")
        return 3

    async def first() -> None:
        async with kernel(stores, listener) as running:
            await running.start(lives, key="k")
            await until(lambda: ("step_ended", "echo", "completed") in listener.events)

    async def second() -> None:
        async with kernel(stores, listener) as running:
            assert await running.run(lives, key="k") == 3

    asyncio.run(first())
    assert listener.events[0] == ("execution_started", False)
    listener.events.clear()
    go.append(True)
    asyncio.run(second())
    assert listener.events == [
        ("execution_started", True),
        ("step_started", "echo", 1),
        ("step_ended", "echo", "completed"),
        ("step_started", "broken", 1),
        ("step_ended", "broken", "failed"),
        ("execution_ended", "completed"),
    ]


@step
async def endless() -> None:
    calls.append("endless")
    await asyncio.Event().wait()


@pytest.mark.parametrize("how", ["task", "batch", "return", "cancel"])
def test_an_attempt_that_is_cancelled_is_told_once(stores: StoreSource, listener: Listener, how: str) -> None:
    @step
    async def when_it_runs() -> str:
        await until(lambda: calls)
        return "now"

    @blueprint(name=f"hooks of the cancelled, {how}")
    async def work() -> Any:
        if how == "batch":
            return len(
                await stepwell.parallel([endless, when_it_runs], completion=Completion(min_successful=1))
            )
        task = asyncio.create_task(endless())
        await when_it_runs()
        if how == "task":
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        elif how == "cancel":
            await task
        return 2

    async def main() -> None:
        async with kernel(stores, listener) as running:
            handle = await running.start(work)
            if how == "cancel":
                await until(lambda: ("step_ended", "when_it_runs", "completed") in listener.events)
                await handle.cancel()
                with pytest.raises(ExecutionError):
                    await handle.result()
            else:
                assert await handle.result() == 2

    asyncio.run(main())
    assert listener.named("endless") == [
        ("step_started", "endless", 1),
        ("step_ended", "endless", "cancelled"),
    ]
    assert [event[0] for event in listener.events].count("execution_ended") == 1
    assert listener.events[-1][0] == "execution_ended"


def test_a_cancelled_pause_between_attempts_is_no_attempt(stores: StoreSource, listener: Listener) -> None:
    clock = ManualClock()

    @step
    async def never_there() -> None:
        raise ConnectionError

    @blueprint(name="hooks of a retry given up")
    async def work() -> int:
        task = asyncio.create_task(never_there())
        await until(lambda: listener.named("never_there")[1:])
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return 1

    async def main() -> None:
        async with kernel(stores, listener, clock=clock) as running:
            assert await running.run(work) == 1

    asyncio.run(main())
    assert listener.named("never_there") == [
        ("step_started", "never_there", 1),
        ("step_ended", "never_there", "pending"),
    ]


def test_an_attempt_that_a_pause_interrupts_will_be_tried_again(
    stores: StoreSource, listener: Listener
) -> None:
    @step
    async def stays(times: int = 0) -> str:
        calls.append("stays")
        if len(calls) == 1:
            await asyncio.Event().wait()
        return "done"

    @blueprint(name="hooks of the paused")
    async def work() -> str:
        return await stays()

    async def main() -> None:
        async with kernel(stores, listener) as running:
            handle = await running.start(work)
            await until(lambda: calls)
            await handle.pause()
            await until(lambda: running.running(handle.id) is None)
            await handle.resume()
            assert await handle.result() == "done"

    asyncio.run(main())
    assert listener.events == [
        ("execution_started", False),
        ("step_started", "stays", 1),
        ("step_ended", "stays", "pending"),
        ("execution_started", True),
        ("step_started", "stays", 2),
        ("step_ended", "stays", "completed"),
        ("execution_ended", "completed"),
    ]


@pytest.mark.parametrize("executes", [True, False])
def test_one_that_is_cancelled_without_being_run_has_ended_too(
    stores: StoreSource, listener: Listener, executes: bool
) -> None:
    @blueprint(name="hooks of the never begun")
    async def work() -> None:
        await echo(1)

    async def main() -> None:
        async with Kernel(stores, tenant="acme") as running:
            known = (await running.start(work, at="1h")).id
        async with kernel(stores, listener, execute=executes) as running:
            assert await (await running.get(known)).cancel("not needed")
            assert not await (await running.get(known)).cancel("not needed")

    asyncio.run(main())
    assert listener.events == [("execution_ended", "cancelled")]


def test_hooks_are_called_in_their_order_and_are_no_part_of_the_blueprint(stores: StoreSource) -> None:
    order: list[str] = []

    class Named:
        def __init__(self, name: str) -> None:
            self.name = name

        def step_started(self, execution: Any, step: Any) -> None:
            order.append(self.name)
            asyncio.get_running_loop()
            # A plain call, outside of the record: a place of its own would be a divergence on the next replay.
            second_time().close()  # type: ignore[attr-defined]
            with pytest.raises(LookupError):
                stepwell.current()

    @blueprint(name="hooks that call steps")
    async def work() -> Any:
        return await echo(5)

    async def main() -> None:
        async with Kernel(stores, tenant="acme", hooks=[Named("a"), Named("b"), Named("c")]) as running:
            handle = await running.start(work)
            assert await handle.result() == 5
            assert [each.name for each in (await handle.execution()).steps.values()] == ["echo"]

    asyncio.run(main())
    assert order == ["a", "b", "c"]


def test_what_a_hook_raises_is_logged(
    stores: StoreSource, listener: Listener, caplog: pytest.LogCaptureFixture
) -> None:
    @blueprint(name="hooks that fail")
    async def work() -> Any:
        return await echo(5)

    async def main() -> None:
        async with kernel(stores, listener) as running:
            assert await running.run(work) == 5

    with caplog.at_level(logging.ERROR, "stepwell"):
        asyncio.run(main())
    told = [record.getMessage() for record in caplog.records]
    assert told == [f"a hook failed in {event[0]}" for event in listener.events]
    assert len(told) == 4
    assert "a hook must not matter" in caplog.text


def test_an_async_hook_is_refused() -> None:
    class Awaited:
        async def step_ended(self, execution: Any, step: Any) -> None: ...

    with pytest.raises(ValidationError, match=r"Awaited\.step_ended is an async def"):
        Kernel("memory", tenant="acme", hooks=[Awaited()])


@pytest.mark.parametrize("event", ["execution_started", "step_started", "step_ended", "execution_ended"])
def test_a_hook_that_meets_a_cancelled_task_changes_nothing(stores: StoreSource, event: str) -> None:
    def meets(*_: object) -> None:
        raise asyncio.CancelledError

    @step
    async def one() -> int:
        return 1

    @blueprint(name="hooks that are cancelled")
    async def work() -> int:
        return await one()

    async def main() -> None:
        hook = type("Meeting", (), {event: staticmethod(meets)})()
        async with Kernel(stores, tenant="acme", hooks=[hook]) as kernel:
            handle = await kernel.start(work)
            assert await handle.result() == 1
            assert (await handle.execution()).state == "completed"

    asyncio.run(main())
