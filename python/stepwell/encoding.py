"""Payloads: Python values as JSON bytes, and back.

There is one encoding. `orjson` makes it where it is installed; without it the standard library makes the same bytes,
and refuses the same values in the same words. Whatever `orjson` refuses is walked again here, so that the error can
name the place, and every message exists once.

Taken: `None`, `bool`, `int` of 64 bits, `float`, `str`, `list`, `tuple`, `dict` with text keys, and their subclasses
(a named tuple is an array); enums by their value; dataclasses with every field in order, those whose names begin with
an underscore too; aware `datetime` and `time`, `date`; `UUID`; numpy numbers and arrays; pydantic and msgspec models.
Dictionaries keep their order. Everything else is refused, never repaired: NaN and infinity, lone surrogates, larger
integers, other keys, more than 128 levels, naive `datetime` and `time`, sets, bytes, arbitrary objects.
`STEPWELL_JSON=stdlib` does without `orjson`. It is also left alone where it is a version that writes other bytes.
"""

import os
import sys
from collections.abc import Callable
from enum import Enum
from typing import Any, Final

from . import errors
from ._spec import MAX_DEPTH, MAX_PAYLOAD_BYTES

try:
    # The very function that `json.encoder` hands on, without the rest of `json`, which takes long to load.
    from _json import encode_basestring as _quoted
except ImportError:
    from json.encoder import encode_basestring as _quoted

quoted = _quoted
"""A text as a JSON string: what must be escaped is, and nothing else."""

_INT_MIN: Final = -(2**63)
_INT_MAX: Final = 2**64 - 1
_INFINITY: Final = float("inf")
_MAX_ENUM_HOPS: Final = 8
_LEAVES: Final = frozenset({str, int, bool, type(None)})
_SHORT: Final = 1024  # characters; longer ones are faster in orjson
_NOT_JSON: Final = "payload"

_Dumps = Callable[..., bytes]
_Loads = Callable[[bytes], Any]


class Encoded(bytes):
    """What `encode` gave, to be taken as it is where a value is expected."""

    __slots__ = ()


def encode(value: object, max_bytes: int = MAX_PAYLOAD_BYTES) -> bytes:
    """The value as compact JSON in UTF-8, at most `max_bytes` long.

    Raises `EncodingError`, whose `path` says where, for what has no JSON form, and `PayloadTooLarge`.
    """
    dumps = _dumps
    if type(value) is str and len(value) < _SHORT:
        data = _encode_text(value)
    elif type(value) is Encoded:
        data = bytes(value)
    elif dumps is None:
        data = _encode_stdlib(value)
    else:
        try:
            # The bytes that orjson returns keep its whole buffer, of 4 KiB or more; a copy is as long as it is.
            data = b"%b" % dumps(value, _plain, _options)
        except TypeError as refusal:
            _pass_on(refusal)
            data = _encode_stdlib(value)
        else:
            # orjson writes NaN as null and nests deeper than we allow; both show in the output, cheaply.
            if type(value) not in _LEAVES and (
                (data.find(b"null") >= 0 and _may_hold_nan(value))
                or (len(data) > 2 * MAX_DEPTH and _deeper_than(data, MAX_DEPTH))
            ):
                data = _encode_stdlib(value)
    if len(data) > max_bytes:
        _too_large(len(data), max_bytes)
    return data


def decode(data: bytes, max_depth: int = MAX_DEPTH) -> Any:
    """The value that the JSON stands for, in plain Python types.

    Raises `ValidationError` for what is not JSON in UTF-8, for numbers that a 64-bit integer or a float cannot hold,
    for lone surrogates, and for more than `max_depth` levels.
    """
    if type(data) is not bytes:
        if not isinstance(data, bytes | bytearray | memoryview):
            errors.not_a_payload(_NOT_JSON)
        data = bytes(data)
    loads = _loads
    if loads is None or (len(data) > 18 and _may_hold_large_int(data)):
        value = _decode_stdlib(data)
    else:
        try:
            value = loads(data)
        except ValueError:
            errors.not_a_payload(_NOT_JSON)
    if len(data) > 2 * max_depth and _deeper_than(data, max_depth):
        errors.not_a_payload(_NOT_JSON)
    return value


