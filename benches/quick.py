"""A quick look at the speed, for a gate: a short edition of the benchmarks, hand-written, native and pure in turns.

    python benches/quick.py                 every backend that is here
    python benches/quick.py native          this one, beside the hand-written version

Prints the ratios, of the smallest of several turns, and ends with 3 where a gate is missed.
"""

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parent))

from allocators import keep_memory
from handwritten import Execution
from results import Times, missed, ratio_lines, speed_sheet
from show import show
from targets import IN_BULK, ONE_BY_ONE, QUICK_ROWS
from workload import MAKERS, TENANT, begun, check, in_bulk, names_of, one_by_one, outputs_of, settle

STEPS = 20_000
TURNS = {"native": 7, "hand": 7, "pure": 3}
NAMES, OUTPUTS = names_of(STEPS), outputs_of(STEPS)
HALF = STEPS // 2
MISSED = 3


class Work(NamedTuple):
    """`run(*make())` is timed; `answer` makes of both the execution that it was about."""

    workload: str
    who: str
    steps: int
    run: Callable[..., Any]
    make: Callable[[], tuple[Any, ...]] = tuple
    answer: Callable[[tuple[Any, ...], Any], Any] = lambda args, result: result

    def took(self, *, checked: bool) -> float:
        """Nanoseconds of processor time per step."""
        args = self.make()
        settle()
        began = time.process_time_ns()
        result = self.run(*args)
        took = time.process_time_ns() - began
        if checked:
            check(self.answer(args, result), NAMES[: self.steps], OUTPUTS[: self.steps])
        return took / self.steps


def works(who: str, id: str, bodies: list[bytes]) -> Iterator[Work]:
    """All that one does; the journal is one of half as many steps."""
    cls = MAKERS[who]
    fresh = lambda: (begun(who), NAMES, OUTPUTS)
    recorded = lambda args, _: args[0]
    yield Work(ONE_BY_ONE, who, STEPS, one_by_one, fresh, recorded)
    if who == "hand":
        yield Work("replay", who, HALF, lambda: Execution.rebuild(TENANT, bodies))
    else:
        yield Work(IN_BULK, who, STEPS, in_bulk, fresh, recorded)
        yield Work("replay", who, HALF, lambda: cls.replay(id, bodies))  # type: ignore[attr-defined]
    execution = begun(who)
    one_by_one(execution, NAMES[:HALF], OUTPUTS[:HALF])
    execution.drain()
    data, load = execution.to_json(), cls.from_json  # type: ignore[attr-defined]
    yield Work("to_json", who, HALF, execution.to_json, answer=lambda _, result: load(result))
    yield Work("from_json", who, HALF, load, lambda: (data,))


def main() -> int:
    backends = sys.argv[1:] or [who for who in MAKERS if who != "hand"]
    began = time.monotonic()
    keep_memory(100)
    journal = begun(backends[0])
    one_by_one(journal, NAMES[:HALF], OUTPUTS[:HALF])
    bodies = [body for _, _, _, body in journal.drain()]
    found: dict[tuple[str, str], list[float]] = {}
    todo = [work for who in ("hand", *backends) for work in works(who, journal.id, bodies)]
    for turn in range(max(TURNS.values())):
        for work in todo:
            if turn < TURNS[work.who]:
                found.setdefault((work.workload, work.who), []).append(work.took(checked=turn == 0))
    times: Times = {}
    for (workload, who), took in found.items():
        times.setdefault(workload, {})[who] = {"min": min(took), "median": sorted(took)[len(took) // 2]}
    show(speed_sheet(QUICK_ROWS, times, backends))
    wrong = missed(ratio_lines(QUICK_ROWS, times, backends))
    print(*wrong or [f"every gate is met, {time.monotonic() - began:.1f} s"], sep="\n")
    return MISSED if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
