"""One connection to a store's file: how it is opened, what is checked and set, and what SQLite's errors mean here.

Only the thread that opened a connection uses it, and only this module calls `sqlite3`.
"""

import os
import random
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from ..trouble import MIN_LIBRARY, journal_mode

T = TypeVar("T")

APPLICATION_ID: Final = 0x53575731  # "SWW1"; never changes
PATIENCE_MS: Final = 100
CACHED: Final = 128
LONGEST: Final = 512 * 1024 * 1024
WAL_BYTES: Final = 64 * 1024 * 1024
CACHE_KIB: Final = 16 * 1024

_MODES: Final = {"wal": "PRAGMA journal_mode = WAL", "truncate": "PRAGMA journal_mode = TRUNCATE"}
_BUSY: Final = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_DAMAGED: Final = {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_SCHEMA}


_NUMBERS: Final = tuple(map(str, range(1, 33)))


class Script(NamedTuple):
    """The statements of a store: those that are asked for by name, and what makes and renews its tables."""

    queries: dict[str, str]
    schema: list[str]
    migrations: list[list[str]]

    def bound(self, name: str, values: Sequence[Any]) -> Any:
        """The values of a query as `sqlite3` takes them: numbered parameters are named ones to it, `?1` is `1`."""
        return dict(zip(_NUMBERS, values, strict=False)) if "?1" in self.queries[name] else values


class Trouble(Exception):
    """What is wrong with the file; `stepwell.trouble` has the words."""

    def __init__(self, code: str, detail: str = "", seconds: float = 0.0) -> None:
        super().__init__(code)
        self.code = code
        self.detail = detail
        self.seconds = seconds


