"""Types without parts: JSON's own, enums, times, ids, decimals, literals."""

import re
import sys
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from enum import Enum
from typing import Any, Final

from ... import encoding
from ...errors import EncodingError, PayloadTooLarge
from .form import FOUND, Form, Misfit, misfit

_DURATION: Final = re.compile(
    r"(-?)P(?=[\dT])(?:(\d{1,9})D)?"
    r"(?:T(?=\d)(?:(\d{1,9})H)?(?:(\d{1,9})M)?(?:(\d{1,15})(?:\.(\d{1,6}))?S)?)?"
)


def fill_exact(form: Form, kind: type) -> None:
    """A type that JSON has itself."""
    name = form.name = {str: "text", type(None): "null"}.get(kind, kind.__name__)

    def read(value: Any) -> Any:
        return value if type(value) is kind else misfit(name, value)

    def read_int(value: Any) -> Any:
        # A bool is an int wherever Python looks.
        return value if type(value) is int or type(value) is bool else misfit(name, value)

    def read_float(value: Any) -> Any:
        if type(value) is float:
            return value
        return float(value) if type(value) is int else misfit(name, value)

    form.read = read_int if kind is int else read_float if kind is float else read
    form.alters = kind is float
    form.exact, form.holds = kind, (kind,)


def fill_enum(form: Form, cls: type[Enum]) -> None:
    """A member by its value, as JSON has it."""
    by_value: dict[Any, Enum] = {}
    odd: list[tuple[Any, Enum]] = []
    for member in cls:
        try:
            value = encoding.decode(encoding.encode(member.value))
        except (EncodingError, PayloadTooLarge):
            continue  # the encoder refuses to write it
        if isinstance(value, list | dict):
            odd.append((value, member))
        else:
            by_value.setdefault(value, member)
    kinds = {type(member.value) for member in cls}

    def read(value: Any) -> Any:
        if isinstance(value, list | dict):
            member = next((member for known, member in odd if known == value), None)
        else:
            member = by_value.get(value)
        if member is not None:
            return member
        try:
            return cls(value)  # combinations of flags, and what the class itself finds
        except Exception:  # noqa: BLE001 - its words show the value, which nobody is to see
            found = "another value" if type(value) in kinds else FOUND.get(type(value), "another type")
            raise Misfit(f"expected {cls.__name__}, found {found}") from None

    form.read, form.alters, form.holds = read, True, (cls,)


def fill_literal(form: Form, choices: tuple[Any, ...]) -> None:
    """One of these values; a member of an enum is known by its value."""
    known: dict[tuple[type, Any], Any] = {}
    for choice in choices:
        value = choice.value if isinstance(choice, Enum) else choice
        if type(value) in (str, int, bool, type(None)):
            known.setdefault((type(value), value), choice)

    def read(value: Any) -> Any:
        if isinstance(value, list | dict) or (type(value), value) not in known:
            raise Misfit("expected one of the values of the Literal, found another")
        return known[type(value), value]

    form.read, form.holds = read, tuple({type(choice) for choice in choices})
    form.alters = any(isinstance(choice, Enum) for choice in choices)


def fill_text(
    form: Form, cls: type, parse: Callable[[str], Any], written: Callable[[Any], Any] | None
) -> None:
    """A type that is text in JSON: `parse` reads it, and `written` makes it where the encoder does not."""

    def read(value: Any) -> Any:
        if type(value) is not str:
            misfit(cls.__name__, value)
        try:
            return parse(value)
        except (ValueError, ArithmeticError, OverflowError):
            raise Misfit(f"expected {cls.__name__}, found other text") from None

    form.read, form.alters, form.holds = read, True, (cls,)
    if written is not None:
        form.rewrites = True
        form.write = lambda value: written(value) if isinstance(value, cls) else value


def _aware(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        value = parse(text)
        if value.utcoffset() is None:
            raise ValueError("no time zone")
        return value

    return read


def _duration(text: str) -> timedelta:
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError("not a duration")
    sign, days, hours, minutes, seconds, fraction = match.groups()
    value = timedelta(
        days=int(days or 0),
        hours=int(hours or 0),
        minutes=int(minutes or 0),
        seconds=int(seconds or 0),
        microseconds=int((fraction or "").ljust(6, "0")),
    )
    return -value if sign else value


def _duration_text(value: timedelta) -> str:
    """ISO 8601 in days and seconds, as pydantic and msgspec read it too."""
    size = abs(value)
    fraction = f".{size.microseconds:06}" if size.microseconds else ""
    return f"{'-' if value < timedelta() else ''}P{size.days}DT{size.seconds}{fraction}S"


def _finite(cls: Any) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        value = cls(text)
        if not value.is_finite():
            raise ValueError("not a number")
        return value

    return read


def _decimal_text(value: Any) -> Any:
    # NaN and infinity stay what they are, and the encoder refuses them.
    return str(value) if value.is_finite() else value


def fill_decimal(form: Form, cls: Any) -> None:
    """Text; from elsewhere also an integer, which is exact."""
    fill_text(form, cls, _finite(cls), _decimal_text)
    from_text = form.read
    form.read = lambda value: cls(value) if type(value) is int else from_text(value)


def fill_known(form: Form, cls: Any) -> bool:
    """Whether it is one of the standard library's classes that have a form here."""
    if cls is datetime:
        fill_text(form, cls, _aware(datetime.fromisoformat), None)
    elif cls is date:
        fill_text(form, cls, date.fromisoformat, None)
    elif cls is time:
        fill_text(form, cls, _aware(time.fromisoformat), None)
    elif cls is timedelta:
        fill_text(form, cls, _duration, _duration_text)
    elif cls is _loaded("uuid", "UUID"):
        fill_text(form, cls, cls, None)
    elif cls is _loaded("decimal", "Decimal"):
        fill_decimal(form, cls)
    else:
        return False
    return True


def _loaded(module: str, name: str) -> Any:
    """A class of a module, if somebody has imported that: nobody can name it otherwise."""
    return getattr(sys.modules.get(module), name, None)


def key_text(key: Any) -> Any:
    """A key of a dictionary as text; what has none stays as it is, for the encoder to refuse."""
    if isinstance(key, Enum):
        return key_text(key.value)
    if isinstance(key, str | bool):
        return key
    if isinstance(key, int):
        return int.__repr__(key)
    if isinstance(key, datetime | time):
        return key if key.utcoffset() is None else key.isoformat()
    if isinstance(key, date):
        return key.isoformat()
    if isinstance(key, timedelta):
        return _duration_text(key)
    if isinstance(key, _loaded("uuid", "UUID") or ()):
        return str(key)
    if isinstance(key, _loaded("decimal", "Decimal") or ()):
        return _decimal_text(key)
    return key
