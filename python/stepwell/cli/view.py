"""What the commands print: tables and the timeline for people, JSON for programs."""

import json
import sys
from datetime import datetime
from typing import Any, Final

from ..failures import ExecutionError
from ..runtime.core import Execution, Step
from ..store import ExecutionRow
from .terminal import Console, Table, Text
from .text import safe, size_of_time

SLOWEST: Final = 12
_BAR: Final = 40
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
        "version": row.version,
        "owner": row.owner,
        "created_at": row.created_at.isoformat(),
        "updated_at": row.updated_at.isoformat(),
    }


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
        "steps": [_step_data(step) for step in execution.steps.values()],
    }


def _step_data(step: Step) -> dict[str, Any]:
    return {
        "id": step.id,
        "name": step.name,
        "place": step.place,
        "state": str(step.state),
        "attempt": step.attempt,
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
        state = row.state if row.wait_reason is None else f"{row.state} ({row.wait_reason})"
        table.add_row(
            row.id,
            Text(state, style=_COLOURS.get(row.state, "")),
            Text(safe(row.blueprint or "-")),
            Text(safe(row.key or "-")),
            str(row.version + 1),
            f"{row.updated_at:%Y-%m-%d %H:%M:%S}",
        )
    out.print(table)


def print_execution(out: Console, execution: Execution) -> None:
    """An execution: what it is, how it stands, and its slowest steps."""
    states: dict[str, int] = {}
    for step in execution.steps.values():
        states[str(step.state)] = states.get(str(step.state), 0) + 1
    steps = ", ".join(f"{count} {state}" for state, count in sorted(states.items())) or "none"
    lines = [("execution", execution.id), ("blueprint", execution.blueprint), ("key", execution.key)]
    lines += [("state", execution.state), ("reason", execution.reason), ("steps", steps)]
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
