"""What one tenant asks about another's execution is answered like what nobody has, and shows no byte of it."""

import asyncio
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from backends import BACKENDS
from stepwell import Kernel, NotFound, StoreCorrupt, blueprint
from stepwell.runtime import Handle
from stepwell.runtime.hosting import Hosting
from stepwell.store import NewExecution, Projection, Store
from stepwell.store.memory import MemorySource
from stepwell.store.retention import purge
from stepwell.store.sqlite import SqliteSource
from store.made import make
from store.processes import in_sqlite

MARK = "SECRETMARK"
ROW = Projection("running", None, "0" * 32)
RECORD = [(1, 1, "kind", b"mine")]

# Every request of a store, with an id that is another tenant's or nobody's.
REQUESTS: dict[str, Callable[[Store, str], Any]] = {
    "append": lambda store, one: store.append(one, 0, 1, b"x", RECORD, ROW),
    "claim": lambda store, one: store.claim(one, "me", 1),
    "release": lambda store, one: store.release(one, 1),
    "renew": lambda store, one: store.renew(one, 1, 5),
    "get": lambda store, one: store.get(one),
    "awaited": lambda store, one: store.awaited(one),
    "find": lambda store, one: store.find(f"{MARK}.f", f"{MARK}-key"),
    "list": lambda store, one: store.list(None, one),
    "children": lambda store, one: store.children(one),
    "count": lambda store, one: store.count(f"{MARK}.f"),
    "due": lambda store, one: store.due(2**62),
    "load": lambda store, one: store.load(one),
    "bodies": lambda store, one: store.bodies(one),
    "digests": lambda store, one: store.digests(one),
    "deliver": lambda store, one: store.deliver(one, "d", "signal", "name", b"{}", 1),
    "inbox": lambda store, one: store.inbox(one),
    "arrivals": lambda store, one: store.arrivals(),
    "finished": lambda store, one: store.finished("completed", one[:-4]),
    "doom": lambda store, one: store.doom([one]),
    "sweep": lambda store, one: store.sweep(1_000),
}
# A new execution may have whatever id or key others have: it is another one.
MAKES = {"create"}
ASKS_NOTHING = {"close", "tenant"}


@pytest.fixture(params=["memory", *BACKENDS])
def source(request: pytest.FixtureRequest, tmp_path: Any) -> Any:
    if request.param == "memory":
        return MemorySource()
    return SqliteSource(tmp_path / "runs.db", backend=request.param)


@pytest.fixture
def foreign(source: Any) -> Iterator[str]:
    """The id of another tenant's execution, full of what nobody else may see."""
    store = source.open("other")
    known = make(store, text=MARK, key=f"{MARK}-key", blueprint=f"{MARK}.f", owner=f"{MARK}-owner", end=None)
    store.deliver(known.id, "d", "signal", MARK, MARK.encode(), 1).wait(10)
    child = make(store, text=MARK, blueprint=f"{MARK}.f")
    assert child.is_terminal
    yield known.id
    assert MARK.encode() in b"".join(record[3] for record in store.load(known.id).wait(10)), "it is whole"
    row = store.get(known.id).wait(10)
    assert (row.version, row.epoch, row.owner) == (known.version, 1, f"{MARK}-owner")
    assert [each.body for each in store.inbox(known.id).wait(10)] == [MARK.encode()]
    assert store.count().wait(10) == {"completed": 1, "running": 1}
    store.close()


def nobodys(id: str) -> str:
    """An id beside that one which nobody has."""
    return id[:-1] + ("0" if id[-1] != "0" else "1")


def answer(ask: Callable[[], Any], id: str) -> str:
    """What came of it, in words, without the id."""
    try:
        found = repr(ask())
    except Exception as error:  # noqa: BLE001 - whatever it is, it has to be the same
        found = f"{type(error).__name__}: {error} {error.__cause__!r}"
    return found.replace(id, "…")


def test_every_request_is_tried() -> None:
    named = {name for name, _ in inspect.getmembers(Store) if not name.startswith("_")}
    assert named == {*REQUESTS} | MAKES | ASKS_NOTHING


