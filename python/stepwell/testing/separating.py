"""Checks: a store belongs to one tenant, and text is text whatever is in it."""

from collections.abc import Callable
from typing import Any, Final

from ..errors import NotFound, TenantRequired, ValidationError
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

HOSTILE: Final = (
    "' OR 1=1 --", "'; DROP TABLE journal; --", "%", "_", "exec_1%", "*", "?", ":name", "a\0b", "\0", "exec_1\0", "é",
    "💣", "\u202eabc", "\u2066x\u2069", "\x1b[31mred", "\r\n", " ", "NULL", "0", "-1", "\\", '"', "[x]", "x" * 100_000,
    "\ufeff", "e\u0301", "\U0010ffff",
)  # fmt: skip
"""Texts that are something else to somebody: to SQL, to patterns, to a terminal, to C."""

Ask = Callable[[Store, str], Ticket[Any]]
REQUESTS: Final[dict[str, Ask]] = {
    "get": lambda store, ident: store.get(ident),
    "load": lambda store, ident: store.load(ident),
    "bodies": lambda store, ident: store.bodies(ident),
    "digests": lambda store, ident: store.digests(ident),
    "inbox": lambda store, ident: store.inbox(ident),
    "claim": lambda store, ident: store.claim(ident, "you", 1),
    "release": lambda store, ident: store.release(ident, 1),
    "renew": lambda store, ident: store.renew(ident, 1, 5),
    "append": lambda store, ident: store.append(ident, 1, 1, b"x", records(2, 2), RUNNING),
    "append again": lambda store, ident: store.append(ident, -1, 1, b"create-exec_1", records(0, 1), RUNNING),
    "deliver": lambda store, ident: store.deliver(ident, "d1", "signal", "go", b"", 1),
}
"""Every request that names an execution."""


@check
def tenants_do_not_see_each_other(fresh: Fresh) -> None:
    """Another's execution is not there, in the words for one that is not."""
    acme, other = fresh.open("acme"), fresh.open("other")
    equal((acme.tenant, other.tenant), ("acme", "other"), "whose they are")
    create(acme, "exec_1", key="k", parent="exec_0", row=Projection("waiting", None, "0" * 32, wake_at_ns=1))
    acme.deliver("exec_1", "d1", "signal", "go", b"secret", 1).wait(SECONDS)
    before = row_of(acme)
    for name, ask in REQUESTS.items():
        foreign = refused(NotFound, lambda ask=ask: ask(other, "exec_1"), f"{name} of another's")  # type: ignore[misc]
        absent = refused(NotFound, lambda ask=ask: ask(other, "exec_9"), f"{name} of none")  # type: ignore[misc]
        equal(str(foreign).replace("exec_1", "exec_9"), str(absent), f"the words of {name}")
    equal(other.list().wait(SECONDS), [], "list")
    equal(other.list("waiting").wait(SECONDS), [], "list of a state")
    equal(other.list(blueprint="m.f").wait(SECONDS), [], "list of a blueprint")
    equal(other.children("exec_0").wait(SECONDS), [], "children")
    equal(other.count().wait(SECONDS), {}, "count")
    equal(other.count("m.f").wait(SECONDS), {}, "count of a blueprint")
    equal(other.due(9).wait(SECONDS), [], "due")
    equal(other.arrivals().wait(SECONDS), [], "arrivals")
    equal(other.find("m.f", "k").wait(SECONDS), None, "find")
    equal(other.finished("completed").wait(SECONDS), [], "finished")
    equal(row_of(acme), before, "the row")
    equal(len(acme.inbox("exec_1").wait(SECONDS)), 1, "the inbox")


@check
def ids_and_keys_are_each_tenants_own(fresh: Fresh) -> None:
    """The same id and the same key, twice; what one does the other does not notice."""
    acme, other = fresh.open("acme"), fresh.open("other")
    for salt, store in enumerate((acme, other)):
        made = create(store, "exec_1", key="k", written=records(0, 1, salt=salt))
        equal(made, ("exec_1", True), "the outcome")
    append(acme, "exec_1", records(2, 3), DONE)
    other.claim("exec_1", "you", 1).wait(SECONDS)
    acme.deliver("exec_1", "d1", "signal", "go", b"", 1).wait(SECONDS)
    equal(everything(other), records(0, 1, salt=1), "the journal of the other")
    equal(everything(acme), [*records(0, 1), *records(2, 3)], "the journal of the one")
    equal((row_of(acme).state, row_of(acme).epoch), ("completed", 1), "the row of the one")
    equal((row_of(other).state, row_of(other).epoch), ("running", 2), "the row of the other")
    equal(other.inbox("exec_1").wait(SECONDS), [], "the inbox of the other")


@check
def a_large_payload_is_each_tenants_own(fresh: Fresh) -> None:
    """The same one, kept by two; with one of them it does not go from the other."""
    acme, other = fresh.open("acme"), fresh.open("other")
    text = '{"seq":0,"prev":"%s","at":5,"kind":"complete","output":"%s"}' % ("0" * 32, "s" * 50_000)  # noqa: UP031
    written = [(0, 5, "complete", text.encode())]
    for store in (acme, other):
        create(store, "exec_1", row=DONE, written=written)
    equal(acme.doom(["exec_1"]).wait(SECONDS), 1, "dooming the one")
    sweep_all(acme)
    equal(everything(other), written, "the journal of the other")


