"""Log records say which execution and step they are of, and what a blueprint logs while it replays is dropped."""

import asyncio
import logging
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import stepwell
from runtime.common import QUICK, echo
from stepwell import Kernel, LogFilter, blocking, blueprint, step
from stepwell.store.memory import MemorySource
from waiting import until_lines

log = logging.getLogger("an.application")


class Keeping(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[Any] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    @property
    def texts(self) -> list[str]:
        return [record.getMessage() for record in self.records]


@pytest.fixture
def kept() -> Iterator[Keeping]:
    handler = Keeping()
    handler.addFilter(LogFilter())
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    yield handler
    log.removeHandler(handler)
    log.setLevel(logging.NOTSET)


@step(retry=QUICK)
async def fetch(name: str) -> str:
    attempt = stepwell.current_step().attempt
    log.info("fetching %s", name)
    if attempt == 1:
        raise ConnectionError
    return name


@step
def add(left: int, right: int) -> int:
    log.info("adding")
    return left + right


async def inside() -> None:
    log.info("in the scope")
    await echo(1)
    log.info("end of the scope")


async def beside() -> None:
    log.info("in the task")
    await echo(1)
    log.info("later in the task")
    await echo(2)


@blueprint(name="logs")
async def logs() -> int:
    log.info("begins")
    await fetch("a")
    log.info("between")
    await stepwell.scope(inside)
    task = asyncio.create_task(beside())
    total = int(await add(1, 2))  # type: ignore[misc]
    await task
    log.info("waits")
    await stepwell.wait_for("go")
    log.info("ends")
    return total


@blueprint(name="logs, blocking")
def logs_blocking() -> int:
    log.info("begins")
    total = add(1, 2)
    log.info("waits")
    blocking.wait_for("go")
    log.info("ends")
    return total


def run_in_two_lives(source: MemorySource, which: Any) -> str:
    async def main(last: bool) -> str:
        async with Kernel(source, tenant="acme") as kernel:
            handle = await kernel.start(which, key="k")
            while (await handle.execution()).state != "waiting":
                await asyncio.sleep(0)
            if last:
                await handle.signal("go")
                assert await handle.result() == 3
            return handle.id

    return {asyncio.run(main(False)), asyncio.run(main(False)), asyncio.run(main(True))}.pop()


def test_records_say_what_they_are_of_and_come_once(source: MemorySource, kept: Keeping) -> None:
    log.info("before")
    known = run_in_two_lives(source, logs)
    log.info("after")
    once = [
        "before",
        "begins",
        "between",
        "in the scope",
        "end of the scope",
        "in the task",
        "later in the task",
    ]
    assert Counter(kept.texts) == Counter([*once, *["fetching a"] * 2, "adding", "waits", "ends", "after"])
    about = {record.getMessage(): {(record.execution_id, record.attempt)} for record in kept.records}
    assert about["before"] == about["after"] == {(None, None)}
    for text in (*once[1:], "waits", "ends"):
        assert about[text] == {(known, None)}, text
    of_steps = [record for record in kept.records if record.getMessage() in ("fetching a", "adding")]
    assert [record.attempt for record in of_steps] == [1, 2, 1]
    assert {record.execution_id for record in of_steps} == {known}
    assert len({record.step_id for record in of_steps}) == 2
    assert all(record.step_id.startswith("step_") for record in of_steps)
    assert all(record.step_id is None for record in kept.records if record not in of_steps)


def test_def_blueprints_too(source: MemorySource, kept: Keeping) -> None:
    known = run_in_two_lives(source, logs_blocking)
    assert kept.texts == ["begins", "adding", "waits", "ends"]
    assert [(record.execution_id, record.attempt) for record in kept.records] == [
        (known, None),
        (known, 1),
        (known, None),
        (known, None),
    ]


def test_without_the_filter_a_replay_logs_again(source: MemorySource, kept: Keeping) -> None:
    kept.filters.clear()
    run_in_two_lives(source, logs_blocking)
    assert kept.texts.count("begins") > 1, "what the filter is for"


def test_what_hooks_log_is_never_dropped(source: MemorySource, kept: Keeping) -> None:
    class Logging:
        def execution_started(self, execution: Any, replay: bool) -> None:
            log.info("taken up, %s", replay)

        def step_started(self, execution: Any, step: Any) -> None:
            log.info("step %s", step.name)

    go: list[bool] = []

    @blueprint(name="logs of hooks")
    async def work() -> None:
        first, second = fetch("first"), echo("second")
        await second
        if not go:
            first.close()  # type: ignore[attr-defined]
            await asyncio.Event().wait()
        await first

    async def main() -> None:
        async with Kernel(source, tenant="acme", hooks=[Logging()]) as kernel:
            handle = await kernel.start(work, key="k")
            if go:
                await handle.result()
            while not any(each.is_terminal for each in (await handle.execution()).steps.values()):
                await asyncio.sleep(0)

    asyncio.run(main())
    go.append(True)
    asyncio.run(main())
    hooked = [text for text in kept.texts if not text.startswith("fetching")]
    assert hooked == ["taken up, False", "step echo", "taken up, True", "step fetch", "step fetch"]
    assert all(record.execution_id is None for record in kept.records if record.getMessage() in hooked)


def test_install_puts_one_filter_on_each_handler() -> None:
    logger = logging.getLogger("apart")
    logger.addHandler(Keeping())
    installed = stepwell.logging.install(logger)
    assert isinstance(installed, LogFilter)
    logger.addHandler(Keeping())
    stepwell.logging.install(logger)
    assert [[type(each) for each in handler.filters] for handler in logger.handlers] == [[LogFilter]] * 2
    root = logging.getLogger()
    before = {handler: list(handler.filters) for handler in root.handlers}
    added = Keeping()
    root.addHandler(added)
    try:
        stepwell.logging.install()
        assert [type(each) for each in added.filters] == [LogFilter]
    finally:
        root.removeHandler(added)
        for handler, filters in before.items():
            handler.filters[:] = filters


PROGRAM = """
import asyncio, logging, sys
import stepwell
from stepwell import Kernel, blueprint, step

logging.basicConfig(filename=sys.argv[2], level=logging.INFO, format="%(message)s|%(execution_id)s|%(attempt)s")
stepwell.logging.install()
log = logging.getLogger("app")

@step
async def work(number):
    log.info("step %d", number)
    if number == 3 and sys.argv[3] == "die":
        log.info("now")
        await asyncio.Event().wait()
    return number

@blueprint(name="killed")
async def killed():
    for number in range(5):
        log.info("before %d", number)
        await work(number)
    log.info("done")

async def main():
    async with Kernel(sys.argv[1], tenant="acme") as kernel:
        await kernel.run(killed, key="k")

asyncio.run(main())
"""


def test_over_a_kill_what_a_blueprint_logged_is_not_there_twice(tmp_path: Path) -> None:
    store, log = f"sqlite:///{tmp_path / 'runs.db'}", tmp_path / "log"
    log.touch()
    command = [sys.executable, "-c", PROGRAM, store, str(log)]
    process = subprocess.Popen([*command, "die"], text=True)
    until_lines(process, log, 9)
    started = steps_of(store)
    while started() < 4:  # until the last attempt's start is recorded, too
        pass
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    subprocess.run([*command, "live"], check=True, timeout=60)
    lines = [line.split("|") for line in log.read_text().splitlines()]
    assert [line[0] for line in lines] == [
        *(text for number in range(4) for text in (f"before {number}", f"step {number}")),
        *("now", "step 3", "before 4", "step 4", "done"),
    ]
    assert len({line[1] for line in lines}) == 1
    assert lines[0][1].startswith("exec_")
    assert [line[2] for line in lines if line[0] == "step 3"] == ["1", "2"]
    assert {line[2] for line in lines if line[0].startswith("before")} == {"None"}


def steps_of(store: str) -> Any:
    """A question: how many starts of steps are recorded."""
    from stepwell.store import open_store

    def count() -> int:
        opened = open_store(store, "acme")
        try:
            (row,) = opened.list().wait()
            return sum(kind == "step_started" for _, _, kind, _ in opened.load(row.id).wait())
        finally:
            opened.close()

    return count
