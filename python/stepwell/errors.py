"""What stepwell raises, and the words of every refusal of the kernel.

Both backends raise through the functions at the end of this module, so a message is written once. A refusal changes
nothing: the execution, its journal and its clock stay as they were. No message contains a payload.
"""

from collections.abc import Sequence
from typing import NoReturn

from . import _spec


class StepwellError(Exception):
    """The base of everything that stepwell raises on purpose."""

    index: int | None = None
    """In bulk calls and in `apply_many` the position of the first offending element, else `None`."""

    step_id: str | None = None
    """The step that it is about, where it is about one that has an id."""


class ValidationError(StepwellError, ValueError):
    """A value that stepwell cannot take; the message says what was expected."""


class InvalidId(ValidationError):
    """Text that is not a TypeID of the expected kind."""


class EncodingError(ValidationError):
    """A value that has no JSON form here. `path` says where inside the value."""

    path: str = "$"


class PayloadTooLarge(ValidationError):
    """A payload over the limit. `size` and `limit` are bytes."""

    size: int = 0
    limit: int = 0


class TenantRequired(ValidationError):
    """Something that stores was asked of an execution without a tenant."""


class InvalidTransition(StepwellError):
    """An action that the state of the execution or of the step does not allow."""

    state: str = ""
    action: str = ""


class TerminalExecution(InvalidTransition):
    """An action on an execution that has ended."""


class OpenSteps(InvalidTransition):
    """`complete` while steps are pending or running. `step_ids` names up to five of them, `count` says how many."""

    step_ids: tuple[str, ...] = ()
    count: int = 0


class UnknownStep(StepwellError, LookupError):
    """A step id that this execution does not have."""


class DuplicateStep(StepwellError):
    """A step id that this execution has already."""


class ReplayError(StepwellError):
    """A journal that cannot be replayed. `index` is the position of the record."""


class UnsupportedFormat(ReplayError):
    """A journal or an execution written by a newer stepwell."""


class SchemaMismatch(StepwellError):
    """The recorded schema version is not the one asked for."""

    recorded: str | None = None
    expected: str | None = None


class InternalError(StepwellError):
    """A defect in stepwell itself; please report it."""


class NotFound(StepwellError, LookupError):
    """There is nothing under that id for this tenant."""


class Conflict(StepwellError):
    """Another writer was first; nothing was written."""


class StoreError(StepwellError):
    """The store could not do it. The execution stays where it was."""


class StoreBusy(StoreError):
    """Another process held the store for longer than the time-out."""


class StoreFull(StoreError):
    """No room is left where the store lives."""


class StoreCorrupt(StoreError):
    """The file is not a store, or is damaged."""


class StoreTooNew(StoreError):
    """The store was made by a newer stepwell, which says that this one must not read or write it."""


class StoreReadOnly(StoreError):
    """The store, or the place where it lives, cannot be written."""


class ForkedProcessError(StoreError):
    """A store opened before `fork` was used in the child. Open a store of its own there, or start it with `spawn`."""


class DivergenceError(StepwellError):
    """The code of a blueprint no longer does what its record says. Nothing was run.

    `place` is where, `source` the file and line of the call, `recorded` and `called` the two sides: a mapping with the
    step's `name` and `input`, or `None` where there is no step on that side.
    """

    place: str = ""
    source: str | None = None
    recorded: dict[str, object] | None = None
    called: dict[str, object] | None = None


class PlaceError(StepwellError):
    """A step was called from where its place cannot be known again, so it was not run."""


class LeftMemory(StepwellError):
    """The kernel does not run an execution just now: it waits or is paused, and comes back by itself or when asked."""


class KernelClosed(StepwellError):
    """The kernel was closed, or lost the execution, before it ended. The record is kept; `resume` goes on from it."""


# --- the refusals of the kernel, in words -------------------------------------------------------------------------


def invalid_transition(state: str, action: str) -> NoReturn:
    """An action that the table does not have for this state of the execution."""
    one = _spec.BULK.get(action, action)
    allowed = [*_spec.EXECUTION_ACTIONS.get(action, ())]
    allowed += [name for name, kinds in _spec.STEP_ALLOWED_WHILE.items() if one in kinds]
    error = InvalidTransition(
        f"{action} is not allowed while the execution is {state}; it needs {_or(allowed)}"
    )
    error.state, error.action = state, action
    raise error


def terminal_execution(state: str, action: str) -> NoReturn:
    error = TerminalExecution(f"{action} is not allowed: the execution has ended as {state}")
    error.state, error.action = state, action
    raise error


