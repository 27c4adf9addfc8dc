"""What a step costs in executions of 10,000, 100,000 and 1,000,000 steps: does it grow?

    python benches/growth.py                        all of it
    python benches/growth.py "in bulk" native       one of them, in this process, as JSON

A million steps are recorded each time, as a hundred executions, as ten, or as one, and all are kept until the clock has
stopped. So every size fills as much memory, which the process has already (`allocators.py`), and what differs is only
how large one execution is. The sizes take turns, and the smallest time of each counts.
"""

import json
import subprocess
import sys
import time

from allocators import keep_memory
from results import SIZES
from targets import GROWTH, ONE_BY_ONE
from workload import MAKERS, MILLION, begun, check, in_bulk, names_of, one_by_one, outputs_of, settle

ROUNDS = {"native": 5, "hand": 2, "pure": 1}


def measure(workload: str, who: str) -> dict[int, float]:
    """Nanoseconds of processor time per step, by the size of an execution."""
    keep_memory(1000)
    work = one_by_one if workload == ONE_BY_ONE else in_bulk
    inputs = {size: (names_of(size), outputs_of(size)) for size in SIZES}
    best: dict[int, float] = {}
    for turn in range(ROUNDS[who]):
        for size, (names, outputs) in inputs.items():
            executions = [begun(who) for _ in range(MILLION // size)]
            settle()
            began = time.process_time_ns()
            for execution in executions:
                work(execution, names, outputs)
            took = (time.process_time_ns() - began) / MILLION
            best[size] = min(took, best.get(size, took))
            if turn == ROUNDS[who] - 1:
                check(executions[-1], names, outputs)
            del executions, execution
    return best


def measured(workload: str, who: str) -> dict[str, float]:
    """The same in a fresh process."""
    command = [sys.executable, __file__, workload, who]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(measure(*sys.argv[1:])))
    else:
        for workload, who in GROWTH:
            if who in MAKERS:
                found = [f"{size:>9}: {ns:6.0f} ns" for size, ns in measured(workload, who).items()]
                print(f"{workload:11} {who:7}", *found)
