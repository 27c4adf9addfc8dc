"""The process in which `proofs.hostile` does its work: it says what it is at, and never has much memory."""

import asyncio
import gc
import io
import os
import random
import resource
import sqlite3
import sys
import threading
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from stepwell import BACKEND, Execution, InternalError, Kernel, StepwellError
from stepwell.store import Store, backup, export, import_, verify
from stepwell.store.memory import MemorySource
from stepwell.store.sqlite import SqliteSource
from store.given import RUNNING
from store.journals import fill, finished, save, waiting

HANGS_AFTER = 20.0
ROOM = 512 * 1024 * 1024
"""Bytes that may be asked for beyond what there is at the start."""


class Wrong(Exception):
    """What must not happen."""


def limit_memory() -> None:
    """The address space of this process ends a little above where it is."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    most = pages * os.sysconf("SC_PAGE_SIZE") + ROOM
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def typed(work: Callable[[], Any]) -> str:
    """How it ended: with an answer, or a typed error."""
    try:
        work()
    except InternalError as error:
        raise Wrong(f"InternalError: {error}") from error
    except StepwellError as error:
        return type(error).__name__
    return "answered"


# --- what is broken -----------------------------------------------------------------------------------------------


def mutated(data: bytes, drawn: random.Random, piece: int = 4096) -> bytes:
    """The data with something done to it, and sometimes more than once."""
    found = bytearray(data)
    for _ in range(drawn.choice((1, 1, 1, 2, 3, 8, 40))):
        at = drawn.randrange(len(found)) if found else 0
        match drawn.randrange(9):
            case 0 | 1 | 2:
                found[at : at + 1] = bytes([drawn.randrange(256)])
            case 3:
                found[at : at + 1] = bytes([(found[at] if found else 0) ^ 1 << drawn.randrange(8)])
            case 4:
                del found[at : at + drawn.choice((1, 2, 16, piece))]
            case 5:
                found[at:at] = found[at : at + drawn.choice((1, 4, 64, piece))]
            case 6:  # a page, or a line, in the place of another
                other = drawn.randrange(len(found)) // piece * piece if found else 0
                found[at // piece * piece : at // piece * piece + piece] = found[other : other + piece]
            case 7:
                found[at : at + 8] = drawn.choice(
                    (b"\xff" * 8, bytes(8), b"\x7f" + b"\xff" * 7, b"\x80" + bytes(7))
                )
            case 8:
                if drawn.randrange(4) == 0:
                    del found[at:]
    return bytes(found)


# By somebody who knows SQLite: tables that keep no types, and rows that no stepwell writes.
EDITS = [
    f"UPDATE {table} SET {column} = {value}"
    for table, columns in {
        "journal": "number previous tenant execution seq at kind body action_id digest cut_at cut_hash",
        "executions": "id blueprint key parent_id state wait_reason version head epoch owner created_at wake_at last",
        "payloads": "tenant hash body",
        "marks": "seq number",
        "inbox": "id place at kind name body taken digest",
        "places": "tenant last",
        "awaited": "tenant step execution",
        "meta": "name value",
    }.items()
    for column in columns.split()
    for value in (
        "NULL", "x'ff'", "'text'", "-1", "9223372036854775807", "1e300", "''", "zeroblob(1000000)", "number", "seq",
        "CAST(x'ff41' AS TEXT)", "char(0)",
    )
]  # fmt: skip
SCHEMAS = [
    "CREATE TRIGGER t AFTER UPDATE ON executions BEGIN DELETE FROM journal; END",
    "CREATE VIEW v AS SELECT * FROM journal",
    "DROP TABLE marks",
    "DROP TABLE meta",
    "ALTER TABLE journal RENAME COLUMN body TO nobody",
    "PRAGMA user_version = 0",
    "PRAGMA user_version = 1",
    "PRAGMA user_version = 2",
    "PRAGMA user_version = 9999",
    "PRAGMA application_id = 7",
]


def edited(path: Path, drawn: random.Random) -> None:
    """Changes a store through SQLite, in a file that no store has open."""
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA writable_schema = ON")
    db.execute("PRAGMA ignore_check_constraints = ON")
    db.execute(
        "UPDATE sqlite_master SET sql = replace(replace(sql, 'STRICT, WITHOUT', 'WITHOUT'), 'STRICT', '')"
    )
    db.close()
    db = sqlite3.connect(path, isolation_level=None)
    for _ in range(drawn.choice((1, 1, 2, 5))):
        if drawn.randrange(10) == 0:
            statement = drawn.choice(SCHEMAS)
        else:
            statement = drawn.choice(EDITS)
            if drawn.randrange(2):
                statement += f" WHERE abs(random()) % {drawn.choice((2, 5, 20))} = 0"
        try:
            db.execute(statement)
        except sqlite3.Error:
            pass  # the schema is in the way of this one
    db.close()


# --- who reads it -------------------------------------------------------------------------------------------------


def read_store(store: Store, ids: list[str]) -> None:
    """Asks everything that can be asked; each answer or error by itself."""
    asked: list[Callable[[], Any]] = [
        lambda: store.list().wait(),
        lambda: store.list(state="completed", blueprint="m.f").wait(),
        lambda: store.count().wait(),
        lambda: store.due(2**62).wait(),
        lambda: store.arrivals().wait(),
        lambda: store.awaited("step_1").wait(),
        lambda: store.find("m.f", "k").wait(),
        lambda: store.children("msg-1").wait(),
        lambda: store.finished("completed").wait(),
    ]
    for each in ids:
        asked += [
            partial(ask, store.get, each),
            partial(all_pages, partial(store.load, each)),
            partial(all_pages, partial(store.digests, each)),
            partial(ask, store.bodies, each),
            partial(ask, store.inbox, each),
            partial(verify, store, [each]),
        ]
    asked += [lambda: verify(store), lambda: export(store, io.BytesIO())]
    for work in asked:
        typed(work)


def write_store(store: Store, ids: list[str]) -> None:
    """Asks for changes that a sound store would refuse, and for some that it would do."""
    record = (1, 1, "plan", b"{}")
    for each in ids:
        typed(partial(ask, store.append, each, 0, 1, b"x", [record], RUNNING))
        typed(partial(ask, store.claim, each, "me", 1))
        typed(partial(ask, store.deliver, each, "d9", "signal", "go", b"1", 1))
        typed(partial(ask, store.release, each, 2))
    typed(lambda: save(store, finished(key=None)))
    typed(lambda: store.doom(ids).wait())
    for _ in range(4):
        typed(lambda: store.sweep(100).wait())


def ask(request: Callable[..., Any], *arguments: Any) -> Any:
    return request(*arguments).wait(HANGS_AFTER)


def all_pages(page: Callable[[int], Any]) -> None:
    after = -1
    while found := page(after).wait(HANGS_AFTER):
        last = found[-1][0]
        if not isinstance(last, int) or last <= after:
            return
        after = last


def through_kernel(path: Path, ids: list[str]) -> None:
    async def work() -> None:
        async with Kernel(f"sqlite:///{path}", tenant="acme", recover=False) as kernel:
            for each in ids:
                handle = await kernel.get(each)
                try:
                    await handle.execution()
                except InternalError:
                    raise
                except StepwellError:
                    pass

    asyncio.run(work())


class Cases:
    """Sound files, and one case after the other of what becomes of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "sound.db"
        store = SqliteSource(self.path).open("acme")
        self.ids = fill(store)
        store.close()
        self.store_bytes = self.path.read_bytes()
        small = MemorySource().open("acme")
        fill(small)
        file = io.BytesIO()
        export(small, file)
        self.export_bytes = file.getvalue()
        self.executions = [finished(), waiting(), finished(steps=0)]
        self.journals = [(one.id, [record[3] for record in one.drain()]) for one in self.executions]

    def run(self, drawn: random.Random) -> str:
        kind = drawn.choice((self.a_store, self.an_edited_store, self.an_export, self.a_journal))
        return f"{kind.__name__[2:].lstrip('n_')} {kind(drawn)}"

    def a_store(self, drawn: random.Random) -> str:
        path = self.folder / "broken.db"
        path.write_bytes(mutated(self.store_bytes, drawn))
        return self._through(path, drawn)

    def an_edited_store(self, drawn: random.Random) -> str:
        path = self.folder / "broken.db"
        path.write_bytes(self.store_bytes)
        edited(path, drawn)
        return self._through(path, drawn)

    def _through(self, path: Path, drawn: random.Random) -> str:
        try:
            return self._readers(path, drawn)
        finally:
            for file in self.folder.glob("broken.db*"):
                file.unlink()

    def _readers(self, path: Path, drawn: random.Random) -> str:
        def all_of_it() -> None:
            store = SqliteSource(path, read_only=read_only, busy_seconds=2).open("acme")
            try:
                read_store(store, self.ids)
                if not read_only:
                    write_store(store, self.ids)
            finally:
                store.close()

        read_only = bool(drawn.randrange(2))
        typed(lambda: backup(path, self.folder / "broken.db.copy"))
        typed(lambda: through_kernel(path, self.ids))
        return typed(all_of_it)

    def an_export(self, drawn: random.Random) -> str:
        lines = self.export_bytes.splitlines(keepends=True)
        if drawn.randrange(2):
            at = drawn.randrange(len(lines))
            lines[at] = drawn.choice((mutated(lines[at], drawn, 16), lines[drawn.randrange(len(lines))], b""))
            data = b"".join(lines)
        else:
            data = mutated(self.export_bytes, drawn)
        there = MemorySource().open("acme")
        ended = typed(lambda: import_(there, io.BytesIO(data)))
        if verify(there).findings:
            raise Wrong("what was imported is damaged")
        return ended

    def a_journal(self, drawn: random.Random) -> str:
        own, bodies = drawn.choice(self.journals)
        bodies = [mutated(body, drawn, 32) if drawn.randrange(len(bodies)) == 0 else body for body in bodies]
        data: Any = bodies if drawn.randrange(2) else b"".join(body + b"\n" for body in bodies)
        return typed(lambda: Execution.replay(own, data))