def invalid_step_transition(step_id: str, state: str, action: str) -> NoReturn:
    allowed = [name for name in _spec.STEP_ACTIONS[action] if name != "new"]
    error = InvalidTransition(
        f"{action} is not allowed while step {step_id} is {state}; it needs {_or(allowed)}"
    )
    error.state, error.action = state, action
    _about(step_id, error)


def not_a_wait(step_id: str, step_type: str) -> NoReturn:
    error = InvalidTransition(
        f"input_received takes a step of type wait; step {step_id} is of type {step_type}"
    )
    error.action = "input_received"
    _about(step_id, error)


def open_steps(count: int, first: Sequence[str]) -> NoReturn:
    names = ", ".join(first) + (", …" if count > len(first) else "")
    noun = "1 step is" if count == 1 else f"{count} steps are"
    error = OpenSteps(
        f"complete is not allowed while {noun} open: {names}; complete, fail, skip or cancel them first"
    )
    error.state, error.action = "running", "complete"
    error.count, error.step_ids = count, tuple(first)
    raise error


def unknown_step(step_id: str) -> NoReturn:
    _about(step_id, UnknownStep(f"this execution has no step {step_id}"))


def duplicate_step(step_id: str) -> NoReturn:
    _about(
        step_id,
        DuplicateStep(f"this execution has a step {step_id} already; leave the id out to get a new one"),
    )


def foreign_step(step_id: str) -> NoReturn:
    _about(step_id, UnknownStep(f"step {step_id} belongs to another execution"))


def step_name_differs(step_id: str, expected: str, given: str) -> NoReturn:
    _about(step_id, ValidationError(f"step {step_id} is named {expected!r}, not {given!r}"))


def step_already_described(step_id: str) -> NoReturn:
    _about(
        step_id,
        ValidationError(f"step {step_id} exists already: only its id and its name may be given to start it"),
    )


def invalid_id(value: object, prefix: str) -> NoReturn:
    got = _shown(value) if isinstance(value, str) else type(value).__name__
    raise InvalidId(
        f"expected an id like {prefix}_01h455vb4pex5vsknk084sn02q ({prefix}_ and 26 characters of the TypeID alphabet, "
        f"the first at most 7), got {got}"
    )


def not_a_parent(value: object) -> NoReturn:
    raise ValidationError(f"parent must be a ParentLink, got {type(value).__name__}")


def not_text(what: str, value: object) -> NoReturn:
    raise ValidationError(f"{what} must be text, got {type(value).__name__}")


def bad_label(what: str, limit: int) -> NoReturn:
    raise ValidationError(
        f"{what} must be 1 to {limit} characters without control characters or lone surrogates"
    )


def bad_note(what: str, limit: int) -> NoReturn:
    raise ValidationError(f"{what} must be at most {limit} characters without lone surrogates")


def not_a_sequence(what: str, value: object) -> NoReturn:
    raise ValidationError(f"{what} must be a sequence, got {type(value).__name__}")


def not_int(what: str, value: object) -> NoReturn:
    raise ValidationError(f"{what} must be a whole number, got {type(value).__name__}")


def int_range(what: str) -> NoReturn:
    raise ValidationError(f"{what} must fit 64 bits with sign")


def time_range(what: str) -> NoReturn:
    raise ValidationError(f"{what} must be between the years 1970 and 2262")


def not_a_choice(what: str, value: object, choices: Sequence[str]) -> NoReturn:
    got = _shown(value) if isinstance(value, str) else type(value).__name__
    raise ValidationError(f"{what} must be one of {', '.join(choices)}; got {got}")


def missing_field(kind: str, field: str) -> NoReturn:
    raise ValidationError(f"{kind} needs {field}")


def unknown_field(kind: str, field: str, fields: Sequence[str]) -> NoReturn:
    raise ValidationError(f"{kind} has no field {_shown(field)}; it has {', '.join(fields) or 'none'}")


def unknown_kind(kind: object, kinds: Sequence[str]) -> NoReturn:
    got = _shown(kind) if isinstance(kind, str) else type(kind).__name__
    raise ValidationError(f"{got} is not a kind of action; the kinds are {', '.join(kinds)}")


def length_differs(what: str, expected: int, given: int) -> NoReturn:
    raise ValidationError(f"{what} must have one entry per step: expected {expected}, got {given}")


def bulk_too_large(given: int, limit: int) -> NoReturn:
    raise ValidationError(f"a bulk action is about at most {limit} steps, got {given}: make several")


def one_or_many(one: str, many: str) -> NoReturn:
    raise ValidationError(f"give {one} for all steps or {many} with one entry per step, not both")


def not_a_payload(what: str) -> NoReturn:
    raise ValidationError(f"{what} is not JSON of this format")


