"""The journal's format: writes the JSON of actions and snapshots field by field, and reads it strictly.

What is read is written again and compared, so that one text is the only form of a record. A payload is embedded as
given; reading it only checks that it is JSON that `decode` takes.
"""

from collections.abc import Callable, Iterable
from typing import Any

from . import typeid
from ._spec import RECORDS, SNAPSHOT
from .encoding import quoted

Fields = dict[str, Any]
"""The fields of an action by name, in the journal's own types; payloads are JSON bytes, absent ones are left out."""

NO_DIGEST = "0" * 32
LOW_62 = (1 << 62) - 1
"""The bits of an id in which a run of them counts up."""


class Malformed(Exception):
    """The text is not in the journal's format."""


class Newer(Malformed):
    """The text has a format above the one that this code reads."""

    def __init__(self, found: int) -> None:
        super().__init__(found)
        self.found = found


def digest(body: bytes) -> str:
    """The first 128 bits of SHA-256, in hex."""
    import hashlib  # late: it loads OpenSSL, which takes longer than all of stepwell

    return hashlib.sha256(body).hexdigest()[:32]


# --- runs of ids --------------------------------------------------------------------------------------------------

Run = tuple[str, int]


def runs_of(ids: Iterable[str]) -> list[Run]:
    """The ids as runs of consecutive numbers; raises `Malformed` for what is no id of a step."""
    runs: list[Run] = []
    first, count, last = "", 0, -1
    for text in ids:
        number = typeid.number_of(text[5:]) if text.startswith("step_") else None
        if number is None:
            raise Malformed
        if count and number == last + 1 and number & LOW_62:
            count += 1
        else:
            if count:
                runs.append((first, count))
            first, count = text, 1
        last = number
    if count:
        runs.append((first, count))
    return runs


def ids_of(runs: list[Run]) -> list[str]:
    """The ids that the runs stand for."""
    ids: list[str] = []
    for first, count in runs:
        if count == 1:
            ids.append(first)
        else:
            ids += typeid.consecutive("step", int(typeid.number_of(first[5:]) or 0), count)
    return ids


def run_fits(first: str, count: int) -> bool:
    """Whether a run of so many ids stays within the last 62 bits of its first one."""
    return (int(typeid.number_of(first[5:]) or 0) & LOW_62) + count - 1 <= LOW_62


# --- writing ------------------------------------------------------------------------------------------------------


def _texts(values: list[str]) -> str:
    return "[" + ",".join(map(quoted, values)) + "]"


def _jsons(values: list[bytes | None]) -> str:
    return "[" + ",".join("null" if value is None else value.decode() for value in values) + "]"


def _runs(runs: list[Run]) -> str:
    return "[" + ",".join(f'["{first}",{count}]' for first, count in runs) + "]"


def _usage(usage: dict[str, int]) -> str:
    return "[" + ",".join(f"[{quoted(counter)},{usage[counter]}]" for counter in sorted(usage)) + "]"


def _attempts(attempts: list[tuple[int, int, bytes]]) -> str:
    return "[" + ",".join(f"[{start},{end},{error.decode()}]" for start, end, error in attempts) + "]"


def _steps(steps: Iterable[Fields]) -> str:
    return "[" + ",".join("{" + _members(SNAPSHOT["step"], step)[1:] + "}" for step in steps) + "]"


_WRITERS: dict[str, Callable[[Any], str]] = {
    "int": str,
    "time": str,
    "json": bytes.decode,
    "runs": _runs,
    "labels": _texts,
    "paths": _texts,
    "jsons": _jsons,
    "usage": _usage,
    "attempts": _attempts,
    "steps": _steps,
    "actions": lambda actions: "[" + ",".join(action.decode() for action in actions) + "]",
}


def _members(table: tuple[tuple[str, str, bool], ...], fields: Fields) -> str:
    """The fields that are there as `,"name":value…`."""
    text = ""
    for name, kind, _ in table:
        value = fields.get(name)
        if value is not None:
            text += f',"{name}":{_WRITERS.get(kind, quoted)(value)}'
    return text


def write_action(kind: str, at: int | None, fields: Fields) -> bytes:
    """The JSON of an action."""
    time = "" if at is None else f'"at":{at},'
    return f'{{{time}"kind":"{kind}"{_members(RECORDS[kind], fields)}}}'.encode()


def record(seq: int, prev: str, action: bytes) -> bytes:
    """The record of an action: its place in the chain, then the action's own JSON."""
    return b'{"seq":%d,"prev":"%s",%s' % (seq, prev.encode(), action[1:])


def write_snapshot(fields: Fields) -> bytes:
    """The JSON of a whole execution."""
    return ("{" + _members(SNAPSHOT["execution"], fields)[1:] + "}").encode()
