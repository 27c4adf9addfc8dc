"""The SQLite store keeps the contract, and what only a file can do to it ends in a typed error."""

import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from stepwell import StoreBusy, StoreCorrupt, StoreError, StoreFull, ValidationError
from stepwell.errors import StoreReadOnly, StoreTooNew
from stepwell.store import open_source, open_store, sqlite
from stepwell.store.connection import Connection, journal_mode
from stepwell.store.sqlite import SqliteSource, SqliteStore
from store.processes import in_sqlite
from store.suite import RUNNING, StoreSuite, create, everything, records


class TestSqlite(StoreSuite):
    @pytest.fixture
    def source(self, path: Path) -> Iterator["Source"]:
        source = Source(path)
        yield source
        for store in source.opened:
            store.close()


class Source(SqliteSource):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.opened: list[SqliteStore] = []

    def open(self, tenant: str) -> SqliteStore:
        self.opened.append(super().open(tenant))
        return self.opened[-1]


# --- the file -----------------------------------------------------------------------------------------------------


def test_the_file_is_its_owners_alone(store: SqliteStore, path: Path) -> None:
    create(store, "exec_1")
    for file in path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_the_modes_are_those_that_lose_nothing(store: SqliteStore) -> None:
    found = store._ask(
        lambda connection: connection.run("PRAGMA journal_mode") + connection.run("PRAGMA synchronous")
    )
    (mode,), (synchronous,) = found.wait(10)
    assert mode == journal_mode()
    assert synchronous == 2
    for name, value in {"trusted_schema": 0, "cell_size_check": 1}.items():
        assert store._ask(lambda connection, name=name: connection.run(f"PRAGMA {name}")).wait(10) == [
            (value,)
        ]


@pytest.mark.parametrize(
    ("version", "mode"), [((3, 40, 1), "truncate"), ((3, 51, 2), "truncate"), ((3, 51, 3), "wal")]
)
def test_wal_is_used_from_the_version_on_that_mends_it(version: tuple[int, int, int], mode: str) -> None:
    assert journal_mode(version) == mode


def test_it_stays_readable_when_opened_again(path: Path) -> None:
    store = open_store(f"sqlite:///{path}", "acme")
    create(store, "exec_1")
    store.close()
    store = open_store(f"sqlite:///{path}", "acme")
    assert everything(store, "exec_1") == records(0, 1)
    store.close()


@pytest.mark.parametrize(
    "url",
    ["", "sqlite://x", "sqlite:///", "sqlite:///:memory:", "postgres://x", "memory://", "sqlite:///a\0b"],
)
def test_a_url_names_a_store(url: str) -> None:
    with pytest.raises(ValidationError):
        open_source(url)


def test_every_memory_is_a_new_one() -> None:
    create(open_store("memory", "acme"), "exec_1")
    assert open_store("memory", "acme").list().wait(10) == []


# --- files that are no store --------------------------------------------------------------------------------------


def test_a_file_of_another_kind_is_refused(path: Path) -> None:
    path.write_bytes(b"no database at all, but long enough to be looked at" * 100)
    before = path.read_bytes()
    with pytest.raises(StoreCorrupt):
        open_store(f"sqlite:///{path}", "acme")
    assert path.read_bytes() == before


@pytest.mark.parametrize("application_id", [0, 42])
def test_another_programs_database_is_refused(path: Path, application_id: int) -> None:
    in_sqlite(path, "CREATE TABLE mine (a)", f"PRAGMA application_id = {application_id}")
    before = path.read_bytes()
    with pytest.raises(StoreCorrupt, match="another program"):
        open_store(f"sqlite:///{path}", "acme")
    assert path.read_bytes() == before


def test_a_newer_format_is_refused(path: Path) -> None:
    open_store(f"sqlite:///{path}", "acme").close()
    in_sqlite(path, "UPDATE meta SET value = 2 WHERE name = 'min_writer'", "PRAGMA user_version = 2")
    with pytest.raises(StoreTooNew, match="upgrade"):
        open_store(f"sqlite:///{path}", "acme")


