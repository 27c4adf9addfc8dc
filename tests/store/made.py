"""Executions as a program writes them, put into a store without a kernel."""

import os

from stepwell import Execution
from stepwell.runtime.journaling import projection
from stepwell.store import NewExecution, Store


def make(
    store: Store,
    *,
    steps: int = 2,
    end: str | None = "complete",
    text: str = "",
    key: str | None = None,
    blueprint: str = "m.f",
    owner: str | None = None,
) -> Execution:
    """An execution with steps whose payloads hold the text; it ends unless `end` is `None`."""
    execution = Execution(
        tenant=store.tenant, blueprint=blueprint, key=key, schema_version="v1", input={"given": text}
    )
    execution.start()
    for number in range(steps):
        step = execution.start_step(f"step{number}{text[:50]}", input={"number": number, "text": text})
        execution.complete_step(step.id, output={"got": text})
    if end == "complete":
        execution.complete(output=text)
    elif end == "fail":
        execution.fail(text or "no")
    elif end == "cancel":
        execution.cancel(text[:200] or "no")
    save(store, execution, owner)
    return execution


def save(store: Store, execution: Execution, owner: str | None = None) -> None:
    """A new execution with all that happened to it."""
    link = execution.parent
    parent = (None, None) if link is None else (str(link.parent_type), link.parent_id)
    new = NewExecution(
        execution.id, execution.blueprint, execution.key, execution.schema_version, *parent, owner
    )
    store.create(new, os.urandom(16), execution.drain(), projection(execution)).wait(20)
