-- Every statement that the SQLite store runs, each under its name. Parameters are bound in order; nothing is pasted in
-- but what is written once: `{row}`, the columns of an execution's row, and `{body}`, a record with its payload.

-- row: id, blueprint, key, schema_version, parent_type, parent_id, state, wait_reason, version, head, epoch, owner, created_at, updated_at, wake_at, lease_until, claims

-- body: CASE WHEN cut_hash IS NULL THEN body ELSE CAST(substr(body, 1, cut_at) || (SELECT p.body FROM payloads AS p WHERE p.tenant = journal.tenant AND p.hash = cut_hash) || substr(body, cut_at + 1) AS BLOB) END

-- name: create
INSERT INTO executions (tenant, id, blueprint, key, schema_version, parent_type, parent_id, state, wait_reason,
                        version, head, epoch, owner, created_at, updated_at, wake_at, last)
SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, 1, ?12, ?13, ?14, ?15,
       (SELECT coalesce(max(number), 0) FROM journal) + ?16
WHERE NOT EXISTS (SELECT 1 FROM doomed WHERE tenant = ?1 AND execution = ?2)
ON CONFLICT DO NOTHING;

-- name: insert_first
INSERT INTO journal (previous, tenant, execution, seq, at, kind, body, action_id, digest, cut_at, cut_hash)
VALUES ((SELECT last_before FROM executions WHERE tenant = ?1 AND id = ?2), ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10);

