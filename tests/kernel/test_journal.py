"""The journal: what `drain` gives, what `replay` takes, and what it finds wrong."""

import copy
import hashlib
import json
import pickle

import pytest

from kernel.support import START_NS, bodies, in_state, made_id, refused, running, seed
from stepwell import (
    Action,
    InvalidId,
    ManualClock,
    ReplayError,
    SchemaMismatch,
    StepwellError,
    TenantRequired,
    ValidationError,
    _backend,
)

ZEROS = "0" * 32
CHAIN = "its digest of the record before does not match: an edit, a loss or a reordering"


def busy(backend, **given):
    """An execution with some of everything."""
    clock = ManualClock()
    ex = running(backend, clock=clock, **given)
    step = ex.start_step("a", type="tool", input={"é": [1, None]})
    clock.advance("5ms")
    ex.complete_step(step, "…")
    ex.fail_steps(ex.schedule_steps(["b", "c"]), ["no", ValueError("x")])
    ex.retry_step(ex.start_step("d"), "again", retry_at=START_NS)
    return ex


# --- drain --------------------------------------------------------------------------------------------------------


def test_the_header_comes_first(backend):
    ex = seed(backend, schema_version="v1", blueprint="m.f", key="k", input=[1])
    ((seq, at, kind, body),) = ex.drain()
    assert (seq, at, kind) == (0, START_NS, "created")
    assert json.loads(body) == {
        "seq": 0, "prev": ZEROS, "at": START_NS, "kind": "created", "format": 1, "id": ex.id, "tenant": "acme",
        "schema_version": "v1", "blueprint": "m.f", "key": "k", "input": [1],
    }  # fmt: skip


def test_a_record_per_action_without_gaps(backend):
    ex = busy(backend)
    records = ex.drain()
    assert [seq for seq, _, _, _ in records] == list(range(ex.version + 1))
    assert all(type(body) is bytes for body in bodies(records))
    for seq, at, kind, body in records:
        found = json.loads(body)
        assert (found["seq"], found["at"], found["kind"]) == (seq, at, kind)
        assert list(found)[:4] == ["seq", "prev", "at", "kind"]
        assert body == json.dumps(found, ensure_ascii=False, separators=(",", ":")).encode()


def test_the_chain_is_what_hashlib_says(backend):
    ex = busy(backend)
    prev = ZEROS
    for body in bodies(ex.drain()):
        assert json.loads(body)["prev"] == prev
        prev = hashlib.sha256(body).hexdigest()[:32]
    assert ex.head == prev


def test_a_drain_gives_what_is_new_and_the_chain_goes_on(backend):
    whole = busy(backend)
    ex = running(backend)
    assert ex.head is None
    first = ex.drain()
    assert ex.drain() == []
    head = ex.head
    ex.pause()
    ((seq, _, kind, body),) = ex.drain()
    assert (seq, kind, json.loads(body)["prev"]) == (2, "pause", head)
    assert backend.Execution.replay(ex.id, [*first, (2, START_NS, "pause", body)]) == ex
    assert whole.drain()[:2] == first


@pytest.mark.parametrize("way", ["replay", "from_json", "copy", "pickle"])
@pytest.mark.parametrize("drained", [False, True])
def test_the_chain_goes_on_in_another_object(backend, monkeypatch, way, drained):
    """What was not drained yet travels along."""
    monkeypatch.setattr(_backend, "chosen", lambda: backend)
    ex, expected = busy(backend), bodies(busy(backend).drain())
    stored = bodies(ex.drain()) if drained or way == "replay" else []
    ex.pause("lunch")
    other = {
        "replay": lambda: backend.Execution.replay(
            ex.id, [*stored, *bodies(ex.drain())], clock=ManualClock()
        ),
        "from_json": lambda: backend.Execution.from_json(ex.to_json(), clock=ManualClock()),
        "copy": lambda: copy.copy(ex),
        "pickle": lambda: pickle.loads(pickle.dumps(ex)),
    }[way]()
    rest = bodies(other.drain())
    assert len(stored) + len(rest) == ex.version + 1 - (way == "replay")
    assert [*stored, *rest][: len(expected)] == expected
    other.apply(Action("cancel", at_ns=START_NS + 10**9))
    if way == "replay":
        ex.apply(Action("cancel", at_ns=START_NS + 10**9))
        assert bodies(other.drain()) == bodies(ex.drain())
    else:
        journal = [*stored, *rest, *bodies(other.drain())]
        assert backend.Execution.replay(ex.id, journal) == other