@check
def two_stores_of_a_tenant_are_one(fresh: Fresh) -> None:
    """What one has written the other reads."""
    first, second = fresh.open(), fresh.open()
    create(first)
    equal(append(second, "exec_1", records(2, 2)), 2, "an append by the other")
    equal(everything(first), records(0, 2), "the journal")
    true(row_of(first) == row_of(second), "the rows are the same")


@check
def a_tenant_is_a_label(fresh: Fresh) -> None:
    """Neither empty nor long nor with line ends."""
    for tenant in ("", "a\nb", "x" * 256, "\ud800", None, 5):
        try:
            fresh.open(tenant)  # type: ignore[arg-type]
        except (ValidationError, TenantRequired):
            continue
        raise AssertionError(f"a tenant {str(tenant)[:10]!a} is none")
    for tenant in ("é", "' OR 1=1 --", "%", "a b"):
        store = fresh.open(tenant)
        create(store, "exec_1")
        equal(ids(store.list().wait(SECONDS)), ["exec_1"], f"the executions of {tenant!a}")
        equal(store.tenant, tenant, "whose it is")


@check
def hostile_text_finds_nothing(fresh: Fresh) -> None:
    """It is no pattern and no SQL, wherever it is asked for."""
    store = fresh.open()
    create(store, "exec_1", key="k", parent="exec_0")
    store.deliver("exec_1", "d1", "signal", "go", b"", 1).wait(SECONDS)
    before = row_of(store)
    for text in HOSTILE:
        shown = ascii(text[:20])
        for name, ask in REQUESTS.items():
            refused(NotFound, lambda ask=ask, text=text: ask(store, text), f"{name} of {shown}")  # type: ignore[misc]
        equal(store.find(text, "k").wait(SECONDS), None, f"the blueprint {shown}")
        equal(store.find("m.f", text).wait(SECONDS), None, f"the key {shown}")
        equal(store.list(text).wait(SECONDS), [], f"the state {shown}")
        equal(store.list(blueprint=text).wait(SECONDS), [], f"the blueprint {shown}")
        equal(store.children(text).wait(SECONDS), [], f"the parent {shown}")
        equal(store.count(text).wait(SECONDS), {}, f"the count of {shown}")
        equal(store.doom([text]).wait(SECONDS), 0, f"dooming {shown}")
        refused(NotFound, lambda text=text: store.awaited(text), f"the step {shown}")  # type: ignore[misc]
        refused(ValidationError, lambda text=text: store.finished(text), f"the state {shown}")  # type: ignore[misc]
    equal(row_of(store), before, "the row")


@check
def hostile_text_is_kept_as_it_is(fresh: Fresh) -> None:
    """In every field that has text."""
    store = fresh.open()
    for number, text in enumerate(HOSTILE):
        ident, shown = f"exec_{number}", ascii(text[:20])
        new = NewExecution(ident, text, text, text, text, text, text)
        row = Projection(text, text, "0" * 32)
        equal(
            store.create(new, text.encode(), [(0, 1, text, text.encode())], row).wait(SECONDS),
            (ident, True),
            shown,
        )
        found = row_of(store, ident)
        equal(found[:8], (ident, text, text, text, text, text, text, text), f"the row with {shown}")
        equal(found.owner, text, f"the owner {shown}")
        equal(everything(store, ident), [(0, 1, text, text.encode())], f"the journal with {shown}")
        equal(store.claim(ident, text, 1).wait(SECONDS), 2, f"a claim by {shown}")
        equal(store.claim(ident, text, 1).wait(SECONDS), 2, f"the same claim by {shown}")
        for _ in range(2):
            equal(
                store.deliver(ident, text, text, text, text.encode(), 5).wait(SECONDS),
                True,
                f"delivering {shown}",
            )
        [delivery] = store.inbox(ident).wait(SECONDS)
        equal(delivery[1:], (text, 5, text, text, text.encode()), f"the inbox with {shown}")
        found_by_key = store.find(text, text).wait(SECONDS)
        true(found_by_key is not None and found_by_key.id == ident, f"the key {shown}")
        equal(ids(store.list(text).wait(SECONDS)), [ident], f"the state {shown}")
        equal(ids(store.list(blueprint=text).wait(SECONDS)), [ident], f"the blueprint {shown}")
        equal(ids(store.children(text).wait(SECONDS)), [ident], f"the parent {shown}")
        given = [(1, 1, text, b"")]
        ticket = store.append(ident, 0, 2, text.encode(), given, row, taken=[text], opened=[text])
        equal(ticket.wait(SECONDS), 1, f"taking {shown}")
        equal(store.inbox(ident).wait(SECONDS), [], f"the inbox without {shown}")
        equal(store.awaited(text).wait(SECONDS).id, ident, f"the step {shown}")
    equal(store.count().wait(SECONDS), dict.fromkeys(HOSTILE, 1), "the counts")
