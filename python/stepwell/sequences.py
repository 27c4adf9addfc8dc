"""Sequences as users give them: lists, tuples, ranges, arrays of numpy and of Arrow, and what else can be iterated.

What most of them hold, plain text and plain values, is checked and encoded without a look at each element; where
something is wrong the elements are looked at one by one, so that the error can say which.
"""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from . import encoding, errors, model
from ._spec import MAX_LABEL_CHARS, MAX_PAYLOAD_BYTES


def listed(what: str, values: object) -> list[Any] | tuple[Any, ...]:
    """The elements: a list or tuple as it is, an array as it turns itself into Python's own values.

    Raises `ValidationError` for text, bytes, a mapping, and what cannot be iterated.
    """
    if isinstance(values, list | tuple):
        return values
    if isinstance(values, str | bytes | bytearray | Mapping) or not isinstance(values, Iterable):
        errors.not_a_sequence(what, values)
    # Times of numpy would become numbers without a unit.
    if getattr(getattr(values, "dtype", None), "kind", "") not in ("M", "m"):
        for name in ("to_pylist", "tolist", "to_list"):  # Arrow; numpy, pandas and array; polars
            convert = getattr(values, name, None)
            if convert is not None:
                found = convert()
                return found if isinstance(found, list) else errors.not_a_sequence(what, values)
    return list(values)


def each(values: Sequence[object], convert: Callable[[int, object], Any], first: int = 0) -> list[Any]:
    """`convert` of each position, counted from `first`, and its element; an error carries it as `index`."""
    found: list[Any] = []
    try:
        for value in values:
            found.append(convert(first + len(found), value))
    except errors.StepwellError as error:
        error.index = first + len(found)
        raise
    return found


def labels(what: str, values: object, limit: int = MAX_LABEL_CHARS) -> list[str]:
    """The elements as labels, see `model.label`."""
    values = listed(what, values)
    if {*map(type, values)} == {str}:
        try:
            for text in {*values}:
                model.label(what, text, limit)
            return list(values)
        except errors.ValidationError:
            pass  # which of them it was comes to light below
    return each(values, lambda index, value: model.label(f"{what}[{index}]", value, limit))


def payloads(what: str, values: object) -> list[bytes | None]:
    """The elements as JSON, `None` for `None`."""
    values = listed(what, values)
    found: list[bytes | None] = []
    for first in range(0, len(values), _TOGETHER):
        some = values[first : first + _TOGETHER]
        encoded = _together(some)
        if encoded is None:
            encoded = each(some, lambda _, value: None if value is None else encoding.encode(value), first)
        found += encoded
    return found


_TOGETHER = 10_000  # so that what is made on the way is no larger than what a processor keeps at hand
_NUMBERS = frozenset({int, float, bool, type(None)})


def _together(values: Sequence[object]) -> list[Any] | None:
    """The JSON of texts alone, or of numbers, flags and nulls, in one go; `None` where each must be looked at."""
    kinds = {*map(type, values)}
    texts = kinds == {str}
    if not (texts or kinds <= _NUMBERS):
        return None
    try:
        data = encoding.encode(values, max_bytes=sys.maxsize)
    except errors.EncodingError:
        return None
    # In a number there is no comma. Where nothing is escaped, no text has a quotation mark; a raw newline none has.
    found: list[Any]
    if not texts:
        found = data[1:-1].split(b",")
        if type(None) in kinds:
            return [None if one == b"null" else one for one in found]
    elif b"\\" in data:
        found = [*map(encoding.encode, values)]
    else:
        found = data[1:-1].replace(b'","', b'"\n"').split(b"\n")
    return found if len(data) <= MAX_PAYLOAD_BYTES or max(map(len, found)) <= MAX_PAYLOAD_BYTES else None