def test_a_newer_format_that_old_ones_may_write_is_taken(path: Path) -> None:
    open_store(f"sqlite:///{path}", "acme").close()
    in_sqlite(path, "PRAGMA user_version = 2")
    open_store(f"sqlite:///{path}", "acme").close()


def test_a_store_without_its_versions_is_damaged(path: Path) -> None:
    open_store(f"sqlite:///{path}", "acme").close()
    in_sqlite(path, "DROP TABLE meta")
    with pytest.raises(StoreCorrupt):
        open_store(f"sqlite:///{path}", "acme")


@pytest.mark.parametrize("keep", [50, 100, 4096, 5000])
def test_a_truncated_file_is_damaged(path: Path, keep: int) -> None:
    store = open_store(f"sqlite:///{path}", "acme")
    create(store, "exec_1")
    store.append("exec_1", 1, 1, b"x", records(2, 400, size=500), RUNNING).wait(10)
    store.close()
    os.truncate(path, keep)
    with pytest.raises(StoreError):  # noqa: PT012 - which call finds it depends on where it was cut
        store = open_store(f"sqlite:///{path}", "acme")
        try:
            everything(store, "exec_1")
        finally:
            store.close()


def test_overwritten_pages_are_an_error_and_no_wrong_answer(path: Path) -> None:
    store = open_store(f"sqlite:///{path}", "acme")
    create(store, "exec_1")
    store.append("exec_1", 1, 1, b"x", records(2, 400, size=500), RUNNING).wait(10)
    store.close()
    with path.open("r+b") as file:
        file.seek(8192)
        file.write(b"\xff" * (path.stat().st_size - 8192))
    store = open_store(f"sqlite:///{path}", "acme")
    with pytest.raises(StoreCorrupt):
        everything(store, "exec_1")
    store.close()


def test_a_place_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="folder"):
        open_store(f"sqlite:///{tmp_path}/absent/runs.db", "acme")
    with pytest.raises(StoreError):
        open_store(f"sqlite:///{tmp_path}", "acme")


# --- trouble while it is open -------------------------------------------------------------------------------------


def test_full_is_an_error_that_leaves_everything_as_it_was(store: SqliteStore) -> None:
    create(store, "exec_1")
    create(store, "exec_2")
    pages = store._ask(lambda connection: connection.run("PRAGMA page_count")).wait(10)[0][0]
    store._ask(lambda connection: connection.run(f"PRAGMA max_page_count = {pages + 2}")).wait(10)
    big = store.append("exec_1", 1, 1, b"big", records(2, 50, size=4000), RUNNING)
    with pytest.raises(StoreFull, match="room"):
        big.wait(10)
    assert everything(store, "exec_1") == records(0, 1)
    assert store.get("exec_1").wait(10).version == 1
    # The connection was given up with its limit: there is room again, and the same request goes through.
    assert store.append("exec_1", 1, 1, b"big", records(2, 50, size=4000), RUNNING).wait(10) == 50


def test_one_that_may_not_be_written(store: SqliteStore) -> None:
    create(store, "exec_1")
    store._ask(lambda connection: connection.run("PRAGMA query_only = ON")).wait(10)
    with pytest.raises(StoreReadOnly):
        store.append("exec_1", 1, 1, b"x", records(2, 2), RUNNING).wait(10)
    assert everything(store, "exec_1") == records(0, 1)


