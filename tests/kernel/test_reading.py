"""What is read of many steps at once is what a plain loop over them finds."""

import random
from collections.abc import Iterator
from typing import Any

import pytest

from kernel.drive import Clock, Ids, ReservingIds, looped, readings, step_id
from kernel.support import clock_of, made_id, refused, running, seed
from stepwell import StepRange, StepState, StepType, ValidationError

TYPES = ["function", "tool", "wait"]


def grown(backend: Any, number: int) -> tuple[Any, Clock]:
    """An execution that a few dozen random calls have made, and its clock; the ids are runs, single, or have gaps."""
    dice = random.Random(number)
    clock = Clock()
    ex = backend.Execution(
        tenant="acme",
        id=made_id(1, "exec"),
        clock=clock,
        ids=dice.choice([Ids, ReservingIds])(),
    )
    ex.start()
    for _ in range(dice.randrange(40)):
        clock.now += dice.choice([0, 0, 1, 999, 10**9])
        grow(ex, dice)
    clock.now += dice.choice([0, -(10**12), 5])
    return ex, clock


def grow(ex: Any, dice: random.Random) -> None:
    """One random call that is allowed."""
    name, type_ = dice.choice("aab"), dice.choice(TYPES)
    shape = dice.randrange(10)
    if shape < 2:
        dice.choice([ex.start_step, ex.schedule_step])(name, type=type_)
    elif shape < 4:
        make = dice.choice([ex.start_steps, ex.schedule_steps])
        given = [dice.choice("ab") for _ in range(dice.randrange(5))]
        make(dice.choice([given, given, "many"]), count=len(given), type=type_) if given else make(given)
    else:
        state = dice.choice(["running", "running", "pending"])
        found = [step for step in ex.steps.values() if step.state == state]
        dice.shuffle(found)
        found = found[: dice.randrange(4)]
        if shape < 8:
            end(ex, dice, state, found)
        elif state == "pending":
            ex.start_steps(steps=found)
        elif found:
            ex.retry_step(found[0], "again")


def end(ex: Any, dice: random.Random, state: str, found: list[Any]) -> None:
    if state == "running" and dice.randrange(2):
        ex.complete_steps(found, [dice.randrange(9) for _ in found])
    elif dice.randrange(2):
        ex.fail_steps(found, error="broken")
    elif state == "pending" and found:
        ex.skip_step(found[0])
    else:
        ex.cancel_steps(found)


def tables(ex: Any, dice: random.Random) -> Iterator[tuple[Any, list[Any]]]:
    """The steps, and parts of them in many orders, each beside the list that it stands for."""
    whole = list(ex.steps.values())
    yield ex.steps, whole
    everything = ex.steps.filter()
    yield everything, whole
    for _ in range(6):
        start, stop = dice.randrange(-9, 9), dice.randrange(-9, 40)
        cut = slice(start, stop, dice.choice([None, None, 2, -1, -3]))
        yield everything[cut], whole[cut]
        again = slice(dice.randrange(3), None, dice.choice([None, 2, -1]))
        yield everything[cut][again], whole[cut][again]
    yield everything.open(), [step for step in whole if not step.is_terminal]
    yield everything.filter(name="a")[::-1], [step for step in whole if step.name == "a"][::-1]


@pytest.mark.parametrize("number", range(60))
def test_everything_read_at_once_is_what_a_loop_finds(backend, number):
    ex, clock = grown(backend, number)
    for table, steps in tables(ex, random.Random(number)):
        assert len(table) == len(steps)
        assert readings(table) == looped(ex, steps, clock.now)
        if isinstance(table, StepRange):
            assert list(table) == steps
            assert table.ids() == [step.id for step in steps]
            for step in steps:
                assert table[table.index(step)] == step
                assert table.count(step) == 1


@pytest.mark.parametrize("number", range(20))
def test_a_mapping_of_steps_is_a_mapping(backend, number):
    ex, _ = grown(backend, number)
    ids = ex.step_order
    assert list(ex.steps) == list(ex.steps.keys()) == [step.id for step in ex.steps.values()] == ids
    assert list(ex.steps.items()) == [(ident, ex.get_step(ident)) for ident in ids]
    assert dict(ex.steps) == {ident: ex.steps[ident] for ident in ids}
    assert len(ex.steps.values()) == len(ex.steps.items()) == len(ids)
    for step in ex.steps.values():
        assert ex.get_step(step.id).name == step.name
        assert step in ex.steps.values()
        assert (step.id, step) in ex.steps.items()


