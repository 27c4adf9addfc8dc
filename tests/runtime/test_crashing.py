"""`crash_everywhere`: what survives passes, and what does not is found and told."""

import asyncio
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import stepwell
from runtime.common import calls, echo
from stepwell import (
    Completion,
    ExecutionError,
    ManualClock,
    RetryPolicy,
    blocking,
    blueprint,
    step,
)
from stepwell.errors import ValidationError
from stepwell.runtime import diverging
from stepwell.store.sqlite import SqliteSource
from stepwell.testing import (
    SILENCE,
    Crash,
    CrashReport,
    Pending,
    crash_everywhere,
    crash_everywhere_async,
)

effects: Counter[str] = Counter()


@pytest.fixture(autouse=True)
def no_effects() -> None:
    effects.clear()


@step(retry=RetryPolicy.attempts(3, base_delay_ms=5000))
async def unreliable(name: str) -> str:
    effects[name] += 1
    if stepwell.current_step().attempt == 1:
        raise ConnectionError(name)
    return name


@step(effect="once")
async def charge(cents: int) -> int:
    effects["charge"] += 1
    return cents


@step
def add(left: int, right: int) -> int:
    return left + right


def wrong(which: Any, *args: Any, **options: Any) -> str:
    with pytest.raises(AssertionError) as raised:
        crash_everywhere(which, *args, **options)
    told = str(raised.value)
    assert told.startswith(f"{which.name} does not survive everywhere:\n- ")
    return told


# --- what survives ------------------------------------------------------------------------------------------------


@blueprint(name="crash: plain")
async def plain(start: int, *, more: int = 0) -> list[Any]:
    return [await echo(start), await add(start, more), await unreliable("a")]  # type: ignore[misc]


def test_the_report_says_what_was_done() -> None:
    report = crash_everywhere(plain, 1, kwargs={"more": 2})
    assert report.result == [1, 3, "a"]
    assert report.error is None
    assert report.not_compared == ()
    assert report.writes[0].startswith("create (created, start")
    assert any("step_completed" in write and "append" in write for write in report.writes)
    assert any(write == "claim" for write in report.writes), "it left memory and was taken up again"
    assert {crash.done for crash in report.crashes} == {False, True}
    assert [crash.write for crash in report.crashes if not crash.done] == list(range(len(report.writes)))
    assert all(crash.result == [1, 3, "a"] and crash.error is None for crash in report.crashes)
    assert str(report.crashes[0]) == f"killed before write 0, {report.writes[0]}"
    assert f"{len(report.crashes)} crashes" in str(report)


@blueprint(name="crash: waits")
async def waits() -> Any:
    async def both() -> Any:
        answer = await stepwell.callback("answer", timeout="2h")
        await stepwell.sleep("1h")
        return await answer.result()

    first, second = await asyncio.gather(both(), stepwell.wait_for("approval", timeout="24h"))
    try:
        await stepwell.wait_for("never", timeout="3d")
    except ExecutionError as error:
        return [first, second, error.code, stepwell.now().isoformat()]


@blueprint(name="crash: waits, blocking")
def waits_blocking() -> Any:
    answer = blocking.callback("answer")
    blocking.sleep("1h")
    return [answer.result(), blocking.wait_for("approval"), stepwell.now().isoformat()]


def test_time_goes_on_and_answers_come() -> None:
    asked: list[Pending] = []

    def respond(pending: Pending) -> Any:
        asked.append(pending)
        return SILENCE if pending.name == "never" else {"to": pending.name}

    report = crash_everywhere(waits, respond=respond)
    assert report.result == [
        {"to": "answer"},
        {"to": "approval"},
        "wait_timeout",
        "2026-01-04T01:00:00+00:00",
    ]
    assert {(each.kind, each.name) for each in asked} == {
        ("callback", "answer"),
        ("signal", "approval"),
        ("signal", "never"),
    }
    assert {each.blueprint for each in asked} == {"crash: waits"}
    assert any(write == "deliver" for write in report.writes)


