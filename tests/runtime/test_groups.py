"""Groups: scopes, `parallel` and `map`, what they give back, what they leave in the record, and how they fail."""

import asyncio
import functools
from collections.abc import Callable
from typing import Any

import pytest

import stepwell
from runtime.common import broken, calls, echo
from runtime.lives import Lives, killed_everywhere
from stepwell import Completion, ExecutionError, Kernel, blocking, blueprint, step
from stepwell.errors import PlaceError, ValidationError
from stepwell.store.memory import MemorySource


def record(source: MemorySource, which: Any, *args: Any) -> tuple[Any, dict[str, Any]]:
    """The outcome of an execution, and its steps by place."""

    async def main() -> Any:
        async with Kernel(source, tenant="acme") as kernel:
            handle = await kernel.start(which, *args, key="k")
            outcome = (await asyncio.gather(handle.result(), return_exceptions=True))[0]
            return outcome, {one.place: one for one in (await handle.execution()).steps.values()}

    outcome, steps = asyncio.run(main())
    return outcome, steps


def states(steps: dict[str, Any]) -> dict[str, str]:
    return {place: f"{one.name} {one.state}" for place, one in sorted(steps.items())}


# --- names and places ---------------------------------------------------------------------------------------------


async def pair(value: int) -> list[int]:
    first, second = await asyncio.gather(echo(value), echo(value + 1))
    return [first, second]


def doubled(value: int) -> int:
    return 2 * int(blocking.run_step(abs, value))


@blueprint(name="everything")
async def everything() -> list[Any]:
    return [
        await stepwell.scope(pair, 1),
        await stepwell.scope(doubled, 4, name="twice"),
        list(
            await stepwell.parallel(
                [echo, ("named", echo), ("line", lambda: pair(5)), functools.partial(pair, 7)]
            )
        ),
        list(await stepwell.map(pair, [1, 2], item_name=lambda item, at: f"{item} at {at}")),
        list(await stepwell.map(doubled, [3], name="own")),
        list(await stepwell.map(echo, ["a"], item_name=lambda item, at: f"{item}{at}")),
    ]


EVERYTHING = [[1, 2], 8, [None, None, [5, 6], [7, 8]], [[1, 2], [2, 3]], [6], ["a"]]


def test_each_kind_of_branch_has_its_name_and_place(source: MemorySource) -> None:
    outcome, steps = record(source, everything)
    assert outcome == EVERYTHING
    assert {place: one.name for place, one in steps.items() if "/" not in place} == {
        "0": "pair",
        "1": "twice",
        "2": "parallel",
        "3": "map",
        "4": "own",
        "5": "map",
    }
    assert [steps[f"2/{at}"].name for at in range(4)] == ["echo", "named", "line", "pair"]
    assert [steps["3/0"].name, steps["3/1"].name, steps["4/0"].name, steps["5/0"].name] == [
        "1 at 0",
        "2 at 1",
        "0",
        "a0",
    ]
    assert {steps[place].step_type for place in ("0", "2", "2/2", "4/0")} == {"scope"}
    assert {steps[place].step_type for place in ("2/0", "5/0")} == {"function"}
    for place, one in steps.items():
        inner = place.replace("~0/", "").replace("~1/", "")
        above = inner.rpartition("/")[0]
        assert one.parent_step_id == (steps[above].id if above else None), place
    assert {one.state for one in steps.values()} == {"completed"}


def test_an_ended_group_is_not_run_again(source: MemorySource) -> None:
    seen: list[str] = []

    async def body() -> str:
        seen.append("body")
        return await echo("inner")

    @blueprint(name="once")
    async def once() -> list[Any]:
        found = [await stepwell.scope(body), list(await stepwell.parallel([body, body], concurrency=1))]
        await echo("after")
        return found

    def check(lives: Lives, outcome: Any) -> None:
        assert outcome == ["returned", ["inner", ["inner", "inner"]]]

    async def main() -> None:
        async with Kernel(source, tenant="acme") as kernel:
            await kernel.run(once)
            (row,) = await kernel.list()
            execution = await (await kernel.get(row.id)).execution()
            last = next(one for one in execution.steps.values() if one.input == ["after"])
            handle = await kernel.fork(row.id, last.id)
            assert await handle.result() == ["inner", ["inner", "inner"]]

    asyncio.run(main())
    assert seen == ["body"] * 3
    assert calls == ["inner"] * 3 + ["after"] * 2
    assert killed_everywhere(Lives, once, check=check) > 8


