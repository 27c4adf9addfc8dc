"""The journal's reader: strict JSON from left to right, the one text that `journal` writes.

It is a module of its own, loaded when something is read: `json` and `re` take as long as the rest of stepwell.
"""

import json
import re
from collections.abc import Callable
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import Any

from . import typeid
from ._spec import FORMAT, MAX_DEPTH, RECORDS, SNAPSHOT
from .encoding import quoted
from .journal import Fields, Malformed, Newer, Run, run_fits

_INT = re.compile(r"-?(?:0|[1-9][0-9]*)(?![0-9])")
_DIGEST = re.compile(r"[0-9a-f]{32}\Z")
_MAX_INT_CHARS = 20
# What needs the slow look at a payload: escaped surrogates, long numbers and exponents.
_SUSPICIOUS = re.compile(r"\\u[dD][89a-fA-F]|[0-9]{19}|[0-9][eE]")


def _refuse(_: object) -> Any:
    raise Malformed


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Malformed
    return found


def _checked_int(text: str) -> int:
    if len(text) > _MAX_INT_CHARS or not -(2**63) <= int(text) < 2**64:
        raise Malformed
    return int(text)


def _checked_float(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise Malformed
    return value


_QUICK = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse, parse_int=len, parse_float=len)
_SLOW = json.JSONDecoder(
    object_pairs_hook=_unique, parse_constant=_refuse, parse_int=_checked_int, parse_float=_checked_float
)


def _depth(value: object) -> int:
    deepest, level = 0, [value]
    while level:
        inner: list[object] = []
        for item in level:
            if isinstance(item, dict):
                inner += item.values()
                inner.append(None)
            elif isinstance(item, list):
                inner += item
                inner.append(None)
        deepest, level = deepest + bool(inner), inner
    return deepest


