"""Runs an example as its users do, kills it with the real signal, and reads what it left in its store."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stepwell import Execution
from stepwell.store import ExecutionRow
from stepwell.store.sqlite import SqliteSource
from waiting import until

EXAMPLES = Path(__file__).parents[2] / "examples"


class Example:
    """One example with a folder of its own, in which any number of processes run, one after the other or at once."""

    def __init__(self, name: str, folder: Path, backend: str, **environment: str) -> None:
        self.command = [sys.executable, "-W", "error", str(EXAMPLES / f"{name}.py")]
        self.folder = folder
        self.backend = backend
        self.out = folder / "out"
        self.out.touch()
        url = f"sqlite:///{folder / 'runs.db'}"
        clean = {key: value for key, value in os.environ.items() if not key.startswith("STEPWELL_")}
        given = {"STEPWELL_BACKEND": backend, f"{name.upper()}_STORE": url, "PYTHONIOENCODING": "utf-8"}
        self.environment = clean | given | environment
        self._all: list[subprocess.Popen[bytes]] = []

    def start(self, *arguments: str) -> "subprocess.Popen[bytes]":
        """A process whose output is added to that of the earlier ones."""
        with self.out.open("ab") as out:
            process = subprocess.Popen(
                [*self.command, *arguments],
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env=self.environment,
            )
        self._all.append(process)
        return process

    def run(self, *arguments: str, code: int = 0) -> list[str]:
        """The lines of a process that comes to its end."""
        before = len(self.lines())
        process = self.start(*arguments)
        assert process.wait(60) == code, self.out.read_text()
        return self.lines()[before:]

    def lines(self) -> list[str]:
        """What all of them have printed, whole lines."""
        return self.out.read_text("utf-8").split("\n")[:-1]

    def kill(self, process: "subprocess.Popen[bytes]") -> None:
        """With the real signal, at once."""
        process.kill()
        process.wait(30)

    def kill_when(self, condition: Callable[[], object], *arguments: str) -> bool:
        """Starts one and kills it when that holds; `False` where it came to its end before."""
        process = self.start(*arguments)
        until(lambda: process.poll() is not None or condition())
        alive = process.poll() is None
        self.kill(process)
        return alive

    def rows(self) -> list[ExecutionRow]:
        """The executions in the store."""
        if not (self.folder / "runs.db").exists():
            return []
        with self._store() as store:
            return list(store.list().wait(30))

    def until_state(self, state: str, reason: str | None = None) -> None:
        """Returns when the newest execution is recorded as being in this state."""
        until(lambda: self.is_in_state(state, reason))

    def is_in_state(self, state: str, reason: str | None = None) -> bool:
        """Whether it is."""
        return [(row.state, row.wait_reason) for row in self.rows()[:1]] == [(state, reason)]

    def execution(self) -> Execution:
        """The newest execution, as it is recorded."""
        with self._store() as store:
            (row, *_) = store.list().wait(30)
            records, after = [], -1
            while page := store.load(row.id, after).wait(30):
                records += page
                after = page[-1][0]
        return Execution.replay(row.id, records, schema_version=row.schema_version)

    def ended(self) -> set[tuple[str, str]]:
        """Name and input of each step that is recorded as completed."""
        if not self.rows():
            return set()
        steps = self.execution().steps.values()
        return {(step.name, json.dumps(step.input)) for step in steps if step.state == "completed"}

    @contextmanager
    def _store(self) -> Iterator[Any]:
        # With the processes' own engine: one that brings another SQLite may want another mode of the file.
        store = SqliteSource(self.folder / "runs.db", backend=self.backend).open("example")
        try:
            yield store
        finally:
            store.close()

    def close(self) -> None:
        """Ends what still runs."""
        for process in self._all:
            if process.poll() is None:
                self.kill(process)
