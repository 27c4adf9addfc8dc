"""Exports of what others change meanwhile, and of records with line breaks in them."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backends import BACKENDS
from stepwell import NotFound, StoreCorrupt, StoreError
from stepwell.store import Store, export, import_
from stepwell.store.memory import MemorySource
from stepwell.store.sqlite import SqliteSource
from store.stocked import SPREAD, make, put, stock


@pytest.fixture(params=["memory", *BACKENDS])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    kind = str(request.param)
    source = MemorySource() if kind == "memory" else SqliteSource(tmp_path / "runs.db", backend=kind)
    opened = source.open("acme")
    yield opened
    opened.close()


def exported(store: Store, ids: list[str] | None = None) -> bytes:
    out = io.BytesIO()
    export(store, out, ids)
    return out.getvalue()


def test_records_with_line_breaks_are_on_one_line(store: Store) -> None:
    ids = stock(store)
    data = exported(store)
    assert SPREAD not in data
    assert sum(line.startswith(b'{"record":') for line in data.splitlines()) == 1
    elsewhere = MemorySource().open("acme")
    report = import_(elsewhere, io.BytesIO(data))
    assert (report.executions, report.records, report.cut) == (5, 57, None)
    assert exported(elsewhere) == data
    assert SPREAD in b"".join(body for _, _, _, body in elsewhere.load(ids[3]).wait(10))


@pytest.mark.parametrize(
    "forged",
    [
        b'{"record":7}',
        b'{"record":"{}"}',
        b'{"record":"a\\nb","more":1}',
        b'{"record": "a\\nb"}',
        b'{"record":"\\ud800\\n"}',
        b'{"record":"a\\nb"}',
    ],
)
def test_a_line_that_is_no_record_is_named(store: Store, forged: bytes) -> None:
    stock(store)
    lines = exported(store).splitlines()
    (at,) = (number for number, line in enumerate(lines) if line.startswith(b'{"record":'))
    lines[at] = forged
    with pytest.raises(StoreCorrupt, match=f"line {at + 1} "):
        import_(MemorySource().open("acme"), io.BytesIO(b"\n".join([*lines, b""])))


def test_one_that_is_purged_meanwhile_is_left_out(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = stock(store)
    real, calls = store.load, []

    def load(execution_id: str, after_seq: int = -1) -> Any:
        if not calls:
            assert store.doom(ids[:2]).wait(10) == 2
        calls.append(execution_id)
        return real(execution_id, after_seq)

    monkeypatch.setattr(store, "load", load)
    data = exported(store)
    report = import_(MemorySource().open("acme"), io.BytesIO(data))
    assert (report.executions, report.cut) == (3, None)
    with pytest.raises(NotFound):
        exported(store, ids[:1])


def test_one_that_is_purged_in_the_middle_ends_the_export(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    ex = make("pure", "acme")
    ex.start()
    for _ in range(600):
        ex.complete_step(ex.start_step("s"))
    ex.complete()
    own = put(store, ex)
    real, calls = store.load, []

    def load(execution_id: str, after_seq: int = -1) -> Any:
        calls.append(execution_id)
        if len(calls) == 2:
            assert store.doom([own]).wait(10) == 1
        return real(execution_id, after_seq)

    monkeypatch.setattr(store, "load", load)
    with pytest.raises(StoreError, match="export again"):
        exported(store)
