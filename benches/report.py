"""Writes the tables and the plot of the report from the numbers of one run.

python benches/report.py                docs/figures/*.json -> docs/performance.md, README.md and the plot
python benches/report.py --check        ends with 1 where one of them is not what the numbers give
"""

import argparse
import io
import math
import re
import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("svg")  # before pyplot; no display is asked for

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator
from peer_sheet import read as read_peers, sheet as peer_sheet, short as short_peers, spread as peer_spread
from results import SIZES, Results, Sheet, number, sheets
from runtime_sheet import read as read_runtime, sheet as runtime_sheet
from store_sheet import read as read_stores, sheet as store_sheet
from targets import IN_BULK, ONE_BY_ONE

DOCS = Path(__file__).parents[1] / "docs"
NUMBERS, PAGE, PLOT = DOCS / "figures" / "bench.json", DOCS / "performance.md", DOCS / "figures" / "cost.svg"
STORES, PEERS = DOCS / "figures" / "stores.json", DOCS / "figures" / "peers.json"
RUNTIME = DOCS / "figures" / "runtime.json"
README = DOCS.parent / "README.md"
SHORT = ("workload", "compared with", "native is", "pure is")
"""The columns of the table in the README, of the rows that have a target."""

INK, GRID, PAPER = "#24292f", "#d8dee4", "#fcfcfb"
NATIVE, PURE, HAND = "#0b5fa5", "#b3500e", "#57606a"
SERIES = {
    (ONE_BY_ONE, "pure"): ("pure, one by one", PURE, "-", "o"),
    (ONE_BY_ONE, "hand"): ("hand-written, one by one", HAND, "-", "s"),
    (IN_BULK, "pure"): ("pure, in bulk", PURE, "--", "o"),
    (ONE_BY_ONE, "native"): ("native, one by one", NATIVE, "-", "o"),
    (IN_BULK, "native"): ("native, in bulk", NATIVE, "--", "o"),
}
APART = 0.045
"""The least distance of two labels, as a part of the height of the plot."""
FONTS = "'DejaVu Sans', Verdana, Arial, sans-serif"
"""Whoever looks at it has one of these; the first, which comes with matplotlib, is the widest."""
STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "svg.fonttype": "none",
    "svg.hashsalt": "stepwell",
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}

# --- the tables ---------------------------------------------------------------------------------------------------


def markdown(sheet: Sheet) -> str:
    rule = ["---" if column < sheet.left else "---:" for column in range(len(sheet.head))]
    lines = (
        "".join(f"| {cell} " if cell else "| " for cell in row) for row in [sheet.head, rule, *sheet.rows]
    )
    return "".join(f"{line}|\n" for line in lines)


def parts(results: Results) -> dict[str, str]:
    """What stands between the markers of the page, by their names."""
    machine = results.machine
    found = {name: markdown(sheet) for name, sheet in sheets(results).items()}
    found["machine"] = (
        f"{machine['cpu']}, {machine['system']}; {machine['python']}, {machine['rustc']}; "
        f"commit {machine['commit']}, {machine['date']}.\n"
    )
    return found


def store_parts() -> dict[str, str]:
    """The same of the run of the stores."""
    kept = read_stores(STORES)
    return {"stores": markdown(store_sheet(kept["found"])), "stores machine": kept["machine"]}


def runtime_parts() -> dict[str, str]:
    """The same of the run of the runtime."""
    kept = read_runtime(RUNTIME)
    return {"runtime": markdown(runtime_sheet(kept["found"])), "runtime machine": kept["machine"]}


def peer_parts() -> dict[str, str]:
    """And of the run beside other libraries."""
    kept = read_peers(PEERS)
    found = kept["found"]
    return {"peers": markdown(peer_sheet(found)), "peers machine": kept["machine"] + peer_spread(found)}


def readme_parts(results: Results) -> dict[str, str]:
    """What stands between the markers of the README."""
    found = read_peers(PEERS)["found"]
    return {
        "short": short(sheets(results)["speed"]),
        "stores": store_parts()["stores"],
        "runtime": runtime_parts()["runtime"],
        "peers": markdown(short_peers(peer_sheet(found))),
        "peers machine": peer_parts()["peers machine"],
    }


def short(sheet: Sheet) -> str:
    """The table of the README."""
    places = [sheet.head.index(name) for name in SHORT]
    target = sheet.head.index("target")
    rows = [[re.sub(r" \(.*?\)", "", row[place]) for place in places] for row in sheet.rows if row[target]]
    return markdown(Sheet("", 2, SHORT, rows))


