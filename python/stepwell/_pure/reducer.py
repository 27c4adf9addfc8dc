"""The reducer: state x action -> state, or an error and no change. All legality is decided here, from the table."""

from typing import TYPE_CHECKING, Any, NoReturn

from .. import errors
from .._spec import (
    BULK,
    EXECUTION_ACTIONS,
    EXECUTION_TERMINAL,
    STEP_ACTIONS,
    STEP_ALLOWED_WHILE,
)
from ..fields import count_of, elements
from ..journal import Fields
from .columns import ABSENT, DESCRIPTION, FIRST, NEXT, OPEN, REFUSED, STATES, fill, of, put
from .limits import MAX_STEPS, check_growth, check_payload, check_payloads, check_usage
from .lookup import Indices, joined

if TYPE_CHECKING:
    from .execution import Execution

_SHOWN_STEPS = 5

_SINGLE = {**{kind: kind for kind in STEP_ACTIONS}, **BULK}


def reduce(ex: "Execution", kind: str, at: int, fields: Fields, known: "Indices | None" = None) -> Any:
    """Applies an action and returns where the steps are that it is about; raises and changes nothing.

    That is one position for an action of one step, several for one of many. `known` are those of a bulk action's steps
    where they need not be looked for.
    """
    single = _SINGLE.get(kind)
    if single is None:
        return _execution(ex, kind, at, fields)
    allowed = STEP_ALLOWED_WHILE.get(ex._state)
    if allowed is None or single not in allowed:
        _refuse(ex, kind)
    if single != kind:
        return _bulk(ex, single, at, fields, known)
    columns = ex._columns
    lookup = columns.lookup
    index = lookup.by_text.get(fields["step_id"])
    if index is None and lookup.by_number:
        index = lookup.find(fields["step_id"])
    if index is None:
        if kind not in FIRST:
            errors.unknown_step(fields["step_id"])
        _check_new(ex, fields)
        if ex._limits is not None or len(columns.states) >= MAX_STEPS:
            check_growth(ex, 1, at)
            check_payload(ex, fields)
        return columns.add(fields, FIRST[kind], at, kind == "step_started")
    _check_existing(ex, index, kind, fields)
    if kind == "step_usage":
        check_usage(ex, index, fields)
    if ex._limits is not None:
        if kind == "step_started":
            check_growth(ex, 0, at)
        check_payload(ex, fields)
    _change(ex, index, kind, at, fields)
    return index


# --- the execution ------------------------------------------------------------------------------------------------


def _refuse(ex: "Execution", kind: str) -> NoReturn:
    if ex._state in EXECUTION_TERMINAL:
        errors.terminal_execution(ex._state, kind)
    errors.invalid_transition(ex._state, kind)


def _execution(ex: "Execution", kind: str, at: int, fields: Fields) -> None:
    row = EXECUTION_ACTIONS[kind]
    target = row.get(ex._state)
    if target is None:
        _refuse(ex, kind)
    columns = ex._columns
    if kind == "complete" and columns.open:
        errors.open_steps(columns.open, columns.lookup.ids(columns.in_states(OPEN)[:_SHOWN_STEPS]))
    waited: int | None = None
    if kind == "input_received" and "step_id" in fields:
        waited = _find(ex, fields["step_id"])
        step_type = columns.more["type"].get(waited, "function")
        if step_type != "wait":
            errors.not_a_wait(fields["step_id"], step_type)
        _check_existing(ex, waited, "step_completed", fields)
    check_payload(ex, fields)
    if waited is not None:
        _change(ex, waited, "step_completed", at, {"output": fields.get("payload")})
    _enter(ex, kind, at, fields, str(target))


def _enter(ex: "Execution", kind: str, at: int, fields: Fields, target: str) -> None:
    if kind == "pause":
        ex._paused_from = ex._state
    elif target == "*":
        target = ex._paused_from or "running"
        ex._paused_from = None
    elif kind == "input_received" and ex._paused_from == "waiting":
        ex._paused_from = "running"  # what it waited for is there
        ex._wait = None
    if kind == "wait":
        ex._wait = fields["reason"]
    elif target not in ("waiting", "paused"):
        ex._wait = None
    if kind in ("plan", "start") and ex._started is None:
        ex._started = at
    if kind in ("pause", "cancel"):
        ex._reason = fields.get("reason")
    elif kind == "resume":
        ex._reason = None
    if kind in ("fail", "cancel"):
        _change_many(ex, ex._columns.in_states(OPEN), "step_cancelled", at, {})
    if target in EXECUTION_TERMINAL:
        ex._ended = at
        ex._paused_from = None
        ex._output = fields.get("output")
        ex._error = fields.get("error")
    ex._state = target


# --- steps --------------------------------------------------------------------------------------------------------


def _find(ex: "Execution", step_id: str) -> int:
    index = ex._columns.lookup.find(step_id)
    if index is None:
        errors.unknown_step(step_id)
    return index


def _check_new(ex: "Execution", fields: Fields) -> None:
    if "name" not in fields:
        errors.missing_field("step_started", "name")
    parent = fields.get("parent_step_id")
    if parent is not None:
        _find(ex, parent)


def _check_existing(ex: "Execution", index: int, kind: str, fields: Fields) -> None:
    columns = ex._columns
    if kind == "step_scheduled":
        errors.duplicate_step(columns.lookup.text(index))
    state = columns.states[index]
    if NEXT[kind][state] == REFUSED:
        errors.invalid_step_transition(columns.lookup.text(index), STATES[state].value, kind)
    if kind == "step_started":
        name = fields.get("name")
        if name is not None and name != columns.names[index]:
            errors.step_name_differs(columns.lookup.text(index), columns.names[index], name)
        if any(field in fields for field in DESCRIPTION):
            errors.step_already_described(columns.lookup.text(index))


