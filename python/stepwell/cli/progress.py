"""Progress on the standard error: a live line on a terminal, now and then a plain one elsewhere."""

import sys
import time
from typing import Final, Self

from ..runtime.core import Execution, Step
from .terminal import Console, Live, Text
from .text import safe

_LINE_EVERY_S: Final = 2.0


class Progress:
    """A hook of a kernel that counts steps and says so on the standard error."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._done = 0
        self._failed = 0
        self._before = 0
        self._running: dict[str, str] = {}
        self._begun = time.monotonic()
        self._said = self._begun
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if not self._quiet and sys.stderr.isatty():
            self._live = Live(
                self._line(), console=Console(stderr=True), refresh_per_second=8, transient=True
            )
            self._live.__enter__()
        return self

    def __exit__(self, *about: object) -> None:
        if self._live is not None:
            self._live.__exit__(None, None, None)
            self._live = None

    def execution_started(self, execution: Execution, replay: bool) -> None:
        """Part of the hook."""
        self._before += sum(1 for step in execution.steps.values() if step.is_terminal)
        if not self._quiet and replay:
            again = f"stepwell: {execution.id} goes on, {self._before} steps are recorded already"
            print(again, file=sys.stderr)

    def step_started(self, _execution: Execution, step: Step) -> None:
        """Part of the hook."""
        self._running[step.id] = step.name
        self._show()

    def step_ended(self, _execution: Execution, step: Step) -> None:
        """Part of the hook."""
        self._running.pop(step.id, None)
        if step.is_terminal:
            self._done += 1
            self._failed += str(step.state) == "failed"
        self._show()

    def _line(self) -> Text:
        took = time.monotonic() - self._begun
        current = next(reversed(self._running.values()), "") if self._running else ""
        failed = f", {self._failed} failed" if self._failed else ""
        return Text(
            f"{self._before + self._done} steps done{failed}, {len(self._running)} running, "
            f"{self._done / took if took > 0 else 0:.0f}/s  {safe(current, 60)}"
        )

    def _show(self) -> None:
        now = time.monotonic()
        if self._quiet or now - self._said < (0.1 if self._live is not None else _LINE_EVERY_S):
            return
        self._said = now
        if self._live is not None:
            self._live.update(self._line())
        else:
            print(f"stepwell: {self._line().plain}", file=sys.stderr, flush=True)


class Counting:
    """Progress of a command that goes through executions: called with how many it has done, and their records."""

    def __init__(self, what: str, quiet: bool) -> None:
        self._what = what
        self._quiet = quiet
        self._said = time.monotonic()
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if not self._quiet and sys.stderr.isatty():
            self._live = Live(console=Console(stderr=True), refresh_per_second=8, transient=True)
            self._live.__enter__()
        return self

    def __exit__(self, *about: object) -> None:
        if self._live is not None:
            self._live.__exit__(None, None, None)
            self._live = None

    def __call__(self, executions: int, records: int) -> None:
        """Says so, now and then."""
        now = time.monotonic()
        if self._quiet or now - self._said < (0.1 if self._live is not None else _LINE_EVERY_S):
            return
        self._said = now
        line = f"{self._what} {executions:,} executions, {records:,} records"
        if self._live is not None:
            self._live.update(Text(line))
        else:
            print(f"stepwell: {line}", file=sys.stderr, flush=True)