@blueprint(name="in a def blueprint")
def in_a_thread() -> list[Any]:
    return [
        blocking.scope(pair, 1),
        blocking.scope(doubled, 4),
        list(blocking.parallel([lambda: echo(1), pair_of_one, ("two", lambda: pair(5))], concurrency=2)),
        list(blocking.map(doubled, [1, 2, 3])),
    ]


async def pair_of_one() -> list[int]:
    return await pair(1)


def test_groups_of_a_def_blueprint_killed_at_every_write() -> None:
    def check(lives: Lives, outcome: Any) -> None:
        assert outcome == ["returned", [[1, 2], 8, [1, [1, 2], [5, 6]], [2, 4, 6]]]

    assert killed_everywhere(Lives, in_a_thread, check=check) > 8


def test_outside_a_kernel_they_are_plain_calls() -> None:
    assert asyncio.run(everything()) == EVERYTHING
    assert list(blocking.parallel([lambda: 1, lambda: 2])) == [1, 2]
    with pytest.raises(LookupError):
        list(blocking.map(broken, ["x"]))
    batch = blocking.map(broken, ["x"], completion=Completion())
    assert (batch.failed, batch.state) == ([0], "failed")


# --- batches ------------------------------------------------------------------------------------------------------


@step(retry=stepwell.RetryPolicy.never())
async def work(item: str) -> str:
    """`-` fails, `.` waits for ever, everything else is returned; `<` in front waits a turn or two before."""
    calls.append(item)
    for _ in range(item.count("<")):
        for _ in range(20):
            await asyncio.sleep(0)
    if item.endswith("."):
        await asyncio.Event().wait()
    if item.endswith("-"):
        raise LookupError(item)
    return item


@blueprint(name="batch")
async def batched(items: str, concurrency: Any, completion: Any) -> Any:
    limit = None if completion is None else Completion(**completion)
    batch = await stepwell.map(work, items.split(), concurrency, limit)
    if len(batch) > batch.success_count:
        with pytest.raises((LookupError, ExecutionError)):
            list(batch)
    return {
        "succeeded": [at for at, _ in batch.succeeded],
        "failed": batch.failed,
        "counts": [len(batch), batch.total_count, batch.success_count, batch.failure_count],
        "state": batch.state,
        "reason": batch.completion_reason,
    }


def told(succeeded: list[int], failed: list[int], total: int, started: int, reason: str) -> dict[str, Any]:
    state = "failed" if failed else "completed"
    counts = [total, started, len(succeeded), len(failed)]
    return {"succeeded": succeeded, "failed": failed, "counts": counts, "state": state, "reason": reason}


ALL, ENOUGH, MANY = "all_completed", "min_successful_reached", "failure_tolerance_exceeded"


@pytest.mark.parametrize(
    ("items", "concurrency", "completion", "expected"),
    [
        ("", None, None, told([], [], 0, 0, ALL)),
        ("", 1, {"min_successful": 3}, told([], [], 0, 0, ALL)),
        ("a b c", None, None, told([0, 1, 2], [], 3, 3, ALL)),
        ("a b- c", 1, {}, told([0, 2], [1], 3, 3, ALL)),
        ("- - -", 1, {"min_successful": 1}, told([], [0, 1, 2], 3, 3, ALL)),
        ("- a b", 1, {"min_successful": 1}, told([1], [0], 3, 2, ENOUGH)),
        ("a . .", None, {"min_successful": 1}, told([0], [], 3, 3, ENOUGH)),
        ("a . b", 2, {"min_successful": 2}, told([0, 2], [], 3, 3, ENOUGH)),
        ("a- b c", 1, {"tolerated_failures": 1}, told([1, 2], [0], 3, 3, ALL)),
        ("a- b- c", 1, {"tolerated_failures": 1}, told([], [0, 1], 3, 2, MANY)),
        ("a b- c", 1, {"tolerated_failures": 0}, told([0], [1], 3, 2, MANY)),
        ("a- b- c d", 1, {"tolerated_failure_ratio": 0.5}, told([2, 3], [0, 1], 4, 4, ALL)),
        ("a- b- c- d", 1, {"tolerated_failure_ratio": 0.5}, told([], [0, 1, 2], 4, 3, MANY)),
        ("a- b c d", 1, {"tolerated_failure_ratio": 0}, told([], [0], 4, 1, MANY)),
        ("- -", 1, {"tolerated_failure_ratio": 1}, told([], [0, 1], 2, 2, ALL)),
        ("a- b c", 1, {"min_successful": 2, "tolerated_failures": 0}, told([], [0], 3, 1, MANY)),
    ],
)
def test_when_a_batch_is_done(
    items: str, concurrency: int | None, completion: Any, expected: Any, source: MemorySource
) -> None:
    outcome, steps = record(source, batched, items, concurrency, completion)
    assert outcome == expected
    total, started, *_ = expected["counts"]
    assert sum(place.startswith("0/") for place in steps) == started
    for at in range(total):
        state = "completed" if at in expected["succeeded"] else "failed" if at in expected["failed"] else None
        one = steps.get(f"0/{at}")
        assert (one.state if one is not None else None) == state or one.state == "cancelled"
    assert steps["0"].state == "completed"
    assert steps["0"].output == {"reason": expected["reason"]}


