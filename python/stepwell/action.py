"""An action: one entry of the journal, and the only thing that changes an execution."""

from typing import Any

from . import errors, fields, journal
from ._spec import BULK, RECORDS
from .journal import Fields

_STEP_DEFAULT = "function"


class Action:
    """One change of an execution, immutable.

    `Action("step_completed", step_id=…, output=…)` checks and encodes its fields at once and raises `ValidationError`
    for an unknown kind or field, or a value that the journal cannot take. `at_ns` (UTC ns) and the id of a new step may
    be left out: `Execution.apply` fills them in and returns the action as it was recorded. Fields are read as
    attributes; an absent one is `None`.
    """

    __slots__ = ("_at", "_fields", "_kind")

    _at: int | None
    _fields: Fields
    _kind: str

    def __init__(self, kind: str, /, *, at_ns: int | None = None, **given: object) -> None:
        if not isinstance(kind, str) or kind not in fields.KINDS:
            errors.unknown_kind(kind, fields.KINDS)
        self._set(
            kind, None if at_ns is None else fields.integer("at_ns", at_ns), fields.convert(kind, given)
        )
        if at_ns is not None and at_ns < 0:
            errors.int_range("at_ns")

    def _set(self, kind: str, at: int | None, values: Fields) -> None:
        object.__setattr__(self, "_kind", kind)
        object.__setattr__(self, "_at", at)
        object.__setattr__(self, "_fields", values)

    @classmethod
    def _made(cls, kind: str, at: int | None, values: Fields) -> "Action":
        action = cls.__new__(cls)
        action._set(kind, at, values)
        return action

    @property
    def kind(self) -> str:
        """What happens, for example `"step_completed"`."""
        return self._kind

    @property
    def at_ns(self) -> int | None:
        """When, in UTC ns; `None` until it is applied."""
        return self._at

    def to_json(self) -> bytes:
        """The action as one JSON object, byte for byte what its record holds after `seq` and `prev`.

        Raises `ValidationError` for a bulk action whose new steps have no ids yet.
        """
        self._check_ids()
        return journal.write_action(self._kind, self._at, self._fields)

    def _check_ids(self) -> None:
        if self._kind in BULK and "steps" not in self._fields:
            errors.missing_field(self._kind, "steps")

    @classmethod
    def from_json(cls, data: bytes) -> "Action":
        """The action that `to_json` wrote. Raises `ValidationError` for anything else."""
        from .reading import Reader

        try:
            reader = Reader(data)
            at, kind, values, _ = reader.action(complete=False)
            reader.end()
        except (journal.Malformed, TypeError):
            errors.not_an_action()
        if kind == "created" or (at is not None and at < 0):
            errors.not_an_action()
        fields.check(kind, values)
        return cls._made(kind, at, values)

    def expand(self) -> "list[Action]":
        """The actions of one step each that a bulk action stands for, in order and at its time; any other is itself.

        Applied instead of it they make the same steps; only `Execution.version` counts them apart. Raises
        `ValidationError` for a bulk action whose new steps have no ids yet. O(n).
        """
        if self._kind not in BULK:
            return [self]
        self._check_ids()
        single = BULK[self._kind]
        return [Action._made(single, self._at, element) for element in fields.elements(self._fields)]

    def __getattr__(self, name: str) -> Any:
        for field, type_, _ in RECORDS.get(self._kind, ()):
            if field == name:
                value = self._fields.get(name)
                if value is None:
                    return fields.shown(name, type_, _STEP_DEFAULT) if name == "type" else None
                return fields.shown(name, type_, value)
        raise AttributeError(f"an action of kind {self._kind} has no field {name!r}")

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("an action is immutable")

    def __delattr__(self, name: str) -> None:
        raise AttributeError("an action is immutable")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Action):
            return NotImplemented
        return (self._kind, self._at, self._fields) == (other._kind, other._at, other._fields)

    def __hash__(self) -> int:
        return hash((self._kind, self._at, len(self._fields)))

    def __repr__(self) -> str:
        return f"Action({self._kind!r}, at_ns={self._at})"

    def __reduce__(self) -> tuple[object, ...]:
        return Action._made, (self._kind, self._at, self._fields)

    def __copy__(self) -> "Action":
        return self

    def __deepcopy__(self, memo: object) -> "Action":
        return self


Action.__module__ = "stepwell"
