"""Bytes of memory per finished step without payload, once the journal is drained.

    python benches/memory.py            a table of all, each measured in a process of its own
    python benches/memory.py native     one of them, in this process, as a number

A million steps are started and completed one by one (pure: 200,000, it takes longest and is no gate); the journal is
drained every thousand and let go of, as a service does it. What the process holds resident afterwards, less what it
held before the first of them, is divided by the steps. Resident pages are counted and not allocations, since they are
what a machine runs out of; before each reading garbage is collected and the allocator gives free pages back, so that
what was only needed on the way does not count. (A peak, as `ru_maxrss` has it, would count that, and the interpreter's
start as well.)
"""

import ctypes
import gc
import os
import subprocess
import sys
from pathlib import Path

STEPS = {"hand": 1_000_000, "native": 1_000_000, "pure": 200_000}
DRAINED_EVERY = 1000
WARM_UP = 2000


def resident() -> int:
    """The resident bytes of this process, without what can be given back."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim is not None:
        trim(0)
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    listed = subprocess.run(
        ["ps", "-o", "rss=", "-p", str(os.getpid())], capture_output=True, text=True, check=True
    )
    return int(listed.stdout) * 1024


def record(who: str, count: int) -> object:
    from workload import begun

    execution = begun(who)
    start, complete, drain = execution.start_step, execution.complete_step, execution.drain
    for index in range(count):
        complete(start("fetch").id)
        if index % DRAINED_EVERY == 0:
            drain()
    drain()
    return execution


def measure(who: str) -> float:
    """The bytes per step, in this process; only the first measurement of a process is good."""
    record(who, WARM_UP)
    before = resident()
    execution = record(who, STEPS[who])
    used = resident() - before
    assert len(execution.steps) == STEPS[who]  # type: ignore[attr-defined]
    return used / STEPS[who]


def measured(who: str) -> float:
    """The same in a fresh process."""
    done = subprocess.run([sys.executable, __file__, who], capture_output=True, text=True, check=True)
    return float(done.stdout)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(measure(sys.argv[1]))
    else:
        from workload import MAKERS

        for name in MAKERS:
            print(f"{name:8} {measured(name):6.0f} bytes per step")