def test_without_completion_the_first_failure_ends_the_rest(source: MemorySource) -> None:
    error, steps = record(source, batched, "a . <- . e", 4, None)
    assert states(steps) == {
        "0": "map failed",
        "0/0": "work completed",
        "0/1": "work cancelled",
        "0/2": "work failed",
        "0/3": "work cancelled",
        "0/4": "work completed",
    }
    assert (error.category, error.code, error.message, error.exception_type) == (
        "tool",
        "not_found",
        "<-",
        "LookupError",
    )
    assert error.step_id == error.cause.step_id == steps["0/2"].id
    assert steps["0"].error == error


@pytest.mark.parametrize("bad", [0, -1, 1.5, "2", True])
def test_concurrency_is_a_whole_number(bad: Any) -> None:
    for make in (stepwell.map, blocking.map):
        with pytest.raises(ValidationError):
            make(echo, [1], concurrency=bad)
    with pytest.raises(ValidationError):
        stepwell.parallel([echo], concurrency=bad)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Completion(min_successful=0),
        lambda: Completion(tolerated_failures=-1),
        lambda: Completion(tolerated_failure_ratio=1.5),
        lambda: stepwell.map(echo, [1], completion={"min_successful": 1}),  # type: ignore[arg-type]
        lambda: stepwell.parallel([1]),  # type: ignore[list-item]
        lambda: stepwell.parallel([("name", 1)]),  # type: ignore[list-item]
        lambda: stepwell.scope("body"),  # type: ignore[arg-type]
        lambda: stepwell.map("body", [1]),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be_is_refused_at_once(make: Callable[[], Any]) -> None:
    with pytest.raises(ValidationError):
        make()


def test_concurrency_bounds_what_runs(source: MemorySource) -> None:
    running: list[int] = [0, 0]

    @step
    async def counted(item: int) -> int:
        running[0] += 1
        running[1] = max(running)
        await asyncio.sleep(0)
        running[0] -= 1
        return item

    @blueprint(name="bounded")
    async def bounded() -> list[int]:
        return list(await stepwell.map(counted, range(20), concurrency=3))

    outcome, _ = record(source, bounded)
    assert outcome == list(range(20))
    assert running == [0, 3]


def test_a_batch_is_a_sequence(source: MemorySource) -> None:
    kept: list[Any] = []

    @blueprint(name="sequence")
    async def sequence() -> None:
        kept.append(await stepwell.map(work, ["a", "b-", "c", "d"], 1, Completion(min_successful=2)))

    record(source, sequence)
    (batch,) = kept
    assert (len(batch), batch[0], batch[2], batch[-2]) == (4, "a", "c", "c")
    assert batch.succeeded == [(0, "a"), (2, "c")]
    assert batch[2:3] == ["c"]
    with pytest.raises(ExecutionError, match="b-"):
        batch[1]
    with pytest.raises(LookupError):
        batch[3]
    for outside in (4, -5):
        with pytest.raises(IndexError):
            batch[outside]
    with pytest.raises(ExecutionError, match="b-"):
        list(batch)
    with pytest.raises(ExecutionError, match="b-"):
        batch.raise_if_failed()
    assert list(batch.errors) == [1]
    assert batch.has_failure
    assert repr(batch) == "<Batch of 4: 2 succeeded, 1 failed, min_successful_reached>"


# --- errors -------------------------------------------------------------------------------------------------------


