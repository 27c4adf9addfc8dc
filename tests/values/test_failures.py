"""Errors as data, the taxonomy, and what becomes of exceptions."""

import asyncio
import copy
import datetime
import errno
import pickle
import socket
import ssl

import pytest
from hypothesis import given, strategies as st

from stepwell import errors
from stepwell._spec import TAXONOMY, TAXONOMY_CODES, ErrorCategory, LlmCode, ToolCode
from stepwell.errors import ValidationError
from stepwell.failures import MAX_CAUSES, ExecutionError, as_error, policy_for
from stepwell.retries import RetryPolicy

NOON = datetime.datetime(2024, 2, 29, 12, tzinfo=datetime.UTC)
FULL = {
    "retry_policy": RetryPolicy.attempts(5),
    "attempt": 2,
    "step_id": "step_01h455vb4pex5vsknk084sn02q",
    "provider": "acme",
    "http_status": 418,
    "details": {"b": [1], "a": None},
    "occurred_at": NOON,
    "cause": ExecutionError("network"),
    "exception_type": "Teapot",
}


def full():
    return ExecutionError("llm", "rate_limit", "slow down", **FULL)


def test_fields():
    error = full()
    assert (error.category, error.code, error.message) == (ErrorCategory.LLM, LlmCode.RATE_LIMIT, "slow down")
    assert type(error.category) is ErrorCategory
    assert type(error.code) is LlmCode
    assert {name: getattr(error, name) for name in FULL} == FULL
    assert str(error) == "llm/rate_limit: Teapot: slow down"
    assert isinstance(error, errors.StepwellError)


def test_defaults():
    error = ExecutionError(ErrorCategory.TIMEOUT)
    assert (error.code, error.message, error.http_status, str(error)) == (None, "", 504, "timeout")
    assert error.to_dict() == {"category": "timeout", "message": "", "http_status": 504}
    assert ExecutionError("tool", "own_code").code == "own_code"
    assert type(ExecutionError("llm", "timeout").code) is str  # a code of another category


@pytest.mark.parametrize("category", TAXONOMY)
def test_the_taxonomy_by_category(category):
    retryable, status, fatal = TAXONOMY[category]
    error = ExecutionError(category)
    assert (error.retryable, error.http_status, error.fatal) == (retryable, status, fatal)
    willing = ExecutionError(category, retry_policy=RetryPolicy())
    assert willing.retryable is not fatal


@pytest.mark.parametrize(("category", "code"), TAXONOMY_CODES)
def test_the_taxonomy_by_code(category, code):
    error = ExecutionError(category, code)
    assert (error.retryable, error.http_status) == TAXONOMY_CODES[category, code]
    assert not ExecutionError(category, code, retry_policy=RetryPolicy.never()).retryable


@pytest.mark.parametrize(
    "fields",
    [
        {"category": "toool"},
        {"category": None},
        {"category": ["tool"]},
        {"code": ""},
        {"code": 1},
        {"code": "a\nb"},
        {"message": b"x"},
        {"retry_policy": {}},
        {"attempt": -1},
        {"attempt": True},
        {"step_id": ""},
        {"provider": "x" * 256},
        {"http_status": 99},
        {"http_status": 2.0},
        {"details": [1]},
        {"details": {1: 2}},
        {"details": {"a": float("nan")}},
        {"details": {"a": "x" * 65_536}},
        {"occurred_at": datetime.datetime(2024, 1, 1)},  # noqa: DTZ001
        {"occurred_at": "2024-01-01"},
        {"occurred_at": datetime.datetime.min.replace(tzinfo=datetime.timezone(datetime.timedelta(hours=9)))},
        {"cause": ValueError()},
        {"exception_type": "\ud800"},
    ],
    ids=ascii,
)
def test_bad_fields(fields):
    with pytest.raises(ValidationError):
        ExecutionError(**{"category": "tool", **fields})


def test_details_are_neither_too_deep_nor_shared():
    deep: object = 1
    for _ in range(70):
        deep = [deep]
    with pytest.raises(ValidationError, match="at most 64 levels"):
        ExecutionError("tool", details={"a": ["[" * 100], "deep": deep, "pad": "x" * 200})
    given_details = {"a": [1]}
    error = ExecutionError("tool", details=given_details)
    given_details["a"].append(2)
    error.details["a"].append(3)
    assert error.details == {"a": [1]}


@pytest.mark.parametrize("error", [full(), ExecutionError("tool"), ExecutionError("network", "é")])
def test_copies_equal_the_original(error):
    for other in (
        pickle.loads(pickle.dumps(error)),
        copy.copy(error),
        copy.deepcopy(error),
        error.replace(),
        ExecutionError.from_dict(error.to_dict()),
        ExecutionError.from_json(error.to_json()),
    ):
        assert other == error
        assert hash(other) == hash(error)
        assert repr(other) == repr(error)
        assert other.args == error.args
        assert other.to_json() == error.to_json()
    assert error != ExecutionError("tool", "not_found")
    assert error != "tool"