def test_a_mapping_answers_too_and_an_exception_fails_a_callback() -> None:
    report = crash_everywhere(waits_blocking, respond={"answer": 1, "approval": None})
    assert report.result == [1, None, "2026-01-01T01:00:00+00:00"]
    report = crash_everywhere(waits_blocking, respond={"answer": LookupError("none"), "approval": None})
    assert isinstance(report.error, ExecutionError)
    assert report.error.message == "none"
    assert all(str(crash.error) == str(report.error) for crash in report.crashes)


def test_a_step_with_effect_once_is_settled_and_runs_once() -> None:
    @blueprint(name="crash: once")
    async def work() -> Any:
        return [await echo(1), await charge(5), await echo(2)]

    def check(crash: Crash) -> None:
        assert effects == {"charge": 1}, crash
        effects.clear()

    report = crash_everywhere(work, check=check)
    assert report.result == [1, 5, 2]


def test_one_that_fails_once_fails_everywhere() -> None:
    @step(effect="once", retry=RetryPolicy.never())
    async def refused() -> None:
        raise LookupError("no such card")

    @blueprint(name="crash: once and failing")
    async def work() -> None:
        await refused()

    report = crash_everywhere(work)
    assert isinstance(report.error, ExecutionError)
    assert {crash.error.message for crash in report.crashes if isinstance(crash.error, ExecutionError)} == {
        "no such card"
    }


@blueprint(name="crash: small")
async def small(value: int) -> Any:
    await stepwell.sleep("1m")
    return await echo(value)


async def small_scope() -> Any:
    return await echo("scope")


@blueprint(name="crash: many")
async def many(left: int) -> int:
    await echo(left)
    if left:
        stepwell.continue_as_new(left - 1)
    return left


def test_groups_and_children() -> None:
    @blueprint(name="crash: groups")
    async def work() -> Any:
        found = await stepwell.map(echo, [1, 2, 3], concurrency=2)
        await stepwell.scope(small_scope)
        return [*found, await stepwell.child(small, 4), stepwell.random() < 1]

    report = crash_everywhere(work)
    assert report.result == [1, 2, 3, 4, True]
    assert report.not_compared == ("crash: groups, output at place 3",)


def test_a_batch_that_is_done_before_all_of_it_is() -> None:
    @step
    async def endless() -> None:
        await asyncio.Event().wait()

    @blueprint(name="crash: race")
    async def work() -> Any:
        batch = await stepwell.parallel(
            [endless, ("quick", small_scope)], completion=Completion(min_successful=1)
        )
        return batch[1]

    assert crash_everywhere(work).result == "scope"


async def pause(seconds: int) -> int:
    await stepwell.sleep(seconds)
    return seconds


def test_a_batch_that_is_decided_by_its_record_counts_what_was_begun_before() -> None:
    @blueprint(name="crash: decided")
    async def work() -> Any:
        batch = await stepwell.map(pause, [0, 60, 60], completion=Completion(min_successful=1))
        return [batch.total_count, batch.completion_reason, batch.succeeded == [(0, 0)]]

    assert crash_everywhere(work).result == [3, "min_successful_reached", True]


def test_one_that_goes_on_as_new() -> None:
    assert crash_everywhere(many, 2).result == 0


def test_another_store_durability_and_hooks(tmp_path: Path) -> None:
    made: list[Path] = []

    def store() -> SqliteSource:
        made.append(tmp_path / f"{len(made)}.db")
        return SqliteSource(made[-1])

    ended: list[str] = []

    class Hook:
        def execution_ended(self, execution: Any) -> None:
            ended.append(str(execution.state))

    @blueprint(name="crash: two")
    async def work() -> Any:
        return [await echo(1), await echo(2)]

    report = crash_everywhere(work, store=store, durability="process", hooks=[Hook()])
    assert report.result == [1, 2]
    assert len(made) == len(report.crashes) + 4, "undisturbed twice, and once more for each end"
    assert 0 < len(ended) <= len(made)


def test_it_may_be_called_while_a_loop_runs() -> None:
    @blueprint(name="crash: one")
    async def work() -> Any:
        return await echo(threading.current_thread() is threading.main_thread())

    async def main() -> tuple[CrashReport, CrashReport]:
        assert crash_everywhere(work).result is False
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        counting = asyncio.create_task(count())
        report = await crash_everywhere_async(work)
        counting.cancel()
        assert turns > 10, "the loop went on"
        return report, await crash_everywhere_async(plain, 1, kwargs={"more": 1})

    one, other = asyncio.run(main())
    assert (one.result, other.result) == (False, [1, 2, "a"])
    assert crash_everywhere(work).result is True


