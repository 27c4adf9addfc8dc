"""The commands that show what is recorded: `list`, `show`, `steps` and `journal`. They only read."""

import asyncio
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from typing import Annotated

from .. import errors, model
from .._spec import ExecutionState
from ..runtime import Kernel
from ..runtime.core import Execution
from ..store import ExecutionRow, Record, Store
from . import view
from .command import (
    Argument,
    JsonOption,
    Option,
    StoreOption,
    TenantOption,
    app,
    check_there,
    guarded,
    opened,
    plain,
    source,
    where,
)
from .text import safe

PAGE = 1_000
Id = Annotated[str, Argument(help="The id of an execution.")]


@app.command("list")
def list_(
    *,
    store: StoreOption = None,
    tenant: TenantOption = None,
    state: Annotated[str | None, Option(help="Only those in this state.")] = None,
    blueprint: Annotated[str | None, Option(help="Only those of this blueprint.")] = None,
    parent: Annotated[str | None, Option(help="Only the children of the execution with this id.")] = None,
    limit: Annotated[int, Option(min=1, max=PAGE, help="How many.")] = 50,
    after: Annotated[str | None, Option(help="The id after which the page begins.")] = None,
    count: Annotated[bool, Option("--count", help="Only how many there are in each state.")] = False,
    json: JsonOption = False,
) -> None:
    """Lists executions, newest first."""
    with guarded():
        if state is not None:
            state = model.choice("--state", state, [known.value for known in ExecutionState])
        for option, text in (("--blueprint", blueprint), ("--parent", parent), ("--after", after)):
            plain(option, text)
        with opened(store, tenant) as found:
            if count:
                states = _count(found, state, blueprint, parent)
                if json:
                    view.print_json(states)
                else:
                    view.print_counts(view.console(), states)
                return
            rows = _page(found, state, blueprint, parent, after, limit)
        if json:
            view.print_json([view.row_data(row) for row in rows])
        else:
            view.print_rows(view.console(), rows)
            if len(rows) == limit:
                print(f"stepwell: more with --after {safe(rows[-1].id)}", file=sys.stderr)


def _page(
    store: Store, state: str | None, blueprint: str | None, parent: str | None, after: str | None, limit: int
) -> list[ExecutionRow]:
    if parent is None:
        return store.list(state, after, limit, blueprint).wait()
    found: list[ExecutionRow] = []
    for row in _children(store, parent, after):
        if state in (None, row.state) and blueprint in (None, row.blueprint):
            found.append(row)
            if len(found) == limit:
                break
    return found


def _children(store: Store, parent: str, after: str | None) -> Iterator[ExecutionRow]:
    while page := store.children(parent, after, PAGE).wait():
        yield from page
        after = page[-1].id


def _count(store: Store, state: str | None, blueprint: str | None, parent: str | None) -> dict[str, int]:
    if parent is None:
        counts = store.count(blueprint).wait()
    else:
        children = _children(store, parent, None)
        counts = dict(Counter(row.state for row in children if blueprint in (None, row.blueprint)))
    return {name: count for name, count in sorted(counts.items()) if state in (None, name)}


def _execution(store: str | None, tenant: str | None, id: str) -> Execution:
    """An execution as it is recorded."""
    url, whose = where(store, tenant, {})
    check_there(url)

    async def read() -> Execution:
        async with Kernel(source(url, read_only=True), tenant=whose, execute=False) as kernel:
            return await (await kernel.get(id)).execution()

    return asyncio.run(read())


@app.command()
def show(id: Id, *, store: StoreOption = None, tenant: TenantOption = None, json: JsonOption = False) -> None:
    """Shows one execution with its slowest steps, or with --json everything that is recorded of it."""
    with guarded():
        execution = _execution(store, tenant, id)
        if json:
            view.print_json(view.execution_data(execution))
        else:
            view.print_execution(view.console(), execution)


@app.command()
def steps(
    id: Id, *, store: StoreOption = None, tenant: TenantOption = None, json: JsonOption = False
) -> None:
    """Shows the steps of an execution in the order in which they were made."""
    with guarded():
        execution = _execution(store, tenant, id)
        if json:
            view.print_json([view.step_data(step) for step in execution.steps.values()])
        else:
            view.print_steps(view.console(), execution)


@app.command()
def journal(
    id: Id,
    *,
    store: StoreOption = None,
    tenant: TenantOption = None,
    after: Annotated[int, Option(min=-1, help="The seq after which to begin.")] = -1,
    limit: Annotated[int | None, Option(min=1, help="How many records; all, if left out.")] = None,
    raw: Annotated[bool, Option("--raw", help="The records byte for byte, each on a line.")] = False,
    json: JsonOption = False,
) -> None:
    """Shows the records of an execution: what happened, in order. It reads damaged ones too."""
    with guarded():
        if raw and json:
            raise errors.ValidationError("--raw and --json are two forms: choose one")
        with opened(store, tenant) as found:
            following = _records(found, _asked(id), after, limit)
            first = next(following, None)  # before anything is printed: it may be that there is none
            records = following if first is None else chain([first], following)
            if raw:
                for record in records:
                    sys.stdout.buffer.write(record[3] + b"\n")
            elif json:
                view.print_json_array(view.record_json(record) for record in records)
            else:
                view.print_records(view.console(), records)
            sys.stdout.flush()


def _asked(id: str) -> str:
    """An id as the kernel asks for it: one that is no ASCII is that of nothing."""
    return id if id.isascii() else ascii(id)


def _records(store: Store, id: str, after: int, limit: int | None) -> Iterator[Record]:
    left = sys.maxsize if limit is None else limit
    while left and (page := store.load(id, after).wait()):
        yield from page[:left]
        left -= len(page[:left])
        after = page[-1][0]
