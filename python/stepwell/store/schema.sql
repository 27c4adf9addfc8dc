-- The tables of a stepwell store, format 1. One statement after the other, in one transaction.
-- `tenant` comes first in every key and index: nothing is looked up, listed or unique across tenants.

CREATE TABLE meta (
  name TEXT NOT NULL PRIMARY KEY,
  value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The oldest format whose readers and writers may still use this file.
INSERT INTO meta (name, value) VALUES ('min_reader', 1), ('min_writer', 1);

-- One row for each execution: what can be asked without reading its journal. Times are UTC in ns.
CREATE TABLE executions (
  tenant TEXT NOT NULL,
  id TEXT NOT NULL,
  blueprint TEXT,
  key TEXT,
  schema_version TEXT,
  parent_type TEXT,
  parent_id TEXT,
  state TEXT NOT NULL,
  wait_reason TEXT,
  version INTEGER NOT NULL,   -- seq of the last record
  head TEXT NOT NULL,         -- digest of the last record
  epoch INTEGER NOT NULL,     -- goes up with every claim; an append of an older epoch is refused
  owner TEXT,                 -- who claimed it last, if it was not released
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  wake_at INTEGER,
  PRIMARY KEY (tenant, id)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX executions_by_key ON executions (tenant, blueprint, key) WHERE key IS NOT NULL;

CREATE INDEX executions_by_state ON executions (tenant, state, id);

-- Every record of every execution, the header (seq 0) included. The last record of an append carries its action_id.
CREATE TABLE journal (
  tenant TEXT NOT NULL,
  execution TEXT NOT NULL,
  seq INTEGER NOT NULL,
  at INTEGER NOT NULL,
  kind TEXT NOT NULL,
  body BLOB NOT NULL,
  action_id BLOB,
  PRIMARY KEY (tenant, execution, seq)
) STRICT, WITHOUT ROWID;