def not_an_action() -> NoReturn:
    raise ValidationError("not an action: expected the JSON object that Action.to_json writes")


def not_an_execution() -> NoReturn:
    raise ValidationError("not an execution: expected the JSON object that Execution.to_json writes")


def newer_execution(found: int, known: int) -> NoReturn:
    raise UnsupportedFormat(
        f"this execution has format {found}, this stepwell reads up to {known}: upgrade stepwell"
    )


def time_backwards(at_ns: int, last_ns: int) -> NoReturn:
    raise ValidationError(
        f"at_ns {at_ns} is before the last action at {last_ns}; leave it out to take the clock's time"
    )


def usage_overflow(counter: str) -> NoReturn:
    raise ValidationError(f"the sum of {counter!r} does not fit 64 bits with sign")


def too_many_steps() -> NoReturn:
    raise ValidationError("an execution holds at most 4294967295 steps")


def already_started(builder: str) -> NoReturn:
    raise ValidationError(f"{builder} is for an execution without actions; this one has a journal already")


def tenant_required(what: str) -> NoReturn:
    raise TenantRequired(f"{what} needs a tenant: make the execution with Execution.with_tenant(…)")


def quota_exceeded(limit: str, used: float, maximum: float, step_id: str | None = None) -> NoReturn:
    from .failures import ExecutionError

    message = f"over the limit {limit}: {used:.15g} of {maximum:.15g}"
    details = {"used": used, "maximum": maximum}
    raise ExecutionError("quota_exceeded", limit, message, step_id=step_id, details=details)


def tenant_differs() -> NoReturn:
    raise ValidationError("the execution is of another tenant than the one given")


def schema_mismatch(recorded: str | None, expected: str | None) -> NoReturn:
    error = SchemaMismatch(
        f"the journal was written with schema version {recorded!r}, this code has {expected!r}: "
        "replay it with the code it was written with, or migrate it"
    )
    error.recorded, error.expected = recorded, expected
    raise error


def replay(index: int, reason: str) -> NoReturn:
    error = ReplayError(f"record {index}: {reason}")
    error.index = index
    raise error


def journal_empty() -> NoReturn:
    replay(0, "the journal is empty; expected a header")


def not_a_record(index: int) -> NoReturn:
    replay(index, "not a record of this journal's format")


def not_record_columns(index: int) -> NoReturn:
    replay(index, "expected (seq, at_ns, kind, body) or the body as bytes")


def columns_differ(index: int) -> NoReturn:
    replay(index, "its seq, time or kind beside the record are not those in the record")


def seq_differs(index: int, expected: int, found: int) -> NoReturn:
    replay(index, f"expected seq {expected}, found {found}")


def chain_broken(index: int) -> NoReturn:
    replay(index, "its digest of the record before does not match: an edit, a loss or a reordering")


def header_misplaced(index: int) -> NoReturn:
    replay(index, "a header is the first record, and only that")


def other_execution(found: str, expected: str) -> NoReturn:
    replay(0, f"the journal is of {found}, not of {expected}")


def snapshot_differs(index: int) -> NoReturn:
    replay(index, "it is not the action that the snapshot holds in its place")


def journal_length(index: int, found: int, expected: int) -> NoReturn:
    replay(index, f"the journal ends with seq {found}; expected {expected}")


def replay_newer(found: int, known: int) -> NoReturn:
    error = UnsupportedFormat(
        f"record 0: journal format {found}, this stepwell reads up to {known}: upgrade stepwell"
    )
    error.index = 0
    raise error


def no_pyarrow() -> NoReturn:
    raise ImportError(
        "the pure backend makes Arrow columns with pyarrow, which is not installed: pip install pyarrow, or use the "
        "native backend"
    )


def internal(what: str) -> NoReturn:
    raise InternalError(f"defect in stepwell, please report it: {what}")


def key_in_path(key: str) -> str:
    """A key as part of a path inside a value: cut, and with nothing that a terminal acts on."""
    if key.isascii() and key.isidentifier() and len(key) <= 80:
        return f".{key}"
    return f"[{_shown(key)}]"


def short_path(path: str) -> str:
    """A path inside a value, as long as a message may show it."""
    return path if len(path) <= 400 else f"{path[:200]}…{path[-200:]}"


def _about(step_id: str, error: StepwellError) -> NoReturn:
    error.step_id = step_id
    raise error


def _or(words: Sequence[str]) -> str:
    return " or ".join(words)


def _shown(text: str) -> str:
    """The text as a message may show it: cut, and with nothing that a terminal acts on."""
    return ascii(text if len(text) <= 80 else text[:80] + "…")
