"""Blueprints of every kind on files of SQLite, killed before and after each write, with both engines.

`test_crashing.py` and the tests of each kind do it in memory, which is quicker. Here it is seen that a file, and either
way to it, makes no difference to what survives.
"""

import asyncio
import itertools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import stepwell
from backends import BACKENDS
from runtime.common import echo
from stepwell import Blueprint, ExecutionError, RetryPolicy, blocking, blueprint, step
from stepwell.runtime import places
from stepwell.store.sqlite import SqliteSource
from stepwell.testing import Crash, crash_everywhere

charged: list[int] = []


@step(retry=RetryPolicy.attempts(3, base_delay_ms=5000))
async def at_the_second(name: str) -> str:
    if stepwell.current_step().attempt == 1:
        raise ConnectionError(name)
    return name


@step(retry=RetryPolicy.never())
def refused(name: str) -> None:
    raise LookupError(name)


@step(effect="once")
async def charge(cents: int) -> int:
    charged.append(cents)
    return cents


@blueprint(name="on disk: steps")
async def steps() -> Any:
    both = await asyncio.gather(echo(1), at_the_second("a"))
    try:
        await refused("b")
    except ExecutionError as error:
        return [*both, error.message, await charge(5)]


@blueprint(name="on disk: in a thread")
def in_a_thread() -> Any:
    return [echo(1), blocking.wait_for("go")]


@blueprint(name="on disk: groups")
async def groups() -> Any:
    async def inner() -> Any:
        return await echo("scope")

    found = await stepwell.map(echo, [1, 2], concurrency=1)
    race = await stepwell.parallel([echo, ("scoped", inner)])
    return [*found, *race, await stepwell.scope(inner)]


@blueprint(name="on disk: a child")
async def small(value: int) -> Any:
    return await echo(value)


@blueprint(name="on disk: children")
async def children() -> Any:
    return [await stepwell.child(small, 1), await stepwell.checkpoint("kept")]


@blueprint(name="on disk: waits")
async def waits() -> Any:
    answer = await stepwell.callback("answer", timeout="2h")
    await stepwell.sleep("1h")
    return [await stepwell.wait_for("signal", timeout="1d"), await answer.result()]


@blueprint(name="on disk: as new")
async def as_new(left: int) -> Any:
    await echo(left)
    if left:
        stepwell.continue_as_new(left - 1)
    return left


@step
async def cancels() -> None:
    kernel = places.here().run.kernel  # type: ignore[union-attr]
    await (await kernel.get(stepwell.current_step().execution_id)).cancel("enough")
    await asyncio.Event().wait()


@blueprint(name="on disk: cancelled")
async def cancelled() -> Any:
    try:
        await cancels()
    finally:
        await echo("cleanup")


CASES: list[tuple[Blueprint[..., Any], tuple[Any, ...], Any]] = [
    (steps, (), [1, "a", "b", 5]),
    (in_a_thread, (), [1, "went"]),
    (groups, (), [1, 2, None, "scope", "scope"]),
    (children, (), [1, "kept"]),
    (waits, (), ["signalled", "answered"]),
    (as_new, (1,), 0),
    (cancelled, (), "tool/cancelled: enough"),
]
ANSWERS = {"go": "went", "answer": "answered", "signal": "signalled"}


@pytest.fixture(params=BACKENDS)
def new_store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], SqliteSource]:
    """Makes a new empty store: a copy, which takes a fraction of the time."""
    empty, numbers = tmp_path / "empty.db", itertools.count()
    SqliteSource(empty, backend=request.param).open("acme").close()

    def made() -> SqliteSource:
        path = tmp_path / f"{next(numbers)}.db"
        shutil.copy(empty, path)
        return SqliteSource(path, backend=request.param)

    return made


@pytest.mark.parametrize(("which", "given", "result"), CASES, ids=lambda case: getattr(case, "name", ""))
def test_killed_at_every_write(
    new_store: Callable[[], SqliteSource], which: Blueprint[..., Any], given: tuple[Any, ...], result: Any
) -> None:
    charged.clear()

    def check(crash: Crash) -> None:
        assert len(charged) == (1 if which is steps else 0), crash
        charged.clear()

    # What dies is a process, so that nothing of this is about when the disk has it.
    report = crash_everywhere(
        which, *given, respond=ANSWERS, store=new_store, check=check, durability="process"
    )
    assert (report.result if report.error is None else str(report.error)) == result
    # Each history ends at another moment, and waits that end together are written together or not.
    assert {crash.done for crash in report.crashes} == {True, False}
    assert len(report.crashes) >= len(report.writes)
