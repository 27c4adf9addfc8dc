"""The kernel beside the hand-written version: the same work on the same day.

Each benchmark checks the answer first. It is timed by rounds on fresh executions that are made, and thrown away,
outside of the timed part. `extra_info` says what was measured and how many units of it, for `ratios.py`. The clock is
the processor time of the process, so that others who use the machine count little; nothing here waits for anything.
Memory is there already, see `allocators.py`.
"""

import time
from collections.abc import Callable
from functools import cache
from typing import Any

import handwritten
import pytest
import structs
from allocators import give_back, keep_memory
from pytest_benchmark.fixture import BenchmarkFixture
from targets import BARE, BULK_BARE, DRAINED, FRESH, IN_BULK, ONE_BUFFER, ONE_BY_ONE, ONE_NAME
from workload import (
    MAKERS,
    MILLION,
    STEPS,
    TENANT,
    Nothing,
    back_and_forth,
    begun,
    check,
    check_records,
    in_bulk,
    in_bulk_bare,
    in_bulk_of_one_name,
    names_of,
    no_collector,
    one_by_one,
    one_by_one_bare,
    one_by_one_drained,
    one_by_one_views,
    outputs_of,
    settle,
)

NAMES, OUTPUTS = names_of(STEPS), outputs_of(STEPS)
HALF = STEPS // 2
MANY = names_of(MILLION)
KEPT_MEGABYTES = 800  # what the hand-written version takes for a million steps
ROUNDS = {"native": 12, "hand": 7, "pure": 2, "hand-unchained": 7, "empty": 12, "msgspec": 7}
"""As many as make the smallest times stable. The pure backend takes longest: more only where a target depends on it."""
OTHER_ROUNDS = {
    (ONE_BY_ONE, "pure"): 3,
    (IN_BULK, "pure"): 4,
    (BARE, "hand"): 3,
    (DRAINED, "hand"): 3,
    (BULK_BARE, "pure"): 1,
    (ONE_NAME, "pure"): 1,
}

pytestmark = pytest.mark.benchmark(timer=time.process_time)
everyone = pytest.mark.parametrize("who", list(MAKERS))
backends = [who for who in MAKERS if who != "hand"]
each_backend = pytest.mark.parametrize("who", backends)
quick_ones = pytest.mark.parametrize("who", [who for who in backends if who != "pure"] or backends)


@pytest.fixture(autouse=True, scope="module")
def memory() -> None:
    keep_memory(KEPT_MEGABYTES)


def timed(
    benchmark: BenchmarkFixture,
    workload: str,
    who: str,
    make: Callable[[], tuple[Any, ...]],
    work: Callable[..., Any],
    units: int = STEPS,
) -> None:
    """Times `work(*make())`; what it gives back is let go of after the clock has stopped."""
    kept: list[Any] = []

    def setup() -> tuple[tuple[Any, ...], dict[str, Any]]:
        kept.clear()
        args = make()
        settle()
        return args, {}

    benchmark.extra_info.update(workload=workload, who=who, units=units)
    benchmark.group = workload
    benchmark.pedantic(  # type: ignore[no-untyped-call]
        lambda *args: kept.append(work(*args)),
        setup=setup,
        rounds=OTHER_ROUNDS.get((workload, who), ROUNDS[who]),
        warmup_rounds=int(who != "pure" and units < MILLION),
    )


# --- steps --------------------------------------------------------------------------------------------------------


@everyone
def test_one_by_one(benchmark: BenchmarkFixture, who: str) -> None:
    execution = begun(who)
    one_by_one(execution, NAMES, OUTPUTS)
    check(execution, NAMES, OUTPUTS)
    check_records(execution.drain(), NAMES, OUTPUTS)
    timed(benchmark, ONE_BY_ONE, who, lambda: (begun(who), NAMES, OUTPUTS), one_by_one)


@everyone
def test_one_by_one_without_collector(benchmark: BenchmarkFixture, who: str) -> None:
    with no_collector():
        timed(benchmark, "one by one, collector off", who, lambda: (begun(who), NAMES, OUTPUTS), one_by_one)


@quick_ones
def test_one_by_one_views(benchmark: BenchmarkFixture, who: str) -> None:
    execution = begun(who)
    one_by_one_views(execution, NAMES, OUTPUTS)
    check(execution, NAMES, OUTPUTS)
    timed(benchmark, "one by one, by view", who, lambda: (begun(who), NAMES, OUTPUTS), one_by_one_views)


@everyone
def test_one_by_one_drained(benchmark: BenchmarkFixture, who: str) -> None:
    execution = begun(who)
    records = one_by_one_drained(execution, NAMES, OUTPUTS)
    check_records(records, NAMES, OUTPUTS)
    assert execution.drain() == []
    timed(benchmark, DRAINED, who, lambda: (begun(who), NAMES, OUTPUTS), one_by_one_drained)


