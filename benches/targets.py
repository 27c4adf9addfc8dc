"""What `make bench` has to reach, as ratios within one run, and what else a run shows."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """A bound for one number: at least, or at most."""

    least: float | None = None
    most: float | None = None

    def met(self, value: float, margin: float = 0.0) -> bool:
        if self.least is not None:
            return value >= self.least * (1 - margin)
        return self.most is None or value <= self.most * (1 + margin)

    def __str__(self) -> str:
        if self.least is not None:
            return f">= {self.least:g}"
        return "" if self.most is None else f"<= {self.most:g}"


NONE = Target()

MARGIN = 0.1
"""How far off a target `--check` lets a number be: what two runs on one machine differ by."""


@dataclass(frozen=True)
class Row:
    """A line of the table: a workload, and how the others compare with one of those who did it."""

    workload: str
    unit: str
    faster: Target = NONE  # the other one's time / native's
    cost: Target = NONE  # pure's time / the other one's
    against: str = "hand"
    against_workload: str = ""  # where the other one did the work in another way


ROWS = (
    Row("one by one", "step", faster=Target(least=3), cost=Target(most=4)),
    Row("one by one, by view", "step", against_workload="one by one"),
    Row("one by one, no gc", "step"),
    Row("one by one, drained", "step"),
    Row("in bulk", "step", against_workload="one by one"),
    Row("replay", "record"),
    Row("replay", "record", against="hand-unchained"),
    Row("to_json", "step"),
    Row("from_json", "step"),
    Row("transition", "call"),
    Row("transition", "call", against="empty"),
)

MEMORY = {"native": Target(most=160), "hand": NONE, "pure": NONE}
"""Bytes per finished step."""

IMPORT = Target(most=25)
"""Milliseconds."""
