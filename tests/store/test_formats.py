"""Stores of older formats: brought up to date when they are opened, whole or not at all."""

import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest

from stepwell import Execution, StoreError
from stepwell.store import verify
from stepwell.store.protocol import ExecutionRow, Projection
from stepwell.store.sql import FORMAT
from stepwell.store.sqlite import SqliteSource, SqliteStore
from store.given import everything
from store.processes import in_sqlite, output, run_python, run_store

GOLDEN = Path(__file__).parent / "golden"
SHAPE = """
SELECT m.type, m.name, c.name, c.type, c."notnull", c.dflt_value, c.pk
FROM sqlite_master AS m JOIN pragma_table_xinfo(m.name) AS c WHERE m.type = 'table' ORDER BY m.name, c.cid
"""
INDEXES = """
SELECT m.name, i.name, i."unique", i.origin, i.partial, x.name, x.key
FROM sqlite_master AS m JOIN pragma_index_list(m.name) AS i JOIN pragma_index_xinfo(i.name) AS x
WHERE m.type = 'table' ORDER BY m.name, i.name, x.seqno
"""
KINDS = """
SELECT name, wr, strict FROM pragma_table_list WHERE schema = 'main' AND name NOT LIKE 'sqlite_%' ORDER BY name
"""


def made(path: Path, number: int = 1) -> None:
    """The golden store of a format, as a file."""
    code = """
        import pathlib, sqlite3, sys
        db = sqlite3.connect(sys.argv[1], isolation_level=None)
        db.executescript(pathlib.Path(sys.argv[2]).read_text("utf-8"))
        db.close()
    """
    output(run_python(code, path, GOLDEN / f"format{number}.sql"))


@pytest.fixture
def old(path: Path) -> dict[str, list[Any]]:
    """The file of format 1, and what is in it: every table's rows."""
    made(path)
    db = sqlite3.connect(path)
    found = {
        "executions": db.execute("SELECT * FROM executions ORDER BY tenant, id").fetchall(),
        "journal": db.execute("SELECT * FROM journal ORDER BY tenant, execution, seq").fetchall(),
    }
    db.close()
    assert len(found["executions"]) == 4
    return found


def test_there_is_a_golden_store_of_every_older_format() -> None:
    names = {each.name for each in GOLDEN.glob("*.sql")}
    assert names == {f"format{number}.sql" for number in range(1, FORMAT)}


def test_everything_is_there_as_it_was(source: SqliteSource, path: Path, old: dict[str, list[Any]]) -> None:
    for tenant in ("acme", "other"):
        store = source.open(tenant)
        expected = [ExecutionRow(*row[1:], None, 0) for row in old["executions"] if row[0] == tenant]
        assert store.list().wait(30) == sorted(expected, key=lambda row: row.id, reverse=True)
        for row in expected:
            records = [each[2:6] for each in old["journal"] if each[:2] == (tenant, row.id)]
            assert everything(store, row.id) == records
            assert store.get(row.id).wait(30) == row
            seq, bodies = store.bodies(row.id).wait(30)
            assert (seq, bodies) == (row.version, b"".join(each[3] + b"\n" for each in records))
            assert Execution.replay(row.id, bodies).head == row.head
            assert store.digests(row.id).wait(30) == [(seq, None) for seq in range(row.version + 1)]
            assert store.find(str(row.blueprint), str(row.key)).wait(30) == row
            assert store.inbox(row.id).wait(30) == []
        store.close()
    assert in_sqlite(path, "PRAGMA user_version") == f"[({FORMAT},)]"
    assert in_sqlite(path, "PRAGMA integrity_check") == "[('ok',)]"
    wanted = [("asked_again", 0), ("min_reader", FORMAT), ("min_writer", FORMAT)]
    assert in_sqlite(path, "SELECT * FROM meta ORDER BY name") == str(wanted)


def waiting(store: SqliteStore) -> ExecutionRow:
    [row] = store.list("waiting").wait(30)
    return row


def test_what_the_new_format_asks_for_is_found(
    source: SqliteSource, path: Path, old: dict[str, list[Any]]
) -> None:
    store = source.open("acme")
    row = waiting(store)
    assert row.parent_id is not None
    assert store.children(row.parent_id).wait(30) == [row]
    assert [each.key for each in store.list(blueprint="shop.order").wait(30)] == ["order-2", "order-1"]
    assert store.count().wait(30) == {"completed": 1, "failed": 1, "waiting": 1}
    assert store.due(1_900_000_000_000_000_000).wait(30) == [row]
    assert store.due(1_899_999_999_999_999_999).wait(30) == []
    store.close()


