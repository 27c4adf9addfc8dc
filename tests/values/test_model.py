"""The small values: checked when made, immutable, equal by value."""

import copy
import datetime
import pickle
import unicodedata

import pytest
from hypothesis import given, strategies as st

from stepwell._spec import MAX_NOTE_CHARS, ParentType
from stepwell.errors import ValidationError
from stepwell.failures import ExecutionError
from stepwell.model import (
    Attempt,
    LimitWarning,
    ParentLink,
    ResourceLimits,
    StepSource,
    TenantContext,
    amount,
    label,
    note,
    whole,
)

NOON = datetime.datetime(2024, 2, 29, 12, tzinfo=datetime.UTC)

VALUES = [
    ParentLink("execution", "exec_1"),
    ParentLink(ParentType.SYSTEM, "cron"),
    StepSource.initial_plan(),
    StepSource.discovered("step_1", "it was missing", 2),
    StepSource.retry("step_1"),
    StepSource.user_guidance(),
    StepSource.user_guidance(by="ann", reason="try the other one"),
    ResourceLimits(),
    ResourceLimits(1, 2, 3, 4.5, 6, 7),
    LimitWarning("max_cost", 8.0, 10),
    TenantContext("acme"),
    TenantContext("acme", "ann", ResourceLimits(max_steps=5), {"plan": ["gold"]}),
    Attempt(1, NOON),
    Attempt(2, NOON, NOON, ExecutionError("network")),
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_values(value):
    for other in (pickle.loads(pickle.dumps(value)), copy.copy(value), copy.deepcopy(value)):
        assert other == value
        assert hash(other) == hash(value)
        assert repr(other) == repr(value)
    assert [other for other in VALUES if other == value] == [value]
    assert value != repr(value)
    for name in (*value._fields, "new"):
        with pytest.raises(AttributeError, match="cannot be changed"):
            setattr(value, name, 1)
        with pytest.raises(AttributeError, match="cannot be changed"):
            delattr(value, name)
    assert not hasattr(value, "__dict__")


@pytest.mark.parametrize("value", [value for value in VALUES if hasattr(value, "to_dict")], ids=repr)
def test_dicts(value):
    assert type(value).from_dict(value.to_dict()) == value


def test_dicts_in_words():
    assert StepSource.discovered("a", "b", 0).to_dict() == {
        "kind": "discovered",
        "by": "a",
        "reason": "b",
        "depth": 0,
    }
    assert StepSource.initial_plan().to_dict() == {"kind": "initial_plan"}
    assert repr(StepSource.retry("step_1")) == "StepSource.retry(of='step_1')"
    assert ParentLink("schedule", "s").to_dict() == {"parent_type": "schedule", "parent_id": "s"}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
kinds = st.sampled_from(["initial_plan", "discovered", "retry", "user_guidance"]) | json_values


@given(
    json_values
    | st.dictionaries(st.sampled_from(["kind", "by", "reason", "depth", "of"]), kinds | json_values)
)
def test_hostile_sources(data):
    try:
        source = StepSource.from_dict(data)
    except ValidationError:
        return
    assert source.to_dict() == {name: value for name, value in data.items() if value is not None}


@given(
    json_values
    | st.dictionaries(st.sampled_from(["parent_type", "parent_id"]), st.just("system") | json_values)
)
def test_hostile_parents(data):
    try:
        assert ParentLink.from_dict(data).to_dict() == data
    except ValidationError:
        return


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ParentLink("cousin", "x"), "parent_type must be one of execution, "),
        (lambda: ParentLink("system", ""), "parent_id must be 1 to 255"),
        (lambda: StepSource("discovered", by="a", reason="b"), "discovered needs depth"),
        (lambda: StepSource("retry", of="a", by="b"), "retry has no field 'by'"),
        (lambda: StepSource.discovered("a", "b", -1), "depth must be a whole number from 0"),
        (lambda: StepSource.discovered("a", "b", True), "depth must be a whole number, got bool"),
        (lambda: StepSource.from_dict({"kind": "retry", "of": "a", "x": 1}), "source has no field 'x'"),
        (lambda: StepSource.from_dict({}), "source must be one of"),
        (lambda: ResourceLimits(max_steps=-1), "max_steps must be a whole number from 0"),
        (lambda: ResourceLimits(max_tokens=1.5), "max_tokens must be a whole number, got float"),
        (lambda: ResourceLimits(max_cost=float("nan")), "max_cost must be a number from 0"),
        (lambda: ResourceLimits(max_cost=False), "max_cost must be a number, got bool"),
        (lambda: ResourceLimits(max_payload_bytes=2**63), "max_payload_bytes must be"),
        (lambda: TenantContext(""), "tenant must be 1 to 255 characters"),
        (lambda: TenantContext(None), "tenant must be text, got NoneType"),
        (lambda: TenantContext("a\n"), "tenant must be"),
        (lambda: TenantContext("a", user_id="\x9f"), "user_id must be"),
        (lambda: TenantContext("a", limits={}), "limits must be ResourceLimits, got dict"),
        (lambda: TenantContext("a", metadata=[1]), "metadata must be a mapping, got list"),
        (lambda: TenantContext("a", metadata={"a": {1}}), "cannot encode the value at \\$.a"),
        (lambda: TenantContext("a", on_warning=1), "on_warning must be callable, got int"),
        (lambda: Attempt(0, NOON), "number must be a whole number from 1"),
    ],
)
def test_refusals(make, message):
    with pytest.raises(ValidationError, match=message):
        make()


def test_the_hook_is_no_part_of_the_value():
    seen = []
    tenant = TenantContext("acme", on_warning=seen.append)
    assert tenant == TenantContext("acme")
    assert tenant.on_warning == seen.append
    assert copy.copy(tenant).on_warning is not None
    assert pickle.loads(pickle.dumps(tenant)).on_warning is None


def test_metadata_is_not_shared():
    given_metadata = {"a": [1]}
    tenant = TenantContext("acme", metadata=given_metadata)
    given_metadata["a"].append(2)
    tenant.metadata["a"].append(3)
    assert tenant.metadata == {"a": [1]}


@given(st.text(st.characters(), max_size=300))
def test_labels(text):
    bad = not 0 < len(text) <= 255 or any(unicodedata.category(char) in {"Cc", "Cs"} for char in text)
    if bad:
        with pytest.raises(
            ValidationError, match=r"^name must be 1 to 255 characters without control characters or"
        ):
            label("name", text)
    else:
        assert label("name", text) == text


@given(st.characters())
def test_labels_of_one_character(char):
    bad = unicodedata.category(char) in {"Cc", "Cs"}
    if bad:
        with pytest.raises(ValidationError):
            label("name", char)
    else:
        assert label("name", char) == char


@given(st.text(st.characters()))
def test_notes(text):
    bad = any(unicodedata.category(char) == "Cs" for char in text)
    if bad:
        with pytest.raises(ValidationError, match=r"^reason must be at most 4096 characters"):
            note("reason", text)
    else:
        assert note("reason", text) == text


def test_limits_of_text():
    assert label("place", "x" * 1024, 1024)
    assert note("reason", "") == ""
    assert note("reason", "é" * MAX_NOTE_CHARS)
    for check in (lambda: label("n", "x" * 256), lambda: note("n", "x" * 4097), lambda: note("n", None)):
        with pytest.raises(ValidationError):
            check()


def test_subclasses_become_plain():
    class Text(str):
        __slots__ = ()

    class Number(int):
        pass

    assert type(label("n", Text("a"))) is str
    assert type(note("n", Text("a"))) is str
    assert type(whole("n", Number(1))) is int
    assert type(amount("n", Number(1))) is int
