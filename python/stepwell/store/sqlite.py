"""The SQLite store: one thread for each file does everything, and many requests share one flush.

The thread takes all requests that are waiting, answers what only reads, then writes the rest in one transaction, and
makes the outcomes known after the commit. It is the only one that touches the file; those who ask wait for tickets.
"""

import os
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from .. import errors, model
from . import protocol
from .connection import SQL, Connection
from .protocol import ExecutionRow, NewExecution, Projection, Record, Records, Rows
from .ticket import Ticket, settle

T = TypeVar("T")

MAX_WAITING: Final = 65_536
MAX_BATCH: Final = 1_024
BUSY_SECONDS: Final = 30.0
_AFTER_ALL: Final = "\x7f"  # sorts behind every id


class _Request:
    __slots__ = ("ticket", "work", "writes")

    def __init__(self, work: Callable[[Connection], Any], writes: bool) -> None:
        self.work = work
        self.writes = writes
        self.ticket: Ticket[Any] = Ticket()


_Outcome = tuple[Ticket[Any], Any, BaseException | None]


class _Engine:
    """One file and its thread. The thread alone holds the connection: a forked child can neither use nor close it."""

    def __init__(self, path: str, identity: tuple[int, int], busy_seconds: float) -> None:
        self.path = path
        self.users = 0
        self.pid = os.getpid()
        # `still` is held while the file may be locked or half written. `fork` waits for it, behind `turnstile`, where
        # the thread lets it go first.
        self.still = threading.Lock()
        self.turnstile = threading.Lock()
        self._identity = identity
        self._busy_seconds = busy_seconds
        self._queue: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="stepwell-store", daemon=True)
        self._thread.start()

    def ask(self, work: Callable[[Connection], T], writes: bool) -> Ticket[T]:
        if self.pid != os.getpid():
            raise errors.ForkedProcessError(
                "this store was opened before the process forked: open one in the child, or start it with spawn"
            )
        if self._queue.qsize() >= MAX_WAITING:
            raise errors.StoreBusy(
                f"{MAX_WAITING} requests wait for {self.path} already: ask again when some are done"
            )
        request = _Request(work, writes)
        self._queue.put(request)
        return request.ticket

    def stop(self) -> None:
        """Ends the thread behind everything that was asked."""
        self._queue.put(None)
        self._thread.join()

    # --- the thread -----------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        connection: Connection | None = None
        running = True
        while running:
            batch, running = self._take()
            with self.turnstile:
                self.still.acquire()
            try:
                outcomes, connection = self._answer(batch, connection)
            finally:
                self.still.release()
            settle(outcomes)
            del batch, outcomes
        if connection is not None:
            with self.still:
                connection.close()

    def _take(self) -> tuple[list[_Request], bool]:
        batch: list[_Request] = []
        try:
            request = self._queue.get()
            while request is not None:
                batch.append(request)
                if len(batch) == MAX_BATCH:
                    return batch, True
                request = self._queue.get_nowait()
        except queue.Empty:
            return batch, True
        return batch, False

    def _answer(
        self, batch: list[_Request], connection: Connection | None
    ) -> tuple[list[_Outcome], Connection | None]:
        outcomes: list[_Outcome] = []
        reads = [request for request in batch if not request.writes]
        writes = [request for request in batch if request.writes]
        for request in reads:
            outcome, connection = self._alone(request, connection)
            outcomes.append(outcome)
        if not writes:
            return outcomes, connection
        try:
            connection = self._open(connection)
            connection.check_place()
            done = _write(connection, writes)
        except errors.StepwellError as error:
            _give_up(connection)
            connection = None
            if isinstance(error, errors.StoreBusy | errors.StoreFull | errors.StoreReadOnly):
                return outcomes + [(request.ticket, None, _copy(error)) for request in writes], connection
            # Whether it was the commit that failed or something before it: every request can be made again, and does
            # its work once. One after the other, so that a bad one does not take the others with it.
            for request in writes:
                outcome, connection = self._alone(request, connection)
                outcomes.append(outcome)
            return outcomes, connection
        return outcomes + done, connection

    def _alone(self, request: _Request, connection: Connection | None) -> tuple[_Outcome, Connection | None]:
        try:
            connection = self._open(connection)
            connection.check_place()
            if request.writes:
                return _write(connection, [request])[0], connection
            return (request.ticket, request.work(connection), None), connection
        except errors.StoreError as error:
            _give_up(connection)
            return (request.ticket, None, error), None
        except errors.StepwellError as error:
            return (request.ticket, None, error), connection
        except Exception as error:  # noqa: BLE001 - whatever it is, the thread goes on and the one who waits is told
            failure = errors.InternalError(
                f"defect in stepwell, please report it: {type(error).__name__} in the store"
            )
            failure.__cause__ = error
            _give_up(connection)
            return (request.ticket, None, failure), None

    def _open(self, connection: Connection | None) -> Connection:
        return connection or Connection(self.path, self._busy_seconds, self._identity)


