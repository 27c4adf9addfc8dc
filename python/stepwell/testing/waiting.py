"""Checks: outcomes come to whoever waits, in threads and on loops, and an interrupted wait loses nothing."""

import asyncio
import threading
from collections.abc import Callable

from ..errors import Conflict, NotFound, StoreError
from ..store import ExecutionRow, Store, Ticket
from .checking import (
    RUNNING,
    SECONDS,
    Fresh,
    append,
    check,
    create,
    equal,
    everything,
    records,
    refused,
    row_of,
    true,
)


def _at_once(count: int, work: Callable[[int], None]) -> None:
    """Does the work in so many threads; raises what the first of them raised."""
    failures: list[Exception] = []

    def run(number: int) -> None:
        try:
            work(number)
        except Exception as error:  # noqa: BLE001 - it is raised below, where the check sees it
            failures.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


@check
def many_threads_write_to_their_own(fresh: Fresh) -> None:
    """Through one store."""
    store = fresh.open()

    def work(number: int) -> None:
        create(store, f"exec_{number}", written=records(0, 1, salt=number))
        for seq in range(2, 30):
            append(store, f"exec_{number}", records(seq, seq, salt=number))

    _at_once(8, work)
    for number in range(8):
        equal(everything(store, f"exec_{number}"), records(0, 29, salt=number), "a journal")


@check
def of_threads_that_race_for_a_place_one_wins(fresh: Fresh) -> None:
    """For an append, a claim, a key, and a delivery."""
    store = fresh.open()
    create(store)
    won: dict[str, list[int]] = {"append": [], "claim": [], "key": [], "delivery": []}
    start = threading.Barrier(6)

    def work(number: int) -> None:
        start.wait(SECONDS)
        given = records(2, 2, salt=number)
        try:
            store.append("exec_1", 1, 1, b"%d" % number, given, RUNNING).wait(SECONDS)
            won["append"].append(number)
        except Conflict:
            pass
        try:
            store.claim("exec_1", f"{number}", 1).wait(SECONDS)
            won["claim"].append(number)
        except Conflict:
            pass
        if create(store, f"exec_{number + 2}", key="k")[1]:
            won["key"].append(number)
        if store.deliver("exec_1", "d", "signal", "s", b"%d" % number, 1).wait(SECONDS):
            won["delivery"].append(number)

    _at_once(6, work)
    for what, winners in won.items():
        true(len(winners) <= 1 if what == "append" else len(winners) == 1, f"{what}: won by {winners}")
    row = row_of(store)
    equal(row.owner, f"{won['claim'][0]}", "the owner")
    if won["append"]:
        equal(everything(store)[2:], records(2, 2, salt=won["append"][0]), "the record")
    equal(
        [each.body for each in store.inbox("exec_1").wait(SECONDS)], [b"%d" % won["delivery"][0]], "the inbox"
    )


@check
def an_outcome_may_be_asked_for_again(fresh: Fresh) -> None:
    """And again, and it is the same; so is an error."""
    store = fresh.open()
    create(store)
    ticket = store.append("exec_1", 1, 1, b"x", records(2, 2), RUNNING)
    equal([ticket.wait(SECONDS), ticket.wait(0), ticket.result()], [2, 2, 2], "the outcome")
    true(ticket.done, "it is done")
    missing = store.get("exec_9")
    for _ in range(2):
        refused(NotFound, lambda: missing, "one that is not there")

    async def awaited() -> list[object]:
        found: list[object] = [await ticket, await ticket]
        for _ in range(2):
            try:
                await missing
            except NotFound:
                found.append("missing")
        return found

    equal(asyncio.run(awaited()), [2, 2, "missing", "missing"], "the outcomes on a loop")


@check
def requests_are_done_in_their_order(fresh: Fresh) -> None:
    """Those of one thread, whether it waits between them or not."""
    store = fresh.open()
    create(store)
    tickets = [
        store.append("exec_1", seq - 1, 1, b"%d" % seq, records(seq, seq), RUNNING) for seq in range(2, 50)
    ]
    equal([ticket.wait(SECONDS) for ticket in tickets], list(range(2, 50)), "appends, one behind the other")
    equal(everything(store), records(0, 49), "the journal")


