"""Bad input: the exact class and words, on both backends, and not one byte of the execution changed."""

import pytest

from kernel.refusals import ALL, SECRET, UNREACHED
from kernel.support import REFUSALS, made_id, recorded, refused, running
from stepwell import InvalidTransition, OpenSteps, PayloadTooLarge, StepwellError
from stepwell._spec import MAX_PAYLOAD_BYTES


def named(case):
    return f"{case.function or case.cls.__name__}-{ALL.index(case)}"


@pytest.mark.parametrize("case", ALL, ids=named)
def test_it_is_refused_in_these_words_and_nothing_changes(backend, monkeypatch, case):
    ex = case.make(backend)
    head, version, order = ex.head, ex.version, ex.step_order
    called = recorded(monkeypatch)
    with refused(ex, case.cls, case.message) as caught:
        case.act(ex)
    assert caught.value.index == case.index
    assert isinstance(caught.value, StepwellError)
    assert SECRET not in str(caught.value)
    assert (ex.head, ex.version, ex.step_order) == (head, version, order)
    assert case.function is None or case.function in called


@pytest.mark.parametrize("case", [case for case in ALL if case.index is None], ids=named)
def test_an_execution_goes_on_as_if_nothing_had_been_asked(backend, case):
    """Its journal is the one of an execution that was never refused anything."""
    ex, twin = case.make(backend), case.make(backend)
    with pytest.raises(StepwellError):
        case.act(ex)
    for execution in (ex, twin):
        if not execution.is_terminal:
            execution.cancel()
    assert ex == twin
    if ex.tenant_id is not None:
        assert ex.drain() == twin.drain()


def test_every_refusal_has_a_row():
    assert {case.function for case in ALL if case.function} | set(UNREACHED) == set(REFUSALS)
    assert not {case.function for case in ALL} & set(UNREACHED)


def test_refusals_say_more_than_words(backend):
    ex = running(backend)
    with pytest.raises(InvalidTransition) as caught:
        ex.plan()
    assert (caught.value.state, caught.value.action, caught.value.index) == ("running", "plan", None)
    step = ex.start_step("a")
    with pytest.raises(InvalidTransition) as caught:
        ex.skip_step(step)
    assert (caught.value.state, caught.value.action) == ("running", "step_skipped")
    ex.start_steps("b", count=9)
    with pytest.raises(OpenSteps) as caught:
        ex.complete()
    assert (caught.value.state, caught.value.action, caught.value.count) == ("running", "complete", 10)
    assert caught.value.step_ids == tuple(made_id(number) for number in range(2, 7))
    with pytest.raises(PayloadTooLarge) as caught:
        ex.complete_step(step, "x" * MAX_PAYLOAD_BYTES)
    assert (caught.value.size, caught.value.limit) == (MAX_PAYLOAD_BYTES + 2, MAX_PAYLOAD_BYTES)


def test_the_largest_payload_is_taken(backend):
    ex = running(backend)
    step = ex.start_step("a")
    ex.complete_step(step, "x" * (MAX_PAYLOAD_BYTES - 2))
    assert len(step.output) == MAX_PAYLOAD_BYTES - 2


@pytest.mark.parametrize("char", ["\x00", "\n", "\x1f", "\x7f", "\x80", "\x9f", "\ud800", "\udfff"])  # noqa: PT014
def test_labels_have_no_control_characters(backend, char):
    ex = running(backend)
    for call in (
        lambda text: backend.Execution(tenant=text),
        lambda text: backend.Execution(schema_version=text),
        lambda text: backend.Execution(blueprint=text),
        lambda text: backend.Execution(key=text),
        ex.start_step,
        lambda text: ex.start_step("a", key=text),
        lambda text: ex.start_step("a", callable_id=text),
        lambda text: ex.start_step("a", place=text),
        lambda text: ex.start_steps("a", keys=[text]),
        lambda text: ex.start_steps("a", places=[text]),
    ):
        with pytest.raises(ValueError, match="without control characters or lone surrogates"):
            call(f"a{char}b")
    assert ex.version == 1


@pytest.mark.parametrize("text", ["a", "x" * 255, "ünï 租户", "a b", "\u2028", "\xa0", "\u202e", "💥" * 255])
def test_labels_are_otherwise_the_users_own(backend, text):
    ex = running(backend, tenant=text, key=text)
    step = ex.start_step(text, key=text)
    again = backend.Execution.replay(ex.id, ex.drain())
    assert (again.tenant_id, again.key, again.get_step(step.id).name) == (text, text, text)