@each_backend
def test_in_bulk(benchmark: BenchmarkFixture, who: str) -> None:
    execution = begun(who)
    in_bulk(execution, NAMES, OUTPUTS)
    check(execution, NAMES, OUTPUTS)
    timed(benchmark, IN_BULK, who, lambda: (begun(who), NAMES, OUTPUTS), in_bulk)


@quick_ones
def test_in_bulk_in_fresh_memory(benchmark: BenchmarkFixture, who: str) -> None:
    def make() -> tuple[Any, ...]:
        give_back()
        return begun(who), NAMES, OUTPUTS

    timed(benchmark, FRESH, who, make, in_bulk)


# --- a million steps without outputs ------------------------------------------------------------------------------


def test_one_by_one_bare(benchmark: BenchmarkFixture) -> None:
    execution = begun("hand")
    one_by_one_bare(execution, MANY)
    check(execution, MANY)
    timed(benchmark, BARE, "hand", lambda: (begun("hand"), MANY), one_by_one_bare, units=MILLION)


@each_backend
def test_in_bulk_bare(benchmark: BenchmarkFixture, who: str) -> None:
    execution = begun(who)
    in_bulk_bare(execution, MANY)
    check(execution, MANY)
    del execution
    timed(benchmark, BULK_BARE, who, lambda: (begun(who), MANY), in_bulk_bare, units=MILLION)


@each_backend
def test_in_bulk_of_one_name(benchmark: BenchmarkFixture, who: str) -> None:
    execution = begun(who)
    in_bulk_of_one_name(execution, MANY)
    check(execution, MANY[:1] * MILLION)
    del execution
    make = lambda: (begun(who), MANY)
    timed(benchmark, ONE_NAME, who, make, in_bulk_of_one_name, units=MILLION)


# --- a transition -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", [*backends, "hand", "empty"])
def test_pause_and_resume(benchmark: BenchmarkFixture, who: str) -> None:
    pairs = 50_000
    make: Callable[[], Any] = Nothing if who == "empty" else lambda: begun(who)
    execution = make()
    back_and_forth(execution, pairs)
    if who != "empty":
        assert str(execution.state) == "running"
        assert len(execution.drain()) >= 2 * pairs
    timed(benchmark, "pause or resume", who, lambda: (make(), pairs), back_and_forth, units=2 * pairs)


# --- what was recorded --------------------------------------------------------------------------------------------


@cache
def recorded(who: str, count: int = STEPS) -> tuple[Any, list[bytes]]:
    """An execution of so many steps, and its records: two a step, and the two that began it."""
    execution = begun(who)
    records = one_by_one_drained(execution, NAMES[:count], OUTPUTS[:count])
    return execution, [body for _, _, _, body in records]


REPLAYS = [("replay", who) for who in (*backends, "hand", "hand-unchained")]
REPLAYS += [(ONE_BUFFER, who) for who in backends]


@pytest.mark.parametrize(("workload", "who"), REPLAYS)
def test_replay(benchmark: BenchmarkFixture, workload: str, who: str) -> None:
    execution, bodies = recorded(backends[0], HALF)
    records = b"\n".join(bodies) if workload == ONE_BUFFER else bodies

    def replay() -> Any:
        if who in backends:
            return MAKERS[who].replay(execution.id, records)  # type: ignore[attr-defined]
        return handwritten.Execution.rebuild(TENANT, bodies, chained=who == "hand")

    again = replay()
    check(again, NAMES[:HALF], OUTPUTS[:HALF])
    assert again.id == execution.id
    assert [*again.steps] == [*execution.steps]
    timed(benchmark, workload, who, tuple, replay, units=len(bodies))


@everyone
def test_to_json(benchmark: BenchmarkFixture, who: str) -> None:
    execution, _ = recorded(who)
    again = MAKERS[who].from_json(execution.to_json())  # type: ignore[attr-defined]
    assert again.to_json() == execution.to_json()
    check(again, NAMES, OUTPUTS)
    timed(benchmark, "to_json", who, tuple, execution.to_json)


@everyone
def test_from_json(benchmark: BenchmarkFixture, who: str) -> None:
    execution, _ = recorded(who)
    data = execution.to_json()
    load = MAKERS[who].from_json  # type: ignore[attr-defined]
    assert load(data).to_json() == data
    timed(benchmark, "from_json", who, lambda: (data,), load)


@pytest.mark.parametrize("which", ["to_json", "from_json"])
def test_structs(benchmark: BenchmarkFixture, which: str) -> None:
    """The Structs hold what the execution holds, and their bytes are the same."""
    data = recorded(backends[0])[0].to_json()
    found = structs.decode(data)
    assert structs.encode(found) == data
    assert structs.decode(structs.encode(found)) == found
    assert [(step.name, step.output) for step in found.steps] == [*zip(NAMES, OUTPUTS, strict=True)]
    if which == "to_json":
        timed(benchmark, which, "msgspec", lambda: (found,), structs.encode)
    else:
        del found
        timed(benchmark, which, "msgspec", lambda: (data,), structs.decode)
