"""A quick look at the speed, for a gate: 20,000 steps one by one, hand-written, native and pure in turns.

    python benches/quick.py

Prints the nanoseconds of processor time per step, the best of five turns, as JSON.
"""

import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from workload import MAKERS, begun, check, names_of, one_by_one, outputs_of, settle

STEPS = 20_000
TURNS = 5


def main() -> None:
    names, outputs = names_of(STEPS), outputs_of(STEPS)
    for who in MAKERS:
        execution = begun(who)
        one_by_one(execution, names[:100], outputs[:100])
        check(execution, names[:100], outputs[:100])
    best: dict[str, float] = {}
    for _ in range(TURNS):
        for who in MAKERS:
            execution = begun(who)
            settle()
            start = time.process_time_ns()
            one_by_one(execution, names, outputs)
            took = (time.process_time_ns() - start) / STEPS
            best[who] = min(took, best.get(who, took))
            check(execution, names, outputs)
    print(json.dumps(best))


if __name__ == "__main__":
    main()
