"""Checks: what comes to an execution from outside is kept until its records have it."""

from ..errors import Conflict
from ..store import Delivery, Store
from .checking import DONE, RUNNING, SECONDS, Fresh, append, check, create, equal, records, refused, sweep_all


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


@check
def arrivals_are_those_of_all_executions(fresh: Fresh) -> None:
    """In the order in which they came, by pages, until they are taken."""
    store = fresh.open()
    equal(store.arrivals().wait(SECONDS), [], "an empty store")
    for ident in ("exec_1", "exec_2", "exec_3"):
        create(store, ident)
    whose = [f"exec_{number * 7 % 3 + 1}" for number in range(12)]
    for number, ident in enumerate(whose):
        store.deliver(ident, f"d{number}", "signal", "go", b"", 100 - number).wait(SECONDS)
        store.deliver(ident, f"d{number}", "signal", "go", b"", 5).wait(SECONDS)
    found = store.arrivals().wait(SECONDS)
    equal([ident for _, ident in found], whose, "all")
    places = [place for place, _ in found]
    equal(places, sorted(set(places)), "places go up, and none is used twice")
    equal(places[0] > 0, True, "the first is behind 0")
    for ident in ("exec_1", "exec_2", "exec_3"):
        own = [each.place for each in store.inbox(ident).wait(SECONDS)]
        equal(own, [place for place, of in found if of == ident], f"the places in the inbox of {ident}")
    equal(store.arrivals(places[4], 3).wait(SECONDS), found[5:8], "a page")
    equal(store.arrivals(places[-1]).wait(SECONDS), [], "behind the last")
    equal(store.arrivals(-1, 1).wait(SECONDS), found[:1], "before the first")
    taken = ["d0", "d3"]
    store.append(whose[0], 1, 1, b"x", records(2, 2), RUNNING, taken=taken).wait(SECONDS)
    left = [each for number, each in enumerate(found) if number not in (0, 3)]
    equal(store.arrivals().wait(SECONDS), left, "when two are taken")
    equal(fresh.open("other").arrivals().wait(SECONDS), [], "another tenant's")


@check
def no_place_is_given_twice(fresh: Fresh) -> None:
    """Whoever has passed it would never see the second: not when it was taken, nor when it was purged."""
    store = fresh.open()
    for ident in ("exec_1", "exec_2"):
        create(store, ident)
    passed = 0
    for number in range(3):
        store.deliver("exec_1", f"d{number}", "signal", "go", b"", 1).wait(SECONDS)
        [(place, _)] = store.arrivals(passed).wait(SECONDS)
        equal(place > passed, True, "a place goes up")
        passed = place
        given = records(number + 2, number + 2)
        store.append("exec_1", number + 1, 1, b"%d" % number, given, RUNNING, taken=[f"d{number}"]).wait(
            SECONDS
        )
        equal(store.arrivals().wait(SECONDS), [], "when it is taken")
    store.deliver("exec_1", "last", "signal", "go", b"", 1).wait(SECONDS)
    [(passed, _)] = store.arrivals(passed).wait(SECONDS)
    append(store, "exec_1", records(5, 5), DONE)
    equal(store.doom(["exec_1"]).wait(SECONDS), 1, "dooming it")
    equal(store.arrivals().wait(SECONDS), [], "when it is purged")
    sweep_all(store)
    store.deliver("exec_2", "d0", "signal", "go", b"", 1).wait(SECONDS)
    [(place, ident)] = store.arrivals().wait(SECONDS)
    equal((place > passed, ident), (True, "exec_2"), "the next")


@check
def what_was_taken_is_known_after_the_end(fresh: Fresh) -> None:
    """So the sender of an answer that is repeated gets the same reply."""
    store = fresh.open()
    create(store)
    for each in ("d1", "d2"):
        _deliver(store, each)
    store.append("exec_1", 1, 1, b"x", records(2, 2), DONE, taken=["d1"]).wait(SECONDS)
    for each in ("d1", "d2"):
        equal(_deliver(store, each, at_ns=9), True, f"{each} again")
        equal(_deliver(store, each, body=b"other"), False, f"another body under {each}")
        equal(_deliver(store, each, name="other"), False, f"another name under {each}")
        equal(_deliver(store, each, kind="callback"), False, f"another kind under {each}")
    equal(_deliver(store, "d3"), False, "a new one")
    equal(_inbox(store), ["d2"], "the inbox")
    equal([ident for _, ident in store.arrivals().wait(SECONDS)], ["exec_1"], "what nobody took")
