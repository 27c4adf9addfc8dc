"""What the backends encode by themselves: the arguments of a step, the same bytes or refusals as anything else."""

import enum
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from kernel.drive import MODULES
from stepwell import StepwellError, encoding
from stepwell._spec import MAX_PAYLOAD_BYTES


class Colour(enum.IntEnum):
    RED = 1


class Text(str):
    __slots__ = ()


class Pair(tuple[int, int]):
    __slots__ = ()


def outcome(encode: Any, value: Any) -> tuple[str, Any]:
    try:
        return "bytes", encode(value)
    except StepwellError as refusal:
        return type(refusal).__name__, str(refusal)


PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**63), 2**64),
    st.text(),
    st.characters(),
    st.floats(),
)
VALUES = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner), max_leaves=5
)


@pytest.mark.parametrize("name", MODULES)
@given(arguments=st.lists(VALUES, max_size=4).map(tuple))
@settings(max_examples=300, deadline=None)
def test_arguments_are_encoded_like_everything_else(name: str, arguments: tuple[Any, ...]) -> None:
    assert outcome(MODULES[name].encode, arguments) == outcome(encoding.encode, arguments)


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize(
    "value",
    [
        (), ("",), ("\x00\x1f\x7f\u2028",), ("\ud800",), (2**63 - 1, -(2**63)), (2**63,), (2**64,), (-(2**63) - 1,),
        (Colour.RED,), (Text("own"),), (True, False, None), Pair((1, 2)), [1], {"a": 1}, "text", 7, None,
        (float("nan"),), (object(),), ("x" * MAX_PAYLOAD_BYTES,), ("x" * (MAX_PAYLOAD_BYTES - 4),),
        ("x" * (MAX_PAYLOAD_BYTES - 3),), (((((("deep",),),),),),),
    ],
    ids=lambda value: ascii(value)[:30],
)  # fmt: skip
def test_odd_arguments(name: str, value: Any) -> None:
    assert outcome(MODULES[name].encode, value) == outcome(encoding.encode, value)


@pytest.mark.parametrize("name", MODULES)
def test_a_step_begun_with_all_in_its_place_is_the_same(name: str) -> None:
    module = MODULES[name]
    one, other = (
        module.Execution(
            id=f"exec_{0:026d}", blueprint="b", tenant="t", ids=lambda prefix: f"{prefix}_{1:026d}"
        )
        for _ in range(2)
    )
    for execution in (one, other):
        execution.start()
    made = module.start_step(one, "look", "tool", "k", None, b'[1,"a"]', "m.look", "0", None)
    same = other.start_step("look", type="tool", key="k", input=[1, "a"], callable_id="m.look", place="0")
    for what in (
        "id",
        "name",
        "step_type",
        "key",
        "input",
        "callable_id",
        "place",
        "state",
        "parent_step_id",
    ):
        assert getattr(made, what) == getattr(same, what), what
    inner = module.start_step(one, "within", "function", None, made, None, None, "0/0", f"step_{2:026d}")
    assert (inner.id, inner.parent_step_id, inner.input) == (f"step_{2:026d}", made.id, None)
