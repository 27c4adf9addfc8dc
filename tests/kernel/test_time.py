"""Time: one direction within an execution, whatever the clock does, and the same after storage."""

import threading
import time
from datetime import UTC, datetime, timedelta, timezone

import pytest

from kernel.support import SECOND, START_NS, Ids, made_id, refused, running, seed
from stepwell import Action, EncodingError, ManualClock, ReplayError, ValidationError
from stepwell._pure import clock as pure_clock

START = datetime(2026, 1, 1, tzinfo=UTC)
ADVICE = "leave it out to take the clock's time"


class Jumping:
    """A clock that tells the given times, then the last one for ever."""

    def __init__(self, *seconds):
        self.times = [START_NS + int(second * SECOND) for second in seconds]

    def now_ns(self):
        return self.times.pop(0) if len(self.times) > 1 else self.times[0]


# --- the clock for tests ------------------------------------------------------------------------------------------


def test_a_manual_clock_stands_still_until_it_is_moved():
    clock = ManualClock()
    assert clock.now_ns() == clock.now_ns() == START_NS
    clock.advance("1h30m")
    clock.advance(0.5)
    clock.advance(timedelta(microseconds=1))
    assert clock.now_ns() == START_NS + 5400 * SECOND + 500_001_000
    assert repr(clock) == "ManualClock(2026-01-01T01:30:00.500001+00:00)"


@pytest.mark.parametrize(
    "start", [START, START_NS, START.astimezone(timezone(timedelta(hours=-5, minutes=-30)))]
)
def test_a_manual_clock_starts_at_a_datetime_or_at_nanoseconds(start):
    assert ManualClock(start).now_ns() == START_NS


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (datetime(2026, 1, 1), "start must be an aware datetime: give it a time zone, for example UTC"),  # noqa: DTZ001
        (-1, "start must be between the years 1970 and 2262"),
        (2**63, "start must be between the years 1970 and 2262"),
        (datetime(1969, 12, 31, tzinfo=UTC), "start must be between the years 1970 and 2262"),
        (1.5, "start must be an aware datetime or UTC nanoseconds, got float"),
        (True, "start must be an aware datetime or UTC nanoseconds, got bool"),
    ],
)
def test_a_manual_clock_refuses_other_starts(start, message):
    with refused(None, ValidationError, message):
        ManualClock(start)


def test_a_manual_clock_goes_as_far_as_64_bits():
    clock = ManualClock(2**63 - 1 - SECOND)
    clock.advance(1)
    with refused(None, ValidationError, "a clock goes as far as the year 2262"):
        clock.advance("1ms")
    with refused(None, ValidationError, "duration must not be negative"):
        clock.advance(-1)
    assert clock.now_ns() == 2**63 - 1


def test_watchers_of_a_manual_clock_are_called_after_each_move():
    clock, seen = ManualClock(), []
    unwatch = clock.watch(lambda: seen.append(clock.now_ns()))
    clock.advance(1)
    unwatch()
    unwatch()
    clock.advance(1)
    assert seen == [START_NS + SECOND]


# --- the system's clock -------------------------------------------------------------------------------------------


def test_the_system_clock_never_runs_backwards(backend):
    clock = backend.SystemClock()
    before = START_NS
    for _ in range(10_000):
        now = clock.now_ns()
        assert now >= before
        before = now
    assert repr(clock) == "SystemClock()"


def test_the_system_clock_is_monotonic_across_threads(backend):
    clock, barrier, broken = backend.SystemClock(), threading.Barrier(4), []
    shared = [0]
    lock = threading.Lock()

    def look():
        barrier.wait()
        for _ in range(2_000):
            with lock:
                now = clock.now_ns()
                if now < shared[0]:
                    broken.append((shared[0], now))
                shared[0] = now

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not broken


def test_a_system_clock_ignores_that_it_is_put_back(monkeypatch):
    """The native twin's cannot be put back here; what it does then is tried in Rust."""
    clock = pure_clock.SystemClock()
    before = clock.now_ns()
    monkeypatch.setattr("time.time_ns", lambda: before - 3600 * SECOND)
    assert clock.now_ns() >= before
    mono = time.monotonic_ns() + 5 * SECOND
    monkeypatch.setattr("time.monotonic_ns", lambda: mono)
    assert clock.now_ns() >= before + 5 * SECOND
    assert clock.now_ns() == clock.now_ns()


def test_the_anchor_ignores_jumps_back_and_follows_jumps_forward():
    """The arithmetic of the pure twin; the core has the same test in Rust."""
    anchor = pure_clock.Anchor(mono=100, wall=START_NS)
    assert anchor.utc(150) == START_NS + 50
    assert not anchor.due(100 + SECOND - 1)
    assert anchor.due(100 + SECOND)
    anchor.compare(100 + SECOND, START_NS - 3600 * SECOND)  # set back by an hour
    assert anchor.utc(100 + SECOND) == START_NS + SECOND
    anchor.compare(100 + 2 * SECOND, START_NS + 3 * SECOND)  # a second ahead is within tolerance
    assert anchor.utc(100 + 2 * SECOND) == START_NS + 2 * SECOND
    anchor.compare(100 + 3 * SECOND, START_NS + 3600 * SECOND)  # a suspend
    assert anchor.utc(100 + 3 * SECOND) == START_NS + 3600 * SECOND


