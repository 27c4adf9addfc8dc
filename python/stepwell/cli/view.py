"""What the commands print: tables and the timeline for people, JSON for programs."""

import base64
import json
import sys
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final

from .. import clock
from ..failures import ExecutionError
from ..runtime.core import Execution, Step
from ..store import ExecutionRow, Record
from .terminal import Console, Table, Text
from .text import safe, size_of_time

SLOWEST: Final = 12
_BAR: Final = 40
_DEEPEST: Final = 12
_COLOURS: Final = {"completed": "green", "failed": "red", "cancelled": "yellow", "paused": "yellow"}


def console() -> Console:
    """The standard output; where it is no terminal, plain and wide."""
    return Console() if sys.stdout.isatty() else Console(width=160, no_color=True, highlight=False)


def print_json(value: Any) -> None:
    """One JSON value on one line."""
    sys.stdout.write(json.dumps(value, ensure_ascii=True, default=str) + "\n")


def row_data(row: ExecutionRow) -> dict[str, Any]:
    """A row as JSON."""
    return {
        "id": row.id,
        "blueprint": row.blueprint,
        "key": row.key,
        "state": row.state,
        "wait_reason": row.wait_reason,
        "schema_version": row.schema_version,
        "parent": row.parent_id,
        "version": row.version,
        "head": row.head,
        "owner": row.owner,
        "claims": row.claims,
        "created_at": row.created_at.isoformat(),
        "updated_at": row.updated_at.isoformat(),
        "wake_at": None if row.wake_at_ns is None else clock.from_ns(row.wake_at_ns).isoformat(),
    }


def record_json(record: Record) -> str:
    """A record as it is stored: the same numbers and texts, in ASCII. One that is no JSON is shown in base 64."""
    seq, at, kind, body = record
    try:
        text = body.decode()
        json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        shown = {"seq": seq, "at": at, "kind": kind, "damaged": base64.b64encode(body).decode()}
        return json.dumps(shown)
    if text.isascii():
        return text
    return "".join(char if char.isascii() else json.dumps(char)[1:-1] for char in text)


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def print_json_array(values: Iterable[str]) -> None:
    """An array of JSON values, each on a line of its own."""
    mark = "["
    for value in values:
        sys.stdout.write(mark + value)
        mark = ",\n"
    sys.stdout.write("[]\n" if mark == "[" else "]\n")


def execution_data(execution: Execution) -> dict[str, Any]:
    """An execution with its steps as JSON."""
    return {
        "id": execution.id,
        "tenant": execution.tenant_id,
        "blueprint": execution.blueprint,
        "key": execution.key,
        "state": str(execution.state),
        "wait_reason": None if execution.wait_reason is None else str(execution.wait_reason),
        "reason": execution.reason,
        "schema_version": execution.schema_version,
        "version": execution.version,
        "created_at": _time(execution.created_at),
        "started_at": _time(execution.started_at),
        "ended_at": _time(execution.ended_at),
        "duration_ms": execution.duration_ms,
        "input": execution.input,
        "output": execution.output,
        "error": _error(execution.error),
        "steps": [step_data(step) for step in execution.steps.values()],
    }


def step_data(step: Step) -> dict[str, Any]:
    """A step as JSON."""
    return {
        "id": step.id,
        "parent": step.parent_step_id,
        "name": step.name,
        "type": str(step.step_type),
        "key": step.key,
        "place": step.place,
        "state": str(step.state),
        "attempt": step.attempt,
        "retry_at": _time(step.retry_at),
        "waits_for": waits_for(step),
        "started_at": _time(step.started_at),
        "ended_at": _time(step.ended_at),
        "duration_ms": step.duration_ms,
        "input": step.input,
        "output": step.output,
        "error": _error(step.error),
    }


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _error(error: ExecutionError | None) -> dict[str, Any] | None:
    return None if error is None else error.to_dict()


