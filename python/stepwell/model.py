"""The small values of the model: where an execution and its steps come from, who owns it, and how much it may use.

All are immutable, compare by value, and can be hashed, copied and pickled.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final

from . import encoding, errors
from ._spec import MAX_LABEL_CHARS, MAX_NOTE_CHARS, ParentType

if TYPE_CHECKING:
    from datetime import datetime

    from .failures import ExecutionError

WARN_AT: Final = 0.8
"""The share of a limit at which `TenantContext.on_warning` is called."""

_INT_MAX: Final = 2**63 - 1


# --- checks -------------------------------------------------------------------------------------------------------


def label(what: str, value: object, limit: int = MAX_LABEL_CHARS) -> str:
    """The value as a label: text of 1 to `limit` characters without control characters or lone surrogates.

    `what` names it in the message. Raises `ValidationError`.
    """
    if not isinstance(value, str):
        errors.not_text(what, value)
    if type(value) is not str:
        value = str.__str__(value)
    if not 0 < len(value) <= limit or not (value.isprintable() or _without_controls(value)):
        errors.bad_label(what, limit)
    return value


def _without_controls(text: str) -> bool:
    """Neither of category Cc nor a surrogate. `isprintable` says no to more than these, odd spaces for example."""
    for char in text:
        code = ord(char)
        if code < 0x20 or 0x7F <= code < 0xA0 or 0xD800 <= code <= 0xDFFF:
            return False
    return True


def note(what: str, value: object) -> str:
    """The value as a note: text of at most 4096 characters without lone surrogates. Raises `ValidationError`."""
    if not isinstance(value, str):
        errors.not_text(what, value)
    if type(value) is not str:
        value = str.__str__(value)
    if len(value) > MAX_NOTE_CHARS or not (value.isascii() or _is_unicode(value)):
        errors.bad_note(what, MAX_NOTE_CHARS)
    return value


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def whole(what: str, value: object, least: int = 0, most: int = _INT_MAX) -> int:
    """The value as a whole number from `least` to `most`; a bool is none. Raises `ValidationError`."""
    if not isinstance(value, int) or isinstance(value, bool):
        errors.not_int(what, value)
    value = int.__int__(value)
    if not least <= value <= most:
        raise errors.ValidationError(f"{what} must be a whole number from {least} to {most}")
    return value


def amount(what: str, value: object) -> int | float:
    """The value as a number that is finite and not negative; a bool is none. Raises `ValidationError`."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise errors.ValidationError(f"{what} must be a number, got {type(value).__name__}")
    value = int.__int__(value) if isinstance(value, int) else float.__float__(value)
    if not 0 <= value <= _INT_MAX:
        raise errors.ValidationError(f"{what} must be a number from 0 to {_INT_MAX}")
    return value


def choice(what: str, value: object, choices: Sequence[str]) -> str:
    """The value if it is one of the choices. Raises `ValidationError`."""
    if not isinstance(value, str) or value not in choices:
        errors.not_a_choice(what, value, choices)
    return str.__str__(value)


def flag(what: str, value: object) -> bool:
    """The value if it is `True` or `False`. Raises `ValidationError`."""
    if not isinstance(value, bool):
        raise errors.ValidationError(f"{what} must be True or False, got {type(value).__name__}")
    return value


# --- values -------------------------------------------------------------------------------------------------------


class Value:
    """The base of immutable values: a class names its constructor's arguments in `_fields`, in their order."""

    __slots__ = ()
    _fields: ClassVar[tuple[str, ...]] = ()

    def _set(self, **values: object) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def _state(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in self._fields)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} cannot be changed; make a new one")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} cannot be changed; make a new one")

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._state() == other._state()

    def __hash__(self) -> int:
        return hash((type(self).__name__, *self._state()))

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._fields)
        return f"{type(self).__name__}({shown})"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._state()

    def __copy__(self) -> "Value":
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> "Value":
        return self


class ParentLink(Value):
    """What started an execution: its kind, `parent_type`, a `ParentType`, and its name there, `parent_id`.

    Raises `ValidationError` for another type, or a name that is no label.
    """

    __slots__ = ("parent_id", "parent_type")
    _fields = ("parent_type", "parent_id")

    parent_type: ParentType
    parent_id: str

    def __init__(self, parent_type: ParentType | str, parent_id: str) -> None:
        known = choice("parent_type", parent_type, [parent.value for parent in ParentType])
        self._set(parent_type=ParentType(known), parent_id=label("parent_id", parent_id))

    def to_dict(self) -> dict[str, Any]:
        """The link as plain JSON values."""
        return {"parent_type": self.parent_type.value, "parent_id": self.parent_id}

    @classmethod
    def from_dict(cls, data: object) -> "ParentLink":
        """The link that `to_dict` wrote. Raises `ValidationError`."""
        known = _mapping("parent", data, ("parent_type", "parent_id"))
        return cls(known.get("parent_type"), known.get("parent_id"))  # type: ignore[arg-type]


