"""The SQLite store and other processes: many on one file, signals, forks, and death."""

import os
import signal
import textwrap
from pathlib import Path

import pytest

from backends import BACKENDS
from stepwell import ForkedProcessError, StoreError
from stepwell.store.sqlite import SqliteSource, SqliteStore
from store.given import everything
from store.processes import in_sqlite, output, run_store


def test_many_processes_on_one_file_lose_nothing(store: SqliteStore, path: Path, kind: str) -> None:
    code = """
        store = opened()
        id = "exec_" + sys.argv[3]
        create(store, id)
        for seq in range(1, 60):
            append(store, seq, 100, id).wait(30)
        store.close()
    """
    workers = [run_store(code, path, kind, number) for number in range(4)]
    for worker in workers:
        output(worker)
    assert [row.version for row in store.list().wait(30)] == [59, 59, 59, 59]


def test_many_processes_for_one_execution(store: SqliteStore, path: Path, kind: str) -> None:
    """Each appends where it believes the end to be, and knows afterwards what it wrote."""
    code = """
        from stepwell import Conflict
        store = opened()
        if sys.argv[3] == "0":
            create(store)
        print("ready", flush=True)
        sys.stdin.readline()
        mine = 0
        while mine < 20:
            seq = store.get("exec_1").wait(30).version + 1
            name = b"%s-%d" % (sys.argv[3].encode(), seq)
            try:
                store.append("exec_1", seq - 1, 1, name, [(seq, seq, "k", sys.argv[3].encode())], row).wait(30)
                mine += 1
            except Conflict:
                pass
        store.close()
    """
    workers = []
    for number in range(3):
        workers.append(run_store(code, path, kind, number))
        assert workers[-1].stdout is not None
        assert workers[-1].stdout.readline() == "ready\n"
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    for worker in workers:
        output(worker)
    found = everything(store, "exec_1")
    assert [record[0] for record in found] == list(range(61))
    assert sorted(record[3] for record in found[1:]) == [b"0"] * 20 + [b"1"] * 20 + [b"2"] * 20


# --- signals ------------------------------------------------------------------------------------------------------


def test_an_interrupt_while_waiting_loses_nothing(path: Path, kind: str) -> None:
    code = """
        store = opened()
        create(store)
        interrupted = 0
        for seq in range(1, 201):
            try:
                threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGINT)).start()
                append(store, seq).wait(30)
            except KeyboardInterrupt:
                interrupted += 1
            while True:
                try:
                    again = append(store, seq).wait(30)
                    assert again == seq, again
                    break
                except KeyboardInterrupt:
                    interrupted += 1
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        print(interrupted, store.get("exec_1").wait(30).version)
        store.close()
    """
    interrupted, version = map(int, output(run_store(code, path, kind)).split())
    assert interrupted >= 150
    assert version == 200
    assert in_sqlite(path, "SELECT count(*) FROM journal") == "[(201,)]"


# --- forks --------------------------------------------------------------------------------------------------------


def test_a_forked_child_is_refused_and_does_no_harm(path: Path, kind: str) -> None:
    """On the store of its parent, and when it opens that file itself: SQLite's state came with the fork."""
    code = """
        store = opened()
        create(store)
        stop = threading.Event()
        written = [0]

        def write():
            while not stop.is_set():
                written[0] = append(store, written[0] + 1, 2_000).wait(30)

        def refused(ask):
            try:
                ask()
            except ForkedProcessError as error:
                return path in str(error) and "after the fork" in str(error)

        def child(number):
            code = 0
            if not refused(lambda: store.get("exec_1")) or not refused(lambda: append(store, 1)):
                code = 1
            store.close()
            for options in {}, {"read_only": True}:
                if not refused(lambda: opened(**options)):
                    code = 2
            if number % 2:
                os._exit(code)
            sys.exit(code)  # with everything that an interpreter does at its end

        writer = threading.Thread(target=write)
        writer.start()
        codes = []
        for number in range(10):
            before = written[0]
            pid = os.fork()
            if pid == 0:
                child(number)
            codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
            while written[0] == before:  # it goes on
                store.get("exec_1").wait(30)
        stop.set()
        writer.join()
        assert codes == [0] * 10, codes
        assert store.get("exec_1").wait(30).version == written[0] > 0
        store.close()
        print(written[0])
    """
    written = int(output(run_store(code, path, kind)))
    assert in_sqlite(path, "PRAGMA integrity_check") == "[('ok',)]"
    assert (
        in_sqlite(path, "SELECT count(*), count(DISTINCT seq) FROM journal")
        == f"[({written + 1}, {written + 1})]"
    )


