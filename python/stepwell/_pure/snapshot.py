"""Draining and replaying the journal, and a whole execution as JSON."""

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from .. import errors, fields, journal
from .._spec import FORMAT
from ..clock import Clock
from ..journal import Fields, Malformed, Newer
from .reducer import reduce
from .step import Step, made

if TYPE_CHECKING:
    from .execution import Execution, Record


def header(ex: "Execution") -> Fields:
    """The fields of the header that are there."""
    link = ex._parent
    found = {
        "format": FORMAT,
        "id": ex._id,
        "tenant": ex._tenant,
        "parent_type": None if link is None else str(link.parent_type),
        "parent_id": None if link is None else link.parent_id,
        "schema_version": ex._schema_version,
        "blueprint": ex._blueprint,
        "key": ex._key,
        "input": ex._input,
    }
    return {name: value for name, value in found.items() if value is not None}


def _pending(ex: "Execution") -> Iterator[tuple[int, str, Fields]]:
    """The actions that were not drained yet."""
    flat = iter(ex._pending)
    return zip(flat, flat, flat, strict=True)


def drain(ex: "Execution") -> "list[Record]":
    """Takes the pending records and moves the head of the chain over them."""
    actions = [(at, kind, journal.write_action(kind, at, values)) for at, kind, values in _pending(ex)]
    seq = ex._version - len(actions)
    if ex._head is None:
        actions.insert(0, (ex._created, "created", journal.write_action("created", ex._created, header(ex))))
    else:
        seq += 1
    prev = ex._head or journal.NO_DIGEST
    records = []
    for at, kind, action in actions:
        body = journal.record(seq, prev, action)
        records.append((seq, at, kind, body))
        prev = journal.digest(body)
        seq += 1
    ex._pending.clear()
    if records:
        ex._head = prev
    return records


def replay(
    ex: "Execution",
    id: str,
    records: "Iterable[Record | bytes]",
    schema_version: str | None,
    version: int | None,
    clock: Clock | None,
    ids: Callable[[str], str] | None,
) -> None:
    """Fills an empty execution from its records."""
    from ..reading import Reader

    fields.execution_id(id)
    schema_version, version = fields.asked(schema_version, version)
    prev = journal.NO_DIGEST
    index = -1
    for index, record in enumerate(records):
        body = record if isinstance(record, bytes) else _body(index, record)
        try:
            seq, before, at, kind, values = Reader(body).record()
        except Newer as newer:
            errors.replay_newer(newer.found, FORMAT)
        except Malformed:
            errors.not_a_record(index)
        if not isinstance(record, bytes) and not _beside(record, seq, at, kind):
            errors.columns_differ(index)
        if seq != index:
            errors.seq_differs(index, index, seq)
        if before != prev:
            errors.chain_broken(index)
        if (kind == "created") != (index == 0):
            errors.header_misplaced(index)
        try:
            fields.check(kind, values)
            if index:
                _step(ex, at, kind, values)
            else:
                _begin(ex, id, at, values, schema_version, clock, ids)
        except (errors.SchemaMismatch, errors.ReplayError):
            raise
        except errors.StepwellError as error:
            errors.replay(index, str(error))
        prev = journal.digest(body)
    if index < 0:
        errors.journal_empty()
    if version is not None and version != ex._version:
        errors.journal_length(index, ex._version, version)
    ex._head = prev


def _body(index: int, record: object) -> bytes:
    if not isinstance(record, tuple) or len(record) != 4 or not isinstance(record[3], bytes):
        errors.not_record_columns(index)
    return record[3]


def _beside(record: "Record", seq: int, at: int, kind: str) -> bool:
    """Whether what a store keeps beside the body is what the body says, in type too."""
    columns = record[:3]
    return columns == (seq, at, kind) and [type(column) for column in columns] == [int, int, str]


def _begin(
    ex: "Execution",
    id: str,
    at: int,
    values: Fields,
    schema_version: str | None,
    clock: Clock | None,
    ids: Callable[[str], str] | None,
) -> None:
    if values["id"] != id:
        errors.other_execution(values["id"], id)
    recorded = values.get("schema_version")
    if schema_version is not None and recorded != schema_version:
        errors.schema_mismatch(recorded, schema_version)
    ex._begin(values, at, clock, ids)


def _step(ex: "Execution", at: int, kind: str, values: Fields) -> None:
    if at < ex._last:
        errors.time_backwards(at, ex._last)
    reduce(ex, kind, at, values)
    ex._last = at
    ex._version += 1


# --- the whole execution ------------------------------------------------------------------------------------------


_DESCRIPTION = ("name", "type", "key", "parent_step_id", "input", "source", "callable_id", "place")
_MORE = ("retry_at", "error", "reason", "usage", "attempts")


