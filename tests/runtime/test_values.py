"""What goes into steps and blueprints, and what comes back."""

import asyncio
import contextvars
import threading
from typing import Any

import pytest

from runtime.common import calls, echo, run
from stepwell import (
    ExecutionError,
    Kernel,
    ValidationError,
    blueprint,
    run_step,
    step,
)
from stepwell.store.memory import MemorySource


def test_a_value_is_the_recorded_one_live_as_on_replay(source: MemorySource) -> None:
    @blueprint(name="values")
    async def work() -> list[Any]:
        given = (1, {"a": (2, 3)})
        got = await echo(given)
        got[1]["a"].append(4)
        return [got, got is given, given]

    first = run(source, work)
    assert first == [[1, {"a": [2, 3, 4]}], False, [1, {"a": [2, 3]}]]
    assert run(source, work) == first
    assert calls == [(1, {"a": (2, 3)})]


def test_arguments_are_recorded_as_they_were_at_the_call(source: MemorySource) -> None:
    @blueprint(name="arguments")
    async def work(first: int, *, second: list[int]) -> Any:
        given = [first]
        call = echo(given, also=second)
        given.append(99)
        await call
        return second

    async def main() -> None:
        async with Kernel(source, tenant="acme") as kernel:
            handle = await kernel.start(work, 1, second=[2])
            assert await handle.result() == [2]
            execution = await handle.execution()
            assert execution.input == {"args": [1], "kwargs": {"second": [2]}}
            (only,) = execution.steps.values()
            assert only.input == {"args": [[1]], "kwargs": {"also": [2]}}
            assert only.callable_id == f"{echo.__module__}.echo"

    asyncio.run(main())


def test_a_result_that_has_no_json_form_fails_the_step(source: MemorySource) -> None:
    @step
    async def odd() -> Any:
        return {"a": [object()]}

    @blueprint(name="odd")
    async def work() -> str:
        try:
            await odd()
        except ExecutionError as error:
            return f"{error.category} {error.message}"
        return "unreachable"

    answer = run(source, work)
    assert answer.startswith("validation")
    assert "$.a[0]" in answer


def test_arguments_that_do_not_fit_are_refused_before_anything_is_stored(source: MemorySource) -> None:
    @blueprint(name="fits")
    async def work(a: int) -> int:
        return a

    async def main() -> None:
        async with Kernel(source, tenant="acme") as kernel:
            for args in ((), (1, 2), (object(),), (float("nan"),)):
                with pytest.raises(ValidationError):
                    await kernel.start(work, *args)
            with pytest.raises(ValidationError, match="@blueprint"):
                await kernel.start(lambda: None)  # type: ignore[call-overload]
            assert await kernel.list() == []

    asyncio.run(main())


def test_context_variables_are_carried(source: MemorySource) -> None:
    colour = contextvars.ContextVar("colour", default="none")

    @step
    def in_thread() -> list[str]:
        return [colour.get(), threading.current_thread().name]

    @blueprint(name="context")
    async def work() -> list[Any]:
        inside = colour.get()
        colour.set("green")
        return [inside, *await run_step(in_thread)]

    @blueprint(name="context in a thread")
    def blocking() -> list[Any]:
        inside = colour.get()
        colour.set("green")
        return [inside, *in_thread()]

    async def main() -> None:
        colour.set("blue")
        async with Kernel(source, tenant="acme") as kernel:
            assert await kernel.run(work) == ["blue", "green", "stepwell-step"]
            assert await kernel.run(blocking) == ["blue", "green", "stepwell-step"]
        assert colour.get() == "blue"

    asyncio.run(main())
