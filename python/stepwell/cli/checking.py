"""The command that tells before a deployment whether executions that are under way can go on: `check`."""

import sys
from collections.abc import Iterator
from functools import partial
from typing import Annotated, Any, Final, NamedTuple

from .. import errors
from .._spec import EXECUTION_TERMINAL
from ..runtime import Blueprint, records
from ..runtime.rehearsing import rehearse
from ..runtime.values import Codec
from ..store import ExecutionRow, Store
from . import loading, view
from .command import (
    FOUND,
    Argument,
    CodecOption,
    Exit,
    JsonOption,
    Option,
    StoreOption,
    TenantOption,
    app,
    guarded,
    opened,
    where,
)
from .progress import Counting

_PAGE: Final = 1_000
_PROBLEMS: Final = (
    errors.DivergenceError,
    errors.SchemaMismatch,
    errors.StoreCorrupt,
    errors.ValidationError,
)


class Broken(NamedTuple):
    """An execution that cannot go on with the code as it is."""

    row: ExecutionRow
    error: errors.StepwellError

    def data(self) -> dict[str, Any]:
        """It as JSON."""
        known = self.error if isinstance(self.error, errors.DivergenceError) else None
        return {
            "id": self.row.id,
            "blueprint": self.row.blueprint,
            "state": self.row.state,
            "problem": self.error.__class__.__name__,
            "message": str(self.error),
            "place": None if known is None else known.place or None,
            "source": None if known is None else known.source,
            "recorded": None if known is None else known.recorded,
            "called": None if known is None else known.called,
        }


@app.command()
def check(
    target: Annotated[str, Argument(help="A module or a .py file; with :name only that blueprint.")],
    *,
    store: StoreOption = None,
    tenant: TenantOption = None,
    codec: CodecOption = None,
    ended: Annotated[bool, Option("--ended", help="Those that have ended, too.")] = False,
    json: JsonOption = False,
) -> None:
    """Runs the code of a module against what is stored of its unfinished executions, which may have to go on with it.

    No step runs and nothing is written, but code between steps does run.
    """
    with guarded():
        known = loading.load(target)
        url, whose = where(store, tenant, loading.defaults(known[0]))
        reads = loading.codec(codec, known[0])
        with opened(url, whose) as found, Counting("checked", quiet=json) as progress:
            checked, broken = _check(found, known, reads, ended, progress)
        if json:
            view.print_json({"checked": checked, "broken": [each.data() for each in broken]})
        else:
            for each in broken:
                view.print_broken(view.console(), each.data())
            print(f"stepwell: {checked} checked, {len(broken)} cannot go on", file=sys.stderr)
    if broken:
        raise Exit(FOUND)


def _check(
    store: Store, known: list[Blueprint[..., Any]], codec: Codec | None, ended: bool, progress: Counting
) -> tuple[int, list[Broken]]:
    checked, seen, broken = 0, 0, []
    for blueprint in known:
        for row in _rows(store, blueprint.name):
            if row.state in EXECUTION_TERMINAL and not ended:
                continue
            checked, seen = checked + 1, seen + row.version + 1
            try:
                order = partial(records.endings, store, row)
                rehearse(records.load(store, row), blueprint, codec, order)
            except _PROBLEMS as error:
                broken.append(Broken(row, error))
            progress(checked, seen)
    return checked, broken


def _rows(store: Store, blueprint: str) -> Iterator[ExecutionRow]:
    after = None
    while page := store.list(None, after, _PAGE, blueprint).wait():
        yield from page
        after = page[-1].id
