"""The fields of actions: from what a user gives to what the journal holds, and back.

Every value is checked here, in the order of the record's fields, before an execution looks at its own state.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from . import _spec, clock, encoding, errors, failures, journal, model, sequences, typeid
from ._spec import MAX_BULK_STEPS, MAX_PATH_CHARS, RECORDS
from .journal import Fields
from .steps import StepRange

if TYPE_CHECKING:
    from .action import Action

_INT_MIN, _INT_MAX = -(2**63), 2**63 - 1
MICRO = 1_000_000

KINDS = tuple(kind for kind in RECORDS if kind != "created")
"""The kinds of actions; the header `created` is written by the execution itself."""

_LISTS = {
    "names": "name",
    "keys": "key",
    "inputs": "input",
    "outputs": "output",
    "errors": "error",
    "places": "place",
}


def is_step(value: object) -> bool:
    """Whether the value is a view of a step, of either backend."""
    return type(value).__module__ == "stepwell" and type(value).__name__ == "Step"


def step_id(value: object) -> str:
    """The id of a step."""
    if not typeid.is_id(value, "step"):
        errors.invalid_id(value, "step")
    return str.__str__(value)


def _step_ref(_what: str, value: object) -> str:
    return step_id(value.id if is_step(value) else value)  # type: ignore[attr-defined]


def execution_id(value: object) -> str:
    """The id of an execution."""
    if not typeid.is_id(value, "exec"):
        errors.invalid_id(value, "exec")
    return str.__str__(value)


def step_type(value: object) -> str:
    """One of the values of `StepType`."""
    return choice("type", value, _CHOICES["StepType"])


def integer(what: str, value: object) -> int:
    """A whole number of 64 bits with sign."""
    if not isinstance(value, int) or isinstance(value, bool):
        errors.not_int(what, value)
    if not _INT_MIN <= value <= _INT_MAX:
        errors.int_range(what)
    return int(value)


def _natural(what: str, value: object) -> int:
    found = integer(what, value)
    if not 0 <= found < 2**32:
        raise errors.ValidationError(f"{what} must be between 0 and 4294967295")
    return found


def choice(what: str, value: object, choices: tuple[str, ...]) -> str:
    """One of the values of an enumeration."""
    if not isinstance(value, str) or value not in choices:
        errors.not_a_choice(what, value, choices)
    return str.__str__(value)


def encoded(what: str, value: object) -> bytes:
    """The JSON of a payload, of an `error` or of a `source`."""
    if what == "error":
        return failures.as_error(value).to_json()
    if what == "source":
        if not isinstance(value, model.StepSource):
            raise errors.ValidationError(f"source must be a StepSource, got {type(value).__name__}")
        return encoding.encode(value.to_dict())
    return encoding.encode(value)


def _runs(what: str, value: object) -> list[journal.Run]:
    if isinstance(value, StepRange):
        return value._runs
    steps = sequences.listed(what, value)
    if {*map(type, steps)} == {str}:
        try:
            return journal.runs_of(steps)
        except journal.Malformed:
            pass  # which of them it was comes to light below
    return journal.runs_of(sequences.each(steps, lambda _, step: _step_ref(what, step)))


def _errors(what: str, values: object) -> list[bytes | None]:
    found = sequences.listed(what, values)
    return sequences.each(found, lambda _, value: None if value is None else encoded("error", value))


_CONVERT: dict[str, Callable[[str, object], Any]] = {
    "exec": lambda what, value: execution_id(value),
    "step": _step_ref,
    "label": model.label,
    "path": lambda what, value: model.label(what, value, MAX_PATH_CHARS),
    "note": model.note,
    "int": integer,
    "time": lambda what, value: clock.to_ns(value, what),
    "json": encoded,
    "StepType": lambda what, value: choice(what, value, _CHOICES["StepType"]),
    "WaitReason": lambda what, value: choice(what, value, _CHOICES["WaitReason"]),
    "ParentType": lambda what, value: choice(what, value, _CHOICES["ParentType"]),
    "runs": _runs,
    "labels": sequences.labels,
    "paths": lambda what, value: sequences.labels(what, value, MAX_PATH_CHARS),
    "jsons": lambda what, value: (
        _errors(what, value) if what == "errors" else sequences.payloads(what, value)
    ),
}
_CHOICES: dict[str, tuple[str, ...]] = {
    "StepType": tuple(_spec.StepType),
    "WaitReason": tuple(_spec.WaitReason),
    "ParentType": tuple(_spec.ParentType),
    "ExecutionState": tuple(_spec.ExecutionState),
    "StepState": tuple(_spec.StepState),
}

# The types whose text must be checked again when it comes from a journal; the reader has checked the others.
_TEXTS = frozenset(
    {"exec", "step", "label", "path", "note", "WaitReason", "StepType", "ParentType", "labels", "paths"}
)


def convert(kind: str, given: Mapping[str, object], count: int | None = None) -> Fields:
    """The journal's form of what a user gives; raises what `errors` has for each kind of bad value.

    `count` is how many new steps a bulk action makes, where none of its lists says so.
    """
    table = RECORDS[kind]
    for name in given:
        if not any(name == known for known, _, _ in table):
            errors.unknown_field(kind, name, [known for known, _, _ in table])
    fields: Fields = {}
    for name, type_, _ in table:
        value = given.get(name)
        if value is not None:
            fields[name] = _CONVERT[type_](name, value)
    if fields.get("type") == "function":
        del fields["type"]
    if count is not None and "steps" not in fields:
        fields["count"] = _natural("count", count)
    _complete(kind, fields)
    if kind in _spec.BULK:
        _fold(fields)
    return fields


def header(given: Mapping[str, object]) -> Fields:
    """The fields of a header; a tenant may still be missing."""
    fields: Fields = {}
    for name, type_, _ in RECORDS["created"]:
        value = given.get(name)
        if value is not None:
            fields[name] = _CONVERT[type_](name, value)
    return fields


def micros(amount: object) -> int:
    """An amount in millionths, rounded half to even; raises `ValidationError` for what is not a finite number."""
    if isinstance(amount, int) and not isinstance(amount, bool):
        return integer("amount", amount * MICRO)
    from decimal import Decimal  # late: few executions count what is not whole

    if isinstance(amount, float):
        amount = Decimal(repr(amount))
    if not isinstance(amount, Decimal):
        raise errors.ValidationError(f"amount must be a number, got {type(amount).__name__}")
    if not amount.is_finite() or amount.adjusted() > 18:
        raise errors.ValidationError("amount must be a finite number whose millionths fit 64 bits with sign")
    return integer("amount", round(amount * MICRO))


def amount(in_micros: int) -> float:
    """What an amount in millionths is shown as, rounded once."""
    return in_micros / MICRO


def bulk_new(
    names: object,
    steps: object,
    type: object,
    keys: object,
    parent_step_id: object,
    input: object,
    inputs: object,
    source: object,
    callable_id: object,
    places: object,
) -> dict[str, object]:
    """The arguments of `schedule_steps` and `start_steps` as fields."""
    one = isinstance(names, str) or names is None
    return {
        "steps": steps,
        "name" if one else "names": names,
        "type": None if type == "function" else type,
        "keys": keys,
        "parent_step_id": parent_step_id,
        "input": input,
        "inputs": inputs,
        "source": source,
        "callable_id": callable_id,
        "places": places,
    }


def with_ids(fields: Fields, ids: Callable[[str], str]) -> Fields:
    """A bulk action's fields with ids for its new steps."""
    if "steps" in fields:
        return fields
    rest = {name: value for name, value in fields.items() if name != "count"}
    return {"steps": new_runs(fields["count"], ids), **rest}


