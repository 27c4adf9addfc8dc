"""Children: executions of their own, made once, waited for over restarts and processes, and ended with their parent."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest

import stepwell
from backends import BACKENDS
from runtime.common import QUICK, broken, calls, echo
from runtime.lives import Lives, killed_everywhere
from stepwell import Completion, ExecutionError, Kernel, ManualClock, ParentLink, blocking, blueprint, step
from stepwell.errors import ValidationError
from stepwell.store import StoreSource
from stepwell.store.memory import MemorySource
from store.processes import run_python


@blueprint(name="children.small")
async def small(value: Any) -> Any:
    return await echo(value)


@blueprint(name="children.fails")
async def fails(message: str) -> None:
    await broken(message)


@blueprint(name="children.asks")
async def asks(name: str) -> Any:
    try:
        return await stepwell.wait_for(name)
    finally:
        calls.append(f"{name} ends")


@blueprint(name="children.in thread")
def in_thread(value: int) -> int:
    return int(blocking.run_step(abs, value)) + 1


async def ended(kernel: Kernel, *states: str) -> list[Any]:
    """The rows, parents first, once they are in these states."""
    while True:
        rows = sorted(await kernel.list(), key=lambda row: (row.created_at_ns, row.parent_id is not None))
        if [row.state for row in rows] == list(states):
            return rows
        await asyncio.wait([kernel.watching.change(rows[0].id)], timeout=0.01)


# --- what it is ---------------------------------------------------------------------------------------------------


@blueprint(name="children.parent")
async def parent() -> Any:
    return [
        await stepwell.child(small, 1),
        await stepwell.child(in_thread, -4, name="named"),
        list(await stepwell.map(lambda item: stepwell.child(small, item), ["a", "b"])),
        await asyncio.gather(
            stepwell.child(small, value="x"), stepwell.scope(lambda: stepwell.child(small, "y"))
        ),
    ]


@blueprint(name="children.def parent")
def def_parent() -> Any:
    return [
        blocking.child(small, 1),
        blocking.child(in_thread, -4, name="named"),
        list(blocking.map(lambda item: blocking.child(small, item), ["a", "b"])),
        [blocking.child(small, value="x"), blocking.scope(lambda: blocking.child(small, "y"))],
    ]


RESULT = [1, 5, ["a", "b"], ["x", "y"]]


@pytest.mark.parametrize("which", [parent, def_parent], ids=lambda bp: bp.name)
def test_a_child_is_an_execution_of_its_own(which: Any, source: MemorySource) -> None:
    async def main() -> None:
        async with Kernel(source, tenant="acme") as kernel:
            handle = await kernel.start(which, key="k")
            assert await handle.result() == RESULT
            execution = await handle.execution()
            steps = [one for one in execution.steps.values() if one.step_type == "child"]
            assert sorted(one.name for one in steps) == ["children.small"] * 5 + ["named"]
            assert steps[0].input == [1]
            for one in steps:
                child = await (await kernel.get(one.key)).execution()
                assert child.parent == ParentLink("step_execution", one.id)
                assert (child.tenant_id, child.state, child.output) == ("acme", "completed", one.output)
                assert [row.id for row in await kernel.store.children(one.id)] == [child.id]

    asyncio.run(main())


@pytest.mark.parametrize("which", [parent, def_parent], ids=lambda bp: bp.name)
def test_killed_at_every_write_there_is_one_of_each(which: Any) -> None:
    def check(lives: Lives, outcome: Any) -> None:
        assert outcome == ["returned", RESULT]
        assert [row.state for row in lives.record()] == ["completed"] * 7
        # The steps that were in hand when the process died ran twice, and no other.
        assert len(calls) <= 7
        calls.clear()

    assert killed_everywhere(Lives, which, check=check, every=3) > 12


def test_outside_a_kernel_it_is_a_plain_call() -> None:
    assert asyncio.run(parent()) == RESULT
    assert def_parent() == RESULT


@pytest.mark.parametrize(
    "make",
    [
        lambda: stepwell.child(small),  # type: ignore[call-arg]
        lambda: stepwell.child(small, 1, 2),
        lambda: stepwell.child(echo, 1),  # type: ignore[call-overload]
        lambda: stepwell.child(small, 1, on_cancel="never"),
        lambda: blocking.child(small, 1, key=""),
    ],
)
def test_what_cannot_be_is_refused_at_once(make: Any) -> None:
    with pytest.raises(ValidationError):
        make()


def test_another_tenant_is_refused_before_anything_is_recorded(source: MemorySource) -> None:
    @blueprint(name="children.tenant")
    async def foreign() -> Any:
        assert await stepwell.child(small, 1, tenant="acme") == 1
        await stepwell.child(small, 2, tenant="other")

    async def main() -> None:
        async with Kernel(source, tenant="acme") as kernel:
            handle = await kernel.start(foreign)
            with pytest.raises(ExecutionError) as caught:
                await handle.result()
            assert (caught.value.category, caught.value.code) == ("policy_violation", "foreign_tenant")
            assert len((await handle.execution()).steps) == 1
            assert len(await kernel.list()) == 2

    asyncio.run(main())


# --- errors -------------------------------------------------------------------------------------------------------


def test_an_error_of_the_child_is_the_parents() -> None:
    @blueprint(name="children.error")
    async def catches() -> Any:
        try:
            await stepwell.child(fails, "deep")
        except ExecutionError as error:
            cause = error.cause
            assert cause is not None
            told = [
                error.category,
                error.code,
                error.message,
                error.exception_type,
                error.step_id == cause.step_id,
            ]
            await echo("caught")
            return [*map(str, told), str(cause.message)]

    def check(lives: Lives, outcome: Any) -> None:
        assert outcome == ["returned", ["tool", "not_found", "deep", "LookupError", "True", "deep"]]
        child, own = lives.record()
        first = own.get_step(own.step_order[0])
        assert first.error.cause == child.error
        assert first.error.step_id == child.error.step_id == child.step_order[0]

    killed_everywhere(Lives, catches, check=check)


def test_a_child_that_cannot_be_started_has_failed(source: MemorySource) -> None:
    """Other arguments under its key: recorded as the outcome, so that it is none later on, too."""

    @blueprint(name="children.refused")
    async def refused() -> Any:
        await stepwell.child(small, 1, key="one")
        try:
            await stepwell.child(small, 2, key="one")
        except ExecutionError as error:
            return error.code

    async def main() -> None:
        async with Kernel(source, tenant="acme") as kernel:
            handle = await kernel.start(refused)
            assert await handle.result()
            first, second = (await handle.execution()).steps.values()
            assert (first.state, second.state) == ("completed", "failed")
            assert second.error.category == "validation"

    asyncio.run(main())


# --- keys ---------------------------------------------------------------------------------------------------------


def test_a_key_names_one_execution(source: MemorySource) -> None:
    @blueprint(name="children.keyed")
    async def keyed(number: int) -> Any:
        return await stepwell.child(small, "same", key="one")

    async def main() -> None:
        async with Kernel(source, tenant="acme") as one, Kernel(source, tenant="acme") as two:
            handles = [await kernel.start(keyed, at) for at in range(5) for kernel in (one, two)]
            assert [await handle.result() for handle in handles] == ["same"] * 10
            (row,) = await one.list(blueprint="children.small")
            for handle in handles:
                (first,) = (await handle.execution()).steps.values()
                assert (first.key, first.state) == (row.id, "completed")
            assert row.key == "one"
            assert calls == ["same"]
            started = await one.start(small, "same", key="one")
            assert started.id == row.id

    asyncio.run(main())


def test_a_keyed_child_killed_at_every_write() -> None:
    @blueprint(name="children.keyed often")
    async def keyed() -> Any:
        return await asyncio.gather(*(stepwell.child(small, "same", key="one") for _ in range(3)))

    def check(lives: Lives, outcome: Any) -> None:
        assert outcome == ["returned", ["same"] * 3]
        child, own = sorted(lives.record(), key=lambda row: row.blueprint != "children.small")
        assert {one.key for one in own.steps.values()} == {child.id}
        assert len(calls) <= 2
        calls.clear()

    killed_everywhere(Lives, keyed, check=check)


# --- waiting ------------------------------------------------------------------------------------------------------


def test_parent_and_child_leave_memory_and_come_back(source: MemorySource) -> None:
    clock = ManualClock()

    @blueprint(name="children.sleeps")
    async def sleeps() -> str:
        await stepwell.sleep("1h")
        return await echo("slept")

    @blueprint(name="children.patient")
    async def patient() -> Any:
        return await stepwell.child(sleeps)

    async def main() -> None:
        async with Kernel(source, tenant="acme", clock=clock) as kernel:
            kernel.linger_s = 0
            handle = await kernel.start(patient)
            while kernel.runs():
                await kernel.watching.change(handle.id)
            rows = await kernel.list()
            assert [(row.state, row.wait_reason) for row in rows] == [
                ("waiting", "timer"),
                ("waiting", "sub_agent"),
            ]
            clock.advance("1h")
            assert await handle.result() == "slept"
            assert calls == ["slept"]

    asyncio.run(main())


# --- cancelling ---------------------------------------------------------------------------------------------------


@blueprint(name="children.policy")
async def policy(on_cancel: str, key: str | None) -> Any:
    return await stepwell.child(asks, "name", on_cancel=on_cancel, key=key)


@pytest.mark.parametrize("left", [False, True], ids=["in memory", "left"])
@pytest.mark.parametrize("key", [None, "key"])
def test_cascade_cancels_the_child_first(source: MemorySource, key: str | None, left: bool) -> None:
    async def main() -> None:
        async with Kernel(source, tenant="acme") as kernel:
            kernel.linger_s = 0.0 if left else 60.0
            handle = await kernel.start(policy, "cascade", key)
            await ended(kernel, "waiting", "waiting")
            while left and kernel.runs():
                await asyncio.sleep(0)
            await handle.cancel("enough")
            with pytest.raises(ExecutionError, match="enough") as caught:
                await handle.result()
            assert caught.value.code == "cancelled"
            own, child = await ended(kernel, "cancelled", "cancelled")
            assert child.updated_at_ns <= own.updated_at_ns
            assert (await kernel.last_record(child))["reason"] == "enough"

    asyncio.run(main())


def test_wait_waits_for_the_childs_own_end(source: MemorySource) -> None:
    async def main() -> None:
        async with Kernel(source, tenant="acme") as kernel:
            handle = await kernel.start(policy, "wait", None)
            _, child = await ended(kernel, "waiting", "waiting")
            await handle.cancel()
            with pytest.raises(TimeoutError):
                await handle.result(timeout="50ms")
            await (await kernel.get(child.id)).signal("name", 1)
            with pytest.raises(ExecutionError):
                await handle.result()
            await ended(kernel, "cancelled", "completed")

    asyncio.run(main())


def test_detach_leaves_it_to_itself(source: MemorySource) -> None:
    async def main() -> None:
        async with Kernel(source, tenant="acme") as kernel:
            handle = await kernel.start(policy, "detach", None)
            _, child = await ended(kernel, "waiting", "waiting")
            await handle.cancel()
            with pytest.raises(ExecutionError):
                await handle.result()
            await ended(kernel, "cancelled", "waiting")
            await (await kernel.get(child.id)).signal("name", 1)
            await ended(kernel, "cancelled", "completed")

    asyncio.run(main())


def test_a_paused_parent_that_is_cancelled_takes_its_children_along(source: MemorySource) -> None:
    async def main() -> None:
        async with Kernel(source, tenant="acme") as kernel:
            for on_cancel, state in (("cascade", "cancelled"), ("detach", "waiting")):
                handle = await kernel.start(policy, on_cancel, None, key=on_cancel)
                await ended(kernel, *["cancelled"] * 2 * (on_cancel == "detach"), "waiting", "waiting")
                await handle.pause()
                await ended(kernel, *["cancelled"] * 2 * (on_cancel == "detach"), "paused", "waiting")
                await handle.cancel()
                await ended(kernel, *["cancelled"] * 2 * (on_cancel == "detach"), "cancelled", state)

    asyncio.run(main())


@blueprint(name="children.is quick")
async def is_quick() -> str:
    return "quick"


@blueprint(name="children.leaves")
async def leaves(how: str) -> Any:
    async def asking() -> Any:
        return await stepwell.child(asks, "name")

    async def quick() -> str:
        return await echo("quick")

    batches = {
        "batch": [asking, quick],
        "batch, decided first": [quick, asking],
        "batch of children": [lambda: stepwell.child(is_quick), lambda: stepwell.child(asks, "name")],
    }
    if how in batches:
        batch = await stepwell.parallel(batches[how], completion=Completion(min_successful=1))
        return await echo(batch.completion_reason)
    task = asyncio.create_task(asking())
    await echo("begun")
    await echo("going on")
    if how == "fails":
        await broken("parent")
    if how == "cancels":
        task.cancel()
        await asyncio.wait([task])
        return await echo(task.cancelled())
    if how == "again":
        stepwell.continue_as_new("batch")
    return how


@pytest.mark.parametrize(
    "how",
    ["batch", "batch, decided first", "batch of children", "returns", "fails", "cancels", "again"],
)
def test_no_child_outlives_a_parent_that_gave_it_up(how: str) -> None:
    def check(lives: Lives, outcome: Any) -> None:
        assert outcome[0] == ("raised" if how == "fails" else "returned")

        async def main() -> None:
            async with Kernel(lives.source, tenant="acme", clock=lives.clock) as kernel:
                while any(row.state != "cancelled" for row in await kernel.list(blueprint="children.asks")):
                    await asyncio.wait([kernel.watching.change("")], timeout=0.01)

        asyncio.run(asyncio.wait_for(main(), 20))

    killed_everywhere(Lives, leaves, how, check=check)


@blueprint(name="children.gives up")
async def gives_up(on_cancel: str, child: Any) -> Any:
    task = asyncio.create_task(stepwell.child(CHILDREN[child], "name", on_cancel=on_cancel))
    await stepwell.wait_for("give up")
    task.cancel()
    try:
        found = await task
    except asyncio.CancelledError:
        found = "cancelled"
    except ExecutionError as error:
        found = error.message
    await echo(found)
    return [found, await stepwell.wait_for("go")]


@blueprint(name="children.returns all the same")
async def returns_all_the_same(name: str) -> Any:
    try:
        return await stepwell.wait_for(name)
    except asyncio.CancelledError:
        return await echo("returned all the same")


CHILDREN = {"asks": asks, "returns": returns_all_the_same}


@pytest.mark.parametrize("child", CHILDREN)
@pytest.mark.parametrize("on_cancel", ["cascade", "wait", "detach"])
def test_a_child_that_its_code_gave_up_was_cancelled_on_replay_too(
    anywhere: StoreSource, on_cancel: str, child: str
) -> None:
    """However the child ended then: its code saw that it was cancelled, and took that way."""

    async def main() -> None:
        async with Kernel(anywhere, tenant="acme") as kernel:
            handle = await kernel.start(gives_up, on_cancel, child)
            _, made = await ended(kernel, "waiting", "waiting")
            await handle.signal("give up")
            if on_cancel == "wait":
                while all(one.state == "running" for one in (await handle.execution()).steps.values()):
                    await asyncio.sleep(0)
                await (await kernel.get(made.id)).signal("name", "its own end")
            while "cancelled" not in calls:
                await asyncio.sleep(0)
        async with Kernel(anywhere, tenant="acme") as kernel:
            handle = await kernel.get(handle.id)
            await handle.signal("go", "gone on")
            assert await handle.result(timeout="20s") == ["cancelled", "gone on"]
            (given_up,) = [
                one for one in (await handle.execution()).steps.values() if one.step_type == "child"
            ]
            assert given_up.state == "cancelled"

    asyncio.run(main())


@blueprint(name="children.gives up early")
async def gives_up_early(key: str | None, turns: int) -> Any:
    task = asyncio.create_task(stepwell.child(asks, "name", key=key))
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    await echo(task.cancelled())
    return [task.cancelled(), await stepwell.wait_for("go")]


@pytest.mark.parametrize("key", [None, "key"])
def test_a_child_may_be_given_up_while_it_is_being_started(anywhere: StoreSource, key: str | None) -> None:
    """As early as may be: its step is on the record as cancelled, and no child goes on."""

    async def main() -> None:
        given = [(None if key is None else f"{key} {turns}", turns) for turns in range(0, 40, 3)]
        async with Kernel(anywhere, tenant="acme") as kernel:
            handles = [await kernel.start(gives_up_early, *args) for args in given]
            while len(echoed := [value for value in calls if isinstance(value, bool)]) < len(given):
                await asyncio.sleep(0)
        assert all(echoed)
        async with Kernel(anywhere, tenant="acme") as kernel:
            for handle in [await kernel.get(handle.id) for handle in handles]:
                await handle.signal("go", "gone on")
                assert await handle.result(timeout="20s") == [True, "gone on"]
            assert {row.state for row in await kernel.list(blueprint="children.asks")} <= {"cancelled"}

    asyncio.run(main())


# --- many, and other processes ------------------------------------------------------------------------------------


def test_hundreds_of_children(source: MemorySource) -> None:
    @blueprint(name="children.many")
    async def many() -> Any:
        return sum(await stepwell.map(lambda item: stepwell.child(small, item), range(300), concurrency=50))

    async def main() -> None:
        async with Kernel(source, tenant="acme") as kernel:
            assert await kernel.run(many) == sum(range(300))

    asyncio.run(main())


@step(retry=QUICK)
async def flaky() -> int:
    if stepwell.current_step().attempt < 2:
        raise ConnectionError
    return stepwell.current_step().attempt


FAMILY = """
    import asyncio, os, sys
    os.environ["STEPWELL_BACKEND"] = sys.argv[2]
    import stepwell
    from stepwell import Kernel, blueprint, step

    @step
    async def act(name):
        os.write(1, name.encode() + b"\\n")
        return name

    @blueprint(name="family.child", version="1")
    async def child():
        await act("first")
        found = await stepwell.wait_for("go")
        return await act(found)

    @blueprint(name="family.parent", version="1")
    async def parent():
        found = await stepwell.child(child)
        return await act(f"parent of {found}")

    async def main():
        known = [globals()[name] for name in sys.argv[3].split(",")]
        async with Kernel(f"sqlite:///{sys.argv[1]}", tenant="acme", blueprints=known) as kernel:
            if sys.argv[4:]:
                await kernel.start(parent, key="k")
            await asyncio.Event().wait()

    asyncio.run(main())
