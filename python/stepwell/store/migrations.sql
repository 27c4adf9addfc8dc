-- How an older store becomes a newer one: each step in one transaction, which sets `user_version` at its end.

-- to: 2
ALTER TABLE executions ADD COLUMN lease_until INTEGER;
ALTER TABLE executions ADD COLUMN claims INTEGER NOT NULL DEFAULT 0;
CREATE INDEX executions_by_blueprint ON executions (tenant, blueprint, id);
CREATE INDEX executions_by_parent ON executions (tenant, parent_id, id) WHERE parent_id IS NOT NULL;
CREATE INDEX executions_by_wake ON executions (tenant, wake_at, id) WHERE wake_at IS NOT NULL;
ALTER TABLE executions ADD COLUMN last INTEGER;
ALTER TABLE executions ADD COLUMN last_before INTEGER;
ALTER TABLE journal RENAME TO journal_1;
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
INSERT INTO journal (number, previous, tenant, execution, seq, at, kind, body, action_id)
SELECT row_number() OVER ordered, CASE WHEN seq > 0 THEN row_number() OVER ordered - 1 END,
       tenant, execution, seq, at, kind, body, action_id
FROM journal_1 WINDOW ordered AS (ORDER BY tenant, execution, seq);
UPDATE executions SET last = found.number
FROM (SELECT tenant, execution, max(number) AS number FROM journal GROUP BY tenant, execution) AS found
WHERE found.tenant = executions.tenant AND found.execution = executions.id;
DROP TABLE journal_1;
CREATE TABLE marks (
  tenant TEXT NOT NULL,
  execution TEXT NOT NULL,
  seq INTEGER NOT NULL,
  number INTEGER NOT NULL,
  PRIMARY KEY (tenant, execution, seq)
) STRICT, WITHOUT ROWID;
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
CREATE TABLE inbox (
  tenant TEXT NOT NULL,
  execution TEXT NOT NULL,
  id TEXT NOT NULL,
  place INTEGER NOT NULL,
  at INTEGER NOT NULL,
  kind TEXT NOT NULL,
  name TEXT NOT NULL,
  body BLOB NOT NULL,
  taken INTEGER,
  digest BLOB,
  PRIMARY KEY (tenant, execution, id)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX inbox_by_place ON inbox (tenant, execution, place);
CREATE TABLE doomed (
  tenant TEXT NOT NULL,
  execution TEXT NOT NULL,
  last INTEGER,
  next INTEGER,
  PRIMARY KEY (tenant, execution)
) STRICT, WITHOUT ROWID;
UPDATE meta SET value = 2;
INSERT INTO meta (name, value) VALUES ('asked_again', 0);

-- Places were each execution's own. Of deliveries to one execution the order stays; between executions it is by time.
-- to: 3
CREATE TABLE places (
  tenant TEXT NOT NULL PRIMARY KEY,
  last INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE awaited (
  tenant TEXT NOT NULL,
  step TEXT NOT NULL,
  execution TEXT NOT NULL,
  PRIMARY KEY (tenant, step)
) STRICT, WITHOUT ROWID;
CREATE INDEX awaited_by_execution ON awaited (tenant, execution);
DROP INDEX inbox_by_place;
UPDATE inbox SET place = found.place
FROM (SELECT tenant, execution, id, row_number() OVER (PARTITION BY tenant ORDER BY came, execution, before) AS place
      FROM (SELECT tenant, execution, id, place AS before,
                   max(at) OVER (PARTITION BY tenant, execution ORDER BY place) AS came FROM inbox)) AS found
WHERE found.tenant = inbox.tenant AND found.execution = inbox.execution AND found.id = inbox.id;
INSERT INTO places (tenant, last) SELECT tenant, max(place) FROM inbox GROUP BY tenant;
CREATE UNIQUE INDEX inbox_by_place ON inbox (tenant, execution, place);
CREATE UNIQUE INDEX inbox_arrivals ON inbox (tenant, place) WHERE taken IS NULL;
DROP INDEX executions_by_wake;
CREATE INDEX executions_by_wake ON executions (tenant, wake_at, id)
WHERE wake_at IS NOT NULL AND state NOT IN ('completed', 'failed', 'cancelled');
UPDATE meta SET value = 3 WHERE name IN ('min_reader', 'min_writer');
