"""Durations as people write them."""

import datetime

import pytest
from hypothesis import given, strategies as st

from stepwell.durations import parse
from stepwell.errors import ValidationError

SECOND = 1_000_000_000


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("1h30m", 5400 * SECOND),
        ("1d2h3m4s5ms", 93784 * SECOND + 5_000_000),
        ("250ms", SECOND // 4),
        ("1m", 60 * SECOND),
        ("1m5ms", 60 * SECOND + 5_000_000),
        ("0s", 0),
        ("90m", 5400 * SECOND),
        ("1.5h", 5400 * SECOND),
        ("0.000001ms", 1),
        ("1.50s", 3 * SECOND // 2),
        (0, 0),
        (5, 5 * SECOND),
        (0.1, 100_000_000),
        (0.0, 0),
        (-0.0, 0),
        (1e-10, 0),
        (datetime.timedelta(days=1, microseconds=1), 86_400 * SECOND + 1000),
        (datetime.timedelta.resolution, 1000),
        ("9223372036854.775807ms", 9_223_372_036_854_775_807),
    ],
)
def test_parse(value, expected):
    assert parse(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        "", " ", "1", "h", "1h ", " 1h", "1h 30m", "30m1h", "1h1h", "1H", "-1h", "+1h", "1.h", ".5h", "1..5h", "1e3s",
        "1us", "١h", "1h30", "1ms1s", "0.0000001ms", "x" * 10**6, "9" * 99 + "d", "\ud800",
        -1, -0.5, -5e-324, float("nan"), float("inf"), -float("inf"), 1e300, 2**63, 9_223_372_037, True, False, None,
        b"1h", [1], object(), 1j, datetime.timedelta(-1), datetime.timedelta.max, datetime.time(1),
    ],
    ids=lambda value: ascii(value)[:30],
)  # fmt: skip
def test_refusals(value):
    with pytest.raises(ValidationError, match=r"^timeout must ") as caught:
        parse(value, "timeout")
    assert len(str(caught.value)) < 200


@given(st.timedeltas(datetime.timedelta(0), datetime.timedelta(days=100_000)))
def test_timedeltas_are_exact(value):
    assert parse(value) == value // datetime.timedelta(microseconds=1) * 1000


@given(st.integers(0, 9_000_000_000_000))
def test_text_is_exact(milliseconds):
    assert parse(f"{milliseconds}ms") == milliseconds * 1_000_000
    assert parse(f"{milliseconds // 1000}s{milliseconds % 1000}ms") == milliseconds * 1_000_000


@given(st.floats(0, 9e9))
def test_seconds_as_float_are_within_half_a_nanosecond(value):
    numerator, denominator = value.as_integer_ratio()
    assert abs(parse(value) * denominator - numerator * SECOND) * 2 <= denominator