def new_runs(count: int, ids: Callable[[str], str]) -> list[journal.Run]:
    """So many new ids of steps: consecutive ones where the source can reserve them."""
    reserve = getattr(ids, "reserve", None)
    if not count or reserve is None:
        return journal.runs_of([step_id(ids("step")) for _ in range(count)])
    first = step_id(reserve("step", count))
    if not journal.run_fits(first, count):
        raise errors.ValidationError(f"the id source has no {count} consecutive ids from {first} on")
    return [(first, count)]


def bulk(
    kind: str, given: Mapping[str, object], count: int | None, ids: Callable[[str], str], execution: object
) -> Fields:
    """The fields of a bulk action on this execution, with ids for its new steps."""
    steps = given["steps"]
    if isinstance(steps, StepRange):
        if steps._execution is not execution and len(steps):
            errors.foreign_step(steps[0].id)
    elif steps is not None:
        steps = sequences.listed("steps", steps)
        if {*map(type, steps)} != {str}:
            steps = sequences.each(steps, lambda _, step: _own_step(step, execution))
        given = {**given, "steps": steps}
    try:
        return with_ids(convert(kind, given, count), ids)
    except errors.StepwellError as error:
        if error.index is not None and error.step_id is None and steps is not None:
            _name(error, error.index, steps)
        raise