@pytest.mark.parametrize("backend", [name for name in BACKENDS if name == "pure"])
def test_a_fork_waits_for_the_end_of_a_commit(path: Path, backend: str) -> None:
    """Python closes in the child what the parent's thread had open: a journal that is half written would be undone.

    The native engine leaves nothing behind in a child that could be closed.
    """
    code = """
        store = opened()
        create(store)
        log = path + "-journal"
        if store.rows("journal_mode").wait(30) == [("wal",)]:
            print(0)
            sys.exit()
        reader = subprocess.Popen([sys.executable, "-c", READER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert reader.stdout.readline() == b"reading\\n"
        ticket = append(store, 1)
        while not os.path.getsize(log):  # it is written, and waits for the reader to commit
            pass
        assert not ticket.done
        os.register_at_fork(before=lambda: threading.Thread(target=reader.communicate, args=(b"go",)).start())
        pid = os.fork()
        if pid == 0:
            os._exit(1 if os.path.getsize(log) else 0)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        assert ticket.wait(30) == 1
        store.close()
    """
    reader = """
        import sqlite3, sys
        db = sqlite3.connect(sys.argv[1], isolation_level=None)
        db.execute("BEGIN")
        db.execute("SELECT * FROM executions").fetchall()
        print("reading", flush=True)
        sys.stdin.read()
    """
    code = f"import subprocess\nREADER = {textwrap.dedent(reader)!r}\n" + textwrap.dedent(code)
    assert output(run_store(code, path, backend)) == "0"


def test_a_child_of_a_process_that_has_closed_it_may_open_it(path: Path, kind: str) -> None:
    code = """
        store = opened()
        create(store)
        store.close()
        pid = os.fork()
        if pid == 0:
            store = opened()
            append(store, 1).wait(30)
            store.close()
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        store = opened()
        print(store.get("exec_1").wait(30).version)
        store.close()
    """
    assert output(run_store(code, path, kind)) == "1"


def test_forked_is_a_store_error() -> None:
    assert issubclass(ForkedProcessError, StoreError)


# --- death --------------------------------------------------------------------------------------------------------


def test_what_was_answered_is_there_after_kill_9(path: Path, kind: str) -> None:
    code = """
        store = opened()
        id = "exec_" + sys.argv[3]
        create(store, id)
        seq = 0
        while True:
            seq = append(store, seq + 1, 3_000, id).wait(30)
            print(seq, flush=True)
    """
    answered = {}
    for number, lines in enumerate((1, 7, 30, 100)):
        process = run_store(code, path, kind, number)
        assert process.stdout is not None
        seen = ""
        for _ in range(lines):
            seen = process.stdout.readline()
        os.kill(process.pid, signal.SIGKILL)
        rest = process.stdout.read().splitlines()  # `communicate` would forget what `readline` has read ahead
        process.communicate()
        answered[f"exec_{number}"] = int(rest[-1] if rest and rest[-1].isdigit() else seen)
    assert in_sqlite(path, "PRAGMA integrity_check") == "[('ok',)]"
    store = SqliteSource(path, backend=kind).open("acme")
    for name, seq in answered.items():
        assert store.get(name).wait(30).version in (seq, seq + 1)
        assert len(everything(store, name)) == store.get(name).wait(30).version + 1
    store.close()