@pytest.mark.parametrize("name", REQUESTS)
def test_requests(source: Any, foreign: str, name: str) -> None:
    store = source.open("acme")
    make(store)
    ask = REQUESTS[name]
    theirs = answer(lambda: ask(store, foreign).wait(10), foreign)
    absent = answer(lambda: ask(store, nobodys(foreign)).wait(10), nobodys(foreign))
    assert theirs == absent
    assert MARK not in theirs
    assert "other" not in theirs.replace("another", "")
    store.close()


def test_who_has_nothing_finds_nothing(source: Any, foreign: str) -> None:
    """Of what is asked for without an id."""
    store = source.open("acme")
    ended = [store.finished(state).wait(10) for state in ("completed", "failed", "cancelled")]
    assert ended == [[], [], []]
    assert [store.list().wait(10), store.list("completed").wait(10), store.list("running").wait(10)] == ended
    assert store.list(blueprint=f"{MARK}.f").wait(10) == store.due(2**62).wait(10) == []
    assert store.list("running", blueprint=f"{MARK}.f").wait(10) == store.arrivals().wait(10) == []
    assert store.count().wait(10) == store.count(f"{MARK}.f").wait(10) == {}
    store.close()


def test_what_would_fit_theirs(source: Any, foreign: str) -> None:
    """An append where another's journal ends, in its epoch, and a step that its execution waits for."""
    ours, theirs = source.open("acme"), source.open("other-2")
    known = make(theirs, end=None)
    seq = known.version + 1
    theirs.append(known.id, seq - 1, 1, b"o", [(seq, 2**62, "k", b"{}")], ROW, opened=["step_1"]).wait(10)
    before = theirs.awaited("step_1").wait(10)
    asked: tuple[Callable[[str, str], Any], ...] = (
        lambda one, _: ours.append(one, seq, 1, b"x", [(seq + 1, 2**62, "k", b"mine")], ROW),
        lambda one, step: ours.append(one, seq, 1, b"x", [(seq + 1, 1, "k", b"mine")], ROW, opened=[step]),
        lambda _, step: ours.awaited(step),
    )
    for ask in asked:
        found = answer(lambda ask=ask: ask(known.id, "step_1").wait(10), known.id)  # type: ignore[misc]
        none = answer(lambda ask=ask: ask(foreign, "step_2").wait(10), foreign)  # type: ignore[misc]
        assert found.replace("step_1", "step_2") == none
        assert found.startswith("NotFound")
    assert theirs.awaited("step_1").wait(10) == before
    ours.close()
    theirs.close()


def test_the_same_id_and_key_are_another_execution(source: Any, foreign: str) -> None:
    store = source.open("acme")
    new = NewExecution(foreign, f"{MARK}.f", f"{MARK}-key", None, None, None, None)
    assert store.create(new, b"c", [(0, 1, "created", b"mine")], ROW).wait(10) == (foreign, True)
    assert [record[3] for record in store.load(foreign).wait(10)] == [b"mine"]
    assert store.inbox(foreign).wait(10) == []
    store.close()


def test_a_large_payload_is_not_shared(source: Any, foreign: str) -> None:
    """The same bytes are stored for each tenant: one's purge takes nothing from the other."""
    ours, theirs = source.open("acme"), source.open("other-2")
    text = MARK * 5_000
    mine, kept = make(ours, text=text), make(theirs, text=text)
    assert purge(ours, older_than_ns=0, now_ns=2**62, rest=0).executions == 1
    with pytest.raises(NotFound):
        ours.get(mine.id).wait(10)
    bodies = b"".join(record[3] for record in theirs.load(kept.id).wait(10))
    assert bodies.count(MARK.encode()) >= 5_000
    ours.close()
    theirs.close()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_payload_that_is_lost_is_not_taken_from_another(tmp_path: Any, backend: str) -> None:
    path = tmp_path / "runs.db"
    source = SqliteSource(path, backend=backend)
    known = {}
    for tenant in ("acme", "other"):
        store = source.open(tenant)
        known[tenant] = make(store, text=MARK * 5_000)
        store.close()
    in_sqlite(path, "DELETE FROM payloads WHERE tenant = 'acme'")
    ours, theirs = source.open("acme"), source.open("other")
    with pytest.raises(StoreCorrupt, match="a payload is missing"):
        ours.load(known["acme"].id).wait(10)
    assert len(theirs.load(known["other"].id).wait(10)) == known["other"].version + 1
    ours.close()
    theirs.close()


