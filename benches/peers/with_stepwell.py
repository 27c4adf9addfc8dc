"""stepwell with its SQLite store, as `docs/runtime.md` has it. The option is the kernel's durability."""

import asyncio
from pathlib import Path
from typing import Any

import work
from work import Peer, main

import stepwell
from stepwell import Kernel, blueprint, step


@step
async def double(number: int) -> int:
    return work.work(number)


@blueprint(version="1")
async def total(steps: int) -> int:
    found = 0
    for number in range(steps):
        found += await double(number)
    return found


class Stepwell(Peer):
    def __init__(self, durability: Any) -> None:
        self.durability = durability

    def open(self, folder: Path) -> None:
        self.runner = asyncio.Runner()
        self.kernel = Kernel(f"sqlite:///{folder}/runs.db", tenant="acme", durability=self.durability)
        self.runner.run(self.kernel.__aenter__())

    async def _one(self, name: str, steps: int) -> int:
        handle = await self.kernel.start(total, steps, key=name)
        return await handle.result()

    def series(self, names: list[str], steps: int) -> list[int]:
        async def run() -> list[int]:
            return [await self._one(name, steps) for name in names]

        return self.runner.run(run())

    def at_once(self, names: list[str], steps: int) -> list[int]:
        async def run() -> list[int]:
            return await asyncio.gather(*(self._one(name, steps) for name in names))

        return self.runner.run(run())

    def resume(self, name: str, steps: int) -> int:
        """The kernel has taken it up when it was entered; the key finds it."""
        return self.runner.run(self._one(name, steps + 1))

    def _asked(self, query: str) -> str:
        store: Any = self.kernel.store

        async def answer() -> str:
            [(found,)] = await store.rows(query)
            return str(found)

        return self.runner.run(answer())

    def mode(self) -> str:
        """A commit in which nobody waits for `power` is one with NORMAL."""
        return f"{self._asked('journal_mode').upper()}, {'FULL' if self.durability == 'power' else 'NORMAL'}"

    def close(self) -> None:
        self.runner.run(self.kernel.__aexit__(None, None, None))
        self.runner.close()

    def versions(self) -> dict[str, str]:
        return {"stepwell": stepwell.__version__, "sqlite": self._asked("library")}


if __name__ == "__main__":
    main(Stepwell)