@check
def a_cancelled_wait_loses_nothing(fresh: Fresh) -> None:
    """The request goes on without the one who asked."""
    store = fresh.open()
    create(store)

    async def write(seq: int) -> int:
        return await store.append("exec_1", seq - 1, 1, b"%d" % seq, records(seq, seq), RUNNING)

    async def cancelled(seq: int, turns: int) -> None:
        task = asyncio.create_task(write(seq))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])

    for seq, turns in enumerate((1, 2, 3, 10), 2):
        asyncio.run(cancelled(seq, turns))
        again = store.append("exec_1", seq - 1, 1, b"%d" % seq, records(seq, seq), RUNNING)
        equal(again.wait(SECONDS), seq, "the outcome, asked for again")
    equal(everything(store), records(0, 5), "the journal")


@check
def every_loop_is_told(fresh: Fresh) -> None:
    """Several, in threads of their own, each with many that wait."""
    store = fresh.open()
    create(store)

    async def read() -> list[str]:
        rows = await asyncio.gather(*(_row(store.get("exec_1")) for _ in range(20)))
        return [row.id for row in rows]

    def work(_: int) -> None:
        equal(asyncio.run(read()), ["exec_1"] * 20, "the rows")

    _at_once(4, work)


async def _row(ticket: Ticket[ExecutionRow]) -> ExecutionRow:
    return await ticket


@check
def a_listener_is_called_with_the_ticket(fresh: Fresh) -> None:
    """On its loop, whether the outcome is known already or not."""
    store = fresh.open()
    create(store)

    async def told() -> None:
        loop = asyncio.get_running_loop()
        here = threading.get_ident()
        for ticket in (store.get("exec_1"), store.get("exec_9")):
            for _ in range(2):
                known: asyncio.Future[tuple[object, int]] = loop.create_future()
                ticket.then(loop, lambda given, known=known: known.set_result((given, threading.get_ident())))  # type: ignore[misc]
                found = await asyncio.wait_for(known, SECONDS)
                true(found[0] is ticket, "the listener gets the ticket")
                equal(found[1], here, "the thread it is called in")
                true(ticket.done, "the outcome is known then")

    asyncio.run(told())


@check
def a_loop_that_is_gone_is_no_trouble(fresh: Fresh) -> None:
    """The request is done all the same."""
    store = fresh.open()
    create(store)
    loop = asyncio.new_event_loop()
    loop.close()
    ticket = store.append("exec_1", 1, 1, b"x", records(2, 2), RUNNING)
    try:
        ticket.then(loop, lambda _: None)
    except RuntimeError:  # it may be said, where the outcome is known already
        pass
    equal(ticket.wait(SECONDS), 2, "the outcome")
    equal(row_of(store).version, 2, "the version")


@check
def closing_waits_for_what_was_asked(fresh: Fresh) -> None:
    """Nobody can ask afterwards; other stores of the source go on."""
    first, second = fresh.open(), fresh.open()
    create(first)
    tickets = [
        first.append("exec_1", seq - 1, 1, b"%d" % seq, records(seq, seq), RUNNING) for seq in range(2, 40)
    ]
    first.close()
    first.close()
    equal([ticket.wait(SECONDS) for ticket in tickets], list(range(2, 40)), "what was asked before")
    refused(StoreError, lambda: first.get("exec_1"), "a read afterwards")
    refused(StoreError, lambda: _late(first), "a write afterwards")
    equal(row_of(second).version, 39, "the other store")
    second.close()
    again = fresh.open()
    equal(everything(again), records(0, 39), "the journal, opened again")


def _late(store: Store) -> Ticket[int]:
    return store.append("exec_1", 39, 1, b"late", records(40, 40), RUNNING)
