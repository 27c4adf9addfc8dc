"""A file whose rows are not what they have to be: every reader says so, and none waits for ever."""

import asyncio
import io
import threading
from pathlib import Path

import pytest

from backends import BACKENDS
from stepwell import Conflict, Kernel, StoreCorrupt
from stepwell.store import export, verify
from stepwell.store.sqlite import SqliteSource
from store.given import RUNNING
from store.journals import fill, save, waiting
from store.processes import in_sqlite

LOOSE = (
    "PRAGMA writable_schema = ON",
    "UPDATE sqlite_master SET sql = replace(replace(sql, 'STRICT, WITHOUT', 'WITHOUT'), 'STRICT', '')",
    "PRAGMA writable_schema = RESET",
)


@pytest.mark.parametrize("engine", BACKENDS)
@pytest.mark.parametrize(
    ("statement", "asked"),
    [
        ("UPDATE executions SET version = 'x'", "get"),
        ("UPDATE executions SET head = x'07'", "list"),
        ("UPDATE executions SET created_at = 'x'", "list"),
        ("UPDATE journal SET body = 'x'", "load"),
        ("UPDATE journal SET body = 7", "bodies"),
        ("UPDATE journal SET seq = 'x'", "load"),
        ("UPDATE journal SET seq = 'x'", "bodies"),
        ("UPDATE journal SET digest = 'x'", "digests"),
        ("UPDATE inbox SET body = 'x'", "inbox"),
    ],
)
def test_values_of_other_types_are_damage(path: Path, engine: str, statement: str, asked: str) -> None:
    source = SqliteSource(path, backend=engine)
    store = source.open("acme")
    ids = fill(store)
    store.close()
    in_sqlite(path, *LOOSE)
    in_sqlite(path, statement)
    store = source.open("acme")
    with pytest.raises(StoreCorrupt):
        getattr(store, asked)(*([] if asked == "list" else [ids[1]])).wait(10)
    assert verify(store).findings
    store.close()


@pytest.mark.parametrize("engine", BACKENDS)
def test_records_in_a_circle_hold_nobody_up(path: Path, engine: str) -> None:
    source = SqliteSource(path, backend=engine)
    store = source.open("acme")
    ids = fill(store)
    store.close()
    in_sqlite(path, "UPDATE journal SET previous = number WHERE seq > 2")
    store = source.open("acme")
    with pytest.raises(Conflict):
        store.append(ids[0], 0, 1, b"x", [(1, 1, "plan", b"{}")], RUNNING).wait(10)
    with pytest.raises(StoreCorrupt):
        store.load(ids[0]).wait(10)
    store.close()


@pytest.mark.parametrize("engine", BACKENDS)
def test_an_id_out_of_its_order_leads_nobody_in_a_circle(path: Path, engine: str) -> None:
    source = SqliteSource(path, backend=engine)
    store = source.open("acme")
    ids = fill(store)
    store.close()
    # In its tree it is before all others still, but now it sorts behind them: its next page would be the first again.
    path.write_bytes(path.read_bytes().replace(ids[0].encode(), b"f" + ids[0][1:].encode()))
    store = source.open("acme")
    with pytest.raises(StoreCorrupt):
        store.list().wait(10)
    with pytest.raises(StoreCorrupt):
        export(store, io.BytesIO())
    found = verify(store)
    assert any("cannot be listed" in finding.what for finding in found.findings)
    assert found.executions == len(ids) - 1  # those before it are looked at
    store.close()


@pytest.mark.parametrize("engine", BACKENDS)
@pytest.mark.parametrize(("asked", "given"), [("finished", "completed"), ("children", "msg-1")])
def test_neighbours_that_changed_places_are_damage(path: Path, engine: str, asked: str, given: str) -> None:
    source = SqliteSource(path, backend=engine)
    store = source.open("acme")
    ids = fill(store)
    other = save(store, waiting())
    store.close()
    sound = path.read_bytes()
    pair = (ids[0], ids[2]) if asked == "finished" else (ids[1], other)
    refused = 0
    for cell in (f"acme{given}%s", "acme%sm."):  # of the index, and of the table: SQLite reads one of them
        one, two = ((cell % each).encode() for each in pair)
        assert one in sound
        assert two in sound
        path.write_bytes(two.join(part.replace(two, one) for part in sound.split(one)))
        store = source.open("acme")
        try:
            getattr(store, asked)(given).wait(10)
        except StoreCorrupt:
            refused += 1
        assert verify(store).findings
        store.close()
    assert refused


@pytest.mark.parametrize("engine", BACKENDS)
@pytest.mark.parametrize(
    ("keys", "asked"), [("(tenant, execution, place)", "inbox"), ("(tenant, place)", "arrivals")]
)
def test_deliveries_out_of_order_are_damage(path: Path, engine: str, keys: str, asked: str) -> None:
    source = SqliteSource(path, backend=engine)
    store = source.open("acme")
    ids = fill(store)
    store.close()
    turned = f"UPDATE sqlite_master SET sql = replace(sql, '{keys}', '{keys[:-1]} DESC)')"
    in_sqlite(path, LOOSE[0], turned)
    store = source.open("acme")
    with pytest.raises(StoreCorrupt):
        getattr(store, asked)(*([ids[1]] if asked == "inbox" else [])).wait(10)
    assert verify(store).findings
    store.close()


def test_a_kernel_that_cannot_open_its_store_leaves_no_thread(path: Path) -> None:
    path.write_bytes(b"no database at all, but long enough to be looked at" * 100)

    async def main() -> None:
        with pytest.raises(StoreCorrupt):
            async with Kernel(f"sqlite:///{path}", tenant="acme"):
                raise AssertionError("it was opened")

    before = {*threading.enumerate()}
    asyncio.run(main())
    for thread in {*threading.enumerate()} - before:
        thread.join(10)
        assert not thread.is_alive()
