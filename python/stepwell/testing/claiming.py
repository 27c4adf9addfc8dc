"""Checks: who may write is who claimed last, whatever clocks and leases say."""

from ..errors import Conflict
from ..store import Projection
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
)


@check
def a_claim_fences_off_the_owner_before(fresh: Fresh) -> None:
    """An append of an older epoch is refused, and so is one of an epoch to come."""
    store = fresh.open()
    create(store)
    equal(store.claim("exec_1", "you", 1).wait(SECONDS), 2, "the new epoch")
    for epoch in (1, 0, 3):
        ask = lambda epoch=epoch: store.append("exec_1", 1, epoch, b"old", records(2, 2), RUNNING)
        refused(Conflict, ask, f"an append of epoch {epoch}")
    equal(store.append("exec_1", 1, 2, b"new", records(2, 2), RUNNING).wait(SECONDS), 2, "the owner's")
    row = row_of(store)
    equal((row.owner, row.epoch, row.version), ("you", 2, 2), "the row")
    equal(everything(store), records(0, 2), "the journal")


@check
def of_two_claims_one_is_refused(fresh: Fresh) -> None:
    """The same one again is the same claim."""
    store = fresh.open()
    create(store)
    equal(store.claim("exec_1", "you", 1).wait(SECONDS), 2, "the first")
    for _ in range(2):
        equal(store.claim("exec_1", "you", 1).wait(SECONDS), 2, "the same again")
    for epoch in (0, 1, 3, 9):
        ask = lambda epoch=epoch: store.claim("exec_1", "she", epoch)
        refused(Conflict, ask, f"another owner's from epoch {epoch}")
    row = row_of(store)
    equal((row.owner, row.epoch, row.claims), ("you", 2, 1), "the row")
    equal(store.claim("exec_1", "she", 2).wait(SECONDS), 3, "the next")
    refused(Conflict, lambda: store.claim("exec_1", "you", 1), "the first, when it is over")


@check
def a_claim_is_given_up_by_its_owner_alone(fresh: Fresh) -> None:
    """With it the epoch is over: what is written late is refused. Given up twice, it is given up once."""
    store = fresh.open()
    create(store)
    store.claim("exec_1", "you", 1, lease_until_ns=777).wait(SECONDS)
    for epoch in (1, 3):
        equal(store.release("exec_1", epoch).wait(SECONDS), False, f"a release of epoch {epoch}")
    row = row_of(store)
    equal((row.owner, row.lease_until_ns), ("you", 777), "the row before")
    for _ in range(2):
        equal(store.release("exec_1", 2).wait(SECONDS), True, "the owner's release")
    row = row_of(store)
    equal((row.owner, row.lease_until_ns, row.epoch), (None, None, 3), "the row after")
    late = lambda: store.append("exec_1", 1, 2, b"late", records(2, 2), RUNNING)
    refused(Conflict, late, "an append after the release")
    store.claim("exec_1", "she", 3).wait(SECONDS)
    equal(store.release("exec_1", 2).wait(SECONDS), False, "a release after the next claim")


@check
def a_claim_has_a_lease_if_it_says_so(fresh: Fresh) -> None:
    """Each claim brings its own, or none."""
    store = fresh.open()
    create(store)
    equal(row_of(store).lease_until_ns, None, "the lease of a new execution")
    for epoch, lease in ((1, 50), (2, None), (3, 2**62)):
        store.claim("exec_1", "you", epoch, lease_until_ns=lease).wait(SECONDS)
        equal(row_of(store).lease_until_ns, lease, "the lease")
    append(store, "exec_1", records(2, 2), epoch=4)
    equal(row_of(store).lease_until_ns, 2**62, "the lease after an append")


