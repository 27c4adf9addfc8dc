"""A pause that is asked for and at once taken back, by whatever kernel: the last wish is to go on."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

import stepwell
from stepwell import Kernel, blueprint, step
from stepwell.store.memory import MemorySource
from stepwell.store.sqlite import SqliteSource


@pytest.fixture(params=["memory", "sqlite"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return MemorySource() if request.param == "memory" else SqliteSource(tmp_path / "runs.db")


@step
async def turns() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


@blueprint(name="taken back.runs", version="1")
async def runs() -> str:
    for _ in range(400):
        await turns()
    return "done"


@blueprint(name="taken back.waits", version="1")
async def waits() -> str:
    return str(await stepwell.wait_for("go"))


@pytest.mark.parametrize("which", [runs, waits])
@pytest.mark.parametrize("whose", ["the same", "another", "one that runs nothing"])
def test_the_last_wish_counts(source: Any, which: Any, whose: str) -> None:
    async def main() -> None:
        async with (
            Kernel(source, tenant="acme") as kernel,
            Kernel(source, tenant="acme", recover=False) as other,
            Kernel(source, tenant="acme", execute=False) as teller,
        ):
            handle = await kernel.start(which)
            while not (await handle.execution()).steps:
                await asyncio.sleep(0)
            asking = {"the same": kernel, "another": other, "one that runs nothing": teller}[whose]
            asked = await asking.get(handle.id)
            assert await asked.pause("wait")
            await asked.resume()
            if which is waits:
                await asked.signal("go", "done")
            assert await asked.result(timeout="20s") == "done"

    asyncio.run(main())


def test_to_resume_what_another_process_runs_changes_nothing_where_nothing_is_run(source: Any) -> None:
    async def main() -> None:
        async with (
            Kernel(source, tenant="acme") as kernel,
            Kernel(source, tenant="acme", execute=False) as teller,
        ):
            handle = await kernel.start(waits)
            asked = await teller.get(handle.id)
            await asked.resume()
            await asked.signal("go", "done")
            assert await handle.result(timeout="20s") == "done"

    asyncio.run(main())