def library() -> str:
    """What makes the JSON: `"orjson"` or `"stdlib"`."""
    if _dumps is _first_dumps:
        _load()
    return "stdlib" if _dumps is None else "orjson"


def _too_large(size: int, limit: int) -> None:
    error = errors.PayloadTooLarge(
        f"the payload has {size} bytes, at most {limit} are allowed: keep large data elsewhere and pass a reference"
    )
    error.size, error.limit = size, limit
    raise error


# --- which library ------------------------------------------------------------------------------------------------


def _load() -> None:
    """Choose once, at the first use: importing orjson costs more than importing all of stepwell."""
    global _dumps, _loads, _options
    dumps: _Dumps | None = None
    loads: _Loads | None = None
    if os.environ.get("STEPWELL_JSON", "auto") != "stdlib":
        try:
            import orjson
        except ModuleNotFoundError as missing:
            if missing.name != "orjson":
                raise
        else:
            _options = (
                orjson.OPT_PASSTHROUGH_DATACLASS
                | orjson.OPT_PASSTHROUGH_DATETIME
                | orjson.OPT_PASSTHROUGH_SUBCLASS
            )
            if orjson.dumps(_PROBE) == _encode_stdlib(_PROBE):
                dumps, loads = orjson.dumps, orjson.loads
    _dumps, _loads = dumps, loads


def _first_dumps(value: object, default: Callable[[Any], object], _: int) -> bytes:
    _load()
    return _encode_stdlib(value) if _dumps is None else _dumps(value, default, _options)


def _first_loads(data: bytes) -> Any:
    _load()
    return _decode_stdlib(data) if _loads is None else _loads(data)


# Versions of orjson differ in how they write numbers; the digest of a journal is over bytes.
_PROBE: Final = [
    1e16,
    1.5e300,
    1e15,
    1e-4,
    1e-5,
    -1.5e-5,
    1e-6,
    5e-324,
    -0.0,
    '\x00\x1f\x7f\u2028"\\/\b',
    2**64 - 1,
]
_options = 0
_dumps: _Dumps | None = _first_dumps
_loads: _Loads | None = _first_loads


# --- what is not plain JSON ---------------------------------------------------------------------------------------


class _Refusal(Exception):
    """Why a value has no JSON form. The containers it passes on its way out add the path, innermost first."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        self.path: list[str] = []


def _no_json_form(value: object) -> _Refusal:
    return _Refusal(f"{type(value).__name__} has no JSON form; use plain values, a dataclass, or a codec")


def _plain(value: Any) -> object:
    """One level of a value that orjson hands over: the plain value that stands for it."""
    if isinstance(value, Enum):
        return value.value
    for base, convert in _SUBCLASSES:
        if isinstance(value, base):
            return convert(value)
    if hasattr(type(value), "__dataclass_fields__"):
        return _dataclass(value)
    for module, name, convert in _FOREIGN:
        loaded = sys.modules.get(module)
        # A value of a class whose module nobody has imported does not exist.
        if loaded is not None and isinstance(value, getattr(loaded, name, ())):
            return convert(value)
    raise _no_json_form(value)


def _dataclass(value: Any) -> dict[str, object]:
    from dataclasses import fields  # imported already, by whoever made the class

    result: dict[str, object] = {}
    for field in fields(value):
        try:
            result[field.name] = getattr(value, field.name)
        except AttributeError:
            raise _Refusal(f"field {field.name} of {type(value).__name__} has no value") from None
    return result


def _aware(value: Any) -> str:
    if value.utcoffset() is None:
        kind = type(value).__name__
        raise _Refusal(f"{kind} without a time zone is ambiguous; attach one, for example datetime.UTC")
    return str(value.isoformat())


def _numpy_scalar(value: Any) -> object:
    return value.item() if _fits(value.dtype) else _refuse(value)


def _numpy_array(value: Any) -> object:
    return value.tolist() if _fits(value.dtype) else _refuse(value)


def _fits(dtype: Any) -> bool:
    """Booleans, integers and floats of up to 64 bits: what becomes a Python number without loss."""
    return dtype.kind in "biuf" and dtype.itemsize <= 8


def _refuse(value: Any) -> object:
    raise _Refusal(
        f"{type(value).__name__} of type {value.dtype} has no JSON form; only numbers and booleans do"
    )


def _msgspec(value: Any) -> object:
    return sys.modules["msgspec"].to_builtins(value)


# bool has no subclasses; the unbound methods give the exact base type and run no code of the subclass.
_SUBCLASSES: Final[tuple[tuple[type, Callable[[Any], object]], ...]] = (
    (str, str.__str__),
    (int, int.__int__),
    (float, float.__float__),
    (dict, dict),
    (list, list),
    (tuple, list),
)

# In this order: a datetime is also a date.
_FOREIGN: Final[tuple[tuple[str, str, Callable[[Any], object]], ...]] = (
    ("datetime", "datetime", _aware),
    ("datetime", "date", lambda value: str(value.isoformat())),
    ("datetime", "time", _aware),
    ("uuid", "UUID", str),
    ("numpy", "generic", _numpy_scalar),
    ("numpy", "ndarray", _numpy_array),
    ("pydantic", "BaseModel", lambda value: value.model_dump(mode="json", by_alias=True, round_trip=True)),
    ("msgspec", "Struct", _msgspec),
)


def _expand(value: Any) -> object:
    """`_plain` for a caller who wants refusals only: the methods of a user's class may raise anything."""
    try:
        return _plain(value)
    except (_Refusal, RecursionError):
        raise
    except Exception as error:
        reason = f"{type(value).__name__} could not be turned into plain values: {type(error).__name__}"
        raise _Refusal(reason) from error


