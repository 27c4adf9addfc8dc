"""The commands `run`, `list`, `show` and `resume`.

Exit codes: 0 done; 1 the execution failed or was cancelled; 2 wrong usage; 3 nothing under that id; 4 the store could
not do it; 5 paused, code and record differ; 6 another process runs it; 130 interrupted, the record is kept.
"""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from .. import errors
from .._spec import EXECUTION_TERMINAL
from ..failures import ExecutionError
from ..runtime import Handle, Kernel
from . import loading, view
from .progress import Progress
from .text import safe

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Runs blueprints that survive their process, and shows what is recorded of them.",
)

StoreOption = Annotated[
    str | None, typer.Option("--store", envvar="STEPWELL_STORE", help="sqlite:/// and the path of a file.")
]
TenantOption = Annotated[
    str | None, typer.Option("--tenant", envvar="STEPWELL_TENANT", help="Whose executions.")
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="One JSON value on the standard output, and no progress.")
]
Target = Annotated[
    str, typer.Argument(help="A module or a .py file, and :name where it has several blueprints.")
]

_CODES: list[tuple[type[BaseException], int]] = [
    (errors.NotFound, 3),
    (errors.DivergenceError, 5),
    (errors.Conflict, 6),
    (errors.StoreError, 4),
    (ExecutionError, 1),
    (errors.StepwellError, 2),
]


