"""Golden journals: what every stepwell before this one has written is read, and today's is written the same."""

import hashlib
import json

import pytest

from kernel.golden.make import HERE, SCENARIOS, SUMS, UNDRAINED, made
from stepwell import _spec

LISTED = dict(reversed(line.split("  ")) for line in SUMS.read_text(encoding="ascii").splitlines())
JOURNALS = sorted(HERE.glob("*.jsonl"))
SNAPSHOTS = sorted(HERE.glob("*.json"))


def lines(path):
    return path.read_bytes().removesuffix(b"\n").split(b"\n")


def snapshot(path):
    return path.with_suffix(".json").read_bytes().removesuffix(b"\n")


def replayed(backend, path):
    return backend.Execution.replay(json.loads(lines(path)[0])["id"], lines(path))


def test_files_are_only_ever_added():
    """`SHA256SUMS` has a line for each; a line that is there stays there as it is."""
    assert sorted(LISTED) == sorted(path.name for path in [*JOURNALS, *SNAPSHOTS])
    for name, digest in LISTED.items():
        assert hashlib.sha256((HERE / name).read_bytes()).hexdigest() == digest, name


def test_every_kind_and_field_is_among_them():
    found = {}
    for path in JOURNALS:
        for line in lines(path):
            record = json.loads(line)
            found.setdefault(record["kind"], set()).update(set(record) - {"seq", "prev", "at", "kind"})
    expected = {kind: {name for name, _, _ in table} for kind, table in _spec.RECORDS.items()}
    for kind in ("steps_scheduled", "steps_started"):  # one table for both
        found[kind] = found["steps_scheduled"] | found["steps_started"]
    assert found == expected


@pytest.mark.parametrize("name", [*SCENARIOS, *UNDRAINED])
def test_both_backends_write_these_bytes_today(backend, name):
    for file, content in made(backend, name).items():
        assert (HERE / file).read_bytes() == content, file


@pytest.mark.parametrize("path", JOURNALS, ids=lambda path: path.stem)
def test_they_replay_to_what_they_were(backend, path):
    ex = replayed(backend, path)
    assert ex.to_json() == snapshot(path)
    assert ex.version == len(lines(path)) - 1
    assert ex.drain() == []


@pytest.mark.parametrize("path", SNAPSHOTS, ids=lambda path: path.stem)
def test_snapshots_are_read_and_written_the_same(backend, path):
    ex = backend.Execution.from_json(snapshot(path))
    assert ex.to_json() == snapshot(path)
    journal = path.with_suffix(".jsonl")
    if journal.exists():
        assert ex == replayed(backend, journal)


def test_what_was_not_drained_goes_on_the_chain(backend):
    ex = backend.Execution.from_json(snapshot(HERE / "1-undrained.json"))
    journal = lines(HERE / "1-retries.jsonl")
    rest = ex.drain()
    assert [kind for _, _, kind, _ in rest] == ["pause", "steps_failed", "resume"]
    again = backend.Execution.replay(ex.id, [*journal, *(body for _, _, _, body in rest)])
    assert again == ex
    assert again.to_json() == ex.to_json()


@pytest.mark.parametrize("path", JOURNALS, ids=lambda path: path.stem)
def test_values_are_as_recorded(backend, path):
    """What a user reads of the steps is what the records say, by the standard library's idea of JSON."""
    ex = replayed(backend, path)
    for line in lines(path):
        record = json.loads(line)
        if record["kind"] in ("step_scheduled", "step_started") and "name" in record:
            step = ex.get_step(record["step_id"])
            assert step.name == record["name"]
            assert step.input == record.get("input", step.input)
        if record["kind"] == "step_completed":
            assert ex.get_step(record["step_id"]).output == record.get("output")
        if record["kind"] == "complete":
            assert ex.output == record.get("output")
