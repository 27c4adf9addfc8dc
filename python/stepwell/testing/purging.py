"""Checks: executions that have ended go when they are told to, for good, piece by piece, and nothing else does."""

from ..errors import Conflict, NotFound, ValidationError
from ..store import NewExecution, Projection, Store, Ticket
from .checking import (
    DONE,
    RUNNING,
    SECONDS,
    Fresh,
    append,
    check,
    create,
    equal,
    everything,
    ids,
    records,
    refused,
    row_of,
    sweep_all,
    true,
)

ENDS = ("completed", "failed", "cancelled")


def _ended(store: Store, ident: str, state: str = "completed", last: int = 2, **options: str) -> None:
    create(store, ident, **options)  # type: ignore[arg-type]
    append(store, ident, records(2, last), DONE._replace(state=state))


@check
def those_that_have_ended_are_listed_by_id(fresh: Fresh) -> None:
    """Of one state in which an execution can end; with version and time of the end."""
    store = fresh.open()
    for number in range(9):
        _ended(store, f"exec_{number}", ENDS[number % 3], last=2 + number)
    create(store, "exec_9")
    found = store.finished("failed").wait(SECONDS)
    wanted = [(f"exec_{number}", 2 + number, 1_002 + number) for number in (1, 4, 7)]
    equal([tuple(each) for each in found], wanted, "those that failed")
    equal(
        [each[0] for each in store.finished("completed").wait(SECONDS)],
        ["exec_0", "exec_3", "exec_6"],
        "done",
    )
    equal([each[0] for each in store.finished("completed", "exec_0", 1).wait(SECONDS)], ["exec_3"], "a page")
    equal(store.finished("cancelled", "exec_8").wait(SECONDS), [], "behind the last")
    for state in ("running", "waiting", "pending", "", "COMPLETED"):
        refused(ValidationError, lambda: store.finished(state), f"the state {state!r}")  # noqa: B023


@check
def only_those_that_have_ended_are_doomed(fresh: Fresh) -> None:
    """Others are left alone, and so is what is not there; one that is named twice is one."""
    store = fresh.open()
    for number, state in enumerate((*ENDS, "running", "waiting", "paused")):
        create(store, f"exec_{number}")
        append(store, f"exec_{number}", records(2, 2), Projection(state, None, "0" * 32))
    everyone = [f"exec_{number}" for number in range(6)]
    equal(store.doom([]).wait(SECONDS), 0, "none")
    equal(
        store.doom(["exec_0\0", "exec_0\0x", "\0exec_0", "exec_", "EXEC_0"]).wait(SECONDS), 0, "none of these"
    )
    equal(
        store.doom([*everyone, "exec_1", "absent", "", "' OR 1=1 --", "exec_3\0"]).wait(SECONDS),
        3,
        "all that there are",
    )
    equal(store.doom(everyone).wait(SECONDS), 0, "the same again")
    equal(ids(store.list().wait(SECONDS)), ["exec_5", "exec_4", "exec_3"], "those that are left")
    equal(sweep_all(store), 9, "records of the doomed")
    for number in (3, 4, 5):
        equal(everything(store, f"exec_{number}"), records(0, 2), "the journal of one that is left")
        equal(append(store, f"exec_{number}", records(3, 3)), 3, "an append to it")


@check
def the_doomed_are_in_no_answer(fresh: Fresh) -> None:
    """From that moment on, before anything of them is swept."""
    store = fresh.open()
    create(store, "exec_0")
    row = Projection("running", None, "0" * 32, wake_at_ns=5)
    for ident, key, last in (("exec_1", "k", 10), ("exec_2", "other", 1)):
        create(store, ident, key=key, parent="exec_0", row=row, written=records(0, last - 1))
        store.deliver(ident, "d", "signal", "s", b"", 1).wait(SECONDS)
        ended = row._replace(state="completed")
        opened = [f"step_of_{ident}"]
        store.append(ident, last - 1, 1, b"end", records(last, last), ended, opened=opened).wait(SECONDS)
    equal(store.doom(["exec_1"]).wait(SECONDS), 1, "dooming one")

    def looked_at(when: str) -> None:
        for name, ask in (
            ("get", lambda: store.get("exec_1")),
            ("load", lambda: store.load("exec_1")),
            ("load after 5", lambda: store.load("exec_1", 5)),
            ("bodies", lambda: store.bodies("exec_1")),
            ("digests", lambda: store.digests("exec_1")),
            ("inbox", lambda: store.inbox("exec_1")),
            ("append", lambda: store.append("exec_1", 10, 1, b"x", records(11, 11), RUNNING)),
            ("claim", lambda: store.claim("exec_1", "me", 1)),
            ("release", lambda: store.release("exec_1", 1)),
            ("renew", lambda: store.renew("exec_1", 1, 5)),
            ("awaited", lambda: store.awaited("step_of_exec_1")),
            ("deliver", lambda: store.deliver("exec_1", "d", "signal", "s", b"", 1)),
        ):
            refused(NotFound, ask, f"{name} {when}")
        equal(store.find("m.f", "k").wait(SECONDS), None, f"find {when}")
        equal(ids(store.list().wait(SECONDS)), ["exec_2", "exec_0"], f"list {when}")
        equal(ids(store.list("completed").wait(SECONDS)), ["exec_2"], f"list of a state {when}")
        equal(
            ids(store.list(blueprint="m.f").wait(SECONDS)),
            ["exec_2", "exec_0"],
            f"list of a blueprint {when}",
        )
        equal(ids(store.children("exec_0").wait(SECONDS)), ["exec_2"], f"children {when}")
        equal(store.due(9).wait(SECONDS), [], f"due {when}")
        equal([ident for _, ident in store.arrivals().wait(SECONDS)], ["exec_2"], f"arrivals {when}")
        equal(store.awaited("step_of_exec_2").wait(SECONDS).id, "exec_2", f"the step of another {when}")
        equal(store.count().wait(SECONDS), {"completed": 1, "running": 1}, f"count {when}")
        equal([each[0] for each in store.finished("completed").wait(SECONDS)], ["exec_2"], f"finished {when}")

    looked_at("before a sweep")
    equal(store.sweep(4).wait(SECONDS), 4, "a first sweep")
    looked_at("between two sweeps")
    equal(sweep_all(store, 4), 7, "the rest of the sweeps")
    looked_at("after the sweeps")


