"""Errors as data: `ExecutionError`, its taxonomy, and what is retried when.

An error read back from a store never imports or constructs a class of the user's: it is an `ExecutionError` that
remembers the name of the class.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from . import encoding, errors
from ._spec import TAXONOMY, TAXONOMY_CODES, ErrorCategory, LlmCode, ToolCode
from .model import choice, label, whole
from .retries import Backoff, RetryPolicy

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["Backoff", "ExecutionError", "RetryPolicy", "as_error", "policy_for"]

MAX_MESSAGE_CHARS: Final = 2000
MAX_CAUSES: Final = 8
MAX_DETAILS_BYTES: Final = 65_536
MAX_DETAILS_DEPTH: Final = 64

_CUT: Final = "… (cut)"
_CATEGORIES: Final = [category.value for category in ErrorCategory]
_CODES: Final[dict[str, type[LlmCode] | type[ToolCode]]] = {"llm": LlmCode, "tool": ToolCode}
_FIELDS: Final = (
    "retry_policy",
    "attempt",
    "step_id",
    "provider",
    "http_status",
    "details",
    "occurred_at",
    "cause",
    "exception_type",
)


class ExecutionError(errors.StepwellError):
    """Why an execution or a step failed: data that is recorded, and an exception that is raised.

    `category` is one of `ErrorCategory`; `code` says more (`LlmCode` or `ToolCode` where it is one of those, else the
    text given). The message is made safe to store: cut after 2000 characters, NUL and lone surrogates written out.
    `details` is a JSON object of at most 64 KiB and 64 levels. A chain of more than 8 causes keeps its ends.
    It does not change once made (`replace` makes another), compares by value, and can be hashed, copied and pickled.
    Raises `ValidationError` for an unknown category or a field of the wrong kind.
    """

    def __init__(
        self,
        category: ErrorCategory | str,
        code: str | None = None,
        message: str = "",
        *,
        retry_policy: RetryPolicy | None = None,
        attempt: int | None = None,
        step_id: str | None = None,
        provider: str | None = None,
        http_status: int | None = None,
        details: Mapping[str, Any] | None = None,
        occurred_at: "datetime | None" = None,
        cause: "ExecutionError | None" = None,
        exception_type: str | None = None,
    ) -> None:
        if retry_policy is not None and not isinstance(retry_policy, RetryPolicy):
            raise errors.ValidationError(
                f"retry_policy must be a RetryPolicy, got {type(retry_policy).__name__}"
            )
        if cause is not None and not isinstance(cause, ExecutionError):
            raise errors.ValidationError(f"cause must be an ExecutionError, got {type(cause).__name__}")
        self._category = ErrorCategory(choice("category", category, _CATEGORIES))
        self._code = None if code is None else _known_code(self._category.value, label("code", code))
        self._message = safe_text(message)
        self._retry_policy = retry_policy
        self._attempt = None if attempt is None else whole("attempt", attempt)
        self._step_id = None if step_id is None else label("step_id", step_id)
        self._provider = None if provider is None else label("provider", provider)
        self._http_status = _http_status(self._category.value, code, http_status)
        self._details = None if details is None else _encode_details(details)
        self._occurred_at = None if occurred_at is None else _utc(occurred_at)
        self._cause = None if cause is None else _shortened(cause)
        self._exception_type = None if exception_type is None else label("exception_type", exception_type)
        super().__init__(self._category.value, None if code is None else str(self._code), self._message)

    @property
    def category(self) -> ErrorCategory:
        """What kind of failure it is."""
        return self._category

    @property
    def code(self) -> str | None:
        """What exactly: a `LlmCode` or `ToolCode` where it is one of those, else text."""
        return self._code

    @property
    def message(self) -> str:
        """What people read."""
        return self._message

    @property
    def retry_policy(self) -> RetryPolicy | None:
        """How to retry this error, where it says so itself."""
        return self._retry_policy

    @property
    def attempt(self) -> int | None:
        """The attempt that failed, counted from 1."""
        return self._attempt

    @property
    def step_id(self) -> str | None:  # type: ignore[override]
        """The step that failed first."""
        return self._step_id

    @property
    def provider(self) -> str | None:
        """Who caused it, for example the name of an API."""
        return self._provider

    @property
    def http_status(self) -> int:
        """The HTTP status that stands for it, by the taxonomy where none was given."""
        return self._http_status

    @property
    def details(self) -> dict[str, Any] | None:
        """More, as plain JSON values; a fresh copy each time."""
        return None if self._details is None else encoding.decode(self._details)

    @property
    def occurred_at(self) -> "datetime | None":
        """When it happened, in UTC."""
        return self._occurred_at

    @property
    def cause(self) -> "ExecutionError | None":
        """The error behind this one."""
        return self._cause

    @property
    def exception_type(self) -> str | None:
        """The name of the exception's class, where it was made from one."""
        return self._exception_type

    @property
    def retryable(self) -> bool:
        """Whether trying again makes sense: never for fatal categories, else as its policy or the taxonomy says."""
        if self.fatal:
            return False
        if self._retry_policy is not None:
            return self._retry_policy.retryable
        by_code = TAXONOMY_CODES.get((self._category.value, self._code or ""))
        return TAXONOMY[self._category.value][0] if by_code is None else by_code[0]

    @property
    def fatal(self) -> bool:
        """Whether its category is never retried, whatever a policy says."""
        return TAXONOMY[self._category.value][2]

    def replace(self, **fields: Any) -> "ExecutionError":
        """A copy with other fields. The exception's own `__cause__` and traceback are kept."""
        known: dict[str, Any] = {
            name: getattr(self, name) for name in ("category", "code", "message", *_FIELDS)
        }
        # A status that is only the taxonomy's follows a new category or code.
        if self._http_status == _http_status(self._category.value, self._code, None):
            del known["http_status"]
        copy = ExecutionError(**{**known, **fields})
        copy.__cause__, copy.__suppress_context__ = self.__cause__, self.__suppress_context__
        return copy.with_traceback(self.__traceback__)

    def to_dict(self) -> dict[str, Any]:
        """The error as plain JSON values, in a fixed order, absent fields left out."""
        result: dict[str, Any] = {"category": self._category.value}
        optional: dict[str, Any] = {
            "code": None if self._code is None else str(self._code),
            "message": self._message,
            "retry_policy": None if self._retry_policy is None else self._retry_policy.to_dict(),
            "attempt": self._attempt,
            "step_id": self._step_id,
            "provider": self._provider,
            "http_status": self._http_status,
            "details": self.details,
            "occurred_at": None if self._occurred_at is None else self._occurred_at.isoformat(),
            "cause": None if self._cause is None else self._cause.to_dict(),
            "exception_type": self._exception_type,
        }
        result.update((name, value) for name, value in optional.items() if value is not None)
        return result

    @classmethod
    def from_dict(cls, data: object) -> "ExecutionError":
        """The error that `to_dict` wrote. Never raises.

        What cannot be read is an error that says so, `kernel_internal` with code `unreadable_error`. Unknown fields
        are left aside.
        """
        return _read(data, 0)

    def to_json(self) -> bytes:
        """The JSON of `to_dict`, as it is recorded."""
        return encoding.encode(self.to_dict())

    @classmethod
    def from_json(cls, data: bytes) -> "ExecutionError":
        """The error that `to_json` wrote. Never raises, like `from_dict`."""
        try:
            value = encoding.decode(data)
        except errors.ValidationError as reason:
            return _unreadable(str(reason), None)
        return _read(value, 0)

    @classmethod
    def from_exception(
        cls,
        exc: BaseException,
        *,
        attempt: int | None = None,
        step_id: str | None = None,
        occurred_at: "datetime | None" = None,
    ) -> "ExecutionError":
        """The exception as data, by the table in `exceptions.py`; its `__cause__` chain becomes `cause`.

        An `ExecutionError` passes through, with what is given here filled in where it was absent. What is no
        `Exception` (`KeyboardInterrupt`, `SystemExit`, `CancelledError`) is no failure and must be raised again:
        `ValidationError`. Whatever the exception's own methods do, this does not fail.
        """
        from . import exceptions

        return exceptions.convert(exc, attempt, step_id, occurred_at)

    def _identity(self) -> tuple[object, ...]:
        return (
            self._category,
            self._code,
            self._message,
            self._retry_policy,
            self._attempt,
            self._step_id,
            self._provider,
            self._http_status,
            self._details,
            self._occurred_at,
            self._cause,
            self._exception_type,
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ExecutionError):
            return NotImplemented
        return self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def __str__(self) -> str:
        where = self._category.value if self._code is None else f"{self._category.value}/{self._code}"
        name = "" if self._exception_type is None else f"{self._exception_type}: "
        return f"{where}: {name}{self._message}" if name or self._message else where

    def __repr__(self) -> str:
        shown = [
            repr(self._category.value),
            repr(None if self._code is None else str(self._code)),
            repr(self._message),
        ]
        shown += [f"{name}={value!r}" for name in _FIELDS if (value := getattr(self, name)) is not None]
        return f"ExecutionError({', '.join(shown)})"


