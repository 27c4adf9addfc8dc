"""What was exported is imported again, byte for byte, or not at all."""

import hashlib
import io
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backends import BACKENDS
from stepwell import Conflict, Execution, NotFound, StoreCorrupt, StoreError, StoreTooNew, ValidationError
from stepwell.store import Projection, Store, export, import_, transfer, verify
from stepwell.store.memory import MemorySource
from stepwell.store.sqlite import SqliteSource
from store.journals import answers, fill, finished, save, waiting
from store.processes import in_sqlite


@pytest.fixture(params=["memory", *BACKENDS])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Store, Store]]:
    """A filled store, and an empty one."""
    sources: list[Any] = [MemorySource(), MemorySource()]
    if request.param != "memory":
        sources = [SqliteSource(tmp_path / name, backend=request.param) for name in ("from.db", "to.db")]
    stores = [source.open("acme") for source in sources]
    fill(stores[0])
    yield stores[0], stores[1]
    for store in stores:
        store.close()


def exported(store: Store, ids: list[str] | None = None) -> bytes:
    file = io.BytesIO()
    export(store, file, ids)
    return file.getvalue()


def test_moved_it_is_the_same(pair: tuple[Store, Store]) -> None:
    here, there = pair
    seen: list[tuple[int, int]] = []
    file = io.BytesIO()
    moved = export(here, file, progress=lambda *done: seen.append(done))
    assert (moved.executions, moved.skipped, moved.cut) == (4, 0, None)
    assert seen[-1] == moved[:2]
    taken: list[tuple[int, int]] = []
    assert import_(there, io.BytesIO(file.getvalue()), lambda *done: taken.append(done)) == moved
    assert taken == seen
    assert exported(there) == file.getvalue()
    assert verify(there).findings == []
    for row in here.list().wait(10):
        found = there.get(row.id).wait(10)
        assert found.head == row.head
        assert (found.owner, found.epoch, found.claims) == (None, 1, 0)
        assert found._replace(owner=row.owner) == row
        assert [each[1:] for each in there.inbox(row.id).wait(10)] == [
            each[1:] for each in here.inbox(row.id).wait(10)
        ]
    again = import_(there, io.BytesIO(file.getvalue()))
    assert (again.executions, again.skipped) == (0, 4)


def test_whatever_was_delivered_is_moved(pair: tuple[Store, Store]) -> None:
    """As the runtime delivers it: what is known by its id has no name."""
    here, there = pair
    execution = Execution(tenant="acme")
    execution.start()
    steps = [execution.start_step("held", type=kind).id for kind in ("wait", "wait", "wait", "child")]
    save(here, execution)
    given = [
        ("signal 1", "signal", "go", b"1"),
        ("heartbeat 1", "heartbeat", steps[0], b"null"),
        (steps[0], "complete", "", b'"done"'),
        (steps[1], "fail", "", b"{}"),
        (steps[2], "timeout", "", b"{}"),
        (steps[3], "child", "", b"null"),
        ("cancel", "cancel", "", b'{"reason":null}'),
        ("pause 1", "pause", "", b'{"reason":"later"}'),
    ]
    for at, each in enumerate(given):
        here.deliver(execution.id, *each, at).wait(10)
    for _ in range(2):
        assert import_(there, io.BytesIO(exported(here))).cut is None
    assert exported(there) == exported(here)
    found = there.inbox(execution.id).wait(10)
    assert [(each.id, each.kind, each.name, each.body) for each in found] == given
    assert [each.at_ns for each in found] == [*range(len(given))]
    assert verify(there).findings == []


def test_steps_that_wait_for_an_answer_are_found_where_they_are_moved_to(pair: tuple[Store, Store]) -> None:
    """Those that may be answered from outside, in any state; no others."""
    here, there = pair
    execution = Execution(tenant="acme")
    execution.start()
    steps = [execution.start_step("held", type=kind).id for kind in ("wait", "child", "wait", "function")]
    scheduled = execution.schedule_step("later", type="wait").id
    execution.complete_step(steps[2], 1)
    save(here, execution)
    for _ in range(2):
        import_(there, io.BytesIO(exported(here)))
        for step in (*steps[:3], scheduled):
            assert there.awaited(step).wait(10).id == execution.id
        with pytest.raises(NotFound):
            there.awaited(steps[3]).wait(10)
    assert verify(there).findings == []


@pytest.mark.parametrize("engine", BACKENDS)
def test_a_journal_that_was_changed_is_not_exported(tmp_path: Path, engine: str) -> None:
    """Also where it is not the last record, whose digest the row has."""
    path = tmp_path / "runs.db"
    store = SqliteSource(path, backend=engine).open("acme")
    id = save(store, finished())
    store.close()
    other = "CAST(replace(CAST(body AS TEXT), 'step 1', 'step x') AS BLOB)"
    in_sqlite(path, f"UPDATE journal SET body = {other} WHERE seq = 4")
    store = SqliteSource(path, backend=engine).open("acme")
    with pytest.raises(StoreCorrupt, match=f"record 5 of execution {id} is damaged: it does not follow"):
        exported(store)
    store.close()


