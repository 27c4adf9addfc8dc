"""Checks: executions are created and appended to, each change once, whole, and in its order."""

from typing import Any

from ..errors import Conflict, NotFound, ValidationError
from ..store import NewExecution, Projection, Record
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


@check
def create_and_read_back(fresh: Fresh) -> None:
    """What `create` is told is in the row and in the journal."""
    store = fresh.open()
    new = NewExecution("exec_1", "m.f", "k", "v1", "execution", "exec_0", "me")
    row = Projection("waiting", "timer", "ab" * 16, wake_at_ns=99)
    equal(store.create(new, b"a", records(0, 2), row).wait(SECONDS), ("exec_1", True), "the outcome")
    found = row_of(store)
    equal(found[:8], ("exec_1", "m.f", "k", "v1", "execution", "exec_0", "waiting", "timer"), "the row")
    equal(found[8:12], (2, "ab" * 16, 1, "me"), "version, head, epoch and owner")
    equal(found[12:], (1_000, 1_002, 99, None, 0), "times, lease and claims")
    equal(found.created_at.utcoffset() is not None, True, "times have a zone")
    equal(everything(store), records(0, 2), "the journal")


@check
def create_with_what_is_optional_left_out(fresh: Fresh) -> None:
    """Everything but the id may be missing."""
    store = fresh.open()
    new = NewExecution("exec_1", None, None, None, None, None, None)
    equal(store.create(new, b"a", records(0, 0), RUNNING).wait(SECONDS), ("exec_1", True), "the outcome")
    wanted = ("exec_1", None, None, None, None, None, "running", None, 0, "0" * 32, 1, None)
    equal(row_of(store)[:12], wanted, "the row")


@check
def append_moves_the_row(fresh: Fresh) -> None:
    """State, version, head and times follow the last append."""
    store = fresh.open()
    create(store)
    row = Projection("waiting", "callback", "cd" * 16, wake_at_ns=5)
    equal(append(store, "exec_1", records(2, 4), row), 4, "the new last seq")
    found = row_of(store)
    equal(found[6:10], ("waiting", "callback", 4, "cd" * 16), "the row of one that waits")
    equal((found.created_at_ns, found.updated_at_ns, found.wake_at_ns), (1_000, 1_004, 5), "its times")
    append(store, "exec_1", records(5, 5), Projection("completed", None, "ef" * 16))
    found = row_of(store)
    equal(found[6:10], ("completed", None, 5, "ef" * 16), "the row of one that has ended")
    equal((found.updated_at_ns, found.wake_at_ns), (1_005, None), "its times")
    equal(everything(store), records(0, 5), "the journal")


@check
def of_two_writers_one_is_refused(fresh: Fresh) -> None:
    """Both believe that they know the last record."""
    store = fresh.open()
    create(store)
    mine = store.append("exec_1", 1, 1, b"mine", records(2, 2, size=50), RUNNING)
    theirs = store.append("exec_1", 1, 1, b"theirs", records(2, 3), RUNNING)
    equal(mine.wait(SECONDS), 2, "the first")
    refused(Conflict, lambda: theirs, "the second")
    refused(Conflict, lambda: store.append("exec_1", 0, 1, b"x", records(1, 1), RUNNING), "one that is late")
    refused(Conflict, lambda: store.append("exec_1", 3, 1, b"x", records(4, 4), RUNNING), "one with a gap")
    equal(everything(store), [*records(0, 1), *records(2, 2, size=50)], "the journal")
    equal(row_of(store).version, 2, "the version")


@check
def the_same_append_again_does_its_work_once(fresh: Fresh) -> None:
    """With its `action_id`; also after others, and after a claim."""
    store = fresh.open()
    create(store)

    def again() -> int:
        return store.append("exec_1", 1, 1, b"x", records(2, 3), RUNNING).wait(SECONDS)

    for _ in range(3):
        equal(again(), 3, "the outcome")
    equal(everything(store), records(0, 3), "the journal")
    equal(append(store, "exec_1", records(4, 4)), 4, "the next one")
    equal(again(), 3, "the outcome of the first, asked for later")
    equal(store.claim("exec_1", "you", 1).wait(SECONDS), 2, "the claim")
    equal(again(), 3, "the outcome, asked for by the owner before")
    other = records(2, 3, salt=1)
    refused(Conflict, lambda: store.append("exec_1", 1, 2, b"z", other, RUNNING), "another one at its place")
    equal(everything(store), records(0, 4), "the journal")


