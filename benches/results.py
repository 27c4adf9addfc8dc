"""The numbers of one run: kept as JSON, judged by their targets, and laid out as tables for whoever shows them."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from targets import GROWTH, IMPORT, MEMORY, NOISE, ROWS, Ratio, Row, Target

Times = dict[str, dict[str, dict[str, float]]]
"""Nanoseconds per unit: workload, who, `min` or `median`."""

CALLED = {
    "hand": "hand-written",
    "hand-unchained": "hand-written, unchained",
    "msgspec": "msgspec",
    "empty": "an empty method",
}
SIZES = {10_000: "10,000 steps", 100_000: "100,000 steps", 1_000_000: "1,000,000 steps"}


@dataclass(frozen=True)
class Results:
    """What a run found; all of it is what JSON has."""

    machine: dict[str, str]
    backends: list[str]
    times: Times
    growth: dict[str, dict[str, dict[str, float]]]  # ns per step: workload, who, size of an execution
    memory: dict[str, dict[str, float]]  # bytes per step: workload, who
    startup: dict[str, float]  # ms: backend

    @classmethod
    def read(cls, file: Path) -> "Results":
        return cls(**json.loads(file.read_bytes()))

    def write(self, file: Path) -> None:
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    def spread(self, workload: str, who: str) -> float | None:
        """By how many per cent a step of the dearest size costs more than one of the cheapest."""
        found = self.growth.get(workload, {}).get(who)
        return None if not found else (max(found.values()) / min(found.values()) - 1) * 100


class Line(NamedTuple):
    """A number beside its target."""

    name: str
    value: float | None
    target: Target

    @property
    def verdict(self) -> str:
        if not self.target:
            return ""
        if self.value is None:
            return "not measured"
        if self.target.met(self.value):
            return "met"
        return "near" if self.target.met(self.value, NOISE) else "MISSED"


class Sheet(NamedTuple):
    """A table: the first `left` columns are text, the others numbers."""

    title: str
    left: int
    head: tuple[str, ...]
    rows: list[list[str]]


# --- ratios -------------------------------------------------------------------------------------------------------


def value_of(row: Row, who: str, ratio: Ratio, times: Times, which: str = "min") -> float | None:
    workload, against = row.other
    other, own = times.get(workload, {}).get(against), times.get(row.workload, {}).get(who)
    if other is None or own is None:
        return None
    return own[which] / other[which] if ratio.is_cost else other[which] / own[which]


def ratio_lines(rows: Iterable[Row], times: Times, backends: Iterable[str]) -> Iterator[Line]:
    for row in rows:
        for who, ratio in row.ratios().items():
            if who in backends:
                yield Line(f"{row.workload}, {who}", value_of(row, who, ratio, times), ratio.target)


def speed_sheet(rows: Iterable[Row], times: Times, backends: list[str]) -> Sheet:
    head = ("workload", "per", "compared with", "its ns", *(f"{who} ns" for who in backends))
    head += (*(f"{who} is" for who in backends), "target", "")
    lines = []
    for row in rows:
        workload, against = row.other
        other = times.get(workload, {}).get(against)
        ratios = {who: ratio for who, ratio in row.ratios().items() if who in backends}
        wanted = [f"{who} {goal(ratio)}" for who, ratio in ratios.items() if ratio.target]
        if row.workload not in times and not wanted:
            continue
        cells = [row.workload, row.unit, CALLED[against], "" if other is None else number(other["min"])]
        owns = [times.get(row.workload, {}).get(who) for who in backends]
        cells += ["" if own is None else number(own["min"]) for own in owns]
        cells += [compared(row, who, ratios[who], times) for who in backends]
        lines.append([*cells, ", ".join(wanted), verdicts(row, times, backends)])
    return Sheet("Nanoseconds, and ratios of the minimums (of the medians)", 3, head, lines)


def verdicts(row: Row, times: Times, backends: list[str]) -> str:
    """One word where all is the same, else who did what."""
    lines = {
        who: Line(who, value_of(row, who, ratio, times), ratio.target)
        for who, ratio in row.ratios().items()
        if who in backends
    }
    found = {who: line.verdict for who, line in lines.items() if line.target}
    if len({*found.values()}) == 1:
        return next(iter(found.values()))
    return ", ".join(f"{who} {verdict}" for who, verdict in found.items())


def compared(row: Row, who: str, ratio: Ratio, times: Times) -> str:
    value, median = (value_of(row, who, ratio, times, which) for which in ("min", "median"))
    if value is None or median is None:
        return ""
    return f"{value:.3g}x {'the cost' if ratio.is_cost else 'as fast'} ({median:.3g})"


def goal(ratio: Ratio) -> str:
    return f"<= {ratio.target.most:g}x" if ratio.is_cost else f">= {ratio.target.least:g}x"


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


# --- the rest -----------------------------------------------------------------------------------------------------


def growth_lines(results: Results) -> Iterator[Line]:
    for (workload, who), target in GROWTH.items():
        if who in (*results.backends, "hand"):
            yield Line(f"{workload}, {who}, growth", results.spread(workload, who), target)


def growth_sheet(results: Results) -> Sheet:
    head = ("ns per step", "", *SIZES.values(), "spread", "target", "")
    rows = []
    for line, (workload, who) in zip(growth_lines(results), named(results, GROWTH), strict=True):
        found = results.growth.get(workload, {}).get(who, {})
        sizes = [number(found[str(size)]) if str(size) in found else "" for size in SIZES]
        spread = "" if line.value is None else f"{line.value:.0f} %"
        wanted = f"<= {line.target.most:g} %" if line.target else ""
        rows.append([workload, CALLED.get(who, who), *sizes, spread, wanted, line.verdict])
    return Sheet("Does a step cost more in larger executions?", 2, head, rows)


def named(results: Results, table: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(workload, who) for workload, who in table if who in (*results.backends, "hand")]


def other_lines(results: Results) -> Iterator[Line]:
    for workload, who in named(results, MEMORY):
        value = results.memory.get(workload, {}).get(who)
        name = f"bytes per finished step, {workload}: {CALLED.get(who, who)}"
        yield Line(name, value, MEMORY[workload, who])
    for who in results.backends:
        yield Line(f"ms of `import stepwell`: {who}", results.startup.get(who), IMPORT)


def other_sheet(results: Results) -> Sheet:
    rows = []
    for line in other_lines(results):
        value = "" if line.value is None else f"{line.value:.0f}"
        wanted = f"<= {line.target.most:g}" if line.target else ""
        rows.append([line.name, value, wanted, line.verdict])
    return Sheet("Memory and import", 1, ("what", "measured", "target", ""), rows)


def sheets(results: Results) -> dict[str, Sheet]:
    """The tables of a run, by the name of the place where the report has them."""
    return {
        "speed": speed_sheet(ROWS, results.times, results.backends),
        "growth": growth_sheet(results),
        "other": other_sheet(results),
    }


def missed(lines: Iterable[Line]) -> list[str]:
    return [f"{line.name} {line.verdict}" for line in lines if line.verdict in ("MISSED", "not measured")]


def all_lines(results: Results) -> Iterator[Line]:
    yield from ratio_lines(ROWS, results.times, results.backends)
    yield from growth_lines(results)
    yield from other_lines(results)