@check
def a_lease_is_moved_by_its_owner_alone(fresh: Fresh) -> None:
    """For as long as nobody else has claimed it, and it was not given up; nothing else changes."""
    store = fresh.open()
    create(store)
    equal(store.renew("exec_1", 1, 40).wait(SECONDS), True, "the lease of a new execution")
    equal(row_of(store).lease_until_ns, 40, "that lease")
    store.claim("exec_1", "you", 1, lease_until_ns=50).wait(SECONDS)
    before = row_of(store)
    for lease in (60, 60, 55, 2**62):
        equal(store.renew("exec_1", 2, lease).wait(SECONDS), True, f"a lease up to {lease}")
        equal(row_of(store), before._replace(lease_until_ns=lease), "the row")
    for epoch in (1, 3, 0, -1):
        equal(store.renew("exec_1", epoch, 99).wait(SECONDS), False, f"one of epoch {epoch}")
    equal(row_of(store).lease_until_ns, 2**62, "the lease after those")
    store.release("exec_1", 2).wait(SECONDS)
    for epoch in (2, 3):
        equal(store.renew("exec_1", epoch, 99).wait(SECONDS), False, f"one of epoch {epoch}, given up")
    equal(row_of(store).lease_until_ns, None, "the lease after it was given up")
    store.claim("exec_1", "she", 3, lease_until_ns=7).wait(SECONDS)
    equal(store.renew("exec_1", 2, 99).wait(SECONDS), False, "one of the owner before")
    equal(row_of(store).lease_until_ns, 7, "the lease of the next owner")


@check
def claims_without_progress_are_counted(fresh: Fresh) -> None:
    """An append that is progress begins the count anew."""
    store = fresh.open()
    create(store)
    idle = Projection("running", None, "0" * 32, progress=False)
    equal(row_of(store).claims, 0, "a new execution")
    for epoch in (1, 2, 3):
        store.claim("exec_1", "you", epoch).wait(SECONDS)
        equal(row_of(store).claims, epoch, "after a claim")
    append(store, "exec_1", records(2, 2), idle, epoch=4)
    equal(row_of(store).claims, 3, "after an append that is no progress")
    other = Projection("waiting", "timer", "0" * 32, wake_at_ns=1, progress=False)
    append(store, "exec_1", records(3, 3), other, epoch=4)
    equal(row_of(store).claims, 3, "after one that changes the state, but is no progress")
    append(store, "exec_1", records(4, 4), epoch=4)
    equal(row_of(store).claims, 0, "after progress")
    store.claim("exec_1", "you", 4).wait(SECONDS)
    equal(row_of(store).claims, 1, "after the next claim")


@check
def a_claim_that_is_given_up_is_not_counted(fresh: Fresh) -> None:
    """Who gives it up lives. Those before it, whose owners may have died, are counted as they were."""
    store = fresh.open()
    create(store)
    store.release("exec_1", 1).wait(SECONDS)
    equal(row_of(store).claims, 0, "a new execution, given up")
    for epoch in (2, 3):
        store.claim("exec_1", "you", epoch).wait(SECONDS)
    for epoch in (4, 6, 8):
        store.claim("exec_1", "she", epoch).wait(SECONDS)
        equal(row_of(store).claims, 3, "after two claims that nobody gave up, and one more")
        for _ in range(2):
            store.release("exec_1", epoch + 1).wait(SECONDS)
        equal(row_of(store).claims, 2, "after that one was given up")
    store.claim("exec_1", "she", 10).wait(SECONDS)
    append(store, "exec_1", records(2, 2), epoch=11)
    store.release("exec_1", 11).wait(SECONDS)
    equal(row_of(store).claims, 0, "after progress, given up")


@check
def a_claim_changes_nothing_else(fresh: Fresh) -> None:
    """Neither the journal nor what the records made of the row."""
    store = fresh.open()
    row = Projection("waiting", "timer", "ab" * 16, wake_at_ns=9)
    create(store, key="k", row=row)
    before = row_of(store)
    store.claim("exec_1", "you", 1, lease_until_ns=5).wait(SECONDS)
    wanted = before._replace(owner="you", epoch=2, claims=1, lease_until_ns=5)
    equal(row_of(store), wanted, "the row after a claim")
    store.release("exec_1", 2).wait(SECONDS)
    free = wanted._replace(owner=None, lease_until_ns=None, epoch=3, claims=0)
    equal(row_of(store), free, "the row after a release")
    equal(everything(store), records(0, 1), "the journal")
