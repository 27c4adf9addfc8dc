"""The short way of an append, which the native engine has: it leaves in the file what the long way leaves."""

from pathlib import Path
from typing import Any

import pytest

from backends import BACKENDS
from stepwell import BACKEND, Conflict, Execution, StoreBusy
from stepwell.clock import ManualClock
from stepwell.store import NewExecution, Projection, Record, cutting
from stepwell.store.sqlite import SqliteSource, SqliteStore
from store.given import RUNNING
from store.processes import held, in_sqlite

ID = f"exec_{0:026d}"
TABLES = ("executions", "journal", "marks", "payloads", "payload_uses")


def begun() -> Any:
    """An execution that runs, with the same ids and times each time."""
    numbers = iter(range(100_000))
    execution: Any = Execution(
        id=ID,
        tenant="acme",
        blueprint="m.f",
        clock=ManualClock(1_000_000_000),
        ids=lambda prefix: f"{prefix}_{next(numbers):026d}",
    )
    execution.start()
    return execution


def parts(sizes: list[int], output: str = "done") -> list[tuple[list[Record], Projection]]:
    """An execution's records, as many steps at once as it says, with the row of each part."""
    execution = begun()
    found = []
    for steps in [0, *sizes]:
        for number in range(steps):
            step = execution.start_step(f"step {number}")
            execution.complete_step(step.id, output=output)
        records = execution.drain()
        found.append((records, Projection(str(execution.state), None, execution.head or "")))
    return found


def write(store: SqliteStore, given: list[tuple[list[Record], Projection]], long: bool) -> None:
    new = NewExecution(ID, "m.f", None, None, None, None, "me")
    (records, row), *rest = given
    assert store.create(new, b"first", records, row).wait(30) == (ID, True)
    for number, (part, row) in enumerate(rest):
        # A delivery that is not there changes nothing but the way.
        taken = ["none"] if long else []
        last = store.append(ID, part[0][0] - 1, 1, b"%d" % number, part, row, taken=taken).wait(30)
        assert last == part[-1][0]


def contents(path: Path) -> dict[str, str]:
    return {table: in_sqlite(path, f"SELECT * FROM {table}") for table in TABLES}


@pytest.mark.parametrize(
    ("sizes", "output"),
    [
        ([1] * 5, "done"),
        ([1, 2, 3, 50, 1], "done"),
        ([300, 300, 1, 1, 600], "done"),  # over the records that are marked
        ([511, 1, 510, 1, 1, 1], "done"),
        ([1, 1], "x" * (cutting.CUT_BYTES - 200)),
        ([1, 1, 2], "x" * cutting.CUT_BYTES),  # kept apart
    ],
)
def test_both_ways_leave_the_same_rows(tmp_path: Path, sizes: list[int], output: str) -> None:
    found = {}
    given = parts(sizes, output)
    for backend in BACKENDS:
        for long in (False, True):
            path = tmp_path / f"{backend}-{long}.db"
            store = SqliteSource(path, backend=backend).open("acme")
            write(store, given, long)
            store.close()
            found[backend, long] = contents(path)
    first, *others = found.values()
    assert all(each == first for each in others)
    assert "step_completed" in first["journal"]


def short(store: SqliteStore, *changed: tuple[str, Any]) -> Any:
    """Asks for an append of one step by the short way, with some of it changed."""
    [_, (records, row)] = parts([1])
    asked = {
        "execution_id": ID, "expected_seq": records[0][0] - 1, "epoch": 1, "action_id": b"a", "records": records,
        "row": row, "power": True,
    }  # fmt: skip
    return store._appender.append(**(asked | dict(changed)))


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_short_way_is_for_what_is_as_it_should_be(tmp_path: Path, backend: str) -> None:
    store = SqliteSource(tmp_path / "runs.db", backend=backend).open("acme")
    write(store, parts([]), long=False)
    [_, (records, row)] = parts([1])
    first, last = records
    large = (*first[:3], first[3] + b" " * cutting.CUT_BYTES)
    seq = first[0]
    odd: list[tuple[str, Any]] = [
        ("execution_id", "exec_\ud800"), ("execution_id", 1), ("expected_seq", seq), ("expected_seq", 2**63 - 1),
        ("expected_seq", float(seq - 1)), ("epoch", 2**63), ("epoch", None), ("action_id", "a"), ("records", []),
        ("records", tuple(records)), ("records", [list(first), last]), ("records", [first[:3], last]),
        ("records", [first, first]), ("records", [last]), ("records", [large, last]), ("records", None),
        ("records", [first, (*last[:3], b"{}")]),  # the digest of the first is not in there
        ("records", [first, (*last[:3], bytearray(last[3]))]), ("records", [(*first[:2], 5, first[3]), last]),
        ("row", None), ("row", row[:4]), ("row", row._replace(head="0")), ("row", row._replace(head="xx" * 16)),
        ("row", row._replace(head="0" * 66)), ("row", row._replace(wake_at_ns=0.5)), ("row", row._replace(state=b"")),
        ("row", row._replace(wait_reason=1)), ("row", row._replace(progress=None)),
    ]  # fmt: skip
    for changed in odd:
        assert short(store, changed) is None, changed
    assert store.get(ID).wait(30).version == 1
    asked = short(store)
    assert (asked is None) == (backend == "pure")
    if asked is not None:
        assert asked.wait(30) == last[0]
    store.close()


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_is_refused_says_the_same_by_both_ways(tmp_path: Path, backend: str) -> None:
    store = SqliteSource(tmp_path / "runs.db", backend=backend).open("acme")
    [first, (records, row)] = parts([1])
    write(store, [first], long=False)
    asked: list[tuple[Any, ...]] = [
        ("exec_9", 1, 1, b"a", records, row),
        (ID, 1, 2, b"a", records, row),
        (ID, 2, 1, b"a", [(3, 5, "k", b"{}")], RUNNING),
        (ID, 1, 1, b"a", records[::-1], row),
        (ID, 1, 1, b"a", records, row._replace(head="none")),
        (ID, 1, 1, b"a", records, row._replace(state="\ud800")),
    ]
    for each in asked:
        said = [refusal(store, each, taken) for taken in ((), ("none",))]
        assert said[0] == said[1] != "", each
    assert [refusal(store, (ID, 1, 1, b"a", records, row), taken) for taken in ((), (), ("none",))] == [
        ""
    ] * 3
    store.close()
    for each in asked:
        assert refusal(store, each, ()) == "StoreError: this store is closed; open it again"


