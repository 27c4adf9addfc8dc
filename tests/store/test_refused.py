"""Files that cannot be a store, or not here: each is refused in words that say what to do, and left as it was."""

import os
import shutil
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from stepwell import StoreCorrupt, StoreError
from stepwell.errors import StoreTooNew
from stepwell.store import files
from stepwell.store.sql import FORMAT
from stepwell.store.sqlite import SqliteSource
from store.given import RUNNING, create, everything, records
from store.processes import PRELUDE, in_sqlite, output, run_store

MOUNTS = """\
22 28 0:20 / /sys rw,nosuid shared:7 - sysfs sysfs rw
28 1 8:1 / / rw,relatime shared:1 - ext4 /dev/root rw
31 28 0:44 / /data rw,relatime shared:9 master:2 - nfs4 server:/export rw,vers=4.2
33 28 0:51 / /odd\\040name rw - fuse.sshfs me@there: rw
short line
"""


@pytest.fixture
def made(source: SqliteSource, path: Path) -> Path:
    """A store file with something in it, closed."""
    store = source.open("acme")
    create(store, "exec_1")
    store.append("exec_1", 1, 1, b"x", records(2, 400, size=500), RUNNING).wait(30)
    store.close()
    return path


# --- what is in it ------------------------------------------------------------------------------------------------


def test_a_file_of_another_kind(source: SqliteSource, path: Path) -> None:
    path.write_bytes(b"no database at all, but long enough to be looked at" * 100)
    before = path.read_bytes()
    with pytest.raises(StoreCorrupt, match="is not a stepwell store"):
        source.open("acme")
    assert path.read_bytes() == before


@pytest.mark.parametrize("application_id", [0, 42])
def test_another_programs_database(source: SqliteSource, path: Path, application_id: int) -> None:
    in_sqlite(path, "CREATE TABLE mine (a)", f"PRAGMA application_id = {application_id}")
    before = path.read_bytes()
    with pytest.raises(StoreCorrupt, match="another program"):
        source.open("acme")
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TRIGGER t AFTER INSERT ON journal BEGIN DELETE FROM executions; END",
        "CREATE VIEW v AS SELECT * FROM executions",
    ],
)
def test_a_schema_that_acts_by_itself(source: SqliteSource, made: Path, kind: str, statement: str) -> None:
    in_sqlite(made, statement)
    before = made.read_bytes()
    what = statement.split()[1].lower()
    for given in (source, SqliteSource(made, backend=kind, read_only=True)):
        with pytest.raises(
            StoreCorrupt, match=rf"has a {what}, which no stepwell store has.*stepwell import"
        ):
            given.open("acme")
    assert made.read_bytes() == before


def test_a_newer_format(source: SqliteSource, made: Path, kind: str) -> None:
    newer = f"UPDATE meta SET value = {FORMAT + 1} WHERE name = "
    in_sqlite(made, newer + "'min_writer'", f"PRAGMA user_version = {FORMAT + 1}")
    with pytest.raises(StoreTooNew, match=rf"format {FORMAT + 1}.*upgrade stepwell"):
        source.open("acme")
    # It may be read as long as that is allowed.
    reader = SqliteSource(made, backend=kind, read_only=True)
    store = reader.open("acme")
    assert everything(store, "exec_1")[0] == records(0, 0)[0]
    store.close()
    in_sqlite(made, newer + "'min_reader'")
    with pytest.raises(StoreTooNew, match="upgrade stepwell"):
        reader.open("acme")


def test_a_newer_format_that_old_ones_may_write_is_taken(source: SqliteSource, made: Path) -> None:
    in_sqlite(made, f"PRAGMA user_version = {FORMAT + 1}")
    store = source.open("acme")
    assert store.append("exec_1", 400, 1, b"y", records(401, 401), RUNNING).wait(30) == 401
    store.close()
    assert in_sqlite(made, "PRAGMA user_version") == f"[({FORMAT + 1},)]"


@pytest.mark.parametrize("statement", ["DROP TABLE meta", "DELETE FROM meta", "PRAGMA user_version = 0"])
def test_a_store_without_its_versions_is_damaged(source: SqliteSource, made: Path, statement: str) -> None:
    in_sqlite(made, statement)
    with pytest.raises(StoreCorrupt, match="lost its table of versions"):
        source.open("acme")


@pytest.mark.parametrize("keep", [50, 100, 4096, 5000])
def test_a_truncated_file_is_damaged(source: SqliteSource, made: Path, keep: int) -> None:
    os.truncate(made, keep)
    with pytest.raises(StoreCorrupt):  # noqa: PT012 - which call finds it depends on where it was cut
        store = source.open("acme")
        try:
            everything(store, "exec_1")
        finally:
            store.close()


