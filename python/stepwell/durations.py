"""Durations as people write them: `"1h30m"`, a number of seconds, or a `timedelta`."""

import sys
from typing import TYPE_CHECKING, Final, NoReturn

from . import errors

if TYPE_CHECKING:
    from datetime import timedelta

_MAX_NS: Final = 2**63 - 1
_UNITS: Final = {
    "d": 86_400_000_000_000,
    "h": 3_600_000_000_000,
    "m": 60_000_000_000,
    "s": 1_000_000_000,
    "ms": 1_000_000,
}
_MAX_CHARS: Final = 100
_TEXT: Final = r"(?:([0-9.]+)d)?(?:([0-9.]+)h)?(?:([0-9.]+)m)?(?:([0-9.]+)s)?(?:([0-9.]+)ms)?"
_NUMBER: Final = r"([0-9]+)(?:\.([0-9]+))?"


def parse(value: "str | float | timedelta", what: str = "duration") -> int:
    """The duration in nanoseconds, from 0 to what 64 bits hold (292 years).

    Text is a sum of numbers with the units `d h m s ms`, the largest first and each at most once; decimals are allowed
    ("1.5h"), down to a nanosecond. A plain number is seconds, a float rounded to the nearest nanosecond. `what` names
    the value in the message. Raises `ValidationError`.
    """
    if isinstance(value, str):
        nanoseconds = _from_text(value, what)
    elif isinstance(value, bool):
        _wrong_type(value, what)
    elif isinstance(value, int):
        nanoseconds = int.__int__(value) * 1_000_000_000
    elif isinstance(value, float):
        nanoseconds = _from_float(float.__float__(value), what)
    else:
        module = sys.modules.get("datetime")
        if module is None or not isinstance(value, module.timedelta):
            _wrong_type(value, what)
        nanoseconds = (value.days * 86_400 + value.seconds) * 1_000_000_000 + value.microseconds * 1000
    if nanoseconds < 0:
        raise errors.ValidationError(f"{what} must not be negative")
    if nanoseconds > _MAX_NS:
        _too_long(what)
    return nanoseconds


def _from_float(seconds: float, what: str) -> int:
    if seconds != seconds or seconds - seconds != 0.0:
        raise errors.ValidationError(f"{what} must be a finite number of seconds")
    numerator, denominator = seconds.as_integer_ratio()
    return (numerator * 2_000_000_000 + denominator) // (2 * denominator) if seconds >= 0 else -1


def _from_text(text: str, what: str) -> int:
    import re  # late: most programs read no duration

    match = re.fullmatch(_TEXT, text) if 0 < len(text) <= _MAX_CHARS else None
    if match is None:
        _not_understood(what)
    total = 0
    for number, unit in zip(match.groups(), _UNITS.values(), strict=True):
        if number is None:
            continue
        parts = re.fullmatch(_NUMBER, number)
        if parts is None:
            _not_understood(what)
        decimals = parts[2] or ""
        scaled = int(parts[1] + decimals) * unit
        if scaled % 10 ** len(decimals):
            raise errors.ValidationError(f"{what} must be a whole number of nanoseconds")
        total += scaled // 10 ** len(decimals)
    return total


def _wrong_type(value: object, what: str) -> NoReturn:
    raise errors.ValidationError(
        f"{what} must be text like '1h30m', a number of seconds, or a timedelta; got {type(value).__name__}"
    )


def _not_understood(what: str) -> NoReturn:
    raise errors.ValidationError(
        f"{what} must be text like '1h30m' or '250ms': numbers with the units d h m s ms, largest first, each once"
    )


def _too_long(what: str) -> NoReturn:
    raise errors.ValidationError(f"{what} must fit 64 bits of nanoseconds, which is 292 years")
