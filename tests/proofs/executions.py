"""Executions that the proofs write straight into a store, step by step, and what has to be true of them afterwards."""

import os
import select
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stepwell.runtime.core import Execution
from stepwell.store import ExecutionRow, NewExecution, Projection, Ticket
from stepwell.store.sqlite import SqliteSource, SqliteStore

TENANT = "acme"
BLUEPRINT = "proofs.walk"
LARGE = 40_000
"""Characters of a payload that the store keeps out of line."""


def open_file(path: Path, backend: str, busy_seconds: float = 30.0) -> SqliteStore:
    """The store of the proofs."""
    return SqliteSource(path, busy_seconds, backend=backend).open(TENANT)


def records_of(store: SqliteStore, execution_id: str) -> list[Any]:
    """The whole journal."""
    found: list[Any] = []
    while page := store.load(execution_id, len(found) - 1).wait():
        found += page
    return found


class Life:
    """An execution in the hands of one writer, from its beginning or from where its record ends."""

    def __init__(self, store: SqliteStore, execution: Any, epoch: int) -> None:
        self.store = store
        self.execution = execution
        self.epoch = epoch
        self.version = -1
        """The seq of the last record that is known to be stored, or is on its way."""

    @classmethod
    def take_up(cls, store: SqliteStore, key: str, owner: str) -> "Life":
        """Makes the execution with this key, or claims it and replays its record."""
        row = store.find(BLUEPRINT, key).wait()
        if row is not None:
            epoch = store.claim(row.id, owner, row.epoch).wait()
            life = cls(store, Execution.replay(row.id, records_of(store, row.id)), epoch)
            life.version = life.execution.version
            return life
        execution = Execution(tenant=TENANT, blueprint=BLUEPRINT, key=key)
        execution.start()
        life = cls(store, execution, 1)
        records = execution.drain()
        new = NewExecution(execution.id, BLUEPRINT, key, None, None, None, owner)
        store.create(new, os.urandom(16), records, life._row()).wait()
        life.version = records[-1][0]
        return life

    @property
    def steps(self) -> int:
        """How many steps have a result."""
        return sum(step.state == "completed" for step in self.execution.steps.values())

    def begin(self, number: int) -> str:
        """Starts a step; what is returned ends it."""
        return str(self.execution.start_step(f"step-{number}").id)

    def end(self, step_id: str, number: int, nonce: str, size: int = 0) -> None:
        """Gives the step a result by which it is known which time it ran, or who did it."""
        self.execution.complete_step(step_id, output=[number, nonce, "x" * size])

    def write(self, action_id: bytes | None = None) -> Ticket[int]:
        """Appends what is new; the version is counted on at once, so that several may be under way."""
        return self.request(action_id or os.urandom(16), *self.drained())

    def drained(self) -> tuple[int, list[Any], Projection]:
        """What `append` is to be given: the seq before, the records, the row."""
        records = self.execution.drain()
        before, self.version = self.version, records[-1][0]
        return before, records, self._row()

    def request(self, action_id: bytes, before: int, records: list[Any], row: Projection) -> Ticket[int]:
        """Appends these records, the first time or again."""
        return self.store.append(self.execution.id, before, self.epoch, action_id, records, row)

    def _row(self) -> Projection:
        return Projection(str(self.execution.state), None, self.execution.head)


def all_rows(store: SqliteStore) -> Iterator[ExecutionRow]:
    """Every execution of the tenant."""
    after = None
    while page := store.list(None, after, 500).wait():
        yield from page
        after = page[-1].id


def results(store: SqliteStore, row: ExecutionRow) -> dict[int, str]:
    """Which nonce each step of an execution has; raises where its journal, its chain or its row is not right."""
    records = records_of(store, row.id)
    assert [record[0] for record in records] == list(range(row.version + 1)), (
        f"{row.key}: gaps in the journal"
    )
    execution = Execution.replay(row.id, records, version=row.version, tenant=TENANT)
    assert execution.head == row.head, f"{row.key}: the row has another digest than the journal"
    assert str(execution.state) == row.state, f"{row.key}: the row has another state than the journal"
    found: dict[int, str] = {}
    for step in execution.steps.values():
        if step.state == "completed":
            number, nonce, _ = step.output
            assert number not in found, f"{row.key}: step {number} has two results"
            found[number] = nonce
    return found


def sound(store: SqliteStore) -> list[str]:
    """What SQLite finds wrong with the file."""
    found = store.rows("integrity").wait()
    return [] if found == [("ok",)] else [f"integrity_check: {row[0]}" for row in found]


def passes(seconds: float) -> None:
    """Returns when so much time has passed: for the moments at which something is done to others."""
    select.select([], [], [], seconds)