-- name: insert_next
INSERT INTO journal (previous, tenant, execution, seq, at, kind, body, action_id, digest, cut_at, cut_hash)
VALUES (last_insert_rowid(), ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: insert_mark
INSERT INTO marks (tenant, execution, seq, number) VALUES (?, ?, ?, last_insert_rowid());

-- name: insert_payload
INSERT INTO payloads (tenant, hash, body) VALUES (?, ?, ?) ON CONFLICT DO NOTHING;

-- name: insert_use
INSERT INTO payload_uses (tenant, hash, execution) VALUES (?, ?, ?) ON CONFLICT DO NOTHING;

-- name: insert_awaited
INSERT INTO awaited (tenant, step, execution) VALUES (?, ?, ?) ON CONFLICT DO NOTHING;

-- name: fence
SELECT version, epoch, owner FROM executions WHERE tenant = ? AND id = ?;

-- name: action_id
WITH RECURSIVE chain(seq, previous, action_id) AS (
  SELECT j.seq, j.previous, j.action_id FROM executions AS e JOIN journal AS j ON j.number = coalesce(
    (SELECT m.number FROM marks AS m WHERE m.tenant = ?1 AND m.execution = ?2 AND m.seq >= ?3 ORDER BY m.seq LIMIT 1),
    e.last)
  WHERE e.tenant = ?1 AND e.id = ?2
  UNION ALL
  SELECT j.seq, j.previous, j.action_id FROM chain JOIN journal AS j ON j.number = chain.previous AND j.seq < chain.seq
  WHERE chain.seq > ?3)
SELECT action_id FROM chain WHERE seq = ?3;

-- The guards of an append, with the same values. The first is for most of them: no index has to be touched where the
-- state stays.
-- name: advance_same
UPDATE executions SET version = ?5, head = ?6, updated_at = ?7, claims = CASE WHEN ?8 THEN 0 ELSE claims END,
                      last_before = last, last = (SELECT coalesce(max(number), 0) FROM journal) + ?9
WHERE tenant = ?1 AND id = ?2 AND version = ?3 AND epoch = ?4
  AND state = ?10 AND wait_reason IS ?11 AND wake_at IS ?12;

-- name: advance
UPDATE executions SET version = ?5, head = ?6, updated_at = ?7, claims = CASE WHEN ?8 THEN 0 ELSE claims END,
                      last_before = last, last = (SELECT coalesce(max(number), 0) FROM journal) + ?9,
                      state = ?10, wait_reason = ?11, wake_at = ?12
WHERE tenant = ?1 AND id = ?2 AND version = ?3 AND epoch = ?4;

-- name: claim
UPDATE executions SET owner = ?, lease_until = ?, epoch = epoch + 1, claims = claims + 1
WHERE tenant = ? AND id = ? AND epoch = ?;

-- name: renew
UPDATE executions SET lease_until = ? WHERE tenant = ? AND id = ? AND epoch = ? AND owner IS NOT NULL;

-- Who gives a claim up has not died of it: that claim is not counted, those before it stay.
-- name: release
UPDATE executions SET owner = NULL, lease_until = NULL, epoch = epoch + 1, claims = max(claims - 1, 0)
WHERE tenant = ? AND id = ? AND epoch = ?;

-- name: get
SELECT {row} FROM executions WHERE tenant = ? AND id = ?;

-- name: awaited
SELECT {row} FROM executions
WHERE tenant = ?1 AND id = (SELECT execution FROM awaited WHERE tenant = ?1 AND step = ?2);

-- name: find
SELECT {row} FROM executions WHERE tenant = ? AND blueprint = ? AND key = ?;

-- name: list
SELECT {row} FROM executions WHERE tenant = ? AND id < ? ORDER BY id DESC LIMIT ?;

-- name: list_state
SELECT {row} FROM executions WHERE tenant = ? AND state = ? AND id < ? ORDER BY id DESC LIMIT ?;

-- name: list_blueprint
SELECT {row} FROM executions WHERE tenant = ? AND blueprint = ? AND id < ? ORDER BY id DESC LIMIT ?;

-- name: list_state_blueprint
SELECT {row} FROM executions WHERE tenant = ? AND state = ? AND blueprint = ? AND id < ? ORDER BY id DESC LIMIT ?;

-- name: children
SELECT {row} FROM executions WHERE tenant = ? AND parent_id = ? AND id < ? ORDER BY id DESC LIMIT ?;

-- name: count
SELECT state, count(*) FROM executions WHERE tenant = ? GROUP BY state;

-- name: count_blueprint
SELECT state, count(*) FROM executions WHERE tenant = ? AND blueprint = ? GROUP BY state;

-- name: due
SELECT {row} FROM executions
WHERE tenant = ? AND wake_at <= ? AND state NOT IN ('completed', 'failed', 'cancelled')
ORDER BY wake_at, id LIMIT ?;

-- Where to begin to go back from, so as to find the records after a seq: at most so many more than a page are passed.
-- name: start
SELECT coalesce(
  (SELECT m.number FROM marks AS m WHERE m.tenant = ?1 AND m.execution = ?2 AND m.seq > ?3 + ?4 ORDER BY m.seq LIMIT 1),
  e.last) FROM executions AS e WHERE e.tenant = ?1 AND e.id = ?2;

-- The records from one on backwards. Whoever asks goes on only while the one before is the next row and the same
-- execution's, else asks again from there.
-- name: load
SELECT number, previous, tenant = ?1 AND execution = ?2, seq, at, kind, {body} FROM journal
WHERE number <= ?3 ORDER BY number DESC;

-- name: bodies
SELECT number, previous, tenant = ?1 AND execution = ?2, seq, {body} FROM journal
WHERE number <= ?3 ORDER BY number DESC;

-- name: digests
SELECT number, previous, tenant = ?1 AND execution = ?2, seq, digest FROM journal
WHERE number <= ?3 ORDER BY number DESC;

-- name: deliver
INSERT INTO inbox (tenant, execution, id, place, at, kind, name, body, digest)
SELECT ?1, ?2, ?3, coalesce((SELECT last FROM places WHERE tenant = ?1), 0) + 1, ?4, ?5, ?6, ?7, ?8
FROM executions WHERE tenant = ?1 AND id = ?2 AND state NOT IN ('completed', 'failed', 'cancelled')
ON CONFLICT DO NOTHING;

-- name: give_place
INSERT INTO places (tenant, last) VALUES (?, 1) ON CONFLICT (tenant) DO UPDATE SET last = last + 1;

-- name: delivered
SELECT at, kind, name, body, taken FROM inbox WHERE tenant = ? AND execution = ? AND id = ?;

-- name: inbox
SELECT place, id, at, kind, name, body FROM inbox
WHERE tenant = ? AND execution = ? AND place > ? AND taken IS NULL ORDER BY place LIMIT ?;

-- name: arrivals
SELECT place, execution FROM inbox WHERE tenant = ? AND place > ? AND taken IS NULL ORDER BY place LIMIT ?;

-- name: take
UPDATE inbox SET taken = ? WHERE tenant = ? AND execution = ? AND id = ? AND taken IS NULL;

-- name: finished
SELECT id, version, updated_at FROM executions
WHERE tenant = ? AND state = ? AND id > ? ORDER BY id LIMIT ?;

-- The executions of a batch are a JSON array of ids; only those that have ended go. CROSS JOIN is SQLite's word for
-- this order: it would go through all executions of the tenant else.
-- name: doom
INSERT INTO doomed (tenant, execution, last)
SELECT e.tenant, e.id, e.last FROM json_each(?2) AS j CROSS JOIN executions AS e ON e.tenant = ?1 AND e.id = j.value
WHERE e.state IN ('completed', 'failed', 'cancelled')
ON CONFLICT DO NOTHING;

-- name: doom_marks
DELETE FROM marks WHERE tenant = ?1 AND execution IN (
  SELECT d.execution FROM json_each(?2) AS j CROSS JOIN doomed AS d ON d.tenant = ?1 AND d.execution = j.value);

-- name: doom_payloads
DELETE FROM payloads WHERE tenant = ?1 AND hash IN (
  SELECT u.hash FROM json_each(?2) AS j CROSS JOIN payload_uses AS u ON u.tenant = ?1 AND u.execution = j.value)
AND NOT EXISTS (
  SELECT 1 FROM payload_uses AS o WHERE o.tenant = ?1 AND o.hash = payloads.hash
    AND NOT EXISTS (SELECT 1 FROM doomed AS d WHERE d.tenant = ?1 AND d.execution = o.execution));

-- name: doom_uses
DELETE FROM payload_uses WHERE tenant = ?1 AND execution IN (
  SELECT d.execution FROM json_each(?2) AS j CROSS JOIN doomed AS d ON d.tenant = ?1 AND d.execution = j.value);

-- name: doom_inbox
DELETE FROM inbox WHERE tenant = ?1 AND execution IN (
  SELECT d.execution FROM json_each(?2) AS j CROSS JOIN doomed AS d ON d.tenant = ?1 AND d.execution = j.value);

-- name: doom_awaited
DELETE FROM awaited WHERE tenant = ?1 AND execution IN (
  SELECT d.execution FROM json_each(?2) AS j CROSS JOIN doomed AS d ON d.tenant = ?1 AND d.execution = j.value);

-- name: doom_rows
DELETE FROM executions WHERE tenant = ?1 AND id IN (
  SELECT d.execution FROM json_each(?2) AS j CROSS JOIN doomed AS d ON d.tenant = ?1 AND d.execution = j.value);

-- The first of the doomed: which records go now, which one is the last that stays, and whether none does. Only its own
-- go, wherever a damaged record may point.
-- name: sweep_ahead
UPDATE doomed SET next = (
  WITH RECURSIVE chain(number, previous, place) AS (
    SELECT j.number, j.previous, 1 FROM journal AS j
    WHERE j.number = doomed.last AND j.tenant = ?1 AND j.execution = doomed.execution
    UNION ALL
    SELECT j.number, j.previous, place + 1 FROM chain JOIN journal AS j ON j.number = chain.previous
    WHERE place < ?2 AND j.tenant = ?1 AND j.execution = doomed.execution)
  SELECT previous FROM chain ORDER BY place DESC LIMIT 1)
WHERE tenant = ?1 AND execution = (SELECT execution FROM doomed WHERE tenant = ?1 ORDER BY execution LIMIT 1);

-- name: sweep
DELETE FROM journal WHERE number IN (
  WITH RECURSIVE chain(number, previous, execution, place) AS (
    SELECT j.number, j.previous, j.execution, 1
    FROM (SELECT execution, last FROM doomed WHERE tenant = ?1 ORDER BY execution LIMIT 1) AS d
    JOIN journal AS j ON j.number = d.last AND j.tenant = ?1 AND j.execution = d.execution
    UNION ALL
    SELECT j.number, j.previous, j.execution, place + 1 FROM chain JOIN journal AS j ON j.number = chain.previous
    WHERE place < ?2 AND j.tenant = ?1 AND j.execution = chain.execution)
  SELECT number FROM chain);

-- name: swept
UPDATE doomed SET last = next
WHERE tenant = ?1 AND execution = (SELECT execution FROM doomed WHERE tenant = ?1 ORDER BY execution LIMIT 1);

-- name: undoom
DELETE FROM doomed WHERE tenant = ?1 AND last IS NULL
  AND execution = (SELECT execution FROM doomed WHERE tenant = ?1 ORDER BY execution LIMIT 1);

-- name: tenants
SELECT DISTINCT tenant FROM executions ORDER BY tenant LIMIT ?;

-- A commit that changes nothing waits for no disk. What is asked again, to be on the disk, may have been written without
-- that, or by a commit whose sync failed: with this its commit takes all before it along.
-- name: touch
UPDATE meta SET value = value + 1 WHERE name = 'asked_again';

-- name: format
SELECT name, value FROM meta WHERE name IN ('min_reader', 'min_writer');

-- name: application_id
PRAGMA application_id;

-- name: user_version
PRAGMA user_version;

-- name: journal_mode
PRAGMA journal_mode;

-- name: synchronous
PRAGMA synchronous;

-- name: auto_vacuum
PRAGMA auto_vacuum;

-- name: page_size
PRAGMA page_size;

-- name: page_count
PRAGMA page_count;

-- name: freelist_count
PRAGMA freelist_count;

-- name: trusted_schema
PRAGMA trusted_schema;

-- name: cell_size_check
PRAGMA cell_size_check;

-- name: encoding
PRAGMA encoding;

-- name: query_only
PRAGMA query_only;

-- name: library
SELECT sqlite_version();

-- name: integrity
PRAGMA integrity_check(20);

-- name: checkpoint
PRAGMA wal_checkpoint(TRUNCATE);

-- As many pages as a writer can wait for.
-- name: give_back
PRAGMA incremental_vacuum(128);

-- Of a connection that was opened for reading only: copying into another file needs it, and this one stays as it is.
-- name: may_copy
PRAGMA query_only = OFF;

-- name: copy_into
VACUUM INTO ?;

-- name: oldest_lease
SELECT tenant, id, owner, lease_until, updated_at FROM executions
WHERE tenant = ? AND owner IS NOT NULL AND state NOT IN ('completed', 'failed', 'cancelled')
ORDER BY updated_at LIMIT 1;

-- name: leases
SELECT count(*) FROM executions
WHERE tenant = ? AND owner IS NOT NULL AND state NOT IN ('completed', 'failed', 'cancelled');

-- name: doomed
SELECT count(*) FROM doomed WHERE tenant = ?;

-- name: objects
SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' ORDER BY type, name;

-- What `verify` asks about a file beside its executions. `?1` is the tenant who asks: others' ids are not shown. Long
-- tables are looked at piece by piece, from one number or key to another.

-- The first record of a journal that is not where it belongs, by looking at all records: for a journal that is damaged.
-- name: verify_place
WITH found AS (
  SELECT seq, previous, lag(number) OVER ordered AS before, lag(seq, 1, -1) OVER ordered AS seq_before,
         cut_hash IS NOT NULL AND NOT EXISTS (
           SELECT 1 FROM payloads AS p WHERE p.tenant = journal.tenant AND p.hash = cut_hash) AS torn
  FROM journal WHERE tenant = ?1 AND execution = ?2 WINDOW ordered AS (ORDER BY seq, number))
SELECT coalesce(
  (SELECT min(seq_before + 1, seq) FROM found
   WHERE seq <> seq_before + 1 OR previous IS NOT before OR torn ORDER BY seq LIMIT 1),
  (SELECT max(seq) + 1 FROM found), 0);

-- name: verify_numbers
SELECT coalesce(min(number), 1), coalesce(max(number), 0) FROM journal;

-- name: verify_next
SELECT number FROM journal WHERE number >= ? ORDER BY number LIMIT 1;

-- name: verify_records
SELECT tenant = ?1, execution, seq, number, CASE
    WHEN NOT EXISTS (SELECT 1 FROM executions AS e WHERE e.tenant = j.tenant AND e.id = j.execution)
      THEN 'belongs to no execution'
    WHEN j.seq > (SELECT e.version FROM executions AS e WHERE e.tenant = j.tenant AND e.id = j.execution)
      THEN 'is behind the end of its execution'
    WHEN j.cut_hash IS NOT NULL AND NOT EXISTS (
        SELECT 1 FROM payload_uses AS u WHERE u.tenant = j.tenant AND u.hash = j.cut_hash AND u.execution = j.execution)
      THEN 'uses a payload that does not know of it'
    WHEN (j.cut_at IS NULL) <> (j.cut_hash IS NULL) OR j.cut_at NOT BETWEEN 0 AND length(j.body)
      THEN 'has no place for its payload'
    ELSE 'does not know the record before it' END
FROM journal AS j
WHERE number BETWEEN ?2 AND ?3
  AND NOT EXISTS (SELECT 1 FROM doomed AS d WHERE d.tenant = j.tenant AND d.execution = j.execution)
  AND (NOT EXISTS (SELECT 1 FROM executions AS e WHERE e.tenant = j.tenant AND e.id = j.execution AND j.seq <= e.version)
    OR (j.cut_hash IS NOT NULL AND NOT EXISTS (
      SELECT 1 FROM payload_uses AS u WHERE u.tenant = j.tenant AND u.hash = j.cut_hash AND u.execution = j.execution))
    OR (j.cut_at IS NULL) <> (j.cut_hash IS NULL) OR j.cut_at NOT BETWEEN 0 AND length(j.body)
    OR (j.seq > 0) + (j.previous IS NOT NULL) = 1
    OR (j.previous IS NOT NULL AND NOT EXISTS (
      SELECT 1 FROM journal AS b
      WHERE b.number = j.previous AND b.tenant = j.tenant AND b.execution = j.execution AND b.seq = j.seq - 1)))
ORDER BY number LIMIT ?4;

-- How many records there are more than the executions' rows tell, and none where it is as many.
-- name: verify_count
SELECT (SELECT count(*) FROM journal AS j WHERE NOT EXISTS (
          SELECT 1 FROM doomed AS d WHERE d.tenant = j.tenant AND d.execution = j.execution))
     - (SELECT coalesce(sum(version + 1), 0) FROM executions);

-- name: verify_doubles
SELECT tenant = ?1, execution, seq, min(number) FROM journal GROUP BY tenant, execution, seq
HAVING count(*) > 1 LIMIT ?2;

-- name: verify_marks
SELECT tenant = ?1, execution, seq FROM marks AS m
WHERE NOT EXISTS (
  SELECT 1 FROM journal AS j
  WHERE j.number = m.number AND j.tenant = m.tenant AND j.execution = m.execution AND j.seq = m.seq)
  OR NOT EXISTS (SELECT 1 FROM executions AS e WHERE e.tenant = m.tenant AND e.id = m.execution)
LIMIT ?2;

-- name: verify_payloads
SELECT tenant, hash, body FROM payloads WHERE (tenant, hash) > (?, ?) ORDER BY tenant, hash LIMIT ?;

-- name: verify_unused
SELECT tenant = ?1 FROM payloads AS p
WHERE NOT EXISTS (SELECT 1 FROM payload_uses AS u WHERE u.tenant = p.tenant AND u.hash = p.hash) LIMIT ?2;

-- name: verify_uses
SELECT tenant = ?1, execution FROM payload_uses AS u
WHERE NOT EXISTS (SELECT 1 FROM payloads AS p WHERE p.tenant = u.tenant AND p.hash = u.hash)
  OR NOT EXISTS (SELECT 1 FROM executions AS e WHERE e.tenant = u.tenant AND e.id = u.execution) LIMIT ?2;

-- name: verify_deliveries
SELECT place, id, at, kind, name, body, digest FROM inbox
WHERE tenant = ? AND execution = ? AND place > ? ORDER BY place LIMIT ?;

-- name: verify_awaited_steps
SELECT step FROM awaited WHERE tenant = ? AND execution = ?;

-- name: verify_awaited
SELECT tenant = ?1, execution FROM awaited AS a
WHERE NOT EXISTS (SELECT 1 FROM executions AS e WHERE e.tenant = a.tenant AND e.id = a.execution) LIMIT ?2;

-- name: verify_given_places
SELECT tenant = ?1, execution FROM inbox AS i
WHERE place NOT BETWEEN 1 AND coalesce((SELECT p.last FROM places AS p WHERE p.tenant = i.tenant), 0) LIMIT ?2;

-- name: verify_inbox
SELECT tenant = ?1, execution, taken FROM inbox AS i
WHERE NOT EXISTS (
  SELECT 1 FROM executions AS e WHERE e.tenant = i.tenant AND e.id = i.execution
    AND (i.taken IS NULL OR i.taken BETWEEN 0 AND e.version)) LIMIT ?2;

-- name: verify_doomed
SELECT tenant = ?1, execution FROM doomed AS d
WHERE EXISTS (SELECT 1 FROM executions AS e WHERE e.tenant = d.tenant AND e.id = d.execution) LIMIT ?2;