def test_a_record_that_was_changed_with_the_digest_of_the_file_is_not_taken(
    pair: tuple[Store, Store],
) -> None:
    """Whoever writes a file can give it a digest; the chain of the records is not so easily mended."""
    here, there = pair
    id = next(row.id for row in here.list("completed").wait(10) if row.version > 5)
    data = exported(here, [id])
    lines = data.replace(b'"step 1"', b'"step x"').split(b"\n")[:-2]
    assert lines != data.split(b"\n")[:-2]
    end = json.loads(data.split(b"\n")[-2])
    end["end"]["sha256"] = hashlib.sha256(b"".join(line + b"\n" for line in lines)).hexdigest()
    lines.append(json.dumps(end, separators=(",", ":")).encode())
    with pytest.raises(StoreCorrupt, match=f"record 5 of {id} does not follow the one before"):
        import_(there, io.BytesIO(b"\n".join(lines) + b"\n"))
    assert there.list().wait(10) == []


def test_some_of_them(pair: tuple[Store, Store]) -> None:
    here, there = pair
    ids = [row.id for row in here.list().wait(10)]
    assert import_(there, io.BytesIO(exported(here, ids[1:3]))).executions == 2
    assert sorted(row.id for row in there.list().wait(10)) == sorted(ids[1:3])
    for absent in ("exec_1", finished().id):
        with pytest.raises(NotFound):
            exported(here, [absent])
    assert import_(there, io.BytesIO(exported(here, []))) == (0, 0, 0, None)


def test_the_lines_are_json_and_the_records_those_of_the_journal(pair: tuple[Store, Store]) -> None:
    lines = exported(pair[0]).split(b"\n")
    assert lines.pop() == b""
    assert [*json.loads(lines[0])["export"]] == ["format", "tenant", "stepwell"]
    summed = hashlib.sha256(b"".join(line + b"\n" for line in lines[:-1])).hexdigest()
    assert json.loads(lines[-1])["end"]["sha256"] == summed
    bodies = {
        record[3] for found in answers(pair[0]).values() if isinstance(found, tuple) for record in found[1]
    }
    assert bodies == {line for line in lines if line.startswith(b'{"seq":')}


def test_cut_anywhere_what_is_whole_is_taken(pair: tuple[Store, Store]) -> None:
    here, _ = pair
    data = exported(here, [row.id for row in here.list().wait(10) if row.version < 12])
    ends = [
        number
        for number, line in enumerate(data.split(b"\n"))
        if line.startswith((b'{"execution"', b'{"end"'))
    ]
    starts = [sum(len(line) + 1 for line in data.split(b"\n")[:end]) for end in ends]
    for length in [*range(0, 1_200, 7), *range(len(data) - 400, len(data) - 1)]:
        there = MemorySource().open("acme")
        moved = import_(there, io.BytesIO(data[:length]))
        whole = sum(start <= length for start in starts[1:])
        assert moved.executions == whole == len(there.list().wait(10))
        assert moved.cut is not None
        assert moved.cut.startswith("the export ends in line ")
    assert import_(MemorySource().open("acme"), io.BytesIO(data[:-1])).cut is None


def small() -> bytes:
    """An export of two short executions."""
    store = MemorySource().open("acme")
    return exported(store, [save(store, finished(steps=1)), save(store, finished(steps=0, key=None))])


def test_any_changed_byte_is_an_error_that_names_the_line() -> None:
    data = small()
    for at in range(0, len(data) - 1, 3):
        broken = bytearray(data)
        broken[at] ^= 1 << at % 8
        there = MemorySource().open("acme")
        try:
            moved = import_(there, io.BytesIO(bytes(broken)))
        except (StoreCorrupt, StoreTooNew, ValidationError) as error:
            found = str(error)
        else:
            raise AssertionError(f"byte {at} was changed, and {moved} taken")
        assert "export" in found
        if not found.startswith("the export "):  # of another tenant, or newer
            number = int(found.removeprefix("line ").partition(" ")[0])
            assert number >= data.count(b"\n", 0, at) + 1
        assert verify(there).findings == []