def test_what_another_purges_is_not_swept(source: Any, foreign: str) -> None:
    ours, theirs = source.open("acme"), source.open("other-2")
    gone = make(theirs)
    assert theirs.doom([gone.id]).wait(10) == 1
    assert ours.sweep(1_000).wait(10) == 0
    assert theirs.sweep(1_000).wait(10) == gone.version + 1
    ours.close()
    theirs.close()


# --- the kernel ---------------------------------------------------------------------------------------------------


@blueprint(name=f"{MARK}.f")
def anything() -> str:
    return "mine"


CALLS: dict[str, Callable[[Kernel, str], Any]] = {
    "get": lambda kernel, one: kernel.get(one),
    "resume": lambda kernel, one: kernel.resume(one),
    "list": lambda kernel, one: kernel.list(after=one),
    "fork": lambda kernel, one: kernel.fork(one, "step_01jd0000000000000000000000"),
    "complete_callback": lambda kernel, one: kernel.complete_callback(one, 1),
    "fail_callback": lambda kernel, one: kernel.fail_callback(one, "no"),
    "heartbeat_callback": lambda kernel, one: kernel.heartbeat_callback(one),
    "handle.result": lambda kernel, one: Handle(kernel, one).result(timeout="5s"),
    "handle.execution": lambda kernel, one: Handle(kernel, one).execution(),
    "handle.signal": lambda kernel, one: Handle(kernel, one).signal("go", 1),
    "handle.cancel": lambda kernel, one: Handle(kernel, one).cancel("no"),
    "handle.pause": lambda kernel, one: Handle(kernel, one).pause("no"),
    "handle.resume": lambda kernel, one: Handle(kernel, one).resume(),
    "handle.accept": lambda kernel, one: Handle(kernel, one).accept(),
    "handle.settle": lambda kernel, one: Handle(kernel, one).settle(
        "step_01jd0000000000000000000000", retry=True
    ),
}
INNER = {*vars(Hosting)}
"""What the rest of the runtime asks of a kernel, with ids that it has from the tenant's own rows."""


@pytest.mark.parametrize("execute", [True, False])
@pytest.mark.parametrize("name", CALLS)
def test_calls_of_the_kernel(source: Any, foreign: str, name: str, execute: bool) -> None:
    async def ask(id: str) -> Any:
        async with Kernel(source, tenant="acme", execute=execute) as kernel:
            return await CALLS[name](kernel, id)

    theirs = answer(lambda: asyncio.run(ask(foreign)), foreign)
    absent = answer(lambda: asyncio.run(ask(nobodys(foreign))), nobodys(foreign))
    assert theirs == absent
    assert MARK not in theirs


@pytest.mark.parametrize("name", ["get", "resume"])
def test_calls_of_the_blocking_kernel(source: Any, foreign: str, name: str) -> None:
    with Kernel(source, tenant="acme") as kernel:
        theirs = answer(lambda: getattr(kernel, name)(foreign), foreign)
        absent = answer(lambda: getattr(kernel, name)(nobodys(foreign)), nobodys(foreign))
    assert theirs == absent
    assert "NotFound" in theirs


def test_a_kernel_takes_nothing_up_of_another_tenant(source: Any, foreign: str) -> None:
    async def run() -> tuple[str, list[Any]]:
        async with Kernel(source, tenant="acme") as kernel:
            await kernel.recovered()
            handle = await kernel.start(anything, key=f"{MARK}-key")
            return await handle.result(), await kernel.list()

    result, rows = asyncio.run(run())
    assert result == "mine"
    assert len(rows) == 1
    assert rows[0].id != foreign


def test_every_call_of_the_kernel_that_takes_an_id_is_tried() -> None:
    named = set()
    for name, _ in inspect.getmembers(Handle, inspect.iscoroutinefunction):
        if not name.startswith("_"):
            named.add(f"handle.{name}")
    for name, method in inspect.getmembers(Kernel, inspect.iscoroutinefunction):
        if (
            not name.startswith("_")
            and name not in INNER
            and {"id", "after"} & {*inspect.signature(method).parameters}
        ):
            named.add(name)
    assert named <= {*CALLS}