def _pass_on(refusal: TypeError) -> None:
    """orjson wraps what `_plain` raises, an interrupt too."""
    cause = refusal.__cause__
    if cause is not None and not isinstance(cause, Exception):
        raise cause


# --- the standard library's way, and the errors of both -----------------------------------------------------------


def _encode_stdlib(value: object) -> bytes:
    pieces: list[str] = []
    try:
        _write(value, 0, pieces.append)
    except _Refusal as refusal:
        path = "$" + "".join(reversed(refusal.path))
        error = errors.EncodingError(
            f"cannot encode the value at {errors.short_path(path)}: {refusal.reason}"
        )
        error.path = path
        raise error from refusal.__cause__
    return "".join(pieces).encode("utf-8")


def _write(value: Any, depth: int, put: Callable[[str], object]) -> None:
    hops = 0
    while True:
        kind = type(value)
        if kind is str:
            put(_text(value))
        elif kind is int:
            if not _INT_MIN <= value <= _INT_MAX:
                raise _Refusal("the integer does not fit 64 bits; use text")
            put(repr(value))
        elif value is None:
            put("null")
        elif kind is bool:
            put("true" if value else "false")
        elif kind is float:
            put(_float(value))
        elif kind is dict:
            _write_dict(value, depth + 1, put)
        elif kind is list or kind is tuple:
            _write_list(value, depth + 1, put)
        else:
            hops += 1
            if hops > _MAX_ENUM_HOPS:
                raise _no_json_form(value)
            value = _expand(value)
            continue
        return


def _write_dict(value: dict[Any, Any], depth: int, put: Callable[[str], object]) -> None:
    _check_depth(depth)
    exact = True
    before = "{"
    for key, item in value.items():
        if type(key) is not str:
            if not isinstance(key, str):
                raise _Refusal(f"keys must be text, got {type(key).__name__}")
            exact, key = False, str.__str__(key)
        put(before + _text(key) + ":")
        before = ","
        try:
            _write(item, depth, put)
        except _Refusal as refusal:
            refusal.path.append(errors.key_in_path(key))
            raise
    if not exact and len({str.__str__(key) for key in value}) != len(value):
        raise _Refusal("two keys are the same text")
    put("}" if value else "{}")


def _write_list(value: list[Any] | tuple[Any, ...], depth: int, put: Callable[[str], object]) -> None:
    _check_depth(depth)
    before = "["
    for index, item in enumerate(value):
        put(before)
        before = ","
        try:
            _write(item, depth, put)
        except _Refusal as refusal:
            refusal.path.append(f"[{index}]")
            raise
    put("]" if value else "[]")


def _check_depth(depth: int) -> None:
    if depth > MAX_DEPTH:
        raise _Refusal(f"it is nested deeper than {MAX_DEPTH} levels")


def _encode_text(text: str) -> bytes:
    try:
        return quoted(text).encode()
    except UnicodeEncodeError:
        return _encode_stdlib(text)  # which raises


