"""The commands that keep a store: `verify`, `export`, `import`, `backup`, `purge` and `doctor`."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, BinaryIO

from .. import durations, errors
from . import report, view
from .command import (
    FOUND,
    Argument,
    Exit,
    JsonOption,
    Option,
    StoreOption,
    TenantOption,
    app,
    check_there,
    guarded,
    make_folder,
    opened,
    path_of,
    plain,
    source,
    where,
)
from .progress import Counting

Ids = Annotated[list[str] | None, Argument(help="Ids of executions; without any, all of the tenant.")]


@app.command()
def verify(
    ids: Ids = None, *, store: StoreOption = None, tenant: TenantOption = None, json: JsonOption = False
) -> None:
    """Checks the records of executions: the chain of digests, gaps, and what they come to. It only reads."""
    from ..store.verify import verify as run

    with guarded():
        with opened(store, tenant) as found, Counting("verified", quiet=json) as progress:
            result = run(found, _asked(ids), progress)
        if json:
            view.print_json(report.verified_data(result))
        else:
            report.print_verified(view.console(), result)
    if result.findings:
        raise Exit(FOUND)


def _asked(ids: list[str] | None) -> list[str] | None:
    return [each if each.isascii() else ascii(each) for each in ids] if ids else None


@app.command()
def export(
    file: Annotated[str, Argument(help="The file to write, which must not be there yet; - for the output.")],
    ids: Ids = None,
    *,
    store: StoreOption = None,
    tenant: TenantOption = None,
    json: JsonOption = False,
) -> None:
    """Writes executions with all their records as lines of JSON. It only reads the store.

    With - the lines are the output, and what --json prints goes to the standard error.
    """
    from ..store.transfer import export as run

    with guarded(), opened(store, tenant) as found:
        asked = _asked(ids)
        for each in asked or []:
            found.get(each).wait()  # before anything is written: it may be that there is none
        with Counting("exported", quiet=json) as progress, _to(file) as target:
            result = run(found, target, asked, progress)
    report.print_moved("exported", result, as_json=json, aside=file == "-")


@contextmanager
def _to(file: str) -> Iterator[BinaryIO]:
    """A file that has its name when it is whole, and its owner's alone: what is recorded may be secret."""
    if file == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path = Path(file)
    if path.exists():
        raise errors.ValidationError("the file to export to is there already: choose another, or remove it")
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as opened_file:
        try:
            yield opened_file
            opened_file.flush()
            os.fsync(opened_file.fileno())
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    part.replace(path)


@app.command("import")
def import_(
    file: Annotated[str, Argument(help="A file that `stepwell export` wrote; - for the input.")],
    *,
    store: StoreOption = None,
    tenant: TenantOption = None,
    json: JsonOption = False,
) -> None:
    """Takes over executions from an export. Where there is no store, it is made."""
    from ..store.transfer import import_ as run

    with guarded("what is not whole is not there: import again"), _from(file) as origin:
        url, whose = where(store, tenant, {})
        path_of(url)
        make_folder(url)
        found = source(url, read_only=False).open(whose)
        try:
            with Counting("imported", quiet=json) as progress:
                result = run(found, origin, progress)
        finally:
            found.close()
    report.print_moved("imported", result, as_json=json, aside=False)


@contextmanager
def _from(file: str) -> Iterator[BinaryIO]:
    if file == "-":
        yield sys.stdin.buffer
        return
    with Path(file).open("rb") as opened_file:
        yield opened_file


@app.command()
def backup(
    target: Annotated[str, Argument(help="The file to write, which must not be there yet.")],
    *,
    store: StoreOption = None,
    tenant: TenantOption = None,
    json: JsonOption = False,
) -> None:
    """Copies a whole store, of all tenants, while others write it."""
    from ..store.backup import backup as run

    with guarded():
        url, _ = where(store, tenant or "all", {})
        check_there(url)
        size = run(path_of(url), target)
        if json:
            view.print_json({"target": os.path.realpath(target), "bytes": size})
        else:
            report.print_line(view.console(), f"{target}: {size:,} bytes")


@app.command()
def purge(
    *,
    older_than: Annotated[
        str, Option("--older-than", help="The least age of the last record, such as 30d or 12h.")
    ],
    state: Annotated[
        list[str] | None, Option(help="Only those that ended so; may be given several times.")
    ] = None,
    dry_run: Annotated[bool, Option("--dry-run", help="Only says what would go.")] = False,
    rest: Annotated[
        float, Option(min=0, max=1000, help="How long to rest after each piece of work, in times of it.")
    ] = 15.0,
    store: StoreOption = None,
    tenant: TenantOption = None,
    json: JsonOption = False,
) -> None:
    """Deletes executions that ended long ago, for good, a little at a time, and gives their space back."""
    from ..store.retention import purge as run

    with guarded("the next purge goes on with it"):
        age = durations.parse(older_than, "--older-than")
        chosen: dict[str, Any] = {} if not state else {"states": [plain("--state", each) for each in state]}
        with (
            opened(store, tenant, read_only=dry_run) as found,
            Counting("would purge" if dry_run else "purged", quiet=json) as progress,
        ):
            result = run(
                found,
                older_than_ns=age,
                now_ns=time.time_ns(),
                dry_run=dry_run,
                progress=progress,
                rest=rest,
                **chosen,
            )
        if json:
            view.print_json({**result._asdict(), "dry_run": dry_run})
        else:
            report.print_purged(view.console(), result, dry_run=dry_run)


@app.command()
def doctor(
    *,
    integrity: Annotated[
        bool | None,
        Option(help="Reads every page; left out, where no writer has to wait for that for long."),
    ] = None,
    store: StoreOption = None,
    tenant: TenantOption = None,
    json: JsonOption = False,
) -> None:
    """Says how a store is, what is wrong with it and what to do. It changes nothing."""
    from ..store.doctor import examine

    with guarded():
        url, whose = where(store, tenant, {})
        result = examine(path_of(url), whose, integrity=integrity)
        if json:
            view.print_json(result.to_dict())
        else:
            report.print_examination(view.console(), result)
    if result.findings:
        raise Exit(FOUND)
