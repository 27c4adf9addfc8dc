"""Stores with executions in them that are what a kernel writes: journals that replay, rows that fit."""

from typing import Any

from stepwell import Action, Execution, ParentLink
from stepwell.store import NewExecution, Projection, Store

KEPT_APART = 40_000
"""Bytes of a payload that is stored apart from its record."""


def save(store: Store, execution: Any, appends: int = 1, owner: str | None = None) -> str:
    """Stores an execution as a kernel does, its records in so many appends."""
    records = execution.drain()
    new = NewExecution(
        execution.id,
        execution.blueprint,
        execution.key,
        execution.schema_version,
        None if execution.parent is None else str(execution.parent.parent_type),
        None if execution.parent is None else execution.parent.parent_id,
        owner,
    )
    size = max(1, len(records) // appends)
    parts = [records[start : start + size] for start in range(0, len(records), size)]
    for number, part in enumerate(parts):
        known = records[: part[-1][0] + 1]
        so_far = type(execution).replay(execution.id, [record[3] for record in known])
        reason = None if so_far.wait_reason is None else str(so_far.wait_reason)
        row = Projection(str(so_far.state), reason, so_far.head or "")
        action_id = b"%s-%d" % (execution.id.encode(), number)
        if number == 0:
            assert store.create(new, action_id, part, row).wait(30) == (execution.id, True)
        else:
            store.append(execution.id, part[0][0] - 1, 1, action_id, part, row).wait(30)
    return str(execution.id)


def finished(
    tenant: str = "acme", steps: int = 3, size: int = 5, key: str | None = "k", kind: Any = Execution
) -> Any:
    """An execution that has completed."""
    execution = kind(tenant=tenant, blueprint="m.f", key=key, schema_version="v1", input={"n": steps})
    execution.start()
    for number in range(steps):
        step = execution.start_step(f"step {number}", input=number)
        execution.complete_step(step.id, output=chr(ord("a") + number % 26) * size)
    execution.complete(output="done")
    return execution


def waiting(tenant: str = "acme", kind: Any = Execution) -> Any:
    """One that waits, with a parent and a large payload in the middle."""
    parent = ParentLink("user_message", "msg-1")
    execution = kind(tenant=tenant, blueprint="m.g", parent=parent, input=[1, 2])
    execution.start()
    step = execution.start_step("large")
    execution.complete_step(step.id, output="x" * KEPT_APART)
    execution.apply(Action("step_started", name="hold", type="wait"))
    execution.wait("approval")
    return execution


def fill(store: Store, kind: Any = Execution) -> list[str]:
    """A small store with everything in it. The ids of its executions."""
    ids = [
        save(store, finished(store.tenant, kind=kind), appends=3),
        save(store, waiting(store.tenant, kind), appends=2),
        save(store, finished(store.tenant, steps=1, size=KEPT_APART, key=None, kind=kind)),
        save(store, kind(tenant=store.tenant), owner="host/1/2"),
    ]
    store.deliver(ids[1], "d1", "signal", "go", b'{"a":1}', 1_000).wait(30)
    store.deliver(ids[1], "d2", "signal", "go", b"2", 1_001).wait(30)
    return ids


def answers(store: Store) -> dict[str, Any]:
    """Everything that a store answers when it is read, byte for byte."""
    rows = []
    while page := store.list(after=rows[-1].id if rows else None, limit=1000).wait(30):
        rows += page
    found: dict[str, Any] = {"list": rows, "count": store.count().wait(30)}
    for row in rows:
        records: list[Any] = []
        while part := store.load(row.id, len(records) - 1).wait(30):
            records += part
        found[row.id] = (
            store.get(row.id).wait(30),
            records,
            store.bodies(row.id).wait(30),
            store.digests(row.id).wait(30),
            store.inbox(row.id).wait(30),
            store.children(row.parent_id).wait(30) if row.parent_id else None,
            store.find(row.blueprint, row.key).wait(30) if row.blueprint and row.key else None,
            store.list(state=row.state).wait(30),
            store.list(blueprint=row.blueprint).wait(30),
        )
    return found