class Connection:
    """An open, checked store file. Every method raises `Trouble`, never an error of SQLite."""

    def __init__(
        self, path: str, identity: tuple[int, int], script: Script, timeout: float, read_only: bool
    ) -> None:
        self._path = path
        self._identity = identity
        self._script = script
        self._timeout = timeout
        self._read_only = read_only
        self._full = True
        if sqlite3.sqlite_version_info < MIN_LIBRARY:
            raise Trouble("library", sqlite3.sqlite_version)
        self.check_place()
        uri = Path(path).as_uri() + ("?mode=ro" if read_only else "?mode=rw")
        try:
            self._db = sqlite3.connect(
                uri, uri=True, isolation_level=None, timeout=PATIENCE_MS / 1000, cached_statements=CACHED
            )
        except sqlite3.Error as error:
            raise self._meaning(error) from error
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
        self._db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST)
        self._run("PRAGMA trusted_schema = OFF")
        self._run("PRAGMA cell_size_check = ON")
        self._run("PRAGMA foreign_keys = OFF")
        self._run(f"PRAGMA cache_size = -{CACHE_KIB:d}")
        if self._read_only:
            self._run("PRAGMA query_only = ON")
            self._check_versions()
            return
        if self._is_new():
            self._run("PRAGMA auto_vacuum = INCREMENTAL")
            self._set_modes()
            self._create()
        self._check_versions()
        self._set_modes()
        self._migrate()

    def _is_new(self) -> bool:
        return (
            self._number("PRAGMA application_id") == 0
            and self._number("SELECT count(*) FROM sqlite_master") == 0
        )

    def _create(self) -> None:
        """Makes the tables, unless another process does so at this moment."""

        def work() -> None:
            if self._is_new():
                for statement in self._script.schema:
                    self._run(statement)
                self._run(f"PRAGMA application_id = {APPLICATION_ID:d}")
                self._run(f"PRAGMA user_version = {len(self._script.migrations) + 1:d}")

        self._in_transaction(work)

    def _migrate(self) -> None:
        """Brings an older store up to date, one format after the other."""
        known = len(self._script.migrations) + 1
        for version in range(self._number("PRAGMA user_version"), known):

            def work(version: int = version) -> None:
                if self._number("PRAGMA user_version") == version:
                    for statement in self._script.migrations[version - 1]:
                        self._run(statement)
                    self._run(f"PRAGMA user_version = {version + 1:d}")

            self._in_transaction(work)

    def _in_transaction(self, work: Callable[[], None]) -> None:
        self.begin(full=True)
        try:
            work()
            self.commit()
        except BaseException:
            self.rollback()
            raise

    def _check_versions(self) -> None:
        if self._number("PRAGMA application_id") != APPLICATION_ID:
            raise Trouble("foreign")
        try:
            limits = dict(self.rows("format", ()))
            reader, writer = int(limits["min_reader"]), int(limits["min_writer"])
        except (KeyError, ValueError, TypeError, Trouble) as error:
            if isinstance(error, Trouble) and error.code != "damaged":
                raise
            raise Trouble("lost") from error
        known = len(self._script.migrations) + 1
        needed = reader if self._read_only else max(reader, writer)
        if needed > known:
            raise Trouble("newer", str(needed))
        version = self._number("PRAGMA user_version")
        if version < 1:
            raise Trouble("lost")
        if self._read_only and version < known:
            raise Trouble("older")
        strange = self._run("SELECT type FROM sqlite_master WHERE type NOT IN ('table', 'index') LIMIT 1")
        if strange:
            raise Trouble("hostile", str(strange[0][0])[:20])

    def _set_modes(self) -> None:
        wanted = journal_mode(sqlite3.sqlite_version_info)
        found = self._run(_MODES[wanted])[0][0]
        self._run("PRAGMA synchronous = FULL")
        self._run(f"PRAGMA journal_size_limit = {WAL_BYTES:d}")
        if found != wanted or self._number("PRAGMA synchronous") != 2:
            raise Trouble("modes", str(found)[:20])
        self.is_wal = wanted == "wal"

    def _number(self, statement: str) -> int:
        return int(self._run(statement)[0][0])

    # --- use ------------------------------------------------------------------------------------------------------

    def check_place(self) -> None:
        """Raises `Trouble` where the file was moved, deleted or replaced while it is open."""
        try:
            found = os.stat(self._path)
        except OSError as error:
            raise Trouble("moved") from error
        if (found.st_dev, found.st_ino) != self._identity:
            raise Trouble("replaced")

    def rows(self, name: str, values: tuple[Any, ...]) -> list[Any]:
        """The rows of a query."""
        return self._patient(
            lambda: self._db.execute(self._script.queries[name], self._script.bound(name, values)).fetchall()
        )

    def follow(
        self,
        number: int | None,
        back: tuple[str, tuple[Any, ...]],
        after: int,
        most_rows: int,
        most_bytes: int,
    ) -> list[Any]:
        """The first records after the seq `after`, found by going back from this number."""
        try:
            return self._patient(lambda: self._follow(number, back, after, most_rows, most_bytes))
        except TypeError as error:
            raise Trouble("broken", "a record is not of its types") from error

    def _follow(
        self,
        number: int | None,
        back: tuple[str, tuple[Any, ...]],
        after: int,
        most_rows: int,
        most_bytes: int,
    ) -> list[Any]:
        found: deque[Any] = deque()
        size = 0
        above = None
        while number is not None:
            cursor = self._db.execute(
                self._script.queries[back[0]], self._script.bound(back[0], (*back[1], number))
            )
            try:
                for at, previous, ours, *wanted in cursor:
                    if at != number or not ours or (above is not None and wanted[0] != above - 1):
                        raise Trouble("broken", "a record is not where it belongs")
                    above, number = wanted[0], previous
                    if above <= after:
                        number = None
                        break
                    found.appendleft(tuple(wanted))
                    size += _size(found[0])
                    while len(found) > 1 and (len(found) > most_rows or size > most_bytes):
                        size -= _size(found.pop())
                    if previous != at - 1:
                        break
                else:
                    if number is not None:
                        raise Trouble("broken", "a record is missing")
            finally:
                cursor.close()
        return list(found)

    def change(self, name: str, values: tuple[Any, ...]) -> int:
        """How many rows a statement changed."""
        return max(
            0,
            self._patient(
                lambda: (
                    self._db.execute(self._script.queries[name], self._script.bound(name, values)).rowcount
                )
            ),
        )

    def change_many(self, name: str, values: Iterable[tuple[Any, ...]]) -> int:
        """The same for each of the values."""
        bound = [self._script.bound(name, each) for each in values]
        return max(0, self._patient(lambda: self._db.executemany(self._script.queries[name], bound).rowcount))

    def begin(self, full: bool) -> None:
        """Takes the write lock: a transaction that reads first and writes later could not wait for it.

        Where it need not be `full`, its commit waits for no disk; only in WAL mode is that without danger to the file.
        """
        full = full or not getattr(self, "is_wal", False)
        if full != self._full:
            self._run("PRAGMA synchronous = FULL" if full else "PRAGMA synchronous = NORMAL")
            # While no commit waits for the disk, it does not matter that the file still grows.
            self._run("PRAGMA wal_autocheckpoint = 1000" if full else "PRAGMA wal_autocheckpoint = 4000")
            self._full = full
        self._run("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """Makes the transaction durable."""
        self._run("COMMIT")

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

    def _run(self, statement: str) -> list[Any]:
        return self._patient(lambda: self._db.execute(statement).fetchall())

    def _patient(self, work: Callable[[], T]) -> T:
        """Tries again while another process holds the file, at uneven moments, until the time-out."""
        start = time.monotonic()
        while True:
            try:
                return work()
            except sqlite3.Error as error:
                if "decode to UTF-8" in str(error) and self._db.text_factory is str:
                    self._db.text_factory = _lossy  # only now, since it is slow: a damaged file is still read
                    continue
                if _code(error) not in _BUSY:
                    raise self._meaning(error) from error
                waited = time.monotonic() - start
                if waited >= self._timeout:
                    raise Trouble("busy", seconds=waited) from error
            except UnicodeDecodeError as error:  # in SQLite's own words about a schema that is no text
                raise Trouble("damaged", "its schema is not text") from error
            time.sleep(random.uniform(0.001, 0.02))

    def _meaning(self, error: sqlite3.Error) -> Trouble:
        code = _code(error)
        if code == sqlite3.SQLITE_FULL:
            return Trouble("full")
        if code in {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM}:
            return Trouble("readonly")
        if code in _DAMAGED:
            return Trouble("damaged", str(error)[:200])
        if code == sqlite3.SQLITE_CANTOPEN:
            return Trouble("unopenable")
        return Trouble("io", str(error)[:200])


def _lossy(text: bytes) -> str:
    return text.decode("utf-8", "replace")


def _size(row: tuple[Any, ...]) -> int:
    return len(row[-1]) if isinstance(row[-1], bytes) else 0


def _code(error: sqlite3.Error) -> int:
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF
