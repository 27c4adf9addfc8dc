"""Other processes: what a test does to a file that this one has open, it does there."""

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SECONDS = 60

# What a script of `run_store` begins with.
PRELUDE = """
import os, signal, sys, threading
from stepwell import ForkedProcessError, StoreError
from stepwell.store import NewExecution, Projection
from stepwell.store.sqlite import SqliteSource

path, kind = sys.argv[1:3]
row = Projection("running", None, "0" * 32)

def opened(**options):
    return SqliteSource(path, backend=kind, **options).open("acme")

def create(store, id="exec_1"):
    new = NewExecution(id, "m.f", None, None, None, None, None)
    return store.create(new, b"c", [(0, 1, "created", b"{}")], row).wait(30)

def append(store, seq, size=1, id="exec_1"):
    return store.append(id, seq - 1, 1, b"%d" % seq, [(seq, seq, "k", b"x" * size)], row)
"""


def run_python(code: str, *arguments: object) -> subprocess.Popen[str]:
    """A process that runs this."""
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def run_store(code: str, path: Path, kind: str, *arguments: object) -> subprocess.Popen[str]:
    """The same with `PRELUDE` in front."""
    return run_python(PRELUDE + textwrap.dedent(code), path, kind, *arguments)


def output(process: subprocess.Popen[str], given: str = "") -> str:
    """What it printed when it has ended, and well."""
    printed, _ = process.communicate(given, timeout=SECONDS)
    assert process.returncode == 0, printed
    return printed.strip()


def in_sqlite(path: Path, *statements: str) -> str:
    """What `sqlite3` answers to the last statement, in another process."""
    code = """
        import sqlite3, sys
        db = sqlite3.connect(sys.argv[1], isolation_level=None)
        for statement in sys.argv[2:]:
            rows = db.execute(statement).fetchall()
        print(rows)
    """
    return output(run_python(code, path, *statements))


@contextmanager
def held(path: Path) -> Iterator[None]:
    """While another process has the file locked for writing."""
    code = """
        import sqlite3, sys
        db = sqlite3.connect(sys.argv[1], isolation_level=None)
        db.execute("BEGIN IMMEDIATE")
        print("held", flush=True)
        sys.stdin.readline()
        db.execute("COMMIT")
    """
    process = run_python(code, path)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    try:
        yield
    finally:
        output(process, "go\n")


def commits(path: Path) -> int:
    """How many transactions the file has seen: its change counter, and the commits in its write-ahead log."""
    code = """
        import pathlib, struct, sys
        path = pathlib.Path(sys.argv[1])
        count = struct.unpack(">I", path.read_bytes()[24:28])[0]
        log = path.with_name(path.name + "-wal")
        frames = log.read_bytes() if log.exists() else b""
        if frames:
            size = struct.unpack(">I", frames[8:12])[0]
            for at in range(32, len(frames) - size - 23, size + 24):
                ends = struct.unpack(">I", frames[at + 4 : at + 8])[0] > 0
                count += ends and frames[at + 8 : at + 16] == frames[16:24]
        print(count)
    """
    return int(output(run_python(code, path)))