def _text(text: str) -> str:
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            raise _Refusal(
                "text with a lone surrogate is not Unicode; decode it properly, or use bytes as base64"
            ) from None
    return quoted(text)


def _float(number: float) -> str:
    """The shortest digits that read back as the number, as Python finds them, in orjson's notation."""
    if number != number or number in (_INFINITY, -_INFINITY):
        raise _Refusal("NaN and infinity have no JSON form; use None or text")
    digits = repr(number)
    if "e-" not in digits:
        return digits
    mantissa, _, exponent = digits.partition("e-")
    if exponent != "05":
        return f"{mantissa}e-{int(exponent)}"
    sign = "-" if number < 0 else ""
    return f"{sign}0.0000{mantissa.lstrip('-').replace('.', '')}"


def _decode_stdlib(data: bytes) -> Any:
    import json

    try:
        text = data.decode("utf-8")
        if "\\u" in text and _has_lone_surrogate(text):
            raise ValueError("lone surrogate")
        return json.loads(text, parse_int=_read_int, parse_float=_read_float, parse_constant=_read_constant)
    except (ValueError, RecursionError):
        errors.not_a_payload(_NOT_JSON)


def _read_int(digits: str) -> int:
    # The length first: Python takes quadratic time for long numbers, and refuses them from 4,300 digits on.
    if len(digits) > 20 or not _INT_MIN <= (number := int(digits)) <= _INT_MAX:
        raise ValueError("integer beyond 64 bits")
    return number


def _read_float(digits: str) -> float:
    number = float(digits)
    if number in (_INFINITY, -_INFINITY):
        raise ValueError("number beyond a float")
    return number


def _read_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _has_lone_surrogate(text: str) -> bool:
    import re

    escapes = text.replace("\\\\", "..")
    pair = r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    return re.search(r"\\u[dD][89a-fA-F]", re.sub(pair, "", escapes)) is not None


# --- cheap looks at orjson's output, and at what it does not tell apart -------------------------------------------


def _may_hold_nan(value: object) -> bool:
    """Whether a NaN or an infinity is among the floats. Only for values that orjson took: they have no cycles."""
    rest: list[Any] = [(value,)]
    try:
        while rest:
            item = rest.pop()
            kind = type(item)
            if kind is dict:
                item = item.values()
            elif kind is not list and kind is not tuple:
                item = (_plain(item),)
            # Most containers hold nothing but leaves, and that is soon known.
            if not _LEAVES.issuperset(map(type, item)):
                for member in item:
                    kind = type(member)
                    if kind is float:
                        if member - member != 0.0:
                            return True
                    elif kind not in _LEAVES:
                        rest.append(member)
    except Exception:  # noqa: BLE001 - a user's class that answers differently each time: the walk words it
        return True
    return False


def _deeper_than(data: bytes, limit: int) -> bool:
    """Whether JSON that is known to be valid is nested deeper than `limit`."""
    if data.count(b"[") + data.count(b"{") <= limit:
        return False
    if data.find(b"\\") >= 0:
        data = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    brackets = data.translate(_AS_SQUARE, _NEITHER_BRACKET_NOR_QUOTE).replace(b'""', b"")
    if brackets.find(b'"') >= 0:
        # Some text holds brackets. Where none does, the quotes stood in pairs between the brackets and are all gone.
        brackets = b"".join(data.split(b'"')[::2]).translate(_AS_SQUARE, _NEITHER_BRACKET_NOR_QUOTE)
    for _ in range(limit):
        if not brackets:
            return False
        brackets = brackets.replace(b"[]", b"")
    return bool(brackets)


def _may_hold_large_int(data: bytes) -> bool:
    """Whether there are digits enough for an integer beyond 64 bits, which orjson reads as a float."""
    zeros = data.translate(_DIGITS_AS_ZERO)
    return zeros.find(_ZEROS_20) >= 0 or zeros.find(_MINUS_ZEROS_19) >= 0


_AS_SQUARE: Final = bytes.maketrans(b"{}", b"[]")
_NEITHER_BRACKET_NOR_QUOTE: Final = bytes(set(range(256)) - set(b'[]{}"'))
_DIGITS_AS_ZERO: Final = bytes.maketrans(b"123456789", b"000000000")
_ZEROS_20: Final = b"0" * 20
_MINUS_ZEROS_19: Final = b"-" + b"0" * 19