@check
def an_old_append_is_recognised_in_a_long_journal(fresh: Fresh) -> None:
    """However many records have come since."""
    store = fresh.open()
    create(store)
    for seq in range(2, 12):
        append(store, "exec_1", records(seq, seq))
    append(store, "exec_1", records(12, 2_500))
    append(store, "exec_1", records(2_501, 2_503))
    for first, last in ((2, 2), (7, 7), (11, 11), (12, 2_500), (2_501, 2_503)):
        equal(append(store, "exec_1", records(first, last)), last, f"the append of {first} again")
    equal(row_of(store).version, 2_503, "the version")
    # It is the last record of an append that tells: one in the middle is nobody's.
    ask = lambda: store.append("exec_1", 11, 1, b"append-12", records(12, 1_000), RUNNING)
    refused(Conflict, ask, "an append that ends elsewhere")


@check
def the_same_create_again_does_its_work_once(fresh: Fresh) -> None:
    """Another one with its id is refused."""
    store = fresh.open()
    for _ in range(3):
        equal(create(store), ("exec_1", True), "the outcome")
    append(store, "exec_1", records(2, 3))
    equal(create(store), ("exec_1", True), "the outcome, asked for later")
    new = NewExecution("exec_1", "m.f", None, None, None, None, None)
    ask = lambda: store.create(new, b"other", records(0, 1), RUNNING)
    refused(Conflict, ask, "another one with this id")
    equal(everything(store), records(0, 3), "the journal")


@check
def an_id_and_a_key_that_are_taken(fresh: Fresh) -> None:
    """Where the id is taken it is refused, whoever has the key."""
    store = fresh.open()
    create(store, "exec_1", key="k")
    create(store, "exec_2", key="other")
    for key in ("k", "other", "new", None):
        new = NewExecution("exec_1", "m.f", key, None, None, None, None)
        ask: Any = lambda new=new: store.create(new, b"x", records(0, 1), RUNNING)
        refused(Conflict, ask, f"the id again, with the key {key}")
        ask = lambda new=new: store.create(new, b"x", records(0, 5), RUNNING)
        refused(Conflict, ask, f"the id again, with the key {key} and more records")
    equal(store.find("m.f", "new").wait(SECONDS), None, "the key of one that was refused")
    equal(create(store, "exec_3", key="new"), ("exec_3", True), "that key for another")


@check
def the_same_key_is_the_same_execution(fresh: Fresh) -> None:
    """Of one blueprint; nothing of the second is written."""
    store = fresh.open()
    equal(create(store, "exec_1", key="k"), ("exec_1", True), "the first")
    for _ in range(2):
        equal(create(store, "exec_2", key="k"), ("exec_1", False), "the second")
    equal(create(store, "exec_3", key="k", blueprint="m.g"), ("exec_3", True), "another blueprint")
    equal(create(store, "exec_4"), ("exec_4", True), "no key")
    equal(create(store, "exec_5"), ("exec_5", True), "no key again")
    equal(create(store, "exec_6", key="k", blueprint=None), ("exec_6", True), "no blueprint")
    equal(create(store, "exec_7", key="k", blueprint=None), ("exec_7", True), "no blueprint again")
    found = store.find("m.f", "k").wait(SECONDS)
    true(found is not None and found.id == "exec_1", "find gives the first")
    equal(store.find("m.f", "absent").wait(SECONDS), None, "a key that is not there")
    equal(store.find("absent", "k").wait(SECONDS), None, "a blueprint that is not there")
    for ask in (store.get, store.load):
        refused(NotFound, lambda ask=ask: ask("exec_2"), "the second")  # type: ignore[misc]


@check
def records_that_do_not_follow_are_refused(fresh: Fresh) -> None:
    """None, a gap at the beginning, a gap inside, an order that is none."""
    store = fresh.open()
    create(store)
    bad: list[list[Record]] = [[], records(3, 3), [*records(2, 2), *records(4, 4)], records(2, 3)[::-1]]
    for given in bad:
        ask: Any = lambda given=given: store.append("exec_1", 1, 1, b"x", given, RUNNING)
        refused(ValidationError, ask, "an append")
        new = NewExecution("exec_2", "m.f", None, None, None, None, None)
        ask = lambda given=given, new=new: store.create(new, b"x", given, RUNNING)
        refused(ValidationError, ask, "a create")
    equal(everything(store), records(0, 1), "the journal")
    refused(NotFound, lambda: store.get("exec_2"), "the one that was not created")