def refusal(store: SqliteStore, asked: tuple[Any, ...], taken: tuple[str, ...]) -> str:
    try:
        store.append(*asked, taken=taken).wait(30)
    except Exception as error:  # noqa: BLE001 - whatever it is
        return f"{type(error).__name__}: {error}"
    return ""


def drained(store: SqliteStore, sizes: list[int], output: str) -> str:
    """Writes an execution by `append_drained`; says how many of its appends went the short way."""
    execution = begun()
    row = Projection("running", None, "")
    records, short = execution.drain(), 0
    new = NewExecution(ID, "m.f", None, None, None, None, "me")
    store.create(new, b"first", records, row._replace(head=execution.head)).wait(30)
    for steps in sizes:
        before = execution.version
        for number in range(steps):
            step = execution.start_step(f"step {number}")
            execution.complete_step(step.id, output=output)
        found = store.append_drained(execution, before, 1, True, "power")
        if isinstance(found, list):
            found = store.append(ID, before, 1, b"long", found, row._replace(head=execution.head))
        else:
            short += 1
        assert found.wait(30) == execution.version
    nothing = store.append_drained(execution, execution.version, 1, True, "power")
    assert nothing == []
    return f"{short} of {len(sizes)}"


@pytest.mark.parametrize(
    ("sizes", "output", "short"),
    [
        ([1] * 5, "done", "5 of 5"),
        ([1, 2, 8, 9, 50, 1], "done", "4 of 6"),
        ([300, 211, *[1] * 4, 600], "done", "4 of 7"),  # over the records that are marked
        ([1, 1], "x" * (cutting.CUT_BYTES - 200), "2 of 2"),
        ([1, 1, 2], "x" * cutting.CUT_BYTES, "0 of 3"),  # kept apart
    ],
)
def test_what_is_drained_and_appended_at_once_is_the_same(
    tmp_path: Path, kind: str, sizes: list[int], output: str, short: str
) -> None:
    journal = "SELECT tenant, execution, seq, at, kind, body, digest, cut_at, cut_hash FROM journal"
    executions = "SELECT * FROM executions"
    store = SqliteSource(tmp_path / "one.db", backend=kind).open("acme")
    write(store, parts(sizes, output), True)
    store.close()
    store = SqliteSource(tmp_path / "two.db", backend=kind).open("acme")
    went = drained(store, sizes, output)
    store.close()
    assert went == (short if kind == "native" and BACKEND == "native" else f"0 of {len(sizes)}")
    for query in (journal, executions, "SELECT * FROM marks", "SELECT * FROM payloads"):
        assert in_sqlite(tmp_path / "one.db", query) == in_sqlite(tmp_path / "two.db", query)


def test_what_was_drained_is_refused_like_an_append(store: SqliteStore) -> None:
    execution: Any = Execution(id=ID, tenant="acme", blueprint="m.f")
    execution.start()
    row = Projection("running", None, "")
    new = NewExecution(ID, "m.f", None, None, None, None, "me")
    store.create(new, b"first", execution.drain(), row._replace(head=execution.head)).wait(30)
    assert store.claim(ID, "other", 1).wait(30) == 2
    execution.start_step("late")
    found = store.append_drained(execution, 1, 1, True, "power")
    if isinstance(found, list):
        found = store.append(ID, 1, 1, b"long", found, row._replace(head=execution.head))
    with pytest.raises(Conflict):
        found.wait(30)


def test_what_could_not_be_appended_is_asked_once_more(path: Path, kind: str) -> None:
    store = SqliteSource(path, busy_seconds=0.05, backend=kind).open("acme")
    execution: Any = Execution(id=ID, tenant="acme", blueprint="m.f")
    execution.start()
    row = Projection("running", None, "")
    new = NewExecution(ID, "m.f", None, None, None, None, "me")
    store.create(new, b"first", execution.drain(), row._replace(head=execution.head)).wait(30)
    execution.start_step("held up")
    with held(path):
        found = store.append_drained(execution, 1, 1, True, "power")
        if isinstance(found, list):  # the pure engine has no short way
            assert kind == "pure" or BACKEND == "pure"
            assert [record[2] for record in found] == ["step_started"]
            store.close()
            return
        for _ in range(2):
            with pytest.raises(StoreBusy):
                found.wait(30)
            found = store.append_again(found)
            with pytest.raises(StoreBusy):
                found.wait(30)
    found = store.append_again(found)
    assert found.wait(30) == 2
    assert store.append_again(found) is found, "it was done"
    assert store.get(ID).wait(30).version == 2
    store.close()