def test_a_failing_disk_gives_the_right_answer(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit that fails, or succeeds and says that it failed, is looked up and done exactly once."""
    create(store, "exec_1")
    real, calls = Connection.commit, []

    def commit(connection: Connection) -> None:
        calls.append(connection)
        if len(calls) == 1:
            raise StoreError("the disk says no, before the commit")
        real(connection)
        if len(calls) == 3:
            raise StoreError("the disk says no, after the commit")

    monkeypatch.setattr(Connection, "commit", commit)
    assert store.append("exec_1", 1, 1, b"x", records(2, 2), RUNNING).wait(10) == 2
    assert len(calls) == 2
    assert store.append("exec_1", 2, 1, b"y", records(3, 3), RUNNING).wait(10) == 3
    assert len(calls) == 4
    assert len(set(map(id, calls))) == 3, "a connection that failed is not used again"
    assert everything(store, "exec_1") == records(0, 3)


def test_a_disk_that_stays_broken_is_an_error_and_not_a_hang(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    create(store, "exec_1")

    def commit(connection: Connection) -> None:
        raise StoreError("the disk says no")

    with monkeypatch.context() as broken:
        broken.setattr(Connection, "commit", commit)
        tickets = [store.append("exec_1", 1, 1, b"x", records(2, 2), RUNNING) for _ in range(3)]
        for ticket in tickets:
            with pytest.raises(StoreError):
                ticket.wait(10)
    assert store.append("exec_1", 1, 1, b"x", records(2, 2), RUNNING).wait(10) == 2


@pytest.mark.parametrize("how", ["moved", "deleted", "replaced"])
def test_a_file_that_goes_away_while_it_is_open(store: SqliteStore, path: Path, how: str) -> None:
    create(store, "exec_1")
    aside = path.with_name("aside.db")
    path.rename(aside)
    if how == "replaced":
        path.write_bytes(b"")
    with pytest.raises(StoreError, match="while it was open"):
        store.append("exec_1", 1, 1, b"x", records(2, 2), RUNNING).wait(10)
    if how == "deleted":
        return
    if how == "replaced":
        assert path.read_bytes() == b""
    aside.replace(path)
    assert store.append("exec_1", 1, 1, b"x", records(2, 2), RUNNING).wait(10) == 2


# --- one file, one thread -----------------------------------------------------------------------------------------


def test_the_same_file_shares_its_thread(path: Path) -> None:
    first = SqliteSource(path).open("acme")
    (path.parent / "link.db").symlink_to(path)
    second = SqliteSource(path.parent / "link.db").open("other")
    third = SqliteSource(path.parent / "." / path.name).open("acme")
    assert first._engine is second._engine is third._engine
    first.close()
    create(third, "exec_1")
    third.close()
    second.close()
    assert sqlite._engines == {}
    assert not [thread for thread in threading.enumerate() if thread.name == "stepwell-store"]


def test_many_requests_share_one_commit(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(100):
        create(store, f"exec_{number}")
    real, commits = Connection.commit, []

    def commit(connection: Connection) -> None:
        commits.append(connection)
        real(connection)

    monkeypatch.setattr(Connection, "commit", commit)
    entered, leave = threading.Event(), threading.Event()

    def hold(connection: Connection) -> None:
        entered.set()
        leave.wait(10)

    held = store._ask(hold)
    assert entered.wait(10)
    tickets = [store.append(f"exec_{number}", 1, 1, b"x", records(2, 2), RUNNING) for number in range(100)]
    # One that is refused does not take the others with it.
    refused = store.append("exec_0", 7, 1, b"y", records(8, 8), RUNNING)
    leave.set()
    held.wait(10)
    assert [ticket.wait(10) for ticket in tickets] == [2] * 100
    with pytest.raises(Exception, match="another writer"):
        refused.wait(10)
    assert len(commits) == 1


def test_the_queue_is_bounded(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    create(store, "exec_1")
    entered, leave = threading.Event(), threading.Event()

    def hold(connection: Connection) -> None:
        entered.set()
        leave.wait(10)

    held = store._ask(hold)
    assert entered.wait(10)
    monkeypatch.setattr(sqlite, "MAX_WAITING", 5)
    waiting = [store.get("exec_1") for _ in range(5)]
    with pytest.raises(StoreBusy, match="5 requests"):
        store.get("exec_1")
    leave.set()
    held.wait(10)
    assert [ticket.wait(10).id for ticket in waiting] == ["exec_1"] * 5


def test_a_defect_does_not_stop_the_thread(store: SqliteStore) -> None:
    create(store, "exec_1")
    with pytest.raises(Exception, match="defect"):
        store._ask(lambda connection: 1 // 0).wait(10)
    assert store.get("exec_1").wait(10).id == "exec_1"
