"""`run_step(f, name=…)` where `f` has a parameter of its own that is called like an option of the step."""

import asyncio
import functools
from typing import Any

import pytest

from runtime.common import calls
from stepwell import ExecutionError, Kernel, ValidationError, blocking, blueprint, run_step, step
from stepwell.store.memory import MemorySource


async def greet(greeting: str, name: str) -> str:
    calls.append((greeting, name))
    return f"{greeting} {name}"


async def call(number: str, *, timeout: int) -> str:
    return f"{number} for {timeout}"


async def has_a_default(name: str = "nobody") -> str:
    return name


async def takes_all(*names: str, **others: Any) -> str:
    return f"{names} {others}"


async def by_position_only(greeting: str = "hello", /, **others: Any) -> str:
    return f"{greeting} {others}"


def greet_too(greeting: str, name: str) -> str:
    return f"{greeting} {name}"


greet_step = step(greet)

REFUSED = [
    (greet, ("hello",), {"name": "Ann"}, "greet has a parameter name, and run_step takes name= for the step"),
    (greet, (), {"greeting": "hello", "name": "Ann"}, r"functools.partial\(greet, name=…\)"),
    (greet_step, ("hello",), {"name": "Ann"}, "greet has a parameter name"),
    (call, ("112",), {"timeout": 5}, "call has a parameter timeout"),
]

TAKEN = [
    (greet, ("hello", "Ann"), {"name": "a step"}, "hello Ann", "a step"),
    (functools.partial(greet, name="Ann"), ("hello",), {"name": "a step"}, "hello Ann", "a step"),
    (has_a_default, (), {"name": "a step"}, "nobody", "a step"),
    (takes_all, ("a",), {"name": "a step", "other": 1}, "('a',) {'other': 1}", "a step"),
    (by_position_only, (), {"name": "a step"}, "hello {}", "a step"),
    (greet_step, ("hello", "Ann"), {}, "hello Ann", "greet"),
]


def outcome(fn: Any, args: Any, named: Any) -> Any:
    @blueprint(name="own names")
    async def work() -> Any:
        return await run_step(fn, *args, **named)

    async def main() -> Any:
        async with Kernel(MemorySource(), tenant="acme") as kernel:
            handle = await kernel.start(work)
            try:
                found = await handle.result(timeout="20s")
            except ExecutionError as error:
                found = error
            return found, [one.name for one in (await handle.execution()).steps.values()]

    return asyncio.run(main())


@pytest.mark.parametrize(("fn", "args", "named", "says"), REFUSED)
def test_what_was_meant_for_the_function_is_refused(fn: Any, args: Any, named: Any, says: str) -> None:
    error, steps = outcome(fn, args, named)
    assert error.category == "validation"
    assert steps == []
    with pytest.raises(ValidationError, match=says):
        asyncio.run(run_step(fn, *args, **named))
    assert calls == []


@pytest.mark.parametrize(("fn", "args", "named", "result", "name"), TAKEN)
def test_what_has_its_value_is_called(fn: Any, args: Any, named: Any, result: str, name: str) -> None:
    assert outcome(fn, args, named) == (result, [name])


def test_in_a_def_blueprint() -> None:
    @blueprint(name="own names in a thread")
    def work() -> Any:
        with pytest.raises(ValidationError, match="greet_too has a parameter name"):
            blocking.run_step(greet_too, "hello", name="Ann")
        return blocking.run_step(greet_too, "hello", "Ann", name="a step")

    with Kernel(MemorySource(), tenant="acme") as kernel:
        assert kernel.run(work) == "hello Ann"