"""


@pytest.mark.parametrize("backend", BACKENDS)
def test_parent_and_child_in_processes_of_their_own_that_die(tmp_path: Path, backend: str) -> None:
    """Only one process can run the child, only the other the parent; each is killed while the other goes on."""
    path = tmp_path / "runs.db"
    both = run_python(FAMILY, path, backend, "parent,child", "start")
    assert both.stdout is not None
    assert both.stdout.readline() == "first\n"
    os.kill(both.pid, signal.SIGKILL)
    both.communicate()

    async def signal_child() -> None:
        async with Kernel(f"sqlite:///{path}", tenant="acme", execute=False) as kernel:
            while True:
                rows = await kernel.list(blueprint="family.child")
                if rows:
                    break
            await (await kernel.get(rows[0].id)).signal("go", "gone")

    asyncio.run(signal_child())
    child = run_python(FAMILY, path, backend, "child")
    assert child.stdout is not None
    assert child.stdout.readline() in ("first\n", "gone\n")

    async def child_has_ended() -> None:
        async with Kernel(f"sqlite:///{path}", tenant="acme", execute=False) as kernel:
            (row,) = await kernel.list(blueprint="family.child")
            assert await (await kernel.get(row.id)).result() == "gone"

    asyncio.run(asyncio.wait_for(child_has_ended(), 60))
    os.kill(child.pid, signal.SIGKILL)
    child.communicate()
    own = run_python(FAMILY, path, backend, "parent")
    assert own.stdout is not None
    assert own.stdout.readline() == "parent of gone\n"
    os.kill(own.pid, signal.SIGKILL)
    own.communicate()