def run(folder: Path, seed: int, first: int, end: int | None, seconds: float | None) -> None:
    until = None if seconds is None else time.monotonic() + seconds
    cases = Cases(folder)
    limit_memory()
    number = first
    most = 3, len([*Path("/proc/self/fd").iterdir()]) + 8
    while (end is None or number < end) and (until is None or time.monotonic() < until):
        print(f"case {seed}-{number}", flush=True)
        try:
            print(f"ended {cases.run(random.Random(f'{seed}-{number}'))}", flush=True)
        except (Wrong, Exception) as error:  # noqa: BLE001 - whatever it is, it must not be
            traceback.print_exc()
            print(f"wrong: {type(error).__name__}: {str(error)[:300]!a}", flush=True)
        if number % 20 == 0:
            gc.collect()
        left = int(Path("/proc/self/status").read_text(encoding="ascii").split("Threads:")[1].split()[0])
        files = len([*Path("/proc/self/fd").iterdir()])
        if left > most[0] or files > most[1]:
            print(f"wrong: {left} threads and {files} files are left, more than {most}", flush=True)
            most = max(left, most[0]), max(files, most[1])
        number += 1


def main() -> None:
    def dead(died: Any) -> None:
        traceback.print_exception(died.exc_value)
        print(f"wrong: a thread died of {died.exc_type.__name__}", flush=True)
        os._exit(3)

    threading.excepthook = dead
    folder, seed, first, cases, seconds = sys.argv[1:]
    assert os.environ["STEPWELL_BACKEND"] == BACKEND
    run(
        Path(folder),
        int(seed),
        int(first),
        None if int(cases) < 0 else int(cases),
        None if float(seconds) < 0 else float(seconds),
    )


if __name__ == "__main__":
    main()
