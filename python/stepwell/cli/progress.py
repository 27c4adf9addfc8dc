"""Progress on the standard error: a live line on a terminal, now and then a plain one elsewhere."""

import sys
import time
from collections.abc import Container
from typing import Final, Self

from .._spec import STEP_TERMINAL, StepType
from ..runtime.core import Execution, Step
from .terminal import Console, Live, Text
from .text import safe

_LINE_EVERY_S: Final = 2.0
_BAR: Final = 24


class Batch:
    """How far one `parallel` or `map` is: how many of its branches have ended."""

    def __init__(self, step: Step, total: int) -> None:
        self.step = step
        self.total = total
        self.done = 0

    def line(self, width: int) -> str:
        """In words, with a bar of that width before them."""
        full = min(width, width * self.done // self.total) if self.total else width
        bar = "█" * full + "░" * (width - full) + " " if width else ""
        return f"{bar}{safe(self.step.name, 40)} {self.done:,} of {self.total:,}"


class Branches:
    """Counts the branches of batches. Hooks tell of steps that run code; their parents say which branch that is in."""

    def __init__(self) -> None:
        self._batches: dict[str, Batch] = {}
        self._open: dict[str, tuple[Step, Batch]] = {}
        self._latest: Batch | None = None

    def taken_up(self, execution: Execution) -> None:
        """Counts what is recorded already."""
        for step in execution.steps.values():
            batch = self._batch_over(execution, step)
            if batch is not None and step.state in STEP_TERMINAL:
                batch.done += 1

    def started(self, execution: Execution, step: Step) -> None:
        """An attempt of this step begins."""
        at: Step | None = step
        while at is not None:
            batch = self._batch_over(execution, at)
            if batch is not None:
                self._open.setdefault(at.id, (at, batch))
                self._latest = batch  # in the end the outermost
            at = None if at.parent_step_id is None else execution.get_step(at.parent_step_id)

    def _batch_over(self, execution: Execution, step: Step) -> Batch | None:
        above = step.parent_step_id
        if above is None:
            return None
        if above in self._batches:
            return self._batches[above]
        parent = execution.get_step(above)
        given = None if parent is None or parent.step_type != StepType.SCOPE else parent.input
        if parent is None or not isinstance(given, dict) or not isinstance(given.get("branches"), int):
            return None
        batch = self._batches[above] = Batch(parent, given["branches"])
        return batch

    def current(self, running: Container[str]) -> Batch | None:
        """The outermost batch of the latest step, counted up to now; `None` where there is none or it has ended.

        A branch that is one of the `running` steps has not ended before its hook is told.
        """
        for branch, (step, batch) in list(self._open.items()):
            if branch not in running and step.state in STEP_TERMINAL:
                del self._open[branch]
                batch.done += 1
        latest = self._latest
        return None if latest is None or latest.step.state in STEP_TERMINAL else latest


class Progress:
    """A hook of a kernel that counts steps and branches and says so on the standard error."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._done = 0
        self._failed = 0
        self._before = 0
        self._running: dict[str, str] = {}
        self._branches = Branches()
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
        if replay:
            self._branches.taken_up(execution)
        if not self._quiet and replay:
            again = f"stepwell: {execution.id} goes on, {self._before} steps are recorded already"
            print(again, file=sys.stderr)

    def step_started(self, execution: Execution, step: Step) -> None:
        """Part of the hook."""
        self._branches.started(execution, step)
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
        batch = self._branches.current(self._running)
        of_batch = "" if batch is None else f"  {batch.line(0 if self._live is None else _BAR)}"
        return Text(
            f"{self._before + self._done} steps done{failed}, {len(self._running)} running, "
            f"{self._done / took if took > 0 else 0:.0f}/s{of_batch}  {safe(current, 60)}"
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
