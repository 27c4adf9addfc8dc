"""What happens to a file while it is open ends in a typed error, changes nothing, and passes."""

from pathlib import Path
from typing import Any, NoReturn

import pytest

from stepwell import Conflict, InternalError, StoreBusy, StoreError
from stepwell.store import Ticket
from stepwell.store.sqlite import SqliteSource, SqliteStore
from store.given import RUNNING, create, everything, records
from store.processes import held, in_sqlite, output, run_store
from waiting import until


def test_another_process_that_holds_the_file(path: Path, kind: str) -> None:
    store = SqliteSource(path, busy_seconds=0.2, backend=kind).open("acme")
    create(store, "exec_1")
    with held(path), pytest.raises(StoreBusy, match=r"another process for 0\.\d s: try again"):
        store.append("exec_1", 1, 1, b"x", records(2, 2), RUNNING).wait(30)
    assert store.append("exec_1", 1, 1, b"x", records(2, 2), RUNNING).wait(30) == 2
    assert everything(store, "exec_1") == records(0, 2)
    store.close()


def test_one_that_holds_it_for_a_while_is_waited_for(store: SqliteStore, path: Path) -> None:
    create(store, "exec_1")
    with held(path):
        ticket = store.append("exec_1", 1, 1, b"x", records(2, 2), RUNNING)
        with pytest.raises(TimeoutError):
            ticket.wait(0.2)
    assert ticket.wait(30) == 2


@pytest.mark.parametrize("how", ["moved", "deleted", "replaced"])
def test_a_file_that_goes_away_while_it_is_open(store: SqliteStore, path: Path, how: str) -> None:
    create(store, "exec_1")
    aside = path.with_name("aside.db")
    path.rename(aside)
    if how == "replaced":
        path.write_bytes(b"")
    words = "was replaced by another file" if how == "replaced" else "was moved or deleted"
    for _ in range(2):
        with pytest.raises(StoreError, match=f"{words}.*while it was open: put it back"):
            store.append("exec_1", 1, 1, b"x", records(2, 2), RUNNING).wait(30)
        with pytest.raises(StoreError, match=f"{words}.*put it back"):
            store.get("exec_1").wait(30)
    if how == "replaced":
        assert path.read_bytes() == b""
    if how == "deleted":
        aside.unlink()
        with pytest.raises(StoreError, match="was moved or deleted"):
            store.get("exec_1").wait(30)
        return
    aside.replace(path)
    assert store.append("exec_1", 1, 1, b"x", records(2, 2), RUNNING).wait(30) == 2
    assert everything(store, "exec_1") == records(0, 2)


def test_a_disk_that_refuses_a_write(path: Path, kind: str) -> None:
    """A limit for the sizes of files, which to SQLite is an I/O error (EFBIG)."""
    code = """
        import resource
        folder = os.path.dirname(path)
        store = opened()
        create(store)
        seq = append(store, 1).wait(30)
        unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
        for _ in range(3):
            largest = max(each.stat().st_size for each in os.scandir(folder))
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest + 20_000, unlimited[1]))
            first = append(store, seq + 1, 2_000_000)
            read = store.get("exec_1")
            second = append(store, seq + 1, 2_000_000)
            for ticket in first, second:
                try:
                    ticket.wait(30)
                    print("written")
                except StoreError as error:
                    print(type(error).__name__, error)
            assert read.wait(30).version == seq
            resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
            # The same request goes through, and once.
            for _ in range(2):
                assert append(store, seq + 1, 2_000_000).wait(30) == seq + 1
            seq += 1
            assert [len(each[3]) for each in store.load("exec_1", seq - 1).wait(30)] == [2_000_000]
        store.close()
    """
    lines = output(run_store(code, path, kind)).splitlines()
    assert len(lines) == 6
    for line in lines:
        assert line.startswith(f"StoreError {path}: SQLite reports ")
        assert line.endswith("; ask again when the disk works")
    assert in_sqlite(path, "PRAGMA integrity_check") == "[('ok',)]"


def test_a_request_that_is_bad_does_not_take_others_with_it(store: SqliteStore, path: Path) -> None:
    """They wait together, and go into one transaction."""
    for number in range(6):
        create(store, f"exec_{number}")
    with held(path):
        tickets = [store.append("exec_0", 1, 1, b"x", records(2, 2), RUNNING)]
        tickets += [
            # The time of a record is no integer that SQLite has: the statement fails in the middle of the others.
            store.append("exec_1", 1, 1, b"x", [(2, 1, "k", b"y"), (3, 1, None, b"z")], RUNNING),  # type: ignore[list-item]
            store.append("exec_2", 1, 1, b"x", records(2, 2), RUNNING),
            store.append("exec_3", 9, 1, b"x", records(10, 10), RUNNING),
            store.append("exec_4", 1, 1, b"x", records(2, 3), RUNNING),
        ]
    assert tickets[0].wait(30) == 2
    with pytest.raises(Exception, match=r"NOT NULL|constraint"):
        tickets[1].wait(30)
    assert tickets[2].wait(30) == 2
    with pytest.raises(Conflict):
        tickets[3].wait(30)
    assert tickets[4].wait(30) == 3
    assert everything(store, "exec_1") == records(0, 1)
    assert store.get("exec_1").wait(30).version == 1
    assert store.append("exec_1", 1, 1, b"x", records(2, 2), RUNNING).wait(30) == 2


def test_the_store_is_usable_after_an_outcome_that_cannot_be(store: SqliteStore) -> None:
    create(store, "exec_1")
    with pytest.raises(Exception, match=r"."):
        store.rows("no such statement").wait(30)
    assert store.get("exec_1").wait(30).id == "exec_1"


def panicking(store: SqliteStore, kind: str, writes: bool) -> Ticket[Any]:
    """A request that panics in the store's thread; in the pure one it raises what nobody has thought of."""

    def work(_: object) -> NoReturn:
        raise RuntimeError("asked to")

    ticket = store._ticket()
    if kind == "native":
        store._engine._panic(ticket, writes)
    else:
        from stepwell._pure.engine import _Request

        store._engine._queue.put(_Request(ticket, work, writes))
    return ticket  # type: ignore[no-any-return]


@pytest.mark.parametrize("writes", [False, True])
def test_a_panic_in_the_stores_thread_is_one_requests_alone(
    store: SqliteStore, path: Path, kind: str, writes: bool
) -> None:
    for number in range(4):
        create(store, f"exec_{number}")
    with held(path):
        first = store.append("exec_0", 1, 1, b"x", records(2, 2), RUNNING)
        until(lambda: store._engine.waiting == 0)
        # These are taken together, when the first is done.
        before = store.append("exec_1", 1, 1, b"x", records(2, 2), RUNNING), store.get("exec_3")
        broken = panicking(store, kind, writes)
        after = store.append("exec_2", 1, 1, b"x", records(2, 2), RUNNING), store.get("exec_3")
    for _ in range(2):
        with pytest.raises(InternalError, match="defect in stepwell, please report it"):
            broken.wait(20)
    assert [first.wait(20), before[0].wait(20), after[0].wait(20)] == [2, 2, 2]
    assert [before[1].wait(20).id, after[1].wait(20).id] == ["exec_3", "exec_3"]
    assert store.append("exec_1", 2, 1, b"y", records(3, 3), RUNNING).wait(20) == 3
    assert everything(store, "exec_1") == records(0, 3)
    assert in_sqlite(path, "PRAGMA integrity_check") == "[('ok',)]"
