"""Where journals live: in a SQLite file, or in memory.

`open_store("sqlite:///runs.db", tenant="acme")` gives one tenant's store; a `Kernel` does so by itself.
"""

from .. import errors
from .protocol import ExecutionRow, NewExecution, Projection, Record, Store, StoreSource
from .ticket import Ticket

__all__ = [
    "ExecutionRow",
    "NewExecution",
    "Projection",
    "Record",
    "Store",
    "StoreSource",
    "Ticket",
    "open_source",
    "open_store",
]


def open_source(url: str) -> StoreSource:
    """What a URL names: `sqlite:///` and a path (a fourth slash makes it absolute), or `memory`.

    Each `memory` is a new, empty one. Raises `ValidationError` for anything else.
    """
    if url == "memory":
        from .memory import MemorySource

        return MemorySource()
    if isinstance(url, str) and url.startswith("sqlite:///") and len(url) > 10 and "\0" not in url:
        path = url[10:]
        if path != ":memory:":
            from .sqlite import SqliteSource

            return SqliteSource(path)
    raise errors.ValidationError("a store is 'sqlite:///' and the path of a file, or 'memory'")


def open_store(url: str, tenant: str) -> Store:
    """One tenant's store; opens and checks the file, which blocks.

    Raises `ValidationError` for a URL or a tenant that cannot be, and `StoreError` for a file that cannot be used.
    """
    return open_source(url).open(tenant)
