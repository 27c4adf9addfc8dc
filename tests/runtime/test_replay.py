"""A replay runs no step, writes nothing, and finds what a kernel would find."""

import asyncio
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import stepwell
from runtime.common import QUICK, broken, calls, echo
from stepwell import (
    Completion,
    DivergenceError,
    Execution,
    ExecutionError,
    Kernel,
    SchemaMismatch,
    blocking,
    blueprint,
    run_step,
    step,
)
from stepwell.errors import ValidationError
from stepwell.runtime import Blueprint
from stepwell.store import StoreSource
from stepwell.store.memory import MemorySource
from stepwell.store.sqlite import SqliteSource
from stepwell.testing import Replayed, replay, replay_async


@pytest.fixture(params=["memory", "sqlite"])
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> StoreSource:
    return MemorySource() if request.param == "memory" else SqliteSource(tmp_path / "runs.db")


def record(
    which: Any, *args: Any, stores: StoreSource | None = None, until: str | None = None, **options: Any
) -> Execution:
    """The record of an execution that ended, or that came to this state."""

    async def main() -> Execution:
        async with Kernel(stores or MemorySource(), tenant="acme", **options) as kernel:
            handle = await kernel.start(which, *args)
            if until is None:
                try:
                    await handle.result()
                except ExecutionError:
                    pass
            else:
                while (await handle.execution()).state != until:
                    await asyncio.sleep(0)
            return await handle.execution()

    found = asyncio.run(main())
    calls.clear()
    return found


def is_read_only(execution: Execution, which: Any = None, **options: Any) -> Replayed:
    before, pending = execution.to_json(), len(execution.drain())
    found = replay(execution, which, **options)
    assert calls == [], "a step ran"
    assert execution.to_json() == before
    assert pending == len(execution.drain()) == 0
    return found


def breaks(execution: Execution, which: Any, match: str) -> DivergenceError:
    with pytest.raises(DivergenceError, match=match) as raised:
        replay(execution, which)
    assert calls == []
    assert "paused" not in str(raised.value), "it says what a replay does"
    return raised.value


async def inside(value: int) -> Any:
    return await echo(value)


async def fails_inside() -> None:
    await broken("in a scope")


def finds(state: int) -> tuple[bool, int]:
    return state > 1, state + 1


@step(retry=QUICK)
async def second_time() -> str:
    if stepwell.current_step().attempt == 1:
        raise ConnectionError
    return "there"


@blueprint(name="replay of a child")
async def small(value: int) -> Any:
    return await echo(value)


@blueprint(name="replay of all kinds")
async def kinds(value: int) -> list[Any]:
    found = [await echo(value), stepwell.now().year > 2000, stepwell.random() < 1, str(stepwell.uuid()) > ""]
    if stepwell.patched("a way"):
        found.append(await stepwell.checkpoint({"way": "new"}))
    found.append(await stepwell.scope(inside, 2))
    for failing in (fails_inside, lambda: broken("no")):
        try:
            await (stepwell.scope(failing) if failing is fails_inside else failing())
        except ExecutionError as error:
            found.append(error.message)
    found += await asyncio.gather(echo(3), inside(4))
    found += [*await stepwell.map(inside, [5, 6]), *await stepwell.map(echo, [7])]
    some = await stepwell.parallel(
        [fails_inside, ("named", functools.partial(inside, 8))], completion=Completion()
    )
    found += [some[1], some.failed]
    await stepwell.sleep("1ms")
    found.append(await stepwell.wait_until(finds, 0, every="1ms"))
    found += [await second_time(), await stepwell.child(small, 9)]
    late = asyncio.create_task(asyncio.Event().wait())
    try:
        await asyncio.wait_for(asyncio.shield(late), 0.001)
    except TimeoutError:
        found.append("in time")
    late.cancel()
    return found


def finish() -> Any:
    return echo(2)


