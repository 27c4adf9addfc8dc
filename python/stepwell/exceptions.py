"""How a Python exception becomes an `ExecutionError`.

| exception | becomes | retried |
|---|---|---|
| `ExecutionError` | itself | as it says |
| `TimeoutError` | timeout/timeout | yes |
| `ConnectionError`, failed name lookups, TLS, unreachable hosts and networks | network | yes |
| `FileNotFoundError`, `ProcessLookupError`, `LookupError` | tool/not_found | no |
| `PermissionError` | tool/permission_denied | no |
| `ValueError`, `FileExistsError`, `IsADirectoryError`, `NotADirectoryError` | tool/invalid_input | no |
| programming errors (below) | tool/execution_failed | never, by its own policy |
| stepwell's own: what was refused, an unknown step | validation | never |
| stepwell's own: `NotFound` | tool/not_found | no |
| stepwell's own: all others | kernel_internal | never |
| an exception group | as its first member | as its first member |
| every other `Exception` | tool/execution_failed | yes |

Programming errors are `TypeError`, `NameError`, `AttributeError`, `AssertionError`, `NotImplementedError`,
`SyntaxError`, `ImportError`, `RecursionError` and `ZeroDivisionError`.
"no" is the taxonomy's word, which a policy of the step overrides; "never" holds whatever the policy.
"""

import errno
import sys
from typing import TYPE_CHECKING, Any, Final

from . import errors
from ._spec import ErrorCategory, ToolCode
from .failures import MAX_CAUSES, ExecutionError, safe_text
from .model import label
from .retries import RetryPolicy

if TYPE_CHECKING:
    from datetime import datetime

_PROGRAMMING: Final = (
    TypeError,
    NameError,
    AttributeError,
    AssertionError,
    NotImplementedError,
    SyntaxError,
    ImportError,
    RecursionError,
    ZeroDivisionError,
)
_REFUSED: Final = (
    errors.ValidationError,
    errors.InvalidTransition,
    errors.UnknownStep,
    errors.DuplicateStep,
)
_UNREACHABLE: Final = frozenset(
    {errno.ENETDOWN, errno.ENETUNREACH, errno.ENETRESET, errno.EHOSTDOWN, errno.EHOSTUNREACH}
)
# In this order: the first that fits counts. Programming errors come before, they are not data.
_BUILTINS: Final[tuple[tuple[tuple[type[Exception], ...], ErrorCategory, str], ...]] = (
    ((TimeoutError,), ErrorCategory.TIMEOUT, "timeout"),
    ((ConnectionError,), ErrorCategory.NETWORK, "connection_failed"),
    ((PermissionError,), ErrorCategory.TOOL, ToolCode.PERMISSION_DENIED),
    ((FileNotFoundError, ProcessLookupError, LookupError), ErrorCategory.TOOL, ToolCode.NOT_FOUND),
    (
        (ValueError, FileExistsError, IsADirectoryError, NotADirectoryError),
        ErrorCategory.TOOL,
        ToolCode.INVALID_INPUT,
    ),
)


def convert(
    exc: BaseException, attempt: int | None, step_id: str | None, occurred_at: "datetime | None"
) -> ExecutionError:
    """The work of `ExecutionError.from_exception`, which says what it does."""
    given = {"attempt": attempt, "step_id": step_id, "occurred_at": occurred_at}
    if isinstance(exc, ExecutionError):
        absent = {
            name: value for name, value in given.items() if value is not None and getattr(exc, name) is None
        }
        return exc.replace(**absent) if absent else exc
    if not isinstance(exc, Exception):
        raise errors.ValidationError(
            f"{_class_name(exc)} is not a failure: raise it again, or cancel the step or the execution"
        )
    return _convert(exc, 0, given)


def _convert(exc: BaseException, depth: int, fields: dict[str, Any]) -> ExecutionError:
    cause: ExecutionError | None = None
    if isinstance(exc, BaseExceptionGroup):
        first = _first_member(exc)
        cause = first if isinstance(first, ExecutionError) else _convert(first, depth + 1, {})
        category, code, policy = cause.category, cause.code, cause.retry_policy
    else:
        category, code, policy = _classify(exc)
        behind = BaseException.__dict__["__cause__"].__get__(exc)
        if isinstance(behind, ExecutionError):
            cause = behind
        elif behind is not None and depth < MAX_CAUSES:
            cause = _convert(behind, depth + 1, {})
    return ExecutionError(
        category,
        code,
        _message(exc),
        retry_policy=policy,
        cause=cause,
        exception_type=_class_name(exc),
        **fields,
    )


def _first_member(group: BaseExceptionGroup[BaseException]) -> BaseException:
    member: BaseException = group
    while isinstance(member, BaseExceptionGroup):
        member = BaseExceptionGroup.exceptions.__get__(member)[0]
    return member


def _classify(exc: BaseException) -> tuple[ErrorCategory, str, RetryPolicy | None]:
    if isinstance(exc, errors.StepwellError):
        return _classify_own(exc)
    if isinstance(exc, _PROGRAMMING):
        return ErrorCategory.TOOL, ToolCode.EXECUTION_FAILED, RetryPolicy.never()
    network = _network_code(exc)
    if network is not None:
        return ErrorCategory.NETWORK, network, None
    for classes, category, code in _BUILTINS:
        if isinstance(exc, classes):
            return category, code, None
    return ErrorCategory.TOOL, ToolCode.EXECUTION_FAILED, None


def _classify_own(exc: errors.StepwellError) -> tuple[ErrorCategory, str, None]:
    if isinstance(exc, errors.NotFound):
        return ErrorCategory.TOOL, ToolCode.NOT_FOUND, None
    name = type(exc).__name__
    code = "".join(f"_{char.lower()}" if char.isupper() else char for char in name).lstrip("_")
    code = code if code.isascii() and 0 < len(code) <= 255 else "stepwell_error"
    return (
        (ErrorCategory.VALIDATION if isinstance(exc, _REFUSED) else ErrorCategory.KERNEL_INTERNAL),
        code,
        None,
    )


def _network_code(exc: BaseException) -> str | None:
    """The code of a network's error that is not a `ConnectionError`, else `None`."""
    for module, name, code in (("socket", "gaierror", "name_resolution"), ("ssl", "SSLError", "tls")):
        # The exception of a module that nobody has imported was not raised. SSLError is a ValueError in part.
        loaded = sys.modules.get(module)
        if loaded is not None and isinstance(exc, getattr(loaded, name, ())):
            return code
    # By the base class's own descriptor: a subclass can put anything under that name.
    if isinstance(exc, OSError):
        number = OSError.__dict__["errno"].__get__(exc)
        if type(number) is int and number in _UNREACHABLE:
            return "unreachable"
    return None


def _class_name(exc: BaseException) -> str | None:
    name = safe_text(type.__dict__["__name__"].__get__(type(exc)), 255)
    try:
        return label("exception_type", name)
    except errors.ValidationError:
        return None


def _message(exc: BaseException) -> str:
    try:
        text = str(exc)
    except Exception:  # noqa: BLE001 - the user's __str__ may do anything, and this must still become a record
        return f"no message: the __str__ of {_class_name(exc)} failed"
    return safe_text(text)
