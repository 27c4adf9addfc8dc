"""The commands that run something: `run` and `resume`."""

import asyncio
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Annotated, Any, Final

from .. import errors
from .._spec import EXECUTION_TERMINAL, ExecutionState
from ..failures import ExecutionError
from ..runtime import Handle, Kernel, diverging, renewing
from ..store import ExecutionRow
from . import checking, keeping, loading, reading, telling, view
from .command import (
    Argument,
    CodecOption,
    JsonOption,
    Option,
    Paused,
    StoreOption,
    TenantOption,
    app,
    check_there,
    coroutine,
    make_folder,
    where,
)
from .progress import Progress
from .text import safe

__all__ = ["app", "checking", "keeping", "reading", "telling"]

Target = Annotated[str, Argument(help="A module or a .py file, and :name where it has several blueprints.")]


_LOOK_S: Final = 0.2


async def _finish(
    kernel: Kernel, handle: Handle[Any], progress: AbstractContextManager[object], as_json: bool
) -> None:
    """Waits for an execution, until it ends or is paused, and prints what came of it."""
    failure: Exception | None = None
    with progress:
        try:
            await _end(kernel, handle)
        except (ExecutionError, errors.DivergenceError, Paused) as error:
            failure = error
    execution = await handle.execution()
    if as_json:
        view.print_json(view.execution_data(execution))
    else:
        view.print_execution(view.console(), execution)
    if failure is not None:
        raise failure


async def _end(kernel: Kernel, handle: Handle[Any]) -> None:
    """Its result. Raises `Paused` where that would not come before somebody says so."""
    result = asyncio.ensure_future(handle.result())
    id = handle.id
    try:
        while not result.done():
            await asyncio.wait([result], timeout=_LOOK_S)
            row = await renewing.last_of(kernel, id)
            id = row.id
            if row.state == ExecutionState.PAUSED and kernel.running(id) is None and not result.done():
                reason = (await kernel.last_record(row)).get("reason") or "somebody asked for it"
                if not reason.startswith(diverging.DIVERGED):
                    raise Paused(f"execution {id} is paused: {reason}; `stepwell resume` goes on with it")
        await result
    finally:
        result.cancel()


@app.command()
def run(
    target: Target,
    arguments: Annotated[list[str] | None, Argument(help="The blueprint's arguments, each as JSON.")] = None,
    *,
    store: StoreOption = None,
    tenant: TenantOption = None,
    key: Annotated[
        str | None, Option(help="The same key is the same execution: it goes on, or answers.")
    ] = None,
    codec: CodecOption = None,
    json: JsonOption = False,
) -> None:
    """Runs a blueprint to its end, or goes on with it where its key is known already."""

    async def work() -> None:
        blueprint = loading.load_one(target)
        values = loading.arguments(arguments or [])
        place = where(store, tenant, loading.defaults(blueprint))
        writes = loading.codec(codec, blueprint)
        make_folder(place[0])
        progress = Progress(quiet=json)
        async with Kernel(
            place[0], tenant=place[1], blueprints=[blueprint], recover=False, hooks=[progress], codec=writes
        ) as kernel:
            named = loading.defaults(blueprint).get("key") if key is None else key
            handle = await kernel.start(blueprint, *values, key=named)
            print(f"stepwell: execution {handle.id}", file=sys.stderr)
            await _finish(kernel, handle, progress, json)

    coroutine(work)


@app.command()
def resume(
    target: Target,
    ids: Annotated[list[str] | None, Argument(help="Ids; without any, all that are unfinished.")] = None,
    *,
    store: StoreOption = None,
    tenant: TenantOption = None,
    codec: CodecOption = None,
    json: JsonOption = False,
) -> None:
    """Goes on with unfinished or paused executions of the blueprints in a module, all at once."""

    async def work() -> None:
        known = {blueprint.name: blueprint for blueprint in loading.load(target)}
        first = next(iter(known.values()))
        place, writes = where(store, tenant, loading.defaults(first)), loading.codec(codec, first)
        check_there(place[0])
        async with Kernel(place[0], tenant=place[1], execute=False) as kernel:
            wanted = ids or await _unfinished(kernel, set(known))
        progress = Progress(quiet=json)

        async def go_on(kernel: Kernel, id: str) -> Exception | None:
            try:
                # A live line has no place between the answers of several.
                line = progress if len(wanted) == 1 else nullcontext()
                await _finish(kernel, await kernel.resume(id), line, json)
            except (ExecutionError, errors.StepwellError) as error:
                print(f"stepwell: {id}: {safe(error, 2000)}", file=sys.stderr)
                return error
            return None

        # All at once: one that waits, or that another process runs, keeps no other from going on.
        async with Kernel(
            place[0],
            tenant=place[1],
            blueprints=known.values(),
            recover=False,
            hooks=[progress],
            codec=writes,
        ) as kernel:
            ends = await asyncio.gather(*(go_on(kernel, each) for each in wanted))
        failure = next((end for end in reversed(ends) if end is not None), None)
        if not wanted:
            print("stepwell: nothing is unfinished", file=sys.stderr)
        if failure is not None:
            raise failure

    coroutine(work)


def _may_go_on(kernel: Kernel, row: ExecutionRow) -> bool:
    """Whether it has not ended, and is none that is to start later."""
    later = row.state == ExecutionState.CREATED and (row.wake_at_ns or 0) > kernel.clock.now_ns()
    return row.state not in EXECUTION_TERMINAL and not later


async def _unfinished(kernel: Kernel, names: set[str]) -> list[str]:
    found: list[str] = []
    after = None
    while rows := await kernel.list(after=after, limit=1000):
        found += [row.id for row in rows if row.blueprint in names and _may_go_on(kernel, row)]
        after = rows[-1].id
    return sorted(found)
