"""Random requests to a store: valid ones and not, drawn with what the answers so far have told."""

import random
from collections.abc import Iterator
from typing import Any, NamedTuple

from stepwell.journal import digest
from stepwell.store import ExecutionRow, NewExecution, Projection, Record, Store

IDS = [f"exec_{number}" for number in range(1, 5)]
ODD = ["", "exec_", "exec_1\0", "EXEC_1", "' OR 1=1 --", "%", "é💣", "x" * 300]
BLUEPRINTS = ["m.f", "m.g", None]
KEYS = ["k1", "k2", "'", None, None]
ENDS = ["completed", "failed", "cancelled"]
STATES = ["running", "waiting", "paused", *ENDS]
STEPS = ["step_1", "step_2", "step_3", "step_4", "'", "step_1\0"]
WRITES = {"create", "append", "claim", "renew", "release", "deliver", "doom", "sweep"}


class Request(NamedTuple):
    """What is asked, of which of the tenants."""

    tenant: int
    name: str
    arguments: tuple[Any, ...]
    options: dict[str, Any]


class Drawn:
    """The requests of one sequence. What it knows of the executions is what the answers told."""

    def __init__(self, seed: int, length: int) -> None:
        self._random = random.Random(seed)
        self._left = length
        self._rows: dict[tuple[int, str], ExecutionRow] = {}
        self._heads: dict[tuple[int, str, int], str] = {}
        self._done: list[Request] = []
        self._number = 0

    def __iter__(self) -> Iterator[Request]:
        while self._left:
            self._left -= 1
            yield self._draw()

    def learn(self, request: Request, value: Any) -> None:
        """Takes in the answer to a request, and the row that its execution has now, if that is the answer."""
        if isinstance(value, ExecutionRow):
            self._rows[request.tenant, value.id] = value
        elif request.name == "get":
            self._rows.pop((request.tenant, request.arguments[0]), None)

    # --- what is drawn --------------------------------------------------------------------------------------------

    def _draw(self) -> Request:
        draw, tenant = self._random, int(self._random.random() < 0.2)
        if self._done and draw.random() < 0.12:
            return draw.choice(self._done)  # the same again, however long ago
        names = {
            "create": 14, "append": 34, "claim": 6, "release": 3, "deliver": 8, "doom": 7, "sweep": 8, "get": 8,
            "find": 2, "list": 3, "children": 2, "count": 2, "due": 3, "load": 4, "bodies": 3, "digests": 3, "inbox": 4,
            "finished": 2, "renew": 3, "awaited": 4, "arrivals": 3,
        }  # fmt: skip
        [name] = draw.choices(list(names), list(names.values()))
        arguments, options = getattr(self, f"_{name}")(tenant)
        request = Request(tenant, name, arguments, options)
        if name in WRITES:
            self._done.append(request)
        return request

    def _id(self, tenant: int) -> str:
        """One of a few; those that are known to be there more often."""
        there = [ident for whose, ident in self._rows if whose == tenant]
        if self._random.random() < 0.7:
            there = [ident for ident in there if self._rows[tenant, ident].state not in ENDS]
        if there and self._random.random() < 0.7:
            return self._random.choice(there)
        return self._random.choice(ODD) if self._random.random() < 0.06 else self._random.choice(IDS)

    def _near(self, number: int) -> int:
        """The number, or one that is wrong."""
        return number + self._random.choice([0] * 60 + [-1, 1, 2, -7, 5_000])

    def _limit(self) -> Any:
        return self._random.choice([1, 2, 3, 100, 1_000] * 10 + [0, -1, 1_001, None, "1"])

    def _after(self) -> str | None:
        return self._random.choice([None, None, *IDS, *ODD])

    def _projection(self, head: str) -> Projection:
        draw = self._random
        state = draw.choice(STATES[:3] * 2 + ENDS)
        reason = draw.choice(["timer", "callback"]) if state == "waiting" else None
        wake = draw.choice([None, 5, 10, 10, 2**62]) if state == "waiting" or draw.random() < 0.4 else None
        return Projection(state, reason, head, wake, draw.random() < 0.7)

    def _records(self, tenant: int, ident: str, first: int) -> tuple[list[Record], str]:
        """A chain of records, and the digest of the last of them."""
        draw = self._random
        count = 1_100 if draw.random() < 0.004 else draw.choice([1, 1, 1, 2, 3, 9])
        before = self._heads.get((tenant, ident, first - 1), "0" * 32)
        made: list[Record] = []
        for seq in range(first, first + count):
            self._number += 1
            output = draw.choice("abc") * 40_000 if draw.random() < 0.03 and count < 10 else f"{self._number}"
            body = (
                f'{{"seq":{seq},"prev":"{before}","at":{self._number},"kind":"complete","output":"{output}"}}'
            )
            made.append((seq, self._number, "complete", body.encode()))
            before = digest(made[-1][3])
        self._heads[tenant, ident, first + count - 1] = before
        return made, before

    def _spoiled(self, records: list[Record]) -> list[Record]:
        """Now and then records that cannot be."""
        if self._random.random() < 0.98:
            return records
        return self._random.choice([[], records[1:], records[::-1], [*records, records[-1]]])

    def _durability(self) -> dict[str, Any]:
        return self._random.choice(
            [{}, {}, {"durability": "process"}, {"durability": "power"}] * 8 + [{"durability": "x"}]
        )

    def _opened(self) -> dict[str, Any]:
        draw = self._random
        return {"opened": draw.choices(STEPS, k=draw.randrange(3))} if draw.random() < 0.2 else {}

    def _create(self, tenant: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
        draw = self._random
        new_ids = [each for each in IDS if (tenant, each) not in self._rows]
        # No id has a NUL: SQLite's JSON, in which those to be doomed are named, knows none.
        ident = draw.choice(new_ids) if new_ids and draw.random() < 0.7 else self._id(tenant).strip("\0")
        parent = draw.choice([None, None, *IDS[:3]])
        new = NewExecution(
            ident, draw.choice(BLUEPRINTS), draw.choice(KEYS), draw.choice(["1", None]),
            None if parent is None else "execution", parent, draw.choice(["me", None]),
        )  # fmt: skip
        records, head = self._records(tenant, ident, 0)
        action = b"create %d" % draw.randrange(10**9)
        return (
            new,
            action,
            self._spoiled(records),
            self._projection(head),
        ), self._durability() | self._opened()

    def _append(self, tenant: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
        draw, ident = self._random, self._id(tenant)
        row = self._rows.get((tenant, ident))
        version, epoch = (row.version, row.epoch) if row is not None else (draw.randrange(5), 1)
        version = max(self._near(version), -1)
        records, head = self._records(tenant, ident, version + 1)
        options = self._durability()
        if draw.random() < 0.3:
            options = {**options, "taken": draw.sample(["d1", "d2", "d3", "d4", "'"], draw.randrange(4))}
        options |= self._opened()
        action = b"append %d" % draw.randrange(10**9)
        arguments = (
            ident,
            version,
            self._near(epoch),
            action,
            self._spoiled(records),
            self._projection(head),
        )
        return arguments, options

    def _claim(self, tenant: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
        ident = self._id(tenant)
        row = self._rows.get((tenant, ident))
        epoch = self._near(1 if row is None else row.epoch)
        lease = self._random.choice([{}, {"lease_until_ns": self._random.randrange(100)}])
        return (ident, self._random.choice(["you", "she"]), epoch), lease

    def _renew(self, tenant: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
        (ident, epoch), options = self._release(tenant)
        return (ident, epoch, self._random.randrange(100)), options

    def _release(self, tenant: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
        ident = self._id(tenant)
        row = self._rows.get((tenant, ident))
        return (ident, self._near(1 if row is None else row.epoch)), {}

    def _deliver(self, tenant: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
        draw = self._random
        delivery = draw.choice(["d1", "d2", "d3", "d4", "'", "d1\0"])
        body = draw.choice([b"", b"a", b"b\0"])
        kind, name = draw.choice(["signal", "signal", "callback"]), draw.choice(["go", "go", "é"])
        return (self._id(tenant), delivery, kind, name, body, draw.randrange(100)), {}

    def _doom(self, tenant: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
        ended = [ident for (whose, ident), row in self._rows.items() if whose == tenant and row.state in ENDS]
        return ([*self._random.sample(ended, min(len(ended), 2)), *self._some(tenant)],), {}

    def _some(self, tenant: int) -> list[str]:
        return [self._id(tenant) for _ in range(self._random.choice([0, 0, 1, 3]))]

    def _sweep(self, tenant: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (self._random.choice([1, 2, 3, 10, 500, 500, 0, -1]),), {}

    def _get(self, tenant: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (self._id(tenant),), {}

    def _find(self, tenant: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (self._random.choice(["m.f", "m.g", *ODD]), self._random.choice(["k1", "k2", "'", *ODD])), {}

    def _list(self, tenant: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
        draw = self._random
        blueprint = draw.choice([{}, {"blueprint": draw.choice(["m.f", "m.g", *ODD])}])
        return (draw.choice([None, *STATES, *ODD]), self._after(), self._limit()), blueprint

    def _children(self, tenant: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (self._id(tenant), self._after(), self._limit()), {}

    def _count(self, tenant: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return self._random.choice([(), ("m.f",), ("",)]), {}

    def _due(self, tenant: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (self._random.choice([0, 5, 10, 2**62]), self._limit()), {}

    def _from(self, tenant: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (self._id(tenant), self._random.choice([-1, -1, 0, 1, 5, 1_023, 1_024, 9_999, -9])), {}

    _load = _bodies = _digests = _from

    def _inbox(self, tenant: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (self._id(tenant), self._random.choice([0, 0, 1, 2, -1]), self._limit()), {}

    def _arrivals(self, tenant: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (self._random.choice([0, 0, 1, 2, 5, -1]), self._limit()), {}

    def _awaited(self, tenant: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (self._random.choice([*STEPS, *STEPS, *ODD]),), {}

    def _finished(self, tenant: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (self._random.choice([*ENDS * 3, *STATES, ""]), self._after() or "", self._limit()), {}


def rows_of(store: Store) -> list[str]:
    """The ids of all executions, by pages of three."""
    found: list[str] = []
    while page := store.list(None, found[-1] if found else None, 3).wait(60):
        found += [row.id for row in page]
    return found
