"""JSON read back: the same value or the same refusal, with orjson and with the standard library alone."""

import json
import os
import subprocess
import sys

import pytest
from hypothesis import example, given, settings, strategies as st

from stepwell import encoding
from stepwell.errors import ValidationError
from values.libraries import LIBRARIES, both, use


@pytest.fixture(params=LIBRARIES)
def library(request, monkeypatch):
    use(request.param, monkeypatch)
    return request.param


def shown(value):
    return ascii(value)[:40]


@settings(max_examples=300)
@given(
    st.text('[]{}":,\\ueda01289-+.EN \n\x0b\x00\ufeff', max_size=30).map(str.encode) | st.binary(max_size=30)
)
@example(b'{"a":1,"a":2}')
def test_decode_of_anything_ends_the_same_way(data):
    both(encoding.decode, data)


NOT_JSON = [
    b"",
    b" ",
    b"NaN",
    b"Infinity",
    b"-Infinity",
    b"1e400",
    b"-1e400",
    b"18446744073709551616",
    b"-9223372036854775809",
    b"1" * 5000,
    b"[1,]",
    b"{'a':1}",
    b"01",
    b"1.",
    b"1 2",
    b'"\x01"',
    b'"\xff"',
    b'"\xed\xa0\x80"',
    b"\xef\xbb\xbf1",
    b"\x0b1",
    b'"\\ud800"',
    b'"\\ud83d\\\\\\ude00"',
    b'{"\\udc00":1,"a":2}',
    b"[" * 129 + b"]" * 129,
    b"[" * 100_000,
    b"[" * 100_000 + b"]" * 100_000,
    b'{"a":1',
    "1".encode("utf-16"),
]


@pytest.mark.parametrize("data", NOT_JSON, ids=shown)
def test_decode_refuses(data):
    kind, message, _ = both(encoding.decode, data)
    assert kind is ValidationError
    assert message == "payload is not JSON of this format"


@pytest.mark.parametrize("data", ["1", None, 1, [b"1"]])
def test_decode_takes_bytes_only(library, data):
    with pytest.raises(ValidationError):
        encoding.decode(data)


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b" 1 ", 1),
        (b"18446744073709551615", 2**64 - 1),
        (b"-9223372036854775808", -(2**63)),
        (b'["\\ud83d\\ude00\\\\ud800",1700000000000000000]', ["😀\\ud800", 1700000000000000000]),
        (b"12345678901234567890123.5", 12345678901234567890123.5),
        (b'"18446744073709551616"', "18446744073709551616"),
        (b"1e-400", 0.0),
        (b"[" * 128 + b"]" * 128, json.loads("[" * 128 + "]" * 128)),
        (bytearray(b"[1]"), [1]),
        (memoryview(b"[1]"), [1]),
    ],
    ids=shown,
)
def test_decode(library, data, value):
    assert encoding.decode(data) == value


# --- which library ---


def run(code, **environment):
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_the_environment_can_do_without_orjson():
    code = "import sys; from stepwell import encoding as e; print(e.library(), 'orjson' in sys.modules, e.encode(1e-5))"
    assert run(code, STEPWELL_JSON="stdlib") == "stdlib False b'0.00001'"


def test_orjson_absent():
    code = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name == "orjson":
            raise ModuleNotFoundError("no orjson", name="orjson")
sys.meta_path.insert(0, Absent())
from stepwell import encoding as e
print(e.encode([1e-5]), e.decode(b"[1]"), e.library())
"""
    assert run(code) == "b'[0.00001]' [1] stdlib"


def test_an_orjson_that_writes_other_bytes_is_left_alone():
    code = """
import orjson
real = orjson.dumps
orjson.dumps = lambda *args: real(*args).replace(b"0.00001", b"1e-5")
from stepwell import encoding as e
print(e.encode([1e-5]), e.library())
"""
    assert run(code) == "b'[0.00001]' stdlib"


def test_importing_does_not_load_orjson():
    assert run("import sys; from stepwell import encoding; print('orjson' in sys.modules)") == "False"
