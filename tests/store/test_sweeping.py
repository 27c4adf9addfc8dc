"""A purge of a damaged store deletes what is its own, wherever the damage points, and comes to an end."""

from pathlib import Path

import pytest

from backends import BACKENDS
from stepwell.store import Store, verify
from stepwell.store.retention import purge
from stepwell.store.sqlite import SqliteSource
from store.processes import in_sqlite
from store.stocked import make, put, stock

LATER = 2**62
FIRST = "(SELECT min(number) FROM journal WHERE execution = '{other}')"
LAST = "(SELECT max(number) FROM journal WHERE execution = '{other}')"


@pytest.fixture(params=BACKENDS)
def source(request: pytest.FixtureRequest, tmp_path: Path) -> SqliteSource:
    return SqliteSource(tmp_path / "runs.db", backend=request.param)


def purged(store: Store) -> int:
    return purge(store, older_than_ns=0, now_ns=LATER, rest=0).executions


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE journal SET previous = " + LAST + " WHERE execution = '{own}' AND seq = 2",
        "UPDATE journal SET previous = " + LAST + " WHERE execution = '{own}' AND seq = 0",
        "UPDATE executions SET last = " + LAST + " WHERE id = '{own}'",
        "UPDATE executions SET last = " + FIRST + " WHERE id = '{own}'",
        "UPDATE executions SET last = NULL WHERE id = '{own}'",
        "DELETE FROM journal WHERE execution = '{own}' AND seq = 3",
        "DELETE FROM journal WHERE execution = '{own}'",
        "UPDATE journal SET previous = number WHERE execution = '{own}'",
    ],
)
@pytest.mark.parametrize("tenant", ["acme", "other"])
def test_nothing_of_others_goes(source: SqliteSource, tmp_path: Path, damage: str, tenant: str) -> None:
    """Neither of the same tenant nor of another."""
    acme, others = source.open("acme"), source.open(tenant)
    ended = make("pure", "acme", first=900)
    ended.start()
    ended.complete_step(ended.start_step("s"), 1)
    ended.complete()
    own = put(acme, ended)
    kept = make("pure", tenant, first=500)
    kept.start()
    for number in range(5):
        kept.complete_step(kept.start_step("s"), number)
    other = put(others, kept)
    more = make("pure", "acme", first=950)
    more.cancel()
    put(acme, more)
    acme.close()
    others.close()
    in_sqlite(tmp_path / "runs.db", damage.format(own=own, other=other))
    acme, others = source.open("acme"), source.open(tenant)
    assert purged(acme) == 2
    assert verify(others, [other]).findings == []
    assert others.get(other).wait(10).version == 11
    # It comes to an end, and the next one finds nothing to do.
    assert acme.sweep(100).wait(10) == 0
    assert in_rows(acme) == [(0,)]
    acme.close()
    others.close()


def in_rows(store: Store) -> list[tuple[int]]:
    rows: list[tuple[int]] = store.rows("doomed", store.tenant).wait(10)  # type: ignore[attr-defined]
    return rows


def test_a_sound_store_is_swept_whole(source: SqliteSource, tmp_path: Path) -> None:
    store = source.open("acme")
    stock(store)
    assert purged(store) == 2
    assert verify(store).findings == []
    store.close()