def test_overwritten_pages_are_an_error_and_no_wrong_answer(source: SqliteSource, made: Path) -> None:
    with made.open("r+b") as file:
        file.seek(8192)
        file.write(b"\xff" * (made.stat().st_size - 8192))
    with pytest.raises(StoreCorrupt):  # noqa: PT012 - likewise
        store = source.open("acme")
        try:
            everything(store, "exec_1")
        finally:
            store.close()


# --- where it is --------------------------------------------------------------------------------------------------


def test_a_place_that_is_not_there(tmp_path: Path, kind: str) -> None:
    with pytest.raises(StoreError, match="check that its folder is there"):
        SqliteSource(tmp_path / "absent" / "runs.db", backend=kind).open("acme")
    with pytest.raises(StoreError, match="cannot be opened: check that it is a file"):
        SqliteSource(tmp_path, backend=kind).open("acme")


def test_a_file_with_two_names(source: SqliteSource, made: Path) -> None:
    other = made.with_name("other.db")
    os.link(made, other)
    with pytest.raises(StoreError, match=r"has 2 names \(hard links\).*remove the others"):
        source.open("acme")
    other.unlink()
    source.open("acme").close()


def test_the_kind_of_a_file_system_is_looked_up(tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)
    assert files.filesystem(os.makedev(8, 1), str(mounts)) == "ext4"
    assert files.filesystem(os.makedev(0, 44), str(mounts)) == "nfs4"
    assert files.filesystem(os.makedev(0, 51), str(mounts)) == "fuse.sshfs"
    assert files.filesystem(os.makedev(9, 9), str(mounts)) is None
    assert files.filesystem(os.makedev(8, 1), str(tmp_path / "absent")) is None


@pytest.mark.parametrize("name", ["nfs4", "cifs", "9p", "fuse.sshfs"])
def test_a_network_file_system(path: Path, kind: str, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(files, "filesystem", lambda device: name)
    with pytest.raises(StoreError, match=rf"network file system \({name}\).*use a local disk"):
        SqliteSource(path, backend=kind).open("acme")
    store = SqliteSource(path, backend=kind, network=True).open("acme")
    create(store, "exec_1")
    store.close()


def test_a_read_only_file_system(made: Path, kind: str) -> None:
    """A mount of the folder that lets nothing be written, in a name space of its own."""
    tool = shutil.which("unshare")
    assert tool is not None, "this test needs `unshare` (Debian: apt install util-linux)"
    code = """
        for each in (path, path + ".new"):
            try:
                SqliteSource(each, backend=kind).open("acme")
            except StoreError as error:
                print(type(error).__name__, error)
    """
    mount = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
    command = [tool, "--user", "--map-root-user", "--mount", "sh", "-c", mount, str(made.parent)]
    command += [sys.executable, "-W", "ignore", "-c", PRELUDE + textwrap.dedent(code), str(made), kind]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, f"this test needs name spaces of users to be allowed: {done.stderr}"
    old, new = done.stdout.splitlines()
    assert old == f"StoreReadOnly {made} cannot be written: check the rights of the file and its folder"
    assert new == f"StoreReadOnly {made}.new cannot be made: its file system is read-only"


# --- who else has it open -----------------------------------------------------------------------------------------


def test_what_this_process_has_open_through_sqlite3(source: SqliteSource, made: Path) -> None:
    mine = sqlite3.connect(made)
    assert mine.execute("SELECT count(*) FROM executions").fetchall() == [(1,)]
    with pytest.raises(StoreError, match="is open in this process already, by another SQLite library"):
        source.open("acme")
    mine.close()
    source.open("acme").close()


def test_what_this_process_has_open_as_a_plain_file(source: SqliteSource, made: Path) -> None:
    with made.open("rb"), pytest.raises(StoreError, match="open in this process already"):
        source.open("acme")
    source.open("acme").close()


def test_the_other_backend_on_a_file_that_is_open(path: Path, kind: str) -> None:
    code = """
        store = opened()
        create(store)
        try:
            SqliteSource(path, backend=sys.argv[3]).open("acme")
        except StoreError as error:
            print(error)
        reader = opened(read_only=True)
        try:
            SqliteSource(path, backend=sys.argv[3], read_only=True).open("acme")
        except StoreError as error:
            print(error)
        append(store, 1).wait(30)
        print(store.get("exec_1").wait(30).version)
        reader.close()
        store.close()
    """
    other = "native" if kind == "pure" else "pure"
    first, second, version = output(run_store(code, path, kind, other)).splitlines()
    assert "is open in this process already, by another SQLite library" in first
    assert second == first
    assert version == "1"
    assert in_sqlite(path, "PRAGMA integrity_check") == "[('ok',)]"
