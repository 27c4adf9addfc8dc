"""What a kernel does to the program around it: nothing."""

import asyncio
import logging
import threading
from typing import Any

import pytest

from runtime.common import QUICK, calls, echo, run
from stepwell import (
    ExecutionError,
    Kernel,
    NotFound,
    TerminalExecution,
    blueprint,
    run_step,
    step,
)
from stepwell.errors import KernelClosed
from stepwell.runtime import BlockingKernel, current_step
from stepwell.runtime.blocking import run_step as run_step_here
from stepwell.store.memory import MemorySource


class Listener:
    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []

    def execution_started(self, execution: Any, replay: bool) -> None:
        self.events.append(("execution_started", replay))
        raise RuntimeError("a hook must not matter")

    def execution_ended(self, execution: Any) -> None:
        self.events.append(("execution_ended", str(execution.state)))

    def step_started(self, execution: Any, step: Any) -> None:
        self.events.append(("step_started", step.name, step.attempt))

    def step_ended(self, execution: Any, step: Any) -> None:
        self.events.append(("step_ended", step.name, str(step.state)))


def test_hooks(source: MemorySource, caplog: pytest.LogCaptureFixture) -> None:
    @step(retry=QUICK)
    async def twice() -> int:
        if current_step().attempt == 1:
            raise ConnectionError("first")
        return 1

    @blueprint(name="hooks")
    async def work() -> int:
        return int(await echo(1)) + await twice()

    class Deaf:
        pass

    listener = Listener()
    with caplog.at_level(logging.ERROR):
        assert run(source, work, hooks=[Deaf(), listener]) == 2
        assert run(source, work, hooks=[listener]) == 2
    assert listener.events == [
        ("execution_started", False),
        ("step_started", "echo", 1),
        ("step_ended", "echo", "completed"),
        ("step_started", "twice", 1),
        ("step_ended", "twice", "pending"),
        ("step_started", "twice", 2),
        ("step_ended", "twice", "completed"),
        ("execution_ended", "completed"),
    ]
    assert "a hook must not matter" in caplog.text


def test_the_loop_keeps_its_executor_and_goes_on_turning(source: MemorySource) -> None:
    entered, leave = threading.Event(), threading.Event()

    @step
    def blocks() -> str:
        entered.set()
        assert leave.wait(10)
        return threading.current_thread().name

    @blueprint(name="blocks")
    async def work() -> Any:
        return await blocks()

    @blueprint(name="blocks too")
    def blocking() -> Any:
        return [threading.current_thread().name, blocks()]

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with Kernel(source, tenant="acme") as kernel:
            for which, result in (
                (work, "stepwell-step"),
                (blocking, ["stepwell-blueprint", "stepwell-step"]),
            ):
                handle = await kernel.start(which)
                while not entered.is_set():
                    await asyncio.sleep(0)
                leave.set()
                assert await handle.result() == result
                entered.clear()
                leave.clear()
        assert getattr(loop, "_default_executor", None) is None

    asyncio.run(main())


def test_a_long_record_is_replayed_in_pieces(source: MemorySource) -> None:
    go: list[bool] = []

    @blueprint(name="long")
    async def work() -> int:
        for number in range(500):
            await echo(number)
        if not go:
            await asyncio.Event().wait()
        return 500

    async def first() -> None:
        async with Kernel(source, tenant="acme") as kernel:
            await kernel.start(work, key="k")
            while len(calls) < 500:
                await asyncio.sleep(0)

    async def second() -> None:
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        go.append(True)
        counting = asyncio.create_task(count())
        async with Kernel(source, tenant="acme") as kernel:
            assert await kernel.run(work, key="k") == 500
        counting.cancel()
        assert turns >= 500 // 64

    asyncio.run(first())
    asyncio.run(second())
    assert len(calls) in (500, 501)


def test_blocking(source: MemorySource) -> None:
    @blueprint(name="blocking")
    def work(number: int) -> list[int]:
        return [echo(number), run_step_here(lambda a: a + 1, number, name="more")]  # type: ignore[list-item]

    with Kernel(source, tenant="acme") as kernel:
        assert isinstance(kernel, BlockingKernel)
        handle = kernel.start(work, 1, key="k")
        assert handle.result(timeout=10) == [1, 2]
        assert [step.name for step in handle.execution().steps.values()] == ["echo", "more"]
        assert kernel.run(work, 1, key="k") == [1, 2]
        assert [row.id for row in kernel.list(state="completed")] == [handle.id]
        assert kernel.get(handle.id).result() == [1, 2]
        with pytest.raises(TerminalExecution):
            kernel.resume(handle.id)
        with pytest.raises(NotFound):
            kernel.get("exec_00000000000000000000000000")
    with pytest.raises(KernelClosed):
        kernel.list()
    assert not [thread for thread in threading.enumerate() if thread.name == "stepwell-kernel"]
    assert calls == [1]


def test_run_step_in_a_def_blueprint_names_the_other(source: MemorySource) -> None:
    @blueprint(name="wrong one")
    def work() -> None:
        run_step(print)

    with pytest.raises(ExecutionError, match="blocking"):
        run(source, work)


def test_a_def_blueprint_that_swallows_everything_is_left_all_the_same(source: MemorySource) -> None:
    entered, leave, done = threading.Event(), threading.Event(), threading.Event()

    @step
    def slow(number: int) -> int:
        entered.set()
        assert leave.wait(10)
        return number

    @blueprint(name="swallows")
    def work() -> str:
        try:
            for number in range(5):
                try:
                    slow(number)
                except Exception:  # noqa: BLE001
                    calls.append("swallowed")
            return "unreachable"
        finally:
            done.set()

    async def main() -> None:
        async with Kernel(source, tenant="acme") as kernel:
            await kernel.start(work)
            while not entered.is_set():
                await asyncio.sleep(0)
        leave.set()

    asyncio.run(main())
    assert done.wait(10)
    assert calls == []
    (row,) = source.open("acme").list().wait()
    assert (row.state, row.owner) == ("running", None)
