"""The reducer: state x action -> state, or an error and no change. All legality is decided here, from the table."""

from typing import TYPE_CHECKING, Any, NoReturn

from .. import errors
from .._spec import (
    BULK,
    EXECUTION_ACTIONS,
    EXECUTION_TERMINAL,
    STEP_ACTIONS,
    STEP_ALLOWED_WHILE,
    STEP_TERMINAL,
)
from ..fields import MICRO
from ..journal import Fields, ids_of
from .step import Step, made

if TYPE_CHECKING:
    from .execution import Execution

_MAX_STEPS = 2**32 - 1
_SHOWN_STEPS = 5


_SINGLE = {**{kind: kind for kind in STEP_ACTIONS}, **BULK}
_MAKES_STEPS = frozenset(kind for kind, row in STEP_ACTIONS.items() if "new" in row)


def reduce(ex: "Execution", kind: str, at: int, fields: Fields) -> list[int]:
    """Applies an action and returns the positions of the steps that it is about; raises and changes nothing."""
    single = _SINGLE.get(kind)
    if single is None:
        return _execution(ex, kind, at, fields)
    allowed = STEP_ALLOWED_WHILE.get(ex._state)
    if allowed is None or single not in allowed:
        _refuse(ex, kind)
    if single != kind:
        return _bulk(ex, single, at, fields)
    step = ex._steps.get(fields["step_id"])
    if step is None:
        if kind not in _MAKES_STEPS:
            errors.unknown_step(fields["step_id"])
        _check_new(ex, fields)
        _check_growth(ex, 1, at)
        check_payload(ex, fields)
        return [_create(ex, kind, at, fields)]
    _check_existing(step, kind, fields)
    if kind == "step_usage":
        _check_usage(ex, step, fields)
    elif kind == "step_started":
        _check_growth(ex, 0, at)
    check_payload(ex, fields)
    _change(ex, step, kind, at, fields)
    return [step._index]


# --- the execution ------------------------------------------------------------------------------------------------


def _refuse(ex: "Execution", kind: str) -> NoReturn:
    if ex._state in EXECUTION_TERMINAL:
        errors.terminal_execution(ex._state, kind)
    errors.invalid_transition(ex._state, kind)


def _execution(ex: "Execution", kind: str, at: int, fields: Fields) -> list[int]:
    row = EXECUTION_ACTIONS[kind]
    target = row.get(ex._state)
    if target is None:
        _refuse(ex, kind)
    if kind == "complete" and ex._open:
        first = [step._id for step in _open_steps(ex)][:_SHOWN_STEPS]
        errors.open_steps(ex._open, first)
    touched: list[int] = []
    if kind == "input_received" and "step_id" in fields:
        step = _find(ex, fields["step_id"])
        if step._type != "wait":
            errors.not_a_wait(step._id, step._type)
        _check_existing(step, "step_completed", fields)
        touched.append(step._index)
    check_payload(ex, fields)
    for index in touched:
        _change(ex, ex._step_at(index), "step_completed", at, {"output": fields.get("payload")})
    _enter(ex, kind, at, fields, str(target))
    return touched


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
        for step in _open_steps(ex):
            _change(ex, step, "step_cancelled", at, {})
    if target in EXECUTION_TERMINAL:
        ex._ended = at
        ex._paused_from = None
        ex._output = fields.get("output")
        ex._error = fields.get("error")
    ex._state = target


def _open_steps(ex: "Execution") -> list[Step]:
    return [step for step in ex._steps.values() if step._state not in STEP_TERMINAL]


# --- steps --------------------------------------------------------------------------------------------------------


def _add(step: Step, **more: Any) -> None:
    step._more = {**(step._more or {}), **more}


def _find(ex: "Execution", step_id: str) -> Step:
    step = ex._steps.get(step_id)
    if step is None:
        errors.unknown_step(step_id)
    return step


def _check_new(ex: "Execution", fields: Fields) -> None:
    if "name" not in fields:
        errors.missing_field("step_started", "name")
    parent = fields.get("parent_step_id")
    if parent is not None:
        _find(ex, parent)


_DESCRIPTION = ("type", "key", "parent_step_id", "input", "source", "callable_id", "place")


def _check_existing(step: Step, kind: str, fields: Fields) -> None:
    row = STEP_ACTIONS[kind]
    if kind == "step_scheduled":
        errors.duplicate_step(step._id)
    if step._state not in row:
        errors.invalid_step_transition(step._id, step._state, kind)
    if kind == "step_started":
        name = fields.get("name")
        if name is not None and name != step.name:
            errors.step_name_differs(step._id, step.name, name)
        if any(field in fields for field in _DESCRIPTION):
            errors.step_already_described(step._id)


def _create(ex: "Execution", kind: str, at: int, fields: Fields) -> int:
    index = len(ex._order)
    step = made(ex, index, fields, STEP_ACTIONS[kind]["new"], at)
    if kind == "step_started":
        step._attempt = 1
        step._started = at
    ex._steps[step._id] = step
    ex._order.append(step)
    ex._open += 1
    return index


