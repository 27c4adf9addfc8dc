"""The locks of this process on its file, which others in it must not give away, and the interpreter's own lock."""

import threading
from pathlib import Path

import pytest

from backends import BACKENDS
from stepwell.store.sqlite import SqliteSource
from store.given import RUNNING, create, records
from store.processes import held, output, run_store
from waiting import until

USE = """
    import io
    from stepwell import Execution
    from stepwell.runtime.journaling import projection
    from stepwell.store import backup, export, import_, verify
    from stepwell.store.doctor import examine

    def locks():
        inode, mine = str(os.stat(path).st_ino), str(os.getpid())
        fields = [line.split() for line in open("/proc/locks")]
        return sorted(each[1:4] + each[6:] for each in fields if each[4] == mine and each[5].split(":")[-1] == inode)

    def watch(event, arguments):
        # With O_EXCL a file that is there is not opened.
        if event == "open" and str(arguments[0]).startswith(path) and not arguments[2] & os.O_EXCL:
            found.append(arguments[0])
        elif event == "sqlite3.connect" and kind == "native":
            found.append(event)

    found = []
    store = opened()
    execution = Execution(tenant="acme", blueprint="m.f")
    execution.start()
    execution.complete()
    new = NewExecution(execution.id, "m.f", None, None, None, None, None)
    store.create(new, b"c", execution.drain(), projection(execution)).wait(30)
    before = locks()
    sys.addaudithook(watch)
    backup(path, os.path.join(os.path.dirname(path), "copy"), kind)
    examine(path, "acme", kind, integrity=True)
    assert not verify(store).findings
    file = io.BytesIO()
    export(store, file)
    file.seek(0)
    import_(store, file)
    SqliteSource(path, backend=kind).open("other").close()
    opened(read_only=True).close()
    print(found, before == locks())
    # This is what it would look like. A file in WAL mode is locked as long as it is open.
    open(path, "rb").close()
    assert len(found) == 1
    assert (before != locks()) == (store.rows("journal_mode").wait(30) == [("wal",)])
    store.close()
"""


def test_nothing_opens_the_file_beside_the_engine(path: Path, kind: str) -> None:
    """To close it again would give away what the engine has locked, to all other processes."""
    assert output(run_store(USE, path, kind)) == "[] True"


def test_who_waits_leaves_the_interpreter_to_others(path: Path, kind: str) -> None:
    store = SqliteSource(path, 10, backend=kind).open("acme")
    create(store, "exec_1")
    with held(path):
        ticket = store.append("exec_1", 1, 1, b"x", records(2, 2), RUNNING)
        waiting = threading.Thread(target=ticket.wait, args=(20,))
        waiting.start()
        # Else this is not come to before the store has given up.
        assert not ticket.done
    assert ticket.wait(20) == 2
    waiting.join(20)
    store.close()


@pytest.mark.parametrize("backend", [name for name in BACKENDS if name == "native"])
def test_the_stores_thread_goes_on_without_the_interpreter(path: Path, backend: str) -> None:
    """Also where who waits for an answer is to be told of one before."""
    code = """
        import asyncio, ctypes
        store = opened()

        async def main():
            asked = [asyncio.ensure_future(awaited(append(store, 2)))]
            while store._engine.waiting:
                await asyncio.sleep(0)
            asked.append(asyncio.ensure_future(awaited(append(store, 3))))
            for _ in range(3):
                await asyncio.wait(asked, timeout=0.001)
            assert store._engine.waiting == 1
            print("asked", flush=True)
            byte = ctypes.create_string_buffer(1)
            assert ctypes.PyDLL(None).read(0, byte, 1) == 1  # with the interpreter's lock in its hands
            print(await asyncio.gather(*asked))

        async def awaited(ticket):
            return await ticket

        asyncio.run(main())
        store.close()
    """
    store = SqliteSource(path, backend=backend).open("acme")
    create(store, "exec_1")
    with held(path):
        process = run_store(code, path, backend)
        assert process.stdout is not None
        assert process.stdout.readline() == "asked\n"
    try:
        until(lambda: store.get("exec_1").wait(20).version == 3, seconds=20)
        assert output(process, "x") == "[2, 3]"
    finally:
        process.kill()
        process.communicate()
        store.close()