def _do(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Runs a command; its refusals become one line on the standard error and an exit code."""
    try:
        asyncio.run(work())
    except KeyboardInterrupt:
        print("stepwell: interrupted; the record is kept, `stepwell resume` goes on with it", file=sys.stderr)
        raise typer.Exit(130) from None
    except errors.StepwellError as error:
        code = next(code for kind, code in _CODES if isinstance(error, kind))
        print(f"stepwell: {safe(error, 2000)}", file=sys.stderr)
        raise typer.Exit(code) from None


def _where(store: str | None, tenant: str | None, defaults: dict[str, str]) -> tuple[str, str]:
    """The store and the tenant: as given, from the environment, or what the user's module says."""
    store, tenant = store or defaults.get("store"), tenant or defaults.get("tenant")
    if store is None:
        raise errors.ValidationError("which store? Give --store sqlite:///runs.db, or set STEPWELL_STORE")
    if tenant is None:
        raise errors.ValidationError("whose executions? Give --tenant, or set STEPWELL_TENANT")
    return store, tenant


def _to_read(store: str | None, tenant: str | None, defaults: dict[str, str]) -> tuple[str, str]:
    """The same for a command that only makes sense where something is kept: a slip in a path makes no new store."""
    where = _where(store, tenant, defaults)
    path = Path(where[0].removeprefix("sqlite:///"))
    if (
        where[0].startswith("sqlite:///")
        and not path.is_dir()
        and (not path.exists() or not path.stat().st_size)
    ):
        raise errors.StoreError(f"there is no store at {path}: check --store or STEPWELL_STORE")
    return where


def _make_folder(store: str) -> None:
    """A store's folder is made when something is to be kept there."""
    if store.startswith("sqlite:///"):
        with suppress(OSError):  # opening the store says what is wrong, with its type
            Path(store.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)


async def _finish(handle: Handle[Any], progress: Progress, as_json: bool) -> None:
    """Waits for an execution and prints what came of it."""
    failure: Exception | None = None
    with progress:
        try:
            await handle.result()
        except (ExecutionError, errors.DivergenceError) as error:
            failure = error
    execution = await handle.execution()
    if as_json:
        view.print_json(view.execution_data(execution))
    else:
        view.print_execution(view.console(), execution)
    if failure is not None:
        raise failure


@app.command()
def run(
    target: Target,
    arguments: Annotated[
        list[str] | None, typer.Argument(help="The blueprint's arguments, each as JSON.")
    ] = None,
    *,
    store: StoreOption = None,
    tenant: TenantOption = None,
    key: Annotated[
        str | None, typer.Option(help="The same key is the same execution: it goes on, or answers.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Runs a blueprint to its end, or goes on with it where its key is known already."""

    async def work() -> None:
        blueprint = loading.load_one(target)
        values = loading.arguments(arguments or [])
        where = _where(store, tenant, loading.defaults(blueprint))
        _make_folder(where[0])
        progress = Progress(quiet=json)
        async with Kernel(
            where[0], tenant=where[1], blueprints=[blueprint], recover=False, hooks=[progress]
        ) as kernel:
            named = loading.defaults(blueprint).get("key") if key is None else key
            handle = await kernel.start(blueprint, *values, key=named)
            print(f"stepwell: execution {handle.id}", file=sys.stderr)
            await _finish(handle, progress, json)

    _do(work)


@app.command("list")
def list_(
    *,
    store: StoreOption = None,
    tenant: TenantOption = None,
    state: Annotated[str | None, typer.Option(help="Only those in this state.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 50,
    after: Annotated[str | None, typer.Option(help="The id after which the page begins.")] = None,
    json: JsonOption = False,
) -> None:
    """Lists executions, newest first."""

    async def work() -> None:
        where = _to_read(store, tenant, {})
        async with Kernel(where[0], tenant=where[1], execute=False) as kernel:
            rows = await kernel.list(state=state, limit=limit, after=after)
        if json:
            view.print_json([view.row_data(row) for row in rows])
        else:
            view.print_rows(view.console(), rows)
            if len(rows) == limit:
                print(f"stepwell: more with --after {rows[-1].id}", file=sys.stderr)

    _do(work)


@app.command()
def show(
    id: Annotated[str, typer.Argument(help="The id of an execution.")],
    *,
    store: StoreOption = None,
    tenant: TenantOption = None,
    json: JsonOption = False,
) -> None:
    """Shows one execution with its slowest steps, or with --json everything that is recorded of it."""

    async def work() -> None:
        where = _to_read(store, tenant, {})
        async with Kernel(where[0], tenant=where[1], execute=False) as kernel:
            handle = await kernel.get(id)
            execution = await handle.execution()
        if json:
            view.print_json(view.execution_data(execution))
        else:
            view.print_execution(view.console(), execution)

    _do(work)


@app.command()
def resume(
    target: Target,
    ids: Annotated[
        list[str] | None, typer.Argument(help="Ids; without any, all that are unfinished.")
    ] = None,
    *,
    store: StoreOption = None,
    tenant: TenantOption = None,
    json: JsonOption = False,
) -> None:
    """Goes on with unfinished or paused executions of the blueprints in a module, one after the other."""

    async def work() -> None:
        known = {blueprint.name: blueprint for blueprint in loading.load(target)}
        where = _to_read(store, tenant, loading.defaults(next(iter(known.values()))))
        async with Kernel(where[0], tenant=where[1], execute=False) as kernel:
            wanted = ids or await _unfinished(kernel, set(known))
        failure: Exception | None = None
        for each in wanted:
            progress = Progress(quiet=json)
            async with Kernel(
                where[0], tenant=where[1], blueprints=known.values(), recover=False, hooks=[progress]
            ) as kernel:
                try:
                    await _finish(await kernel.resume(each), progress, json)
                except (ExecutionError, errors.DivergenceError) as error:
                    print(f"stepwell: {each}: {safe(error, 2000)}", file=sys.stderr)
                    failure = error
        if not wanted:
            print("stepwell: nothing is unfinished", file=sys.stderr)
        if failure is not None:
            raise failure

    _do(work)


async def _unfinished(kernel: Kernel, names: set[str]) -> list[str]:
    found: list[str] = []
    after = None
    while rows := await kernel.list(after=after, limit=1000):
        found += [row.id for row in rows if row.state not in EXECUTION_TERMINAL and row.blueprint in names]
        after = rows[-1].id
    return sorted(found)
