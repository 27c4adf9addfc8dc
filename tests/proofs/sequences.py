"""The stores against each other: random sequences of requests have the same outcomes in all of them.

    python -m proofs.sequences --count 50000

Many sequences run side by side in one file, each with two tenants of its own, so that their records lie mixed. After
every request the outcomes are compared (the value, or the error's class and words), now and then all stores are closed
and opened, and at the end of a sequence everything that can be asked is.
"""

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from backends import BACKENDS
from proofs.requests import ENDS, STEPS, Drawn, Request, rows_of
from stepwell import StepwellError
from stepwell.store import Store, StoreSource, Ticket
from stepwell.store.memory import MemorySource
from stepwell.store.sqlite import SqliteSource
from store.processes import in_sqlite

SECONDS = 60
SIDE_BY_SIDE = 50
LENGTH = 40
REOPENED = 25
"""After so many requests of each sequence all stores are closed and opened again."""

# What must not be in a file: rows that belong to nothing.
_OF_NOTHING = """SELECT count(*) FROM {} AS t WHERE NOT EXISTS (
  SELECT 1 FROM executions AS e WHERE e.tenant = t.tenant AND e.id = t.execution)"""
_LEFT = [
    *(_OF_NOTHING.format(table) for table in ("marks", "payload_uses", "inbox", "awaited")),
    f"""{_OF_NOTHING.format("journal")} AND NOT EXISTS (
          SELECT 1 FROM doomed AS d WHERE d.tenant = t.tenant AND d.execution = t.execution)""",
    """SELECT count(*) FROM payloads AS t WHERE NOT EXISTS (
          SELECT 1 FROM payload_uses AS u WHERE u.tenant = t.tenant AND u.hash = t.hash)""",
    """SELECT count(*) FROM executions AS e WHERE e.version + 1 != (
          SELECT count(*) FROM journal AS j WHERE j.tenant = e.tenant AND j.execution = e.id)""",
    """SELECT count(*) FROM journal AS j WHERE cut_hash IS NOT NULL
       AND EXISTS (SELECT 1 FROM executions AS e WHERE e.tenant = j.tenant AND e.id = j.execution)
       AND NOT EXISTS (SELECT 1 FROM payload_uses AS u
                       WHERE u.tenant = j.tenant AND u.hash = j.cut_hash AND u.execution = j.execution)""",
]


class Difference(Exception):
    """Two stores answered differently."""


class Under:
    """A store under test, by name; its handles, one for each tenant."""

    def __init__(self, name: str, source: StoreSource) -> None:
        self.name = name
        self.source = source
        self.handles: dict[str, Store] = {}

    def handle(self, tenant: str) -> Store:
        if tenant not in self.handles:
            self.handles[tenant] = self.source.open(tenant)
        return self.handles[tenant]

    def close(self) -> None:
        for store in self.handles.values():
            store.close()
        self.handles.clear()


class Run:
    """One sequence: its number, its requests, and what was answered, for the message of a difference."""

    def __init__(self, number: int, seed: int, length: int) -> None:
        self.number = number
        self.drawn = Drawn(seed * 1_000_003 + number, length)
        self.requests = iter(self.drawn)
        self.said: list[str] = []

    def tenant(self, which: int) -> str:
        return f"{self.number}-{'ab'[which]}"


Outcome = tuple[str, Any]


def outcome(ask: Callable[[], Any]) -> Outcome:
    """The value, or the class and the words of the error."""
    try:
        return "value", ask()
    except StepwellError as error:
        return type(error).__name__, str(error)


def asked(store: Store, request: Request) -> Callable[[], Any]:
    """Makes the request; what is returned waits for its outcome.

    Pages are read to their end: they may differ in size.
    """
    name, arguments = request.name, request.arguments
    if name in ("load", "digests"):
        return lambda: paged(getattr(store, name), *arguments)
    if name == "bodies":
        return lambda: joined(store, *arguments)
    try:
        ticket: Ticket[Any] = getattr(store, name)(*arguments, **request.options)
    except StepwellError as error:
        refused = error

        def raises() -> Any:
            raise refused

        return raises
    return lambda: ticket.wait(SECONDS)


def paged(ask: Callable[[str, int], Ticket[list[Any]]], id: str, after: int) -> list[Any]:
    found: list[Any] = []
    while page := ask(id, found[-1][0] if found else after).wait(SECONDS):
        assert page[0][0] == (found[-1][0] if found else max(after, -1)) + 1
        found += page
    return found


def joined(store: Store, id: str, after: int) -> tuple[int, bytes]:
    last, found = store.bodies(id, after).wait(SECONDS)
    while True:
        last, page = store.bodies(id, last).wait(SECONDS)
        if not page:
            return last, found
        found += page


def dump(store: Store) -> dict[str, Any]:
    """All that can be asked about a tenant."""
    found: dict[str, Any] = {"count": store.count().wait(SECONDS), "due": store.due(2**63 - 1).wait(SECONDS)}
    found["arrivals"] = store.arrivals().wait(SECONDS)
    found["awaited"] = [outcome(asked(store, Request(0, "awaited", (each,), {}))) for each in STEPS]
    for state in ENDS:
        found[state] = store.finished(state).wait(SECONDS)
    for each in rows_of(store):
        row = store.get(each).wait(SECONDS)
        records = paged(store.load, each, -1)
        assert joined(store, each, -1)[1] == b"".join(record[3] + b"\n" for record in records)
        children = [child.id for child in store.children(each).wait(SECONDS)]
        keyed = store.find(row.blueprint, row.key).wait(SECONDS) if row.blueprint and row.key else None
        inbox = store.inbox(each).wait(SECONDS)
        found[each] = [row, records, paged(store.digests, each, -1), inbox, children, keyed]
    return found