def test_any_line_lost_doubled_or_added_is_an_error() -> None:
    lines = small().split(b"\n")[:-1]
    for number in range(len(lines) - 1):
        for changed in (
            lines[:number] + lines[number + 1 :],
            [*lines[:number], lines[number], *lines[number:]],
            [*lines[:number], b"{}", *lines[number:]],
        ):
            there = MemorySource().open("acme")
            with pytest.raises(StoreCorrupt, match=r"^line \d+ of the export is damaged"):
                import_(there, io.BytesIO(b"\n".join(changed) + b"\n"))
            assert verify(there).findings == []
    for behind in (b"\n", b"x", lines[-1] + b"\n"):
        with pytest.raises(StoreCorrupt, match="follows the end"):
            import_(MemorySource().open("acme"), io.BytesIO(small() + behind))


def test_nothing_crosses_tenants(pair: tuple[Store, Store]) -> None:
    other = MemorySource().open("other")
    data = exported(pair[0])
    with pytest.raises(ValidationError, match="another tenant"):
        import_(other, io.BytesIO(data))
    forged = data.replace(b'"tenant":"acme","stepwell"', b'"tenant":"other","stepwell"', 1)
    with pytest.raises(StoreCorrupt, match="another tenant"):
        import_(other, io.BytesIO(forged))
    assert other.list().wait(10) == []


def test_another_journal_under_the_same_id_or_key_is_refused(pair: tuple[Store, Store]) -> None:
    here, there = pair
    execution = waiting()
    save(here, execution)
    data = exported(here, [execution.id])
    import_(there, io.BytesIO(data))
    execution.resume()
    records = execution.drain()
    row = Projection("running", None, execution.head)
    there.append(execution.id, records[0][0] - 1, 1, b"more", records, row).wait(10)
    with pytest.raises(Conflict, match="another journal"):
        import_(there, io.BytesIO(data))
    save(there, finished(key="mine"))
    save(here, twin := finished(key="mine"))
    with pytest.raises(Conflict, match="key"):
        import_(there, io.BytesIO(exported(here, [twin.id])))
    with pytest.raises(NotFound):
        there.get(twin.id).wait(10)


def test_a_damaged_journal_is_not_exported(path: Path) -> None:
    store = SqliteSource(path).open("acme")
    fill(store)
    store.close()
    in_sqlite(path, "UPDATE journal SET body = x'00' WHERE seq = 3")
    store = SqliteSource(path).open("acme")
    file = io.BytesIO()
    with pytest.raises(StoreCorrupt, match="record 3 of execution"):
        export(store, file)
    moved = import_(MemorySource().open("acme"), io.BytesIO(file.getvalue()))
    assert moved.cut is not None
    store.close()


def test_a_newer_format_and_lines_beyond_the_limits(pair: tuple[Store, Store], monkeypatch: Any) -> None:
    data = exported(pair[0])
    with pytest.raises(StoreTooNew, match="upgrade"):
        import_(pair[1], io.BytesIO(data.replace(b'"format":1', b'"format":2', 1)))

    class Endless(io.RawIOBase):
        """Bytes without an end, and how many were asked for."""

        asked = 0

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            self.asked += len(buffer)
            buffer[:] = b"x" * len(buffer)
            return len(buffer)

    endless = Endless()
    with pytest.raises(StoreCorrupt, match="longer than"):
        import_(pair[1], io.BufferedReader(endless))
    assert endless.asked <= 2 * transfer.SHORT_BYTES
    huge = data.replace(b'"version":', b'"version":999999999', 1)
    with pytest.raises(StoreCorrupt, match="line 2 "):
        import_(pair[1], io.BytesIO(huge))


@pytest.mark.parametrize("engine", BACKENDS)
def test_through_a_pipe(tmp_path: Path, engine: str) -> None:
    here = SqliteSource(tmp_path / "from.db", backend=engine).open("acme")
    there = SqliteSource(tmp_path / "to.db", backend=engine).open("acme")
    fill(here)
    reading, writing = os.pipe()

    def write() -> None:
        with os.fdopen(writing, "wb") as file:
            export(here, file)

    writer = threading.Thread(target=write)
    writer.start()
    with os.fdopen(reading, "rb") as file:
        assert import_(there, file).executions == 4
    writer.join()
    assert exported(here) == exported(there)
    here.close()
    there.close()


@pytest.mark.parametrize("engine", BACKENDS)
def test_an_import_that_was_interrupted_is_made_good_by_the_next(tmp_path: Path, engine: str) -> None:
    here = MemorySource().open("acme")
    fill(here)
    data = exported(here)
    there = SqliteSource(tmp_path / "to.db", backend=engine).open("acme")
    real = there.deliver

    def fails(*arguments: Any) -> Any:
        raise StoreError("interrupted")

    there.deliver = fails  # type: ignore[method-assign]
    with pytest.raises(StoreError, match="interrupted"):
        import_(there, io.BytesIO(data))
    there.deliver = real  # type: ignore[method-assign]
    moved = import_(there, io.BytesIO(data))
    assert moved.executions + moved.skipped == 4
    assert exported(there) == data
    there.close()