@blueprint(name="replay of all kinds, blocking")
def kinds_blocking(value: int) -> list[Any]:
    found = [echo(value), stepwell.now().year > 2000, stepwell.patched("a way"), blocking.checkpoint([1])]
    found.append(blocking.scope(finish))
    try:
        broken("no")
    except ExecutionError as error:
        found.append(error.message)
    found += blocking.parallel([finish, ("named", finish)])
    blocking.sleep("1ms")
    return [*found, blocking.wait_until(finds, 0, every="1ms"), blocking.child(small, 9)]


@pytest.mark.parametrize("which", [kinds, kinds_blocking], ids=["async", "def"])
def test_a_finished_execution_replays_to_its_result(stores: StoreSource, which: Any) -> None:
    execution = record(which, 1, stores=stores)
    assert execution.state == "completed", execution.error
    found = is_read_only(execution)
    assert found.state == "completed"
    assert found.output == execution.output
    assert found.waits == ()
    assert replay(Execution.from_json(execution.to_json())) == found, "without a store, too"


def test_a_result_is_of_its_blueprints_type() -> None:
    @blueprint(name="replay of a set")
    async def work() -> set[int]:
        await echo(1)
        return {1, 2}

    assert replay(record(work)).output == {1, 2}


def test_a_failed_execution_replays_to_its_error() -> None:
    @blueprint(name="replay of the failed")
    async def work() -> None:
        await broken("so it is")

    execution = record(work)
    error = is_read_only(execution).error
    assert error is not None
    assert error.message == "so it is"

    @blueprint(name="replay of the failed")
    async def mended() -> int:
        try:
            await broken("so it is")
        except ExecutionError:
            return 1

    breaks(execution, mended, "the record ends with the execution as failed, and the code returns")


# --- where it waits -----------------------------------------------------------------------------------------------


async def beside() -> None:
    await stepwell.sleep("1h", name="pause")


async def in_a_scope() -> Any:
    return await stepwell.wait_for("approval", timeout="24h")


@blueprint(name="replay of waits")
async def waits() -> Any:
    await echo(1)
    answer = await stepwell.callback("answer")
    task = asyncio.create_task(beside())
    await stepwell.scope(in_a_scope)
    await task
    return await answer.result()


@blueprint(name="replay of waits, blocking")
def waits_blocking() -> Any:
    echo(1)
    answer = blocking.callback("answer")
    return answer.result()


def test_it_says_where_code_waits(stores: StoreSource) -> None:
    found = is_read_only(record(waits, stores=stores, until="waiting"))
    assert found[:3] == ("waiting", None, None)
    told = {(wait.name, wait.type, wait.place) for wait in found.waits}
    assert told == {("pause", "wait", "~0/0"), ("approval", "wait", "2/0")}
    assert all(wait.step_id is not None and "test_replay.py:" in wait.source for wait in found.waits)
    assert "waits in wait 'approval' at place 2/0 (" in " ".join(map(str, found.waits))


def test_it_says_where_a_def_blueprint_waits() -> None:
    (wait,) = is_read_only(record(waits_blocking, until="waiting")).waits
    assert (wait.name, wait.place) == ("answer", "1")


def test_it_says_what_would_begin() -> None:
    execution = record(waits, until="waiting")

    @blueprint(name="replay of waits")
    async def more() -> None:
        await echo(1)
        await stepwell.callback("answer")
        asyncio.create_task(beside())  # noqa: RUF006
        other = asyncio.create_task(inside(7))
        await stepwell.scope(in_a_scope)
        await other

    told = {(wait.name, wait.step_id is None) for wait in is_read_only(execution, more).waits}
    assert told == {("pause", False), ("approval", False), ("echo", True)}
    assert any(str(wait).startswith("begins function 'echo'") for wait in replay(execution, more).waits)


def test_one_that_has_not_begun() -> None:
    async def main() -> Execution:
        async with Kernel("memory", tenant="acme") as kernel:
            return await (await kernel.start(small, 1, at="1h")).execution()

    (wait,) = is_read_only(asyncio.run(main())).waits
    assert (wait.name, wait.step_id) == ("echo", None)


