"""Makes a store of format 1, which the first stepwell wrote, in WAL mode: opening it changes its mode or its tables."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from proofs.plan import TENANT, Plan

TABLES: Final = """
CREATE TABLE meta (name TEXT NOT NULL PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO meta (name, value) VALUES ('min_reader', 1), ('min_writer', 1);
CREATE TABLE executions (
  tenant TEXT NOT NULL, id TEXT NOT NULL, blueprint TEXT, key TEXT, schema_version TEXT, parent_type TEXT,
  parent_id TEXT, state TEXT NOT NULL, wait_reason TEXT, version INTEGER NOT NULL, head TEXT NOT NULL,
  epoch INTEGER NOT NULL, owner TEXT, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL, wake_at INTEGER,
  PRIMARY KEY (tenant, id)) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX executions_by_key ON executions (tenant, blueprint, key) WHERE key IS NOT NULL;
CREATE INDEX executions_by_state ON executions (tenant, state, id);
CREATE TABLE journal (
  tenant TEXT NOT NULL, execution TEXT NOT NULL, seq INTEGER NOT NULL, at INTEGER NOT NULL, kind TEXT NOT NULL,
  body BLOB NOT NULL, action_id BLOB, PRIMARY KEY (tenant, execution, seq)) STRICT, WITHOUT ROWID;
PRAGMA application_id = 1398232881;
PRAGMA user_version = 1;
"""
CREATED: Final = (
    "INSERT INTO executions VALUES (?, ?, 'm.f', ?, 'v1', NULL, NULL, ?, ?, ?, ?, 1, 'me', ?, ?, NULL)"
)
MOVED: Final = (
    "UPDATE executions SET version = ?, head = ?, updated_at = ?, state = ?, wait_reason = ? WHERE id = ?"
)
WRITTEN: Final = "INSERT INTO journal VALUES (?, ?, ?, ?, ?, ?, ?)"


def make(path: Path, what: Plan) -> None:
    """A store with the requests that a plan has before all others."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        db.execute("PRAGMA journal_mode = WAL")
        db.executescript(TABLES)
        for whose, after, action_id, records, row, _ in what.requests[: what.before]:
            last, at = records[-1][:2]
            if after < 0:
                values = (TENANT, whose, whose, row.state, row.wait_reason, last, row.head, records[0][1], at)
                db.execute(CREATED, values)
            else:
                db.execute(MOVED, (last, row.head, at, row.state, row.wait_reason, whose))
            for record in records:
                db.execute(WRITTEN, (TENANT, whose, *record, action_id if record[0] == last else None))
