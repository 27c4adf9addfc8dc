"""One encoding: the same bytes or the same refusal, with orjson and with the standard library alone."""

import collections
import dataclasses
import datetime
import decimal
import enum
import math
import struct
import sys
import types
import typing
import uuid

import numpy
import orjson
import pydantic
import pytest
from hypothesis import given, settings, strategies as st

from stepwell import encoding
from stepwell._spec import MAX_DEPTH, MAX_PAYLOAD_BYTES
from stepwell.errors import EncodingError, PayloadTooLarge
from values.libraries import LIBRARIES, both, use


@pytest.fixture(params=LIBRARIES)
def library(request, monkeypatch):
    use(request.param, monkeypatch)
    return request.param


def shown(value):
    return type(value).__name__ if isinstance(value, Unset) else ascii(value)[:40]


def encoded(value):
    return both(encoding.encode, value)[0]


class Text(str):
    __slots__ = ()


class Number(int):
    pass


class Real(float):
    pass


class Items(list):
    pass


class Mapping(dict):
    pass


class Colour(enum.Enum):
    RED = "red"
    DEEP = {"a": [1]}


class Level(enum.IntEnum):
    HIGH = 3


class Word(enum.StrEnum):
    A = "a"


class Meta(enum.EnumMeta):
    pass


class Odd(str, enum.Enum, metaclass=Meta):
    X = "x"


class Pair(typing.NamedTuple):
    left: int
    right: str


class Film(typing.TypedDict):
    title: str


@dataclasses.dataclass
class Point:
    y: int
    x: float
    _hidden: str = "kept"
    shared: typing.ClassVar[int] = 9


@dataclasses.dataclass(slots=True)
class Slotted:
    first: Point
    second: None = None


class Model(pydantic.BaseModel):
    when: datetime.datetime
    price: decimal.Decimal
    point: tuple[int, int] = (1, 2)


class Reading(pydantic.BaseModel):
    value: float


NOON = datetime.datetime(2024, 2, 29, 12, tzinfo=datetime.UTC)
INDIA = datetime.timezone(datetime.timedelta(hours=5, minutes=30))
ID = uuid.UUID("01890a5d-ac96-774b-bcce-b302099a8057")

VECTORS = [
    (None, b"null"),
    (True, b"true"),
    (False, b"false"),
    (0, b"0"),
    (-(2**63), b"-9223372036854775808"),
    (2**64 - 1, b"18446744073709551615"),
    (0.0, b"0.0"),
    (-0.0, b"-0.0"),
    (1.0, b"1.0"),
    (0.1, b"0.1"),
    (1e15, b"1000000000000000.0"),
    (1e16, b"1e+16"),
    (1.5e16, b"1.5e+16"),
    (1e22, b"1e+22"),
    (1e100, b"1e+100"),
    (1e-4, b"0.0001"),
    (1e-5, b"0.00001"),
    (-1.25e-5, b"-0.0000125"),
    (1e-6, b"1e-6"),
    (1e-7, b"1e-7"),
    (-1.5e-10, b"-1.5e-10"),
    (5e-324, b"5e-324"),
    (1.7976931348623157e308, b"1.7976931348623157e+308"),
    (9007199254740993.0, b"9007199254740992.0"),
    ("", b'""'),
    ('"\\/', b'"\\"\\\\/"'),
    ("\b\f\n\r\t\0\x01\x1f\x7f\x80", b'"\\b\\f\\n\\r\\t\\u0000\\u0001\\u001f\x7f\xc2\x80"'),
    ("é\u2028\u2029\ufeff\uffff😀", '"é\u2028\u2029\ufeff\uffff😀"'.encode()),
    ([], b"[]"),
    ({}, b"{}"),
    ((), b"[]"),
    ([1, [2, (3,)]], b"[1,[2,[3]]]"),
    ({"b": 1, "a": {"c": None}}, b'{"b":1,"a":{"c":null}}'),
    ({"": "null", "é\n": [None]}, '{"":"null","é\\n":[null]}'.encode()),
    (Text("x"), b'"x"'),
    (Number(7), b"7"),
    (Real(1e-5), b"0.00001"),
    (Items([1]), b"[1]"),
    (Mapping(a=1), b'{"a":1}'),
    (collections.OrderedDict([("b", 1), ("a", 2)]), b'{"b":1,"a":2}'),
    (collections.Counter("aab"), b'{"a":2,"b":1}'),
    ({Text("k"): 1, Word.A: 2}, b'{"k":1,"a":2}'),
    (Colour.RED, b'"red"'),
    (Colour.DEEP, b'{"a":[1]}'),
    (Level.HIGH, b"3"),
    (Word.A, b'"a"'),
    (Odd.X, b'"x"'),
    (Pair(1, "r"), b'[1,"r"]'),
    (Film(title="M"), b'{"title":"M"}'),
    (Point(1, 2.0), b'{"y":1,"x":2.0,"_hidden":"kept"}'),
    ([Slotted(Point(1, 2.0))], b'[{"first":{"y":1,"x":2.0,"_hidden":"kept"},"second":null}]'),
    (NOON, b'"2024-02-29T12:00:00+00:00"'),
    (NOON.replace(microsecond=5, tzinfo=INDIA), b'"2024-02-29T12:00:00.000005+05:30"'),
    (datetime.date(2024, 2, 29), b'"2024-02-29"'),
    (datetime.time(9, 30, tzinfo=datetime.UTC), b'"09:30:00+00:00"'),
    (ID, b'"01890a5d-ac96-774b-bcce-b302099a8057"'),
    (numpy.float64(0.5), b"0.5"),
    (numpy.float32(0.5), b"0.5"),
    (numpy.float32(0.1), b"0.10000000149011612"),
    (numpy.int64(-3), b"-3"),
    (numpy.uint64(2**64 - 1), b"18446744073709551615"),
    (numpy.bool_(True), b"true"),
    (numpy.array([[1, 2], [3, 4]]), b"[[1,2],[3,4]]"),
    ({"a": numpy.array(2.5)}, b'{"a":2.5}'),
    (
        Model(when=NOON, price=decimal.Decimal("1.10")),
        b'{"when":"2024-02-29T12:00:00Z","price":"1.10","point":[1,2]}',
    ),
]