def test_a_cancelled_execution_replays_through_its_cleaning_up(stores: StoreSource) -> None:
    @blueprint(name="replay of the cancelled")
    async def work(name: str = "cleaned") -> None:
        try:
            await stepwell.wait_for("never")
        finally:
            await echo(name)

    async def main() -> Execution:
        async with Kernel(stores, tenant="acme") as kernel:
            handle = await kernel.start(work)
            while (await handle.execution()).state != "waiting":
                await asyncio.sleep(0)
            await handle.cancel("enough")
            with pytest.raises(ExecutionError):
                await handle.result()
            return await handle.execution()

    execution = asyncio.run(main())
    calls.clear()
    assert is_read_only(execution).state == "cancelled"
    assert [each.state for each in execution.steps.values()] == ["cancelled", "completed"]

    @blueprint(name="replay of the cancelled")
    async def other(name: str = "cleaned") -> None:
        try:
            await stepwell.wait_for("never")
        finally:
            await run_step(print, "swept")

    breaks(execution, other, "the record has step 'echo', and the code calls 'print'")


def test_a_cancelled_def_blueprint_replays_through_its_cleaning_up() -> None:
    @blueprint(name="replay of the cancelled, blocking")
    def work() -> None:
        try:
            blocking.wait_for("never")
        finally:
            echo("cleaned")

    async def main() -> Execution:
        async with Kernel("memory", tenant="acme") as kernel:
            handle = await kernel.start(work)
            while (await handle.execution()).state != "waiting":
                await asyncio.sleep(0)
            await handle.cancel()
            with pytest.raises(ExecutionError):
                await handle.result()
            return await handle.execution()

    execution = asyncio.run(main())
    assert [each.state for each in execution.steps.values()] == ["cancelled", "completed"]
    calls.clear()
    assert is_read_only(execution).state == "cancelled"

    @blueprint(name="replay of the cancelled, blocking")
    def other() -> None:
        try:
            blocking.wait_for("never")
        finally:
            blocking.run_step(print, "swept")

    breaks(execution, other, "the record has step 'echo', and the code calls 'print'")


# --- breaks -------------------------------------------------------------------------------------------------------


@blueprint(name="replay of three")
async def three() -> list[Any]:
    return [await echo(1), await echo(2), await stepwell.scope(inside, 3)]


@blueprint(name="replay of three")
async def renamed() -> Any:
    await echo(1)
    return await second_time()


@blueprint(name="replay of three")
async def other_input() -> Any:
    return [await echo(1), await echo(5)]


@blueprint(name="replay of three")
async def shorter() -> Any:
    return [await echo(1), await echo(2)]


@blueprint(name="replay of three")
async def longer() -> Any:
    return [*await three.fn(), await echo(4)]


@blueprint(name="replay of three")
async def failing() -> Any:
    await three.fn()
    raise LookupError("new")


@blueprint(name="replay of three")
async def elsewhere() -> Any:
    await three.fn()
    await asyncio.Event().wait()


@blueprint(name="replay of three")
def in_a_thread() -> Any:
    return [echo(1), echo(4)]


