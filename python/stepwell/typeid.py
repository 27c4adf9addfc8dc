"""TypeIDs: a prefix and a UUID as text that sorts like the UUID (specification 0.3, github.com/jetify-com/typeid)."""

from typing import TYPE_CHECKING, Final

from . import errors

if TYPE_CHECKING:
    from uuid import UUID

ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
# The alphabet as the digits that `int` knows; what is not in it becomes no digit, white space or underscore.
_DIGITS: Final = bytes(
    b"0123456789abcdefghijklmnopqrstuv"[ALPHABET.index(chr(byte))] if chr(byte) in ALPHABET else ord("!")
    for byte in range(256)
)
PAIRS: Final = [a + b for a in ALPHABET for b in ALPHABET]
_PREFIX_CHARS: Final = frozenset("abcdefghijklmnopqrstuvwxyz_")
_MAX_PREFIX: Final = 63


def encode(prefix: str, uuid: "UUID") -> str:
    """The TypeID of a UUID.

    Raises `InvalidId` for a prefix that the specification does not allow: at most 63 letters `a` to `z` and
    underscores, not first nor last.
    """
    _check_prefix(prefix)
    suffix = suffix_of(uuid.int)
    return f"{prefix}_{suffix}" if prefix else suffix


def decode(text: str) -> "tuple[str, UUID]":
    """The prefix and the UUID of a TypeID.

    Raises `InvalidId` for anything that is not one: a bad prefix, a wrong length, a character outside the alphabet
    (capitals included) or more than 128 bits.
    """
    from uuid import UUID

    if not isinstance(text, str):
        raise errors.InvalidId(f"a TypeID is text, got {type(text).__name__}")
    prefix, separator, suffix = text.rpartition("_")
    if separator and not prefix:
        raise errors.InvalidId("a TypeID without a prefix has no underscore either")
    _check_prefix(prefix)
    number = number_of(suffix)
    if number is None:
        raise errors.InvalidId(
            "a TypeID ends with 26 characters of 0123456789abcdefghjkmnpqrstvwxyz, the first at most 7"
        )
    return prefix, UUID(int=number)


def suffix_of(number: int) -> str:
    """128 bits as 26 characters."""
    return (
        ALPHABET[number >> 125]
        + "".join(PAIRS[number >> shift & 1023] for shift in range(115, -1, -10))
        + (ALPHABET[number & 31])
    )


def number_of(suffix: str) -> int | None:
    """The 128 bits that 26 characters stand for; `None` if they stand for none."""
    if len(suffix) != 26 or suffix[0] > "7":
        return None
    try:
        return int(suffix.encode().translate(_DIGITS), 32)
    except ValueError:
        return None


def consecutive(prefix: str, first: int, count: int) -> list[str]:
    """The TypeIDs of so many consecutive numbers; what 1,024 of them begin with is written once."""
    found: list[str] = []
    while count > 0:
        head, low = f"{prefix}_{suffix_of(first)[:-2]}", first & 1023
        tails = PAIRS[low : low + count]
        found += [head + tail for tail in tails]
        first += len(tails)
        count -= len(tails)
    return found


def is_id(value: object, prefix: str) -> bool:
    """Whether the value is the text of a TypeID with this prefix."""
    return (
        isinstance(value, str)
        and len(value) == len(prefix) + 27
        and value.startswith(prefix)
        and value[len(prefix)] == "_"
        and value[len(prefix) + 1] <= "7"
        and _ALLOWED.issuperset(value[len(prefix) + 1 :])
    )


_ALLOWED: Final = frozenset(ALPHABET)


def _check_prefix(prefix: str) -> None:
    if not isinstance(prefix, str):
        raise errors.InvalidId(f"the prefix of a TypeID is text, got {type(prefix).__name__}")
    if (
        len(prefix) > _MAX_PREFIX
        or not _PREFIX_CHARS.issuperset(prefix)
        or prefix[:1] == "_"
        or prefix[-1:] == "_"
    ):
        raise errors.InvalidId(
            "the prefix of a TypeID is at most 63 letters a to z and underscores, with a letter first and last"
        )
