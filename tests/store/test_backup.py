"""A backup is the store as it was at one moment, whatever others do meanwhile, and never half of it."""

import stat
from pathlib import Path

import pytest

from backends import BACKENDS
from stepwell import StoreCorrupt, StoreError, ValidationError
from stepwell.store import backup
from stepwell.store.sqlite import SqliteSource
from store.given import RUNNING, create, everything, records
from store.processes import in_sqlite, run_python

WRITER = """
    import sys
    from stepwell.store import NewExecution, Projection
    from stepwell.store.sqlite import SqliteSource
    store = SqliteSource(sys.argv[1], backend=sys.argv[2]).open("acme")
    row, seq = Projection("running", None, "0" * 32), 0
    new = NewExecution("exec_1", "m.f", None, None, None, None, None)
    store.create(new, b"c", [(0, 1, "created", b"{}")], row).wait()
    while True:
        seq = store.append("exec_1", seq, 1, b"%d" % seq, [(seq + 1, seq, "k", b"x" * 3000)], row).wait()
        print(seq, flush=True)
"""


@pytest.mark.parametrize("engine", BACKENDS)
def test_while_another_process_goes_on_writing(path: Path, tmp_path: Path, engine: str) -> None:
    writer = run_python(WRITER, path, engine)
    assert writer.stdout is not None
    try:
        for number in range(5):
            before = int(writer.stdout.readline())
            target = tmp_path / f"{number}.copy"
            assert backup(path, target, engine) == target.stat().st_size
            assert stat.S_IMODE(target.stat().st_mode) == 0o600
            assert in_sqlite(target, "PRAGMA integrity_check") == "[('ok',)]"
            copy = SqliteSource(target, backend=engine).open("acme")
            version = copy.get("exec_1").wait(10).version
            assert version >= before
            assert [record[0] for record in everything(copy, "exec_1")] == [*range(version + 1)]
            copy.close()
            while int(writer.stdout.readline()) <= version:
                pass  # it goes on
    finally:
        writer.kill()
        writer.communicate()
    assert [each.name for each in tmp_path.iterdir() if each.suffix == ".part"] == []


@pytest.mark.parametrize("engine", BACKENDS)
def test_of_a_store_that_is_open_here(path: Path, tmp_path: Path, engine: str) -> None:
    store = SqliteSource(path, backend=engine).open("acme")
    create(store, "exec_1")
    backup(path, tmp_path / "copy", engine)
    assert store.append("exec_1", 1, 1, b"x", records(2, 2), RUNNING).wait(10) == 2
    store.close()
    copy = SqliteSource(tmp_path / "copy", backend=engine).open("acme")
    assert everything(copy, "exec_1") == records(0, 1)
    assert copy.append("exec_1", 1, 1, b"x", records(2, 2), RUNNING).wait(10) == 2
    copy.close()


DIES = """
    import os, sqlite3, sys
    db = sqlite3.connect(sys.argv[1], isolation_level=None)
    db.execute("PRAGMA cache_size = 5")
    db.execute("BEGIN IMMEDIATE")
    db.execute("UPDATE journal SET body = zeroblob(4000)")
    db.execute("UPDATE executions SET head = 'x'")
    os._exit(1)
"""


@pytest.mark.parametrize("engine", BACKENDS)
def test_of_a_store_whose_writer_died_in_the_middle(path: Path, tmp_path: Path, engine: str) -> None:
    store = SqliteSource(path, backend=engine).open("acme")
    for number in range(100):
        create(store, f"exec_{number}")
    store.close()
    run_python(DIES, path).communicate(timeout=30)
    assert max(path.with_name(path.name + end).stat().st_size for end in ends(path)) > 10_000
    backup(path, tmp_path / "copy", engine)
    copy = SqliteSource(tmp_path / "copy", backend=engine).open("acme")
    assert everything(copy, "exec_7") == records(0, 1)
    copy.close()


def ends(path: Path) -> list[str]:
    return [each.name.removeprefix(path.name) for each in path.parent.iterdir() if each.name > path.name]


@pytest.mark.parametrize("engine", BACKENDS)
def test_nothing_is_overwritten(path: Path, tmp_path: Path, engine: str) -> None:
    SqliteSource(path, backend=engine).open("acme").close()
    target = tmp_path / "copy"
    target.write_bytes(b"mine")
    with pytest.raises(ValidationError, match="exists"):
        backup(path, target, engine)
    assert target.read_bytes() == b"mine"
    target.unlink()
    target.symlink_to(tmp_path / "nowhere")
    with pytest.raises(ValidationError, match="exists"):
        backup(path, target, engine)
    with pytest.raises(ValidationError, match="exists"):
        backup(path, path, engine)
    with pytest.raises(StoreError, match="could not be written"):
        backup(path, tmp_path / "absent" / "copy", engine)
    assert left(tmp_path) == ["copy"]


@pytest.mark.parametrize("engine", BACKENDS)
def test_what_is_no_sound_store_leaves_nothing(path: Path, tmp_path: Path, engine: str) -> None:
    with pytest.raises(StoreError, match="no store"):
        backup(path, tmp_path / "copy", engine)
    path.write_bytes(b"no database at all, but long enough to be looked at" * 100)
    with pytest.raises(StoreCorrupt):
        backup(path, tmp_path / "copy", engine)
    path.unlink()
    SqliteSource(path, backend=engine).open("acme").close()
    in_sqlite(
        path, "PRAGMA writable_schema = ON", "UPDATE sqlite_master SET rootpage = 3 WHERE name = 'journal'"
    )
    with pytest.raises(StoreError):
        backup(path, tmp_path / "copy", engine)
    assert left(tmp_path) == []


def left(folder: Path) -> list[str]:
    """What is there beside the store and its journals."""
    return sorted(each.name for each in folder.iterdir() if not each.name.startswith("runs.db"))
