"""Checks: the execution that waits for an answer is found by the step that is to be answered."""

from ..errors import Conflict, NotFound
from ..store import NewExecution, Store
from .checking import DONE, RUNNING, SECONDS, Fresh, append, check, create, equal, records, refused, row_of


def _open(
    store: Store, opened: list[str], id: str = "exec_1", seq: int = 2, action_id: bytes = b"open"
) -> int:
    return store.append(id, seq - 1, 1, action_id, records(seq, seq), RUNNING, opened=opened).wait(SECONDS)


@check
def a_step_that_waits_leads_to_its_execution(fresh: Fresh) -> None:
    """As its row is at that moment, and from the append on that opened it."""
    store = fresh.open()
    for ident in ("exec_1", "exec_2"):
        create(store, ident)
    refused(NotFound, lambda: store.awaited("step_1"), "before it is opened")
    equal(_open(store, ["step_1", "step_2"]), 2, "the append")
    equal(_open(store, ["step_3"], "exec_2"), 2, "another's")
    for step, ident in (("step_1", "exec_1"), ("step_2", "exec_1"), ("step_3", "exec_2")):
        equal(store.awaited(step).wait(SECONDS), row_of(store, ident), f"who waits with {step}")
    append(store, "exec_1", records(3, 3))
    equal(store.awaited("step_1").wait(SECONDS).version, 3, "the row after another append")
    for absent in ("step_4", "", "step_", "exec_1", "STEP_1"):
        refused(NotFound, lambda absent=absent: store.awaited(absent), f"the step {absent!r}")  # type: ignore[misc]


@check
def a_step_of_a_new_execution_may_wait(fresh: Fresh) -> None:
    """It is opened with the first records, or not at all."""
    store = fresh.open()
    new = NewExecution("exec_1", "m.f", "k", None, None, None, None)
    for _ in range(2):
        made = store.create(new, b"new", records(0, 1), RUNNING, opened=["step_1"]).wait(SECONDS)
        equal(made, ("exec_1", True), "the outcome")
    equal(store.awaited("step_1").wait(SECONDS).id, "exec_1", "who waits")
    same_key = store.create(new._replace(id="exec_2"), b"2", records(0, 1), RUNNING, opened=["step_2"])
    equal(same_key.wait(SECONDS), ("exec_1", False), "one whose key is there")
    refused(NotFound, lambda: store.awaited("step_2"), "the step of that one")


@check
def a_step_stays_opened(fresh: Fresh) -> None:
    """Whatever is appended, and when the execution has ended: a repeated answer has to get its reply."""
    store = fresh.open()
    create(store)
    for _ in range(2):
        equal(_open(store, ["step_1", "step_1"]), 2, "the append, and again")
    equal(_open(store, ["step_1"], seq=3, action_id=b"more"), 3, "opened once more")
    store.claim("exec_1", "you", 1).wait(SECONDS)
    equal(store.awaited("step_1").wait(SECONDS).owner, "you", "after a claim")
    append(store, "exec_1", records(4, 4), DONE, epoch=2)
    equal(store.awaited("step_1").wait(SECONDS), row_of(store), "after the end")


@check
def an_append_that_is_refused_opens_nothing(fresh: Fresh) -> None:
    """It is whole or not at all."""
    store = fresh.open()
    create(store)
    late = lambda: store.append("exec_1", 0, 1, b"late", records(1, 1), RUNNING, opened=["step_1"])
    refused(Conflict, late, "one that is late")
    old = lambda: store.append("exec_1", 1, 0, b"old", records(2, 2), RUNNING, opened=["step_1"])
    refused(Conflict, old, "one of an epoch that is over")
    refused(NotFound, lambda: store.awaited("step_1"), "its step")


@check
def the_first_to_open_a_step_keeps_it(fresh: Fresh) -> None:
    """Until it is purged."""
    store = fresh.open()
    for ident in ("exec_1", "exec_2"):
        create(store, ident)
        equal(_open(store, ["step_1"], ident), 2, f"the append of {ident}")
    equal(store.awaited("step_1").wait(SECONDS).id, "exec_1", "who waits")
    append(store, "exec_1", records(3, 3), DONE)
    equal(store.doom(["exec_1"]).wait(SECONDS), 1, "dooming the first")
    refused(NotFound, lambda: store.awaited("step_1"), "the step of the doomed")
    equal(_open(store, ["step_1"], "exec_2", 3, b"again"), 3, "the other opens it again")
    equal(store.awaited("step_1").wait(SECONDS).id, "exec_2", "who waits now")


@check
def steps_are_each_tenants_own(fresh: Fresh) -> None:
    """Another's is not there, in the words for one that is not; the same id may be there twice."""
    acme, other = fresh.open("acme"), fresh.open("other")
    create(acme)
    _open(acme, ["step_1"])
    foreign = refused(NotFound, lambda: other.awaited("step_1"), "another's step")
    absent = refused(NotFound, lambda: other.awaited("step_9"), "a step that is not there")
    equal(str(foreign).replace("step_1", "step_9"), str(absent), "the words")
    create(other, "exec_2")
    _open(other, ["step_1"], "exec_2")
    equal(acme.awaited("step_1").wait(SECONDS).id, "exec_1", "the one's")
    equal(other.awaited("step_1").wait(SECONDS).id, "exec_2", "the other's")
    append(acme, "exec_1", records(3, 3), DONE)
    acme.doom(["exec_1"]).wait(SECONDS)
    equal(other.awaited("step_1").wait(SECONDS).id, "exec_2", "the other's, when the one's is gone")