@pytest.mark.parametrize(
    ("code", "words", "place"),
    [
        (renamed, "at place 1 the record has step 'echo', and the code calls 'second_time'", "1"),
        (other_input, "is called with another input than recorded: argument 0", "1"),
        (shorter, "the record has step 'inside' at place 2, and the code ended without calling it", "2"),
        (longer, "as completed, and the code begins function 'echo' at place 3", "3"),
        (failing, "as completed, and the code raises LookupError", ""),
        (elsewhere, "as completed, and the code waits for something that is not in the record", ""),
        (in_a_thread, "is called with another input than recorded: argument 0", "1"),
    ],
)
def test_breaks_of_the_finished(code: Any, words: str, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stepwell.runtime.rehearsing.STUCK_S", 0.05)
    error = breaks(record(three), code, words)
    assert error.place == place
    if code in (renamed, other_input, in_a_thread):
        assert error.source is not None
        assert "test_replay.py:" in error.source
        assert error.recorded == {"name": "echo", "input": [2]}
        assert error.called is not None


def test_breaks_of_the_unfinished_are_those_that_a_kernel_finds() -> None:
    execution = record(waits, until="waiting")

    def code(change: Callable[[], Any]) -> Blueprint[..., Any]:
        @blueprint(name="replay of waits")
        async def changed() -> Any:
            await echo(1)
            return await change()

        return changed

    breaks(execution, code(lambda: echo(2)), "the record has step 'answer', and the code calls 'echo'")
    breaks(execution, code(lambda: asyncio.sleep(0)), "the code ended without calling it")

    async def keeps_the_callback() -> None:
        await stepwell.callback("answer")
        await stepwell.scope(inside, 1, name="in_a_scope")

    breaks(execution, code(keeps_the_callback), "at place 2/0 the record has step 'approval'")


def test_a_version_that_is_not_accepted() -> None:
    @blueprint(name="replay of three", version="9")
    async def newer() -> None: ...

    with pytest.raises(SchemaMismatch):
        replay(record(three), newer)


def test_what_is_no_blueprint() -> None:
    execution = record(three)
    with pytest.raises(ValidationError, match="expected a function with @blueprint"):
        replay(execution, echo)  # type: ignore[arg-type]
    forgotten = Execution.from_json(execution.to_json().replace(b"replay of three", b"replay of none!"))
    with pytest.raises(ValidationError, match="blueprint replay of none! is not known"):
        replay(forgotten)


# --- inside a loop and from handles -------------------------------------------------------------------------------


def test_handles_and_running_loops(stores: StoreSource) -> None:
    async def main() -> None:
        async with Kernel(stores, tenant="acme") as kernel:
            handle = await kernel.start(small, 1)
            await handle.result()
            calls.clear()
            found = await replay_async(handle)
            execution = await handle.execution()
            assert found == replay(execution) == await replay_async(execution)
            assert found.output == 1

    asyncio.run(main())
    with Kernel(stores, tenant="acme") as kernel:
        handle = kernel.start(small, 2)
        assert handle.result() == 2
        calls.clear()
        assert replay(handle).output == 2
    assert calls == []


@pytest.mark.parametrize("limit", [0.01, 3600])
def test_code_with_timers_of_its_own_takes_no_time(limit: float) -> None:
    @step
    async def endless() -> None:
        await asyncio.Event().wait()

    seconds = 0.01

    @blueprint(name="replay of time-outs")
    async def work() -> Any:
        try:
            async with asyncio.timeout(seconds):
                await endless()
        except TimeoutError:
            await asyncio.wait([asyncio.get_running_loop().create_future()], timeout=seconds)
            return await echo("too late")

    execution = record(work)
    seconds = limit
    assert is_read_only(execution, work).output == "too late"


@blueprint(name="replay of changed code")
async def unchanged() -> Any:
    await echo(1)
    return await stepwell.wait_for("go")


async def changed() -> Any:
    await echo(2 if stepwell.patched("newer") else 1)
    return await stepwell.wait_for("go")


def test_a_question_that_the_record_has_not_heard_is_answered_as_a_kernel_would() -> None:
    new = Blueprint(changed, unchanged.name, unchanged.version, ())
    found = is_read_only(record(unchanged, until="waiting"), new)
    assert [wait.name for wait in found.waits] == ["go"]


def test_arguments_that_do_not_fit_any_more() -> None:
    @blueprint(name="replay of arguments", version="1")
    async def before(value: int) -> None:
        await echo(value)

    @blueprint(name="replay of arguments", version="1")
    async def after(value: int, other: int) -> None:
        await echo(value)

    with pytest.raises(
        ValidationError, match=r"the recorded arguments do not fit replay of arguments: .*other"
    ):
        replay(record(before, 1), after)
