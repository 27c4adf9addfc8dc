"""Checks: what can be asked of executions without their journals, page by page."""

from collections.abc import Callable
from typing import Any

from ..errors import ValidationError
from ..store import ExecutionRow, Projection, Store, Ticket
from .checking import DONE, SECONDS, Fresh, append, check, create, equal, ids, records, refused, row_of, true

WAITING = Projection("waiting", "timer", "0" * 32, wake_at_ns=1)

Rows = list[ExecutionRow]


def _pages(ask: Callable[[str | None], Ticket[Rows]], limit: int) -> list[str]:
    """The ids of all pages."""
    found: list[str] = []
    while page := ask(found[-1] if found else None).wait(SECONDS):
        true(len(page) <= limit, "a page has at most as many rows as were asked for")
        true(not set(ids(page)) & set(found), "a page has no row of those before")
        found += ids(page)
    return found


def _several(store: Store) -> None:
    """Ten, of two blueprints; every third is done, and of the others every second waits."""
    for number in range(10):
        ident, blueprint = f"exec_{number}", "m.f" if number < 6 else "m.g"
        create(
            store, ident, blueprint=blueprint, row=WAITING if number % 2 else DONE._replace(state="running")
        )
        if number % 3 == 0:
            append(store, ident, records(2, 2), DONE)


@check
def listing_is_newest_first_and_by_pages(fresh: Fresh) -> None:
    """All of a tenant's; a page begins behind the last one of the page before."""
    store = fresh.open()
    _several(store)
    everyone = [f"exec_{number}" for number in reversed(range(10))]
    for limit in (1, 3, 4, 5, 9, 10, 11, 1_000):
        equal(_pages(lambda after, most=limit: store.list(None, after, most), limit), everyone, "all")  # type: ignore[misc]
    equal(ids(store.list().wait(SECONDS)), everyone, "without any argument")
    equal(ids(store.list(after="exec_4x").wait(SECONDS)), everyone[5:], "behind an id that is not there")
    equal(ids(store.list(after="exec_0").wait(SECONDS)), [], "behind the last")
    equal(ids(store.list(after="").wait(SECONDS)), [], "behind an empty id")


@check
def ids_may_be_any_text(fresh: Fresh) -> None:
    """They are in the order of their characters' numbers."""
    store = fresh.open()
    names = sorted(["exec_1", "é", "\x7f", "💣", "Z", "~", "\U0010ffff", "zz", "\ue000"])
    for each in names:
        create(store, each, parent="p", row=WAITING)
    backwards = names[::-1]
    equal(ids(store.list().wait(SECONDS)), backwards, "all")
    equal(_pages(lambda after: store.list("waiting", after, 2), 2), backwards, "by pages")
    equal(
        _pages(
            lambda after: store.children(
                "p",
                after,
                2,
            ),
            2,
        ),
        backwards,
        "children by pages",
    )
    equal(ids(store.due(1).wait(SECONDS)), names, "due, all at the same time")


@check
def a_list_may_be_of_one_state(fresh: Fresh) -> None:
    """And changes when an execution changes its state."""
    store = fresh.open()
    _several(store)
    done = ["exec_9", "exec_6", "exec_3", "exec_0"]
    equal(ids(store.list("completed").wait(SECONDS)), done, "those that are done")
    equal(_pages(lambda after: store.list("completed", after, 1), 1), done, "those that are done, by pages")
    equal(ids(store.list("completed", "exec_6", 1).wait(SECONDS)), ["exec_3"], "a page")
    equal(ids(store.list("waiting").wait(SECONDS)), ["exec_7", "exec_5", "exec_1"], "those that wait")
    equal(store.list("failed").wait(SECONDS), [], "a state that none is in")
    append(store, "exec_7", records(2, 2), DONE)
    equal(ids(store.list("waiting").wait(SECONDS)), ["exec_5", "exec_1"], "those that wait now")


@check
def a_list_may_be_of_one_blueprint(fresh: Fresh) -> None:
    """And of one state of it."""
    store = fresh.open()
    _several(store)
    equal(ids(store.list(blueprint="m.g").wait(SECONDS)), ["exec_9", "exec_8", "exec_7", "exec_6"], "m.g")
    found = _pages(lambda after: store.list(None, after, 2, blueprint="m.f"), 2)
    equal(found, [f"exec_{number}" for number in reversed(range(6))], "m.f by pages")
    found = _pages(lambda after: store.list("completed", after, 1, blueprint="m.f"), 1)
    equal(found, ["exec_3", "exec_0"], "m.f, those that are done")
    equal(ids(store.list("waiting", blueprint="m.g").wait(SECONDS)), ["exec_7"], "m.g, those that wait")
    equal(store.list(blueprint="absent").wait(SECONDS), [], "one that is not there")