@pytest.mark.parametrize("number", range(20))
def test_replayed_and_loaded_executions_read_the_same(backend, number):
    """However the ids came in: as runs from a journal, one by one from a snapshot."""
    ex, clock = grown(backend, number)
    again = backend.Execution.replay(ex.id, backend.Execution.from_json(ex.to_json()).drain(), clock=clock)
    loaded = backend.Execution.from_json(ex.to_json(), clock=clock)
    expected = readings(ex.steps)
    assert readings(again.steps) == readings(loaded.steps) == expected
    assert again.step_order == loaded.step_order == ex.step_order


# --- what it costs ------------------------------------------------------------------------------------------------


def test_durations_take_one_reading_of_the_clock(backend):
    clock = Clock()
    ex = backend.Execution(tenant="acme", clock=clock, ids=Ids())
    ex.start()
    ex.schedule_step("never")
    for many in (
        ex.start_steps("a", count=5),
        ex.steps,
        ex.steps.filter(name="a")[::2],
        ex.steps.filter(name="x"),
    ):
        for read in (many.durations_ns, many.slowest):
            before = clock.reads
            read()
            assert clock.reads == before + 1
        before = clock.reads
        many.states(), many.counts(), many.open(), many.filter(state="pending", name="never", type="tool")
        assert clock.reads == before


def test_what_is_found_is_positions_and_not_steps(backend):
    """Neighbours are a range, which the next bulk call takes whole."""
    ex = running(backend)
    many = ex.start_steps(["a", "a", "b", "b", "a"])
    for found, indices in (
        (ex.steps.filter(), range(5)),
        (ex.steps.filter(name="b"), range(2, 4)),
        (ex.steps.filter(name="a"), [0, 1, 4]),
        (ex.steps.filter(name="c"), range(0)),
        (many[1:3], range(1, 3)),
        (many[::-1], [4, 3, 2, 1, 0]),
        (many[::-1][4:], [0]),
        (many[::2].filter(name="a"), [0, 4]),
        (many[::-1].filter(name="b"), [3, 2]),
        (ex.complete_steps(many[:2]), range(2)),
        (ex.fail_steps(many[::-1][:2], error="e"), [4, 3]),
        (ex.cancel_steps([many[2]]), range(2, 3)),
    ):
        assert isinstance(found, StepRange)
        assert list(found._indices) == list(indices)
        if isinstance(indices, range):
            assert isinstance(found._indices, range) or len(found) == 1
    with pytest.raises(IndexError, match="step index out of range"):
        ex._step_at(5)
    with pytest.raises(IndexError, match="step index out of range"):
        StepRange(ex, range(5, 6))[0]


# --- single things ------------------------------------------------------------------------------------------------


def test_every_state_is_counted_and_in_order(backend):
    ex = running(backend)
    assert list(ex.steps.counts().items()) == [(state, 0) for state in StepState]
    steps = ex.schedule_steps(["a"] * 6)
    ex.start_steps(steps=steps[:4])
    ex.complete_step(steps[0])
    ex.fail_step(steps[1], "e")
    ex.cancel_step(steps[2])
    ex.skip_step(steps[4])
    assert list(ex.steps.counts()) == list(StepState)
    assert set(ex.steps.counts().values()) == {1}
    assert steps[:2].counts() == {**dict.fromkeys(StepState, 0), "completed": 1, "failed": 1}
    assert all(type(state) is StepState for state in steps.states())


def test_readings_are_live(backend):
    ex = running(backend)
    steps = ex.start_steps("a", count=2)
    opened = steps.open()
    ex.cancel("enough")
    assert opened.states() == ["cancelled", "cancelled"]
    assert opened.open().ids() == ex.steps.open().ids() == []
    assert ex.steps.counts()["cancelled"] == 2


def test_the_slowest_come_first_and_of_equal_ones_the_first_made(backend):
    clock = clock_of()
    ex = running(backend, clock=clock)
    first = ex.start_steps("a", count=3)
    clock.advance("1s")
    second = ex.start_steps("b", count=2)
    ex.schedule_step("never")
    clock.advance("1s")
    ex.complete_step(first[1])  # after two seconds
    clock.advance("2s")
    ids = [step.id for step in (first[0], first[2], second[0], second[1], first[1])]
    assert ex.steps.slowest().ids() == ids
    assert ex.steps.slowest(3).ids() == ids[:3]
    assert ex.steps.slowest(0).ids() == []
    assert ex.steps.filter()[::-1].slowest(2).ids() == ids[1::-1]
    assert ex.steps.slowest(2**70).ids() == ids
    assert first.durations_ns() == [4_000_000_000, 2_000_000_000, 4_000_000_000]


