"""How often the disk is waited for: once an append, once for many at a time, not at all where nobody asks for it."""

import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from backends import BACKENDS

WORK = textwrap.dedent("""
    import asyncio, os, sys
    from stepwell.store import NewExecution, Projection
    from stepwell.store.sqlite import SqliteSource

    path, backend, durability, executions, appends = sys.argv[1], sys.argv[2], sys.argv[3], *map(int, sys.argv[4:])
    store = SqliteSource(path, backend=backend).open("acme")
    row = Projection("running", None, "0" * 32)

    def create(id):
        new = NewExecution(id, "m.f", None, None, None, None, None)
        return store.create(new, b"c", [(0, 1, "created", b"{}")], row)

    def append(id, seq):
        return store.append(id, seq - 1, 1, b"%d" % seq, [(seq, seq, "k", b"x" * 200)], row, durability)

    async def work(id):
        for seq in range(1, appends + 1):
            await append(id, seq)

    async def main():
        await asyncio.gather(*(work(id) for id in ids))

    ids = [f"exec_{number}" for number in range(executions)]
    for ticket in [create(id) for id in ids]:
        ticket.wait()
    if durability == "again":
        durability = "process"
        append("exec_0", 1).wait()
        durability = "power"
        os.write(2, b"begin")
        append("exec_0", 1).wait()
    elif durability == "renewed":
        store.claim("exec_0", "me", 1, 5).wait()
        os.write(2, b"begin")
        assert all([store.renew("exec_0", 2, lease).wait() for lease in range(appends)])
    else:
        os.write(2, b"begin")
        asyncio.run(main())
    os.write(2, b"end")
""")


def syncs(path: Path, backend: str, durability: str, executions: int, appends: int) -> int:
    """How many calls that wait for the disk there were between the first append and the last."""
    if shutil.which("strace") is None:
        pytest.fail("strace is not here, and this counts system calls: apt-get install strace")
    trace = path.with_name("trace")
    watched = ["strace", "-f", "--seccomp-bpf", "-o", str(trace), "-e", "trace=fsync,fdatasync,write"]
    given = [str(path), backend, durability, str(executions), str(appends)]
    subprocess.run(
        [*watched, sys.executable, "-c", WORK, *given], check=True, stderr=subprocess.DEVNULL, timeout=60
    )
    text = trace.read_text(encoding="utf-8", errors="replace")
    between = text[text.index('write(2, "begin"') : text.index('write(2, "end"')]
    return len(re.findall(r"^\d+ +f(?:data)?sync\(", between, re.MULTILINE))


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_after_the_other_each_append_is_synced_once(tmp_path: Path, backend: str) -> None:
    found = syncs(tmp_path / "runs.db", backend, "power", 1, 60)
    # In rollback mode a commit syncs the journal, the file, and the journal once more when it is given up.
    assert found == 60 if backend == "native" else 60 * 2 <= found <= 60 * 6


@pytest.mark.parametrize("backend", BACKENDS)
def test_many_at_once_share_their_syncs(tmp_path: Path, backend: str) -> None:
    assert syncs(tmp_path / "runs.db", backend, "power", 100, 10) <= (200 if backend == "native" else 900)


def test_nobody_waits_for_the_disk_who_does_not_ask(tmp_path: Path) -> None:
    if "native" in BACKENDS:
        assert syncs(tmp_path / "runs.db", "native", "process", 1, 60) == 0


def test_a_lease_is_moved_without_the_disk(tmp_path: Path) -> None:
    if "native" in BACKENDS:
        assert syncs(tmp_path / "runs.db", "native", "renewed", 1, 60) == 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_is_asked_again_with_more_is_taken_to_the_disk(tmp_path: Path, backend: str) -> None:
    """It was in the file; that it is on the disk, too, is known only after a sync."""
    assert syncs(tmp_path / "runs.db", backend, "again", 1, 1) >= 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_reader_between_two_pages_does_not_make_the_file_grow(tmp_path: Path, backend: str) -> None:
    """No read transaction outlives a page: else nothing that is written meanwhile could be taken over."""
    code = textwrap.dedent("""
        import os, sys
        from stepwell.store import NewExecution, Projection
        from stepwell.store.sqlite import SqliteSource

        path, backend = sys.argv[1:]
        store, reader = (SqliteSource(path, backend=backend, read_only=only).open("acme") for only in (False, True))
        row = Projection("running", None, "0" * 32)
        new = NewExecution("exec_0", "m.f", None, None, None, None, None)
        records = [(seq, seq, "k", b"x" * 200) for seq in range(3000)]
        store.create(new, b"c", records, row).wait()
        page = reader.load("exec_0").wait()
        assert 0 < len(page) < 3000
        for number in range(40):
            first = 3000 + number * 500
            records = [(seq, seq, "k", b"x" * 200) for seq in range(first, first + 500)]
            store.append("exec_0", first - 1, 1, b"%d" % first, records, row, "process").wait()
        files = [path + end for end in ("-wal", "-journal") if os.path.exists(path + end)]
        print(sum(map(os.path.getsize, files)), len(reader.load("exec_0", page[-1][0]).wait()) > 0)
    """)
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "runs.db"), backend],
        capture_output=True, text=True, check=True, timeout=60, env=os.environ,
    )  # fmt: skip
    size, more = done.stdout.split()
    # What was written is 4 MB in 40 commits; a checkpoint comes every 4,000 pages at the latest.
    assert int(size) < 20 * 1024 * 1024
    assert more == "True"
