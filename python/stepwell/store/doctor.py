"""Looks at a store and says how it is, what is wrong with it and what to do. It changes nothing.

The file is asked through a connection that can only read, and looked at from outside by `os.stat` alone: to open and
close it in a process that has it open would give away that one's locks.
"""

import os
import stat
from pathlib import Path
from typing import Any, Final, NamedTuple

from .. import _backend, errors, model
from .._version import VERSION
from ..trouble import SAFE_WAL, journal_mode
from . import files, shape, sql
from .sqlite import SqliteSource, SqliteStore

BUSY_SECONDS: Final = 5.0
CHECKED_BYTES: Final = 64 * 1024 * 1024
"""Up to this size a file is checked page by page also where writers wait for that."""
WAL_BYTES: Final = 256 * 1024 * 1024
LEAST_FREE_BYTES: Final = 64 * 1024 * 1024
_PARTS: Final = {"db": "", "wal": "-wal", "shm": "-shm", "journal": "-journal"}
_INCREMENTAL: Final = 2


class Finding(NamedTuple):
    """What was found, and what to do about it."""

    what: str
    todo: str


class Examination(NamedTuple):
    """How a store is. `facts` are JSON values by name, those that could not be had are missing."""

    facts: dict[str, Any]
    findings: list[Finding]
    """What is wrong, or endangers what is stored; empty for a store in good health."""
    notes: list[Finding]
    """What is worth knowing and may stay as it is."""

    def to_dict(self) -> dict[str, Any]:
        """All of it as a JSON value."""
        return {
            **self.facts,
            "findings": [each._asdict() for each in self.findings],
            "notes": [each._asdict() for each in self.notes],
        }


def examine(
    path: str | os.PathLike[str], tenant: str, backend: str | None = None, *, integrity: bool | None = None
) -> Examination:
    """Examines a store file. It raises nothing for one that cannot be opened: that is a finding.

    `tenant` is whose executions are counted. `integrity` says whether every page is read and checked; left out, that
    is done where no writer has to wait for it, or not for long. Raises `ValidationError` for what cannot be a tenant.
    """
    tenant = model.label("tenant", tenant)
    backend = _backend.choose()[0] if backend is None else backend
    looked = Examination({}, [], [])
    looked.facts.update(stepwell=VERSION, backend=backend, path=os.path.realpath(path), tenant=tenant)
    if not _outside(looked):
        return looked
    source = SqliteSource(path, BUSY_SECONDS, read_only=True, network=True, backend=backend)
    try:
        store = source.open(tenant)
    except errors.StoreError as error:
        _unopened(looked, error)
        return looked
    try:
        _inside(looked, store, tenant, integrity)
    except errors.StoreError as error:
        _unopened(looked, error)
    finally:
        store.close()
    return looked


# --- from outside -------------------------------------------------------------------------------------------------


def _outside(looked: Examination) -> bool:
    """What the system says of the files. `False` where there is none."""
    facts, path = looked.facts, looked.facts["path"]
    facts["files"] = {}
    for name, ending in _PARTS.items():
        try:
            found = os.stat(path + ending)
        except OSError:
            continue
        mode = stat.S_IMODE(found.st_mode)
        facts["files"][name] = {"bytes": found.st_size, "mode": f"{mode:04o}"}
        if mode & 0o077:
            _find(
                looked, f"others than its owner may use {path}{ending} ({mode:04o})", "take their rights away"
            )
    if "db" not in facts["files"]:
        _find(looked, f"there is no file {path}", "check --store or STEPWELL_STORE, or restore a backup")
        return False
    found = os.stat(path)
    if not stat.S_ISREG(found.st_mode):
        _find(looked, f"{path} is no file", "check --store or STEPWELL_STORE")
        return False
    _place(looked, found)
    if not found.st_size:
        _find(
            looked,
            f"{path} is empty: no store was made in it yet",
            "check the path; a program that opens it for writing makes one",
        )
        return False
    return True


def _place(looked: Examination, found: os.stat_result) -> None:
    facts, path = looked.facts, looked.facts["path"]
    facts["links"] = found.st_nlink
    if found.st_nlink > 1:
        _find(
            looked,
            f"{path} has {found.st_nlink} names (hard links), and its journal belongs to one of them",
            "remove the others",
        )
    kind = facts["file_system"] = files.filesystem(found.st_dev)
    if kind in files.NETWORK:
        _find(
            looked,
            f"{path} is on a network file system ({kind}), whose locks cannot be relied on",
            "move it to a local disk",
        )
    if hasattr(os, "statvfs"):
        room = os.statvfs(path)
        facts["free_bytes"] = room.f_bavail * room.f_frsize
        if facts["free_bytes"] < LEAST_FREE_BYTES:
            _find(looked, f"the disk has only {facts['free_bytes']:,} bytes left", "make room")
    folder = Path(path).parent.stat().st_mode
    if folder & stat.S_IWOTH and not folder & stat.S_ISVTX:
        _find(looked, "anybody may replace files in its folder", "take that right away from others")
    journal = facts["files"].get("wal", {"bytes": 0})["bytes"]
    if journal > WAL_BYTES:
        _find(
            looked,
            f"its write-ahead log has {journal:,} bytes: a reader has been at it for long, or it is being written",
            "end the programs that read it for long; the next writer folds it in",
        )


