"""`wait_for` and signals: sent before, after, while nobody is there, in order, and each to one wait."""

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

import stepwell
from runtime.asleep import left, names, opened, place, until
from runtime.common import calls, echo
from stepwell import (
    ExecutionError,
    Kernel,
    ManualClock,
    NotFound,
    ValidationError,
    WaitReason,
    blocking,
    blueprint,
)
from stepwell.runtime import Handle
from stepwell.store import StoreSource

__all__ = ["place"]


@blueprint(name="asks")
async def asks(count: int) -> list[Any]:
    return [await stepwell.wait_for("go", reason="approval") for _ in range(count)]


@blueprint(name="asks too")
def asks_too(count: int) -> list[Any]:
    return [blocking.wait_for("go", reason="approval") for _ in range(count)]


@blueprint(name="asks in vain")
async def asks_in_vain() -> str:
    try:
        return f"got {await stepwell.wait_for('go', timeout='1h')}"
    except ExecutionError as error:
        await echo(f"{error.category}/{error.code}")
        return "timed out"


@blueprint(name="asks in vain too")
def asks_in_vain_too() -> str:
    try:
        return f"got {blocking.wait_for('go', timeout='1h')}"
    except ExecutionError as error:
        echo(f"{error.category}/{error.code}")
        return "timed out"


ASKERS = [asks, asks_too]


@pytest.mark.parametrize("asker", ASKERS)
def test_signals_of_before_and_after_in_their_order(place: StoreSource, asker: Any) -> None:
    async def main() -> None:
        async with opened(place, ManualClock()) as kernel:
            handle = await kernel.start(asker, 4)
            assert await handle.signal("go", 1)
            assert await handle.signal("go", 2)
            await left(kernel, handle)
            assert await handle.signal("stop", "not for it")
            assert await handle.signal("go", {"three": [3]})
            assert await handle.signal("go")
            assert await handle.result() == [1, 2, {"three": [3]}, None]
            assert not await handle.signal("go", 5)

    asyncio.run(main())


@pytest.mark.parametrize("asker", ASKERS)
def test_the_same_id_twice_is_one_signal(place: StoreSource, asker: Any) -> None:
    async def main() -> None:
        async with opened(place, ManualClock()) as kernel:
            handle = await kernel.start(asker, 3)
            for _ in range(3):
                assert await handle.signal("go", 1, id="first")
            assert not await handle.signal("go", 2, id="first")
            assert not await handle.signal("stop", 1, id="first")
            await until(lambda: _waits_for(handle, 2))
            assert await handle.signal("go", 1, id="first"), "it was taken, and is the same for ever"
            assert await handle.signal("go", 1, id="second")
            assert await handle.signal("go", 1)
            assert await handle.result() == [1, 1, 1]
            assert await handle.signal("go", 1, id="second")

    asyncio.run(main())


async def _waits_for(handle: Handle[Any], count: int) -> bool:
    execution = await handle.execution()
    return len(execution.steps) == count and execution.state == "waiting"


def test_ids_of_signals_are_their_own(place: StoreSource) -> None:
    """A signal with the id that a cancelling or an answer has is neither, and does not keep one out."""

    @blueprint(name="both")
    async def both() -> Any:
        answer = await stepwell.callback()
        calls.append(answer.id)
        return await answer.result()

    async def main() -> None:
        async with opened(place, ManualClock()) as kernel:
            first, second = await kernel.start(both), await kernel.start(asks, 1)
            await left(kernel, first)
            assert await first.signal("x", 1, id=calls[0])
            assert await kernel.complete_callback(calls[0], 2)
            assert await first.result() == 2
            assert await second.signal("x", 1, id="cancel")
            assert await second.cancel("enough")
            with pytest.raises(ExecutionError, match="enough"):
                await second.result()

    asyncio.run(main())


