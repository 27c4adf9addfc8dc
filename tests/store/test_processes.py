"""The SQLite store and other processes: locks, signals, forks, and death."""

import os
import signal
import sqlite3
from pathlib import Path

import pytest

from stepwell import ForkedProcessError, StoreBusy, StoreError
from stepwell.store import open_store
from stepwell.store.sqlite import SqliteSource, SqliteStore
from store.processes import in_sqlite, run_python
from store.suite import RUNNING, create, everything, records


def test_another_process_that_holds_the_file(path: Path) -> None:
    store = SqliteSource(path, busy_seconds=0.2).open("acme")
    create(store, "exec_1")
    code = """
        import sqlite3, sys
        db = sqlite3.connect(sys.argv[1], isolation_level=None)
        db.execute("BEGIN IMMEDIATE")
        print("held", flush=True)
        sys.stdin.readline()
        db.execute("COMMIT")
    """
    holder = run_python(code, path)
    assert holder.stdout is not None
    assert holder.stdin is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(StoreBusy, match=r"for 0\.\d s"):
        store.append("exec_1", 1, 1, b"x", records(2, 2), RUNNING).wait(10)
    holder.communicate("go\n", timeout=10)
    assert store.append("exec_1", 1, 1, b"x", records(2, 2), RUNNING).wait(10) == 2
    store.close()


def test_many_processes_on_one_file_lose_nothing(store: SqliteStore, path: Path) -> None:
    code = """
        import sys
        from stepwell.store import NewExecution, Projection, open_store
        store = open_store(f"sqlite:///{sys.argv[1]}", "acme")
        row = Projection("running", None, "0" * 32)
        id = "exec_" + sys.argv[2]
        new = NewExecution(id, "m.f", None, None, None, None, None)
        store.create(new, b"c", [(0, 1, "created", b"{}")], row).wait()
        for seq in range(1, 60):
            store.append(id, seq - 1, 1, b"%d" % seq, [(seq, seq, "k", b"x" * 100)], row).wait()
        store.close()
    """
    workers = [run_python(code, path, number) for number in range(4)]
    for worker in workers:
        worker.communicate(timeout=60)
    assert [worker.returncode for worker in workers] == [0, 0, 0, 0]
    assert [row.version for row in store.list().wait(10)] == [59, 59, 59, 59]


# --- signals, forks and death -------------------------------------------------------------------------------------


def test_an_interrupt_while_waiting_loses_nothing(path: Path) -> None:
    code = """
        import os, signal, sys, threading
        from stepwell.store import NewExecution, Projection, open_store
        store = open_store(f"sqlite:///{sys.argv[1]}", "acme")
        row = Projection("running", None, "0" * 32)
        new = NewExecution("exec_1", "m.f", None, None, None, None, None)
        store.create(new, b"c", [(0, 1, "created", b"{}")], row).wait()
        interrupted = 0
        for seq in range(1, 201):
            ticket = None
            try:
                threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGINT)).start()
                ticket = store.append("exec_1", seq - 1, 1, b"%d" % seq, [(seq, seq, "k", b"x")], row)
                ticket.wait()
            except KeyboardInterrupt:
                interrupted += 1
            while True:
                try:
                    again = store.append("exec_1", seq - 1, 1, b"%d" % seq, [(seq, seq, "k", b"x")], row).wait()
                    assert again == seq, again
                    break
                except KeyboardInterrupt:
                    interrupted += 1
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        print(interrupted, store.get("exec_1").wait().version)
        store.close()
    """
    process = run_python(code, path)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    interrupted, version = map(int, output.split())
    assert interrupted >= 150
    assert version == 200


def test_a_forked_child_is_refused_and_does_no_harm(path: Path) -> None:
    code = """
        import os, sys, threading
        from stepwell import ForkedProcessError
        from stepwell.store import NewExecution, Projection, open_store
        url = f"sqlite:///{sys.argv[1]}"
        store = open_store(url, "acme")
        row = Projection("running", None, "0" * 32)
        new = NewExecution("exec_1", "m.f", None, None, None, None, None)
        store.create(new, b"c", [(0, 1, "created", b"{}")], row).wait()
        stop = threading.Event()
        written = [0]
        def write():
            while not stop.is_set():
                seq = written[0] + 1
                written[0] = store.append("exec_1", seq - 1, 1, b"%d" % seq, [(seq, seq, "k", b"x" * 2000)], row).wait()
        writer = threading.Thread(target=write)
        writer.start()
        codes = []
        for number in range(10):
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    store.get("exec_1")
                except ForkedProcessError:
                    store.close()
                    own = open_store(url, "acme")
                    code = 0 if own.get("exec_1").wait().version >= 0 else 2
                    own.close()
                if number % 2:
                    os._exit(code)
                sys.exit(code)  # with everything that an interpreter does at its end
            codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        stop.set()
        writer.join()
        assert codes == [0] * 10, codes
        assert store.get("exec_1").wait().version == written[0] > 0
        store.close()
        print("ok")
    """
    process = run_python(code, path)
    output, _ = process.communicate(timeout=60)
    assert output == "ok\n"
    assert in_sqlite(path, "PRAGMA integrity_check") == "[('ok',)]"


def test_what_was_answered_is_there_after_kill_9(path: Path) -> None:
    code = """
        import sys
        from stepwell.store import NewExecution, Projection, open_store
        store = open_store(f"sqlite:///{sys.argv[1]}", "acme")
        row = Projection("running", None, "0" * 32)
        id, seq = sys.argv[2], 0
        new = NewExecution(id, "m.f", None, None, None, None, None)
        store.create(new, b"c", [(0, 1, "created", b"{}")], row).wait()
        while True:
            seq = store.append(id, seq, 1, b"%d" % seq, [(seq + 1, seq, "k", b"x" * 3000)], row).wait()
            print(seq, flush=True)
    """
    answered = {}
    for number, lines in enumerate([1, 2, 3, 5, 8, 30, 100]):
        process = run_python(code, path, f"exec_{number}")
        assert process.stdout is not None
        for _ in range(lines):
            seen = process.stdout.readline()
        os.kill(process.pid, signal.SIGKILL)
        rest = process.stdout.read().splitlines()  # `communicate` would forget what `readline` has read ahead
        process.communicate()
        answered[f"exec_{number}"] = int(rest[-1] if rest and rest[-1].isdigit() else seen)
    assert in_sqlite(path, "PRAGMA integrity_check") == "[('ok',)]"
    store = open_store(f"sqlite:///{path}", "acme")
    for name, seq in answered.items():
        assert store.get(name).wait(10).version in (seq, seq + 1)
        assert len(everything(store, name)) == store.get(name).wait(10).version + 1
    store.close()


def test_forked_is_a_store_error() -> None:
    assert issubclass(ForkedProcessError, StoreError)
    assert sqlite3.sqlite_version_info >= (3, 38)
