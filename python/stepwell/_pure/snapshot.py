"""Draining the journal, and a whole execution as JSON."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from .. import errors, fields, journal
from .._spec import FORMAT, STEP_TERMINAL
from ..clock import Clock
from ..journal import Fields, Malformed, Newer
from .columns import ABSENT, CODES, DESCRIPTION, STATES, Columns

if TYPE_CHECKING:
    from .execution import Execution, Record

_STATE_NAMES = tuple(state.value for state in STATES)


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


def undrained(ex: "Execution") -> list[tuple[int, str, bytes]]:
    """What was not drained yet: time, kind and JSON of each action, the header first if it was not either."""
    flat = iter(ex._pending)
    actions = [
        (at, kind, journal.write_action(kind, at, values))
        for at, kind, values in zip(flat, flat, flat, strict=True)
    ]
    if ex._head is None:
        actions.insert(0, (ex._created, "created", journal.write_action("created", ex._created, header(ex))))
    return actions


def drain(ex: "Execution") -> "list[Record]":
    """Takes the pending records and moves the head of the chain over them."""
    actions = undrained(ex)
    seq = ex._version + 1 - len(actions)
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


# --- the whole execution ------------------------------------------------------------------------------------------


_RARE = (*DESCRIPTION, "retry_at", "error", "reason", "usage", "attempts")


def _steps(ex: "Execution") -> Iterator[Fields]:
    """The fields of each step that are there."""
    columns = ex._columns
    rare = [(field, columns.more[field]) for field in _RARE if columns.more[field]]
    tried = columns.more["tried"]
    ids = columns.lookup.ids(range(len(columns)))
    names, states, attempts, outputs = columns.names, columns.states, columns.attempt, columns.outputs
    for index, step_id in enumerate(ids):
        found: Fields = {
            "id": step_id,
            "name": names[index],
            "state": _STATE_NAMES[states[index]],
            "attempt": attempts[index],
            "scheduled_at": columns.scheduled[index],
            "output": outputs[index],
        }
        if columns.started[index] != ABSENT:
            found["started_at"] = columns.started[index]
            found["tried_at"] = tried.get(index) or columns.started[index]
        if columns.ended[index] != ABSENT:
            found["ended_at"] = columns.ended[index]
        for field, column in rare:
            if index in column:
                found[field] = column[index]
        yield found


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
        "steps": _steps(ex),
    }
    return {name: value for name, value in found.items() if value is not None}


def state(ex: "Execution") -> bytes:
    """Everything that the journal determines; two executions are equal when this is."""
    with ex._lock:
        return journal.write_snapshot({**_fields(ex), "pending": []})


def dump(ex: "Execution") -> bytes:
    """`to_json`."""
    pending = [action for _, kind, action in undrained(ex) if kind != "created"]
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
    for step in values["steps"]:
        _restore(ex._columns, step)
        for counter, amount in step.get("usage", {}).items():
            ex._usage[counter] = ex._usage.get(counter, 0) + amount
    for at, kind, found, _ in values["pending"]:
        ex._pending += (at, kind, found)


def _restore(columns: Columns, step: Fields) -> None:
    described = {field: step[field] for field in DESCRIPTION if field in step}
    made = {"step_id": step["id"], "name": step["name"], **described}
    index = columns.add(made, CODES[step["state"]], step["scheduled_at"], step["attempt"])
    columns.started[index] = step.get("started_at", ABSENT)
    columns.ended[index] = step.get("ended_at", ABSENT)
    columns.outputs[index] = step.get("output")
    for field in _RARE:
        if field in step:
            columns.more[field][index] = step[field]
    if step.get("tried_at") != step.get("started_at"):
        columns.more["tried"][index] = step["tried_at"]


def _check_end(step: Fields) -> None:
    """What comes with the end of a step is there only then, and the next try's time only before it."""
    ended = step["state"] in STEP_TERMINAL
    if ("ended_at" in step) != ended or (not ended and not _ENDS.isdisjoint(step)):
        raise Malformed
    if "retry_at" in step and (step["state"] != "pending" or "attempts" not in step):
        raise Malformed


_ENDS = frozenset({"output", "error", "reason"})


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
        _check_end(step)
        for counter, amount in step.get("usage", {}).items():
            totals[counter] = fields.integer("usage", totals.get(counter, 0) + amount)
