"""What a run has to reach, as ratios within that run, and what else it shows."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """A bound for one number: at least, or at most."""

    least: float | None = None
    most: float | None = None

    def met(self, value: float, noise: float = 0) -> bool:
        least = self.least is None or value >= self.least * (1 - noise)
        return least and (self.most is None or value <= self.most * (1 + noise))

    def __bool__(self) -> bool:
        return self.least is not None or self.most is not None


NONE = Target()

NOISE = 0.04
"""What two runs on one machine differ by: a target that is missed by less is "near", and no failure."""


@dataclass(frozen=True)
class Ratio:
    """How one compares with another: how many times as fast it is, or how many times the other's time it costs."""

    target: Target = NONE
    is_cost: bool = False


def faster(by: float | None = None) -> Ratio:
    return Ratio(Target(least=by))


def costs(most: float | None = None) -> Ratio:
    return Ratio(Target(most=most), is_cost=True)


@dataclass(frozen=True)
class Row:
    """A line of the table: a workload, and how the backends compare with one who did the same work."""

    workload: str
    unit: str
    native: Ratio = Ratio()
    pure: Ratio = Ratio(is_cost=True)
    against: str = "hand"
    against_workload: str = ""  # where the other one did the work in another way

    @property
    def other(self) -> tuple[str, str]:
        """The workload and who it is compared with."""
        return self.against_workload or self.workload, self.against

    def ratios(self) -> dict[str, Ratio]:
        return {"native": self.native, "pure": self.pure}


ONE_BY_ONE, IN_BULK = "one by one", "in bulk"
BARE, DRAINED, FRESH = "one by one, no outputs", "one by one, drained", "in bulk, fresh memory"
BULK_BARE, ONE_NAME = "in bulk, no outputs", "in bulk, no outputs, one name"
ONE_BUFFER = "replay of one buffer"

ROWS = (
    Row(ONE_BY_ONE, "step", faster(4.5), costs(4)),
    Row("one by one, by view", "step", against_workload=ONE_BY_ONE),
    Row("one by one, collector off", "step"),
    Row(DRAINED, "step"),
    Row(IN_BULK, "step", faster(40), costs(1), against_workload=ONE_BY_ONE),
    Row(FRESH, "step", against_workload=ONE_BY_ONE),
    Row(BULK_BARE, "step", faster(80), against_workload=BARE),
    Row(ONE_NAME, "step", against_workload=BARE),
    Row("replay", "record"),
    Row("replay", "record", against="hand-unchained"),
    Row(ONE_BUFFER, "record", faster(8), against_workload="replay"),
    Row("to_json", "step", faster(1), against="msgspec"),
    Row("to_json", "step"),
    Row("from_json", "step", faster(1), against="msgspec"),
    Row("from_json", "step"),
    Row("pause or resume", "call", costs(3), against="empty"),
    Row("pause or resume", "call"),
)

GROWTH = {
    (ONE_BY_ONE, "native"): Target(most=25),
    (IN_BULK, "native"): Target(most=25),
    (ONE_BY_ONE, "pure"): NONE,
    (IN_BULK, "pure"): NONE,
    (ONE_BY_ONE, "hand"): NONE,
}
"""By how many per cent the dearest step of executions of all sizes costs more than the cheapest."""

MEMORY = {
    (ONE_BY_ONE, "native"): Target(most=128),
    (IN_BULK, "native"): Target(most=96),
    (ONE_BY_ONE, "pure"): NONE,
    (IN_BULK, "pure"): NONE,
    (ONE_BY_ONE, "hand"): NONE,
}
"""Bytes per finished step."""

IMPORT = Target(most=25)
"""Milliseconds."""

# --- the short edition ----------------------------------------------------------------------------------------------
# Three quarters of what was measured, or four thirds of a cost: runs differ by 5 %, and half the speed is noticed.
# Executions are smaller here, which the hand-written version is faster with: there is less for the collector to walk.

QUICK_NATIVE_ONE_BY_ONE = 2.3
QUICK_NATIVE_IN_BULK = 25.0
QUICK_NATIVE_REPLAY = 5.6
QUICK_NATIVE_TO_JSON = 6.6
QUICK_NATIVE_FROM_JSON = 9.8
QUICK_PURE_ONE_BY_ONE = 5.4
QUICK_PURE_IN_BULK = 0.25
QUICK_PURE_REPLAY = 9.0
QUICK_PURE_TO_JSON = 5.5
QUICK_PURE_FROM_JSON = 9.5

QUICK_ROWS = (
    Row(ONE_BY_ONE, "step", faster(QUICK_NATIVE_ONE_BY_ONE), costs(QUICK_PURE_ONE_BY_ONE)),
    Row(
        IN_BULK, "step", faster(QUICK_NATIVE_IN_BULK), costs(QUICK_PURE_IN_BULK), against_workload=ONE_BY_ONE
    ),
    Row("replay", "step", faster(QUICK_NATIVE_REPLAY), costs(QUICK_PURE_REPLAY)),
    Row("to_json", "step", faster(QUICK_NATIVE_TO_JSON), costs(QUICK_PURE_TO_JSON)),
    Row("from_json", "step", faster(QUICK_NATIVE_FROM_JSON), costs(QUICK_PURE_FROM_JSON)),
)
