-- The tables of a stepwell store, format 3. One statement after the other, in one transaction.
-- `tenant` comes first in every key and index: nothing is looked up, listed or unique across tenants.

CREATE TABLE meta (
  name TEXT NOT NULL PRIMARY KEY,
  value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The oldest format whose readers and writers may still use this file.
INSERT INTO meta (name, value) VALUES ('min_reader', 3), ('min_writer', 3);

-- How often something was asked again that was there already: this change takes it to the disk.
INSERT INTO meta (name, value) VALUES ('asked_again', 0);

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
  wake_at INTEGER,            -- when its wait is over, if that is known
  lease_until INTEGER,        -- how long its owner may be believed to live, if that cannot be looked up
  claims INTEGER NOT NULL DEFAULT 0,  -- how often it was claimed since its last progress
  last INTEGER,               -- number of its last record
  last_before INTEGER,        -- the same before the last append
  PRIMARY KEY (tenant, id)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX executions_by_key ON executions (tenant, blueprint, key) WHERE key IS NOT NULL;
CREATE INDEX executions_by_state ON executions (tenant, state, id);
CREATE INDEX executions_by_blueprint ON executions (tenant, blueprint, id);
CREATE INDEX executions_by_parent ON executions (tenant, parent_id, id) WHERE parent_id IS NOT NULL;
CREATE INDEX executions_by_wake ON executions (tenant, wake_at, id)
WHERE wake_at IS NOT NULL AND state NOT IN ('completed', 'failed', 'cancelled');

-- Every record of every execution, the header (seq 0) included, in the order in which they were written: those of many
-- executions that are written together lie on the same few pages. A record knows the one before of its execution, and
-- the execution's row knows the last. The last record of an append carries its action_id.
-- A body whose large payload is kept apart has where that goes, and its hash.
CREATE TABLE journal (
  number INTEGER PRIMARY KEY,
  previous INTEGER,
  tenant TEXT NOT NULL,
  execution TEXT NOT NULL,
  seq INTEGER NOT NULL,
  at INTEGER NOT NULL,
  kind TEXT NOT NULL,
  body BLOB NOT NULL,
  action_id BLOB,
  digest BLOB,
  cut_at INTEGER,
  cut_hash BLOB
) STRICT;

-- Where some records of a long journal are: nobody has to go back from its end to find what is near its beginning.
CREATE TABLE marks (
  tenant TEXT NOT NULL,
  execution TEXT NOT NULL,
  seq INTEGER NOT NULL,
  number INTEGER NOT NULL,
  PRIMARY KEY (tenant, execution, seq)
) STRICT, WITHOUT ROWID;

-- Large payloads, each once for its SHA-256, and the executions that use them.
CREATE TABLE payloads (
  tenant TEXT NOT NULL,
  hash BLOB NOT NULL,
  body BLOB NOT NULL,
  PRIMARY KEY (tenant, hash)
) STRICT;

CREATE TABLE payload_uses (
  tenant TEXT NOT NULL,
  hash BLOB NOT NULL,
  execution TEXT NOT NULL,
  PRIMARY KEY (tenant, hash, execution)
) STRICT, WITHOUT ROWID;

CREATE INDEX payload_uses_by_execution ON payload_uses (tenant, execution);

-- What was delivered to an execution from outside and is not in its journal yet.
CREATE TABLE inbox (
  tenant TEXT NOT NULL,
  execution TEXT NOT NULL,
  id TEXT NOT NULL,           -- the sender's own: what is delivered again under it is the same delivery
  place INTEGER NOT NULL,     -- the order in which deliveries came to the tenant
  at INTEGER NOT NULL,
  kind TEXT NOT NULL,
  name TEXT NOT NULL,
  body BLOB NOT NULL,
  taken INTEGER,              -- seq of the record that it went into
  digest BLOB,                -- of all that the sender gave; only `verify` looks at it
  PRIMARY KEY (tenant, execution, id)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX inbox_by_place ON inbox (tenant, execution, place);
CREATE UNIQUE INDEX inbox_arrivals ON inbox (tenant, place) WHERE taken IS NULL;

-- The last place that was given to a delivery of a tenant. None is given twice, also when that one is purged.
CREATE TABLE places (
  tenant TEXT NOT NULL PRIMARY KEY,
  last INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Steps that somebody outside answers, who knows nothing but their ids.
CREATE TABLE awaited (
  tenant TEXT NOT NULL,
  step TEXT NOT NULL,
  execution TEXT NOT NULL,
  PRIMARY KEY (tenant, step)
) STRICT, WITHOUT ROWID;

CREATE INDEX awaited_by_execution ON awaited (tenant, execution);

-- Executions that are purged and whose journals are still being deleted, piece by piece.
CREATE TABLE doomed (
  tenant TEXT NOT NULL,
  execution TEXT NOT NULL,
  last INTEGER,               -- number of the last record that is left
  next INTEGER,               -- the one before those that are being deleted
  PRIMARY KEY (tenant, execution)
) STRICT, WITHOUT ROWID;
