"""`verify` names the first record that is not what was written, and finds nothing in a store that is sound."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backends import BACKENDS
from stepwell import Execution, NotFound
from stepwell.store import Store, verify
from stepwell.store.memory import MemorySource
from stepwell.store.sqlite import SqliteSource
from store.journals import fill, finished, save, waiting
from store.processes import in_sqlite


@pytest.fixture(params=["memory", *BACKENDS])
def filled(request: pytest.FixtureRequest, path: Path) -> Iterator[Store]:
    source: Any = MemorySource() if request.param == "memory" else SqliteSource(path, backend=request.param)
    store = source.open("acme")
    fill(store)
    other = source.open("other")
    fill(other)
    yield store
    other.close()
    store.close()


def test_a_sound_store_has_no_findings(filled: Store) -> None:
    seen: list[tuple[int, int]] = []
    report = verify(filled, progress=lambda *done: seen.append(done))
    assert report.findings == []
    assert (report.executions, report.records) == seen[-1]
    assert report.executions == 4
    rows = filled.list().wait(10)
    assert report.records == sum(row.version + 1 for row in rows)
    one = verify(filled, [rows[1].id])
    assert (one.executions, one.records, one.findings) == (1, rows[1].version + 1, [])
    assert verify(filled, []).executions == 0


def test_an_absent_id_and_a_foreign_one_are_not_found(filled: Store) -> None:
    for absent in ("exec_1", finished("acme").id):
        with pytest.raises(NotFound):
            verify(filled, [absent])


def test_long_journals_and_purged_ones(path: Path) -> None:
    store = SqliteSource(path).open("acme")
    save(store, finished(steps=1_200), appends=4)
    gone = save(store, finished(steps=20, key="other"))
    assert store.doom([gone]).wait(10) == 1
    store.sweep(5).wait(10)
    assert verify(store).findings == []
    assert verify(store).records == 2_403
    store.close()


def damaged(
    path: Path, engine: str, *statements: str
) -> tuple[list[str], list[tuple[str | None, int | None]]]:
    """The ids of a store that was tampered with, and where `verify` finds something."""
    store = SqliteSource(path, backend=engine).open("acme")
    ids = fill(store)
    store.close()
    in_sqlite(path, *statements)
    store = SqliteSource(path, backend=engine, read_only=True).open("acme")
    report = verify(store)
    store.close()
    return ids, [(finding.execution, finding.seq) for finding in report.findings]


FIRST = "(SELECT min(id) FROM executions)"
EDIT = f"""
    UPDATE journal SET body = CAST(replace(CAST(body AS TEXT), 'step 1', 'step 7') AS BLOB) WHERE execution = {FIRST}
"""
DOUBLE = f"""
    INSERT INTO journal
    SELECT 1000, previous, tenant, execution, seq, at, kind, body, action_id, digest, cut_at, cut_hash
    FROM journal WHERE seq = 1 AND execution = {FIRST}
