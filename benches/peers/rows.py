"""Who is compared, how much each of them does, and what its record is said to survive."""

from dataclasses import dataclass, field
from importlib.util import find_spec

Size = tuple[int, int]
"""Workflows, and steps of each."""

POWER = "power loss"
PROCESS = "`kill -9`"


@dataclass(frozen=True)
class Row:
    """A line of the table. `environment` is a file of `requirements/`; without one it is stepwell's own Python."""

    key: str
    who: str  # its versions are filled in
    script: str
    survives: str
    environment: str = ""
    options: tuple[str, ...] = ()
    variables: dict[str, str] = field(default_factory=dict)
    one: Size = (1, 100)
    series: Size = (50, 100)
    at_once: Size = (50, 100)
    long: int = 10_000
    traced_series: Size = (5, 100)
    traced_at_once: Size = (50, 20)
    lost: int = 0  # how many results `kill -9` may lose: those steps run again, and it is shown how many

    @property
    def flushes_each_step(self) -> bool:
        """What survives power loss has to: a row that says so without is refused."""
        return self.survives.startswith(POWER)


def stepwell(backend: str, durability: str, survives: str) -> Row:
    return Row(
        f"stepwell-{backend}-{durability}",
        f"stepwell {{stepwell}}, {backend}, `{durability}`",
        "with_stepwell.py",
        survives,
        options=(durability,),
        variables={"STEPWELL_BACKEND": backend},
    )


ALL = (
    Row("sqlite", "raw `sqlite3` {sqlite}, a row a commit", "with_sqlite.py", POWER),
    stepwell("native", "power", POWER),
    stepwell("pure", "power", POWER),
    Row("dbos", "DBOS {dbos}", "with_dbos.py", POWER, "dbos"),
    Row(
        "langgraph-graph", "LangGraph {langgraph}, graph", "with_langgraph.py", POWER, "langgraph", ("graph",)
    ),
    Row(
        "langgraph-tasks",
        "LangGraph {langgraph}, tasks",
        "with_langgraph.py",
        f"{POWER}, but for the last results",
        "langgraph",
        ("tasks",),
        lost=1_000,
    ),
    Row("eventsourcing", "eventsourcing {eventsourcing}", "with_eventsourcing.py", POWER, "eventsourcing"),
    Row("burr", "Burr {apache-burr}", "with_burr.py", POWER, "burr"),
    stepwell("native", "process", PROCESS),
    stepwell("pure", "process", PROCESS),
    Row(
        "duroxide",
        "duroxide {duroxide}",
        "with_duroxide.py",
        PROCESS,
        "duroxide",
        series=(3, 20),
        at_once=(50, 20),
        long=1_000,
        traced_series=(1, 20),
        traced_at_once=(20, 10),
    ),
)


def here() -> tuple[Row, ...]:
    """Those that this Python can have: without the extension there is no native backend."""
    native = find_spec("stepwell._native") is not None
    return tuple(row for row in ALL if native or not row.key.startswith("stepwell-native"))