@check
def children_are_found_by_their_parent(fresh: Fresh) -> None:
    """Newest first, by pages."""
    store = fresh.open()
    create(store, "exec_0")
    for number in range(1, 8):
        create(store, f"exec_{number}", parent="exec_0" if number % 2 else "exec_1")
    equal(ids(store.children("exec_0").wait(SECONDS)), ["exec_7", "exec_5", "exec_3", "exec_1"], "all")
    found = _pages(lambda after: store.children("exec_0", after, 2), 2)
    equal(found, ["exec_7", "exec_5", "exec_3", "exec_1"], "by pages")
    equal(ids(store.children("exec_1", "exec_6").wait(SECONDS)), ["exec_4", "exec_2"], "behind one")
    equal(store.children("exec_2").wait(SECONDS), [], "one without")
    equal(store.children("absent").wait(SECONDS), [], "one that is not there")


@check
def executions_are_counted_by_state(fresh: Fresh) -> None:
    """States that none is in are left out."""
    store = fresh.open()
    equal(store.count().wait(SECONDS), {}, "an empty store")
    _several(store)
    equal(store.count().wait(SECONDS), {"completed": 4, "running": 3, "waiting": 3}, "all")
    equal(store.count("m.g").wait(SECONDS), {"completed": 2, "running": 1, "waiting": 1}, "of one blueprint")
    equal(store.count("absent").wait(SECONDS), {}, "of one that is not there")
    append(store, "exec_8", records(2, 2), DONE)
    equal(store.count("m.g").wait(SECONDS), {"completed": 3, "waiting": 1}, "after a change")


@check
def those_whose_time_has_come_are_due(fresh: Fresh) -> None:
    """The earliest first, of equal times the older one."""
    store = fresh.open()
    times = {"exec_1": 50, "exec_2": 10, "exec_3": None, "exec_4": 50, "exec_5": 70, "exec_6": -5}
    for ident, at in times.items():
        create(store, ident, row=WAITING._replace(wake_at_ns=at))
    equal(ids(store.due(69).wait(SECONDS)), ["exec_6", "exec_2", "exec_1", "exec_4"], "at 69")
    equal(ids(store.due(70).wait(SECONDS))[-1:], ["exec_5"], "at 70")
    equal(ids(store.due(69, 2).wait(SECONDS)), ["exec_6", "exec_2"], "two of them")
    equal(store.due(-6).wait(SECONDS), [], "before all")
    append(store, "exec_2", records(2, 2))
    equal(ids(store.due(69).wait(SECONDS)), ["exec_6", "exec_1", "exec_4"], "when one has gone on")
    append(store, "exec_2", records(3, 3), WAITING._replace(wake_at_ns=60))
    equal(ids(store.due(69).wait(SECONDS))[-1:], ["exec_2"], "when it waits again")


@check
def those_in_any_state_are_due_but_the_ended(fresh: Fresh) -> None:
    """One that has yet to start among them."""
    store = fresh.open()
    states = ("created", "planning", "running", "paused", "waiting", "completed", "failed", "cancelled")
    for number, state in enumerate(states):
        create(store, f"exec_{number}", row=Projection(state, None, "0" * 32, wake_at_ns=9 - number))
    equal(row_of(store, "exec_0").wake_at_ns, 9, "when the first has to start")
    equal(ids(store.due(9).wait(SECONDS)), [f"exec_{number}" for number in (4, 3, 2, 1, 0)], "all")
    equal(ids(store.due(8).wait(SECONDS)), [f"exec_{number}" for number in (4, 3, 2, 1)], "before it starts")
    append(store, "exec_0", records(2, 2), Projection("running", None, "0" * 32))
    equal(row_of(store, "exec_0").wake_at_ns, None, "the time of one that has started")
    append(store, "exec_4", records(2, 2), DONE._replace(wake_at_ns=1))
    append(store, "exec_3", records(2, 2), Projection("paused", None, "0" * 32))
    equal(ids(store.due(99).wait(SECONDS)), ["exec_2", "exec_1"], "when some have gone on, or ended")


@check
def a_page_has_a_size(fresh: Fresh) -> None:
    """From 1 to 1,000."""
    store = fresh.open()
    create(store)
    asked: list[tuple[str, Callable[[Any], Ticket[Any]]]] = [
        ("list", lambda limit: store.list(limit=limit)),
        ("children", lambda limit: store.children("exec_0", limit=limit)),
        ("due", lambda limit: store.due(5, limit)),
        ("inbox", lambda limit: store.inbox("exec_1", limit=limit)),
        ("arrivals", lambda limit: store.arrivals(limit=limit)),
        ("finished", lambda limit: store.finished("completed", limit=limit)),
    ]
    for name, ask in asked:
        for limit in (0, -1, 1_001, None, "5"):
            refused(ValidationError, lambda: ask(limit), f"{name} with a limit of {limit!r}")  # noqa: B023
        for limit in (1, 1_000):
            ask(limit).wait(SECONDS)
