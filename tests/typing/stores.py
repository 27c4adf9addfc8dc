"""What a type checker sees of stores and of the checks of their contract: nothing here runs."""

from typing import assert_type

from stepwell.store import ExecutionRow, Store, StoreSource, Ticket, open_source, open_store
from stepwell.store.memory import MemorySource
from stepwell.store.sqlite import SqliteSource
from stepwell.testing import Check, Factory, store_checks, store_suite


def sources() -> list[StoreSource]:
    assert_type(open_source("memory"), StoreSource)
    return [MemorySource(), SqliteSource("runs.db", read_only=True, backend="pure")]


def stores() -> list[Store]:
    assert_type(open_store("memory", "acme"), Store)
    return [MemorySource().open("acme"), SqliteSource("runs.db").open("acme")]


async def tickets(store: Store) -> None:
    assert_type(store.get("exec_1"), Ticket[ExecutionRow])
    assert_type(await store.get("exec_1"), ExecutionRow)
    assert_type(store.count().wait(1), dict[str, int])
    assert_type(await store.bodies("exec_1"), tuple[int, bytes])
    assert_type((await store.inbox("exec_1"))[0].place, int)


def checks(factory: Factory) -> None:
    store_suite(MemorySource)
    store_suite(lambda: SqliteSource("another.db"))
    assert_type(store_checks(), dict[str, Check])
    for check in store_checks().values():
        check(factory)
    store_suite(MemorySource())  # pyright: ignore[reportArgumentType]
