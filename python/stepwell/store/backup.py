"""A copy of a store file that others go on writing to, made by SQLite itself."""

import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Final

from .. import errors

if TYPE_CHECKING:
    from .sqlite import SqliteSource

_TENANT: Final = "backup"  # a handle has one; the copy is of the whole file
_SOUND: Final = [("ok",)]


def backup(
    path: str | os.PathLike[str],
    target: str | os.PathLike[str],
    backend: str | None = None,
) -> int:
    """Copies a store, all tenants of it, as it is at one moment; others may go on writing. Returns the copy's bytes.

    The copy is a store by itself, its owner's alone (0600). It gets its name when it is whole, checked and on the disk:
    what an interrupted backup leaves is called `.part`. Where `target` exists it is refused. It blocks; use a process
    or a thread of its own.

    Raises `ValidationError` for a target that exists, `StoreCorrupt` for a store that is damaged, `StoreFull`,
    `StoreBusy`, `StoreError`.
    """
    from .sqlite import SqliteSource

    source, wanted = os.fspath(path), Path(os.path.realpath(target))
    if os.path.lexists(target):
        raise _exists(wanted)
    part = wanted.with_name(f"{wanted.name}.{secrets.token_hex(4)}.part")
    _make(part)
    try:
        try:
            _copy(SqliteSource(source, read_only=True, backend=backend), part)
        except errors.StoreReadOnly:
            # What a process left undone when it died is undone by whoever opens the store for writing next, only.
            SqliteSource(source, backend=backend).open(_TENANT).close()
            _copy(SqliteSource(source, read_only=True, backend=backend), part)
        _check(source, SqliteSource(part, read_only=True, backend=backend))
        _sync(part)
        _name(part, wanted)
    finally:
        part.unlink(missing_ok=True)
    _sync(wanted.parent)
    return os.stat(wanted).st_size


def _copy(source: "SqliteSource", part: Path) -> None:
    store = source.open(_TENANT)
    try:
        store.rows("may_copy").wait()
        store.rows("copy_into", str(part)).wait()
    finally:
        store.close()


def _check(source: str, copy: "SqliteSource") -> None:
    """Whether the copy is a store and sound; opening it for reading looks at what it is."""
    store = copy.open(_TENANT)
    try:
        if store.rows("integrity").wait() != _SOUND:
            raise errors.StoreCorrupt(
                f"the copy of {source} is damaged, so nothing was kept of it: `stepwell verify` says more of the store"
            )
    finally:
        store.close()


def _make(part: Path) -> None:
    try:
        os.close(os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except OSError as error:
        raise _failure(part.parent, error) from error


def _sync(path: Path) -> None:
    """Has a file or a folder written to the disk."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise _failure(path, error) from error


def _name(part: Path, wanted: Path) -> None:
    """Gives the copy its name, never that of something that is there."""
    try:
        os.link(part, wanted)
    except FileExistsError as error:
        raise _exists(wanted) from error
    except OSError:  # a file system without links
        if wanted.exists():
            raise _exists(wanted) from None
        try:
            part.rename(wanted)
        except OSError as error:
            raise _failure(wanted, error) from error


def _exists(wanted: Path) -> errors.ValidationError:
    return errors.ValidationError(
        f"{wanted} exists: a backup goes into a new file; name another, or move that one"
    )


def _failure(path: Path, error: OSError) -> errors.StoreError:
    return errors.StoreError(f"the backup at {path} could not be written: {error.strerror}")