def test_it_can_be_written(source: SqliteSource, path: Path, old: dict[str, list[Any]]) -> None:
    store = source.open("acme")
    row = waiting(store)
    before = everything(store, row.id)
    # The last append again: it was done, by the old one.
    again = store.append(row.id, 3, 1, b"action-3", before[4:], Projection("waiting", "timer", row.head))
    assert again.wait(30) == 4
    execution = Execution.replay(row.id, store.bodies(row.id).wait(30)[1])
    execution.resume()
    step = execution.start_step("shop.more")
    execution.complete_step(step, "y" * 50_000)
    execution.complete("done")
    records = execution.drain()
    row_now = Projection("completed", None, str(execution.head))
    assert store.claim(row.id, "me", 1).wait(30) == 2
    assert store.append(row.id, 4, 2, b"new", records, row_now).wait(30) == execution.version
    assert everything(store, row.id) == before + records
    assert Execution.replay(row.id, store.bodies(row.id).wait(30)[1]).head == execution.head
    found = dict(store.digests(row.id).wait(30))
    assert (found[0], found[execution.version]) == (None, execution.head)
    assert store.doom([each.id for each in store.list().wait(30)]).wait(30) == 3
    while store.sweep(4).wait(30):
        pass
    assert store.list().wait(30) == []
    store.close()
    assert in_sqlite(path, "SELECT DISTINCT tenant FROM journal") == "[('other',)]"


def test_its_tables_are_those_of_a_new_one(
    source: SqliteSource, path: Path, kind: str, old: dict[str, list[Any]]
) -> None:
    new = path.with_name("new.db")
    SqliteSource(new, backend=kind).open("acme").close()
    source.open("acme").close()
    for shape in (SHAPE, INDEXES, KINDS):
        assert in_sqlite(path, shape) == in_sqlite(new, shape) != "[]"