def test_a_journal_needs_a_tenant(backend):
    ex = running(backend, tenant=None)
    with refused(
        ex, TenantRequired, "a journal needs a tenant: make the execution with Execution.with_tenant(…)"
    ):
        ex.drain()
    assert backend.Execution.from_json(ex.to_json()) == ex


def test_refused_actions_leave_no_record(backend):
    ex = running(backend)
    for call in (ex.start, ex.plan, lambda: ex.complete(float("nan")), lambda: ex.start_steps(["a", ""])):
        with pytest.raises(StepwellError):
            call()
    assert [kind for _, _, kind, _ in ex.drain()] == ["created", "start"]


# --- replay -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["records", "bodies", "generator"])
def test_a_replay_equals_the_original(backend, form):
    ex = busy(backend, schema_version="v1", blueprint="m.f", key="k", input={"a": 1})
    records = ex.drain()
    given = {"records": records, "bodies": bodies(records), "generator": (record for record in records)}[form]
    other = backend.Execution.replay(ex.id, given)
    assert other == ex
    assert other.to_json() == ex.to_json()
    assert other.head == ex.head
    assert other.drain() == []
    assert (other.blueprint, other.key, other.input) == ("m.f", "k", {"a": 1})


@pytest.mark.parametrize(
    "state", ["created", "planning", "running", "paused", "waiting", "completed", "failed", "cancelled"]
)
def test_every_state_is_replayed(backend, state):
    ex = in_state(backend, state)
    records = ex.drain()
    other = backend.Execution.replay(ex.id, records)
    assert (other.state, other.wait_reason, other.reason, other.error) == (
        state,
        ex.wait_reason,
        ex.reason,
        ex.error,
    )
    assert other == ex == backend.Execution.from_json(other.to_json())


def test_the_schema_version_is_compared_and_not_set(backend):
    ex = seed(backend, schema_version="v1")
    records = ex.drain()
    assert backend.Execution.replay(ex.id, records).schema_version == "v1"
    assert backend.Execution.replay(ex.id, records, "v1") == ex
    message = (
        "the journal was written with schema version 'v1', this code has 'v2': replay it with the code it was "
        "written with, or migrate it"
    )
    with refused(None, SchemaMismatch, message) as caught:
        backend.Execution.replay(ex.id, records, schema_version="v2")
    assert (caught.value.recorded, caught.value.expected) == ("v1", "v2")
    bare = seed(backend)
    with refused(None, SchemaMismatch) as caught:
        backend.Execution.replay(bare.id, bare.drain(), "v2")
    assert (caught.value.recorded, caught.value.expected) == (None, "v2")
    for wrong, words in ((5, "schema_version must be text, got int"), ("\ud800", None), ("", None)):
        with refused(None, ValidationError, words):
            backend.Execution.replay(ex.id, records, schema_version=wrong)


def test_the_version_is_compared(backend):
    ex = busy(backend)
    records = ex.drain()
    assert backend.Execution.replay(ex.id, records, version=ex.version) == ex
    message = f"record {ex.version}: the journal ends with seq {ex.version}; expected {ex.version + 1}"
    with refused(None, ReplayError, message) as caught:
        backend.Execution.replay(ex.id, records, version=ex.version + 1)
    assert caught.value.index == ex.version
    with refused(None, ReplayError):
        backend.Execution.replay(ex.id, records, version=0)
    for wrong, words in (
        ("x", "version must be a whole number, got str"),
        (True, "version must be a whole number, got bool"),
        (2**70, "version must fit 64 bits with sign"),
    ):
        with refused(None, ValidationError, words):
            backend.Execution.replay(ex.id, records, version=wrong)


def test_a_prefix_of_a_journal_is_a_journal(backend):
    """Which is why a store says how long it is."""
    ex = busy(backend)
    records = ex.drain()
    for count in range(1, len(records)):
        other = backend.Execution.replay(ex.id, records[:count])
        assert other.version == count - 1
        with refused(None, ReplayError) as caught:
            backend.Execution.replay(ex.id, records[:count], version=ex.version)
        assert caught.value.index == count - 1