def _write(connection: Connection, requests: list[_Request]) -> list[_Outcome]:
    """All requests in one transaction. A refused one writes nothing and leaves the others alone."""
    done: list[_Outcome] = []
    connection.begin()
    try:
        for request in requests:
            try:
                done.append((request.ticket, request.work(connection), None))
            except (errors.Conflict, errors.NotFound) as refusal:
                done.append((request.ticket, None, refusal))
        connection.commit()
    except BaseException as error:
        connection.rollback()
        if isinstance(error, errors.StepwellError):
            raise
        raise errors.StoreError(f"the store could not write: {type(error).__name__}") from error
    return done


def _give_up(connection: Connection | None) -> None:
    if connection is not None:
        connection.rollback()
        connection.close()


def _copy(error: errors.StepwellError) -> errors.StepwellError:
    """One for each who waits: a raised exception collects its own traceback."""
    made = type(error)(*error.args)
    made.__cause__ = error.__cause__
    return made


# --- which files are open -----------------------------------------------------------------------------------------

_engines: dict[tuple[int, int], _Engine] = {}
_engines_lock = threading.Lock()
_inherited: list[_Engine] = []


def _open_engine(path: str, busy_seconds: float) -> tuple[_Engine, tuple[int, int]]:
    """The one engine of a file in this process, however it is spelt or linked."""
    path = os.path.realpath(path)
    with _engines_lock:
        try:
            # Only a file that is not there yet is opened here: closing a second descriptor of a database that is open
            # would give away all its locks.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            pass
        except PermissionError as error:
            raise errors.StoreReadOnly(f"{path} cannot be made: check the rights of the folder") from error
        except OSError as error:
            raise errors.StoreError(
                f"{path} cannot be made: {error.strerror}; check that its folder is there"
            ) from error
        found = os.stat(path)
        identity = (found.st_dev, found.st_ino)
        engine = _engines.get(identity)
        if engine is None:
            engine = _engines[identity] = _Engine(path, identity, busy_seconds)
        engine.users += 1
    return engine, identity


def _close_engine(engine: _Engine, identity: tuple[int, int]) -> None:
    if engine.pid != os.getpid():
        return  # the parent's: it is left alone
    with _engines_lock:
        engine.users -= 1
        if engine.users:
            return
        _engines.pop(identity, None)
        engine.stop()


_held: list[threading.Lock] = []
"""What is held while the process forks, so that no file is locked or half written at that moment."""


def _before_fork() -> None:
    _engines_lock.acquire()
    for engine in _engines.values():
        engine.turnstile.acquire()
        _held.append(engine.turnstile)
        if engine.still.acquire(timeout=5):
            _held.append(engine.still)


def _after_fork() -> None:
    while _held:
        _held.pop().release()
    _engines_lock.release()


def _after_fork_in_child() -> None:
    _inherited.extend(_engines.values())
    _engines.clear()
    _after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child)


# --- the store ----------------------------------------------------------------------------------------------------


class SqliteSource:
    """A store file. The file is made, with rights for its owner alone, when it is not there.

    `busy_seconds` is how long a request may wait for another process before it ends in `StoreBusy`.
    """

    def __init__(self, path: str | os.PathLike[str], busy_seconds: float = BUSY_SECONDS) -> None:
        self._path = os.fspath(path)
        self._busy_seconds = busy_seconds

    def open(self, tenant: str) -> "SqliteStore":
        """The store of one tenant; opens and checks the file, which blocks.

        Raises `StoreCorrupt` for a file that is no store or is damaged, `StoreTooNew`, `StoreReadOnly`, `StoreBusy`,
        `StoreError`; `ValidationError` for a text that cannot be a tenant.
        """
        tenant = model.label("tenant", tenant)
        engine, identity = _open_engine(self._path, self._busy_seconds)
        store = SqliteStore(engine, identity, tenant)
        try:
            engine.ask(lambda connection: None, writes=False).wait()
        except BaseException:
            store.close()
            raise
        return store

    def __repr__(self) -> str:
        return f"SqliteSource({self._path!r})"


