"""What the tests of the stores write: records that are no real ones, for a store does not look into them."""

from stepwell.store import NewExecution, Projection, Record, Store

RUNNING = Projection("running", None, "0" * 32)


def records(first: int, last: int, size: int = 10) -> list[Record]:
    return [(seq, 1_000 + seq, f"kind{seq}", bytes([seq % 251]) * size) for seq in range(first, last + 1)]


def create(
    store: Store, id: str, key: str | None = None, blueprint: str = "m.f", owner: str | None = "me"
) -> tuple[str, bool]:
    new = NewExecution(id, blueprint, key, "v1", None, None, owner)
    return store.create(new, b"create-" + id.encode(), records(0, 1), RUNNING).wait(30)


def everything(store: Store, id: str) -> list[Record]:
    found: list[Record] = []
    while page := store.load(id, len(found) - 1).wait(30):
        found += page
    return found