@check
def the_key_of_the_doomed_is_free_at_once(fresh: Fresh) -> None:
    """And its id when it is swept."""
    store = fresh.open()
    _ended(store, "exec_1", last=5, key="k")
    create(store, "exec_2", key="k", blueprint="m.g")
    store.doom(["exec_1"]).wait(SECONDS)
    new = NewExecution("exec_1", "m.f", None, None, None, None, None)

    def taken() -> Ticket[tuple[str, bool]]:
        return store.create(new, b"new", records(0, 1, salt=7), RUNNING)

    refused(Conflict, taken, "its id before a sweep")
    refused(Conflict, lambda: store.create(new, b"create-exec_1", records(0, 1), RUNNING), "its create again")
    equal(create(store, "exec_3", key="k"), ("exec_3", True), "its key")
    equal(store.sweep(2).wait(SECONDS), 2, "a sweep")
    refused(Conflict, taken, "its id between two sweeps")
    equal(sweep_all(store), 4, "the other sweeps")
    equal(taken().wait(SECONDS), ("exec_1", True), "its id after the sweeps")
    equal(everything(store), records(0, 1, salt=7), "the journal of the new one")
    equal(store.inbox("exec_1").wait(SECONDS), [], "its inbox")
    found = store.find("m.f", "k").wait(SECONDS)
    true(found is not None and found.id == "exec_3", "the key is that of the other")


@check
def a_sweep_is_of_many_and_in_pieces(fresh: Fresh) -> None:
    """Each record once; those that stay, written in turn with them, are whole."""
    store = fresh.open()
    names = [f"exec_{number}" for number in range(6)]
    for salt, ident in enumerate(names):
        create(store, ident, written=records(0, 1, salt=salt))
    for first in range(2, 1_300, 100):
        tickets = [
            store.append(ident, first - 1, 1, b"%d" % first, records(first, first + 99, salt=salt), RUNNING)
            for salt, ident in enumerate(names)
        ]
        for ticket in tickets:
            ticket.wait(SECONDS)
    for ident in names[::2]:
        append(store, ident, records(1_302, 1_302), DONE)
    equal(store.doom(names).wait(SECONDS), 3, "dooming those that have ended")
    first = store.sweep(300).wait(SECONDS)
    true(0 < first <= 300, "a sweep deletes some, and at most as many as it is told")
    equal(first + sweep_all(store, 300), 3 * 1_303, "all records of the doomed")
    equal(store.sweep(300).wait(SECONDS), 0, "one more sweep")
    for salt, ident in enumerate(names):
        if salt % 2:
            equal(everything(store, ident), records(0, 1_301, salt=salt), "a journal that stays")
            equal(
                everything(store, ident, 1_020), records(1_021, 1_301, salt=salt), "the same from its middle"
            )


@check
def inboxes_go_with_the_doomed(fresh: Fresh) -> None:
    """A new execution with the id begins with an empty one."""
    store = fresh.open()
    for ident in ("exec_1", "exec_2"):
        create(store, ident)
        store.deliver(ident, "d1", "signal", "s", b"1", 1).wait(SECONDS)
        append(store, ident, records(2, 2), DONE)
    store.doom(["exec_1"]).wait(SECONDS)
    sweep_all(store)
    create(store, "exec_1")
    equal(store.inbox("exec_1").wait(SECONDS), [], "the inbox of the new one")
    equal(store.deliver("exec_1", "d1", "signal", "s", b"2", 1).wait(SECONDS), True, "a delivery to it")
    equal([each.body for each in store.inbox("exec_2").wait(SECONDS)], [b"1"], "the inbox of the other")


@check
def another_tenants_are_not_touched(fresh: Fresh) -> None:
    """Neither doomed nor swept, whatever ids are the same."""
    acme, other = fresh.open("acme"), fresh.open("other")
    for store in (acme, other):
        _ended(store, "exec_1", last=5, key="k")
    _ended(other, "exec_2")
    equal(acme.doom(["exec_1", "exec_2"]).wait(SECONDS), 1, "dooming")
    equal(other.sweep(100).wait(SECONDS), 0, "a sweep of the other")
    equal(sweep_all(acme), 6, "the sweeps")
    equal(ids(other.list().wait(SECONDS)), ["exec_2", "exec_1"], "those of the other")
    equal(everything(other), records(0, 5), "the journal of the other")
    equal(row_of(other).version, 5, "its version")
    equal(create(other, "exec_3", key="k"), ("exec_1", False), "its key")


@check
def a_sweep_says_how_much(fresh: Fresh) -> None:
    """One record at least."""
    store = fresh.open()
    _ended(store, "exec_1")
    store.doom(["exec_1"]).wait(SECONDS)
    for most in (0, -1, None, "5"):
        refused(ValidationError, lambda: store.sweep(most), f"{most!r} records")  # type: ignore[arg-type] # noqa: B023
    equal([store.sweep(1).wait(SECONDS) for _ in range(5)], [1, 1, 1, 0, 0], "one at a time")
