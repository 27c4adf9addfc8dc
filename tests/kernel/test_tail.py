"""Replay from one buffer, and from a snapshot and the tail of the journal: the same as from all the records."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from kernel.drive import EXEC, T0, Clock, Ids, ReservingIds, bodies_of, forged, step_id
from kernel.golden.make import HERE
from kernel.support import made_id
from kernel.test_reading import grow
from kernel.test_twins import sample
from stepwell import (
    Action,
    ExecutionError,
    ReplayError,
    ResourceLimits,
    SchemaMismatch,
    TenantContext,
    UnsupportedFormat,
    ValidationError,
)

JOURNALS = sorted(HERE.glob("*.jsonl"))


def joined(bodies: list[bytes]) -> bytes:
    return b"".join(body + b"\n" for body in bodies)


def bodies(backend: Any, **given: Any) -> list[bytes]:
    """The journal of an execution with steps in every state."""
    return bodies_of(sample(backend, **given).drain())


def replay(backend: Any, records: Any, **given: Any) -> Any:
    return backend.Execution.replay(EXEC, records, **given)


@contextmanager
def refused(index: int, reason: str) -> Iterator[None]:
    """Expects this refusal of the record at this position."""
    with pytest.raises(ReplayError) as caught:
        yield
    assert type(caught.value) is ReplayError
    assert (caught.value.index, str(caught.value)) == (index, f"record {index}: {reason}")


NOT_A_RECORD = "not a record of this journal's format"
BROKEN = "its digest of the record before does not match: an edit, a loss or a reordering"
DIFFERS = "it is not the action that the snapshot holds in its place"
EMPTY = "the journal is empty; expected a header"

# --- one buffer ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", JOURNALS, ids=lambda path: path.stem)
@pytest.mark.parametrize("of", [bytes, bytearray, memoryview, lambda data: memoryview(b"x" + data)[1:]])
def test_a_journal_in_one_buffer_is_the_same_journal(backend, path, of):
    data = path.read_bytes()
    lines = data.removesuffix(b"\n").split(b"\n")
    ident = path.with_suffix(".json").read_bytes().partition(b'"id":"')[2][:31].decode()
    expected = backend.Execution.replay(ident, lines)
    for found in (of(data), of(data.removesuffix(b"\n"))):
        again = backend.Execution.replay(ident, found, version=len(lines) - 1)
        assert again == expected
        assert again.to_json() == expected.to_json()
        assert again.drain() == []


def test_an_empty_buffer_is_an_empty_journal(backend):
    for empty in (b"", bytearray(), memoryview(b""), [], iter(())):
        with refused(0, EMPTY):
            replay(backend, empty)


def test_a_newline_in_a_payload_ends_no_record(backend):
    """White space is part of JSON that others wrote; it stays as it was given."""
    made = bodies(backend)
    spaced = [body.replace(b'{"a":1}', b'{"a":\n\n1\r\n}\t'.rstrip(b"\t")) for body in made]
    assert spaced != made
    chained = forged(spaced)
    again = replay(backend, joined(chained))
    assert again == replay(backend, chained)
    assert again != replay(backend, made)
    assert [step.output for step in again.steps.values()] == [
        step.output for step in replay(backend, made).steps.values()
    ]


def test_every_torn_end_is_found(backend):
    made = bodies(backend)
    before = joined(made[:-1])
    for end in range(1, len(made[-1])):
        with refused(len(made) - 1, NOT_A_RECORD):
            replay(backend, before + made[-1][:end])


@pytest.mark.parametrize(
    "between",
    [b"\n\n", b"\r\n", b"", b" \n", b"\n ", b"\n\t", b"\x00\n", b"\x1e", b",\n", b"\xff\n", b"\n\xff"],
)
def test_between_records_there_is_a_newline_and_nothing_else(backend, between):
    """What is at the end of a line is of that record, what is at the beginning of the next."""
    made = bodies(backend)
    for at in (1, 3, len(made) - 1):
        index = at - 1 if not between.startswith(b"\n") else at
        with refused(index, NOT_A_RECORD):
            replay(backend, joined(made[:at])[:-1] + between + joined(made[at:]))


@pytest.mark.parametrize(
    ("data", "index"),
    [(b"\n", 0), (b" ", 0), (b"\xef\xbb\xbf", 0), (b"\xff", 0), (b"[]", 0), (b"\x00" * 5, 0), (b"null\n", 0)],
)
def test_a_buffer_of_something_else_is_refused(backend, data, index):
    made = joined(bodies(backend))
    for found in (data, data + made):
        with refused(index, NOT_A_RECORD):
            replay(backend, found)
    count = made.count(b"\n")
    with refused(count, NOT_A_RECORD):
        replay(backend, made + data)


def test_a_byte_that_is_no_text_is_of_its_record(backend):
    made = bodies(backend)
    for index, body in enumerate(made):
        for at in (0, len(body) // 2, len(body) - 1):
            damaged = [*made[:index], body[:at] + b"\xc3" + body[at:], *made[index + 1 :]]
            with refused(index, NOT_A_RECORD):
                replay(backend, joined(damaged))


def test_a_buffer_is_refused_as_its_records_are(backend):
    made = bodies(backend)
    newer = [made[0].replace(b'"format":1', b'"format":2'), *made[1:]]
    for damaged in (
        made[1:],
        [made[0], *made[2:]],
        [made[1], made[0], *made[2:]],
        [*made[:3], made[4], made[3], *made[5:]],
        [*made[:3], made[3].replace(b"tokens", b"tokenz"), *made[4:]],
        forged([*made[:2], made[1], *made[2:]]),
        forged([*made, made[0]]),
        newer,
    ):
        with pytest.raises(ReplayError) as one:
            replay(backend, damaged)
        with pytest.raises(ReplayError) as other:
            replay(backend, joined(damaged))
        assert (type(one.value), str(one.value)) == (type(other.value), str(other.value))
        assert one.value.index == other.value.index
    with refused(len(made) - 1, f"the journal ends with seq {len(made) - 1}; expected 99"):
        replay(backend, joined(made), version=99)
    with pytest.raises(SchemaMismatch):
        replay(backend, joined(made), schema_version="v2")


# --- a snapshot and what comes after it ---------------------------------------------------------------------------


def history(backend: Any, number: int) -> tuple[list[Any], list[tuple[bytes, int]], Any]:
    """A random journal, snapshots made on the way with the number of records drained before, and the execution."""
    dice = random.Random(number)
    clock = Clock()
    ids = dice.choice([Ids, ReservingIds])()
    ex = backend.Execution(id=EXEC, tenant="acme", schema_version="v1", clock=clock, ids=ids)
    journal: list[Any] = []
    snapshots = [(ex.to_json(), 0)]
    ex.start()
    for _ in range(dice.randrange(4, 30)):
        clock.now += dice.choice([0, 1, 10**9])
        grow(ex, dice)
        if dice.randrange(3) == 0:
            journal += ex.drain()
        if dice.randrange(2):
            snapshots.append((ex.to_json(), len(journal)))
        if dice.randrange(6) == 0:
            ex.pause("lunch")
            ex.resume()
    ex.cancel("enough")
    journal += ex.drain()
    return journal, snapshots, ex


def same(one: Any, other: Any) -> None:
    """In everything, and in what they write from now on."""
    assert one == other
    assert one.to_json() == other.to_json()
    assert (one.head, one.version) == (other.head, other.version)
    assert one.drain() == other.drain()
    assert one.head == other.head


@pytest.mark.parametrize("number", range(25))
def test_a_snapshot_and_the_tail_are_the_whole_journal(backend, number):
    """For snapshots of live executions, drained or not, and for those of every prefix of the journal."""
    journal, snapshots, ex = history(backend, number)
    snapshots += [
        (replay(backend, journal[:length]).to_json(), length) for length in range(1, len(journal) + 1)
    ]
    for snapshot, drained in snapshots:
        tail = journal[drained:]
        whole = replay(backend, journal)
        same(replay(backend, tail, snapshot=snapshot, version=ex.version), whole)
        same(replay(backend, bodies_of(tail), schema_version="v1", snapshot=snapshot), whole)
        same(replay(backend, joined(bodies_of(tail)), snapshot=snapshot), whole)
    assert whole == ex


@pytest.mark.parametrize("number", range(25))
def test_what_the_tail_does_not_reach_stays_to_be_drained(backend, number):
    journal, snapshots, _ = history(backend, number)
    for snapshot, drained in snapshots:
        held = backend.Execution.from_json(snapshot)
        for length in range(len(journal) - drained + 1):
            end = drained + length
            again = replay(backend, journal[drained:end], snapshot=snapshot)
            if end > held.version:
                same(again, replay(backend, journal[:end]))
            else:
                assert again == held
                assert again.version == held.version
                assert again.drain() == journal[end : held.version + 1]
                assert again.head == replay(backend, journal[: held.version + 1]).head


def test_without_a_tail_a_snapshot_is_what_it_is(backend):
    ex = sample(backend)
    for _ in range(2):
        for nothing in (b"", bytearray(), [], (), iter(())):
            again = replay(backend, nothing, snapshot=ex.to_json(), version=ex.version)
            assert again.to_json() == ex.to_json()
        ex.drain()


def test_it_goes_on_as_any_other(backend):
    """Its ids, clock and limits are those given here."""
    ex = sample(backend)
    snapshot = ex.to_json()
    ex.pause()
    clock = Clock(T0 + 10**9)
    tenant = TenantContext("acme", limits=ResourceLimits(max_steps=7))
    again = replay(backend, ex.drain(), snapshot=snapshot, tenant=tenant, clock=clock, ids=Ids())
    again.resume()
    assert again.start_step("more", step_id=step_id(99)).scheduled_at.timestamp() == (T0 + 10**9) / 1e9
    with pytest.raises(ExecutionError, match="over the limit max_steps: 8 of 7"):
        again.start_step("too many", step_id=step_id(98))
    with pytest.raises(ValidationError, match="the execution is of another tenant"):
        replay(backend, [], snapshot=snapshot, tenant="other")


# --- what does not fit --------------------------------------------------------------------------------------------


def half_drained(backend: Any) -> tuple[bytes, list[bytes]]:
    """A snapshot that holds three actions, and the records from the first of them on: those three and two more."""
    ex = sample(backend)
    ex.drain()
    ex.start_step("x", step_id=step_id(50), input={"a": 1})
    ex.complete_step(step_id(50), "y")
    ex.pause("lunch")
    snapshot = ex.to_json()
    ex.resume()
    ex.cancel("enough")
    return snapshot, bodies_of(ex.drain())


def test_records_that_the_snapshot_holds_must_be_the_same_bytes(backend):
    snapshot, tail = half_drained(backend)
    assert replay(backend, tail, snapshot=snapshot).state == "cancelled"
    for index, old, new in (
        (0, b'"name":"x"', b'"name":"z"'),
        (0, b'{"a":1}', b'{"a": 1}'),
        (0, b"step_started", b"step_scheduled"),
        (1, b'"y"', b'"Y"'),
        (1, b',"output":"y"', b""),
        (2, b"lunch", b"tea"),
        (2, b'"kind":"pause","reason":"lunch"', b'"kind":"resume"'),
        (2, b'"at":17', b'"at":18'),
    ):
        assert old in tail[index], (index, old)
        first, prev = tail[0].split(b",", 2)[:2]
        changed = tail[index].replace(old, new)
        with refused(index, DIFFERS):
            replay(backend, [*tail[:index], changed, *tail[index + 1 :]], snapshot=snapshot)
        with refused(index, DIFFERS):
            replay(backend, joined([*tail[:index], changed]), snapshot=snapshot)
        assert (first, prev) == tuple(tail[0].split(b",", 2)[:2])


def test_the_chain_goes_on_from_the_snapshots_head(backend):
    snapshot, tail = half_drained(backend)
    first = int(tail[0][7:].partition(b",")[0])
    with refused(0, f"expected seq {first}, found {first + 1}"):
        replay(backend, tail[1:], snapshot=snapshot)
    with refused(1, f"expected seq {first + 1}, found {first + 2}"):
        replay(backend, [tail[0], *tail[2:]], snapshot=snapshot)
    with refused(1, f"expected seq {first + 1}, found {first}"):
        replay(backend, [tail[0], *tail], snapshot=snapshot)
    for index in range(len(tail)):
        prev = tail[index].partition(b'"prev":"')[2][:32]
        damaged = [*tail]
        damaged[index] = tail[index].replace(prev, b"0" * 32)
        with refused(index, BROKEN):
            replay(backend, damaged, snapshot=snapshot)
    whole = bodies(backend)
    with refused(0, f"expected seq {first}, found 0"):
        replay(backend, whole, snapshot=snapshot)


def test_after_what_it_holds_the_reducer_decides(backend):
    snapshot, tail = half_drained(backend)
    resumed = tail[3]
    again = resumed.replace(b'"kind":"resume"', b'"kind":"start"')
    needs = "start is not allowed while the execution is paused; it needs created or planning"
    with refused(3, needs):
        replay(backend, [*tail[:3], again], snapshot=snapshot)
    early = resumed.replace(b'"at":17', b'"at":16')
    at = int(early.partition(b'"at":')[2].partition(b",")[0])
    late = f"at_ns {at} is before the last action at {T0}; leave it out to take the clock's time"
    with refused(3, late):
        replay(backend, [*tail[:3], early], snapshot=snapshot)
    for torn in (resumed[:-1], resumed + b" ", b"", b"{}"):
        with refused(3, NOT_A_RECORD):
            replay(backend, [*tail[:3], torn], snapshot=snapshot)
    with refused(3, NOT_A_RECORD):
        replay(backend, joined([*tail[:3], resumed[:-1]]), snapshot=snapshot)
    with refused(2, "expected (seq, at_ns, kind, body) or the body as bytes"):
        replay(backend, [*tail[:2], 5], snapshot=snapshot)


def test_a_header_comes_where_none_was_drained_and_is_the_snapshots(backend):
    ex = sample(backend)
    snapshot = ex.to_json()
    made = bodies_of(ex.drain())
    assert (
        replay(backend, made[:1], snapshot=snapshot).drain()
        == ex.replay(EXEC, [], snapshot=snapshot).drain()[1:]
    )
    other = bodies(backend, key="other", clock=Clock(T0))
    with refused(0, DIFFERS):
        replay(backend, other, snapshot=snapshot)
    with refused(0, "expected seq 0, found 1"):
        replay(backend, made[1:], snapshot=snapshot)
    with refused(0, "a header is the first record, and only that"):
        replay(backend, [made[0].partition(b'"created"')[0] + b'"plan"}'], snapshot=snapshot)
    after = replay(backend, made).to_json()
    header = made[0].replace(b'{"seq":0', b'{"seq":%d' % len(made)).replace(b"0" * 32, ex.head.encode(), 1)
    with refused(0, "a header is the first record, and only that"):
        replay(backend, [header], snapshot=after)
    tenantless = backend.Execution(id=EXEC, clock=Clock()).to_json()
    with refused(0, DIFFERS):
        replay(backend, made, snapshot=tenantless)
    assert replay(backend, [], snapshot=tenantless).tenant_id is None


def test_a_snapshot_of_something_else_is_refused(backend):
    snapshot, tail = half_drained(backend)
    other = made_id(7, "exec")
    with refused(0, f"the journal is of {EXEC}, not of {other}"):
        backend.Execution.replay(other, tail, snapshot=snapshot)
    with pytest.raises(SchemaMismatch) as caught:
        replay(backend, tail, schema_version="v2", snapshot=snapshot)
    assert (caught.value.recorded, caught.value.expected) == ("v1", "v2")
    words = "not an execution: expected the JSON object that Execution.to_json writes"
    for junk in (
        b"",
        b"{}",
        snapshot[:-1],
        snapshot + b"\n",
        snapshot.decode(),
        5,
        bytearray(snapshot),
        tail[0],
    ):
        with pytest.raises(ValidationError) as wrong:
            replay(backend, tail, snapshot=junk)
        assert str(wrong.value) == words
    with pytest.raises(UnsupportedFormat) as newer:
        replay(backend, tail, snapshot=snapshot.replace(b'"format":1', b'"format":9', 1))
    assert str(newer.value) == "this execution has format 9, this stepwell reads up to 1: upgrade stepwell"
    with pytest.raises(ValidationError):
        backend.Execution.replay("exec_", tail, snapshot=snapshot)


def test_the_number_of_actions_is_that_at_the_end(backend):
    snapshot, tail = half_drained(backend)
    last = replay(backend, tail, snapshot=snapshot).version
    assert replay(backend, tail, snapshot=snapshot, version=last).version == last
    assert replay(backend, tail[:2], snapshot=snapshot, version=last - 2).version == last - 2
    with refused(4, f"the journal ends with seq {last}; expected {last + 1}"):
        replay(backend, tail, snapshot=snapshot, version=last + 1)
    with refused(0, f"the journal ends with seq {last - 2}; expected {last}"):
        replay(backend, b"", snapshot=snapshot, version=last)


def test_bulk_actions_in_the_tail_are_about_steps_of_the_snapshot(backend):
    """They name runs of ids, which the snapshot has one by one."""
    clock = Clock()
    ex = backend.Execution(id=EXEC, tenant="acme", clock=clock, ids=ReservingIds())
    ex.start()
    many = ex.start_steps(["a", "b"] * 50)
    ex.drain()
    snapshot = ex.to_json()
    ex.complete_steps(many[:30], range(30))
    ex.fail_steps(many[::-1][:30], error="late")
    more = ex.start_steps("c", count=10)
    ex.apply(Action("steps_cancelled", steps=[*more.ids()[5:], *many[30:70].ids()]))
    again = replay(backend, joined(bodies_of(ex.drain())), snapshot=snapshot, clock=clock)
    same(again, ex)


# --- pieces -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_pieces_of_several_bodies_are_the_same_journal(backend, size):
    whole = bodies(backend)
    pieces = [joined(whole[at : at + size]) for at in range(0, len(whole), size)]
    assert replay(backend, pieces).to_json() == replay(backend, whole).to_json()


def test_pieces_and_single_bodies_are_counted_together(backend):
    whole = bodies(backend)
    assert replay(backend, [whole[0], joined(whole[1:3]), *whole[3:]]).version == len(whole) - 1
    with refused(2, "expected seq 2, found 3"):
        replay(backend, [whole[0], joined([whole[1], whole[3]])])
    with refused(1, NOT_A_RECORD):
        replay(backend, [whole[0], b"\n", *whole[1:]])
