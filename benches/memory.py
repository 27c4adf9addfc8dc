"""Bytes of memory per finished step without payload, once the journal is drained.

    python benches/memory.py                        a table of all, each measured in a process of its own
    python benches/memory.py "in bulk" native       one of them, in this process, as a number

A million steps are started and completed, one by one or a thousand in a call (pure: 200,000, it takes longest and is no
gate); the journal is drained every thousand and let go of, as a service does it. What the process holds resident
afterwards, less what it held before the first of them, is divided by the steps. Resident pages are counted and not
allocations, since they are what a machine runs out of; before each reading garbage is collected and the allocator gives
free pages back, so that what was only needed on the way does not count. (A peak, as `ru_maxrss` has it, would count
that, and the interpreter's start as well.)
"""

import gc
import os
import subprocess
import sys
from pathlib import Path

from allocators import give_back
from targets import MEMORY, ONE_BY_ONE
from workload import MAKERS, MILLION, begun, in_bulk_bare, names_of, one_by_one_bare

STEPS = {"hand": MILLION, "native": MILLION, "pure": 200_000}
DRAINED_EVERY = 1000
WARM_UP = 2000


def resident() -> int:
    """The resident bytes of this process, without what can be given back."""
    gc.collect()
    give_back()
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    listed = subprocess.run(
        ["ps", "-o", "rss=", "-p", str(os.getpid())], capture_output=True, text=True, check=True
    )
    return int(listed.stdout) * 1024


def record(workload: str, who: str, count: int) -> object:
    execution, names = begun(who), names_of(DRAINED_EVERY)
    work = one_by_one_bare if workload == ONE_BY_ONE else in_bulk_bare
    for _ in range(count // DRAINED_EVERY):
        work(execution, names)
        execution.drain()
    return execution


def measure(workload: str, who: str) -> float:
    """The bytes per step, in this process; only the first measurement of a process is good."""
    record(workload, who, WARM_UP)
    before = resident()
    execution = record(workload, who, STEPS[who])
    used = resident() - before
    assert len(execution.steps) == STEPS[who]  # type: ignore[attr-defined]
    return used / STEPS[who]


def measured(workload: str, who: str) -> float:
    """The same in a fresh process."""
    command = [sys.executable, __file__, workload, who]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(measure(*sys.argv[1:]))
    else:
        for workload, who in MEMORY:
            if who in MAKERS:
                print(f"{workload:11} {who:7} {measured(workload, who):6.0f} bytes per step")