def _step_fields(step: Step) -> Fields:
    found = {
        "id": step._id,
        **{name: step._made.get(name) for name in _DESCRIPTION},
        **{name: step._rest(name) for name in _MORE},
        "state": step._state,
        "attempt": step._attempt,
        "scheduled_at": step._scheduled,
        "started_at": step._started,
        "tried_at": step._tried,
        "ended_at": step._ended,
        "output": step._output,
    }
    return {name: value for name, value in found.items() if value is not None}


def _fields(ex: "Execution") -> Fields:
    found = {
        **header(ex),
        "version": ex._version,
        "state": ex._state,
        "wait_reason": ex._wait,
        "paused_from": ex._paused_from,
        "reason": ex._reason,
        "created_at": ex._created,
        "last_at": ex._last,
        "started_at": ex._started,
        "ended_at": ex._ended,
        "output": ex._output,
        "error": ex._error,
        "steps": [_step_fields(step) for step in ex._order],
    }
    return {name: value for name, value in found.items() if value is not None}


def state(ex: "Execution") -> bytes:
    """Everything that the journal determines; two executions are equal when this is."""
    with ex._lock:
        return journal.write_snapshot({**_fields(ex), "pending": []})


def dump(ex: "Execution") -> bytes:
    """`to_json`."""
    pending = [journal.write_action(kind, at, values) for at, kind, values in _pending(ex)]
    return journal.write_snapshot({**_fields(ex), "head": ex._head, "pending": pending})


def load(ex: "Execution", data: bytes, clock: Clock | None, ids: Callable[[str], str] | None) -> None:
    """`from_json`: fills an empty execution."""
    from ..reading import Reader

    try:
        values = Reader(data).snapshot()
        _check(values)
    except Newer as newer:
        errors.newer_execution(newer.found, FORMAT)
    except (Malformed, TypeError, errors.StepwellError):
        errors.not_an_execution()
    ex._begin(values, values["created_at"], clock, ids)
    ex._version = values["version"]
    ex._head = values.get("head")
    ex._state = values["state"]
    ex._wait = values.get("wait_reason")
    ex._paused_from = values.get("paused_from")
    ex._reason = values.get("reason")
    ex._last = values["last_at"]
    ex._started = values.get("started_at")
    ex._ended = values.get("ended_at")
    ex._output = values.get("output")
    ex._error = values.get("error")
    for index, found in enumerate(values["steps"]):
        step = _loaded(ex, index, found)
        ex._steps[step._id] = step
        ex._order.append(step)
        ex._open += not step.is_terminal
        for counter, amount in (step._rest("usage") or {}).items():
            ex._usage[counter] = ex._usage.get(counter, 0) + amount
    for at, kind, found, _ in values["pending"]:
        ex._pending += (at, kind, found)


def _loaded(ex: "Execution", index: int, found: Fields) -> Step:
    description = {name: found[name] for name in _DESCRIPTION if name in found}
    step = made(ex, index, {"step_id": found["id"], **description}, found["state"], found["scheduled_at"])
    step._attempt = found["attempt"]
    step._started = found.get("started_at")
    step._ended = found.get("ended_at")
    step._output = found.get("output")
    more = {name: found[name] for name in _MORE if name in found}
    if found.get("tried_at") != step._started:
        more["tried"] = found["tried_at"]
    step._more = more or None
    return step


def _check(values: Fields) -> None:
    """Raises for what no execution can be."""
    fields.check_snapshot("execution", values)
    if ("parent_type" in values) != ("parent_id" in values):
        raise Malformed
    pending = values["pending"]
    if not 0 <= len(pending) <= values["version"] or (
        "head" not in values and len(pending) != values["version"]
    ):
        raise Malformed
    for at, kind, found, _ in pending:
        if at is None or at < 0 or kind == "created":
            raise Malformed
        fields.check(kind, found)
    seen: set[str] = set()
    totals: dict[str, int] = {}
    for step in values["steps"]:
        fields.check_snapshot("step", step)
        if step["id"] in seen or not 0 <= step["attempt"] < 2**32:
            raise Malformed
        seen.add(step["id"])
        if "parent_step_id" in step and step["parent_step_id"] not in seen:
            raise Malformed
        over = step["attempt"] - len(
            step.get("attempts", ())
        )  # the attempts that were not retried: one or none
        if (
            over not in (0, 1)
            or (step["state"] == "running" and not over)
            or (step["state"] == "pending" and over)
        ):
            raise Malformed
        started = step.get("started_at")
        if (started is None) != ("tried_at" not in step) or (started is None) != (step["attempt"] == 0):
            raise Malformed
        if step["attempt"] == 1 and step["tried_at"] != started:
            raise Malformed
        if any(start < 0 or end < 0 for start, end, _ in step.get("attempts", ())):
            raise Malformed
        for counter, amount in step.get("usage", {}).items():
            totals[counter] = fields.integer("usage", totals.get(counter, 0) + amount)
