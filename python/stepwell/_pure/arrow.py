"""The steps of an execution as an Arrow table, made with pyarrow."""

from typing import TYPE_CHECKING, Any

from .. import errors
from ..failures import ExecutionError
from .columns import ABSENT, STATES, durations, of
from .lookup import Indices

if TYPE_CHECKING:
    from .execution import Execution

_SPARSE = ("parent_step_id", "type", "input", "error", "place")


def stream(ex: "Execution", at: Indices) -> object:
    """The steps at these positions, by the Arrow C stream interface."""
    try:
        import pyarrow as pa
    except ModuleNotFoundError as missing:
        if missing.name != "pyarrow":
            raise
        errors.no_pyarrow()
    found = columns(ex, at)
    schema = _schema(pa)
    names = {name: code for code, name in enumerate(dict.fromkeys(found["name"]))}
    codes = pa.array([names[name] for name in found["name"]], pa.int32())
    arrays = [
        pa.DictionaryArray.from_arrays(codes, pa.array(list(names), pa.string()))
        if field.name == "name"
        else pa.array(found[field.name], field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(arrays, schema=schema).__arrow_c_stream__()


def _schema(pa: Any) -> Any:
    time = pa.timestamp("ns", tz="UTC")
    return pa.schema(
        [
            pa.field("id", pa.string(), nullable=False),
            pa.field("parent_step_id", pa.string()),
            pa.field("name", pa.dictionary(pa.int32(), pa.string()), nullable=False),
            pa.field("type", pa.string(), nullable=False),
            pa.field("state", pa.string(), nullable=False),
            pa.field("attempt", pa.uint32(), nullable=False),
            pa.field("scheduled_at", time, nullable=False),
            pa.field("started_at", time),
            pa.field("ended_at", time),
            pa.field("duration_ns", pa.int64()),
            pa.field("queued_ns", pa.int64(), nullable=False),
            pa.field("input", pa.large_string()),
            pa.field("output", pa.large_string()),
            pa.field("error_category", pa.string()),
            pa.field("error_code", pa.string()),
            pa.field("error_message", pa.string()),
            pa.field("place", pa.string()),
        ]
    )


def columns(ex: "Execution", at: Indices) -> dict[str, Any]:
    """The columns by name, as plain values; payloads are the bytes of their JSON."""
    with ex._lock:
        all_ = ex._columns
        ids, names, outputs = all_.lookup.ids(at), of(all_.names, at), of(all_.outputs, at)
        states, attempt = all_.states_at(at), of(all_.attempt, at)
        scheduled, started, ended = of(all_.scheduled, at), of(all_.started, at), of(all_.ended, at)
        sparse = {field: _taken(all_.more[field], at) for field in _SPARSE}
    now = ex._now()  # after the times that it is compared with
    failures = [None if error is None else ExecutionError.from_json(error) for error in sparse["error"]]
    return {
        "id": ids,
        "parent_step_id": sparse["parent_step_id"],
        "name": names,
        "type": [step_type or "function" for step_type in sparse["type"]],
        "state": [*map([state.value for state in STATES].__getitem__, states)],
        "attempt": attempt,
        "scheduled_at": scheduled,
        "started_at": [None if time == ABSENT else time for time in started],
        "ended_at": [None if time == ABSENT else time for time in ended],
        "duration_ns": durations(started, ended, now),
        "queued_ns": [
            (start if start != ABSENT else end if end != ABSENT else now) - made
            for made, start, end in zip(scheduled, started, ended, strict=True)
        ],
        "input": sparse["input"],
        "output": outputs,
        "error_category": [None if error is None else error.category.value for error in failures],
        "error_code": [
            None if error is None or error.code is None else str(error.code) for error in failures
        ],
        "error_message": [None if error is None else error.message for error in failures],
        "place": sparse["place"],
    }


def _taken(column: dict[int, Any], at: Indices) -> list[Any]:
    return [*map(column.get, at)] if column else [None] * len(at)