def _own_step(step: object, execution: object) -> str:
    if is_step(step) and not step._of(execution):  # type: ignore[attr-defined]
        errors.foreign_step(step.id)  # type: ignore[attr-defined]
    return _step_ref("", step)


def _name(error: errors.StepwellError, index: int, steps: Any) -> None:
    """Says which step a refusal of an element is about."""
    if index < len(steps):
        step = steps[index].id if isinstance(steps, StepRange) else steps[index]
        if typeid.is_id(step, "step"):
            error.step_id = str.__str__(step)


def _at(index: int, refuse: Callable[..., NoReturn], *args: object) -> NoReturn:
    """Refuses the element at this position."""
    try:
        refuse(*args)
    except errors.StepwellError as error:
        error.index = index
        raise


def bulk_action(
    kind: str, given: Mapping[str, object], count: int | None, ids: Callable[[str], str], execution: object
) -> bytes:
    """The same as the JSON of the action."""
    return journal.write_action(kind, None, bulk(kind, given, count, ids, execution))


def fill(action: object, ids: Callable[[str], str]) -> "Action":
    """The action with ids for the steps that it makes."""
    from .action import Action

    if not isinstance(action, Action):
        raise errors.ValidationError(f"expected an Action, got {type(action).__name__}")
    values = action._fields
    if action._kind in _spec.BULK:
        values = with_ids(values, ids)
    elif "step_id" not in values and "new" in _spec.STEP_ACTIONS.get(action._kind, {}):
        values = {"step_id": step_id(ids("step")), **values}
    return action if values is action._fields else Action._made(action._kind, action._at, values)


def fill_many(actions: Iterable[object], ids: Callable[[str], str]) -> "list[Action]":
    """The same for several; an error carries the `index` of its action."""
    filled = []
    for index, action in enumerate(actions):
        try:
            filled.append(fill(action, ids))
        except errors.StepwellError as error:
            error.index = index
            raise
    return filled


def asked(schema_version: object, version: object) -> tuple[str | None, int | None]:
    """What a replay is asked to find."""
    return (
        None if schema_version is None else model.label("schema_version", schema_version),
        None if version is None else integer("version", version),
    )


def applied(action: "Action", at: int) -> "Action":
    """The action as it was recorded at this time."""
    from .action import Action

    return Action._made(action._kind, at, action._fields)


def now(source: clock.Clock) -> int:
    """The time of a clock; raises `ValidationError` if it tells none."""
    found = integer("the time of a clock", source.now_ns())
    if found < 0:
        errors.int_range("the time of a clock")
    return found


def check(kind: str, fields: Fields) -> None:
    """The same checks for fields that were read from a journal."""
    for name, type_, _ in RECORDS[kind]:
        if type_ in _TEXTS and name in fields:
            _CONVERT[type_](name, fields[name])
    if "retry_at" in fields:
        clock.to_ns(fields["retry_at"], "retry_at")
    if ("parent_type" in fields) != ("parent_id" in fields):
        errors.missing_field(kind, "parent_id" if "parent_type" in fields else "parent_type")
    _complete(kind, fields)
    if kind in _spec.BULK and "steps" not in fields:
        errors.missing_field(kind, "steps")


def check_snapshot(what: str, fields: Fields) -> None:
    """The checks for what was read of a whole execution or of one of its steps."""
    for name, type_, _ in _spec.SNAPSHOT[what]:
        if name in fields:
            if type_ in _TEXTS:
                _CONVERT[type_](name, fields[name])
            elif type_ == "time":
                clock.to_ns(fields[name], name)
            elif type_ in _CHOICES:
                choice(name, fields[name], _CHOICES[type_])
    for counter in fields.get("usage", ()):
        model.label("counter", counter)