def _change(ex: "Execution", step: Step, kind: str, at: int, fields: Fields) -> None:
    if ex._undo is not None:
        ex._undo.touch(step)
    if kind == "step_usage":
        counter, amount = fields["counter"], fields["amount_micros"]
        usage = step._rest("usage") or {}
        _add(step, usage={**usage, counter: usage.get(counter, 0) + amount})
        ex._usage[counter] = ex._usage.get(counter, 0) + amount
        return
    state = STEP_ACTIONS[kind][step._state]
    if kind == "step_started":
        step._attempt += 1
        if step._started is None:
            step._started = at
        else:
            _add(step, tried=at, retry_at=None)
    elif kind == "step_retrying":
        past = (*(step._rest("attempts") or ()), (step._tried or 0, at, fields["error"]))
        _add(step, attempts=past, retry_at=fields.get("retry_at"))
    else:
        step._ended = at
        step._output = fields.get("output")
        if step._more is not None or "error" in fields or "reason" in fields:
            _add(step, retry_at=None, error=fields.get("error"), reason=fields.get("reason"))
        ex._open -= 1
    step._state = state


# --- bulk ---------------------------------------------------------------------------------------------------------


def _bulk(ex: "Execution", kind: str, at: int, fields: Fields) -> list[int]:
    ids = ids_of(fields["steps"])
    elements = [_element(fields, index, step_id) for index, step_id in enumerate(ids)]
    seen: set[str] = set()
    fresh = 0
    for index, element in enumerate(elements):
        try:
            step_id = element["step_id"]
            if step_id in seen:
                errors.duplicate_step(step_id)
            seen.add(step_id)
            if kind in _MAKES_STEPS and step_id not in ex._steps:
                _check_new(ex, element)
                fresh += 1
            else:
                _check_existing(_find(ex, step_id), kind, element)
        except errors.StepwellError as error:
            error.index = index
            raise
    if kind in _MAKES_STEPS:
        _check_growth(ex, fresh, at)
    for element in elements:
        check_payload(ex, element)
    touched = []
    for element in elements:
        step = ex._steps.get(element["step_id"])
        if step is None:
            touched.append(_create(ex, kind, at, element))
        else:
            _change(ex, step, kind, at, element)
            touched.append(step._index)
    return touched


_SINGULAR = (
    ("names", "name"),
    ("keys", "key"),
    ("inputs", "input"),
    ("outputs", "output"),
    ("errors", "error"),
    ("places", "place"),
)
_SHARED = ("name", "type", "parent_step_id", "input", "source", "callable_id", "output", "error", "reason")


def _element(fields: Fields, index: int, step_id: str) -> Fields:
    """The fields of the single action that a bulk action stands for at this position."""
    element: Fields = {"step_id": step_id}
    for name in _SHARED:
        if name in fields:
            element[name] = fields[name]
    for many, one in _SINGULAR:
        if many in fields and fields[many][index] is not None:
            element[one] = fields[many][index]
    return element


# --- limits -------------------------------------------------------------------------------------------------------


def _quota(ex: "Execution", limit: str, used: float, maximum: float | None) -> None:
    """Refuses what is over a limit; from 80 % on the limit is to be warned of once."""
    if maximum is None:
        return
    if used > maximum:
        errors.quota_exceeded(limit, float(used), float(maximum))
    if used >= 0.8 * maximum and limit not in ex._warned:
        ex._warnings.append((limit, float(used), float(maximum)))
        ex._warned.add(limit)


def _check_growth(ex: "Execution", count: int, at: int) -> None:
    if len(ex._order) + count > _MAX_STEPS:
        errors.too_many_steps()
    limits = ex._limits
    if limits is not None:
        _quota(ex, "max_steps", len(ex._order) + count, limits.max_steps)
        if ex._started is not None:
            _quota(ex, "max_wall_time_ms", (at - ex._started) / 1e6, limits.max_wall_time_ms)


def check_payload(ex: "Execution", fields: Fields) -> None:
    """Errors do not count: they are short by themselves, and an execution must be able to fail."""
    limits = ex._limits
    if limits is not None and limits.max_payload_bytes is not None:
        for name in ("input", "output", "payload"):
            if fields.get(name) is not None:
                _quota(ex, "max_payload_bytes", len(fields[name]), limits.max_payload_bytes)


def _check_usage(ex: "Execution", step: Step, fields: Fields) -> None:
    counter, amount = fields["counter"], fields["amount_micros"]
    total = ex._usage.get(counter, 0) + amount
    if (
        not -(2**63) <= total < 2**63
        or not -(2**63) <= (step._rest("usage") or {}).get(counter, 0) + amount < 2**63
    ):
        errors.usage_overflow(counter)
    limits = ex._limits
    if limits is not None and counter in ("tokens", "cost"):
        _quota(ex, f"max_{counter}", total / MICRO, getattr(limits, f"max_{counter}"))