class StepSource(Value):
    """Why a step exists. Made by `initial_plan`, `discovered`, `retry` and `user_guidance`.

    `kind` is the name of the constructor; `by`, `reason`, `depth` and `of` are `None` where the kind has none.
    """

    __slots__ = ("by", "depth", "kind", "of", "reason")
    _fields = ("kind", "by", "reason", "depth", "of")
    _KINDS: ClassVar[dict[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
        # kind: what it must have, what it may have
        "initial_plan": ((), ()),
        "discovered": (("by", "reason", "depth"), ()),
        "retry": (("of",), ()),
        "user_guidance": ((), ("by", "reason")),
    }

    kind: str
    by: str | None
    reason: str | None
    depth: int | None
    of: str | None

    def __init__(
        self,
        kind: str,
        by: str | None = None,
        reason: str | None = None,
        depth: int | None = None,
        of: str | None = None,
    ) -> None:
        kind = choice("source", kind, list(self._KINDS))
        required, optional = self._KINDS[kind]
        given = {"by": by, "reason": reason, "depth": depth, "of": of}
        for name, value in given.items():
            if value is None and name in required:
                errors.missing_field(kind, name)
            if value is not None and name not in required + optional:
                errors.unknown_field(kind, name, required + optional)
        self._set(
            kind=kind,
            by=None if by is None else label("by", by),
            reason=None if reason is None else note("reason", reason),
            depth=None if depth is None else whole("depth", depth),
            of=None if of is None else label("of", of),
        )

    @classmethod
    def initial_plan(cls) -> "StepSource":
        """The step was planned from the beginning."""
        return cls("initial_plan")

    @classmethod
    def discovered(cls, by: str, reason: str, depth: int) -> "StepSource":
        """The step was found necessary by step `by`, `depth` discoveries away from the plan."""
        return cls("discovered", by=by, reason=reason, depth=depth)

    @classmethod
    def retry(cls, of: str) -> "StepSource":
        """The step does once more what step `of` did not achieve."""
        return cls("retry", of=of)

    @classmethod
    def user_guidance(cls, by: str | None = None, reason: str | None = None) -> "StepSource":
        """A person (`by`) asked for the step (`reason`)."""
        return cls("user_guidance", by=by, reason=reason)

    def to_dict(self) -> dict[str, Any]:
        """The source as plain JSON values, absent ones left out."""
        return {name: value for name in self._fields if (value := getattr(self, name)) is not None}

    @classmethod
    def from_dict(cls, data: object) -> "StepSource":
        """The source that `to_dict` wrote. Raises `ValidationError` for anything else."""
        known = _mapping("source", data, cls._fields)
        return cls(**{"kind": None, **known})

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self.to_dict().items() if name != "kind")
        return f"StepSource.{self.kind}({shown})"


