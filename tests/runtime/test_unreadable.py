"""What could not be read again as its annotation says is no result: it fails, now as on replay."""

import asyncio
import dataclasses
from typing import Any

import pytest

import stepwell
from runtime.common import run
from stepwell import ExecutionError, Kernel, RetryPolicy, blueprint, step
from stepwell.store.memory import MemorySource


@dataclasses.dataclass
class Point:
    x: int


@step(retry=RetryPolicy.never())
async def wrong() -> Point:
    return {"y": 1}  # type: ignore[return-value]


class Odd:
    """A codec that cannot read what it wrote."""

    def encode(self, value: Any, /) -> Any:
        return [value]

    def decode(self, value: Any, annotation: Any, /) -> Any:
        raise KeyError("lost")


@step(codec=Odd(), retry=RetryPolicy.never())
async def lost() -> int:
    return 1


@blueprint(name="unreadable.steps", version="1")
async def steps() -> list[str]:
    found = []
    for one in (wrong, lost):
        try:
            await one()
        except ExecutionError as error:
            found.append(f"{error.category}")
    await stepwell.wait_for("go")
    return found


def test_a_step_fails_with_what_cannot_be_read() -> None:
    source = MemorySource()

    async def main() -> tuple[list[str], list[str]]:
        async with Kernel(source, tenant="acme") as kernel:
            handle = await kernel.start(steps, key="k")
            while (found := await handle.execution()).state != "waiting":
                await asyncio.sleep(0)
        async with Kernel(source, tenant="acme") as kernel:
            handle = await kernel.get(handle.id)
            await handle.signal("go")
            return [str(one.state) for one in found.steps.values()], await handle.result()

    states, found = asyncio.run(main())
    assert states == ["failed", "failed", "running"]
    assert found[0] == "validation"
    assert len(found) == 2


@blueprint(name="unreadable.result", version="1")
async def result() -> Point:
    return {"nope": 1}  # type: ignore[return-value]


@blueprint(name="unreadable.parent", version="1")
async def parent() -> str:
    try:
        await stepwell.child(result)
    except ExecutionError as error:
        return str(error.category)
    return "nothing"


def test_a_blueprint_fails_with_it_too() -> None:
    source = MemorySource()
    with pytest.raises(ExecutionError, match="expected int, found nothing"):
        run(source, result)
    assert run(MemorySource(), parent) == "validation"


@blueprint(name="unreadable.signal", version="1")
async def signalled() -> str:
    try:
        await stepwell.wait_for("point", type=Point)
    except ExecutionError as error:
        return str(error.category)
    return "nothing"


def test_a_wait_fails_with_a_payload_that_does_not_fit() -> None:
    async def main() -> str:
        async with Kernel("memory", tenant="acme") as kernel:
            handle = await kernel.start(signalled)
            await handle.signal("point", {"z": 1})
            return await handle.result()

    assert asyncio.run(main()) == "validation"