@pytest.mark.parametrize(("value", "data"), VECTORS, ids=shown)
def test_vectors(library, value, data):
    assert encoding.encode(value) == data
    assert encoding.encode(encoding.decode(data)) == data


def test_msgspec_structures(library, monkeypatch):
    class Struct:
        a = 1

    msgspec = types.ModuleType("msgspec")
    msgspec.Struct = Struct
    msgspec.to_builtins = lambda value: {"a": value.a}
    monkeypatch.setitem(sys.modules, "msgspec", msgspec)
    assert encoding.encode([Struct()]) == b'[{"a":1}]'


def test_orjson_is_what_runs_here():
    assert encoding.library() == "orjson"


# --- equal for everything ---

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=20,
)
odd = st.recursive(
    plain
    | st.integers()
    | st.floats()
    | st.text(st.characters())
    | st.text(st.characters(categories=["Cs", "Ll"]))
    | st.binary()
    | st.datetimes()
    | st.datetimes(timezones=st.just(datetime.UTC))
    | st.times()
    | st.dates()
    | st.uuids()
    | st.sampled_from(
        [*Colour, Level.HIGH, Word.A, Odd.X, Text("t"), Number(2**70), Real("nan"), numpy.float64("inf")]
    ),
    lambda inner: (
        st.lists(inner)
        | st.builds(Point, inner, inner)
        | st.builds(Items, st.lists(inner))
        | st.sets(st.integers())
        | st.dictionaries(st.text() | st.integers() | st.sampled_from([Text("k"), Word.A, None]), inner)
    ),
    max_leaves=10,
)


@settings(max_examples=300)
@given(plain)
def test_plain_values_are_what_orjson_writes_and_come_back(value):
    data = encoded(value)
    assert data == orjson.dumps(value)
    assert encoding.encode(both(encoding.decode, data)[0]) == data


@settings(max_examples=300)
@given(odd)
def test_anything_ends_the_same_way_with_and_without_orjson(value):
    both(encoding.encode, value)


@settings(max_examples=2000)
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats(number):
    assert orjson.dumps(number).decode() == encoding._float(number)


@settings(max_examples=500)
@given(
    st.recursive(
        st.text('[]{}"\\ '), lambda inner: st.lists(inner) | st.dictionaries(st.text('[]{}"\\ '), inner)
    )
)
def test_depth_of_what_looks_like_brackets(value):
    def depth(value):
        if isinstance(value, str):
            return 0
        return 1 + max(map(depth, value.values() if isinstance(value, dict) else value), default=0)

    data = orjson.dumps(value)
    opening = data.count(b"[") + data.count(b"{")
    for limit in range(min(opening, 8)):
        assert encoding._deeper_than(data, limit) is (depth(value) > limit)


def test_many_floats():
    draws = struct.unpack("<50000d", numpy.random.default_rng(7).bytes(400_000))
    numbers = [number for number in draws if math.isfinite(number)]
    numbers += [
        float(f"{digits}e{power}")
        for power in range(-324, 308)
        for digits in ("1", "-1.5", "1.7976931348623157")
    ]
    assert orjson.dumps(numbers) == encoding._encode_stdlib(numbers)


# --- refusals ---


class Hostile(list):
    def __iter__(self):
        raise OSError("secret")


