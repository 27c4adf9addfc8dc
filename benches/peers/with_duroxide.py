"""duroxide by its Python package, with its SQLite provider: an orchestration that schedules activities.

As https://github.com/microsoft/duroxide-python (README, docs/user-guide.md) has it, with the runtime options that the
guide shows. Its dispatchers poll, every 100 ms there as by default, and that is most of what a step takes.
What the provider sets of SQLite is in the source of the crate, `src/providers/sqlite.rs`: WAL, and a `synchronous` of
"WAL", which that pragma does not know: SQLite takes it for NORMAL. Its connection cannot be asked. Now and then one of
many workflows at once ends as failed, "database is locked"; the task is then done again, and that is shown.

The one that is resumed waits for an event when it is killed, not in a step, whose lock would have to run out first. Its
steps are fanned out by the hundred, since one after the other they would take longer than all the rest. A replay goes
through the whole history in either case.
"""

import os
from pathlib import Path
from typing import Any

import work
from work import LONG, Peer, main

os.environ.setdefault("RUST_LOG", "off")  # "database is locked" is a warning of every other step

from duroxide import Client, Runtime, RuntimeOptions, SqliteProvider

PATIENCE_MS = 600_000
TOGETHER = 100


def double(context: Any, number: int) -> int:
    return work.work(number)


def total(context: Any, steps: int) -> Any:
    found = 0
    for number in range(steps):
        found += yield context.schedule_activity("double", number)
    return found


def total_left(context: Any, steps: int) -> Any:
    found = 0
    for first in range(0, steps, TOGETHER):
        numbers = range(first, min(first + TOGETHER, steps))
        results = yield context.all([context.schedule_activity("double", number) for number in numbers])
        found += sum(result["ok"] for result in results)
    context.set_custom_status("waits")
    yield context.wait_for_event("go on")
    found += yield context.schedule_activity("double", steps)
    return found


class Duroxide(Peer):
    packages = ("duroxide",)

    def open(self, folder: Path) -> None:
        provider = SqliteProvider.open(str(folder / "duroxide.db"))
        options = RuntimeOptions(
            orchestration_concurrency=4, worker_concurrency=8, dispatcher_poll_interval_ms=100
        )
        self.runtime = Runtime(provider, options)
        self.runtime.register_activity("double", double)
        self.runtime.register_orchestration("total", total)
        self.runtime.register_orchestration("total-left", total_left)
        self.runtime.start()
        self.client = Client(provider)

    def _result(self, name: str) -> int:
        done = self.client.wait_for_orchestration(name, PATIENCE_MS)
        if done.status != "Completed":
            raise SystemExit(f"{name} is {done.status}: {done.error}")
        return int(done.output)

    def series(self, names: list[str], steps: int) -> list[int]:
        found = []
        for name in names:
            self.client.start_orchestration(name, "total", steps)
            found.append(self._result(name))
        return found

    def at_once(self, names: list[str], steps: int) -> list[int]:
        for name in names:
            self.client.start_orchestration(name, "total", steps)
        return [self._result(name) for name in names]

    def leave(self, name: str, steps: int) -> None:
        self.client.start_orchestration(name, "total-left", steps)
        seen = self.client.wait_for_status_change(name, 0, 50, PATIENCE_MS)
        if seen.custom_status != "waits":
            raise SystemExit(f"{name} is {seen.status}: {seen.error}")
        work.die()

    def resume(self, name: str, steps: int) -> int:
        self.client.raise_event(LONG, "go on")
        return self._result(name)

    def mode(self) -> str:
        return "WAL, NORMAL"

    def close(self) -> None:
        self.runtime.shutdown(1_000)


if __name__ == "__main__":
    main(Duroxide)
