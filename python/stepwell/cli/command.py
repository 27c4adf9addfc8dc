"""What every command has: its options, where its store is, its exit code."""

import asyncio
import errno
import os
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from typer import Argument, Exit, Option

from .. import errors
from ..failures import ExecutionError
from ..store.sqlite import SqliteSource, SqliteStore
from .text import safe

__all__ = [
    "FOUND", "LATE", "Argument", "CodecOption", "Exit", "JsonOption", "Option", "Paused", "StoreOption", "TenantOption",
    "app", "check_there", "coroutine", "guarded", "make_folder", "opened", "path_of", "plain", "source", "where",
]  # fmt: skip

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Runs blueprints that survive their process, and shows and keeps what is recorded of them.",
)

StoreOption = Annotated[
    str | None, Option("--store", envvar="STEPWELL_STORE", help="sqlite:/// and the path of a file.")
]
TenantOption = Annotated[str | None, Option("--tenant", envvar="STEPWELL_TENANT", help="Whose executions.")]
CodecOption = Annotated[
    str | None,
    Option("--codec", envvar="STEPWELL_CODEC", help="The kernel's codec: a module or a .py file, and :name."),
]
JsonOption = Annotated[bool, Option("--json", help="One JSON value on the standard output, and no progress.")]

EXIT_CODES: Final = {
    0: "done",
    1: "the execution failed or was cancelled, or its module raised an error when it was imported",
    2: "wrong usage, or a file that cannot be read or written",
    3: "nothing under that id",
    4: "the store could not do it, or what was read is damaged",
    5: "paused: code and record differ, a step is in doubt, or somebody asked for it",
    6: "another process runs it",
    7: "verify, check or doctor found something",
    8: "too late: the execution has ended, or another answer came first",
    130: "interrupted: the record is kept",
}
"""What the exit codes of all commands mean."""
FOUND: Final = 7
LATE: Final = 8


class Paused(errors.StepwellError):
    """An execution is paused, and goes on when somebody says so."""


_CODES: list[tuple[type[BaseException], int]] = [
    (Paused, 5),
    (errors.NotFound, 3),
    (errors.DivergenceError, 5),
    (errors.Conflict, 6),
    (errors.StoreError, 4),
    (errors.InternalError, 4),
    (ExecutionError, 1),
    (errors.StepwellError, 2),
]


@contextmanager
def guarded(interrupted: str = "nothing is lost by that", *, files: bool = True) -> Iterator[None]:
    """Refusals become one line on the standard error and an exit code; with `files` what the system refuses too."""
    try:
        yield
    except KeyboardInterrupt:
        print(f"stepwell: interrupted; {interrupted}", file=sys.stderr)
        raise Exit(130) from None
    except errors.StepwellError as error:
        code = next(code for kind, code in _CODES if isinstance(error, kind))
        print(f"stepwell: {safe(error, 2000)}", file=sys.stderr)
        raise Exit(code) from None
    except OSError as error:
        if not files:
            raise
        if error.errno == errno.EPIPE:  # whoever read the output has enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise Exit(0) from None
        print(f"stepwell: {safe(error.filename or 'a file')}: {safe(error.strerror)}", file=sys.stderr)
        raise Exit(2) from None


def coroutine(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Does what a command has to do on an event loop."""
    with guarded("the record is kept, `stepwell resume` goes on with it", files=False):
        asyncio.run(work())


def where(store: str | None, tenant: str | None, defaults: dict[str, str]) -> tuple[str, str]:
    """The store and the tenant: as given, from the environment, or what the user's module says."""
    store, tenant = store or defaults.get("store"), tenant or defaults.get("tenant")
    if store is None:
        raise errors.ValidationError("which store? Give --store sqlite:///runs.db, or set STEPWELL_STORE")
    if tenant is None:
        raise errors.ValidationError("whose executions? Give --tenant, or set STEPWELL_TENANT")
    return store, tenant


def path_of(store: str) -> Path:
    """The file that a store's URL names. Raises `ValidationError` for one that names none."""
    path = store.removeprefix("sqlite:///")
    if path in ("", store, ":memory:") or "\0" in path:
        raise errors.ValidationError("the store of a command is 'sqlite:///' and the path of a file")
    return Path(path)


def check_there(store: str) -> None:
    """Raises `StoreError` where there is no store: a slip in a path makes no new one."""
    path = path_of(store)
    if not path.is_dir() and (not path.exists() or not path.stat().st_size):
        raise errors.StoreError(f"there is no store at {path}: check --store or STEPWELL_STORE")


@contextmanager
def opened(store: str | None, tenant: str | None, *, read_only: bool = True) -> Iterator[SqliteStore]:
    """The store of a command, until it is done. Reading only, nothing of the file is made, set or waited for long."""
    url, whose = where(store, tenant, {})
    check_there(url)
    found = source(url, read_only=read_only).open(whose)
    try:
        yield found
    finally:
        found.close()


def source(store: str, *, read_only: bool) -> SqliteSource:
    """The source of a store's URL."""
    return SqliteSource(path_of(store), read_only=read_only)


def make_folder(store: str) -> None:
    """A store's folder is made when something is to be kept there."""
    if store.startswith("sqlite:///"):
        with suppress(OSError):  # opening the store says what is wrong, with its type
            Path(store.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)


def plain(what: str, text: str | None) -> str | None:
    """A text that a store can be asked for. Raises `ValidationError` for an argument that was no text."""
    if text is not None:
        try:
            text.encode()
        except UnicodeEncodeError:
            raise errors.ValidationError(f"{what} is no text: it has bytes that are not UTF-8") from None
    return text
