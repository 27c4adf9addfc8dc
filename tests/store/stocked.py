"""Stores with executions of every kind in them: small, and the same each time."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

from stepwell import Action, Execution, ManualClock, ParentLink
from stepwell.store import NewExecution, Projection, Store

BIG = "x" * 40_000
"""A payload that is kept apart from its record."""
SPREAD = b'{"spread":\n [1,\n  2]}'
"""One from elsewhere, with line breaks in it."""


def own_ids(first: int = 1) -> Callable[[str], str]:
    """Ids that are the same each time."""
    number = first

    def ids(prefix: str) -> str:
        nonlocal number
        number += 1
        return f"{prefix}_01kdvdk5g0e0080000000{number:05d}"

    return ids


def put(
    store: Store,
    execution: Any,
    *,
    pieces: int = 1,
    owner: str | None = None,
    wake_at_ns: int | None = None,
    blueprint: str | None = None,
) -> str:
    """Stores an execution in so many appends; its id."""
    records = execution.drain()
    heads = [record[3] for record in records]
    size = -(-len(records) // pieces)
    parts = [records[start : start + size] for start in range(0, len(records), size)]
    parent = execution.parent
    new = NewExecution(
        execution.id, execution.blueprint, execution.key, execution.schema_version,
        None if parent is None else str(parent.parent_type), None if parent is None else parent.parent_id, owner,
    )  # fmt: skip
    seen = 0
    for number, part in enumerate(parts):
        seen += len(part)
        so_far = type(execution).replay(execution.id, heads[:seen])
        reason = None if so_far.wait_reason is None else str(so_far.wait_reason)
        row = Projection(str(so_far.state), reason, so_far.head or "", wake_at_ns)
        if number == 0:
            store.create(new, b"create" + b"." * 10, part, row).wait(10)
        else:
            mark = b"append%010d" % number
            store.append(execution.id, part[0][0] - 1, 1, mark, part, row).wait(10)
    return str(execution.id)


def make(backend: str, tenant: str, *, first: int = 1, **named: Any) -> Execution:
    """A new execution of a backend, the same each time."""
    kind: type[Execution] = import_module(f"stepwell._{backend}").Execution
    return kind(tenant=tenant, **{"clock": ManualClock(), "ids": own_ids(first), **named})


def stock(store: Store, backend: str = "pure", first: int = 1) -> list[str]:
    """Puts five executions into a store: their ids, in the order in which they were made."""
    ids, clock = own_ids(first), ManualClock()

    def new(**named: Any) -> Execution:
        clock.advance("1s")
        return make(backend, store.tenant, clock=clock, ids=ids, **named)

    done = new(blueprint="m.done", key="k", schema_version="v1", input={"card": "4242"})
    done.start()
    clock.advance("1s")
    done.complete_step(done.start_step("fetch", input={"url": "https://example.org"}), BIG)
    done.complete("é\u202e")
    failed = new(blueprint="m.failed", parent=ParentLink("execution", done.id))
    failed.start()
    failed.fail(ValueError("no"))
    waits = new(blueprint="m.waits", key="w")
    waits.start()
    step = waits.start_step("ask", type="wait", place="~1/0")
    waits.wait("approval")
    long = new(blueprint="m.long")
    long.start()
    for number in range(20):
        long.complete_step(long.start_step(f"step {number}"), number)
    spread = long.start_step("spread").id
    long.apply(
        Action.from_json(b'{"kind":"step_completed","step_id":"%s","output":%s}' % (spread.encode(), SPREAD))
    )
    bare = new()
    found = [
        put(store, done, pieces=3),
        put(store, failed),
        put(store, waits, pieces=2, wake_at_ns=clock.now_ns() + 10**9, owner="me"),
        put(store, long, pieces=7),
        put(store, bare),
    ]
    assert step.id
    store.deliver(waits.id, "one", "signal", "go", b'{"a":1}', clock.now_ns()).wait(10)
    store.deliver(waits.id, "two", "callback", "n\u00e4me", b"\x00\xff", clock.now_ns()).wait(10)
    return found
