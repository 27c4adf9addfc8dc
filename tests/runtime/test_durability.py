"""When the result of a step is seen: each level writes what it says, when it says, and loses no more than it says."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from backends import BACKENDS
from runtime.common import run
from stepwell import ExecutionError, Kernel, RetryPolicy, ValidationError, blueprint, run_step, step
from stepwell.store import Record
from stepwell.store.memory import MemorySource, MemoryStore
from stepwell.store.sqlite import SqliteSource
from store.processes import run_python


class Recording(MemorySource):
    """Remembers what was written, and how durable it had to be."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[tuple[str, list[str]]] = []

    def open(self, tenant: str) -> MemoryStore:
        store = super().open(tenant)
        create, append = store.create, store.append

        def creates(new: Any, action_id: bytes, records: Sequence[Record], row: Any, durability: Any) -> Any:
            self.writes.append((durability, [record[2] for record in records]))
            return create(new, action_id, records, row, durability)

        def appends(*args: Any) -> Any:
            self.writes.append((args[6], [record[2] for record in args[4]]))
            return append(*args)

        store.create, store.append = creates, appends  # type: ignore[method-assign]
        return store


@step
async def number(value: int) -> int:
    return value


@blueprint(name="durability.count", version="1")
async def count(to: int = 20) -> int:
    return sum([await number(value) for value in range(to)])


def writes(level: str, which: Any = count, *args: Any) -> list[tuple[str, list[str]]]:
    source = Recording()
    run(source, which, *args, durability=level)
    return source.writes


@pytest.mark.parametrize("level", ["power", "process"])
def test_every_step_is_written_before_it_is_seen(level: str) -> None:
    found = writes(level)
    assert {durability for durability, _ in found} == {level}
    assert sum("step_completed" in kinds for _, kinds in found) == 20


def test_at_the_end_everything_is_written_once() -> None:
    found = writes("end")
    assert [durability for durability, _ in found] == ["power", "power"]
    assert found[1][1].count("step_completed") == 20
    assert found[1][1][-1] == "complete"


def test_behind_is_written_in_few_pieces_and_the_end_to_the_disk() -> None:
    found = writes("behind", count, 2_000)
    assert len(found) < 40
    assert sum(kinds.count("step_completed") for _, kinds in found) == 2_000
    assert {durability for durability, _ in found} == {"power"}


@step(durability="power")
async def careful() -> int:
    return 1


@blueprint(name="durability.mixed", version="1")
async def mixed() -> int:
    first = await number(1)
    await careful()
    return first + await run_step(number, 2, durability="process")


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        # creation; then what is seen together with what came before it
        ("end", ["power", "power", "process", "power"]),
        ("process", ["process", "process", "power", "process", "process"]),
        ("power", ["power", "power", "power", "process", "power"]),
    ],
)
def test_a_step_may_say_another_level_than_the_kernel(level: str, expected: list[str]) -> None:
    source = Recording()
    assert run(source, mixed, durability=level) == 3
    assert [durability for durability, _ in source.writes] == expected


@step(retry=RetryPolicy.attempts(2, base_delay_ms=1, jitter=False))
async def fails() -> None:
    raise LookupError


@blueprint(name="durability.waits", version="1")
async def waits() -> None:
    await number(1)
    with contextlib.suppress(ExecutionError):
        await fails()


def test_at_the_end_a_wait_is_written_too() -> None:
    _, waiting, ended = writes("end", waits)
    assert "step_completed" in waiting[1]
    assert waiting[1][-1] == "wait"
    assert ended[1][-1] == "complete"


@pytest.mark.parametrize("bad", ["", "disk", None, 3])
def test_a_level_has_a_name(bad: Any) -> None:
    with pytest.raises(ValidationError, match="power"):
        Kernel("memory", tenant="acme", durability=bad)
    if bad is not None:
        with pytest.raises(ValidationError, match="power"):
            step(durability=bad)(lambda: None)


TICKING = """
    import asyncio, os, sys, time
    os.environ["STEPWELL_BACKEND"] = sys.argv[3]
    from stepwell import ExecutionError, Kernel, blueprint, step

    @step
    async def tick(number):
        return number

    @blueprint(name="durability.ticking", version="1")
    async def ticking():
        number = 0
        while True:
            await tick(number)
            os.write(1, b"%d %d\\n" % (number, time.monotonic_ns()))
            number += 1

    async def main():
        async with Kernel(f"sqlite:///{sys.argv[1]}", tenant="acme", durability=sys.argv[2]) as kernel:
            await kernel.run(ticking, key="k")

    asyncio.run(main())
"""


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("level", ["power", "process", "behind"])
def test_killed_it_loses_no_more_than_its_window(tmp_path: Path, level: str, backend: str) -> None:
    path = tmp_path / "runs.db"
    process = run_python(TICKING, path, level, backend)
    assert process.stdout is not None
    for _ in range(400):
        process.stdout.readline()
    killed = time.monotonic_ns()
    os.kill(process.pid, signal.SIGKILL)
    lines = process.stdout.read().splitlines()
    process.communicate()
    seen = [tuple(map(int, line.split())) for line in lines if line.count(" ") == 1]
    store = SqliteSource(path, backend=backend).open("acme")
    [row] = store.list().wait(10)
    kinds: list[str] = []
    while page := store.load(row.id, len(kinds) - 1).wait(10):
        kinds += [record[2] for record in page]
    store.close()
    written = kinds.count("step_completed")
    # Half a second: the window of 50 ms, and a machine that does other things.
    promised = [tick for tick, at in seen if level != "behind" or at < killed - 500_000_000]
    assert written > max(promised, default=-1)


def test_the_host_has_its_turn_while_nothing_is_waited_for() -> None:
    async def main() -> int:
        async with Kernel("memory", tenant="acme", durability="end") as kernel:
            handle = await kernel.start(count, 3_000)
            turns = 0
            result = asyncio.ensure_future(handle.result())
            while not result.done():
                await asyncio.sleep(0)
                turns += 1
            assert await result == sum(range(3_000))
            return turns

    assert asyncio.run(main()) > 20
