"""DBOS Transact with SQLite, which is its default: `DBOS(config=…)`, `DBOS.launch()`, decorated functions.

As https://docs.dbos.dev/python/tutorials/database-connection and its quickstart have it: a workflow is called for its
result, or started in the background with `DBOS.start_workflow`; `DBOS.launch` recovers what was pending. For production
that page recommends Postgres. How SQLite is used is its own (`dbos/_sys_db_sqlite.py`): rollback journal, `synchronous`
as the default is. Recovery goes through an internal queue, and the polling of that is in the time of a resume.
"""

from pathlib import Path

import work
from dbos import DBOS, DBOSConfig, SetWorkflowID
from work import Peer, asked, main


@DBOS.step()
def double(number: int) -> int:
    return work.work(number)


@DBOS.workflow()
def total(steps: int) -> int:
    found = 0
    for number in range(steps):
        found += double(number)
    return found


class Dbos(Peer):
    packages = ("dbos", "SQLAlchemy")

    def open(self, folder: Path) -> None:
        config: DBOSConfig = {
            "name": "peers",
            "system_database_url": f"sqlite:///{folder}/dbos.sqlite",
            "log_level": "ERROR",
        }
        self.dbos = DBOS(config=config)
        DBOS.launch()

    def series(self, names: list[str], steps: int) -> list[int]:
        found = []
        for name in names:
            with SetWorkflowID(name):
                found.append(total(steps))
        return found

    def at_once(self, names: list[str], steps: int) -> list[int]:
        handles = []
        for name in names:
            with SetWorkflowID(name):
                handles.append(DBOS.start_workflow(total, steps))
        return [handle.get_result() for handle in handles]

    def resume(self, name: str, steps: int) -> int:
        result: int = DBOS.retrieve_workflow(name).get_result()
        return result

    def mode(self) -> str:
        # Its own connection: another one would have defaults of its own.
        with self.dbos._sys_db.engine.connect() as connection:
            return asked(connection.exec_driver_sql)

    def close(self) -> None:
        DBOS.destroy()


if __name__ == "__main__":
    main(Dbos)
