"""Code that changes while executions of it are on their way: `patched`, `fork`, `accept`, versions."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

import stepwell
from runtime.common import calls
from runtime.stops import in_kernel, in_state, note, until
from stepwell import Conflict, DivergenceError, Kernel, NotFound, SchemaMismatch, blueprint
from stepwell.store import StoreSource
from stepwell.store.memory import MemorySource


def make(body: Callable[[], Any], **options: Any) -> Any:
    return blueprint(name="changes", **options)(body)


def record(source: StoreSource, body: Callable[[], Any], signals: int = 0) -> str:
    """The known of an execution of this code that waits for a signal, after so many of them."""

    async def begin(kernel: Kernel) -> str:
        kernel.linger_s = 0
        handle = await kernel.start(make(body))
        for _ in range(signals):
            await handle.signal("go")

        async def waits() -> bool:
            row = await kernel.store.get(handle.id)
            inbox = await kernel.store.inbox(handle.id)
            return row.state == "waiting" and all(one.kind != "signal" for one in inbox)

        await until(waits)
        return handle.id

    known: str = in_kernel(source, begin)
    return known


def go_on(source: StoreSource, known: str, body: Callable[[], Any], signals: int) -> Any:
    calls.clear()

    async def end(kernel: Kernel) -> Any:
        handle = await kernel.get(known)
        for _ in range(signals):
            await handle.signal("go")
        return await handle.result(timeout=30)

    make(body)
    return in_kernel(source, end)


# --- patched ------------------------------------------------------------------------------------------------------


async def old_loop() -> list[Any]:
    found = []
    for number in range(3):
        found.append(await note(f"old {number}"))
        await stepwell.wait_for("go")
    return found


async def new_loop() -> list[Any]:
    found = []
    for number in range(3):
        if stepwell.patched("new"):
            await note("first")
            found.append(await note(f"new {number}"))
        else:
            found.append(await note(f"old {number}"))
        await stepwell.wait_for("go")
    return found


def test_an_old_execution_keeps_to_the_old_way(anywhere: StoreSource) -> None:
    known = record(anywhere, old_loop, signals=1)
    assert go_on(anywhere, known, new_loop, 2) == ["old 0", "old 1", "old 2"]
    assert calls == ["old 2"]


def test_it_does_so_in_every_life(anywhere: StoreSource) -> None:
    known = record(anywhere, old_loop)
    make(new_loop)

    async def one_more(kernel: Kernel) -> None:
        kernel.linger_s = 0
        handle = await kernel.get(known)
        before = (await kernel.store.get(known)).version
        await handle.signal("go")

        async def is_through() -> bool:
            row = await kernel.store.get(known)
            through = row.state == "completed" or (row.state == "waiting" and row.owner is None)
            return through and row.version > before

        await until(is_through)

    for _ in range(3):
        in_kernel(anywhere, one_more)
    assert go_on(anywhere, known, new_loop, 0) == ["old 0", "old 1", "old 2"]


def test_a_new_execution_takes_the_new_way_in_every_life(anywhere: StoreSource) -> None:
    known = record(anywhere, new_loop, signals=1)
    assert go_on(anywhere, known, new_loop, 2) == ["new 0", "new 1", "new 2"]
    assert calls == ["first", "new 2"]


def test_one_that_has_not_come_there_takes_the_new_way(anywhere: StoreSource) -> None:
    async def old() -> str:
        await stepwell.wait_for("go")
        return str(await note("old"))

    async def new() -> str:
        await stepwell.wait_for("go")
        return str(await note("new" if stepwell.patched("later") else "old"))

    assert go_on(anywhere, record(anywhere, old), new, 1) == "new"


@pytest.mark.parametrize("how", ["tasks", "scopes", "map"])
def test_branches_agree(anywhere: StoreSource, how: str) -> None:
    """One branch went past the question before there was one: then all of them take the old way."""

    async def old_branch(number: int) -> str:
        if number == 0:
            await note("old")
        await stepwell.wait_for("go")
        return str(await note("old"))

    async def new_branch(number: int) -> str:
        if number == 0:
            await note("new" if stepwell.patched("branch") else "old")
        await stepwell.wait_for("go")
        return str(await note("new" if stepwell.patched("branch") else "old"))

    async def in_branches(branch: Any) -> list[str]:
        if how == "map":
            return list(await stepwell.map(branch, [1, 0]))
        if how == "scopes":
            return [await stepwell.scope(branch, number, name="branch") for number in (0, 1)]
        return list(await asyncio.gather(*(branch(number) for number in (1, 0))))

    async def old() -> list[str]:
        return await in_branches(old_branch)

    async def new() -> list[str]:
        return await in_branches(new_branch)

    known = record(anywhere, old, signals=1 if how == "scopes" else 0)
    assert go_on(anywhere, known, new, 2) == ["old", "old"]


def test_patched_asks_for_a_name() -> None:
    assert stepwell.patched("outside a kernel")
    with pytest.raises(stepwell.ValidationError):
        stepwell.patched("")


# --- mending ------------------------------------------------------------------------------------------------------


async def original() -> list[Any]:
    found = [await note(1), await note(2), await stepwell.scope(inside)]
    await stepwell.wait_for("go")
    return found


async def inside() -> Any:
    await note("in")
    return await note("side")


async def changed() -> list[Any]:
    found = [await note(1), await note("two"), await stepwell.scope(inside)]
    await stepwell.wait_for("go")
    return found


def diverged(source: StoreSource) -> str:
    known = record(source, original)
    calls.clear()
    make(changed)

    async def look(kernel: Kernel) -> None:
        handle = await kernel.get(known)
        await handle.signal("go")
        with pytest.raises(DivergenceError, match="another input"):
            await handle.result(timeout=30)
        await in_state(kernel, known, "paused")
        assert calls == []

    in_kernel(source, look)
    return known


def test_accept_goes_on_as_the_code_is_now(anywhere: StoreSource) -> None:
    known = diverged(anywhere)

    async def mend(kernel: Kernel) -> None:
        handle = await kernel.get(known)
        await handle.accept()
        assert await handle.result(timeout=30) == [1, "two", "side"]
        with pytest.raises(Conflict):
            await handle.accept()

    in_kernel(anywhere, mend)
    assert calls == ["two", "in", "side"]
    assert go_on(anywhere, known, changed, 0) == [1, "two", "side"]


def test_accepted_by_one_who_runs_nothing_and_in_the_next_life(anywhere: StoreSource) -> None:
    known = diverged(anywhere)

    async def mend(kernel: Kernel) -> None:
        await (await kernel.get(known)).accept()

    in_kernel(anywhere, mend, execute=False)

    async def rest(kernel: Kernel) -> None:
        await until(lambda: "side" in calls)

    in_kernel(anywhere, rest)

    async def end(kernel: Kernel) -> Any:
        return await (await kernel.get(known)).result(timeout=30)

    assert in_kernel(anywhere, end) == [1, "two", "side"]
    assert calls.count("two") == 1


def test_accept_right_after_the_error(source: MemorySource) -> None:
    known = record(source, original)
    make(changed)

    async def both(kernel: Kernel) -> Any:
        handle = await kernel.get(known)
        await handle.signal("go")
        with pytest.raises(DivergenceError):
            await handle.result(timeout=30)
        await handle.accept()
        return await handle.result(timeout=30)

    assert in_kernel(source, both) == [1, "two", "side"]


@pytest.mark.parametrize(("at", "again"), [(1, [2, "in", "side"]), (4, ["side"])])
def test_fork_goes_on_from_a_step(anywhere: StoreSource, at: int, again: list[Any]) -> None:
    known = record(anywhere, original)
    calls.clear()

    async def forks(kernel: Kernel) -> None:
        old = await kernel.get(known)
        order = (await old.execution()).step_order
        new = await kernel.fork(known, order[at], key="forked")
        assert new.id != known
        await new.signal("go")
        assert await new.result(timeout=30) == [1, 2, "side"]
        parent = (await new.execution()).parent
        assert parent is not None
        assert parent.parent_id == known
        assert (await kernel.store.get(known)).state == "waiting", "the other one stays as it is"
        with pytest.raises(NotFound):
            await kernel.fork(known, "step_00000000000000000000000000")

    in_kernel(anywhere, forks)
    assert calls == again


def test_fork_behind_a_callback_whose_id_was_given_away(anywhere: StoreSource) -> None:
    async def asks() -> Any:
        answer = await stepwell.callback("asks")
        await note(answer.id)
        return [await answer.result(), await note("end"), await stepwell.wait_for("go")]

    async def forks(kernel: Kernel) -> str:
        old = await kernel.start(make(asks))
        await until(lambda: len(calls) == 1)
        await kernel.complete_callback(calls[0], "answer")
        await until(lambda: len(calls) == 2)
        steps = (await old.execution()).steps.values()
        (end,) = [found.id for found in steps if found.name == "note" and found.input == ["end"]]
        new = await kernel.fork(old.id, end)
        await until(lambda: len(calls) == 3)
        return new.id

    known = in_kernel(anywhere, forks)
    assert go_on(anywhere, known, asks, 1) == ["answer", "end", None]


# --- versions -----------------------------------------------------------------------------------------------------


def test_versions(anywhere: StoreSource) -> None:
    async def waits() -> str:
        await stepwell.wait_for("go")
        return "done"

    make(waits, version="1")

    async def begin(kernel: Kernel) -> str:
        kernel.linger_s = 0
        handle = await kernel.start(make(waits, version="1"))
        await in_state(kernel, handle.id, "waiting")
        return handle.id

    known = in_kernel(anywhere, begin)

    async def end(kernel: Kernel) -> Any:
        handle = await kernel.get(known)
        await handle.signal("go")
        return await handle.result(timeout=30)

    make(waits, version="2")
    with pytest.raises(SchemaMismatch):
        in_kernel(anywhere, end)
    make(waits, version="3", accepts=("1",))
    assert in_kernel(anywhere, end) == "done"


# --- children -----------------------------------------------------------------------------------------------------


@blueprint(name="changes.child")
async def a_child(name: str | None) -> Any:
    return await note("child") if name is None else await stepwell.wait_for(name)


@pytest.mark.parametrize("name", [None, "child's"], ids=["ended", "open"])
def test_accept_before_a_child_with_a_key(anywhere: StoreSource, name: str | None) -> None:
    """The new call is a new step, and finds the child that there is."""

    def code(first: str) -> Callable[[], Any]:
        async def body() -> Any:
            await note(first)
            found = stepwell.child(a_child, name, key="k")
            value = await found
            return [first, value, await stepwell.wait_for("go")]

        return body

    known = record(anywhere, code("old"))
    make(code("new"))

    async def accept(kernel: Kernel) -> Any:
        handle = await kernel.get(known)
        await handle.signal("go", "gone on")  # that it is taken up, too
        with pytest.raises(DivergenceError):
            await handle.result(timeout=10)
        await handle.accept()
        (child,) = await kernel.list(blueprint="changes.child")
        assert child.state == ("completed" if name is None else "waiting")
        if name is not None:
            await (await kernel.get(child.id)).signal(name, "child")
        assert await handle.result(timeout=10) == ["new", "child", "gone on"]
        assert len(await kernel.list(blueprint="changes.child")) == 1

    in_kernel(anywhere, accept)


@pytest.mark.parametrize("on_cancel", ["cascade", "detach"])
def test_accept_ends_a_child_that_is_given_up(anywhere: StoreSource, on_cancel: str) -> None:
    async def old() -> Any:
        await note("old")
        return await stepwell.child(a_child, "never", on_cancel=on_cancel)

    async def new() -> Any:
        return await note("new")

    known = record(anywhere, old)
    make(new)

    async def accept(kernel: Kernel) -> None:
        handle = await kernel.get(known)
        await handle.signal("go", "gone on")  # that it is taken up, too
        with pytest.raises(DivergenceError):
            await handle.result(timeout=10)
        await handle.accept()
        assert await handle.result(timeout=10) == "new"
        (child,) = await kernel.list(blueprint="changes.child")
        handle = await kernel.get(child.id)
        if on_cancel == "cascade":
            with pytest.raises(stepwell.ExecutionError, match="its code changed"):
                await handle.result(timeout=10)
        else:
            assert child.state == "waiting"

    in_kernel(anywhere, accept)