def _change(ex: "Execution", index: int, kind: str, at: int, fields: Fields) -> None:
    columns = ex._columns
    if ex._undo is not None:
        ex._undo.touch(range(index, index + 1))
    more = columns.more
    before = columns.states[index]
    after = NEXT[kind][before]
    if kind == "step_usage":
        counter, amount = fields["counter"], fields["amount_micros"]
        usage = more["usage"].get(index, {})
        more["usage"][index] = {**usage, counter: usage.get(counter, 0) + amount}
        ex._usage[counter] = ex._usage.get(counter, 0) + amount
        return
    if kind == "step_started":
        columns.attempt[index] += 1
        if columns.started[index] == ABSENT:
            columns.started[index] = at
        else:
            more["tried"][index] = at
            more["retry_at"].pop(index, None)
    elif kind == "step_retrying":
        past = more["attempts"].get(index, ())
        more["attempts"][index] = (*past, (columns.tried(index), at, fields["error"]))
        if "retry_at" in fields:
            more["retry_at"][index] = fields["retry_at"]
        else:
            more["retry_at"].pop(index, None)
    else:
        columns.ended[index] = at
        columns.outputs[index] = fields.get("output")
        for field, column in columns.at_end:
            if field in fields:
                column[index] = fields[field]
            elif column:
                column.pop(index, None)
    columns.states[index] = after
    columns.counts[before] -= 1
    columns.counts[after] += 1


# --- bulk ---------------------------------------------------------------------------------------------------------


def _bulk(ex: "Execution", kind: str, at: int, fields: Fields, known: "Indices | None") -> Indices:
    """All of one action: the steps are all new, or all there, else they are looked at one by one."""
    lookup = ex._columns.lookup
    runs = fields["steps"]
    count = count_of(fields) or 0
    new = kind in FIRST and known is None and lookup.are_new(runs)
    there = None if new else lookup.places(runs) if known is None else known
    if new:
        fresh = count
        allowed = not count or _may_be_made(ex, fields)
    else:
        fresh = 0
        allowed = there is not None and _may_change(ex, kind, there, fields)
    if not allowed:
        fresh = _check_each(ex, kind, fields)
    if kind in FIRST:
        check_growth(ex, fresh, at)
    check_payloads(ex, fields)
    if new:
        return ex._columns.add_many(runs, count, fields, FIRST[kind], at, kind == "step_started")
    if there is not None:
        _change_many(ex, there, kind, at, fields)
        return there if isinstance(there, range) else joined([there])
    return joined([[_make_or_start(ex, kind, at, element) for element in elements(fields)]])


def _may_be_made(ex: "Execution", fields: Fields) -> bool:
    """Whether new steps can be made of this."""
    parent = fields.get("parent_step_id")
    return ("name" in fields or "names" in fields) and (
        parent is None or ex._columns.lookup.find(parent) is not None
    )


_GIVEN = (*DESCRIPTION, "keys", "inputs", "places")


def _may_change(ex: "Execution", kind: str, there: Indices, fields: Fields) -> bool:
    """Whether what a bulk action says is allowed for all of these steps. If not, `_check_each` says which is first."""
    columns = ex._columns
    if REFUSED in columns.states_at(there).translate(NEXT[kind]):
        return False
    if not isinstance(there, range) and len({*there}) != len(there):
        return False
    if kind != "step_started":
        return True
    names = of(columns.names, there)
    given = fields.get("names")
    if given is None:
        given = [fields["name"]] * len(names) if "name" in fields else names
    return bool(given == names) and not any(field in fields for field in _GIVEN)


def _check_each(ex: "Execution", kind: str, fields: Fields) -> int:
    """Raises for the first element that is not allowed; returns how many of the steps are new."""
    seen: set[str] = set()
    fresh = 0
    for index, element in enumerate(elements(fields)):
        step_id = element["step_id"]
        try:
            if step_id in seen:
                errors.duplicate_step(step_id)
            seen.add(step_id)
            place = ex._columns.lookup.find(step_id)
            if place is not None:
                _check_existing(ex, place, kind, element)
            elif kind in FIRST:
                _check_new(ex, element)
                fresh += 1
            else:
                errors.unknown_step(step_id)
        except errors.StepwellError as error:
            error.index = index
            error.step_id = error.step_id or step_id
            raise
    return fresh


def _make_or_start(ex: "Execution", kind: str, at: int, fields: Fields) -> int:
    index = ex._columns.lookup.find(fields["step_id"])
    if index is None:
        return ex._columns.add(fields, FIRST[kind], at, kind == "step_started")
    _change(ex, index, kind, at, fields)
    return index


def _change_many(ex: "Execution", there: Indices, kind: str, at: int, fields: Fields) -> None:
    """`_change` of many at once, for the kinds that there are in bulk."""
    columns = ex._columns
    if kind == "step_started" and any(of(columns.attempt, there)):
        for index in there:  # some are started again
            _change(ex, index, kind, at, fields)
        return
    if ex._undo is not None:
        ex._undo.touch(there)
    if kind == "step_started":
        fill(columns.attempt, there, 1)
        fill(columns.started, there, at)
    else:
        fill(columns.ended, there, at)
        put(columns.outputs, there, fields.get("outputs") or [fields.get("output")] * len(there))
        for field, column in columns.at_end:
            if field + "s" in fields:
                column.update(zip(there, fields[field + "s"], strict=True))
            elif field in fields:
                column.update(dict.fromkeys(there, fields[field]))
            else:
                columns.clear(field, there)
    columns.move(there, columns.states_at(there).translate(NEXT[kind]))