def as_error(value: object) -> ExecutionError:
    """What a caller gave as an error.

    An `ExecutionError` as it is, an exception by `ExecutionError.from_exception`, text as `tool/execution_failed`.
    Raises `ValidationError` for anything else.
    """
    if isinstance(value, ExecutionError):
        return value
    if isinstance(value, BaseException):
        return ExecutionError.from_exception(value)
    if isinstance(value, str):
        return ExecutionError(ErrorCategory.TOOL, ToolCode.EXECUTION_FAILED, value)
    raise errors.ValidationError(
        f"error must be an ExecutionError, an exception or text; got {type(value).__name__}"
    )


def policy_for(error: ExecutionError, policy: RetryPolicy | None) -> RetryPolicy:
    """The policy that decides about this error; `policy` is the step's own, if it has one.

    The step's own, else the error's own, else the default one if the taxonomy calls the error retryable, else
    `RetryPolicy.never()`.
    """
    if policy is not None:
        return policy
    if not error.retryable:
        return RetryPolicy.never()
    return error.retry_policy or RetryPolicy()


def _known_code(category: str, code: str) -> str:
    known = _CODES.get(category)
    if known is None or code not in known.__members__.values():
        return code
    return known(code)


def _http_status(category: str, code: str | None, given: int | None) -> int:
    if given is not None:
        return whole("http_status", given, 100, 599)
    by_code = TAXONOMY_CODES.get((category, code or ""))
    return TAXONOMY[category][1] if by_code is None else by_code[1]


