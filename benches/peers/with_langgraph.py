"""LangGraph with its SQLite saver. The option: `tasks`, its functional API, or `graph`, a node that goes on to itself.

https://docs.langchain.com/oss/python/langgraph/durable-execution: a checkpointer, a thread id, what has an effect in
tasks, and `durability="sync"`, which has every checkpoint written before the run goes on. In the functional API the
results of tasks are no checkpoints: a thread writes them while the next one runs already.
`SqliteSaver` for one after the other, `AsyncSqliteSaver` for many at once, as their docstrings have it; for production
the latter's recommends Postgres. A resume is an `invoke` of the same thread with None.
"""

import asyncio
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any, TypedDict

import work
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, StateGraph
from work import Peer, asked, main


class State(TypedDict):
    steps: int
    number: int
    total: int


def turn(state: State) -> dict[str, int]:
    return {"number": state["number"] + 1, "total": state["total"] + work.work(state["number"])}


def onward(state: State) -> str:
    return "turn" if state["number"] < state["steps"] else END


def graph(saver: Any) -> Any:
    builder = StateGraph(State)
    builder.add_node("turn", turn)
    builder.add_edge(START, "turn")
    builder.add_conditional_edges("turn", onward, ["turn", END])
    return builder.compile(checkpointer=saver)


@task
def double(number: int) -> int:
    return work.work(number)


@task
async def double_async(number: int) -> int:
    return work.work(number)


def tasks(saver: Any) -> Any:
    @entrypoint(checkpointer=saver)
    def total(steps: int) -> int:
        found = 0
        for number in range(steps):
            found += double(number).result()
        return found

    return total


def tasks_async(saver: Any) -> Any:
    @entrypoint(checkpointer=saver)
    async def total(steps: int) -> int:
        found = 0
        for number in range(steps):
            found += await double_async(number)
        return found

    return total


class LangGraph(Peer):
    packages = ("langgraph", "langgraph-checkpoint-sqlite")

    def __init__(self, kind: str) -> None:
        self.graph = kind == "graph"

    def open(self, folder: Path) -> None:
        self.file = str(folder / "checkpoints.sqlite")
        self.opened = ExitStack()
        self.saver = self.opened.enter_context(SqliteSaver.from_conn_string(self.file))
        self.app = graph(self.saver) if self.graph else tasks(self.saver)
        self.runner = asyncio.Runner()
        self.opened_async = AsyncExitStack()
        self.app_async: Any = None

    def _input(self, steps: int) -> Any:
        return {"steps": steps, "number": 0, "total": 0} if self.graph else steps

    def _told(self, name: str, steps: int) -> dict[str, Any]:
        config = {"configurable": {"thread_id": name}, "recursion_limit": steps + 10}
        return {"config": config, "durability": "sync"}

    def _answer(self, found: Any) -> int:
        return int(found["total"] if self.graph else found)

    def series(self, names: list[str], steps: int) -> list[int]:
        return [
            self._answer(self.app.invoke(self._input(steps), **self._told(name, steps))) for name in names
        ]

    def at_once(self, names: list[str], steps: int) -> list[int]:
        async def run() -> list[Any]:
            if self.app_async is None:
                opening = AsyncSqliteSaver.from_conn_string(self.file)
                saver = await self.opened_async.enter_async_context(opening)
                self.app_async = graph(saver) if self.graph else tasks_async(saver)
            calls = (self.app_async.ainvoke(self._input(steps), **self._told(name, steps)) for name in names)
            return await asyncio.gather(*calls)

        return [self._answer(found) for found in self.runner.run(run())]

    def resume(self, name: str, steps: int) -> int:
        return self._answer(self.app.invoke(None, **self._told(name, steps + 1)))

    def mode(self) -> str:
        return asked(self.saver.conn.execute)

    def close(self) -> None:
        self.runner.run(self.opened_async.aclose())
        self.runner.close()
        self.opened.close()


if __name__ == "__main__":
    main(LangGraph)
