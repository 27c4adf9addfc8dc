"""How a journal of several pages is read: the store reads the next page while one is replayed."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stepwell import Execution, StoreCorrupt
from stepwell.runtime.records import load
from stepwell.store import ExecutionRow, Projection, Store
from stepwell.store.memory import MemorySource, MemoryStore
from stepwell.store.sqlite import SqliteSource
from store.made import save
from store.processes import in_sqlite

PAGES = 12_000
"""Records that do not fit in one page of any store."""


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    source = MemorySource() if request.param == "memory" else SqliteSource(tmp_path / "runs.db")
    opened: Store = source.open("acme")
    yield opened
    opened.close()


def long(store: Store) -> tuple[Execution, ExecutionRow]:
    execution = Execution(blueprint="work", tenant="acme")
    execution.start()
    for number in range(PAGES // 2):
        execution.complete_step(execution.start_step("look"), output=number)
    save(store, execution)
    return execution, store.get(execution.id).wait()


def go_on(store: Store, execution: Execution) -> None:
    before = execution.version
    execution.complete_step(execution.start_step("look"), output="behind the others")
    row = Projection("running", None, "")
    records = execution.drain()
    store.append(execution.id, before, 1, b"somebody" * 2, records, row._replace(head=execution.head)).wait()


def test_the_next_page_is_asked_for_before_one_is_replayed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    execution, row = long(store)
    asked: list[int] = []
    seen: list[int] = []
    bodies, replay = store.bodies, Execution.replay

    def asking(id: str, after_seq: int = -1) -> object:
        asked.append(after_seq)
        return bodies(id, after_seq)

    def replaying(id: str, pages: object, *args: object, **others: object) -> Execution:
        def each() -> object:
            for page in pages:  # type: ignore[attr-defined]
                seen.append(len(asked))
                yield page

        return replay(id, each(), *args, **others)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "bodies", asking)
    monkeypatch.setattr("stepwell.runtime.records.Execution", type("Watched", (), {"replay": replaying}))
    assert load(store, row) == execution
    assert asked == sorted(set(asked)), "each page is asked for once"
    pages = len(asked)
    assert pages > 1 or isinstance(store, MemoryStore)
    assert seen == [min(number + 2, pages) for number in range(pages)]


@pytest.mark.parametrize("rows", [1, 2])
def test_it_is_loaded_as_it_is_by_then(store: Store, rows: int) -> None:
    execution, row = long(store)
    for _ in range(rows):
        go_on(store, execution)
    assert load(store, row) == execution


def test_what_somebody_writes_meanwhile_is_read_too(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    execution, row = long(store)
    bodies: Callable[..., object] = store.bodies

    def written_meanwhile(id: str, after_seq: int = -1) -> object:
        if after_seq >= 0:
            go_on(store, execution)
        return bodies(id, after_seq)

    monkeypatch.setattr(store, "bodies", written_meanwhile)
    assert load(store, row) == execution


def test_a_page_that_is_damaged_is_told(tmp_path: Path) -> None:
    store = SqliteSource(tmp_path / "runs.db").open("acme")
    execution, row = long(store)
    store.close()
    changed = "CAST(replace(CAST(body AS TEXT), '\"output\":5000', '\"output\":5001') AS BLOB)"
    in_sqlite(tmp_path / "runs.db", f"UPDATE journal SET body = {changed} WHERE seq = 10003")
    store = SqliteSource(tmp_path / "runs.db").open("acme")
    try:
        with pytest.raises(StoreCorrupt, match=f"the journal of {execution.id} is damaged"):
            load(store, row)
    finally:
        store.close()