def compare(sequence: Run, what: str, outcomes: Sequence[Outcome], stores: Sequence[Under]) -> Outcome:
    first = outcomes[0]
    sequence.said.append(f"{what} -> {short(first)}")
    for store, other in zip(stores, outcomes, strict=True):
        if other != first:
            history = "\n".join(sequence.said)
            raise Difference(
                f"sequence {sequence.number}:\n{history}\n"
                f"{stores[0].name}: {repr(first)[:2_000]}\n{store.name}: {repr(other)[:2_000]}"
            )
    return first


def short(value: object) -> str:
    text = repr(value)
    return text if len(text) < 300 else f"{text[:200]}…({len(text)})"


def run_side_by_side(
    numbers: Sequence[int], seed: int, length: int, stores: Sequence[Under], figures: Counter[str]
) -> None:
    """Runs these sequences in turn, a request of each at a time; those wait together and share a commit."""
    sequences = [Run(number, seed, length) for number in numbers]
    for turn in range(length):
        if turn == REOPENED:
            for store in stores:
                store.close()
        made = [(sequence, next(sequence.requests)) for sequence in sequences]
        waits = [
            [asked(store.handle(sequence.tenant(request.tenant)), request) for store in stores]
            for sequence, request in made
        ]
        for (sequence, request), waiting in zip(made, waits, strict=True):
            outcomes = [outcome(wait) for wait in waiting]
            kind, value = compare(sequence, f"{turn} {short(request)}", outcomes, stores)
            sequence.drawn.learn(request, value)
            figures["requests"] += 1
            figures[request.name] += 1
            figures["records swept"] += value if request.name == "sweep" and kind == "value" else 0
            figures["refused"] += kind != "value"
        learn(sequences, made, stores[0])
    for sequence in sequences:
        for which in (0, 1):
            dumps = [("value", dump(store.handle(sequence.tenant(which)))) for store in stores]
            compare(sequence, f"everything of {'ab'[which]}", dumps, stores)
        figures["sequences"] += 1


def learn(sequences: Sequence[Run], made: Sequence[tuple[Run, Request]], store: Under) -> None:
    """Shows the rows of what was written to, so that the next request can be one that goes through."""
    for sequence, request in made:
        if request.name in ("create", "append", "claim"):
            first = request.arguments[0]
            row = Request(request.tenant, "get", (first if isinstance(first, str) else first.id,), {})
            _, value = outcome(asked(store.handle(sequence.tenant(request.tenant)), row))
            sequence.drawn.learn(row, value)


def run_file(
    numbers: Sequence[int],
    seed: int,
    length: int,
    folder: Path,
    backends: Sequence[str],
    figures: Counter[str],
) -> None:
    """Runs these sequences in new stores, and looks at the files when they are closed."""
    stores = [Under("memory", MemorySource())]
    files = {backend: folder / f"{backend}.db" for backend in backends}
    stores += [Under(f"sqlite {each}", SqliteSource(path, backend=each)) for each, path in files.items()]
    try:
        run_side_by_side(numbers, seed, length, stores, figures)
    finally:
        for store in stores:
            store.close()
    for backend, path in files.items():
        left = in_sqlite(path, f"SELECT {', '.join(f'({each})' for each in _LEFT)}")
        if left != str([(0,) * len(_LEFT)]):
            raise Difference(
                f"sequences {numbers[0]} to {numbers[-1]}: {backend} has rows that belong to nothing: {left}"
            )
        if (found := in_sqlite(path, "PRAGMA integrity_check")) != "[('ok',)]":
            raise Difference(f"sequences {numbers[0]} to {numbers[-1]}: {backend}: {found}")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=50_000, help="how many sequences")
    parser.add_argument("--first", type=int, default=0, help="the number of the first one")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--length", type=int, default=LENGTH, help="how many requests each has")
    parser.add_argument("--backends", nargs="+", default=list(BACKENDS))
    given = parser.parse_args(arguments)
    figures: Counter[str] = Counter()
    start = shown = time.monotonic()
    for first in range(given.first, given.first + given.count, SIDE_BY_SIDE):
        numbers = range(first, min(first + SIDE_BY_SIDE, given.first + given.count))
        with tempfile.TemporaryDirectory() as folder:
            try:
                run_file(numbers, given.seed, given.length, Path(folder), given.backends, figures)
            except Difference as found:
                print(f"seed {given.seed}, {found}", flush=True)
                return 1
        if time.monotonic() - shown > 10:
            shown = time.monotonic()
            print(f"{figures['sequences']:,} of {given.count:,} after {shown - start:.0f} s", flush=True)
    print(
        f"stores: memory, {', '.join(given.backends)}; seed {given.seed}: {figures['sequences']:,} sequences, "
        f"{figures['requests']:,} requests, {figures['refused']:,} of them refused, "
        f"{figures['records swept']:,} records swept, 0 differences, "
        f"{time.monotonic() - start:.0f} s"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