def filled(page: str, texts: dict[str, str]) -> str:
    """The page with these texts between its markers."""
    for name, text in texts.items():
        begin, end = f"<!-- {name}: made by `make bench-report` -->\n", f"<!-- end of {name} -->\n"
        before, found, rest = page.partition(begin)
        _, closed, after = rest.partition(end)
        if not found or not closed:
            raise SystemExit(f"there is no place for {name}: {begin}")
        page = f"{before}{begin}{text}{end}{after}"
    return page


# --- the plot -----------------------------------------------------------------------------------------------------


def plot(results: Results) -> str:
    """Cost per step against the size of an execution, as SVG; the same text for the same numbers."""
    lines = {
        key: results.growth[key[0]][key[1]] for key in SERIES if key[1] in results.growth.get(key[0], {})
    }
    with mpl.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(8.4, 4.8), facecolor=PAPER)
        figure.subplots_adjust(left=0.09, right=0.69, top=0.865, bottom=0.125)
        decorate(axes, [ns for found in lines.values() for ns in found.values()])
        for key, found in lines.items():
            _, colour, dashes, marker = SERIES[key]
            axes.plot(
                [int(size) for size in found],
                list(found.values()),
                color=colour,
                linestyle=dashes,
                marker=marker,
                linewidth=2,
                markersize=5.5,
                clip_on=False,
                zorder=3,
            )
        label(axes, {key: found[str(max(SIZES))] for key, found in lines.items()})
        figure.text(
            0.02, 0.945, "What a step costs, by how many an execution has", fontsize=13, weight="bold"
        )
        figure.text(0.02, 0.895, "nanoseconds of processor time to start and complete it", fontsize=10)
        file = io.BytesIO()
        figure.savefig(file, format="svg", facecolor=PAPER, metadata={"Date": None, "Creator": None})
        plt.close(figure)
    return file.getvalue().decode().replace("'DejaVu Sans'", FONTS)


def decorate(axes: Axes, values: list[float]) -> None:
    axes.set_facecolor(PAPER)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(min(SIZES) / 1.25, max(SIZES) * 1.12)
    steps = [mantissa * 10**power for power in range(7) for mantissa in (1, 2, 5)]
    axes.set_ylim(
        max(y for y in steps if y * 1.25 < min(values)), min(y for y in steps if y > max(values) * 1.05)
    )
    axes.set_xticks(list(SIZES))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
    axes.set_xlabel("steps of an execution")
    axes.grid(visible=True, which="major", color=GRID, linewidth=0.9)
    axes.grid(visible=True, which="minor", axis="y", color=GRID, linewidth=0.4)
    axes.tick_params(which="both", length=0, pad=6)
    for side in axes.spines.values():
        side.set_visible(False)


def label(axes: Axes, ends: dict[tuple[str, str], float]) -> None:
    """The name of each line at its end, with what it costs there, none over another."""
    low, high = (math.log10(limit) for limit in axes.get_ylim())
    places: dict[tuple[str, str], float] = {}
    free = -1.0
    for key in sorted(ends, key=lambda key: ends[key]):
        places[key] = free = max((math.log10(ends[key]) - low) / (high - low), free + APART)
    for key, place in places.items():
        text, colour, _, _ = SERIES[key]
        axes.annotate(
            f"{text}: {number(ends[key])} ns",
            (1.015, place),
            xycoords="axes fraction",
            color=colour,
            va="center",
            weight="bold" if key[1] == "native" else "normal",
        )


def alike(made: str, kept: str) -> bool:
    """The same but for what another machine's arithmetic does to the last digits of a coordinate."""
    digits = r"-?\d+\.\d+"
    if re.sub(digits, "#", made) != re.sub(digits, "#", kept):
        return False
    pairs = zip(re.findall(digits, made), re.findall(digits, kept), strict=True)
    return all(math.isclose(float(one), float(other), abs_tol=0.01) for one, other in pairs)


# --- both ---------------------------------------------------------------------------------------------------------


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("numbers", type=Path, nargs="?", default=NUMBERS, help="of `ratios.py --json`")
    parser.add_argument("--check", action="store_true", help="write nothing, and end with 1 on a difference")
    given = parser.parse_args()
    results = Results.read(given.numbers)
    made = {
        PAGE: filled(
            PAGE.read_text(encoding="utf-8"),
            parts(results) | store_parts() | runtime_parts() | peer_parts(),
        ),
        README: filled(README.read_text(encoding="utf-8"), readme_parts(results)),
    }
    drawn = plot(results)
    if not given.check:
        for file, text in [*made.items(), (PLOT, drawn)]:
            file.write_text(text, encoding="utf-8", newline="\n")
        return 0
    wrong = [file for file, text in made.items() if text != file.read_text(encoding="utf-8")]
    if not PLOT.exists() or not alike(drawn, PLOT.read_text(encoding="utf-8")):
        wrong.append(PLOT)
    for file in wrong:
        print(f"{file.name} is not what {given.numbers.name} gives: `python benches/report.py` writes it")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
