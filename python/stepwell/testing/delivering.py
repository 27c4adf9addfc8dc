"""Checks: what comes to an execution from outside is kept until its records have it."""

from ..errors import Conflict
from ..store import Delivery, Store
from .checking import DONE, RUNNING, SECONDS, Fresh, append, check, create, equal, records, refused


def _deliver(
    store: Store,
    delivery_id: str,
    body: bytes = b"body",
    name: str = "go",
    kind: str = "signal",
    at_ns: int = 5,
) -> bool:
    return store.deliver("exec_1", delivery_id, kind, name, body, at_ns).wait(SECONDS)


def _inbox(store: Store, after: int = 0, limit: int = 100) -> list[str]:
    return [each.id for each in store.inbox("exec_1", after, limit).wait(SECONDS)]


@check
def what_is_delivered_is_in_the_inbox(fresh: Fresh) -> None:
    """As it was given, with its place."""
    store = fresh.open()
    create(store)
    equal(store.inbox("exec_1").wait(SECONDS), [], "a new inbox")
    equal(_deliver(store, "d1", b"\0\xff", "naïve", "callback", 77), True, "the outcome")
    equal(_deliver(store, "d2", b""), True, "the outcome of another")
    found = store.inbox("exec_1").wait(SECONDS)
    equal(found[0], Delivery(1, "d1", 77, "callback", "naïve", b"\0\xff"), "the first")
    equal(found[1][1:], ("d2", 5, "signal", "go", b""), "the second")
    equal(found[1].place > found[0].place, True, "places go up")


@check
def deliveries_keep_their_order(fresh: Fresh) -> None:
    """By pages, too, whatever their ids."""
    store = fresh.open()
    create(store)
    given = [f"d{number * 7 % 20}" for number in range(20)]
    tickets = [store.deliver("exec_1", each, "signal", "go", b"", 100 - at) for at, each in enumerate(given)]
    equal([ticket.wait(SECONDS) for ticket in tickets], [True] * 20, "the outcomes")
    equal(_inbox(store), given, "all")
    found: list[str] = []
    place = 0
    while page := store.inbox("exec_1", place, 3).wait(SECONDS):
        equal(len(page) <= 3, True, "the size of a page")
        equal(page[0].place > place, True, "a page goes on")
        found += [each.id for each in page]
        place = page[-1].place
    equal(found, given, "all by pages")


@check
def the_first_delivery_of_an_id_wins(fresh: Fresh) -> None:
    """The same one again is in; another one under its id is not, and changes nothing."""
    store = fresh.open()
    create(store)
    equal(_deliver(store, "d1"), True, "the first")
    for at_ns in (5, 6):
        equal(_deliver(store, "d1", at_ns=at_ns), True, "the same again")
    equal(_deliver(store, "d1", body=b"other"), False, "another body")
    equal(_deliver(store, "d1", name="other"), False, "another name")
    equal(_deliver(store, "d1", kind="callback"), False, "another kind")
    equal(store.inbox("exec_1").wait(SECONDS), [Delivery(1, "d1", 5, "signal", "go", b"body")], "the inbox")
    create(store, "exec_2")
    equal(store.deliver("exec_2", "d1", "signal", "x", b"", 1).wait(SECONDS), True, "another execution's")


@check
def an_execution_that_has_ended_takes_nothing(fresh: Fresh) -> None:
    """What came before is still known."""
    store = fresh.open()
    for number, state in enumerate(("completed", "failed", "cancelled")):
        ident = f"exec_{number}"
        create(store, ident)
        equal(store.deliver(ident, "d1", "signal", "go", b"", 1).wait(SECONDS), True, "before the end")
        append(store, ident, records(2, 2), DONE._replace(state=state))
        equal(store.deliver(ident, "d2", "signal", "go", b"", 1).wait(SECONDS), False, f"when it is {state}")
        equal(store.deliver(ident, "d1", "signal", "go", b"", 1).wait(SECONDS), True, "the first one again")
        equal(
            store.deliver(ident, "d1", "signal", "go", b"x", 1).wait(SECONDS), False, "another under its id"
        )
        found = [each.id for each in store.inbox(ident).wait(SECONDS)]
        equal(found, ["d1"], "the inbox")


@check
def what_is_taken_is_out_of_the_inbox(fresh: Fresh) -> None:
    """With the records that it went into, and only with them."""
    store = fresh.open()
    create(store)
    for each in ("d1", "d2", "d3", "d4"):
        _deliver(store, each)
    ask = lambda: store.append("exec_1", 0, 1, b"late", records(1, 1), RUNNING, taken=["d1"])
    refused(Conflict, ask, "an append that is late")
    equal(_inbox(store), ["d1", "d2", "d3", "d4"], "the inbox after it")
    for _ in range(2):
        taken = ["d3", "d1", "absent"]
        done = store.append("exec_1", 1, 1, b"x", records(2, 2), RUNNING, taken=taken).wait(SECONDS)
        equal(done, 2, "an append that takes two")
        equal(_inbox(store), ["d2", "d4"], "the inbox after it")
    equal(_deliver(store, "d1"), True, "one that is taken, delivered again")
    equal(_deliver(store, "d1", body=b"other"), False, "another under its id")
    equal(_inbox(store), ["d2", "d4"], "the inbox after that")
    equal(_deliver(store, "d0"), True, "a new one")
    equal(_inbox(store), ["d2", "d4", "d0"], "the inbox with it")
    places = [each.place for each in store.inbox("exec_1").wait(SECONDS)]
    equal(places, sorted(set(places)), "places go up, and none is used twice")


@check
def what_is_taken_of_one_stays_with_another(fresh: Fresh) -> None:
    """Ids of deliveries are each execution's own."""
    store = fresh.open()
    for ident in ("exec_1", "exec_2"):
        create(store, ident)
        store.deliver(ident, "d1", "signal", "go", b"", 1).wait(SECONDS)
    store.append("exec_2", 1, 1, b"x", records(2, 2), RUNNING, taken=["d1"]).wait(SECONDS)
    equal(_inbox(store), ["d1"], "the inbox of the other")
    equal(store.inbox("exec_2").wait(SECONDS), [], "the inbox of the one")
