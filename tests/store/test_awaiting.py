"""Awaiting tickets: by tasks of every kind, cancelled, by many at once, and when the loop ends in the middle."""

import asyncio
import contextvars
import gc
import weakref
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import pytest

from stepwell import NotFound
from stepwell.store.sqlite import SqliteStore
from store.given import create
from store.processes import held

PURE_TASK: Any = asyncio.tasks._PyTask  # type: ignore[attr-defined]
C_TASK: Any = asyncio.tasks._CTask  # type: ignore[attr-defined]


@pytest.fixture(params=[C_TASK, PURE_TASK])
def task(request: pytest.FixtureRequest) -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """Makes a task; there are two kinds."""
    kind = request.param
    return lambda work: kind(work, loop=asyncio.get_running_loop())


async def outcome(ticket: Any) -> Any:
    return await ticket


async def parked(*tasks: Any) -> None:
    """Lets the loop go round until all of these sleep, and no longer look by themselves."""
    while not all(isinstance(each._fut_waiter, object) and each._fut_waiter is not None for each in tasks):
        await asyncio.sleep(0)


def test_tasks_of_every_kind_go_on(store: SqliteStore, path: Any, task: Any) -> None:
    create(store, "exec_1")

    async def main() -> list[Any]:
        with held(path):
            tickets = [store.claim("exec_1", f"me {epoch}", epoch) for epoch in range(1, 201)]
            waiting = [task(outcome(ticket)) for ticket in tickets]
            await parked(*waiting)
        return [await each for each in waiting]

    assert asyncio.run(main()) == list(range(2, 202))


def test_an_error_is_raised_where_it_is_awaited(store: SqliteStore, task: Any) -> None:
    async def main() -> None:
        ticket = store.claim("exec_9", "me", 1)
        for _ in range(3):
            with pytest.raises(NotFound, match="exec_9"):
                await task(outcome(ticket))

    asyncio.run(main())


@pytest.mark.parametrize("message", [None, "no longer"])
def test_of_many_who_wait_one_may_be_cancelled(
    store: SqliteStore, path: Any, task: Any, message: Any
) -> None:
    create(store, "exec_1")

    async def main() -> None:
        with held(path):
            ticket = store.claim("exec_1", "me", 1)
            first, second, third = waiting = [task(outcome(ticket)) for _ in range(3)]
            await parked(*waiting)
            assert second.cancel(message)
            with pytest.raises(asyncio.CancelledError) as caught:
                await second
            assert caught.value.args == (() if message is None else (message,))
            assert second.cancelled()
            assert not first.done()
        assert [await first, await third, await ticket] == [2, 2, 2]

    asyncio.run(main())


def test_a_wait_may_be_taken_up_again_after_a_cancellation(store: SqliteStore, path: Any, task: Any) -> None:
    create(store, "exec_1")

    async def stubborn(ticket: Any) -> Any:
        with suppress(asyncio.CancelledError):
            await ticket
        return await ticket

    async def main() -> None:
        with held(path):
            waiting = task(stubborn(store.claim("exec_1", "me", 1)))
            await parked(waiting)
            before = waiting._fut_waiter
            waiting.cancel()
            while waiting._fut_waiter in {before, None}:
                await asyncio.sleep(0)
        assert await waiting == 2

    asyncio.run(main())


def test_what_has_come_is_not_lost_by_a_cancellation(store: SqliteStore, path: Any, task: Any) -> None:
    """It is cancelled when the outcome is known, and before it is told."""
    create(store, "exec_1")

    async def main() -> None:
        with held(path):
            ticket = store.claim("exec_1", "me", 1)
            waiting = task(outcome(ticket))
            await parked(waiting)
        ticket.wait(30)
        assert waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await ticket == 2

    asyncio.run(main())


def test_a_task_keeps_its_context(store: SqliteStore, path: Any, task: Any) -> None:
    create(store, "exec_1")
    whose: contextvars.ContextVar[str] = contextvars.ContextVar("whose")

    async def mine(name: str, ticket: Any) -> str:
        whose.set(name)
        await ticket
        return whose.get()

    async def main() -> list[str]:
        with held(path):
            ticket = store.claim("exec_1", "me", 1)
            waiting = [task(mine(f"task {number}", ticket)) for number in range(100)]
            await parked(*waiting)
        return [await each for each in waiting]

    assert asyncio.run(main()) == [f"task {number}" for number in range(100)]


def test_a_task_may_be_asked_for_anything_that_waits(store: SqliteStore, path: Any) -> None:
    create(store, "exec_1")

    async def main() -> None:
        with held(path):
            ticket = store.claim("exec_1", "me", 1)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(ticket, 0.001)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.001):
                    await ticket
            together = asyncio.gather(ticket, asyncio.shield(ticket))
            await asyncio.sleep(0)
        assert await together == [2, 2]
        assert await asyncio.wait_for(store.release("exec_1", 2), 30) is True

    asyncio.run(main())


@pytest.mark.parametrize("ending", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_loop_leaves_the_others_to_be_told(
    store: SqliteStore, path: Any, ending: type[BaseException]
) -> None:
    create(store, "exec_1")

    async def ends(ticket: Any) -> None:
        await ticket
        raise ending

    async def main() -> tuple[Any, list[Any]]:
        with held(path):
            ticket = store.claim("exec_1", "me", 1)
            others = [asyncio.ensure_future(outcome(ticket)) for _ in range(100)]
            await asyncio.sleep(0)
            last = asyncio.ensure_future(ends(ticket))
            others += [asyncio.ensure_future(outcome(ticket)) for _ in range(100)]
            await parked(last, *others)
        return last, others

    loop = asyncio.new_event_loop()
    last, others = loop.run_until_complete(main())
    together = asyncio.gather(*others)
    with pytest.raises(ending):
        loop.run_until_complete(together)
    assert sum(not each.done() for each in others) >= 100
    assert loop.run_until_complete(together) == [2] * 200
    with pytest.raises(ending):
        last.result()
    loop.close()


def test_a_coroutine_that_is_closed_waits_no_longer(store: SqliteStore, path: Any) -> None:
    create(store, "exec_1")

    async def main() -> None:
        with held(path):
            ticket = store.claim("exec_1", "me", 1)
            by_hand = outcome(ticket)
            while by_hand.send(None) is None:
                pass
            with pytest.raises(RuntimeError, match="wasn't used with future"):
                by_hand.send(None)
            closed, thrown = outcome(ticket), outcome(ticket)
            for each in (closed, thrown):
                while each.send(None) is None:
                    pass
            closed.close()
            with pytest.raises(ZeroDivisionError):
                thrown.throw(ZeroDivisionError("by hand"))
            gone = weakref.ref(ticket)
        assert await ticket == 2
        del ticket, by_hand, closed, thrown
        async with asyncio.timeout(30):
            while gone() is not None:
                await asyncio.sleep(0)  # the loop has to look into its mailbox
                gc.collect()

    asyncio.run(main())


def test_awaiting_needs_a_loop(store: SqliteStore, path: Any) -> None:
    create(store, "exec_1")
    with held(path):
        waiting = outcome(store.claim("exec_1", "me", 1))
        with pytest.raises(RuntimeError, match="no running event loop"):
            waiting.send(None)
