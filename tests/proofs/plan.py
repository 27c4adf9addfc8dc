"""What a recorded writer asks of a store, the same in every process: real journals, so that chains can be checked."""

from functools import cache
from typing import Any, Final, NamedTuple

from stepwell import ManualClock
from stepwell.runtime.core import Execution
from stepwell.runtime.journaling import projection
from stepwell.store import NewExecution, Projection, Record
from stepwell.store.protocol import Durability
from stepwell.store.sqlite import SqliteStore
from stepwell.typeid import consecutive

TENANT: Final = "acme"
EXECUTIONS: Final = 3
LARGE: Final = 40_000
"""Bytes of a payload that is kept apart."""
HUGE: Final = 1_400_000
"""Three of these, and the write-ahead log is longer than what it is allowed before it is copied and begun anew."""
SCENARIOS: Final = ("power", "process", "mixed", "older", "long")


class Request(NamedTuple):
    """One create or append. It is the same request again when it is made again."""

    execution: str
    after: int
    action_id: bytes
    records: list[Record]
    row: Projection
    durability: Durability

    def ask(self, store: SqliteStore) -> Any:
        """Its ticket."""
        if self.after < 0:
            new = NewExecution(self.execution, "m.f", self.execution, "v1", None, None, "me")
            return store.create(new, self.action_id, self.records, self.row, self.durability)
        return store.append(
            self.execution, self.after, 1, self.action_id, self.records, self.row, self.durability
        )

    @property
    def last(self) -> int:
        """The seq of its last record."""
        return self.records[-1][0]


Action = list[Request] | str
"""Requests that are made together, or `checkpoint`, or `reopen`."""


class _Ids:
    def __init__(self) -> None:
        self._count = 0

    def __call__(self, prefix: str) -> str:
        self._count += 1
        return consecutive(prefix, 0x19B76DA8000_7000_8000_0000_0000_0000 + self._count, 1)[0]


class Author:
    """Makes the requests, one execution's after the other's, and knows what each execution has then."""

    def __init__(self) -> None:
        self._clock, self._ids = ManualClock(), _Ids()
        self._executions: list[Any] = []
        self._version: dict[str, int] = {}
        self._count = 0
        self.everything: dict[str, list[Record]] = {}
        self.heads: dict[tuple[str, int], str] = {}

    def create(self, durability: Durability) -> Request:
        """A new execution that has started."""
        execution = Execution(tenant=TENANT, clock=self._clock, ids=self._ids, input={"n": self._count})
        execution.start()
        self._executions.append(execution)
        self._version[execution.id] = -1
        self.everything[execution.id] = []
        return self._request(execution, durability)

    def append(self, number: int, durability: Durability, size: int = 0, steps: int = 1) -> Request:
        """Some steps of an execution, each with a result of this size."""
        execution = self._executions[number % len(self._executions)]
        for _ in range(steps):
            self._clock.advance("1ms")
            execution.complete_step(
                execution.start_step(f"step{self._count}"), {"found": f"{self._count:08d}" * (size // 8)}
            )
        return self._request(execution, durability)

    def end(self, number: int, durability: Durability) -> Request:
        """The end of an execution."""
        self._executions[number].complete("done")
        return self._request(self._executions[number], durability)

    def _request(self, execution: Any, durability: Durability) -> Request:
        self._count += 1
        records, whose = execution.drain(), execution.id
        row = projection(execution)
        request = Request(whose, self._version[whose], b"%016d" % self._count, records, row, durability)
        self._version[whose] = request.last
        self.everything[whose] += records
        self.heads[whose, request.last] = row.head
        return request


class Plan(NamedTuple):
    """What is asked, in this order, and what is there in the end."""

    scenario: str
    actions: list[Action]
    before: int
    """So many requests were made before anything was recorded."""
    everything: dict[str, list[Record]]
    heads: dict[tuple[str, int], str]

    @property
    def requests(self) -> list[Request]:
        """All of them, in the order in which they are made."""
        return [request for action in self.actions if not isinstance(action, str) for request in action]


@cache
def plan(scenario: str) -> Plan:
    """The requests of a scenario."""
    author = Author()
    actions: list[Action] = []
    if scenario == "older":
        before = [
            author.create("power"),
            author.append(0, "power", steps=2),
            author.append(0, "power", LARGE),
        ]
        actions = [before, [author.append(0, "power")], [author.create("power")], [author.append(1, "power")]]
        return Plan(scenario, actions, len(before), author.everything, author.heads)
    if scenario == "short":
        actions = [[author.create("power")], [author.create("process")], [author.append(0, "power", 200)]]
        actions += [[author.append(1, "process", LARGE)], [author.append(place, "power") for place in (0, 1)]]
        actions += ["reopen", [author.append(0, "process", 9_000)], "checkpoint", [author.append(1, "power")]]
        return Plan(scenario, actions, 0, author.everything, author.heads)
    sizes = (0, 200, 3_000, 0, 9_000, 50, 0, LARGE)
    huge = scenario == "long"
    for number in range(16 if huge else 44):
        level: Durability = "process" if scenario in ("process", "long") else "power"
        if scenario == "mixed" and number % 5:
            level = "process"
        if number % 12 == 0 and number // 12 < EXECUTIONS:
            actions.append([author.create(level)])
        size = HUGE if huge and number in (4, 5, 6) else sizes[number % len(sizes)]
        if number % 9 == 4:
            together = [author.append(place, level, steps=1 + place) for place in range(EXECUTIONS)]
            actions.append(together)
        actions.append([author.append(number, level, size, steps=1 + number % 3 // 2)])
        if not huge and number in (14, 36):
            actions.append("checkpoint")
        if not huge and number == 25:
            actions.append("reopen")
    actions.append([author.end(0, "process" if scenario in ("process", "long") else "power")])
    return Plan(scenario, actions, 0, author.everything, author.heads)