def _encode_details(details: object) -> bytes:
    if not isinstance(details, Mapping):
        raise errors.ValidationError(f"details must be a mapping, got {type(details).__name__}")
    data = encoding.encode(dict(details), MAX_DETAILS_BYTES)
    try:
        encoding.decode(data, MAX_DETAILS_DEPTH)
    except errors.ValidationError:
        raise errors.ValidationError(f"details must be nested at most {MAX_DETAILS_DEPTH} levels") from None
    return data


def _utc(moment: object) -> "datetime":
    from datetime import UTC, datetime

    if not isinstance(moment, datetime) or moment.utcoffset() is None:
        raise errors.ValidationError("occurred_at must be a datetime with a time zone")
    try:
        return moment.astimezone(UTC)
    except (OverflowError, ValueError):
        raise errors.ValidationError(
            "occurred_at must be a time between the years 1 and 9999 in UTC"
        ) from None


def _shortened(cause: ExecutionError) -> ExecutionError:
    """The cause with a chain that fits under one more error: a long one keeps its outer end and its root."""
    length, root = 1, cause
    while root._cause is not None:
        length, root = length + 1, root._cause
    return cause if length <= MAX_CAUSES else cause.replace(cause=root)


def safe_text(text: object, limit: int = MAX_MESSAGE_CHARS) -> str:
    """Text that every store takes, at most `limit` characters long, and marked where it was cut."""
    if not isinstance(text, str):
        errors.not_text("message", text)
    text = str.__str__(text)
    if text.isascii() and "\0" not in text and len(text) <= limit:
        return text
    shown = text[: limit + 1].encode("utf-8", "backslashreplace").decode("utf-8").replace("\0", "\\x00")
    return shown if len(shown) <= limit else shown[: limit - len(_CUT)] + _CUT


def _unreadable(reason: str, exception_type: object) -> ExecutionError:
    name = safe_text(exception_type, 255) if isinstance(exception_type, str) else None
    try:
        name = None if name is None else label("exception_type", name)
    except errors.ValidationError:
        name = None
    message = f"the recorded error cannot be read: {reason}"
    return ExecutionError(ErrorCategory.KERNEL_INTERNAL, "unreadable_error", message, exception_type=name)


def _read(data: object, depth: int) -> ExecutionError:
    if not isinstance(data, dict):
        return _unreadable(f"expected an object, got {type(data).__name__}", None)
    fields: dict[str, Any] = {name: data[name] for name in _FIELDS if data.get(name) is not None}
    try:
        if "retry_policy" in fields:
            fields["retry_policy"] = RetryPolicy.from_dict(fields["retry_policy"])
        if "occurred_at" in fields:
            fields["occurred_at"] = _read_time(fields["occurred_at"])
        if "cause" in fields:
            fields["cause"] = _read(fields["cause"], depth + 1) if depth < MAX_CAUSES else None
        category = data.get("category")
        if category is None:
            errors.missing_field("error", "category")
        message = data.get("message")
        return ExecutionError(category, data.get("code"), "" if message is None else message, **fields)
    except errors.ValidationError as reason:
        return _unreadable(str(reason), data.get("exception_type"))


def _read_time(text: object) -> "datetime":
    from datetime import datetime

    if not isinstance(text, str):
        errors.not_text("occurred_at", text)
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise errors.ValidationError("occurred_at must be a time like 2024-01-31T12:00:00+00:00") from None