def test_without_a_clock_the_time_is_that_of_the_process(backend):
    before = datetime.now(UTC) - timedelta(seconds=2)
    ex = backend.Execution()
    ex.start()
    after = datetime.now(UTC) + timedelta(seconds=2)
    assert before <= ex.created_at <= ex.started_at <= after
    assert ex.created_at.tzinfo is UTC
    assert ex.duration_ms >= 0


# --- times of an execution ----------------------------------------------------------------------------------------


def test_a_clock_that_jumps_back_does_not_take_the_execution_along(backend):
    ex = seed(backend, clock=Jumping(10, 20, 5, 30, -3600))
    ex.start()
    step = ex.start_step("a")
    ex.complete_step(step)
    ex.complete()
    times = [at for _, at, _, _ in ex.drain()]
    assert times == [START_NS + second * SECOND for second in (10, 20, 20, 30, 30)]
    assert (step.started_at, step.ended_at) == (START + timedelta(seconds=20), START + timedelta(seconds=30))
    assert (step.duration_ms, ex.duration_ms) == (10_000, 10_000)


def test_durations_so_far_do_not_run_backwards_either(backend):
    ex = running(backend, clock=Jumping(100, 100, 100, 100, 0))
    step, waiting = ex.start_step("a"), ex.schedule_step("b")
    assert (ex.duration_ms, step.duration_ms, waiting.queued_ms) == (0, 0, 0)


def test_a_time_before_the_last_action_is_refused(backend):
    ex = running(backend)
    ex.apply(Action("pause", at_ns=START_NS + 10))
    message = f"at_ns {START_NS + 9} is before the last action at {START_NS + 10}; {ADVICE}"
    with refused(ex, ValidationError, message):
        ex.apply(Action("resume", at_ns=START_NS + 9))
    with refused(ex, ValidationError, message) as caught:
        ex.apply_many([Action("resume"), Action("pause", at_ns=START_NS + 9)])
    assert caught.value.index == 1
    ex.apply(Action("resume", at_ns=START_NS + 10))
    ex.apply(Action("pause", at_ns=START_NS + 1000))
    ex.resume()  # the clock is behind by now
    assert [at - START_NS for _, at, _, _ in ex.drain()] == [0, 0, 10, 10, 1000, 1000]


def test_an_execution_goes_on_from_its_last_time_in_another_process(backend):
    """Replayed under a clock that is an hour behind."""
    clock = ManualClock(START_NS)
    ex = running(backend, clock=clock)
    clock.advance(60)
    step = ex.start_step("a")
    behind = ManualClock(START_NS - 3600 * SECOND)
    for other in (
        backend.Execution.replay(ex.id, ex.drain(), clock=behind),
        backend.Execution.from_json(ex.to_json(), clock=behind),
    ):
        other.complete_step(step.id)
        other.complete()
        assert other.ended_at == START + timedelta(seconds=60)
        assert other.get_step(step.id).duration_ms == 0


@pytest.mark.parametrize("way", ["replay", "to_json", "copy"])
def test_times_survive_storage(backend, way):
    clock = ManualClock(START_NS + 123_456_789)
    ex = seed(backend, clock=clock)
    clock.advance("1ms")
    ex.plan()
    clock.advance("1s")
    first = ex.schedule_step("a")
    clock.advance("1s")
    ex.start_step(step_id=first)
    clock.advance("1s")
    ex.retry_step(first, "e", retry_at=START_NS + 50 * SECOND + 7)
    clock.advance("1s")
    ex.start()
    second = ex.schedule_step("b")
    clock.advance("1s")
    ex.skip_step(second)
    waiting = ex.schedule_step("c")
    ex.retry_step(ex.start_step("d"), "e", retry_at=START_NS + SECOND)
    clock.advance("1s")
    ended = ex.start_step(step_id=waiting)
    clock.advance("1s")
    ex.complete_step(ended)
    other = {
        "replay": lambda: backend.Execution.replay(ex.id, ex.drain(), clock=clock),
        "to_json": lambda: backend.Execution.from_json(ex.to_json(), clock=clock),
        "copy": ex.__copy__,
    }[way]()
    assert other == ex
    for name in ("created_at", "started_at", "ended_at", "duration_ms"):
        assert getattr(other, name) == getattr(ex, name)
    for step in ex.steps.values():
        twin = other.get_step(step.id)
        for name in (
            "scheduled_at", "started_at", "ended_at", "retry_at", "queued_ms", "duration_ms", "attempts", "attempt",
        ):  # fmt: skip
            assert getattr(twin, name) == getattr(step, name), (step.name, name)
    other.fail("e")
    ex.fail("e")
    assert other == ex
    assert ex.ended_at == START + timedelta(seconds=7, microseconds=124_456)


