"""A store that is busy: the steps wait with it, and nothing is lost or done twice."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backends import BACKENDS
from runtime.common import calls, echo
from stepwell import Kernel, blueprint
from stepwell.runtime import journaling
from stepwell.store import sqlite
from stepwell.store.sqlite import SqliteSource
from store.processes import held


@blueprint(name="busy.work", version="1")
async def work(name: str, count: int) -> list[Any]:
    return [await echo((name, number)) for number in range(count)]


@blueprint(name="busy.branches", version="1")
async def branches(name: str, count: int) -> list[Any]:
    return await asyncio.gather(*(echo((name, number)) for number in range(count)))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("which", [work, branches])
def test_a_file_that_others_hold_for_long(
    tmp_path: Path, backend: str, which: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journaling, "BUSY_DELAY", 0.001)
    path = tmp_path / "runs.db"
    asked: list[Any] = []
    not_sent = journaling.Journaling._not_sent

    def noted(self: journaling.Journaling, error: Exception) -> None:
        asked.append(error)
        not_sent(self, error)

    monkeypatch.setattr(journaling.Journaling, "_not_sent", noted)

    async def main() -> list[Any]:
        source = SqliteSource(path, busy_seconds=0.02, backend=backend)
        async with Kernel(source, tenant="acme") as kernel:
            handles = [await kernel.start(which, name, 6) for name in "abc"]
            await until(lambda: len(calls) > 3)
            with held(path):
                before = len(asked)
                await until(lambda: len(asked) > before + 6)
            return [await handle.result() for handle in handles]

    assert asyncio.run(main()) == [[[name, number] for number in range(6)] for name in "abc"]
    assert len(calls) == len(set(calls)) == 18


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("which", [work, branches])
def test_a_queue_that_is_full(
    tmp_path: Path, backend: str, which: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journaling, "BUSY_DELAY", 0.001)

    async def main() -> list[Any]:
        source = SqliteSource(tmp_path / "runs.db", backend=backend)
        async with Kernel(source, tenant="acme") as kernel:
            handles = [await kernel.start(which, str(name), 10) for name in range(30)]
            monkeypatch.setattr(sqlite, "MAX_WAITING", 2)
            await until(lambda: len(calls) == 300)
            monkeypatch.undo()
            return [await handle.result() for handle in handles]

    assert asyncio.run(main()) == [[[str(name), number] for number in range(10)] for name in range(30)]
    assert len(calls) == len(set(calls)) == 300