@pytest.mark.parametrize("asker", ASKERS)
def test_a_signal_while_no_kernel_runs_it(place: StoreSource, asker: Any) -> None:
    async def first() -> str:
        async with opened(place, ManualClock()) as kernel:
            handle = await kernel.start(asker, 2)
            row = await left(kernel, handle)
            assert (row.wait_reason, row.wake_at_ns) == ("approval", None)
            return handle.id

    async def between(known: str) -> None:
        async with Kernel(place, tenant="acme", execute=False) as kernel:
            handle = await kernel.get(known)
            assert await handle.signal("go", 1)
            with pytest.raises(TimeoutError):
                await handle.result(timeout="1ms")
            with pytest.raises(ValidationError, match="execute=False"):
                await kernel.start(asker, 2)
        async with Kernel(place, tenant="other", execute=False) as kernel:
            with pytest.raises(NotFound):
                await kernel.get(known)

    async def last(known: str) -> None:
        async with opened(place, ManualClock()) as kernel:
            handle = await kernel.get(known)
            await until(lambda: _waits_for(handle, 2))
            async with Kernel(place, tenant="acme", execute=False) as other:
                assert await (await other.get(known)).signal("go", 2)
                assert await handle.result() == [1, 2]
                assert await (await other.get(known)).result() == [1, 2]

    known = asyncio.run(first())
    asyncio.run(between(known))
    asyncio.run(last(known))


@pytest.mark.parametrize("asker", [asks_in_vain, asks_in_vain_too])
def test_a_time_out(place: StoreSource, asker: Any) -> None:
    clock = ManualClock()

    async def first() -> str:
        async with opened(place, clock) as kernel:
            handle = await kernel.start(asker)
            row = await left(kernel, handle)
            assert row.wake_at_ns == clock.now_ns() + 3600 * 10**9
            return handle.id

    async def second(known: str) -> None:
        async with opened(place, clock) as kernel:
            handle = await kernel.get(known)
            clock.advance("1m")
            assert await handle.result() == "timed out"
            assert await names(handle) == [("go", "failed", 1), ("echo", "completed", 1)]
            execution = await handle.execution()
            (wait, _) = execution.steps.values()
            assert wait.error is not None
            assert (wait.error.category, wait.error.code, wait.error.step_id) == (
                "timeout",
                "wait_timeout",
                wait.id,
            )

    known = asyncio.run(first())
    clock.advance("59m")
    asyncio.run(second(known))
    assert calls == ["timeout/wait_timeout"]


def test_a_signal_that_came_before_the_time_out_was_noticed_counts(place: StoreSource) -> None:
    clock = ManualClock()

    async def first() -> str:
        async with opened(place, clock) as kernel:
            handle = await kernel.start(asks_in_vain)
            await left(kernel, handle)
            return handle.id

    async def second(known: str) -> None:
        async with Kernel(place, tenant="acme", execute=False, clock=clock) as kernel:
            assert await (await kernel.get(known)).signal("go", "late")
        clock.advance("2h")
        async with opened(place, clock) as kernel:
            assert await (await kernel.get(known)).result() == "got late"

    asyncio.run(second(asyncio.run(first())))
    assert calls == []


def test_signals_for_nobody_neither_wake_it_for_ever_nor_wear_it_out(place: StoreSource) -> None:
    async def main() -> None:
        async with opened(place, ManualClock()) as kernel:
            handle = await kernel.start(asks, 1)
            await left(kernel, handle)
            for number in range(8):
                await handle.signal("other", number)
                await left(kernel, handle)
            before = await left(kernel, handle)
            assert (before.claims, before.state) == (0, "waiting")
        for _ in range(8):
            async with opened(place, ManualClock()) as kernel:
                await kernel.recovered()
                await left(kernel, handle)
        async with opened(place, ManualClock()) as kernel:
            row = await left(kernel, await kernel.get(handle.id))
            assert row.claims == 0
            handle = await kernel.get(handle.id)
            await handle.signal("go", 7)
            assert await handle.result() == [7]

    asyncio.run(main())