class SqliteStore:
    """One tenant's executions in a file; the contract is that of `stepwell.store.Store`."""

    def __init__(self, engine: _Engine, identity: tuple[int, int], tenant: str) -> None:
        self._engine = engine
        self._identity = identity
        self._tenant = tenant
        self._closed = False

    @property
    def tenant(self) -> str:
        """Whose executions these are."""
        return self._tenant

    def _ask(self, work: Callable[[Connection], T], writes: bool = False) -> Ticket[T]:
        if self._closed:
            raise errors.StoreError("this store is closed; open it again")
        return self._engine.ask(work, writes)

    def create(
        self, new: NewExecution, action_id: bytes, records: Sequence[Record], row: Projection
    ) -> Ticket[tuple[str, bool]]:
        """See `Store.create`."""
        protocol.check_records(-1, records)
        tenant, last = self._tenant, records[-1]

        def work(connection: Connection) -> tuple[str, bool]:
            if connection.run(SQL["fence"], (tenant, new.id)):
                if connection.run(SQL["action_id"], (tenant, new.id, last[0])) == [(action_id,)]:
                    return new.id, True
                raise protocol.taken(new.id)
            if new.key is not None:
                known = connection.run(SQL["find"], (tenant, new.blueprint, new.key))
                if known:
                    return known[0][0], False
            values = (
                tenant,
                *new[:6],
                row.state,
                row.wait_reason,
                last[0],
                row.head,
                new.owner,
                records[0][1],
                last[1],
            )
            connection.change(SQL["insert_execution"], (*values, row.wake_at_ns))
            connection.change_many(SQL["insert_record"], _journal(tenant, new.id, action_id, records))
            return new.id, True

        return self._ask(work, writes=True)

    def append(
        self,
        execution_id: str,
        expected_seq: int,
        epoch: int,
        action_id: bytes,
        records: Sequence[Record],
        row: Projection,
    ) -> Ticket[int]:
        """See `Store.append`."""
        protocol.check_records(expected_seq, records)
        tenant, last = self._tenant, records[-1]

        def work(connection: Connection) -> int:
            found = connection.run(SQL["fence"], (tenant, execution_id))
            if not found:
                raise protocol.not_found(execution_id)
            if found[0][:2] != (expected_seq, epoch):
                if connection.run(SQL["action_id"], (tenant, execution_id, last[0])) == [(action_id,)]:
                    return last[0]
                raise protocol.conflict(execution_id)
            connection.change_many(SQL["insert_record"], _journal(tenant, execution_id, action_id, records))
            values = (row.state, row.wait_reason, last[0], row.head, last[1], row.wake_at_ns)
            connection.change(SQL["advance"], (*values, tenant, execution_id))
            return last[0]

        return self._ask(work, writes=True)

    def claim(self, execution_id: str, owner: str, epoch: int) -> Ticket[int]:
        """See `Store.claim`."""
        tenant = self._tenant

        def work(connection: Connection) -> int:
            if not connection.change(SQL["claim"], (owner, tenant, execution_id, epoch)):
                found = connection.run(SQL["fence"], (tenant, execution_id))
                if not found:
                    raise protocol.not_found(execution_id)
                if found[0][1:] != (epoch + 1, owner):
                    raise protocol.conflict(execution_id)
            return epoch + 1

        return self._ask(work, writes=True)

    def release(self, execution_id: str, epoch: int) -> Ticket[bool]:
        """See `Store.release`."""
        tenant = self._tenant

        def work(connection: Connection) -> bool:
            if connection.change(SQL["release"], (tenant, execution_id, epoch)):
                return True
            if not connection.run(SQL["fence"], (tenant, execution_id)):
                raise protocol.not_found(execution_id)
            return False

        return self._ask(work, writes=True)

    def get(self, execution_id: str) -> Ticket[ExecutionRow]:
        """See `Store.get`."""
        tenant = self._tenant

        def work(connection: Connection) -> ExecutionRow:
            found = connection.run(SQL["get"], (tenant, execution_id))
            if not found:
                raise protocol.not_found(execution_id)
            return ExecutionRow(*found[0])

        return self._ask(work)

    def find(self, blueprint: str, key: str) -> Ticket[ExecutionRow | None]:
        """See `Store.find`."""
        tenant = self._tenant

        def work(connection: Connection) -> ExecutionRow | None:
            found = connection.run(SQL["find"], (tenant, blueprint, key))
            return ExecutionRow(*found[0]) if found else None

        return self._ask(work)

    def list(self, state: str | None = None, after: str | None = None, limit: int = 100) -> Ticket[Rows]:
        """See `Store.list`."""
        protocol.check_limit(limit)
        tenant, page = self._tenant, (_AFTER_ALL if after is None else after, limit)

        def work(connection: Connection) -> Rows:
            if state is None:
                found = connection.run(SQL["list"], (tenant, *page))
            else:
                found = connection.run(SQL["list_state"], (tenant, state, *page))
            return [ExecutionRow(*row) for row in found]

        return self._ask(work)

    def load(self, execution_id: str, after_seq: int = -1) -> Ticket[Records]:
        """See `Store.load`."""
        tenant = self._tenant

        def work(connection: Connection) -> Records:
            size = 0

            def enough(row: Record) -> bool:
                nonlocal size
                size += len(row[3])
                return size >= protocol.PAGE_BYTES

            page = (tenant, execution_id, after_seq, protocol.PAGE_RECORDS)
            found = connection.rows(SQL["load"], page, enough)
            if not found and not connection.run(SQL["fence"], (tenant, execution_id)):
                raise protocol.not_found(execution_id)
            return found

        return self._ask(work)

    def close(self) -> None:
        """See `Store.close`."""
        if not self._closed:
            self._closed = True
            _close_engine(self._engine, self._identity)


def _journal(
    tenant: str, execution_id: str, action_id: bytes, records: Sequence[Record]
) -> list[tuple[Any, ...]]:
    last = records[-1][0]
    return [
        (tenant, execution_id, seq, at, kind, body, action_id if seq == last else None)
        for seq, at, kind, body in records
    ]
