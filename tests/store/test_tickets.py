"""Waiting for a store: in threads, on loops of every kind, with interrupts, and after the loop is gone."""

import asyncio
import gc
import os
import signal
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backends import BACKENDS
from stepwell import NotFound, ValidationError
from stepwell.store import NewExecution, Projection
from stepwell.store.sqlite import SqliteSource, SqliteStore
from store.processes import run_python

RUNNING = Projection("running", None, "0" * 32)

HOLDER = """
    import sqlite3, sys
    db = sqlite3.connect(sys.argv[1], isolation_level=None)
    db.execute("BEGIN IMMEDIATE")
    print("held", flush=True)
    sys.stdin.readline()
    db.execute("ROLLBACK")
"""


class Holder:
    """Another process that keeps the file to itself until it is told to let go."""

    def __init__(self, path: Path) -> None:
        self.process = run_python(HOLDER, path)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "held\n"

    def let_go(self) -> None:
        self.process.communicate("go\n", timeout=30)


@pytest.fixture(params=BACKENDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SqliteStore]:
    opened = SqliteSource(tmp_path / "runs.db", backend=request.param).open("acme")
    create(opened, "exec_0").wait(10)
    yield opened
    opened.close()


def create(store: SqliteStore, id: str) -> Any:
    new = NewExecution(id, "m.f", None, None, None, None, None)
    return store.create(new, id.encode(), [(0, 1, "created", b"{}")], RUNNING)


class Unwatching(asyncio.SelectorEventLoop):
    """A loop that watches no files, as some do."""

    def add_reader(self, *_: Any) -> None:
        raise NotImplementedError


@pytest.mark.parametrize("kind", [asyncio.SelectorEventLoop, Unwatching])
def test_every_kind_of_loop_is_told(store: SqliteStore, kind: type[asyncio.SelectorEventLoop]) -> None:
    async def main() -> list[str]:
        tickets = [create(store, f"exec_{number}") for number in range(1, 300)]
        return [own for own, _ in await asyncio.gather(*map(awaited, tickets))]

    async def awaited(ticket: Any) -> Any:
        return await ticket

    with asyncio.Runner(loop_factory=kind) as runner:
        assert runner.run(main()) == [f"exec_{number}" for number in range(1, 300)]
        assert len(runner.run(main())) == 299, "and again, the same requests"


def test_a_sleeping_loop_is_woken(store: SqliteStore, tmp_path: Path) -> None:
    holder = Holder(tmp_path / "runs.db")

    async def main() -> tuple[str, bool]:
        waiting = asyncio.ensure_future(awaited())
        done, _ = await asyncio.wait([waiting], timeout=0.01)  # longer than anybody looks before sleeping
        assert not done
        await asyncio.to_thread(holder.let_go)
        return await asyncio.wait_for(waiting, 20)

    async def awaited() -> Any:
        return await create(store, "exec_1")

    assert asyncio.run(main()) == ("exec_1", True)


def test_a_listener_is_called_on_its_loop_with_the_ticket(store: SqliteStore) -> None:
    async def main() -> None:
        loop, told = asyncio.get_running_loop(), asyncio.Event()
        ticket = create(store, "exec_1")
        seen: list[Any] = []

        def listener(done: Any) -> None:
            seen.append((done, threading.current_thread()))
            told.set()

        ticket.then(loop, listener)
        await asyncio.wait_for(told.wait(), 20)
        ticket.then(loop, listener)
        while len(seen) < 2:
            await asyncio.sleep(0)
        assert seen == [(ticket, threading.main_thread())] * 2

    asyncio.run(main())


def test_another_thread_may_ask_for_a_loop(store: SqliteStore) -> None:
    async def main() -> None:
        loop, told = asyncio.get_running_loop(), asyncio.Event()
        seen: list[Any] = []

        def listener(done: Any) -> None:
            seen.append((done, threading.current_thread()))
            told.set()

        def ask() -> Any:
            ticket = create(store, "exec_1")
            ticket.then(loop, listener)
            return ticket

        ticket = await asyncio.to_thread(ask)
        await asyncio.wait_for(told.wait(), 20)
        assert seen == [(ticket, threading.main_thread())]

    asyncio.run(main())


def test_a_listener_that_fails_does_no_harm_to_others(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures: list[Any] = []
    monkeypatch.setattr("sys.unraisablehook", failures.append)

    async def main() -> None:
        ticket = create(store, "exec_1")
        ticket.then(asyncio.get_running_loop(), lambda done: 1 // 0)
        assert await ticket == ("exec_1", True)
        assert (await store.get("exec_1")).id == "exec_1"

    asyncio.run(main())
    assert [failure.exc_type for failure in failures] == [ZeroDivisionError]


def test_a_loop_goes_with_its_mailbox(store: SqliteStore) -> None:
    seen = []
    for _ in range(3):
        loop = asyncio.new_event_loop()

        async def main() -> str:
            return (await store.get("exec_0")).id

        assert loop.run_until_complete(main()) == "exec_0"
        loop.close()
        seen.append(weakref.ref(loop))
        del loop, main
    asyncio.run(asyncio.sleep(0))
    gc.collect()
    # The last one may be remembered until another loop comes.
    assert [ref() for ref in seen[:-1]] == [None, None]


def test_waiting_has_an_end(store: SqliteStore, tmp_path: Path) -> None:
    holder = Holder(tmp_path / "runs.db")
    ticket = create(store, "exec_1")
    with pytest.raises(ValidationError, match="not known yet"):
        ticket.result()
    with pytest.raises(TimeoutError, match=r"within 0\.01 s"):
        ticket.wait(0.01)
    with pytest.raises(TimeoutError):
        ticket.wait(-1)
    assert not ticket.done
    holder.let_go()
    assert ticket.wait(20) == ticket.wait() == ticket.result() == ("exec_1", True)
    assert ticket.done


def test_an_interrupt_ends_the_waiting_at_once(store: SqliteStore, tmp_path: Path) -> None:
    holder = Holder(tmp_path / "runs.db")
    ticket = create(store, "exec_1")
    threading.Timer(0.05, os.kill, [os.getpid(), signal.SIGINT]).start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        ticket.wait(25)
    assert time.monotonic() - began < 5
    holder.let_go()
    assert ticket.wait(20) == ("exec_1", True)


def test_an_error_is_raised_as_often_as_it_is_asked_for(store: SqliteStore) -> None:
    ticket = store.get("exec_9")
    for _ in range(3):
        with pytest.raises(NotFound, match="exec_9"):
            ticket.wait(10)