def count_of(fields: Fields) -> int | None:
    """How many steps a bulk action is about, as far as its fields tell."""
    if "steps" in fields:
        runs: list[journal.Run] = fields["steps"]
        return sum(count for _, count in runs)
    if "count" in fields:
        return int(fields["count"])
    return next((len(fields[many]) for many in _LISTS if many in fields), None)


def elements(fields: Fields) -> Iterator[Fields]:
    """The fields of the single actions that a bulk action stands for, in order."""
    shared = {name: fields[name] for name in _SHARED if name in fields}
    many = [(one, fields[name]) for name, one in _LISTS.items() if name in fields]
    for index, step in enumerate(journal.ids_of(fields["steps"])):
        element: Fields = {"step_id": step, **shared}
        for one, values in many:
            if values[index] is not None:
                element[one] = values[index]
        yield element


_SHARED = (
    "name",
    "type",
    "key",
    "parent_step_id",
    "input",
    "source",
    "callable_id",
    "place",
    "output",
    "error",
    "reason",
)


def _fold(fields: Fields) -> None:
    """A list that says the same for all steps becomes the one value; `count` keeps its length until ids are there."""
    count = count_of(fields)
    for many, one in _LISTS.items():
        values = fields.get(many)
        if values and values[0] == values[-1] and values.count(values[0]) == len(values):
            del fields[many]
            if values[0] is not None:
                fields[one] = values[0]
    if "steps" not in fields and count is not None:
        fields["count"] = count


def _complete(kind: str, fields: Fields) -> None:
    """Nothing required is missing, lists are as long as each other, and nothing is said twice."""
    count = count_of(fields) if kind in _spec.BULK else None
    if count is not None and count > MAX_BULK_STEPS:
        errors.bulk_too_large(count, MAX_BULK_STEPS)
    for name, _, required in RECORDS[kind]:
        if required and name not in fields and not _made_later(kind, name, count):
            makes = name == "steps" and kind in _MAKES_MANY
            errors.missing_field(
                kind, "steps, count, or a sequence with one entry per step" if makes else name
            )
    for many, one in _LISTS.items():
        if many in fields:
            if one in fields:
                errors.one_or_many(one, many)
            if len(fields[many]) != count:
                errors.length_differs(many, count or 0, len(fields[many]))
    if kind == "steps_failed" and "error" not in fields:
        if "errors" not in fields:
            errors.missing_field(kind, "error")
        if None in fields["errors"]:
            _at(fields["errors"].index(None), errors.missing_field, "step_failed", "error")


_MAKES_MANY = frozenset(kind for kind, single in _spec.BULK.items() if "new" in _spec.STEP_ACTIONS[single])


def _made_later(kind: str, name: str, count: int | None) -> bool:
    """Ids of new steps are filled in when the action is applied."""
    if "new" not in _spec.STEP_ACTIONS.get(_spec.BULK.get(kind, kind), {}):
        return False
    return name == "step_id" or (name == "steps" and count is not None)


_SHOW: dict[str, Callable[[Any], object]] = {
    "json": encoding.decode,
    "time": clock.from_ns,
    "jsons": lambda values: [None if value is None else encoding.decode(value) for value in values],
    "runs": journal.ids_of,
    "labels": list,
    "paths": list,
    "StepType": _spec.StepType,
    "WaitReason": _spec.WaitReason,
    "ParentType": _spec.ParentType,
}


def shown_error(value: bytes) -> failures.ExecutionError:
    """An error as a user sees it."""
    return failures.ExecutionError.from_json(value)


def error_columns(value: bytes) -> tuple[str, str | None, str]:
    """The category, code and message of an error, as the columns of a table have them."""
    error = failures.ExecutionError.from_json(value)
    return error.category.value, None if error.code is None else str(error.code), error.message


def shown(name: str, type_: str, value: Any) -> object:
    """A field as a user sees it: payloads decoded afresh, enumerations and errors as themselves."""
    if name == "error":
        return failures.ExecutionError.from_json(value)
    if name == "errors":
        return [None if item is None else failures.ExecutionError.from_json(item) for item in value]
    if name == "source":
        return model.StepSource.from_dict(encoding.decode(value))
    return _SHOW[type_](value) if type_ in _SHOW else value