def test_retry_at_keeps_its_nanoseconds(backend):
    ex = running(backend)
    step = ex.start_step("a")
    ex.retry_step(step, "e", retry_at=START_NS + 1)
    assert b'"retry_at":%d}' % (START_NS + 1) in ex.drain()[-1][3]
    assert step.retry_at == START


def test_durations(backend):
    clock = ManualClock()
    ex = seed(backend, clock=clock)
    clock.advance(1)
    assert ex.duration_ms is None
    ex.plan()
    clock.advance("1500ms")
    assert ex.duration_ms == 1500.0
    ex.start()
    clock.advance("250ms")
    assert ex.duration_ms == 1750.0  # planning counts
    ex.complete()
    clock.advance(10)
    assert ex.duration_ms == 1750.0
    cancelled = seed(backend)
    cancelled.cancel()
    assert (cancelled.started_at, cancelled.duration_ms) == (None, None)
    assert cancelled.ended_at == START


@pytest.mark.parametrize(
    ("retry_at", "message"),
    [
        (datetime(2026, 1, 1), "retry_at must be an aware datetime: give it a time zone, for example UTC"),  # noqa: DTZ001
        (1.5, "retry_at must be an aware datetime or UTC nanoseconds, got float"),
        ("tomorrow", "retry_at must be an aware datetime or UTC nanoseconds, got str"),
        (True, "retry_at must be an aware datetime or UTC nanoseconds, got bool"),
        (-1, "retry_at must be between the years 1970 and 2262"),
        (2**63, "retry_at must be between the years 1970 and 2262"),
        (datetime(2263, 1, 1, tzinfo=UTC), "retry_at must be between the years 1970 and 2262"),
        (
            datetime.max.replace(tzinfo=timezone(timedelta(hours=-12))),
            "retry_at must be between the years 1970 and 2262",
        ),
        (
            datetime.min.replace(tzinfo=timezone(timedelta(hours=12))),
            "retry_at must be between the years 1970 and 2262",
        ),
    ],
)
def test_a_retry_is_due_at_an_aware_datetime(backend, retry_at, message):
    ex = running(backend)
    step = ex.start_step("a")
    with refused(ex, ValidationError, message):
        ex.retry_step(step, "e", retry_at=retry_at)
    with refused(ex, ValidationError, message):
        ex.apply(Action("step_retrying", step_id=step.id, error="e", retry_at=retry_at))


def test_a_naive_datetime_in_a_payload_is_refused(backend):
    ex = running(backend)
    reason = "datetime without a time zone is ambiguous; attach one, for example datetime.UTC"
    with refused(ex, EncodingError, f"cannot encode the value at $.when: {reason}") as caught:
        ex.start_step("a", input={"when": datetime(2026, 1, 1)})  # noqa: DTZ001
    assert caught.value.path == "$.when"
    ex.complete(datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=2))))
    assert ex.output == "2026-01-01T12:00:00+02:00"


@pytest.mark.parametrize(
    ("told", "message"),
    [
        (None, "the time of a clock must be a whole number, got NoneType"),
        (1.5, "the time of a clock must be a whole number, got float"),
        (True, "the time of a clock must be a whole number, got bool"),
        (-1, "the time of a clock must fit 64 bits with sign"),
        (2**63, "the time of a clock must fit 64 bits with sign"),
    ],
)
def test_a_clock_that_tells_no_time_is_refused(backend, told, message):
    class Broken:
        now = START_NS

        def now_ns(self):
            return self.now

    clock = Broken()
    ex = running(backend, clock=clock)
    clock.now = told
    with refused(ex, ValidationError, message):
        ex.complete()
    with refused(ex, ValidationError, message):
        ex.apply_many([Action("pause")])
    with refused(None, ValidationError, message):
        seed(backend, clock=clock)


def test_what_a_clock_raises_comes_through_and_changes_nothing(backend):
    class Broken:
        broken = False

        def now_ns(self):
            if self.broken:
                raise OSError("no time")
            return START_NS

    clock = Broken()
    ex = running(backend, clock=clock)
    clock.broken = True
    with refused(ex, OSError, "no time"):
        ex.start_steps("a", count=2)
    assert seed(backend, ids=Ids()).id == made_id(1, "exec")


def test_a_journal_whose_times_run_backwards_is_refused(backend):
    ex = running(backend)
    ex.apply(Action("pause", at_ns=START_NS + 5))
    records = ex.drain()
    earlier = records[2][3].replace(b'"at":%d' % (START_NS + 5), b'"at":%d' % (START_NS - 5))
    message = f"record 2: at_ns {START_NS - 5} is before the last action at {START_NS}; {ADVICE}"
    with refused(None, ReplayError, message):
        backend.Execution.replay(ex.id, [records[0], records[1], earlier])
