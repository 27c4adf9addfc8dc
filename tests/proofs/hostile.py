"""Stores, exports and journals that somebody made up or broke, through every reader.

    make prove-hostile MINUTES=60                                      on both backends
    PYTHONPATH=tests python -m proofs.hostile --backends pure --case 17-4711   one of them again, here

What must hold: nothing but typed errors, no panic, no hang, no thread or file left behind, and bounded memory.
The cases run in a process whose memory is limited, and are counted by another, which ends one that does not go on.
"""

import argparse
import os
import queue
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from backends import BACKENDS

HERE = Path(__file__).parent
HANGS_AFTER = 60.0
"""Seconds without a sign of life."""


class Ran(NamedTuple):
    """What a run over many cases came to: how many of each kind ended how, and what went wrong."""

    cases: int
    ended: Counter[str]
    wrong: list[str]


def run(
    backend: str, folder: Path, seed: int, *, cases: int | None = None, seconds: float | None = None
) -> Ran:
    """Runs cases of one backend: so many of them, or for so long."""
    began = time.monotonic()
    ended: Counter[str] = Counter()
    wrong: list[str] = []
    number = 0
    while not wrong:
        left = None if seconds is None else seconds - (time.monotonic() - began)
        if (left is not None and left <= 0) or (cases is not None and number >= cases):
            break
        process = start(backend, folder, seed, number, cases, left)
        last = "the start"
        for line in signs_of_life(process):
            word, _, rest = line.strip().partition(" ")
            if word == "case":
                last, number = rest, number + 1
            elif word == "ended":
                ended[rest] += 1
            else:
                wrong.append(f"{backend}, case {last}: {line.strip()}")
        code = process.wait()
        if code:
            wrong.append(f"{backend}, case {last}: it ended with {code}")
    return Ran(number, ended, wrong)


def start(
    backend: str, folder: Path, seed: int, first: int, cases: int | None, seconds: float | None
) -> "subprocess.Popen[str]":
    command = [sys.executable, "-W", "error", "-X", "faulthandler", "-m", "proofs.hostile_child"]
    command += [str(folder), str(seed), str(first), str(cases or -1), str(seconds or -1)]
    paths = [str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    kept = {**os.environ, "STEPWELL_BACKEND": backend, "PYTHONPATH": os.pathsep.join(paths)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=kept)


def signs_of_life(process: "subprocess.Popen[str]") -> Iterator[str]:
    """The lines of a process; where none comes for too long it is ended, and that is the last line."""
    lines: queue.Queue[str] = queue.Queue()
    assert process.stdout is not None
    stream = process.stdout

    def read() -> None:
        for line in stream:
            lines.put(line)
        lines.put("")

    reader = threading.Thread(target=read)
    reader.start()
    try:
        while line := lines.get(timeout=HANGS_AFTER):
            yield line
    except queue.Empty:
        process.kill()
        yield f"hung: no sign of life for {HANGS_AFTER:.0f} s"
    finally:
        if process.poll() is None and process.stdout.closed:
            process.kill()
        reader.join()
        stream.close()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backends", nargs="+", default=BACKENDS)
    parser.add_argument("--minutes", type=float, default=10, help="of each backend")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    parser.add_argument("--case", help="one case again: seed and number, as they were printed")
    asked = parser.parse_args()
    wrong: list[str] = []
    for backend in asked.backends:
        with tempfile.TemporaryDirectory() as folder:
            if asked.case:
                from proofs import hostile_child

                seed, _, number = asked.case.partition("-")
                hostile_child.run(Path(folder), int(seed), int(number), int(number) + 1, None)
                continue
            ran = run(backend, Path(folder), asked.seed, seconds=asked.minutes * 60)
        print(f"{backend}: {ran.cases} cases, seed {asked.seed}")
        for what, count in sorted(ran.ended.items()):
            print(f"  {what:40} {count:8}")
        wrong += ran.wrong
    print("\n".join(wrong) or "nothing but typed errors")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