"""


@pytest.mark.parametrize("engine", BACKENDS)
@pytest.mark.parametrize(
    ("statement", "seq"),
    [
        (EDIT, 4),
        (f"UPDATE journal SET body = x'00' WHERE seq = 2 AND execution = {FIRST}", 2),
        (f"UPDATE journal SET digest = x'00' WHERE seq = 5 AND execution = {FIRST}", 5),
        (f"UPDATE journal SET at = at + 1 WHERE seq = 3 AND execution = {FIRST}", 3),
        (f"UPDATE journal SET kind = 'plan' WHERE seq = 3 AND execution = {FIRST}", 3),
        (f"DELETE FROM journal WHERE seq = 3 AND execution = {FIRST}", 3),
        (f"DELETE FROM journal WHERE seq = 0 AND execution = {FIRST}", 0),
        (f"DELETE FROM journal WHERE seq = 8 AND execution = {FIRST}", 8),
        (f"DELETE FROM journal WHERE execution = {FIRST}", 0),
        (f"UPDATE journal SET seq = 30 WHERE seq = 4 AND execution = {FIRST}", 4),
        (f"UPDATE journal SET previous = 1 WHERE seq = 6 AND execution = {FIRST}", 6),
        (f"UPDATE executions SET version = version - 1 WHERE id = {FIRST}", 8),
        (f"UPDATE executions SET version = version + 1 WHERE id = {FIRST}", 9),
        (f"UPDATE executions SET head = '{'0' * 32}' WHERE id = {FIRST}", 8),
        (f"UPDATE executions SET state = 'failed' WHERE id = {FIRST}", None),
        (f"UPDATE executions SET key = 'z' WHERE id = {FIRST}", None),
        (f"UPDATE executions SET blueprint = 'z' WHERE id = {FIRST}", None),
        (f"UPDATE executions SET schema_version = NULL WHERE id = {FIRST}", None),
        (f"UPDATE executions SET updated_at = updated_at + 1 WHERE id = {FIRST}", None),
        (f"UPDATE executions SET parent_type = 'system', parent_id = 'x' WHERE id = {FIRST}", None),
        (f"UPDATE executions SET epoch = -1 WHERE id = {FIRST}", None),
    ],
)  # fmt: skip
def test_the_first_bad_record_is_named(path: Path, engine: str, statement: str, seq: int | None) -> None:
    ids, found = damaged(path, engine, statement)
    assert found[0] == (ids[0], seq)
    assert {execution for execution, _ in found[1:]} <= {ids[0], None}


@pytest.mark.parametrize("engine", BACKENDS)
@pytest.mark.parametrize(
    "statement",
    [
        f"DELETE FROM executions WHERE id = {FIRST}",
        "UPDATE payloads SET body = zeroblob(40002)",
        "UPDATE payloads SET hash = CAST(hash || x'00' AS BLOB) WHERE rowid = 1",
        "UPDATE journal SET cut_at = cut_at + (1 << 40) WHERE cut_at IS NOT NULL",
        "UPDATE journal SET cut_at = 3 WHERE cut_at IS NULL",
        "DELETE FROM payload_uses",
        "DELETE FROM payloads",
        "INSERT INTO payloads VALUES ('acme', x'01', x'')",
        "INSERT INTO payload_uses VALUES ('acme', x'00', 'exec_1')",
        "INSERT INTO marks VALUES ('acme', 'exec_1', 1023, 1)",
        "UPDATE inbox SET execution = 'exec_1'",
        "UPDATE inbox SET taken = 99 WHERE id = 'd1'",
        f"INSERT INTO doomed SELECT tenant, id, last, NULL FROM executions WHERE id = {FIRST}",
        "UPDATE executions SET tenant = 'acmf'",
        f"UPDATE executions SET id = 'exec_1' WHERE id = {FIRST}",
        DOUBLE,
    ],
)  # fmt: skip
def test_what_belongs_to_nothing_is_found(path: Path, engine: str, statement: str) -> None:
    _, found = damaged(path, engine, statement)
    assert found


@pytest.mark.parametrize("engine", BACKENDS)
def test_a_step_that_is_waited_for_has_to_be_in_the_journal(path: Path, engine: str) -> None:
    """And the place of a delivery one that was given to it."""
    source = SqliteSource(path, backend=engine)
    store = source.open("acme")
    fill(store)
    held = waiting()
    save(store, held)
    [step] = held.steps.filter(type="wait").ids()
    store.close()
    awaited = f"INSERT INTO awaited SELECT tenant, '{{}}', id FROM executions WHERE id = '{held.id}'"
    for statements, count in (
        ([awaited.format(step)], 0),
        (["UPDATE awaited SET step = 'step_9'"], 1),
        ([f"UPDATE awaited SET step = '{step}', execution = 'exec_1'"], 1),
        (["DELETE FROM awaited", "UPDATE places SET last = 1"], 1),
        (["DELETE FROM places"], 2),
        (["UPDATE inbox SET place = place - 1", "INSERT INTO places VALUES ('acme', 2)"], 1),
    ):
        in_sqlite(path, *statements)
        store = source.open("acme")
        findings = verify(store).findings
        store.close()
        assert len(findings) == count, (statements, findings)
        assert all(each.execution for each in findings)


@pytest.mark.parametrize("engine", BACKENDS)
def test_of_another_tenant_it_tells_no_id(path: Path, engine: str) -> None:
    for tenant in ("acme", "other"):
        store = SqliteSource(path, backend=engine).open(tenant)
        fill(store)
        store.close()
    in_sqlite(
        path,
        "DELETE FROM executions WHERE tenant = 'other'",
        "UPDATE payloads SET body = x'' WHERE tenant = 'other'",
    )
    store = SqliteSource(path, backend=engine).open("acme")
    report = verify(store)
    store.close()
    assert report.findings
    assert all(finding[:2] == (None, None) for finding in report.findings)
    assert not any("exec_" in finding.what or "other'" in finding.what for finding in report.findings)


@pytest.mark.parametrize("engine", BACKENDS)
def test_text_that_is_none_is_found(path: Path, engine: str) -> None:
    for column in ("id", "blueprint", "state"):
        _, found = damaged(
            path, engine, f"UPDATE executions SET {column} = CAST(x'ff41' AS TEXT) WHERE id = {FIRST}"
        )
        assert found
        path.unlink()


def test_a_store_is_verified_while_others_write(path: Path) -> None:
    store = SqliteSource(path).open("acme")
    execution = Execution(tenant="acme")
    execution.start()
    save(store, execution)
    real = store.load

    def load(id: str, after: int = -1) -> Any:
        found = real(id, after)
        found.wait(10)
        more = Execution.replay(id, [record[3] for record in everything(real, id)])
        more.pause()
        more.resume()
        records = more.drain()
        from stepwell.store import Projection

        row = Projection("running", None, more.head or "")
        store.append(id, records[0][0] - 1, 1, b"%d" % records[0][0], records, row).wait(10)
        return found

    store.load = load  # type: ignore[method-assign]
    calls = 0

    def few(id: str, after: int = -1) -> Any:
        nonlocal calls
        calls += 1
        return load(id, after) if calls < 5 else real(id, after)

    store.load = few  # type: ignore[method-assign]
    assert verify(store).findings == []
    assert calls >= 5
    store.close()


def everything(load: Any, id: str) -> list[Any]:
    found: list[Any] = []
    while page := load(id, len(found) - 1).wait(10):
        found += page
    return found