class Same(str):
    __slots__ = ()

    def __eq__(self, other):
        return self is other

    def __hash__(self):
        return id(self)


@dataclasses.dataclass
class Unset:
    a: int = dataclasses.field(init=False)


def nested(levels):
    value = 1
    for level in range(levels):
        value = [value] if level % 2 else {"k": value}
    return value


CYCLE: list = []
CYCLE.append(CYCLE)

REFUSED = [
    (float("nan"), "$", "NaN"),
    ([None, {"a": float("inf")}], "$[1].a", "NaN"),
    ({"a": None, "p": Point(1, -math.inf)}, "$.p.x", "NaN"),
    (numpy.array([1.0, math.nan]), "$[1]", "NaN"),
    (Real("nan"), "$", "NaN"),
    ({"items": [0, 1, 2, {"price": 2**64}]}, "$.items[3].price", "64 bits"),
    (-(2**63) - 1, "$", "64 bits"),
    (Number(2**64), "$", "64 bits"),
    ("\ud800", "$", "surrogate"),
    ({"a b": ["x\udfff"]}, "$['a b'][0]", "surrogate"),
    ({"a": {"\ud800": 1}}, "$.a", "surrogate"),
    ({"a": {1: 1}}, "$.a", "keys must be text, got int"),
    ({None: 1}, "$", "keys must be text, got NoneType"),
    ({Same("a"): 1, Same("a"): 2}, "$", "two keys"),
    ({"s": {1}}, "$.s", "set has no JSON form"),
    (b"x", "$", "bytes has no JSON form"),
    ([object()], "$[0]", "object has no JSON form"),
    (object, "$", "type has no JSON form"),
    (Point, "$", "type has no JSON form"),
    (1j, "$", "complex"),
    (decimal.Decimal(1), "$", "Decimal"),
    (datetime.datetime(2024, 1, 1), "$", "time zone"),  # noqa: DTZ001
    ({"t": datetime.time(9)}, "$.t", "time zone"),
    (datetime.timedelta(1), "$", "timedelta"),
    (Unset(), "$", "field a of Unset has no value"),
    ([Hostile([1])], "$[0]", "could not be turned into plain values: OSError"),
    (Reading(value=math.nan), "$.value", "NaN"),
    (numpy.array(["a"]), "$", "ndarray"),
    (numpy.array([1j]), "$", "ndarray"),
    (numpy.datetime64("2024-01-01"), "$", "datetime64"),
    (numpy.longdouble(1), "$", "longdouble"),
    (nested(MAX_DEPTH + 1), "$" + ".k[0]" * (MAX_DEPTH // 2), "deeper than 128"),
    (CYCLE, "$" + "[0]" * MAX_DEPTH, "deeper than 128"),
    ([nested(MAX_DEPTH), "x" * 1000], "$[0]" + "[0].k" * 63 + "[0]", "deeper than 128"),
]


@pytest.mark.parametrize(("value", "path", "word"), REFUSED, ids=shown)
def test_refusals_name_the_place_and_not_the_value(value, path, word):
    kind, message, fields = both(encoding.encode, value)
    assert kind is EncodingError
    assert fields["path"] == path
    assert word in message
    assert "secret" not in message
    assert len(message) < 600


def test_refused_keys_are_cut_and_shown_safely():
    message = both(encoding.encode, {"\x1b[31m" + "k" * 10_000: math.nan})[1]
    assert "\x1b" not in message
    assert len(message) < 300


def test_depth_is_counted_in_containers_only():
    assert encoded(nested(MAX_DEPTH)).count(b"[") == MAX_DEPTH // 2
    assert encoded(["[" * 200, '\\"[{' * 100, "]" * 7] * 100)
    assert encoded([{"a": []}] * 1000)
    assert encoded([{'"]': '"', "]": '\\"'}, '[""]', ["\\", "{"]] * 100)
    fooling: object = 1
    for _ in range(MAX_DEPTH + 1):
        fooling = ["]", fooling, "["]
    assert both(encoding.encode, fooling)[0] is EncodingError


def test_size(library):
    assert encoding.encode("x" * 8, 10) == b'"xxxxxxxx"'
    with pytest.raises(PayloadTooLarge, match="11 bytes, at most 10") as caught:
        encoding.encode("x" * 9, 10)
    assert (caught.value.size, caught.value.limit) == (11, 10)
    assert len(encoding.encode("x" * (MAX_PAYLOAD_BYTES - 2))) == MAX_PAYLOAD_BYTES
    with pytest.raises(PayloadTooLarge):
        encoding.encode("x" * (MAX_PAYLOAD_BYTES - 1))


def test_an_interrupt_is_not_a_refusal(library):
    class Interrupting(list):
        def __iter__(self):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encoding.encode([Interrupting([1])])
