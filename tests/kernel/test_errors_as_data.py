"""Errors as data, as far as executions and steps have to do with them; tests/values has the rest."""

import copy
import json
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from backends import BACKENDS
from kernel.support import bodies, refused, running
from stepwell import Action, ErrorCategory, ExecutionError, LlmCode, RetryPolicy, ToolCode, ValidationError

TEXT = ExecutionError(ErrorCategory.TOOL, ToolCode.EXECUTION_FAILED, "broken")
FULL = ExecutionError(
    "llm", "rate_limit", "slow down", retry_policy=RetryPolicy.attempts(5), attempt=2, step_id="step_1", provider="p",
    http_status=499, details={"limit": [1, None], "é": "…"}, occurred_at=datetime(2026, 1, 1, tzinfo=UTC),
    cause=ExecutionError("network", "tls", "handshake"), exception_type="RateLimited",
)  # fmt: skip


class NotOurs(Exception):
    """A class that no record may ever bring to life."""

    made = 0

    def __init__(self, *args):
        type(self).made += 1
        super().__init__(*args)


GIVEN = {
    "text": ("broken", TEXT),
    "error": (FULL, FULL),
    "exception": (KeyError("k"), ExecutionError("tool", "not_found", "'k'", exception_type="KeyError")),
    "programming error": (TypeError("t"), ExecutionError.from_exception(TypeError("t"))),
    "empty text": ("", ExecutionError("tool", "execution_failed", "")),
}


@pytest.mark.parametrize("name", GIVEN)
@pytest.mark.parametrize("way", ["fail", "fail_step", "retry_step", "fail_steps", "apply"])
def test_errors_are_given_as_errors_exceptions_or_text(backend, name, way):
    given, expected = GIVEN[name]
    ex = running(backend)
    step = ex.start_step("a")
    if way == "fail":
        ex.fail(given)
        found = ex.error
    elif way == "apply":
        found = ex.apply(Action("step_failed", step_id=step.id, error=given)).error
        assert step.error == found
    elif way == "retry_step":
        ex.retry_step(step, given)
        found = step.attempts[0].error
    else:
        ex.fail_steps([step], [given]) if way == "fail_steps" else ex.fail_step(step, given)
        found = step.error
    assert found == expected
    assert type(found) is ExecutionError


def test_an_error_survives_storage_with_every_field(backend):
    ex = running(backend)
    step = ex.start_step("a")
    ex.retry_step(step, FULL)
    ex.start_step(step_id=step)
    ex.fail_step(step, FULL)
    ex.fail(FULL)
    for other in (
        backend.Execution.replay(ex.id, bodies(copy.copy(ex).drain())),
        backend.Execution.from_json(ex.to_json()),
    ):
        twin = other.get_step(step.id)
        for error in (other.error, twin.error, twin.attempts[0].error, twin.attempts[1].error):
            assert error == FULL
            assert (error.code, error.retryable, error.http_status) == (LlmCode.RATE_LIMIT, True, 499)
            assert error.cause == ExecutionError("network", "tls", "handshake")
            assert error.details == {"limit": [1, None], "é": "…"}


def test_an_error_can_be_raised_again(backend):
    ex = running(backend)
    ex.fail(ValueError("no"))
    with refused(ex, ExecutionError, "tool/invalid_input: ValueError: no"):
        raise ex.error


def test_a_record_never_makes_an_exception_of_the_users(backend):
    ex = running(backend)
    step = ex.start_step("a")
    ex.fail_step(step, NotOurs("mine"))
    before = NotOurs.made
    other = backend.Execution.replay(ex.id, ex.drain())
    error = other.get_step(step.id).error
    assert (type(error), error.exception_type, error.message) == (ExecutionError, "NotOurs", "mine")
    assert NotOurs.made == before


IMPORTS = """
import sys
from stepwell import _{backend} as backend

ex = backend.Execution.from_json(sys.stdin.buffer.read())
before = set(sys.modules)
errors = [ex.error, *(step.error for step in ex.steps.values())]
new = {{name.partition(".")[0] for name in set(sys.modules) - before}}
print(sorted(new & {{"antigravity", "decimal", "subprocess"}}), [error.exception_type for error in errors])
"""


@pytest.mark.parametrize("name", BACKENDS)
def test_a_record_never_imports_anything_of_the_users(name):
    """Whatever a hostile journal says of the class."""
    from stepwell import _pure

    ex = running(_pure)
    step = ex.start_step("a")
    ex.fail_step(step, ExecutionError("tool", None, "x", exception_type="antigravity.Error"))
    ex.fail(ExecutionError("tool", None, "x", exception_type="subprocess:Popen"))
    command = [sys.executable, "-c", IMPORTS.format(backend=name)]
    done = subprocess.run(command, input=ex.to_json(), capture_output=True, check=True)
    assert done.stdout.decode().strip() == "[] ['subprocess:Popen', 'antigravity.Error']"


@pytest.mark.parametrize(
    "error", [b"{}", b"5", b'"text"', b'{"category":"unheard_of"}', b'{"category":"tool","attempt":-1}']
)
def test_a_recorded_error_that_cannot_be_read_says_so(backend, error):
    """Reading never raises: an error of a newer stepwell, or of a forger, is still shown as one."""
    ex = running(backend)
    ex.fail("MARK")
    data = ex.to_json()
    mark = json.dumps(ex.error.to_dict(), separators=(",", ":")).encode()
    other = backend.Execution.from_json(data.replace(mark, error))
    assert other.state == "failed"
    assert (other.error.category, other.error.code) == ("kernel_internal", "unreadable_error")
    assert not other.error.retryable


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(1), GeneratorExit()])
def test_what_is_no_failure_is_refused(backend, error):
    ex = running(backend)
    step = ex.start_step("a")
    message = f"{type(error).__name__} is not a failure: raise it again, or cancel the step or the execution"
    for call in (
        lambda: ex.fail(error),
        lambda: ex.fail_step(step, error),
        lambda: ex.retry_step(step, error),
    ):
        with refused(ex, ValidationError, message):
            call()


@pytest.mark.parametrize("error", [5, [], {"category": "tool"}, b"text", ValueError])
def test_other_things_are_no_errors(backend, error):
    ex = running(backend)
    message = f"error must be an ExecutionError, an exception or text; got {type(error).__name__}"
    with refused(ex, ValidationError, message):
        ex.fail(error)
    step = ex.start_step("a")
    with refused(ex, ValidationError, message) as caught:
        ex.fail_steps([step], [error])
    assert caught.value.index == 0


def test_an_exception_that_cannot_show_itself_is_still_recorded(backend):
    class Hostile(Exception):
        def __str__(self):
            raise RuntimeError("no")

    ex = running(backend)
    ex.fail(Hostile())
    assert ex.error.message == "no message: the __str__ of Hostile failed"


def test_text_is_made_safe_to_store(backend):
    ex = running(backend)
    ex.fail("a\0b\ud800" + "x" * 5000)
    assert ex.error.message.startswith("a\\x00b\\ud800x")
    assert len(ex.error.message) == 2000
    assert backend.Execution.replay(ex.id, ex.drain()) == ex


def test_every_failed_step_has_an_error(backend):
    ex = running(backend)
    steps = ex.start_steps("a", count=2)
    with refused(ex, ValidationError, "step_failed needs error") as caught:
        ex.fail_steps(steps, [FULL, None])
    assert caught.value.index == 1
    ex.fail_steps(steps, [FULL, "broken"])
    assert [step.error for step in steps] == [FULL, TEXT]