@check
def a_change_says_how_durable_it_has_to_be(fresh: Fresh) -> None:
    """`power` or `process`; anything else is refused."""
    store = fresh.open()
    new = NewExecution("exec_1", "m.f", None, None, None, None, None)
    made = store.create(new, b"c", records(0, 1), RUNNING, durability="process").wait(SECONDS)
    equal(made, ("exec_1", True), "the create")
    version = 1
    for durability in ("process", "power", "process"):
        given = records(version + 1, version + 1)
        ticket = store.append("exec_1", version, 1, b"%d" % version, given, RUNNING, durability=durability)
        version = ticket.wait(SECONDS)
    equal(everything(store), records(0, 4), "the journal")
    for wrong in ("", "behind", "POWER", None, 1):
        ask: Any = lambda wrong=wrong: store.append(
            "exec_1", 4, 1, b"x", records(5, 5), RUNNING, durability=wrong
        )
        refused(ValidationError, ask, f"an append with the durability {wrong!r}")
        other = new._replace(id="exec_2")
        ask = lambda wrong=wrong, other=other: store.create(
            other, b"x", records(0, 1), RUNNING, durability=wrong
        )
        refused(ValidationError, ask, f"a create with the durability {wrong!r}")
    equal(row_of(store).version, 4, "the version")


@check
def what_is_not_there_is_not_found(fresh: Fresh) -> None:
    """By every request that names an execution."""
    store = fresh.open()
    for name, ask in (
        ("get", lambda: store.get("exec_9")),
        ("load", lambda: store.load("exec_9")),
        ("load after 5", lambda: store.load("exec_9", 5)),
        ("bodies", lambda: store.bodies("exec_9")),
        ("digests", lambda: store.digests("exec_9")),
        ("inbox", lambda: store.inbox("exec_9")),
        ("append", lambda: store.append("exec_9", 1, 1, b"x", records(2, 2), RUNNING)),
        ("claim", lambda: store.claim("exec_9", "me", 1)),
        ("release", lambda: store.release("exec_9", 1)),
        ("renew", lambda: store.renew("exec_9", 1, 5)),
        ("deliver", lambda: store.deliver("exec_9", "d", "signal", "s", b"", 1)),
    ):
        refused(NotFound, ask, name)


@check
def bodies_are_bytes_whatever_they_are(fresh: Fresh) -> None:
    """Empty ones, zeros, and those that are no text; long ones, too."""
    store = fresh.open()
    bodies = [
        b"",
        b"\0",
        b"a\0b",
        bytes(range(256)),
        b"\xff\xfe",
        b"'; DROP TABLE journal; --",
        b"x" * 70_000,
    ]
    bodies += [b'{"seq":9,"kind":"start"' + b" " * 40_000, b"\0" * 32_768, b"\xc3" * 32_767]
    given = [(seq, 5, "k", body) for seq, body in enumerate(bodies)]
    create(store, written=given)
    equal(everything(store), given, "the journal")
    equal(store.bodies("exec_1").wait(SECONDS)[0], len(bodies) - 1, "the last seq")


@check
def what_no_store_can_keep_is_refused(fresh: Fresh) -> None:
    """Text without a UTF-8 form, numbers beyond 64 bits, bodies that are no bytes, heads that are no digests."""
    store = fresh.open()
    create(store)
    text: Any = "text"
    for name, ask in (
        ("an id", lambda: store.get("\ud800")),
        ("an id to go on after", lambda: store.list(after="\udfff")),
        ("a key", lambda: store.find("m.f", "\ud800")),
        ("an owner", lambda: store.claim("exec_1", "\ud800", 1)),
        ("an epoch", lambda: store.claim("exec_1", "me", 1 << 63)),
        ("a time", lambda: store.due(1 << 63)),
        ("a lease", lambda: store.renew("exec_1", 1, 1 << 63)),
        ("a place", lambda: store.arrivals(1 << 63)),
        ("a step", lambda: store.awaited("\ud800")),
        (
            "a step to open",
            lambda: store.append("exec_1", 1, 1, b"x", records(2, 2), RUNNING, opened=["\ud800"]),
        ),
        ("a seq", lambda: store.load("exec_1", 1 << 63)),
        ("a kind", lambda: store.append("exec_1", 1, 1, b"x", [(2, 1, "\ud800", b"")], RUNNING)),
        ("a body", lambda: store.append("exec_1", 1, 1, b"x", [(2, 1, "k", text)], RUNNING)),
        ("a delivery", lambda: store.deliver("exec_1", "d", "signal", "s", text, 1)),
        ("a head", lambda: store.append("exec_1", 1, 1, b"x", records(2, 2), RUNNING._replace(head="no"))),
    ):
        refused(ValidationError, ask, name)
    equal(everything(store), records(0, 1), "the journal")
