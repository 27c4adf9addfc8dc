"""What the doctor finds, and that it changes nothing."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backends import BACKENDS
from stepwell import StoreError, ValidationError
from stepwell.store import NewExecution, Projection, doctor, files
from stepwell.store.doctor import Examination, examine
from stepwell.store.shape import differences
from stepwell.store.sql import SCHEMA
from stepwell.store.sqlite import SqliteSource
from store.made import make
from store.processes import in_sqlite, run_python


@pytest.fixture(params=BACKENDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def filled(path: Path, kind: str) -> Path:
    """A store of two tenants, which nobody has open."""
    source = SqliteSource(path, backend=kind)
    store, other = source.open("acme"), source.open("other")
    make(store)
    make(store, end="fail")
    make(store, end=None, owner="host-1:77:abc")
    make(other, end=None, owner="others-owner", text="others-secret")
    store.close()
    other.close()
    return path


def look(path: Path, kind: str, **more: Any) -> Examination:
    found = examine(path, "acme", kind, **more)
    json.dumps(found.to_dict())
    return found


def whats(found: Examination) -> str:
    return "\n".join(each.what for each in found.findings)


def test_a_sound_store(filled: Path, kind: str) -> None:
    before = filled.read_bytes(), filled.stat().st_mtime_ns
    found = look(filled, kind)
    assert found.findings == []
    facts = found.facts
    assert (facts["format"], facts["known_format"], facts["min_reader"], facts["min_writer"]) == (3, 3, 3, 3)
    assert facts["files"]["db"] == {"bytes": filled.stat().st_size, "mode": "0600"}
    assert facts["page_count"] * facts["page_size"] == filled.stat().st_size
    assert facts["journal_mode"] == ("wal" if facts["journal_mode_of_writers"] == "wal" else "rollback")
    assert (facts["synchronous"], facts["auto_vacuum"], facts["query_only"]) == (2, 2, 1)
    assert facts["integrity"] == ["ok"]
    assert facts["schema"] == "as in a new store"
    assert facts["states"] == {"completed": 1, "failed": 1, "running": 1}
    assert facts["owned"] == 1
    assert facts["oldest_lease"]["owner"] == "host-1:77:abc"
    assert facts["doomed"] == 0
    assert "others" not in json.dumps(found.to_dict()), "nothing of another tenant's"
    assert (filled.read_bytes(), filled.stat().st_mtime_ns) == before


def test_a_library_too_old_for_wal_is_a_note(filled: Path) -> None:
    found = look(filled, BACKENDS[-1])
    old = found.facts["journal_mode_of_writers"] == "truncate"
    assert any("write-ahead log is safe" in each.what for each in found.notes) == old


def test_it_looks_while_another_process_writes(filled: Path, kind: str) -> None:
    code = """
        import sys
        from stepwell.store.sqlite import SqliteSource
        store = SqliteSource(sys.argv[1], backend=sys.argv[2]).open("acme")
        print("open", flush=True)
        sys.stdin.readline()
        id = store.list("running").wait()[0].id
        print(store.claim(id, "new", 1).wait())
        store.close()
    """
    process = run_python(code, filled, kind)
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    assert look(filled, kind).findings == []
    assert process.communicate("go\n", timeout=30)[0] == "2\n"


def damaged(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(2 * 4096)
        file.write(b"\xff" * 4096 * 3)


def newer(path: Path) -> None:
    in_sqlite(path, "UPDATE meta SET value = 9", "PRAGMA user_version = 9")


def older(path: Path) -> None:
    in_sqlite(path, "PRAGMA user_version = 1")


CASES: dict[str, tuple[Callable[[Path], object], str]] = {
    "gone": (lambda path: path.unlink(), "there is no file"),
    "a folder": (lambda path: (path.unlink(), path.mkdir(0o700)), "is no file"),
    "empty": (lambda path: os.truncate(path, 0), "is empty"),
    "cut": (lambda path: os.truncate(path, 5_000), "damaged"),
    "damaged": (damaged, "damaged"),
    "something else": (lambda path: path.write_bytes(b"hello" * 9_000), "not a stepwell store"),
    "another program's": (lambda path: in_sqlite(path, "PRAGMA application_id = 5"), "another program"),
    "newer": (newer, "format 9"),
    "newer for writers": (
        lambda path: in_sqlite(path, "UPDATE meta SET value = 9 WHERE name = 'min_writer'"),
        "may write it",
    ),
    "older": (older, "older stepwell"),
    "without versions": (lambda path: in_sqlite(path, "DROP TABLE meta"), "damaged"),
    "with a trigger": (
        lambda path: in_sqlite(
            path, "CREATE TRIGGER t AFTER INSERT ON journal BEGIN DELETE FROM journal; END"
        ),
        "trigger",
    ),
    "without an index": (
        lambda path: in_sqlite(path, "DROP INDEX executions_by_state"),
        "executions_by_state is missing",
    ),
    "with a table more": (lambda path: in_sqlite(path, "CREATE TABLE odd (a)"), "'odd' is of no store"),
    "with a column more": (
        lambda path: in_sqlite(path, "ALTER TABLE inbox ADD COLUMN odd TEXT"),
        "the table inbox is another",
    ),
    "readable for all": (lambda path: path.chmod(0o644), "others than its owner"),
    "two names": (lambda path: os.link(path, path.with_name("second.db")), "hard links"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_wrong_is_found(filled: Path, kind: str, case: str) -> None:
    spoil, words = CASES[case]
    spoil(filled)
    before = filled.read_bytes() if filled.is_file() else None
    found = look(filled, kind)
    assert words in whats(found)
    assert all(each.what and each.todo for each in [*found.findings, *found.notes])
    assert (filled.read_bytes() if filled.is_file() else None) == before


def test_a_network_file_system_is_found(filled: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "filesystem", lambda device: "nfs4")
    found = look(filled, kind)
    assert "network file system" in whats(found)
    assert found.facts["states"], "and it is looked into all the same"


def test_a_full_disk_and_an_open_folder_are_found(
    filled: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "LEAST_FREE_BYTES", 2**62)
    filled.parent.chmod(0o777)
    said = whats(look(filled, kind))
    assert "bytes left" in said
    assert "replace files" in said


def test_an_interrupted_purge_is_a_note(filled: Path, kind: str) -> None:
    store = SqliteSource(filled, backend=kind).open("acme")
    [row] = store.list("completed").wait(10)
    store.doom([row.id]).wait(10)
    store.close()
    found = look(filled, kind)
    assert found.findings == []
    assert found.facts["doomed"] == 1
    assert any("stepwell purge" in each.todo for each in found.notes)


def test_free_pages_are_a_note(path: Path, kind: str) -> None:
    store = SqliteSource(path, backend=kind).open("acme")
    rows = [(seq, 1, "kind", b"x" * 3_000) for seq in range(2_000)]
    new = NewExecution("exec_1", "m.f", None, None, None, None, None)
    store.create(new, b"c", rows, Projection("completed", None, "0" * 32)).wait(20)
    store.doom(["exec_1"]).wait(20)
    while store.sweep(500).wait(20):
        pass
    store.close()
    assert any("pages are free" in each.what for each in look(path, kind).notes)


def test_a_large_file_that_readers_would_lock_is_not_checked(
    filled: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "CHECKED_BYTES", 1)
    found = look(filled, kind)
    assert ("integrity" in found.facts) == (found.facts["journal_mode"] == "wal")
    assert "integrity" in look(filled, kind, integrity=True).facts
    assert "integrity" not in look(filled, kind, integrity=False).facts


def test_a_writer_that_died_in_a_commit_is_found(filled: Path, kind: str) -> None:
    """A rollback journal that is left has to be undone by one that may write."""
    code = """
        import os, sqlite3, sys
        db = sqlite3.connect(sys.argv[1], isolation_level=None)
        db.execute("PRAGMA journal_mode = DELETE")
        db.execute("PRAGMA cache_size = 1")
        db.execute("BEGIN IMMEDIATE")
        for number in range(200):
            db.execute("INSERT INTO meta VALUES (?, 1)", (str(number) * 300,))
        os._exit(0)
    """
    run_python(code, filled).communicate(timeout=30)
    assert filled.with_name(filled.name + "-journal").stat().st_size
    found = look(filled, kind)
    assert "died in the middle" in whats(found)
    with pytest.raises(StoreError, match="open it once for writing"):
        SqliteSource(filled, read_only=True, backend=kind).open("acme")
    SqliteSource(filled, backend=kind).open("acme").close()
    assert look(filled, kind).findings == []


def test_a_store_that_was_brought_up_to_date_has_the_same_shape() -> None:
    """Columns that came later are at the end there."""
    objects = []
    for text in SCHEMA:
        found = re.match(r"CREATE (?:UNIQUE )?(TABLE|INDEX) (\w+)", text)
        if found:
            objects.append((found[1].lower(), found[2], text))
    assert differences(objects) == []
    moved = []
    for kind, name, text in objects:
        if name == "executions" and kind == "table":
            text = text.replace("lease_until INTEGER,", "").replace(
                "PRIMARY KEY (tenant, id)", "PRIMARY KEY (tenant, id), lease_until INTEGER"
            )
        moved.append((kind, name, text))
    assert moved != objects
    assert differences(moved) == []
    assert differences([each for each in moved if each[1] != "meta"]) == ["the table meta is missing"]
    less = [(kind, name, text.replace("UNIQUE ", "")) for kind, name, text in moved]
    assert len(differences(less)) == 3


def test_modes_of_all_files(filled: Path, kind: str) -> None:
    aside = filled.with_name(filled.name + "-wal")
    aside.touch()
    aside.chmod(0o640)
    assert "-wal" in whats(look(filled, kind))


def test_a_tenant_is_a_label(filled: Path, kind: str) -> None:
    with pytest.raises(ValidationError):
        examine(filled, "a\nb", kind)