def print_rows(out: Console, rows: list[ExecutionRow]) -> None:
    """Executions as a table."""
    table = Table(box=None, pad_edge=False)
    for title in ("id", "state", "blueprint", "key", "records", "updated"):
        table.add_column(title, no_wrap=title == "id")
    for row in rows:
        state = safe(row.state if row.wait_reason is None else f"{row.state} ({row.wait_reason})")
        table.add_row(
            Text(safe(row.id)),
            Text(state, style=_COLOURS.get(row.state, "")),
            Text(safe(row.blueprint or "-")),
            Text(safe(row.key or "-")),
            str(row.version + 1),
            f"{row.updated_at:%Y-%m-%d %H:%M:%S}",
        )
    out.print(table)


def print_counts(out: Console, states: dict[str, int]) -> None:
    """How many executions there are in each state."""
    for state, count in states.items():
        out.print(Text(f"{count:>10,} {safe(state)}", style=_COLOURS.get(state, "")))
    out.print(Text(f"{sum(states.values()):>10,} in all"))


def tree(execution: Execution) -> list[tuple[int, Step]]:
    """The steps of an execution with their depth, each group followed by what is in it."""
    inside: dict[str | None, list[Step]] = {}
    for step in execution.steps.values():
        inside.setdefault(step.parent_step_id, []).append(step)
    found: list[tuple[int, Step]] = []
    left = [(0, step) for step in reversed(inside.pop(None, []))]
    while left:
        depth, step = left.pop()
        found.append((depth, step))
        left += [(depth + 1, inner) for inner in reversed(inside.pop(step.id, []))]
    return found


def waits_for(step: Step) -> str | None:
    """What an open step waits for, in words; `None` where it does not wait."""
    given = step.input if isinstance(step.input, dict) else {}
    if step.is_terminal:
        return None
    if step.retry_at is not None and str(step.state) == "pending":
        return f"its next attempt at {_moment(step.retry_at)}"
    if str(step.step_type) == "child":
        return f"execution {step.key}"
    if str(step.step_type) != "wait" or step.started_at is None:
        return None
    if "ns" in given:
        return f"the time {_later(step.started_at, given['ns'])}"
    limit = given.get("timeout_ns")
    until = "" if limit is None else f", until {_later(step.started_at, limit)}"
    return ("the signal" if "reason" in given else f"an answer to {step.id}") + until


