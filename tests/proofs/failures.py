"""The n-th system call of a store fails, for every n: once, for a while, or from then on.

strace makes it fail: input and output errors, a full disk, a lock that another process holds, too many open files.
Whatever was reported done is there, whatever failed is done once when it is asked for again, nothing hangs, and the
store object goes on.
"""

import json
import os
import random
import select
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from itertools import count as counting
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

from proofs.command import Figures, Progress, Violation, check, main
from proofs.plan import plan
from proofs.reading import PARTS, STORE, Reader, memory
from proofs.trace import strace

SECONDS: Final = 60
FAULTS: Final = {
    ("pwrite64", "EIO"): {"StoreError"},
    ("pwrite64", "ENOSPC"): {"StoreFull", "StoreError"},
    ("pread64", "EIO"): {"StoreError", "StoreCorrupt"},
    ("fdatasync", "EIO"): {"StoreError"},
    ("fsync", "EIO"): {"StoreError"},
    ("ftruncate", "EIO"): {"StoreError"},
    ("unlink", "EIO"): {"StoreError"},
    ("openat", "EMFILE"): {"StoreError", "StoreReadOnly"},
    ("fcntl", "EAGAIN"): {"StoreBusy", "StoreError"},
}
"""Which calls fail and how, and the errors that may be reported.

SQLite itself says that a file is malformed when the disk cannot read it; it opens a file for reading only when it could
not open it for writing; and a lock that cannot be given up is an I/O error to it.
"""
KINDS: Final = {"once": "{n}", "a while": "{n}..{end}", "on": "{n}+"}
WHILE: Final = 6
TRIES: Final = 10
"""So often a request is made at most where the fault has an end."""


class Fault(NamedTuple):
    """Which calls fail, how, and when."""

    call: str
    error: str
    kind: str
    n: int

    @property
    def option(self) -> str:
        """For strace."""
        when = KINDS[self.kind].format(n=self.n, end=self.n + WHILE)
        return f"inject={self.call}:error={self.error}:when={when}"

    def __str__(self) -> str:
        return f"{self.call} {self.error} {self.kind} from {self.n}"


