"""The kernel beside the hand-written version: the same work on the same day.

Each benchmark checks the answer first. It is timed by rounds on fresh executions that are made, and thrown away,
outside of the timed part. `extra_info` says what was measured and how many units of it, for `ratios.py`. The clock is
the processor time of the process, so that others who use the machine count little; nothing here waits for anything.
"""

import time
from collections.abc import Callable
from typing import Any

import handwritten
import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from workload import (
    MAKERS,
    STEPS,
    TENANT,
    Nothing,
    back_and_forth,
    begun,
    check,
    check_records,
    in_bulk,
    names_of,
    no_collector,
    one_by_one,
    one_by_one_drained,
    one_by_one_views,
    outputs_of,
    settle,
)

NAMES, OUTPUTS = names_of(STEPS), outputs_of(STEPS)
ROUNDS = {"native": 12, "hand": 7, "pure": 3, "hand-unchained": 7, "empty": 12}
"""As many as make the smallest times stable. The pure backend takes longest: two where no target depends on it."""

GATED = "one by one"

pytestmark = pytest.mark.benchmark(timer=time.process_time)
everyone = pytest.mark.parametrize("who", list(MAKERS))
backends = [who for who in MAKERS if who != "hand"]


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
        rounds=2 if who == "pure" and workload != GATED else ROUNDS[who],
        warmup_rounds=int(who != "pure"),
    )


# --- steps --------------------------------------------------------------------------------------------------------


@everyone
def test_one_by_one(benchmark: BenchmarkFixture, who: str) -> None:
    execution = begun(who)
    one_by_one(execution, NAMES, OUTPUTS)
    check(execution, NAMES, OUTPUTS)
    check_records(execution.drain(), NAMES, OUTPUTS)
    timed(benchmark, GATED, who, lambda: (begun(who), NAMES, OUTPUTS), one_by_one)


@everyone
def test_one_by_one_without_collector(benchmark: BenchmarkFixture, who: str) -> None:
    with no_collector():
        timed(benchmark, "one by one, no gc", who, lambda: (begun(who), NAMES, OUTPUTS), one_by_one)


@pytest.mark.parametrize("who", [who for who in backends if who != "pure"] or backends)
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
    timed(benchmark, "one by one, drained", who, lambda: (begun(who), NAMES, OUTPUTS), one_by_one_drained)


@pytest.mark.parametrize("who", backends)
def test_in_bulk(benchmark: BenchmarkFixture, who: str) -> None:
    execution = begun(who)
    in_bulk(execution, NAMES, OUTPUTS)
    check(execution, NAMES, OUTPUTS)
    timed(benchmark, "in bulk", who, lambda: (begun(who), NAMES, OUTPUTS), in_bulk)


@pytest.mark.parametrize("who", [*backends, "hand", "empty"])
def test_pause_and_resume(benchmark: BenchmarkFixture, who: str) -> None:
    pairs = 50_000
    make: Callable[[], Any] = Nothing if who == "empty" else lambda: begun(who)
    execution = make()
    back_and_forth(execution, pairs)
    if who != "empty":
        assert str(execution.state) == "running"
        assert len(execution.drain()) >= 2 * pairs
    timed(benchmark, "transition", who, lambda: (make(), pairs), back_and_forth, units=2 * pairs)


# --- what was recorded --------------------------------------------------------------------------------------------


def recorded(who: str = backends[0]) -> tuple[Any, list[Any]]:
    """An execution of 50,000 steps: a hundred thousand single actions, and the one that began it."""
    execution = begun(who)
    half = STEPS // 2
    return execution, one_by_one_drained(execution, NAMES[:half], OUTPUTS[:half])


@pytest.mark.parametrize("who", [*backends, "hand", "hand-unchained"])
def test_replay(benchmark: BenchmarkFixture, who: str) -> None:
    execution, records = recorded()
    bodies = [body for _, _, _, body in records]

    def replay() -> Any:
        if who in MAKERS and who != "hand":
            return MAKERS[who].replay(execution.id, bodies)  # type: ignore[attr-defined]
        return handwritten.Execution.rebuild(TENANT, bodies, chained=who == "hand")

    again = replay()
    check(again, NAMES[: STEPS // 2], OUTPUTS[: STEPS // 2])
    assert again.id == execution.id
    assert [*again.steps] == [*execution.steps]
    timed(benchmark, "replay", who, tuple, replay, units=len(bodies))


@everyone
def test_to_json(benchmark: BenchmarkFixture, who: str) -> None:
    execution, _ = recorded(who)
    again = MAKERS[who].from_json(execution.to_json())  # type: ignore[attr-defined]
    assert again.to_json() == execution.to_json()
    check(again, NAMES[: STEPS // 2], OUTPUTS[: STEPS // 2])
    timed(benchmark, "to_json", who, tuple, execution.to_json, units=STEPS // 2)


@everyone
def test_from_json(benchmark: BenchmarkFixture, who: str) -> None:
    execution, _ = recorded(who)
    data = execution.to_json()
    load = MAKERS[who].from_json  # type: ignore[attr-defined]
    assert load(data).to_json() == data
    timed(benchmark, "from_json", who, lambda: (data,), load, units=STEPS // 2)
