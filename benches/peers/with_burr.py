"""Burr with its SQLite persister: an application whose action goes on to itself, its state saved after each.

As https://burr.dagworks.io/concepts/state-persistence has it: `with_state_persister`, `initialize_from` with
`resume_at_next_action`; `SQLitePersister` for one after the other, `AsyncSQLitePersister` for many at once, on one
connection. The latter's docstring recommends another database for production. Neither sets anything of SQLite: rollback
journal, `synchronous` as its default is. What is saved is the state; a resume reads the last one.
"""

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import work
from burr.core import ApplicationBuilder, State, action, when
from burr.core.persistence import SQLitePersister
from burr.integrations.persisters.b_aiosqlite import AsyncSQLitePersister
from work import Peer, asked, main


def turned(state: State) -> State:
    number = state["number"]
    return state.update(
        number=number + 1, total=state["total"] + work.work(number), done=number + 1 == state["steps"]
    )


@action(reads=["number", "steps", "total"], writes=["number", "total", "done"])
def turn(state: State) -> State:
    return turned(state)


@action(reads=["number", "steps", "total"], writes=["number", "total", "done"])
async def turn_async(state: State) -> State:
    return turned(state)


@action(reads=[], writes=[])
def finish(state: State) -> State:
    """It is only halted before."""
    return state


def builder(persister: Any, one: Any, name: str, steps: int) -> ApplicationBuilder:
    return (
        ApplicationBuilder()
        .with_actions(turn=one, finish=finish)
        .with_transitions(("turn", "finish", when(done=True)), ("turn", "turn"))
        .with_identifiers(app_id=name)
        .initialize_from(
            persister,
            resume_at_next_action=True,
            default_state={"number": 0, "steps": steps, "total": 0, "done": False},
            default_entrypoint="turn",
        )
        .with_state_persister(persister)
    )


class Burr(Peer):
    packages = ("apache-burr",)

    def open(self, folder: Path) -> None:
        self.file = str(folder / "burr.sqlite")
        self.persister = SQLitePersister(self.file)
        self.persister.initialize()
        self.runner = asyncio.Runner()
        self.persister_async: Any = None

    def series(self, names: list[str], steps: int) -> list[int]:
        return [self.resume(name, steps - 1) for name in names]

    def at_once(self, names: list[str], steps: int) -> list[int]:
        async def one(name: str) -> int:
            app = await builder(self.persister_async, turn_async, name, steps).abuild()
            _, _, state = await app.arun(halt_before=["finish"])
            return int(state["total"])

        async def run() -> list[int]:
            if self.persister_async is None:
                self.persister_async = await AsyncSQLitePersister.from_values(self.file)
                await self.persister_async.initialize()
            return await asyncio.gather(*map(one, names))

        return self.runner.run(run())

    def resume(self, name: str, steps: int) -> int:
        """The persister says where it was left."""
        _, _, state = builder(self.persister, turn, name, steps + 1).build().run(halt_before=["finish"])
        return int(state["total"])

    def mode(self) -> str:
        return asked(self.persister.connection.execute)

    def versions(self) -> dict[str, str]:
        return super().versions() | {"sqlite": sqlite3.sqlite_version}

    def close(self) -> None:
        if self.persister_async is not None:
            self.runner.run(self.persister_async.cleanup())
        self.runner.close()
        self.persister.cleanup()


if __name__ == "__main__":
    main(Burr)
