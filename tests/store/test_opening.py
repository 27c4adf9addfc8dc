"""Opening a file that another process keeps to itself for a while: it does so when it repairs what a dead one left."""

import re
from pathlib import Path

import pytest

from backends import BACKENDS
from stepwell import StoreBusy
from stepwell.store.sqlite import SqliteSource
from store.processes import run_python


@pytest.mark.parametrize("backend", BACKENDS)
def test_opening_waits_as_long_as_it_was_told(backend: str, tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    SqliteSource(path, backend=backend).open("acme").close()
    code = """
        import sqlite3, sys
        db = sqlite3.connect(sys.argv[1], isolation_level=None)
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute("BEGIN EXCLUSIVE")
        print("held", flush=True)
        sys.stdin.readline()
    """
    with run_python(code, path) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(StoreBusy) as refused:
            SqliteSource(path, 0.5, backend=backend).open("acme")
        waited = re.search(r"for ([\d.]+) s", str(refused.value))
        assert waited is not None
        assert float(waited[1]) >= 0.5
        holder.communicate("go\n", timeout=30)
        opened = SqliteSource(path, backend=backend).open("acme")
        assert opened.list().wait(30) == []
        opened.close()