def test_what_comes_while_it_leaves_is_not_lost(place: StoreSource) -> None:
    """The signal is in the store after the last look of the one that leaves, and before its claim is given up."""

    async def main() -> None:
        async with opened(place, ManualClock()) as kernel, opened(place, ManualClock()) as other:
            store = kernel.store
            release = store.release
            sent: list[str] = []

            def releases(id: str, epoch: int) -> Any:
                if id not in sent:
                    sent.append(id)
                    other.store.deliver(id, "signal s", "signal", "go", b"1", 1).wait(10)
                return release(id, epoch)

            store.release = releases  # type: ignore[method-assign]
            handles = [await kernel.start(asks, 1) for _ in range(5)]
            assert [await handle.result() for handle in handles] == [[1]] * 5
            assert len(sent) == 5

    asyncio.run(main())


def test_two_waits_of_one_name_get_one_signal_each(place: StoreSource) -> None:
    @blueprint(name="twice")
    async def twice() -> Any:
        return await asyncio.gather(*(stepwell.wait_for(name) for name in "abab"))

    async def main() -> None:
        async with opened(place, ManualClock()) as kernel:
            handle = await kernel.start(twice)
            await left(kernel, handle)
            for name, payload in ("b", 1), ("a", 2), ("b", 3):
                await handle.signal(name, payload)
                await left(kernel, handle)
            await handle.signal("a", 4)
            assert await handle.result() == [2, 1, 4, 3]

    asyncio.run(main())


@pytest.mark.parametrize("durability", ["power", "process", "behind", "end"])
def test_a_signal_that_was_seen_is_recorded(place: StoreSource, durability: str) -> None:
    """Whatever is said of steps, what came from outside is in the journal before the code goes on with it."""
    seen: asyncio.Event

    @blueprint(name="sees")
    async def sees() -> None:
        await stepwell.wait_for("go")
        seen.set()
        await asyncio.Event().wait()

    async def main() -> None:
        nonlocal seen
        seen = asyncio.Event()
        async with opened(place, ManualClock(), durability=durability) as kernel:
            handle = await kernel.start(sees)
            await handle.signal("go", 1)
            await seen.wait()
            assert await names(handle) == [("go", "completed", 1)]
            assert await kernel.store.inbox(handle.id) == []

    asyncio.run(main())


def test_payloads_have_the_type_that_is_asked_for(place: StoreSource) -> None:
    @dataclass
    class Approval:
        by: str
        cents: int

    @blueprint(name="typed")
    async def typed() -> int:
        given = await stepwell.wait_for("approval", type=Approval, reason=WaitReason.APPROVAL)
        assert isinstance(given, Approval)
        return given.cents

    async def main() -> None:
        async with opened(place, ManualClock()) as kernel:
            handle = await kernel.start(typed)
            await handle.signal("approval", {"by": "ann", "cents": 5})
            assert await handle.result() == 5
            with pytest.raises(ValidationError):
                await handle.signal("", 1)
            with pytest.raises(ValidationError):
                await handle.signal("x", float("nan"))

    asyncio.run(main())


def test_the_wait_of_a_task_that_is_cancelled_is_cancelled(place: StoreSource) -> None:
    @blueprint(name="either")
    async def either() -> Any:
        first = asyncio.ensure_future(stepwell.wait_for("a"))
        second = asyncio.ensure_future(stepwell.wait_for("b"))
        done, late = await asyncio.wait({first, second}, return_when=asyncio.FIRST_COMPLETED)
        for task in late:
            task.cancel()
        return [task.result() for task in done] + [await stepwell.wait_for("c")]

    async def main() -> None:
        async with opened(place, ManualClock()) as kernel:
            handle = await kernel.start(either)
            await left(kernel, handle)
            await handle.signal("b", 1)
            await until(lambda: _waits_for(handle, 3))
            await left(kernel, handle)
            await handle.signal("a", 2)
            await handle.signal("c", 3)
            assert await handle.result() == [1, 3]
            assert await names(handle) == [
                ("a", "cancelled", 1),
                ("b", "completed", 1),
                ("c", "completed", 1),
            ]

    asyncio.run(main())


def test_without_a_kernel_it_is_refused() -> None:
    with pytest.raises(stepwell.StepwellError, match="needs a blueprint"):
        asyncio.run(asks.fn(1))
    with pytest.raises(stepwell.StepwellError, match="needs a blueprint"):
        asks_too.fn(1)
    with pytest.raises(ValidationError):
        stepwell.wait_for("x", reason="boredom")