def test_it_does_not_change():
    with pytest.raises(AttributeError):
        full().message = "other"


def test_dict_in_order():
    assert list(full().to_dict()) == ["category", "code", "message", *FULL]
    assert full().to_dict()["cause"] == {"category": "network", "message": "", "http_status": 503}


def test_replace():
    with pytest.raises(ExecutionError) as caught:
        raise full() from KeyError("k")
    error = caught.value
    other = error.replace(attempt=3)
    assert (other.attempt, other.step_id) == (3, error.step_id)
    assert other.__cause__ is error.__cause__
    assert other.__traceback__ is error.__traceback__
    assert ExecutionError("tool").replace(category="timeout").http_status == 504
    with pytest.raises(TypeError):
        full().replace(colour=1)


def test_messages_are_made_safe():
    assert ExecutionError("tool", message="a\0b\ud800é").message == "a\\x00b\\ud800é"
    for text in ("x" * 10_000, "\ud800" * 10_000, "\0" * 2000):
        message = ExecutionError("tool", message=text).message
        assert len(message) == 2000
        assert message.endswith("… (cut)")
    assert ExecutionError("tool", message="x" * 2000).message == "x" * 2000


def test_long_chains_keep_their_ends():
    error = ExecutionError("tool", message="root")
    for number in range(100):
        error = ExecutionError("tool", message=str(number), cause=error)
        assert ExecutionError.from_json(error.to_json()) == error
    chain = [error]
    while chain[-1].cause is not None:
        chain.append(chain[-1].cause)
    assert chain[0].message == "99"
    assert chain[1].message == "98"
    assert chain[-1].message == "root"
    assert len(chain) <= MAX_CAUSES + 1


# --- hostile data ---

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(
    json_values
    | st.dictionaries(st.sampled_from(["category", "code", "message", "x", *FULL]), json_values)
    | st.fixed_dictionaries(
        {"category": st.sampled_from([*TAXONOMY])},
        optional=dict.fromkeys(["code", "message", *FULL], json_values),
    )
)
def test_from_dict_never_fails(data):
    error = ExecutionError.from_dict(data)
    assert ExecutionError.from_json(error.to_json()) == error


@given(st.binary())
def test_from_json_never_fails(data):
    assert isinstance(ExecutionError.from_json(data), ExecutionError)


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        {},
        {"category": "new"},
        {"category": "tool", "attempt": "1"},
        {"category": "tool", "retry_policy": {"max_attempts": 0}},
        {"category": "tool", "retry_policy": {"import": "os"}},
        {"category": "tool", "occurred_at": "yesterday"},
        {"category": "tool", "occurred_at": "2024-01-01T00:00:00"},
        {"category": "tool", "occurred_at": 5},
        {"category": "tool", "details": 1},
    ],
    ids=ascii,
)
def test_unreadable(data):
    error = ExecutionError.from_dict(data)
    assert (error.category, error.code) == ("kernel_internal", "unreadable_error")
    assert error.message.startswith("the recorded error cannot be read: ")
    assert not error.retryable


def test_unreadable_remembers_the_class():
    assert (
        ExecutionError.from_dict({"category": 1, "exception_type": "os.system"}).exception_type == "os.system"
    )
    assert ExecutionError.from_dict({"category": 1, "exception_type": "\n"}).exception_type is None


def test_unknown_fields_and_deep_causes_are_left_aside():
    data: dict = {"category": "tool", "colour": "red"}
    for _ in range(100_000):
        data = {"category": "tool", "cause": data}
    error, length = ExecutionError.from_dict(data), 0
    while error.cause is not None:
        assert error.category == "tool"
        error, length = error.cause, length + 1
    assert length == MAX_CAUSES


# --- exceptions ---


class Own(Exception):
    pass


class Rude(Exception):
    def __str__(self):
        raise RuntimeError("no")


class RudeError(OSError):
    errno = property(lambda self: 1 / 0)


YES, NO, NEVER = "retried", "not retried", "never retried"