class Reader:
    """Reads the strict JSON of the journal from left to right; raises `Malformed` where the text is anything else."""

    __slots__ = ("position", "text")

    def __init__(self, body: bytes) -> None:
        if not isinstance(body, bytes):
            raise Malformed
        try:
            self.text = body.decode()
        except UnicodeDecodeError:
            raise Malformed from None
        self.position = 0

    def take(self, literal: str) -> bool:
        """Goes over the literal if it is next."""
        if not self.text.startswith(literal, self.position):
            return False
        self.position += len(literal)
        return True

    def expect(self, literal: str) -> None:
        if not self.take(literal):
            raise Malformed

    def end(self) -> None:
        if self.position != len(self.text):
            raise Malformed

    def string(self) -> str:
        start = self.position
        self.expect('"')
        try:
            value, self.position = scanstring(self.text, start + 1, True)
        except ValueError:
            raise Malformed from None
        if quoted(value) != self.text[start : self.position]:
            raise Malformed
        return str(value)

    def integer(self) -> int:
        match = _INT.match(self.text, self.position)
        if match is None or len(match[0]) > _MAX_INT_CHARS or match[0] == "-0":
            raise Malformed
        self.position = match.end()
        value = int(match[0])
        if not -(2**63) <= value < 2**63:
            raise Malformed
        return value

    def json(self) -> bytes | None:
        """A payload as it stands; `None` for null."""
        start = self.position
        try:
            value, end = _QUICK.raw_decode(self.text, start)
            raw = self.text[start:end]
            if _SUSPICIOUS.search(raw):
                value = _SLOW.decode(raw)
                json.dumps(value, ensure_ascii=False).encode()
        except (ValueError, RecursionError):
            raise Malformed from None
        if raw.count("[") + raw.count("{") > MAX_DEPTH and _depth(value) > MAX_DEPTH:
            raise Malformed
        self.position = end
        return None if raw == "null" else raw.encode()

    def array(self, item: Callable[[], Any]) -> list[Any]:
        self.expect("[")
        if self.take("]"):
            return []
        items = [item()]
        while self.take(","):
            items.append(item())
        self.expect("]")
        return items

    def run(self) -> Run:
        self.expect("[")
        first = self.string()
        self.expect(",")
        count = self.integer()
        self.expect("]")
        if not typeid.is_id(first, "step") or not 1 <= count < 2**32 or not run_fits(first, count):
            raise Malformed
        return first, count

    def total(self) -> tuple[str, int]:
        self.expect("[")
        counter = self.string()
        self.expect(",")
        amount = self.integer()
        self.expect("]")
        return counter, amount

    def usage(self) -> dict[str, int]:
        totals = self.array(self.total)
        if not totals or [counter for counter, _ in totals] != sorted({counter for counter, _ in totals}):
            raise Malformed
        return dict(totals)

    def attempt(self) -> tuple[int, int, bytes]:
        self.expect("[")
        start = self.integer()
        self.expect(",")
        end = self.integer()
        self.expect(",")
        error = self.json()
        self.expect("]")
        if error is None:
            raise Malformed
        return start, end, error

    def attempts(self) -> list[tuple[int, int, bytes]]:
        found = self.array(self.attempt)
        if not found:
            raise Malformed
        return found

    def step(self) -> Fields:
        self.expect("{")
        fields = self.members(SNAPSHOT["step"], first=True)
        self.expect("}")
        return fields

    def action(self, complete: bool = True) -> tuple[int | None, str, Fields, bytes]:
        """The time, kind, fields and own text of an action; where it is not complete, a new step has no id yet."""
        start = self.position
        self.expect("{")
        at, kind, fields = self._action(complete)
        return at, kind, fields, self.text[start : self.position].encode()

    def record(self) -> tuple[int, str, int, str, Fields]:
        """The whole text as a record: seq, digest of the record before, time, kind, fields."""
        found = self.next_record()
        self.end()
        return found

    def next_record(self) -> tuple[int, str, int, str, Fields]:
        """The record that is next, as `record` gives it."""
        self.expect('{"seq":')
        seq = self.integer()
        self.expect(',"prev":')
        prev = self.digest()
        self.expect(",")
        at, kind, fields = self._action(True)
        if at is None or at < 0:
            raise Malformed
        return seq, prev, at, kind, fields

    def snapshot(self) -> Fields:
        """The whole text as an execution."""
        self.expect("{")
        self.newer('"format":')
        fields = self.members(SNAPSHOT["execution"], first=True)
        self.expect("}")
        self.end()
        return fields

    def _action(self, complete: bool) -> tuple[int | None, str, Fields]:
        at = None
        if self.take('"at":'):
            at = self.integer()
            self.expect(",")
        self.expect('"kind":')
        kind = self.string()
        if kind not in RECORDS:
            raise Malformed
        if kind == "created":
            self.newer(',"format":')
        table = RECORDS[kind]
        if not complete:
            table = tuple((name, type_, required and name != "step_id") for name, type_, required in table)
        fields = self.members(table)
        self.expect("}")
        return at, kind, fields

    def newer(self, literal: str) -> None:
        """Looks at the format that comes next, before anything that a newer one may have changed."""
        start = self.position
        self.expect(literal)
        found = self.integer()
        if found > FORMAT:
            raise Newer(found)
        if found != FORMAT:
            raise Malformed
        self.position = start

    def digest(self) -> str:
        value = self.string()
        if not _DIGEST.match(value):
            raise Malformed
        return value

    def members(self, table: tuple[tuple[str, str, bool], ...], first: bool = False) -> Fields:
        """The fields of a table in its order; payloads that are null and defaults may not be written."""
        fields: Fields = {}
        for name, kind, required in table:
            if not self.take(f'"{name}":' if first else f',"{name}":'):
                if required:
                    raise Malformed
                continue
            first = False
            value = _READERS.get(kind, Reader.string)(self)
            if value is None or (
                kind == "StepType" and value == "function"
            ):  # both are said by leaving them out
                raise Malformed
            fields[name] = value
        return fields


_READERS: dict[str, Callable[[Reader], Any]] = {
    "int": Reader.integer,
    "time": Reader.integer,
    "json": Reader.json,
    "digest": Reader.digest,
    "runs": lambda reader: reader.array(reader.run),
    "labels": lambda reader: reader.array(reader.string),
    "paths": lambda reader: reader.array(reader.string),
    "jsons": lambda reader: reader.array(reader.json),
    "usage": Reader.usage,
    "attempts": Reader.attempts,
    "steps": lambda reader: reader.array(reader.step),
    "actions": lambda reader: reader.array(reader.action),
}