def test_the_error_of_a_group_is_the_inner_one(source: MemorySource) -> None:
    seen: list[Any] = []

    async def inner() -> None:
        await broken("deep")

    async def outer() -> None:
        await stepwell.parallel([("branch", inner)])

    async def raises() -> None:
        raise ExecutionError("llm", "rate_limit", "own", provider="p", http_status=429)

    @blueprint(name="errors")
    async def fails() -> None:
        for body in (outer, raises):
            try:
                await stepwell.scope(body)
            except ExecutionError as error:
                seen.append(error)

    _, steps = record(source, fails)
    deep, own = seen
    failed = next(one for one in steps.values() if one.name == "broken")
    chain = []
    error: Any = deep
    while error is not None:
        chain.append((error.category, error.code, error.message, error.step_id, error.exception_type))
        error = error.cause
    assert chain == [("tool", "not_found", "deep", failed.id, "LookupError")] * 4
    assert steps["0"].error == deep
    assert (own.category, own.code, own.message, own.provider, own.http_status) == (
        "llm",
        "rate_limit",
        "own",
        "p",
        429,
    )
    assert own.step_id == steps["1"].id
    cause: Any = deep
    while isinstance(cause, ExecutionError):
        cause = cause.__cause__
    assert isinstance(cause, LookupError)


def test_what_a_group_awaited_that_was_cancelled_is_its_failure() -> None:
    async def body() -> None:
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    @blueprint(name="cancelled inside")
    async def fails() -> str:
        try:
            await stepwell.scope(body)
        except ExecutionError as error:
            return await echo(error.message)
        return "unreachable"

    def check(lives: Lives, outcome: Any) -> None:
        assert outcome == ["returned", "the group awaited something that was cancelled"]

    killed_everywhere(Lives, fails, check=check)


# --- what is left behind ------------------------------------------------------------------------------------------


def test_what_a_group_leaves_behind_ends_with_it(source: MemorySource) -> None:
    kept: list[asyncio.Task[Any]] = []

    async def body() -> str:
        kept.append(asyncio.create_task(work(".")))
        kept.append(asyncio.create_task(stubborn()))
        await stepwell.callback("asked")
        return await echo("done")

    async def stubborn() -> None:
        try:
            await work("<.")
        except asyncio.CancelledError:
            await echo("too late")

    @blueprint(name="left behind")
    async def leaves() -> str:
        found = await stepwell.scope(body)
        await echo("after")
        await stepwell.sleep(0)
        return str(found)

    outcome, steps = record(source, leaves)
    assert outcome == "done"
    assert {one.name: one.state for one in steps.values() if one.place.startswith("0/")} == {
        "work": "cancelled",
        "asked": "cancelled",
        "echo": "completed",
    }
    assert "too late" not in calls


def test_branches_that_lost_start_nothing_more(source: MemorySource) -> None:
    async def slow() -> None:
        try:
            await work(".")
        finally:
            await echo("clean up")

    async def quick() -> str:
        return await work("<a")

    @blueprint(name="race")
    async def race() -> Any:
        batch = await stepwell.parallel([slow, quick, slow], completion=Completion(min_successful=1))
        await stepwell.sleep(0)
        return batch.succeeded

    outcome, steps = record(source, race)
    assert outcome == [(1, "<a")] or outcome == [[1, "<a"]]
    assert "clean up" not in calls
    assert states(steps)["0/0"] == "slow cancelled"
    assert all(one.state in ("completed", "cancelled") for one in steps.values())


def test_branches_that_the_blueprint_cancels_may_clean_up(source: MemorySource) -> None:
    async def slow() -> None:
        try:
            await work(".")
        finally:
            await echo("clean up")

    @blueprint(name="cancels")
    async def cancels() -> str:
        task = asyncio.create_task(stepwell.parallel([slow, slow]))
        await echo("begun")
        await echo("begun")
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            return await echo("gone on")
        return "unreachable"

    outcome, steps = record(source, cancels)
    assert outcome == "gone on"
    assert calls[-3:] == ["clean up", "clean up", "gone on"]
    assert states(steps)["0"] == "parallel cancelled"


def test_a_callback_of_a_blueprints_own_has_no_place_in_a_group(source: MemorySource) -> None:
    async def body() -> None:
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        loop.call_soon(lambda: done.set_exception(error_of(lambda: echo(1))))
        await done

    @blueprint(name="no place in a group")
    async def fails() -> None:
        await stepwell.parallel([body])

    error, _ = record(source, fails)
    assert error.exception_type == "PlaceError"


def error_of(work: Callable[[], Any]) -> Exception:
    try:
        work()
    except PlaceError as error:
        return error
    return AssertionError("it was not refused")
