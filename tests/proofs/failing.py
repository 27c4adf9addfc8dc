"""The process whose system calls fail: `python -m proofs.failing BACKEND` makes one after the other, each by a fork.

It reads lines, the path of a store and how often a request is made at most, in JSON, and says the process id of the
child that waits to write there. With `go` the child does so, says in a line of JSON what it has seen, and ends; then
the exit code is said. Before that it may say `enough`, and wait for another `go`: strace counts the calls of each
thread, and a store that could not be opened is opened again in a new one, where the same call would fail for ever.
"""

import ctypes
import json
import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

from proofs.plan import TENANT, Plan, Request, plan
from stepwell.errors import StoreError
from stepwell.store.sqlite import SqliteSource, SqliteStore

T = TypeVar("T")

SECONDS: Final = 20
BUSY_SECONDS: Final = 0.1


class GivenUp(Exception):
    """A request failed as often as it was made."""


class Child:
    """Carries a plan out, and makes every request again until it is done."""

    def __init__(self, path: str, backend: str, what: Plan, tries: int, enough: Callable[[], object]) -> None:
        self._tries, self._enough = tries, enough
        self._source = SqliteSource(path, busy_seconds=BUSY_SECONDS, backend=backend)
        self._plan = what
        self.done = 0
        self.errors: list[str] = []
        self.messages: set[str] = set()
        self.wrong: list[str] = []

    def report(self) -> dict[str, Any]:
        """What it has seen: how many requests were done, which errors came, and what was wrong."""
        whole = False
        try:
            self._store = self._opened()
            try:
                self._work()
                self._read()
                whole = True
            finally:
                self._store.close()
        except GivenUp:
            pass
        except Exception as error:  # noqa: BLE001 - whatever it is, it ought not to come
            self.wrong.append("".join(traceback.format_exception(error))[-1500:])
        seen = {"errors": self.errors, "messages": sorted(self.messages), "wrong": self.wrong}
        return {"done": self.done, "whole": whole, **seen}

    def _insist(self, work: Callable[[], T]) -> T:
        for _ in range(self._tries):
            try:
                return work()
            except StoreError as error:
                self.errors.append(type(error).__name__)
                self.messages.add(str(error).rpartition("/")[2])
        raise GivenUp

    def _opened(self) -> SqliteStore:
        def work() -> SqliteStore:
            try:
                return self._source.open(TENANT)
            except StoreError:
                self._enough()
                raise

        return self._insist(work)

    def _work(self) -> None:
        for action in self._plan.actions:
            if action == "reopen":
                self._store.close()
                self._store = self._opened()
            elif action == "checkpoint":
                self._insist(lambda: self._store.rows("checkpoint").wait(SECONDS))
            else:
                self._ask([request for request in action if not isinstance(request, str)])

    def _ask(self, requests: list[Request]) -> None:
        """Makes requests together, and those that failed again."""
        tickets = [request.ask(self._store) for request in requests]
        for request, ticket in zip(requests, tickets, strict=True):
            first = [ticket]

            def again(request: Request = request, first: list[Any] = first) -> Any:
                return (first.pop() if first else request.ask(self._store)).wait(SECONDS)

            answer = self._insist(again)
            if answer != (request.last if request.after >= 0 else (request.execution, True)):
                self.wrong.append(f"the answer to a request is {answer!r}")
            self.done += 1
            row = self._insist(lambda request=request: self._store.get(request.execution).wait(SECONDS))
            if row.version < request.last or row.epoch != 1:
                self.wrong.append(f"record {request.last} was acknowledged, the row says {row.version}")

    def _read(self) -> None:
        for whose, records in self._plan.everything.items():
            found = self._insist(lambda whose=whose: self._store.load(whose).wait(SECONDS))
            if found != records:
                self.wrong.append(
                    f"{whose} has {len(found)} records, not the {len(records)} that were written"
                )


def _allow_tracing() -> None:
    """Where a system lets only parents trace, strace is none."""
    set_tracer, anybody = 0x59616D61, ctypes.c_ulong(-1)
    ctypes.CDLL(None).prctl(set_tracer, anybody, 0, 0, 0)  # an error means that it is not needed


def _wait() -> None:
    assert os.read(0, 4096) == b"go\n"


def _enough() -> None:
    os.write(1, b"enough\n")
    _wait()


def main() -> None:
    backend, what = sys.argv[1], plan("short")
    with tempfile.TemporaryDirectory() as folder:  # so that nothing has to be loaded while calls fail
        first = Child(str(Path(folder) / "runs.db"), backend, what, 1, lambda: None).report()
        assert first["whole"], first
    os.write(1, b"ready\n")
    while line := os.read(0, 4096).decode().strip():
        child = os.fork()
        if child == 0:
            _allow_tracing()
            os.write(1, b"%d\n" % os.getpid())
            _wait()
            path, tries = json.loads(line)
            said = json.dumps(Child(path, backend, what, tries, _enough).report())
            os.write(1, f"{said}\n".encode())
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        os.write(1, b"%d\n" % code)


if __name__ == "__main__":
    main()
