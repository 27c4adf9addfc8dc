"""What only a store in a file has: its rights, its modes, its one thread, and opening it for reading only."""

import sqlite3
import stat
from pathlib import Path

import pytest

from backends import BACKENDS
from stepwell import Conflict, StoreBusy, StoreError, ValidationError
from stepwell.errors import StoreReadOnly
from stepwell.store import NewExecution, files, open_source, open_store, sql, sqlite
from stepwell.store.sql import FORMAT
from stepwell.store.sqlite import SqliteSource, SqliteStore
from stepwell.trouble import journal_mode
from store.given import RUNNING, create, everything, records
from store.processes import commits, held, in_sqlite, output, run_store
from waiting import until


def descriptors(path: Path) -> int:
    """How many descriptors of the file, or of one beside it, this process has."""
    links = [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return sum(str(link.readlink()).startswith(str(path)) for link in links)


# --- the file -----------------------------------------------------------------------------------------------------


def test_the_files_are_their_owners_alone(path: Path, kind: str) -> None:
    code = """
        os.umask(0)
        store = opened()
        create(store)
        append(store, 1).wait(30)
        folder = os.path.dirname(path)
        print(*sorted(f"{name}={os.stat(os.path.join(folder, name)).st_mode & 0o777:o}" for name in os.listdir(folder)))
        store.close()
    """
    found = dict(each.split("=") for each in output(run_store(code, path, kind)).split())
    beside = {"native": {"runs.db-wal", "runs.db-shm"}, "pure": {"runs.db-journal"}}
    wal = kind == "native" or in_sqlite(path, "PRAGMA journal_mode") == "[('wal',)]"
    assert found.keys() == {"runs.db"} | beside["native" if wal else "pure"]
    assert set(found.values()) == {"600"}


def test_the_rights_of_a_file_that_is_there_stay(source: SqliteSource, path: Path) -> None:
    path.touch()
    path.chmod(0o640)
    store = source.open("acme")
    create(store, "exec_1")
    assert {stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()} == {0o640}
    store.close()


def test_the_modes_are_those_that_lose_nothing(store: SqliteStore) -> None:
    def number(name: str) -> object:
        [(found,)] = store.rows(name).wait(30)
        return found

    version = tuple(map(int, str(number("library")).split(".")))
    assert number("journal_mode") == journal_mode(version)
    assert number("synchronous") == 2
    assert number("trusted_schema") == 0
    assert number("cell_size_check") == 1
    assert number("auto_vacuum") == 2
    assert number("application_id") == 0x53575731
    assert number("user_version") == FORMAT


def test_a_connection_defends_itself(
    source: SqliteSource, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a file brings along: its schema is no place to write to, and a value has an end."""
    statements = {
        "loosen": "PRAGMA writable_schema = ON",
        "change": "UPDATE sqlite_master SET sql = sql",
        "longest": f"SELECT length(zeroblob({512 * 1024 * 1024}))",
        "longer": f"SELECT length(zeroblob({512 * 1024 * 1024 + 1}))",
    }
    for name, statement in statements.items():
        monkeypatch.setitem(sql.QUERIES, name, statement)
    store = source.open("acme")
    store.rows("loosen").wait(30)
    if kind == "native" or hasattr(sqlite3.Connection, "setconfig"):  # Python has it from 3.12 on
        with pytest.raises(StoreError, match="may not be modified"):
            store.rows("change").wait(30)
    assert store.rows("longest").wait(30) == [(512 * 1024 * 1024,)]
    with pytest.raises(StoreError, match="too big"):
        store.rows("longer").wait(30)
    store.close()


@pytest.mark.parametrize(
    ("version", "mode"), [((3, 40, 1), "truncate"), ((3, 51, 2), "truncate"), ((3, 51, 3), "wal")]
)
def test_wal_is_used_from_the_version_on_that_mends_it(version: tuple[int, int, int], mode: str) -> None:
    assert journal_mode(version) == mode


def test_it_stays_readable_when_opened_again(source: SqliteSource) -> None:
    store = source.open("acme")
    create(store, "exec_1")
    store.close()
    store = source.open("acme")
    assert everything(store, "exec_1") == records(0, 1)
    store.close()


@pytest.mark.parametrize("backend_of_the_writer", BACKENDS)
def test_what_one_backend_wrote_the_other_reads(path: Path, kind: str, backend_of_the_writer: str) -> None:
    """One after the other, and in a process of its own: a process uses one SQLite library."""
    code = """
        store = opened()
        create(store)
        append(store, 1, size=40_000).wait(30)
        store.close()
    """
    output(run_store(code, path, backend_of_the_writer))
    code = """
        store = opened()
        print(store.get("exec_1").wait(30).version, len(store.load("exec_1").wait(30)[1][3]))
        append(store, 2).wait(30)
        store.close()
    """
    assert output(run_store(code, path, kind)) == "1 40000"
    assert in_sqlite(path, "PRAGMA integrity_check") == "[('ok',)]"


@pytest.mark.parametrize(
    "url",
    ["", "sqlite://x", "sqlite:///", "sqlite:///:memory:", "postgres://x", "memory://", "sqlite:///a\0b"],
)
def test_a_url_names_a_store(url: str) -> None:
    with pytest.raises(ValidationError):
        open_source(url)


def test_a_url_with_a_path_is_that_file(path: Path) -> None:
    store = open_store(f"sqlite:///{path}", "acme")
    create(store, "exec_1")
    assert isinstance(store, SqliteStore)
    assert store.path == str(path)
    store.close()
    assert repr(SqliteSource(path)) == f"SqliteSource({str(path)!r})"


def test_every_memory_is_a_new_one() -> None:
    create(open_store("memory", "acme"), "exec_1")
    assert open_store("memory", "acme").list().wait(30) == []


# --- one file, one thread -----------------------------------------------------------------------------------------


def test_the_same_file_shares_its_engine(source: SqliteSource, path: Path, kind: str) -> None:
    before = {*files._open}
    first = source.open("acme")
    (path.parent / "link.db").symlink_to(path)
    second = SqliteSource(path.parent / "link.db", backend=kind).open("other")
    third = SqliteSource(path.parent / "." / path.name, backend=kind).open("acme")
    assert first._engine is second._engine is third._engine
    first.close()
    create(third, "exec_1")
    third.close()
    assert second.list().wait(30) == []
    assert descriptors(path) > 0
    second.close()
    assert {*files._open} <= before
    assert descriptors(path) == 0


def test_many_requests_share_one_commit(store: SqliteStore, path: Path) -> None:
    new = [NewExecution(f"exec_{number}", "m.f", None, None, None, None, None) for number in range(100)]
    for ticket in [store.create(each, b"c", records(0, 1), RUNNING) for each in new]:
        ticket.wait(30)
    before = commits(path)
    with held(path):
        tickets = [store.append(each.id, 1, 1, b"x", records(2, 2), RUNNING) for each in new]
        # One that is refused does not take the others with it.
        refused = store.append("exec_0", 7, 1, b"y", records(8, 8), RUNNING)
        assert not any(ticket.done for ticket in tickets)
    assert [ticket.wait(30) for ticket in tickets] == [2] * 100
    with pytest.raises(Conflict):
        refused.wait(30)
    # Those that had come before the file was found locked, and then all others; the holder's own is empty.
    assert commits(path) - before in (1, 2)


def test_the_queue_is_bounded(store: SqliteStore, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create(store, "exec_1")
    with held(path):
        stuck = store.append("exec_1", 1, 1, b"x", records(2, 2), RUNNING)
        until(lambda: store._engine.waiting == 0)
        monkeypatch.setattr(sqlite, "MAX_WAITING", 5)
        waiting = [store.get("exec_1") for _ in range(5)]
        with pytest.raises(StoreBusy, match="5 requests wait"):
            store.get("exec_1")
        with pytest.raises(StoreBusy, match="5 requests wait"):
            store.append("exec_1", 2, 1, b"y", records(3, 3), RUNNING)
    assert stuck.wait(30) == 2
    # Those of the same turn are answered before what it writes.
    assert {ticket.wait(30).version for ticket in waiting} <= {1, 2}
    assert store.append("exec_1", 2, 1, b"y", records(3, 3), RUNNING).wait(30) == 3


def test_the_queue_is_bounded_in_bytes_too(
    store: SqliteStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create(store, "exec_1")
    with held(path):
        stuck = store.append("exec_1", 1, 1, b"x", records(2, 2, size=900_000), RUNNING)
        until(lambda: store._engine.waiting == store._engine.waiting_bytes == 0)
        monkeypatch.setattr(sqlite, "MAX_WAITING_BYTES", 1_000_000)
        large = [store.append("exec_1", 2, 1, b"y", records(3, 3, size=600_000), RUNNING) for _ in range(2)]
        for refused in (lambda: store.get("exec_1"), lambda: create(store, "exec_2")):
            with pytest.raises(StoreBusy, match="2 requests wait"):
                refused()
    assert stuck.wait(30) == 2
    assert [ticket.wait(30) for ticket in large] == [3, 3]
    until(lambda: store._engine.waiting_bytes == 0)
    assert create(store, "exec_2") == ("exec_2", True)


def test_a_wait_may_have_an_end(store: SqliteStore, path: Path) -> None:
    create(store, "exec_1")
    with held(path):
        ticket = store.append("exec_1", 1, 1, b"x", records(2, 2), RUNNING)
        with pytest.raises(TimeoutError, match=r"0\.05 s"):
            ticket.wait(0.05)
        assert not ticket.done
        with pytest.raises(ValidationError, match="not known yet"):
            ticket.result()
    assert ticket.wait(30) == 2
    assert ticket.result() == 2


# --- for reading only ---------------------------------------------------------------------------------------------


def test_for_reading_only_nothing_is_written_or_set(path: Path, kind: str) -> None:
    store = SqliteSource(path, backend=kind).open("acme")
    create(store, "exec_1", key="k")
    store.close()
    before = path.read_bytes(), path.stat().st_mtime_ns
    store = SqliteSource(path, backend=kind, read_only=True).open("acme")
    assert everything(store, "exec_1") == records(0, 1)
    assert store.get("exec_1").wait(30).version == 1
    found = store.find("m.f", "k").wait(30)
    assert found is not None
    requests = [
        lambda: store.append("exec_1", 1, 1, b"x", records(2, 2), RUNNING),
        lambda: create(store, "exec_2"),
        lambda: store.claim("exec_1", "you", 1),
        lambda: store.release("exec_1", 1),
        lambda: store.deliver("exec_1", "d", "signal", "s", b"", 1),
        lambda: store.doom(["exec_1"]),
        lambda: store.sweep(10),
    ]
    for request in requests:
        with pytest.raises(StoreReadOnly, match="for reading only"):
            request()
    store.close()
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before


def test_for_reading_only_nothing_is_made(path: Path, kind: str) -> None:
    with pytest.raises(StoreError, match="there is no store at"):
        SqliteSource(path, backend=kind, read_only=True).open("acme")
    assert list(path.parent.iterdir()) == []


def test_one_that_reads_beside_one_that_writes(store: SqliteStore, path: Path, kind: str) -> None:
    create(store, "exec_1")
    reader = SqliteSource(path, backend=kind, read_only=True).open("acme")
    assert reader._engine is not store._engine
    assert everything(reader, "exec_1") == records(0, 1)
    assert store.append("exec_1", 1, 1, b"x", records(2, 2), RUNNING).wait(30) == 2
    assert everything(reader, "exec_1") == records(0, 2)
    reader.close()
    assert store.append("exec_1", 2, 1, b"y", records(3, 3), RUNNING).wait(30) == 3
