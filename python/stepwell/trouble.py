"""What can go wrong with a store's file, in words. Both backends name the trouble; what it means is written once."""

import os
from typing import Final, NoReturn

from . import errors

MIN_LIBRARY: Final = (3, 38, 0)
"""STRICT tables and JSON."""
SAFE_WAL: Final = (3, 51, 3)
"""Before it, several connections that checkpoint can corrupt a file in WAL mode."""


def journal_mode(version: tuple[int, ...]) -> str:
    """The journal mode that loses nothing with this version of SQLite."""
    return "wal" if version >= SAFE_WAL else "truncate"


_WORDS: Final[dict[str, tuple[type[errors.StoreError], str]]] = {
    "busy": (
        errors.StoreBusy,
        "{path} was held by another process for {seconds:.1f} s: try again, or find the process",
    ),
    "crowded": (errors.StoreBusy, "{detail} requests wait for {path} already: ask again when some are done"),
    "full": (errors.StoreFull, "there is no room left for {path}: make some, then ask again"),
    "readonly": (
        errors.StoreReadOnly,
        "{path} cannot be written: check the rights of the file and its folder",
    ),
    "damaged": (errors.StoreCorrupt, "{path} is not a stepwell store, or it is damaged ({detail})"),
    "broken": (
        errors.StoreCorrupt,
        "a journal in {path} is damaged ({detail}): `stepwell verify` names the record; restore it from a backup",
    ),
    "foreign": (
        errors.StoreCorrupt,
        "{path} is a SQLite database of another program, not a stepwell store",
    ),
    "hostile": (
        errors.StoreCorrupt,
        (
            "{path} has a {detail}, which no stepwell store has: do not use it; `stepwell import` takes over what "
            "another store exports"
        ),
    ),
    "lost": (errors.StoreCorrupt, "{path} has lost its table of versions: it is damaged"),
    "newer": (
        errors.StoreTooNew,
        "{path} asks for a stepwell that knows format {detail}, and this one does not: upgrade stepwell",
    ),
    "older": (
        errors.StoreError,
        (
            "{path} was made by an older stepwell and is open for reading only: open it once for writing, which "
            "brings it up to date"
        ),
    ),
    "unfinished": (
        errors.StoreReadOnly,
        (
            "a writer of {path} died in the middle of a commit, and one that only reads cannot undo that: open it once "
            "for writing, as your program does or `stepwell purge`"
        ),
    ),
    "modes": (
        errors.StoreError,
        (
            "{path} could not be set to the journal mode that is safe here, with full synchronisation (it is "
            "{detail}): close the other programs that use it, or move it to a local disk"
        ),
    ),
    "unopenable": (
        errors.StoreError,
        "{path} cannot be opened: check that it is a file and that it may be read",
    ),
    "frozen": (
        errors.StoreReadOnly,
        (
            "{path} is on a read-only file system, where it cannot be opened: make that writable, or copy the store "
            "to another"
        ),
    ),
    "moved": (errors.StoreError, "{path} was moved or deleted while it was open: put it back"),
    "replaced": (
        errors.StoreError,
        "{path} was replaced by another file while it was open: put it back",
    ),
    "library": (
        errors.StoreError,
        "SQLite {detail} is too old for a store at {path}: stepwell needs 3.38 or newer",
    ),
    "io": (errors.StoreError, "{path}: SQLite reports {detail}; ask again when the disk works"),
    "stopped": (errors.StoreError, "{path} was closed before it answered"),
    "internal": (errors.InternalError, "defect in stepwell, please report it: {detail} in the store"),  # type: ignore[dict-item]
}


def store_failure(code: str, path: str, detail: str = "", seconds: float = 0.0) -> errors.StepwellError:
    """The exception for a trouble with the store's file."""
    if code == "unopenable" and _is_on_read_only(path):
        code = "frozen"  # a file in WAL mode cannot be opened without one beside it, and SQLite says no more
    kind, words = _WORDS[code]
    return kind(words.format(path=path, detail=detail, seconds=seconds))


def _is_on_read_only(path: str) -> bool:
    try:
        return bool(os.statvfs(path).f_flag & os.ST_RDONLY)
    except (AttributeError, OSError):
        return False


def not_done() -> NoReturn:
    """Raises what the outcome of an open request is refused with."""
    raise errors.ValidationError("the outcome is not known yet: await the ticket, or `wait` for it")