def test_what_does_not_ask_for_anything_is_refused(backend):
    ex = running(backend)
    ex.start_steps("a", count=2)
    states = "pending, running, completed, failed, skipped, cancelled"
    types = ", ".join(StepType)
    for table in (ex.steps, ex.steps.filter()):
        for call, message in (
            (lambda: table.filter(state="done"), f"state must be one of {states}; got 'done'"),  # noqa: B023
            (lambda: table.filter(state=5), f"state must be one of {states}; got int"),  # noqa: B023
            (lambda: table.filter(type="x"), f"type must be one of {types}; got 'x'"),  # noqa: B023
            (lambda: table.filter(name=5), "name must be text, got int"),  # noqa: B023
            (lambda: table.slowest(-1), "n must not be negative"),  # noqa: B023
            (lambda: table.slowest(1.5), "n must be a whole number, got float"),  # noqa: B023
            (lambda: table.slowest(True), "n must be a whole number, got bool"),  # noqa: B023
        ):
            with refused(ex, ValidationError, message):
                call()
        assert table.filter(state=StepState.RUNNING, type=StepType.FUNCTION).ids() == ex.step_order
        assert table.filter(name="").ids() == table.filter(name="\ud800").ids() == []


def test_ids_are_found_whatever_their_order(backend):
    """Runs with gaps between them, single ids within the gaps, ids that come later and are smaller."""
    ex = seed(backend)
    ex.start()
    runs = [[step_id(n) for n in numbers] for numbers in (range(500, 520), range(100, 110), range(300, 301))]
    for run in runs:
        ex.start_steps("a", steps=run)
    for number in (400, 299, 301, 99, 110, 520, 499):
        ex.start_step("b", step_id=step_id(number))
    ex.start_steps("c", steps=[step_id(n) for n in (1, 2, 3, 521, 522, 7)])
    order = [ident for run in runs for ident in run]
    order += [step_id(n) for n in (400, 299, 301, 99, 110, 520, 499, 1, 2, 3, 521, 522, 7)]
    assert ex.step_order == order
    assert [step.id for step in ex.steps.values()] == order
    for index, ident in enumerate(order):
        assert ex.get_step(ident) == ex._step_at(index)
    for number in (0, 4, 6, 8, 98, 111, 298, 302, 498, 523):
        assert ex.get_step(step_id(number)) is None
    assert ex.steps.filter()._runs == [
        (step_id(500), 20), (step_id(100), 10), (step_id(300), 1), (step_id(400), 1), (step_id(299), 1),
        (step_id(301), 1), (step_id(99), 1), (step_id(110), 1), (step_id(520), 1), (step_id(499), 1), (step_id(1), 3),
        (step_id(521), 2), (step_id(7), 1),
    ]  # fmt: skip
    backwards = [step_id(n) for n in (523, 522, 521)]
    with pytest.raises(LookupError) as caught:
        ex.complete_steps(backwards)
    assert (caught.value.index, caught.value.step_id) == (0, step_id(523))
    mixed = [step_id(n) for n in (519, 520, 521, 522, 300, 301)]
    assert ex.complete_steps(mixed).ids() == mixed


def test_a_run_of_ids_ends_where_its_bits_do(backend):
    """The journal's runs count up within the last 62 bits; neighbours beyond them are a run of their own."""
    ex = seed(backend)
    ex.start()
    last = (1 << 62) - 1
    ids = [step_id(number) for number in (last - 1, last, last + 1, last + 2)]
    for ident in ids[::2]:
        ex.start_step("a", step_id=ident)
    ex.start_steps("a", steps=ids[1::2])
    order = [ids[0], ids[2], ids[1], ids[3]]
    assert ex.step_order == order
    assert ex.steps.filter()._runs == [(ident, 1) for ident in order]
    again = backend.Execution(tenant="acme")
    again.start()
    again.start_steps("a", steps=ids)
    assert again.steps.filter()._runs == [(ids[0], 2), (ids[2], 2)]
    again.complete_steps(again.steps.filter())
    again.start_step("b", step_id=step_id(5))
    for ident in (step_id(6), step_id(4)):
        again.start_step("c", step_id=ident)
    assert again.steps.filter(state="running")._runs == [(step_id(5), 2), (step_id(4), 1)]
    again.cancel_steps(again.steps.open())
    assert backend.Execution.replay(again.id, again.drain()) == again