def _unopened(looked: Examination, error: errors.StoreError) -> None:
    looked.facts["error"] = type(error).__name__
    if looked.facts["links"] > 1 and looked.findings:
        return  # that is why, and it is said
    what, _, todo = str(error).rpartition(": ")
    advice = {
        errors.StoreCorrupt: "keep the file as it is; restore a backup, or import what an export saved",
        errors.StoreTooNew: "upgrade stepwell",
        errors.StoreBusy: "try again, or find the process that holds it",
    }
    _find(looked, str(error), advice.get(type(error), todo if what else "see what it says"))


# --- from inside --------------------------------------------------------------------------------------------------


def _inside(looked: Examination, store: SqliteStore, tenant: str, integrity: bool | None) -> None:
    _versions(looked, store)
    _settings(looked, store)
    _shape(looked, store)
    _tenants(looked, store, tenant)
    in_wal = looked.facts["journal_mode"] == "wal"
    if integrity is None:
        integrity = in_wal or looked.facts["files"]["db"]["bytes"] <= CHECKED_BYTES
        if not integrity:
            _note(
                looked,
                "its pages were not checked: writers would wait meanwhile",
                "ask for it when nobody writes, with --integrity",
            )
    if integrity:
        said = [str(row[0]) for row in store.rows("integrity").wait()]
        looked.facts["integrity"] = said
        if said != ["ok"]:
            _find(
                looked,
                f"it is damaged: {said[0][:200]}" + (f" ({len(said)} complaints)" if len(said) > 1 else ""),
                "keep the file as it is; restore a backup; stepwell verify names the executions that are hit",
            )


def _one(store: SqliteStore, name: str, *values: Any) -> Any:
    [[found]] = store.rows(name, *values).wait()
    return found


def _versions(looked: Examination, store: SqliteStore) -> None:
    facts = looked.facts
    facts["sqlite"] = _one(store, "library")
    facts["application_id"] = _one(store, "application_id")
    facts["format"] = _one(store, "user_version")
    facts["known_format"] = sql.FORMAT
    facts.update(store.rows("format").wait())
    if facts["min_writer"] > sql.FORMAT:
        _find(
            looked,
            f"only a stepwell that knows format {facts['min_writer']} may write it; this one may read",
            "upgrade stepwell",
        )
    elif facts["format"] > sql.FORMAT:
        _note(looked, f"a newer stepwell made it (format {facts['format']})", "nothing: this one may use it")


def _settings(looked: Examination, store: SqliteStore) -> None:
    """The journal mode is the file's; the other settings are each connection's, here of the one that looks."""
    facts = looked.facts
    mode = str(_one(store, "journal_mode"))
    version = tuple(int(part) for part in facts["sqlite"].split("."))
    facts["journal_mode"] = mode if mode == "wal" else "rollback"
    facts["journal_mode_of_writers"] = wanted = journal_mode(version)
    for name in ("synchronous", "trusted_schema", "cell_size_check", "query_only", "encoding", "auto_vacuum"):
        facts[name] = _one(store, name)
    for name in ("page_size", "page_count", "freelist_count"):
        facts[name] = _one(store, name)
    safe = ".".join(map(str, SAFE_WAL))
    if wanted != "wal":
        _note(
            looked,
            f"SQLite {facts['sqlite']} is older than {safe}, from which on a write-ahead log is safe: writers use a "
            "rollback journal, which is slower",
            f"nothing, or use the native backend, or a Python with SQLite {safe} or newer",
        )
    if (mode == "wal") != (wanted == "wal"):
        _note(
            looked,
            f"its journal mode is {facts['journal_mode']}, a writer with this SQLite sets {wanted}",
            "nothing: the next one to open it for writing does so",
        )
    if facts["auto_vacuum"] != _INCREMENTAL:
        _note(
            looked,
            "it cannot give free pages back to the disk: an older stepwell made it",
            "nothing: they are used again; or export it and import that into a new store",
        )
    elif facts["freelist_count"] > max(1_000, facts["page_count"] // 4):
        _note(
            looked,
            f"{facts['freelist_count']:,} of its {facts['page_count']:,} pages are free",
            "nothing: they are used again; or stepwell purge, which gives them back",
        )


def _shape(looked: Examination, store: SqliteStore) -> None:
    said = shape.differences(store.rows("objects").wait())
    if looked.facts["format"] == sql.FORMAT:
        for each in said:
            _find(looked, each, "do not write it; find out who changed it, or restore a backup")
    looked.facts["schema"] = "as in a new store" if not said else "different"


def _tenants(looked: Examination, store: SqliteStore, tenant: str) -> None:
    facts = looked.facts
    facts["states"] = store.count().wait()
    facts["owned"] = _one(store, "leases", tenant)
    lease = store.rows("oldest_lease", tenant).wait()
    facts["oldest_lease"] = None
    if lease:
        names = ("id", "owner", "lease_until_ns", "updated_at_ns")
        facts["oldest_lease"] = dict(zip(names, lease[0][1:], strict=True))
    facts["doomed"] = _one(store, "doomed", tenant)
    if facts["doomed"]:
        _note(
            looked,
            f"{facts['doomed']:,} purged executions are not wholly deleted yet: a purge goes on, or was interrupted",
            "nothing, or stepwell purge, which goes on with it",
        )


def _find(looked: Examination, what: str, todo: str) -> None:
    looked.findings.append(Finding(what, todo))


def _note(looked: Examination, what: str, todo: str) -> None:
    looked.notes.append(Finding(what, todo))
