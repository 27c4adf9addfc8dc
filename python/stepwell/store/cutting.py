"""Large payloads out of line: a record is stored without its largest payload, and that once for its content."""

from typing import Final

from ..journal import Malformed
from ..reading import Reader

CUT_BYTES: Final = 32 * 1024
"""From this size on a payload is kept apart."""

Cut = tuple[bytes, int | None, bytes | None, bytes]
"""A record's body as it is stored: what is left of it, where the payload goes, its SHA-256, and the payload."""


def cut(body: bytes) -> Cut:
    """Takes the largest payload out of a record's body, where that is worth it."""
    if len(body) < CUT_BYTES:
        return body, None, None, b""
    try:
        fields = Reader(body).record()[4]
    except Malformed:
        return body, None, None, b""
    payload = max((value for value in fields.values() if isinstance(value, bytes)), key=len, default=b"")
    if len(payload) < CUT_BYTES:
        return body, None, None, b""
    import hashlib

    at = body.index(payload)
    return body[:at] + body[at + len(payload) :], at, hashlib.sha256(payload).digest(), payload