@pytest.mark.parametrize(
    ("exc", "category", "code", "again"),
    [
        (TimeoutError("t"), "timeout", "timeout", YES),
        (OSError(errno.ETIMEDOUT, "t"), "timeout", "timeout", YES),
        (ConnectionRefusedError(), "network", "connection_failed", YES),
        (BrokenPipeError(), "network", "connection_failed", YES),
        (socket.gaierror(-2, "n"), "network", "name_resolution", YES),
        (ssl.SSLError("s"), "network", "tls", YES),
        (ssl.SSLCertVerificationError("s"), "network", "tls", YES),
        (OSError(errno.EHOSTUNREACH, "h"), "network", "unreachable", YES),
        (OSError([], "h"), "tool", "execution_failed", YES),
        (OSError(errno.EIO, "h"), "tool", "execution_failed", YES),
        (RudeError(5, "x"), "tool", "execution_failed", YES),
        (PermissionError(), "tool", "permission_denied", NO),
        (FileNotFoundError(), "tool", "not_found", NO),
        (KeyError("k"), "tool", "not_found", NO),
        (IndexError(), "tool", "not_found", NO),
        (ValueError(), "tool", "invalid_input", NO),
        (UnicodeDecodeError("utf-8", b"x", 0, 1, "r"), "tool", "invalid_input", NO),
        (IsADirectoryError(), "tool", "invalid_input", NO),
        (TypeError(), "tool", "execution_failed", NEVER),
        (NameError(), "tool", "execution_failed", NEVER),
        (AttributeError(), "tool", "execution_failed", NEVER),
        (AssertionError(), "tool", "execution_failed", NEVER),
        (NotImplementedError(), "tool", "execution_failed", NEVER),
        (SyntaxError(), "tool", "execution_failed", NEVER),
        (ModuleNotFoundError(), "tool", "execution_failed", NEVER),
        (RecursionError(), "tool", "execution_failed", NEVER),
        (ZeroDivisionError(), "tool", "execution_failed", NEVER),
        (RuntimeError(), "tool", "execution_failed", YES),
        (MemoryError(), "tool", "execution_failed", YES),
        (Own(), "tool", "execution_failed", YES),
        (errors.ValidationError("v"), "validation", "validation_error", NEVER),
        (errors.EncodingError("v"), "validation", "encoding_error", NEVER),
        (errors.NotFound("v"), "tool", "not_found", NO),
        (errors.StoreFull("v"), "kernel_internal", "store_full", NEVER),
        (ExceptionGroup("g", [ExceptionGroup("h", [TypeError()]), Own()]), "tool", "execution_failed", NEVER),
        (ExceptionGroup("g", [ExecutionError("policy_violation", "p")]), "policy_violation", "p", NEVER),
    ],
    ids=repr,
)
def test_from_exception(exc, category, code, again):
    error = ExecutionError.from_exception(exc, attempt=3, step_id="s", occurred_at=NOON)
    assert (error.category, error.code) == (category, code)
    assert (error.attempt, error.step_id, error.occurred_at) == (3, "s", NOON)
    assert error.exception_type == type(exc).__name__
    assert error.retryable is (again == YES)
    assert RetryPolicy.attempts(9).should_retry(error, 1) is (again != NEVER)
    assert ExecutionError.from_json(error.to_json()) == error


def test_an_execution_error_passes_through():
    error = ExecutionError("tool", attempt=1)
    assert ExecutionError.from_exception(error) is error
    assert ExecutionError.from_exception(error, attempt=2) is error
    assert ExecutionError.from_exception(error, attempt=2, step_id="s") == error.replace(step_id="s")


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError])
def test_what_is_no_failure_is_refused(kind):
    with pytest.raises(ValidationError, match=f"{kind.__name__} is not a failure: raise it again"):
        ExecutionError.from_exception(kind())


def test_causes():
    first, second = Own("first"), ValueError("second")
    second.__cause__ = first
    error = ExecutionError.from_exception(second, attempt=1)
    assert (error.cause.message, error.cause.attempt, error.cause.cause) == ("first", None, None)
    first.__cause__ = second  # a ring
    assert ExecutionError.from_json(ExecutionError.from_exception(second).to_json()).cause.message == "first"
    own = ExecutionError("llm", "auth_failed")
    first.__cause__ = own
    assert ExecutionError.from_exception(first).cause is own
    first.__cause__ = KeyboardInterrupt()
    assert ExecutionError.from_exception(first).cause.exception_type == "KeyboardInterrupt"


def test_rude_exceptions():
    error = ExecutionError.from_exception(Rude())
    assert error.message == "no message: the __str__ of Rude failed"
    odd = type("N\nX" * 200, (Exception,), {})("\0\ud800" + "x" * 5000)
    error = ExecutionError.from_exception(odd)
    assert error.exception_type is None
    assert error.message.startswith("\\x00\\ud800xxx")
    assert len(error.message) == 2000


def test_as_error():
    error = ExecutionError("tool")
    assert as_error(error) is error
    assert as_error(KeyError("x")).code == ToolCode.NOT_FOUND
    assert as_error("broken") == ExecutionError("tool", "execution_failed", "broken")
    for value in (None, b"x", 1, {"category": "tool"}):
        with pytest.raises(ValidationError, match="error must be"):
            as_error(value)


def test_policy_for():
    own = RetryPolicy.attempts(7)
    assert policy_for(ExecutionError("network"), None) == RetryPolicy()
    assert policy_for(ExecutionError("network", retry_policy=own), None) is own
    assert policy_for(ExecutionError("validation", retry_policy=own), None) == RetryPolicy.never()
    assert policy_for(ExecutionError("tool", "not_found"), None) == RetryPolicy.never()
    assert policy_for(ExecutionError("tool", "not_found"), own) is own