def _mapping(what: str, data: object, fields: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise errors.ValidationError(
            f"{what} must be an object with {', '.join(fields)}; got {type(data).__name__}"
        )
    for name in data:
        if not isinstance(name, str) or name not in fields:
            errors.unknown_field(what, name if isinstance(name, str) else type(name).__name__, fields)
    return data


class ResourceLimits(Value):
    """How much an execution may use. `None` is without limit; 0 allows nothing.

    Numbers of steps, tokens and executions, milliseconds, bytes of one payload, and cost in the tenant's currency.

    `max_steps` counts the steps of an execution; `max_wall_time_ms` is milliseconds from its start to the start of a
    step; `max_tokens` and `max_cost` are the sums of the counters `tokens` and `cost`; `max_payload_bytes` is one
    encoded input, output or payload; `max_concurrent_executions` is for a kernel to look at, an execution does not.
    """

    __slots__ = _fields = (
        "max_steps",
        "max_wall_time_ms",
        "max_tokens",
        "max_cost",
        "max_concurrent_executions",
        "max_payload_bytes",
    )

    max_steps: int | None
    max_wall_time_ms: int | None
    max_tokens: int | None
    max_cost: float | None
    max_concurrent_executions: int | None
    max_payload_bytes: int | None

    def __init__(
        self,
        max_steps: int | None = None,
        max_wall_time_ms: int | None = None,
        max_tokens: int | None = None,
        max_cost: float | None = None,
        max_concurrent_executions: int | None = None,
        max_payload_bytes: int | None = None,
    ) -> None:
        self._set(
            max_steps=None if max_steps is None else whole("max_steps", max_steps),
            max_wall_time_ms=None
            if max_wall_time_ms is None
            else whole("max_wall_time_ms", max_wall_time_ms),
            max_tokens=None if max_tokens is None else whole("max_tokens", max_tokens),
            max_cost=None if max_cost is None else amount("max_cost", max_cost),
            max_concurrent_executions=None
            if max_concurrent_executions is None
            else whole("max_concurrent_executions", max_concurrent_executions),
            max_payload_bytes=None
            if max_payload_bytes is None
            else whole("max_payload_bytes", max_payload_bytes),
        )


class LimitWarning(Value):
    """Most of a limit is used up: `limit` is its name in `ResourceLimits`, `used` and `maximum` are in its unit."""

    __slots__ = _fields = ("limit", "used", "maximum")

    limit: str
    used: float
    maximum: float

    def __init__(self, limit: str, used: float, maximum: float) -> None:
        self._set(limit=label("limit", limit), used=amount("used", used), maximum=amount("maximum", maximum))


class TenantContext(Value):
    """The owner of an execution, with limits.

    `metadata` is a JSON object of the user's; reading it gives a fresh copy. `on_warning` is called with a
    `LimitWarning`, once per limit, when 80 % of it are used; it takes no part in `==` and stays behind when pickled.

    `tenant_id` is the user's own name for the owner, `user_id` the person for whom it acts, `limits` what each of its
    executions may use.
    """

    __slots__ = ("_metadata", "limits", "on_warning", "tenant_id", "user_id")
    _fields = ("tenant_id", "user_id", "limits", "metadata")

    tenant_id: str
    user_id: str | None
    limits: ResourceLimits | None
    on_warning: Callable[[LimitWarning], object] | None
    _metadata: bytes | None

    def __init__(
        self,
        tenant_id: str,
        user_id: str | None = None,
        limits: ResourceLimits | None = None,
        metadata: Mapping[str, Any] | None = None,
        on_warning: Callable[[LimitWarning], object] | None = None,
    ) -> None:
        if limits is not None and not isinstance(limits, ResourceLimits):
            raise errors.ValidationError(f"limits must be ResourceLimits, got {type(limits).__name__}")
        if on_warning is not None and not callable(on_warning):
            raise errors.ValidationError(f"on_warning must be callable, got {type(on_warning).__name__}")
        if metadata is not None and not isinstance(metadata, Mapping):
            raise errors.ValidationError(f"metadata must be a mapping, got {type(metadata).__name__}")
        self._set(
            tenant_id=label("tenant", tenant_id),
            user_id=None if user_id is None else label("user_id", user_id),
            limits=limits,
            on_warning=on_warning,
            _metadata=None if metadata is None else encoding.encode(dict(metadata)),
        )

    @property
    def metadata(self) -> dict[str, Any] | None:
        """What the user keeps with the tenant, a fresh copy each time."""
        return None if self._metadata is None else encoding.decode(self._metadata)

    def __eq__(self, other: object) -> bool:
        return Value.__eq__(self, other)

    def __hash__(self) -> int:
        return hash((self.tenant_id, self.user_id, self.limits))


class Attempt(Value):
    """One try of a step.

    `number` counts from 1; `started_at` and `ended_at` are UTC, the latter `None` while it runs; `error` is why it
    failed, if it did.
    """

    __slots__ = _fields = ("number", "started_at", "ended_at", "error")

    number: int
    started_at: "datetime"
    ended_at: "datetime | None"
    error: "ExecutionError | None"

    def __init__(
        self,
        number: int,
        started_at: "datetime",
        ended_at: "datetime | None" = None,
        error: "ExecutionError | None" = None,
    ) -> None:
        self._set(
            number=whole("number", number, least=1), started_at=started_at, ended_at=ended_at, error=error
        )


def warn(
    on_warning: "Callable[[LimitWarning], object] | None", limit: str, used: float, maximum: float
) -> None:
    """Tells the hook of a tenant that a limit is near. What it raises is logged and dropped."""
    if on_warning is None:
        return
    try:
        on_warning(LimitWarning(limit, used, maximum))
    except Exception:
        import logging

        logging.getLogger("stepwell").exception("the on_warning hook of a tenant failed")
