"""What the checks of a store are made of: how one is run, and what they write and look at."""

from collections.abc import Callable, Iterable
from typing import Any, Final, TypeAlias, TypeVar

from .. import Execution
from ..store import ExecutionRow, NewExecution, Projection, Record, Store, StoreSource, Ticket

Factory: TypeAlias = Callable[[], StoreSource]
"""Makes an empty source of stores, another one each time."""
Check: TypeAlias = Callable[[Factory], None]
"""Runs one check on a fresh source. Raises `AssertionError`, whose message begins with the name of the check."""

E = TypeVar("E", bound=Exception)

SECONDS: Final = 60.0
"""How long an outcome is waited for."""
RUNNING: Final = Projection("running", None, "0" * 32)
DONE: Final = Projection("completed", None, "0" * 32)

_checks: dict[str, Check] = {}


class Fresh:
    """An empty source; the stores that are opened of it are closed when the check is over."""

    def __init__(self, source: StoreSource) -> None:
        self.source = source
        self._opened: list[Store] = []

    def open(self, tenant: str = "acme") -> Store:
        """The store of one tenant."""
        store = self.source.open(tenant)
        self._opened.append(store)
        return store

    def close(self) -> None:
        """Closes all of them, also those that are closed already."""
        for store in self._opened:
            store.close()


def check(work: Callable[[Fresh], None]) -> Check:
    """Makes a check of a function, and puts it into the list."""
    name = work.__name__

    def run(factory: Factory) -> None:
        fresh = Fresh(factory())
        try:
            try:
                work(fresh)
            finally:
                fresh.close()
        except Exception as error:
            what = str(error) if isinstance(error, AssertionError) else f"{type(error).__name__}: {error}"
            raise AssertionError(f"{name}: {what}") from error

    run.__name__ = run.__qualname__ = name
    run.__doc__ = work.__doc__
    _checks[name] = run
    return run


def checks() -> dict[str, Check]:
    """Those of the modules that are imported."""
    return dict(_checks)


# --- what is looked at --------------------------------------------------------------------------------------------
# Functions and no `assert` statements: a suite that `python -O` takes away would be none.


def true(condition: object, what: str) -> None:
    """Raises where the condition does not hold."""
    if not condition:
        raise AssertionError(what)


def equal(found: object, wanted: object, what: str) -> None:
    """Raises where the two differ."""
    if found != wanted:
        raise AssertionError(f"{what}: expected {_short(wanted)}, found {_short(found)}")


def refused(kind: type[E], ask: Callable[[], Ticket[Any]], what: str) -> E:
    """The error with which a request is refused, at once or by its ticket. Raises where it is not."""
    try:
        outcome = ask().wait(SECONDS)
    except kind as error:
        return error
    raise AssertionError(f"{what}: expected {kind.__name__}, found {_short(outcome)}")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 400 else f"{text[:200]} … {text[-150:]} ({len(text)} characters)"


# --- what is written ----------------------------------------------------------------------------------------------


def records(first: int, last: int, size: int = 10, salt: int = 0) -> list[Record]:
    """Records that are no real ones: a store does not look into them. Their bodies differ."""
    return [
        (seq, 1_000 + seq, f"kind{seq}", (b"%d.%d." % (salt, seq)).ljust(size, b"x"))
        for seq in range(first, last + 1)
    ]


def create(
    store: Store,
    id: str = "exec_1",
    *,
    key: str | None = None,
    blueprint: str | None = "m.f",
    parent: str | None = None,
    row: Projection = RUNNING,
    written: list[Record] | None = None,
) -> tuple[str, bool]:
    """Creates an execution with the records 0 and 1."""
    new = NewExecution(id, blueprint, key, "v1", None if parent is None else "execution", parent, "me")
    given = records(0, 1) if written is None else written
    return store.create(new, b"create-" + id.encode(), given, row).wait(SECONDS)


def append(store: Store, id: str, written: list[Record], row: Projection = RUNNING, epoch: int = 1) -> int:
    """Appends these records where they belong."""
    first = written[0][0]
    action_id = b"append-%d" % first
    return store.append(id, first - 1, epoch, action_id, written, row).wait(SECONDS)


def row_of(store: Store, id: str = "exec_1") -> ExecutionRow:
    """Its row."""
    return store.get(id).wait(SECONDS)


def everything(store: Store, id: str = "exec_1", after: int = -1) -> list[Record]:
    """All records after a seq, page by page."""
    found: list[Record] = []
    while page := store.load(id, found[-1][0] if found else after).wait(SECONDS):
        true(not found or page[0][0] > found[-1][0], "a page of records has to go on")
        found += page
    return found


def all_bodies(store: Store, id: str = "exec_1", after: int = -1) -> bytes:
    """All bodies after a seq, page by page."""
    found = b""
    while True:
        last, page = store.bodies(id, after).wait(SECONDS)
        if not page:
            equal(last, after, "the seq with which the bodies end")
            return found
        true(last > after, "a page of bodies has to go on")
        found, after = found + page, last


def sweep_all(store: Store, most: int = 100) -> int:
    """Sweeps until nothing is left; how many records went."""
    total = 0
    while count := store.sweep(most).wait(SECONDS):
        true(count <= most, "a sweep deletes at most as many as it is told")
        total += count
        true(total < 100_000, "sweeps have to come to an end")
    return total


def joined(written: Iterable[Record]) -> bytes:
    """The bodies of records as `Store.bodies` gives them."""
    return b"".join(record[3] + b"\n" for record in written)


def ids(rows: Iterable[ExecutionRow]) -> list[str]:
    """Whose rows these are, in order."""
    return [row.id for row in rows]


def execution(outputs: Iterable[object], *, input: object = None) -> Execution:
    """A real one that has done a step for each of the outputs. Its records are not drained."""
    made = Execution(tenant="acme", blueprint="m.f", input=input)
    made.start()
    for number, output in enumerate(outputs):
        made.complete_step(made.start_step(f"step {number}"), output)
    return made


def projected(made: Execution) -> Projection:
    """Its row, the records drained."""
    return Projection(str(made.state), None, str(made.head))


def store_real(store: Store, made: Execution) -> list[Record]:
    """Creates it in the store; its records."""
    written = made.drain()
    new = NewExecution(made.id, made.blueprint, made.key, made.schema_version, None, None, None)
    equal(store.create(new, b"real", written, projected(made)).wait(SECONDS), (made.id, True), "creating")
    return written