def test_the_manual_clock_is_the_public_one() -> None:
    assert stepwell.testing.ManualClock is ManualClock


# --- what does not ------------------------------------------------------------------------------------------------


def test_what_depends_on_nothing_recorded_is_found() -> None:
    numbers = iter(range(10**6))

    @blueprint(name="crash: not recorded")
    async def work() -> Any:
        return [next(numbers), await echo(1)]

    told = wrong(work)
    assert "undisturbed: crash: not recorded: on replay the code returns [" in told
    assert "it depends on something that is not recorded" in told


def test_code_that_calls_other_steps_after_a_crash_is_found() -> None:
    class Deploy:
        """A new version with each restart."""

        restarted = False

        def execution_started(self, execution: Any, replay: bool) -> None:
            self.restarted = replay

    deploy = Deploy()

    @blueprint(name="crash: other steps")
    async def work() -> Any:
        return await (echo(2) if deploy.restarted else echo(1))

    told = wrong(work, hooks=[deploy])
    assert "DivergenceError: step 'echo' at place 0 is called with another input than recorded" in told


def test_an_end_that_a_crash_changes_is_found() -> None:
    @step
    async def remembers() -> str:
        if effects["begun"]:
            raise LookupError("done already")
        effects["begun"] += 1
        return "done"

    @blueprint(name="crash: not idempotent")
    async def work() -> Any:
        return await remembers()

    told = wrong(work, check=lambda _: effects.clear())
    assert "crash: not idempotent: its state is failed, undisturbed completed" in told
    assert "the state at place 0 is failed, undisturbed completed" in told


def test_a_runtime_that_runs_recorded_steps_again_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    index = diverging.index

    def forgetful(run: Any) -> None:
        if run.rehearses:
            index(run)

    monkeypatch.setattr("stepwell.runtime.diverging.index", forgetful)

    @blueprint(name="crash: forgotten")
    async def work() -> Any:
        return [await echo(1), await echo(2)]

    assert (
        "step 'echo' at place 0 of crash: forgotten ran again, though its completion was recorded"
        in wrong(work)
    )


def test_a_runtime_that_does_once_twice_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    async def no_doubt(run: Any, step: Any, spec: Any) -> None:
        if step.state == "running":
            run.execution.retry_step(step, ExecutionError("tool", "interrupted", "so what"))

    monkeypatch.setattr("stepwell.runtime.performing._take_up", no_doubt)

    @step(effect="once")
    async def slow() -> int:
        for _ in range(50):
            await asyncio.sleep(0)
        return 1

    @blueprint(name="crash: once twice")
    async def work() -> Any:
        return await asyncio.gather(slow(), echo(1))

    told = wrong(work)
    assert "step 'slow' at place 0 of crash: once twice ran twice, and has effect once" in told


def test_nobody_answers() -> None:
    @blueprint(name="crash: no answer")
    async def work() -> Any:
        return await stepwell.wait_for("approval")

    told = wrong(work, seconds=1)
    assert "nobody answers: crash: no answer is waiting with wait 'approval'" in told


def test_one_that_does_not_end() -> None:
    @blueprint(name="crash: no end")
    async def work() -> Any:
        await echo(1)
        await asyncio.Event().wait()

    told = wrong(work, seconds=0.3)
    assert "nothing came to an end in 0.3 s: crash: no end is running with no open step" in told


def test_a_check_that_fails_says_at_which_crash() -> None:
    def check(crash: Crash) -> None:
        if crash.write == 1 and crash.done:
            raise LookupError("mine")

    with pytest.raises(LookupError, match="mine") as raised:
        crash_everywhere(plain, 1, check=check)
    (note,) = raised.value.__notes__
    assert note.startswith("crash_everywhere: killed after write 1, ")


def test_what_is_no_blueprint() -> None:
    with pytest.raises(ValidationError, match="expected a function with @blueprint, got function"):
        crash_everywhere(echo)  # type: ignore[arg-type]
    assert calls == []
