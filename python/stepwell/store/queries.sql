-- Every statement that the SQLite store runs, each under its name. Parameters are bound in order; nothing is pasted in.

-- name: insert_execution
INSERT INTO executions (tenant, id, blueprint, key, schema_version, parent_type, parent_id, state, wait_reason,
                        version, head, epoch, owner, created_at, updated_at, wake_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1, ?, ?, ?, ?);

-- name: insert_record
INSERT INTO journal (tenant, execution, seq, at, kind, body, action_id) VALUES (?, ?, ?, ?, ?, ?, ?);

-- name: fence
SELECT version, epoch, owner FROM executions WHERE tenant = ? AND id = ?;

-- name: action_id
SELECT action_id FROM journal WHERE tenant = ? AND execution = ? AND seq = ?;

-- name: advance
UPDATE executions SET state = ?, wait_reason = ?, version = ?, head = ?, updated_at = ?, wake_at = ?
WHERE tenant = ? AND id = ?;

-- name: claim
UPDATE executions SET owner = ?, epoch = epoch + 1 WHERE tenant = ? AND id = ? AND epoch = ?;

-- name: release
UPDATE executions SET owner = NULL WHERE tenant = ? AND id = ? AND epoch = ?;

-- name: get
SELECT id, blueprint, key, schema_version, parent_type, parent_id, state, wait_reason, version, head, epoch, owner,
       created_at, updated_at, wake_at
FROM executions WHERE tenant = ? AND id = ?;

-- name: find
SELECT id, blueprint, key, schema_version, parent_type, parent_id, state, wait_reason, version, head, epoch, owner,
       created_at, updated_at, wake_at
FROM executions WHERE tenant = ? AND blueprint = ? AND key = ?;

-- name: list
SELECT id, blueprint, key, schema_version, parent_type, parent_id, state, wait_reason, version, head, epoch, owner,
       created_at, updated_at, wake_at
FROM executions WHERE tenant = ? AND id < ? ORDER BY id DESC LIMIT ?;

-- name: list_state
SELECT id, blueprint, key, schema_version, parent_type, parent_id, state, wait_reason, version, head, epoch, owner,
       created_at, updated_at, wake_at
FROM executions WHERE tenant = ? AND state = ? AND id < ? ORDER BY id DESC LIMIT ?;

-- name: load
SELECT seq, at, kind, body FROM journal WHERE tenant = ? AND execution = ? AND seq > ? ORDER BY seq LIMIT ?;

-- name: format
SELECT name, value FROM meta WHERE name IN ('min_reader', 'min_writer');
