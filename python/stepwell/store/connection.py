"""One connection to a SQLite file: how it is opened, what is checked and set, and what its errors mean.

Only the thread that opened a connection uses it, and only this module calls `sqlite3`.
"""

import os
import random
import sqlite3
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, TypeVar

from .. import errors

T = TypeVar("T")

APPLICATION_ID: Final = 0x53575731  # "SWW1"; never changes
FORMAT: Final = 1

_MIN_LIBRARY: Final = (3, 38, 0)  # STRICT tables and JSON
_SAFE_WAL: Final = (3, 51, 3)  # before it, several connections that checkpoint can corrupt a file in WAL mode
_PATIENCE_MS: Final = 100
_MODES: Final = {"wal": "PRAGMA journal_mode = WAL", "truncate": "PRAGMA journal_mode = TRUNCATE"}

_BUSY: Final = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_FOREIGN: Final = {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT}


def _statements(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


def _named(text: str) -> dict[str, str]:
    found = {}
    for part in text.split("-- name: ")[1:]:
        name, _, statement = part.partition("\n")
        found[name.strip()] = statement.strip().rstrip(";")
    return found


SQL: Final = _named(_statements("queries.sql"))
"""Every statement by its name."""


def journal_mode(version: tuple[int, ...] = sqlite3.sqlite_version_info) -> str:
    """The journal mode that loses nothing with this version of SQLite."""
    return "wal" if version >= _SAFE_WAL else "truncate"


class Connection:
    """An open, checked store file. Every method raises `StoreError` or one of its subclasses, never a raw one."""

    def __init__(self, path: str, timeout: float, identity: tuple[int, int]) -> None:
        self._path = path
        self._timeout = timeout
        self._identity = identity
        if sqlite3.sqlite_version_info < _MIN_LIBRARY:
            raise errors.StoreError(
                f"SQLite {sqlite3.sqlite_version} is too old for a store: stepwell needs 3.38 or newer"
            )
        self.check_place()
        uri = Path(path).as_uri() + "?mode=rw"
        try:
            self._db = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=_PATIENCE_MS / 1000)
        except sqlite3.Error as error:
            raise self.typed(error) from error
        try:
            self._prepare()
        except BaseException:
            self._db.close()
            raise

    # --- opening --------------------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        defend = getattr(self._db, "setconfig", None)  # from Python 3.12 on
        if defend is not None:
            defend(sqlite3.SQLITE_DBCONFIG_DEFENSIVE, True)  # type: ignore[attr-defined]
        for pragma in (
            "PRAGMA trusted_schema = OFF",
            "PRAGMA cell_size_check = ON",
            "PRAGMA foreign_keys = OFF",
        ):
            self.run(pragma)
        if self._is_new():
            self._set_modes()
            self._create()
        self._check_identity()
        self._set_modes()

    def _is_new(self) -> bool:
        return self._pragma("application_id") == 0 and self._count_tables() == 0

    def _count_tables(self) -> int:
        return int(self.run("SELECT count(*) FROM sqlite_master")[0][0])

    def _create(self) -> None:
        """Makes the tables, unless another process does so at this moment."""
        self.begin()
        try:
            if self._is_new():
                statement = ""
                for line in _statements("schema.sql").splitlines(keepends=True):
                    statement += line
                    if sqlite3.complete_statement(statement):
                        self.run(statement)
                        statement = ""
                self.run("PRAGMA application_id = 1398232881")
                self.run("PRAGMA user_version = 1")
            self.commit()
        except BaseException:
            self.rollback()
            raise

    def _check_identity(self) -> None:
        found = self._pragma("application_id")
        if found != APPLICATION_ID:
            raise errors.StoreCorrupt(
                f"{self._path} is a SQLite database of another program, not a stepwell store"
            )
        version = int(self._pragma("user_version"))
        try:
            limits = dict(self.run(SQL["format"]))
            reader, writer = int(limits["min_reader"]), int(limits["min_writer"])
        except (KeyError, ValueError, TypeError, errors.StoreError) as error:
            if isinstance(error, errors.StoreBusy):
                raise
            raise errors.StoreCorrupt(
                f"{self._path} has lost its table of versions: it is damaged"
            ) from error
        if max(reader, writer) > FORMAT:
            raise errors.StoreTooNew(
                f"{self._path} has format {version}, and only a stepwell that knows format {max(reader, writer)} "
                f"may write it; this one knows {FORMAT}: upgrade stepwell"
            )

    def _set_modes(self) -> None:
        wanted = journal_mode()
        found = self.run(_MODES[wanted])[0][0]
        self.run("PRAGMA synchronous = FULL")
        if found != wanted or self._pragma("synchronous") != 2:
            raise errors.StoreError(
                f"{self._path} could not be set to journal mode {wanted} with full synchronisation (it is {found}): "
                "close the other programs that use it, or move it to a local disk"
            )

    def _pragma(self, name: str) -> Any:
        statement = {
            "application_id": "PRAGMA application_id",
            "user_version": "PRAGMA user_version",
            "synchronous": "PRAGMA synchronous",
        }[name]
        return self.run(statement)[0][0]

    # --- use ------------------------------------------------------------------------------------------------------

    def check_place(self) -> None:
        """Raises `StoreError` where the file was moved, deleted or replaced while it is open."""
        try:
            found = os.stat(self._path)
        except OSError as error:
            raise errors.StoreError(
                f"{self._path} was moved or deleted while it was open: put it back"
            ) from error
        if (found.st_dev, found.st_ino) != self._identity:
            raise errors.StoreError(
                f"{self._path} was replaced by another file while it was open: put it back"
            )

    def run(self, statement: str, values: tuple[Any, ...] = ()) -> list[Any]:
        """All rows of a statement."""
        return self._patient(lambda: self._db.execute(statement, values).fetchall())

    def rows(self, statement: str, values: tuple[Any, ...], enough: Callable[[Any], bool]) -> list[Any]:
        """The rows of a statement up to the first after which it is `enough`; nothing stays open behind it."""

        def read() -> list[Any]:
            cursor = self._db.execute(statement, values)
            try:
                found = []
                for row in cursor:
                    found.append(row)
                    if enough(row):
                        break
                return found
            finally:
                cursor.close()

        return self._patient(read)

    def change(self, statement: str, values: tuple[Any, ...]) -> int:
        """How many rows a statement changed."""
        return self._patient(lambda: self._db.execute(statement, values).rowcount)

    def change_many(self, statement: str, values: Iterable[tuple[Any, ...]]) -> None:
        """Runs a statement once for each of the values."""
        self._patient(lambda: self._db.executemany(statement, values))

    def begin(self) -> None:
        """Takes the write lock: a transaction that reads first and writes later could not wait for it."""
        self._patient(lambda: self._db.execute("BEGIN IMMEDIATE"))

    def commit(self) -> None:
        """Makes the transaction durable."""
        self._patient(lambda: self._db.execute("COMMIT"))

    def rollback(self) -> None:
        """Ends the transaction, if there is one, without a trace."""
        if self._db.in_transaction:
            try:
                self._db.execute("ROLLBACK")
            except sqlite3.Error:  # the connection is given up anyway; the file's own journal undoes the rest
                pass

    def close(self) -> None:
        """Lets go of the file."""
        self._db.close()

    def _patient(self, work: Callable[[], T]) -> T:
        """Tries again while another process holds the file, at uneven moments, until the time-out."""
        start = time.monotonic()
        while True:
            try:
                return work()
            except sqlite3.Error as error:
                if _code(error) not in _BUSY:
                    raise self.typed(error) from error
                waited = time.monotonic() - start
                if waited >= self._timeout:
                    raise errors.StoreBusy(
                        f"{self._path} was held by another process for {waited:.1f} s: try again, or find the process"
                    ) from error
            time.sleep(random.uniform(0.001, 0.02))

    def typed(self, error: sqlite3.Error) -> errors.StoreError:
        """What an error of SQLite means to a user."""
        code = _code(error)
        if code == sqlite3.SQLITE_FULL:
            return errors.StoreFull(f"there is no room left for {self._path}: make some, then resume")
        if code in {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM}:
            return errors.StoreReadOnly(
                f"{self._path} cannot be written: check the rights of the file and its folder"
            )
        if code in _FOREIGN:
            return errors.StoreCorrupt(f"{self._path} is not a stepwell store, or it is damaged ({error})")
        if code == sqlite3.SQLITE_CANTOPEN:
            return errors.StoreError(
                f"{self._path} cannot be opened: check that it is a file and that it may be read"
            )
        return errors.StoreError(f"{self._path}: SQLite reports {error}")


def _code(error: sqlite3.Error) -> int:
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF
