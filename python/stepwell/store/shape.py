"""Whether a file has the tables and indexes of a store, however it came to them."""

import re
from collections.abc import Iterable
from typing import Final

from . import sql

_NAMED: Final = re.compile(r'CREATE (?:UNIQUE )?(TABLE|INDEX) (?:"([^"]+)"|(\w+))', re.IGNORECASE)

Shape = tuple[str, frozenset[str], str]


def differences(objects: Iterable[tuple[str, str, str | None]]) -> list[str]:
    """How these objects (type, name, SQL) differ from those of a new store, in words; empty where they do not.

    The order of columns counts for nothing: a store that was brought up to date has its newer ones at the end.
    """
    wanted = {_name(statement): _shape(statement) for statement in sql.SCHEMA if _NAMED.match(statement)}
    found = {(kind, name): _shape(text or "") for kind, name, text in objects}
    said = [f"the {kind} {name} is missing" for kind, name in wanted if (kind, name) not in found]
    for (kind, name), shape in found.items():
        if (kind, name) not in wanted:
            said.append(f"the {kind} {name[:80]!a} is of no store")
        elif shape != wanted[kind, name]:
            said.append(f"the {kind} {name} is another one than that of a store")
    return said


def _name(statement: str) -> tuple[str, str]:
    match = _NAMED.match(statement)
    assert match is not None
    return match[1].lower(), match[2] or match[3]


def _shape(statement: str) -> Shape:
    """What stands before the list in parentheses, its parts, and what stands behind it."""
    text = " ".join(re.sub(r"--[^\n]*", " ", statement).split())
    first, last = text.find("("), text.rfind(")")
    if first < 0:
        return text, frozenset(), ""
    head = text[:first].replace('"', "").strip()
    if head.upper().startswith("CREATE TABLE"):
        return head, frozenset(_parts(text[first + 1 : last])), text[last + 1 :].strip()
    return head, frozenset([text[first:]]), ""


def _parts(inside: str) -> list[str]:
    """The definitions between the commas that are in no parentheses of their own."""
    parts, depth, start = [], 0, 0
    for at, char in enumerate(inside):
        depth += (char == "(") - (char == ")")
        if char == "," and depth == 0:
            parts.append(inside[start:at].strip())
            start = at + 1
    return [*parts, inside[start:].strip()]
