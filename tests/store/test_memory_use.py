"""Verifying and moving many executions takes no more memory than one of them does."""

import io
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from backends import BACKENDS
from stepwell.store import export, import_, verify
from stepwell.store.sqlite import SqliteSource
from store.given import RUNNING, create, records
from store.journals import finished, save

OUTPUT, STEPS, EXECUTIONS = 20_000, 20, 25
ONE = OUTPUT * STEPS


class Counted(io.RawIOBase):
    """A file of which only the size is kept."""

    size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        self.size += len(data)  # type: ignore[arg-type]
        return len(data)  # type: ignore[arg-type]


def peak(work: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("engine", BACKENDS)
def test_one_execution_at_a_time(tmp_path: Path, engine: str) -> None:
    here = SqliteSource(tmp_path / "from.db", backend=engine).open("acme")
    there = SqliteSource(tmp_path / "to.db", backend=engine).open("acme")
    for number in range(EXECUTIONS):
        save(here, finished(steps=STEPS, size=OUTPUT, key=str(number)))
    counted = Counted()
    assert verify(here).findings == []
    assert peak(lambda: verify(here)) < 5 * ONE
    assert peak(lambda: export(here, counted)) < 5 * ONE  # type: ignore[arg-type]
    assert counted.size > EXECUTIONS * ONE
    with (tmp_path / "export.jsonl").open("wb") as out:
        export(here, out)
    with (tmp_path / "export.jsonl").open("rb") as file:
        assert peak(lambda: import_(there, file)) < 5 * ONE
    here.close()
    there.close()


@pytest.mark.parametrize("engine", BACKENDS)
def test_a_page_has_an_end(tmp_path: Path, engine: str) -> None:
    """By its records and by its bytes, whichever comes first."""
    store = SqliteSource(tmp_path / "runs.db", backend=engine).open("acme")
    for name, count, size in (("many", 6_000, 10), ("large", 30, 1_000_000)):
        create(store, name)
        store.append(name, 1, 1, b"x", records(2, count, size), RUNNING).wait(30)
    many, (last, _) = store.load("many").wait(30), store.bodies("many").wait(30)
    assert 0 < len(many) <= 1_000
    assert len(many) - 1 <= last < 6_000
    assert 0 < len(store.digests("many").wait(30)) <= 1_000
    large, (last, bodies) = store.load("large").wait(30), store.bodies("large").wait(30)
    assert 0 < sum(len(record[3]) for record in large) <= 4 * 1024 * 1024
    assert 0 < last < 30
    assert len(bodies) <= 8 * 1024 * 1024 + 30
    store.close()