def test_two_processes_bring_it_up_to_date_at_once(path: Path, kind: str, old: dict[str, list[Any]]) -> None:
    code = """
        print("ready", flush=True)
        sys.stdin.readline()
        store = opened()
        print(store.count().wait(30))
        store.close()
    """
    processes = [run_store(code, path, kind) for _ in range(3)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        assert output(process) == "{'completed': 1, 'failed': 1, 'waiting': 1}"
    assert in_sqlite(path, "PRAGMA user_version") == f"[({FORMAT},)]"
    count = len(old["journal"])
    assert in_sqlite(path, "SELECT count(*), max(number) FROM journal") == f"[({count}, {count})]"
    assert in_sqlite(path, "PRAGMA integrity_check") == "[('ok',)]"


def test_for_reading_only_it_stays_what_it_is(path: Path, kind: str, old: dict[str, list[Any]]) -> None:
    before = path.read_bytes()
    with pytest.raises(StoreError, match="older stepwell and is open for reading only: open it once for"):
        SqliteSource(path, backend=kind, read_only=True).open("acme")
    assert path.read_bytes() == before


def test_a_failure_in_the_middle_leaves_the_old_store(
    path: Path, kind: str, old: dict[str, list[Any]]
) -> None:
    """A limit for the sizes of files: the new tables find no room."""
    code = """
        import resource
        unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (os.stat(path).st_size + 4_096, unlimited[1]))
        try:
            opened()
        except StoreError as error:
            print(type(error).__name__)
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    """
    assert output(run_store(code, path, kind)) == "StoreError"
    assert in_sqlite(path, "PRAGMA user_version") == "[(1,)]"
    db = sqlite3.connect(path)
    assert db.execute("SELECT * FROM journal ORDER BY tenant, execution, seq").fetchall() == old["journal"]
    db.close()
    store = SqliteSource(path, backend=kind).open("acme")
    assert store.count().wait(30) == {"completed": 1, "failed": 1, "waiting": 1}
    store.close()


@pytest.fixture
def second(path: Path) -> dict[str, list[Any]]:
    """The file of format 2, and what is in it."""
    made(path, 2)
    db = sqlite3.connect(path)
    found = {
        table: db.execute(f"SELECT * FROM {table} ORDER BY 1, 2, 3").fetchall()
        for table in ("executions", "journal", "marks", "payloads", "payload_uses", "inbox", "doomed")
    }
    db.close()
    assert [len(found[name]) for name in ("executions", "inbox", "doomed")] == [9, 16, 1]
    return found


def test_of_format_2_everything_is_there_as_it_was(
    source: SqliteSource, path: Path, kind: str, second: dict[str, list[Any]]
) -> None:
    for tenant in ("acme", "other"):
        store = source.open(tenant)
        rows = store.list().wait(30)
        assert len(rows) == (5 if tenant == "acme" else 4)
        for row in rows:
            bodies = store.bodies(row.id).wait(30)[1]
            assert Execution.replay(row.id, bodies).head == row.head
        assert verify(store).findings == []
        store.close()
    for table, found in second.items():
        if table != "inbox":
            db = sqlite3.connect(path)
            assert db.execute(f"SELECT * FROM {table} ORDER BY 1, 2, 3").fetchall() == found
            db.close()
    new = path.with_name("new.db")
    SqliteSource(new, backend=kind).open("acme").close()
    for shape in (SHAPE, INDEXES, KINDS):
        assert in_sqlite(path, shape) == in_sqlite(new, shape) != "[]"


def test_places_become_those_of_the_tenant(
    source: SqliteSource, path: Path, second: dict[str, list[Any]]
) -> None:
    """Of one execution they stay in order, also where a sender's clock went back; then it is by time."""
    for tenant in ("acme", "other"):
        store = source.open(tenant)
        found = store.arrivals().wait(30)
        named = [(place, store.inbox(own, place - 1, 1).wait(30)[0].id) for place, own in found]
        wanted = ["a", "b-first", "a-second", "z", "b", "one", "two", "three"]
        assert named == [(at, name) for at, name in enumerate(wanted, 1) if name != "a-second"]
        row = store.get(found[0][1]).wait(30)
        assert store.deliver(row.id, "a", "signal", "go", b"a", 7).wait(30), "it is known as before"
        assert store.deliver(row.id, "new", "signal", "go", b"", 7).wait(30)
        assert store.arrivals(8).wait(30) == [(9, row.id)]
        store.close()


def test_processes_bring_format_2_up_to_date_at_once(
    path: Path, kind: str, second: dict[str, list[Any]]
) -> None:
    code = """
        print("ready", flush=True)
        sys.stdin.readline()
        store = opened()
        print(len(store.list().wait(30)), store.arrivals(5).wait(30)[0][0])
        store.close()
    """
    processes = [run_store(code, path, kind) for _ in range(3)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [output(process) for process in processes] == ["5 6"] * 3
    assert in_sqlite(path, "SELECT * FROM places ORDER BY tenant") == "[('acme', 8), ('other', 8)]"


def test_it_waits_for_another_process_that_does_so(
    path: Path, kind: str, second: dict[str, list[Any]]
) -> None:
    """Whoever looked first and wrote later, in one transaction, would be in its way, or come too late for ever."""
    new = SqliteSource(path.with_name("new.db"), backend=kind).open("acme")
    [(mode,)] = new.rows("journal_mode").wait(30)
    new.close()
    in_sqlite(path, f"PRAGMA journal_mode = {mode}")
    code = """
        import sqlite3, sys
        from stepwell.store import sql
        db = sqlite3.connect(sys.argv[1], isolation_level=None)
        db.execute("BEGIN IMMEDIATE")
        for version in range(2, sql.FORMAT):
            for statement in sql.MIGRATIONS[version - 1]:
                db.execute(statement)
            db.execute("PRAGMA user_version = %d" % (version + 1))
        print("held", flush=True)
        sys.stdin.readline()
        db.execute("COMMIT")
    """
    other = run_python(code, path)
    assert other.stdout is not None
    assert other.stdout.readline() == "held\n"
    found: list[Any] = []

    def work() -> None:
        store = SqliteSource(path, 10, backend=kind).open("acme")
        found.extend(store.rows("user_version").wait(30))
        store.close()

    opening = threading.Thread(target=work)
    opening.start()
    opening.join(0.2)
    assert opening.is_alive()
    output(other, "go\n")
    opening.join(30)
    assert found == [(FORMAT,)]


def test_a_failure_in_the_middle_leaves_format_2(path: Path, kind: str, second: dict[str, list[Any]]) -> None:
    """Neither the file nor a log beside it may become as long as it has to."""
    code = """
        import resource
        unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, unlimited[1]))
        try:
            opened()
        except StoreError as error:
            print(type(error).__name__)
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    """
    assert output(run_store(code, path, kind)) == "StoreError"
    assert in_sqlite(path, "PRAGMA user_version") == "[(2,)]"
    db = sqlite3.connect(path)
    assert db.execute("SELECT * FROM inbox ORDER BY 1, 2, 3").fetchall() == second["inbox"]
    db.close()
    store = SqliteSource(path, backend=kind).open("acme")
    assert len(store.arrivals().wait(30)) == 7
    store.close()


def test_a_long_journal_of_it_is_read_from_everywhere(
    source: SqliteSource, path: Path, old: dict[str, list[Any]]
) -> None:
    """It has no marks: they come with what is appended from now on."""
    in_sqlite(
        path,
        "INSERT INTO executions (tenant, id, state, version, head, epoch, created_at, updated_at) "
        "VALUES ('acme', 'exec_long', 'running', 2999, '00', 1, 0, 0)",
        "WITH RECURSIVE n(seq) AS (SELECT 0 UNION ALL SELECT seq + 1 FROM n WHERE seq < 2999) INSERT INTO journal "
        "SELECT 'acme', 'exec_long', seq, 1000 + seq, 'k', CAST('body ' || seq AS BLOB), CAST(seq AS BLOB) FROM n",
    )
    written = [(seq, 1_000 + seq, "k", b"body %d" % seq) for seq in range(4_000)]
    store = source.open("acme")
    again = store.append(
        "exec_long", 1_499, 1, b"1500", written[1_500:1_501], Projection("running", None, "00")
    )
    assert again.wait(30) == 1_500
    new = store.append("exec_long", 2_999, 1, b"new", written[3_000:], Projection("running", None, "00" * 16))
    assert new.wait(30) == 3_999
    for after in (-1, 0, 1_022, 1_023, 1_024, 2_998, 2_999, 3_000, 3_070, 3_071, 3_999):
        found: list[Any] = []
        while page := store.load("exec_long", found[-1][0] if found else after).wait(30):
            found += page
        assert found == written[after + 1 :]
    store.close()
    assert in_sqlite(path, "SELECT seq FROM marks") == "[(3071,)]"