def test_another_executions_journal(backend):
    ex = running(backend)
    other = made_id(2, "exec")
    with refused(None, ReplayError, f"record 0: the journal is of {ex.id}, not of {other}") as caught:
        backend.Execution.replay(other, ex.drain())
    assert caught.value.index == 0


def test_an_empty_journal(backend):
    for empty in ([], (), iter([])):
        with refused(None, ReplayError, "record 0: the journal is empty; expected a header") as caught:
            backend.Execution.replay(made_id(1, "exec"), empty)
        assert caught.value.index == 0
    with refused(None, InvalidId):
        backend.Execution.replay("exec_", [])


def damage(name, records):
    """The records with something wrong from index 3 on, and what is said about them."""
    good, (seq, at, kind, body) = list(records), records[3]
    edited = body.replace("…".encode(), b"...")
    assert (kind, edited != body) == ("step_completed", True)
    return {
        "lost": ([*good[:3], *good[4:]], 3, "expected seq 3, found 4"),
        "duplicated": ([*good[:4], *good[3:]], 4, "expected seq 4, found 3"),
        "swapped": ([*good[:3], good[4], good[3], *good[5:]], 3, "expected seq 3, found 4"),
        "edited": ([*good[:3], (seq, at, kind, edited), *good[4:]], 4, CHAIN),
        "header lost": (good[1:], 0, "expected seq 0, found 1"),
        "header edited": (
            [(0, START_NS, "created", good[0][3].replace(b"acme", b"evil")), *good[1:]],
            1,
            CHAIN,
        ),
        "second header": ([*good, good[0]], len(good), f"expected seq {len(good)}, found 0"),
        "cut": ([*good[:3], (seq, at, kind, body[:-1])], 3, "not a record of this journal's format"),
        "torn": ([*good[:3], (seq, at, kind, body[:20])], 3, "not a record of this journal's format"),
        "longer": ([*good[:3], (seq, at, kind, body + b"\n")], 3, "not a record of this journal's format"),
        "empty": ([*good[:3], b""], 3, "not a record of this journal's format"),
        "zeros": ([*good[:3], bytes(len(body))], 3, "not a record of this journal's format"),
    }[name]


DAMAGES = (
    "lost", "duplicated", "swapped", "edited", "header lost", "header edited", "second header", "cut", "torn",
    "longer", "empty", "zeros",
)  # fmt: skip


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_found(backend, name):
    ex = busy(backend)
    records, index, words = damage(name, ex.drain())
    with refused(None, ReplayError, f"record {index}: {words}") as caught:
        backend.Execution.replay(ex.id, records)
    assert caught.value.index == index


def test_every_single_flipped_byte_is_found(backend):
    ex = busy(backend)
    records = bodies(ex.drain())
    for index, body in enumerate(records[:-1]):
        for position in range(0, len(body), 7):
            edited = body[:position] + bytes([body[position] ^ 1]) + body[position + 1 :]
            with pytest.raises(ReplayError) as caught:
                backend.Execution.replay(ex.id, [*records[:index], edited, *records[index + 1 :]])
            assert caught.value.index in {index, index + 1}


@pytest.mark.parametrize("column", [0, 1, 2])
@pytest.mark.parametrize("value", [7, "pause", None, 2**70, 1.0, b"start"])
def test_columns_beside_the_body_must_be_those_in_it(backend, column, value):
    ex = running(backend)
    records = ex.drain()
    wrong = list(records[1])
    wrong[column] = float(wrong[column]) if value == 1.0 and column < 2 else value
    with refused(
        None, ReplayError, "record 1: its seq, time or kind beside the record are not those in the record"
    ) as caught:
        backend.Execution.replay(ex.id, [records[0], tuple(wrong)])
    assert caught.value.index == 1


@pytest.mark.parametrize(
    "form", [None, 5, "text", [], (), ("a",), (0, 0, "created", "text"), bytearray(b"{}")]
)
def test_what_is_no_record(backend, form):
    with refused(
        None, ReplayError, "record 0: expected (seq, at_ns, kind, body) or the body as bytes"
    ) as caught:
        backend.Execution.replay(made_id(1, "exec"), [form])
    assert caught.value.index == 0