class Nursery:
    """The process that makes the children whose calls fail."""

    def __init__(self, backend: str, folder: Path) -> None:
        environment = {
            **os.environ,
            "STEPWELL_BACKEND": backend,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        }
        self._log = folder / "calls"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "proofs.failing", backend],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment,
        )  # fmt: skip
        self._rest = b""
        assert self._line() == "ready"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin
        assert self._process.stdout
        if kind is not None:
            self._process.kill()
        self._process.stdin.close()
        self._process.wait(SECONDS)
        self._process.stdout.close()

    def _line(self) -> str:
        assert self._process.stdout
        handle = self._process.stdout.fileno()
        while b"\n" not in self._rest:
            if not select.select([handle], [], [], SECONDS)[0]:
                raise Violation(f"it hangs: nothing was heard for {SECONDS} s")
            more = os.read(handle, 1 << 16)
            if not more:
                raise Violation("the process that makes the others has ended")
            self._rest += more
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode()

    def _say(self, line: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(f"{line}\n".encode())
        self._process.stdin.flush()

    def run(self, path: Path, options: list[str], lasting: bool = False) -> tuple[dict[str, Any], list[str]]:
        """What a child that writes there saw, and the lines of its calls."""
        self._say(json.dumps([str(path), 2 if lasting else TRIES]))
        child = int(self._line())
        command = [strace(), "-f", "-p", str(child), "-o", str(self._log), *options]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
            assert tracer.stderr
            try:
                attached = tracer.stderr.readline()
                assert "attached" in attached, f"strace cannot attach to a process: {attached}"
                self._say("go")
                line = self._line()
                while line == "enough":
                    if not lasting:
                        tracer.terminate()
                        tracer.wait(SECONDS)
                    self._say("go")
                    line = self._line()
                said = json.loads(line)
                if self._line() != "0":
                    raise Violation("the process was ended by a signal")
            except BaseException:
                os.kill(child, 9)
                tracer.kill()
                raise
            tracer.communicate(timeout=SECONDS)
        return said, self._log.read_text(encoding="ascii", errors="replace").splitlines()


class Proof:
    """Runs of one backend in one folder."""

    def __init__(self, backend: str, folder: Path, nursery: Nursery) -> None:
        self._folder, self._nursery = folder, nursery
        self._plan = plan("short")
        self.reader = Reader(self._plan, backend, folder)
        self.seen: Counter[str] = Counter()
        self.errors: dict[str, Counter[str]] = {}
        self.wrong: list[str] = []

    def calls(self) -> dict[str, list[int]]:
        """Which calls there are of each kind, by number, when nothing fails; without those that give a lock up.

        SQLite does not expect those to fail, and in WAL mode tries for ten seconds to get past the lock that stays.
        """
        names = ",".join({call for call, _ in FAULTS})
        _, lines = self._run(["-e", f"trace={names}"])
        threads: dict[tuple[str, str], list[bool]] = {}
        for line in lines:
            thread, _, text = line.partition(" ")
            if "resumed>" not in text and "(" in text:
                counted = threads.setdefault((thread, text.strip().partition("(")[0]), [])
                counted.append("F_UNLCK" not in text)
        found: dict[str, list[int]] = {call: [] for call, _ in FAULTS}
        for call, numbers in found.items():
            same = [counted for (_, name), counted in threads.items() if name == call]
            for n in range(1, max(map(len, same), default=0) + 1):
                if all(counted[n - 1] for counted in same if len(counted) >= n):
                    numbers.append(n)
        return found

    def _run(self, options: list[str], lasting: bool = False) -> tuple[dict[str, Any], list[str]]:
        for name in PARTS:
            (self._folder / name).unlink(missing_ok=True)
        return self._nursery.run(self._folder / STORE, options, lasting)

    def attempt(self, fault: Fault) -> bool:
        """One run; whether any call failed in it."""
        began = time.monotonic()
        said, lines = self._run(["-e", f"trace={fault.call}", "-e", fault.option], fault.kind == "on")
        self.seen["slowest, s"] = max(self.seen["slowest, s"], round(time.monotonic() - began))
        hits = sum("(INJECTED)" in line for line in lines)
        self.seen["runs"] += 1
        self.seen["calls failed"] += hits
        self.seen["errors reported"] += len(said["errors"])
        self.errors.setdefault(f"{fault.call} {fault.error}", Counter()).update(said["errors"])
        if not set(said["errors"]) <= FAULTS[fault.call, fault.error]:
            self.wrong.append(f"{fault}: it is reported as {said['errors']}: {said['messages']}")
        self.wrong += [f"{fault}: {each}" for each in said["wrong"]]
        requests = len(self._plan.requests)
        if fault.kind != "on" and not (said["whole"] and said["done"] == requests):
            self.wrong.append(f"{fault}: it does not go on when the cause is gone, after {said['errors']}")
        try:
            prefix = self.reader.look()
        except Violation as violation:
            self.wrong.append(f"{fault}: afterwards: {violation}")
            return hits > 0
        if not said["done"] <= prefix <= requests:
            self.wrong.append(f"{fault}: {said['done']} requests were acknowledged, {prefix} are there")
        if said["whole"]:
            self.seen["went on"] += 1
        return hits > 0


def faults(proof: Proof, count: int, draw: random.Random) -> Iterator[tuple[Fault, bool]]:
    """Every call and every way to fail with every n, or so many of them; each with whether it was a hit."""
    usual = proof.calls()
    for call, error in FAULTS:
        few = count < len(usual[call])
        for kind in KINDS:
            if few and call == "fcntl" and kind != "once":
                continue  # sooner or later it would be one that gives a lock up
            chosen = iter(sorted(draw.sample(usual[call], count))) if few else counting(1)
            for n in chosen:
                fault = Fault(call, error, kind, n)
                hit = proof.attempt(fault)
                yield fault, hit
                if not hit:
                    break


def prove(count: int, backend: str, folder: Path, draw: random.Random) -> Figures:
    """At most so many n for each call, error and way to fail."""
    with tempfile.TemporaryDirectory(dir=memory(folder)) as name, Nursery(backend, Path(name)) as nursery:
        place = Path(name).resolve() / "store"
        place.mkdir()
        proof = Proof(backend, place, nursery)
        progress = Progress(f"failures {backend}")
        most: Counter[str] = Counter()
        for number, (fault, hit) in enumerate(faults(proof, count, draw), 1):
            if hit:
                most[f"{fault.call} {fault.error}"] = max(most[f"{fault.call} {fault.error}"], fault.n)
            progress.show(number, number, str(fault))
            if len(proof.wrong) >= 10:
                break
    if not proof.seen["errors reported"]:
        proof.wrong.append("no error was reported: the proof sees nothing")
    errors = {fault: dict(seen) for fault, seen in proof.errors.items() if seen}
    return check(proof.wrong, {**proof.seen, "highest n": dict(most), "errors": errors})


if __name__ == "__main__":
    sys.exit(main("failures", prove, "count", 100_000, __doc__))