def _later(moment: datetime, nanoseconds: Any) -> str:
    known = isinstance(nanoseconds, int) and nanoseconds < 2**62
    return _moment(moment + timedelta(microseconds=nanoseconds // 1000)) if known else "?"


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}"


def print_steps(out: Console, execution: Execution) -> None:
    """The steps of an execution as a table, those of a group under it."""
    table = Table(box=None, pad_edge=False)
    for title in ("id", "state", "name", "type", "attempt", "place", "took", "waits for"):
        table.add_column(title, no_wrap=title in ("id", "took"))
    for depth, step in tree(execution):
        state = str(step.state)
        took = "-" if step.duration_ms is None else size_of_time(step.duration_ms)
        table.add_row(
            step.id,
            Text(state, style=_COLOURS.get(state, "")),
            Text("  " * min(depth, _DEEPEST) + safe(step.name)),
            str(step.step_type),
            str(step.attempt),
            Text(safe(step.place or "-")),
            took,
            Text(safe(waits_for(step) or "")),
        )
    out.print(table)


def print_broken(out: Console, broken: dict[str, Any]) -> None:
    """An execution that cannot go on, and why: both sides and the line of the code."""
    out.print(Text(f"{broken['id']} of {safe(broken['blueprint'])} is {broken['state']}"))
    out.print(Text(f"  {safe(broken['message'], 2000)}", style="red"))
    for name in ("place", "source"):
        if broken[name] is not None:
            out.print(Text(f"  {name:<9} {safe(broken[name], 2000)}"))
    for name in ("recorded", "called"):
        side = broken[name]
        if side is not None:
            given = json.dumps(side["input"], ensure_ascii=False)
            out.print(Text(f"  {name:<9} {safe(side['name'])} {safe(given, 500)}"))


def print_records(out: Console, records: Iterable[Record]) -> None:
    """Records, a line for each, cut to the width: `--json` and `--raw` have all of them."""
    out.print(Text(f"{'seq':>8}  {'at':<23}  record"))
    for seq, at, kind, body in records:
        moment = f"{clock.from_ns(at):%Y-%m-%d %H:%M:%S.%f}"[:23]
        start = f"{seq:>8}  {moment}  {safe(kind, 40)} "
        out.print(Text(start + _fields(body, max(20, out.width - len(start)))), no_wrap=True, crop=False)


def _fields(body: bytes, width: int) -> str:
    """What a record says beside its place, its time and its kind."""
    text = body[: 4 * width + 200].decode(errors="replace")
    _, mark, rest = text.partition(',"kind":"')
    return safe(rest.partition('"')[2].removeprefix(",").removesuffix("}") if mark else text, width)


def print_execution(out: Console, execution: Execution) -> None:
    """An execution: what it is, how it stands, and its slowest steps."""
    states: dict[str, int] = {}
    for step in execution.steps.values():
        states[str(step.state)] = states.get(str(step.state), 0) + 1
    steps = ", ".join(f"{count} {state}" for state, count in sorted(states.items())) or "none"
    lines = [("execution", execution.id), ("blueprint", execution.blueprint), ("key", execution.key)]
    lines += [("state", execution.state), ("reason", execution.reason), ("steps", steps)]
    lines += [
        ("waits for", f"{step.name}: {what}")
        for step in execution.steps.values()
        if (what := waits_for(step))
    ]
    if execution.duration_ms is not None:
        lines.append(("duration", size_of_time(execution.duration_ms)))
    for name, value in lines:
        if value is not None:
            out.print(Text(f"{name:<10} {safe(value, 2000)}"))
    if execution.error is not None:
        out.print(Text(f"{'error':<10} {safe(execution.error, 2000)}", style="red"))
    if execution.output is not None:
        print_value(out, execution.output)
    print_timeline(out, execution)


def print_value(out: Console, value: Any) -> None:
    """A result: an object line by line, anything else as JSON."""
    if not isinstance(value, dict):
        out.print(Text(f"{'result':<10} {safe(json.dumps(value, ensure_ascii=False), 4000)}"))
        return
    out.print(Text("result"))
    for name, part in value.items():
        shown = part if isinstance(part, str) else json.dumps(part, ensure_ascii=False)
        out.print(Text(f"  {safe(name, 40):<12} {safe(shown, 2000)}"))


def print_timeline(out: Console, execution: Execution) -> None:
    """The slowest steps, each with a bar where it lay in the whole."""
    start = execution.started_at
    timed = [
        (step.duration_ms or 0.0, step) for step in execution.steps.values() if step.started_at is not None
    ]
    if start is None or not timed:
        return
    slowest = sorted(timed, key=lambda pair: pair[0], reverse=True)[:SLOWEST]
    begins = {step.id: (_at(step) - start).total_seconds() * 1000 for _, step in slowest}
    total = max(begins[step.id] + duration for duration, step in slowest) or 1.0
    out.print(Text(f"slowest steps of {len(timed)}, over {size_of_time(total)}"))
    width = max(8, min(48, out.width - _BAR - 24))
    for duration, step in sorted(slowest, key=lambda pair: begins[pair[1].id]):
        first = min(_BAR - 1, int(begins[step.id] / total * _BAR))
        length = max(1, min(_BAR - first, round(duration / total * _BAR)))
        line = Text(f"  {safe(step.name, width):<{width}} ")
        line.append(
            " " * first + "█" * length + " " * (_BAR - first - length), _COLOURS.get(str(step.state), "cyan")
        )
        line.append(f" {size_of_time(duration):>9}")
        out.print(line, no_wrap=True, crop=False, overflow="ignore")


def _at(step: Step) -> datetime:
    assert step.started_at is not None
    return step.started_at
