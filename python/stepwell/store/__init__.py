"""Where journals live: in a SQLite file, or in memory.

`open_store("sqlite:///runs.db", tenant="acme")` gives one tenant's store; a `Kernel` does so by itself.
"""

from .. import errors
from .backup import backup
from .protocol import (
    Delivery,
    Durability,
    ExecutionRow,
    NewExecution,
    Projection,
    Record,
    Rows,
    Store,
    StoreSource,
)
from .ticket import Ticket
from .transfer import Moved, export, import_
from .verify import Finding, VerifyReport, verify

__all__ = [
    "Delivery",
    "Durability",
    "ExecutionRow",
    "Finding",
    "Moved",
    "NewExecution",
    "Projection",
    "Record",
    "Rows",
    "Store",
    "StoreSource",
    "Ticket",
    "VerifyReport",
    "backup",
    "export",
    "import_",
    "open_source",
    "open_store",
    "verify",
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
