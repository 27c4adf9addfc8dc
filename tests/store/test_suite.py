"""The public checks of a store: kept by every store there is, and broken by every one that is made to."""

import subprocess
import sys
from itertools import count
from pathlib import Path

import pytest

from backends import BACKENDS
from stepwell.store import files
from stepwell.store.memory import MemorySource
from stepwell.store.sqlite import SqliteSource, SqliteStore
from stepwell.testing import Factory, store_checks, store_suite
from store.broken import BROKEN, source_of
from store.processes import in_sqlite

STORES = ("memory", *(f"sqlite {each}" for each in BACKENDS))


@pytest.fixture(params=STORES)
def factory(request: pytest.FixtureRequest, tmp_path: Path) -> Factory:
    which, _, backend = str(request.param).partition(" ")
    if which == "memory":
        return MemorySource
    number = count()
    return lambda: SqliteSource(tmp_path / f"runs-{next(number)}.db", backend=backend)


@pytest.mark.parametrize("name", store_checks())
def test_every_store_keeps_the_contract(factory: Factory, name: str) -> None:
    before = {*files._open}
    store_checks()[name](factory)
    assert {*files._open} <= before, "what a check opens it closes"


def test_the_suite_is_all_checks_on_fresh_sources() -> None:
    made = []

    def factory() -> MemorySource:
        made.append(MemorySource())
        return made[-1]

    store_suite(factory)
    assert len(made) == len(store_checks()) > 60


def test_every_check_says_what_it_is_about() -> None:
    for name, check in store_checks().items():
        assert check.__name__ == name
        assert check.__doc__


@pytest.mark.parametrize("name", BROKEN)
def test_a_store_that_breaks_it_is_found(name: str) -> None:
    with pytest.raises(AssertionError) as found:
        store_suite(lambda: source_of(BROKEN[name]))
    check, _, what = str(found.value).partition(": ")
    assert check in store_checks()
    assert what
    assert found.value.__cause__ is not None


def test_a_factory_that_fails_is_no_failed_check() -> None:
    def factory() -> MemorySource:
        raise OSError("no disk")

    with pytest.raises(OSError, match="no disk"):
        store_suite(factory)


def test_stores_are_closed_after_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SqliteStore, "release", lambda self, execution_id, epoch: self.get(execution_id))
    name, before = "a_claim_is_given_up_by_its_owner_alone", {*files._open}
    with pytest.raises(AssertionError, match=f"^{name}: a release of epoch 1: expected False, found Exec"):
        store_checks()[name](lambda: SqliteSource(tmp_path / "runs.db", backend=BACKENDS[0]))
    assert {*files._open} <= before


@pytest.mark.parametrize("flags", [(), ("-O",)])
def test_it_needs_the_standard_library_alone(flags: tuple[str, ...]) -> None:
    """And holds without `assert` statements."""
    code = """
import sys, stepwell
assert "stepwell.testing" not in sys.modules
if "stepwell.testing" in sys.modules: sys.exit(1)
before = set(sys.modules)
from stepwell.store.memory import MemorySource, MemoryStore
from stepwell.testing import store_suite
store_suite(MemorySource)
MemoryStore.release = lambda self, execution_id, epoch: self.get(execution_id)
try:
    store_suite(MemorySource)
except AssertionError as error:
    print(str(error).partition(":")[0])
names = {name.partition(".")[0] for name in set(sys.modules) - before}
print(*sorted(names - set(sys.stdlib_module_names) - {"stepwell", "orjson"}))
"""
    done = subprocess.run([sys.executable, *flags, "-c", code], capture_output=True, text=True, check=True)
    first, others = done.stdout.splitlines()
    assert first in store_checks()
    assert others == ""


# --- what the contract leaves open, and a file does ---------------------------------------------------------------


def test_large_payloads_are_stored_once_and_go_with_the_last_who_has_them(
    source: SqliteSource, path: Path
) -> None:
    from stepwell.testing import checking

    store = source.open("acme")
    shared = {"text": "0123456789" * 5_000}
    made = [checking.execution([shared, shared, f"{number}" * 40_000]) for number in range(3)]
    for each in made:
        each.complete(shared)
        checking.store_real(store, each)

    def payloads() -> str:
        return in_sqlite(path, "SELECT count(*), sum(length(body)) FROM payloads")

    whole = len('{"text":""}') + 50_000
    assert payloads() == f"[(4, {whole + 3 * 40_002})]"
    assert in_sqlite(path, "SELECT count(*) FROM journal WHERE length(body) > 10000") == "[(0,)]"
    for left, each in zip((2, 1, 0), made, strict=True):
        assert store.doom([each.id]).wait(30) == 1
        wanted = (left + 1, whole + left * 40_002) if left else (0, None)
        assert payloads() == f"[{wanted}]"
        while store.sweep(100).wait(30):
            pass
    assert in_sqlite(path, "SELECT count(*) FROM payload_uses") == "[(0,)]"
    assert in_sqlite(path, "SELECT count(*) FROM journal") == "[(0,)]"
    store.close()


def test_every_1024th_record_is_marked(source: SqliteSource, path: Path) -> None:
    from stepwell.testing import checking

    store = source.open("acme")
    checking.create(store, written=checking.records(0, 3_000))
    checking.append(store, "exec_1", checking.records(3_001, 4_096))
    marks = "SELECT m.seq, j.seq FROM marks AS m JOIN journal AS j ON j.number = m.number ORDER BY m.seq"
    assert in_sqlite(path, marks) == str([(seq, seq) for seq in (1_023, 2_047, 3_071, 4_095)])
    store.close()
