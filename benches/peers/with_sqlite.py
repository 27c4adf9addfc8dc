"""Raw `sqlite3`: for each step a row in a transaction of its own, WAL and FULL. No workflows, no recovery."""

import sqlite3
from pathlib import Path

import work
from work import Peer, asked, main


class Raw(Peer):
    def open(self, folder: Path) -> None:
        self.db = sqlite3.connect(folder / "raw.db", isolation_level=None)
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.execute("PRAGMA synchronous = FULL")
        self.db.execute(
            "CREATE TABLE IF NOT EXISTS step "
            "(run TEXT, number INTEGER, value INTEGER, PRIMARY KEY (run, number)) STRICT, WITHOUT ROWID"
        )

    def _step(self, name: str, number: int) -> int:
        value = work.work(number)
        self.db.execute("BEGIN IMMEDIATE")
        self.db.execute("INSERT INTO step VALUES (?, ?, ?)", (name, number, value))
        self.db.execute("COMMIT")
        return value

    def series(self, names: list[str], steps: int) -> list[int]:
        return [sum(self._step(name, number) for number in range(steps)) for name in names]

    def at_once(self, names: list[str], steps: int) -> list[int]:
        """In turns, on the one connection: SQLite has one writer."""
        totals = [0] * len(names)
        for number in range(steps):
            for place, name in enumerate(names):
                totals[place] += self._step(name, number)
        return totals

    def resume(self, name: str, steps: int) -> int:
        rows = self.db.execute("SELECT value FROM step WHERE run = ? ORDER BY number", (name,)).fetchall()
        return sum(int(value) for [value] in rows) + self._step(name, len(rows))

    def mode(self) -> str:
        return asked(self.db.execute)

    def versions(self) -> dict[str, str]:
        return {"sqlite": sqlite3.sqlite_version}

    def close(self) -> None:
        self.db.close()


if __name__ == "__main__":
    main(Raw)
