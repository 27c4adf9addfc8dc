"""eventsourcing with its SQLite module: an aggregate is a workflow, each step an event of it that is saved by itself.

As https://pypi.org/project/eventsourcing has it: the environment names `eventsourcing.sqlite` and the file, an
`Application` saves aggregates with `@event` methods. The module sets WAL and leaves `synchronous` as the default is.
It runs no workflows: the loop, and going on where one was left, are written here. The aggregate is rebuilt from its
events, with neither the snapshots nor the cache that are also offered: with them there is little to read back. Many at
once are threads.
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

import work
from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event
from work import Peer, asked, main


class Run(Aggregate):
    class Started(Aggregate.Created):
        name: str

    @event(Started)
    def __init__(self, name: str) -> None:
        self.number = 0
        self.total = 0

    @staticmethod
    def create_id(name: str) -> UUID:
        return uuid5(NAMESPACE_URL, name)

    @event("StepCompleted")
    def complete_step(self, value: int) -> None:
        self.number += 1
        self.total += value


class Runs(Application[UUID]):
    def go_on(self, run: Run, steps: int) -> int:
        while run.number < steps:
            run.complete_step(work.work(run.number))
            self.save(run)
        return run.total

    def start(self, name: str, steps: int) -> int:
        run = Run(name)
        self.save(run)
        return self.go_on(run, steps)

    def resume(self, name: str, steps: int) -> int:
        run: Any = self.repository.get(Run.create_id(name))
        return self.go_on(run, steps)


class EventSourcing(Peer):
    packages = ("eventsourcing",)

    def open(self, folder: Path) -> None:
        self.app = Runs(
            env={"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": str(folder / "events.sqlite")}
        )

    def series(self, names: list[str], steps: int) -> list[int]:
        return [self.app.start(name, steps) for name in names]

    def at_once(self, names: list[str], steps: int) -> list[int]:
        with ThreadPoolExecutor(len(names)) as pool:
            return list(pool.map(lambda name: self.app.start(name, steps), names))

    def resume(self, name: str, steps: int) -> int:
        return self.app.resume(name, steps + 1)

    def mode(self) -> str:
        factory: Any = self.app.factory
        with factory.datastore.get_connection(commit=False) as connection:
            cursor = connection.cursor()
            return asked(lambda statement: cursor.execute(statement) or cursor)

    def close(self) -> None:
        self.app.close()


if __name__ == "__main__":
    main(EventSourcing)
