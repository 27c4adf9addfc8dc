"""The progress of `run`: steps, and the branches of batches, also of those that an earlier process began."""

import asyncio
import re
import threading
from collections.abc import Callable
from typing import Any

import pytest

import stepwell
from stepwell import Completion, Kernel, RetryPolicy, blueprint, step
from stepwell.cli import progress as progress_module
from stepwell.cli.progress import Batch, Progress
from stepwell.store.memory import MemorySource

held = threading.Event()


@pytest.fixture(autouse=True)
def every_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_module, "_LINE_EVERY_S", 0.0)


@step(retry=RetryPolicy.never())
async def work(number: int) -> int:
    if number < 0:
        raise LookupError("no such number")
    return number


@step
async def hold(number: int) -> int:
    if not held.is_set():
        await asyncio.Event().wait()
    return number


async def branch(number: int) -> int:
    """A branch that is a scope, with two steps in it."""
    return await work(number) + await work(number)


async def group(number: int) -> int:
    """A branch with a batch of its own."""
    return sum(await stepwell.map(work, range(number), name="inner"))


@blueprint
async def plain() -> list[int]:
    return [*await stepwell.map(work, range(5), concurrency=1, name="plain"), await work(7)]


@blueprint
async def scopes() -> list[int]:
    return [*await stepwell.map(branch, range(4), concurrency=1, name="scopes")]


@blueprint
async def nested() -> list[int]:
    return [*await stepwell.map(group, range(1, 4), concurrency=1, name="outer")]


@blueprint
async def failing() -> int:
    batch = await stepwell.map(work, [1, -1, -2, 4], 1, Completion(), name="failing")
    return batch.failure_count


@blueprint
async def held_half_way() -> list[int]:
    done = [*await stepwell.map(work, range(3), name="before")]
    both = await stepwell.parallel([lambda: hold(1), lambda: work(9), lambda: hold(3)], name="both")
    return [*done, *both]


def run(which: Any, source: MemorySource | None = None) -> Any:
    async def main() -> Any:
        async with Kernel(source or MemorySource(), tenant="acme", hooks=[Progress(quiet=False)]) as kernel:
            return await kernel.run(which, key="k")

    return asyncio.run(main())


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str]) -> Callable[[str], list[tuple[int, int]]]:
    """What was said of a batch, as pairs: branches done, branches in all. Each once."""

    def said(name: str) -> list[tuple[int, int]]:
        found = re.findall(rf" {name} ([\d,]+) of ([\d,]+)", capsys.readouterr().err)
        return list(
            dict.fromkeys((int(done.replace(",", "")), int(of.replace(",", ""))) for done, of in found)
        )

    return said


def test_branches_that_are_steps(shown: Callable[[str], list[tuple[int, int]]]) -> None:
    assert run(plain) == [0, 1, 2, 3, 4, 7]
    assert shown("plain") == [(done, 5) for done in range(6)]


def test_branches_that_are_scopes(shown: Callable[[str], list[tuple[int, int]]]) -> None:
    assert run(scopes) == [0, 2, 4, 6]
    assert shown("scopes") == [(done, 4) for done in range(4)]


def test_the_outermost_batch_is_shown(
    shown: Callable[[str], list[tuple[int, int]]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(nested) == [0, 1, 3]
    said = capsys.readouterr().err
    assert "outer 2 of 3" in said
    assert "inner" not in said


def test_branches_that_failed_count(shown: Callable[[str], list[tuple[int, int]]]) -> None:
    assert run(failing) == 2
    assert shown("failing") == [(done, 4) for done in range(5)]


def test_what_is_recorded_already_counts(shown: Callable[[str], list[tuple[int, int]]]) -> None:
    source = MemorySource()

    class Until:
        """Tells when the one branch that can has ended."""

        def step_ended(self, execution: Any, step: Any) -> None:
            if step.output == 9:
                ended.set()

    async def half() -> None:
        async with Kernel(source, tenant="acme", hooks=[Until()]) as kernel:
            await kernel.start(held_half_way, key="k")
            await ended.wait()

    held.clear()
    ended = asyncio.Event()
    asyncio.run(half())
    held.set()
    assert run(held_half_way, source) == [0, 1, 2, 1, 9, 3]
    # No hook tells of the end of the last branch: a scope runs no code of its own.
    assert shown("both") == [(1, 3), (2, 3)]


def test_the_bar() -> None:
    execution = stepwell.Execution.with_tenant("acme")
    execution.start()
    batch = Batch(execution.start_step("batch", type="scope"), 2450)
    assert batch.line(0) == "batch 0 of 2,450"
    batch.done = 1225
    assert batch.line(10) == "█████░░░░░ batch 1,225 of 2,450"
    batch.done = 2450
    assert batch.line(4) == "████ batch 2,450 of 2,450"
    assert Batch(batch.step, 0).line(2) == "██ batch 0 of 0"
