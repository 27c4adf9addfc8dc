"""The engine of a SQLite file: one thread does everything, and many requests share one flush.

The thread takes all requests that are waiting, answers those that only read, writes the rest in one transaction, and
makes the outcomes known after the commit. It is the only one that touches the file.
"""

import queue
import threading
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from ..trouble import store_failure
from .connection import Connection, Script, Trouble
from .ticket import Ticket, settle

MAX_BATCH: Final = 1_024

Asked: TypeAlias = tuple[str, tuple[Any, ...]]
Work: TypeAlias = tuple[str, list[tuple[Any, ...]]]

_Outcome = tuple[Ticket, Any, BaseException | None]


class _Request:
    __slots__ = ("guarded", "power", "size", "ticket", "work", "writes")

    def __init__(
        self,
        ticket: Ticket,
        work: Callable[[Connection], Any],
        writes: bool,
        power: bool = True,
        size: int = 0,
        guarded: bool = False,
    ) -> None:
        self.ticket = ticket
        self.work = work
        self.writes = writes
        self.power = power
        self.size = size
        self.guarded = guarded


class Engine:
    """One file and its thread, which alone holds the connection: a forked child can neither use nor close it.

    Requests name statements; each is answered by its ticket. With `read_only` nothing is written, made or set.
    """

    def __init__(
        self,
        path: str,
        identity: tuple[int, int],
        queries: list[tuple[str, str]],
        schema: list[str],
        migrations: list[list[str]],
        busy_seconds: float,
        read_only: bool = False,
    ) -> None:
        self._path = path
        self._identity = identity
        self._script = Script(dict(queries), schema, migrations)
        self._busy_seconds = busy_seconds
        self._read_only = read_only
        # `still` is held while the file may be locked or half written. `fork` waits for it, behind `turnstile`, where
        # the thread lets it go first.
        self._still = threading.Lock()
        self._turnstile = threading.Lock()
        self._queue: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        # Each is changed by one side alone: those who ask, one at a time, and the thread.
        self._asking = threading.Lock()
        self._asked_bytes = 0
        self._taken_bytes = 0
        self._thread = threading.Thread(target=self._serve, name="stepwell-store", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return self._queue.qsize()

    @property
    def waiting_bytes(self) -> int:
        """How many bytes wait with them."""
        return self._asked_bytes - self._taken_bytes

    def query(self, ticket: Ticket, name: str, values: tuple[Any, ...], exists: Asked | None) -> None:
        """Asks for the rows of a query. Where there are none, and none of `exists` either, the outcome is `None`."""
        _size(values)

        def work(connection: Connection) -> Any:
            found = connection.rows(name, values)
            return found if found or exists is None or connection.rows(*exists) else None

        self._queue.put(_Request(ticket, work, writes=False))

    def follow(
        self,
        ticket: Ticket,
        start: Asked,
        back: Asked,
        after: int,
        most_rows: int,
        most_bytes: int,
        joined: bool,
    ) -> None:
        """Asks for the first records after the seq `after`, found by going back from the one that `start` names.

        The query `back` is given the number of a record and has the rows from there on backwards: number, previous
        number, whether it is of the same execution, seq, and what is wanted. The outcome is a list of (seq, what is
        wanted), at most so many rows and bytes; or `joined` the seq of the last one and all that is wanted, each
        followed by a newline, and an empty tuple for none. It is `None` where `start` has no row.
        """
        _size((*start[1], *back[1], after))

        def work(connection: Connection) -> Any:
            found = connection.rows(*start)
            if not found:
                return None
            rows = connection.follow(found[0][0], back, after, most_rows, most_bytes)
            if not joined:
                return rows
            if any(row[1] is None for row in rows):
                raise Trouble("broken", "a payload is missing")
            if not all(isinstance(row[1], bytes) for row in rows):
                raise Trouble("broken", "a record is not of its types")
            return (rows[-1][0], b"".join(part for row in rows for part in (row[1], b"\n"))) if rows else ()

        self._queue.put(_Request(ticket, work, writes=False))

    def change(
        self, ticket: Ticket, power: bool, guards: list[Asked], then: list[Work], otherwise: list[Asked]
    ) -> None:
        """Asks for a change, as a whole or not at all.

        The first of the `guards` that changes a row lets all of `then` happen; the outcome is `True`. Where none does,
        nothing happens, and the outcome is the rows of each query of `otherwise`. Without guards everything happens,
        and the outcome is how many rows each of `then` changed. With `power` it is on the disk when it is answered.
        """

        def work(connection: Connection) -> Any:
            if guards and not any(connection.change(name, values) for name, values in guards):
                return [connection.rows(name, values) for name, values in otherwise]
            changed = [connection.change_many(name, values) for name, values in then]
            return True if guards else changed

        size = sum(_size(row) for _, rows in then for row in rows)
        size += sum(_size(values) for _, values in (*guards, *otherwise))
        with self._asking:
            self._asked_bytes += size
        self._queue.put(_Request(ticket, work, writes=True, power=power, size=size, guarded=bool(guards)))

    def stop(self) -> None:
        """Ends the thread behind everything that was asked."""
        self._queue.put(None)
        self._thread.join()

    def before_fork(self) -> None:
        """Waits, for a while at most, until the file is neither locked nor half written, and keeps it so."""
        self._turnstile.acquire()
        self._held = self._still.acquire(timeout=5)

    def after_fork(self) -> None:
        """Lets it go on."""
        if self._held:
            self._still.release()
        self._turnstile.release()

    # --- the thread -----------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        connection: Connection | None = None
        running = True
        while running:
            batch, running = self._take()
            with self._turnstile:
                self._still.acquire()
            try:
                outcomes, connection = self._answer(batch, connection)
            finally:
                self._still.release()
            settle(outcomes)
            del batch, outcomes
        if connection is not None:
            with self._still:
                connection.close()

    def _take(self) -> tuple[list[_Request], bool]:
        batch: list[_Request] = []
        try:
            request = self._queue.get()
            while request is not None:
                batch.append(request)
                self._taken_bytes += request.size
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
        writes = [request for request in batch if request.writes]
        for request in batch:
            if not request.writes:
                outcome, connection = self._alone(request, connection)
                outcomes.append(outcome)
        if not writes:
            return outcomes, connection
        try:
            connection = self._open(connection)
            return outcomes + _write(connection, writes), connection
        except Trouble as trouble:
            _give_up(connection)
            if trouble.code in ("busy", "full", "readonly"):
                return outcomes + [self._failed(request, trouble) for request in writes], None
        except Exception as error:  # noqa: BLE001 - whatever it is, the thread goes on and those who wait are told
            _give_up(connection)
            if len(writes) == 1:
                return [*outcomes, self._failed(writes[0], _defect(error))], None
        # Whether it was the commit that failed or something before it: every request can be made again, and does its
        # work once. One after the other, so that a bad one does not take the others with it.
        connection = None
        for request in writes:
            outcome, connection = self._alone(request, connection)
            outcomes.append(outcome)
        return outcomes, connection

    def _alone(self, request: _Request, connection: Connection | None) -> tuple[_Outcome, Connection | None]:
        try:
            connection = self._open(connection)
            if request.writes:
                return _write(connection, [request])[0], connection
            return (request.ticket, request.work(connection), None), connection
        except Trouble as trouble:
            failed = trouble
        except Exception as error:  # noqa: BLE001 - likewise
            failed = _defect(error)
        _give_up(connection)
        return self._failed(request, failed), None

    def _failed(self, request: _Request, trouble: Trouble) -> _Outcome:
        failure = store_failure(trouble.code, self._path, trouble.detail, trouble.seconds)
        failure.__cause__ = trouble.__cause__
        return request.ticket, None, failure

    def _open(self, connection: Connection | None) -> Connection:
        if connection is not None:
            connection.check_place()
            return connection
        return Connection(self._path, self._identity, self._script, self._busy_seconds, self._read_only)


def _size(row: tuple[Any, ...]) -> int:
    """How many bytes its values have. Raises for those that SQLite cannot keep as they are, as the native twin does."""
    size = 0
    for value in row:
        if isinstance(value, str):
            size += len(value.encode())
        elif isinstance(value, bytes):
            size += len(value)
        elif isinstance(value, int):
            if not -(1 << 63) <= value < 1 << 63:
                raise OverflowError
        elif value is not None:
            raise TypeError
    return size


def _write(connection: Connection, requests: list[_Request]) -> list[_Outcome]:
    """All requests in one transaction."""
    connection.begin(full=any(request.power for request in requests))
    try:
        done: list[_Outcome] = [(request.ticket, request.work(connection), None) for request in requests]
        if any(
            request.power and request.guarded and outcome is not True
            for request, (_, outcome, _) in zip(requests, done, strict=True)
        ):
            # What it found may not be on the disk yet, and a commit that changes nothing waits for none.
            connection.change("touch", ())
        connection.commit()
    except BaseException:
        connection.rollback()
        raise
    return done


def _give_up(connection: Connection | None) -> None:
    if connection is not None:
        connection.rollback()
        connection.close()


def _defect(error: Exception) -> Trouble:
    trouble = Trouble("internal", type(error).__name__)
    trouble.__cause__ = error
    return trouble
