"""Lists, tuples, sets, dictionaries and unions of other forms."""

from typing import Any

from ... import encoding
from ...errors import ValidationError
from .form import Form, Misfit, at_index, at_key, misfit
from .leaves import key_text
from .shapes import in_order

_ARRAYS = (list, tuple, set, frozenset)


def fill_list(form: Form, part: Form) -> None:
    """An array of one kind."""
    form.name = "list"

    def write(value: Any) -> Any:
        return [part.put(member) for member in value] if isinstance(value, list | tuple) else value

    form.read, form.write = lambda value: _elements(part, "list", value), write
    form.parts, form.holds = [part], (list, tuple)


def _elements(part: Form, name: str, value: Any) -> list[Any]:
    if type(value) is not list:
        misfit(name, value)
    members: list[Any] = []
    read, add = part.read, members.append
    try:
        for member in value:
            add(read(member))
    except Misfit as problem:
        at_index(problem, len(members))
        raise
    return members


def fill_tuple(form: Form, every: Form | None, parts: list[Form] | None) -> None:
    """An array of one kind and any length, or of one kind for each place."""
    form.name = "tuple"

    def read(value: Any) -> Any:
        if type(value) is not list:
            misfit("tuple", value)
        if parts is None or every is not None:
            return tuple(_elements(every or form, "tuple", value))
        if len(value) != len(parts):
            raise Misfit(f"expected tuple of {len(parts)}, found a list of {len(value)}")
        return tuple(in_order(parts, value))

    def write(value: Any) -> Any:
        if not isinstance(value, list | tuple):
            return value
        if every is not None:
            return [every.put(member) for member in value]
        if parts is None or len(value) != len(parts):
            return value
        return [part.put(member) for part, member in zip(parts, value, strict=True)]

    form.read, form.write = read, write
    form.parts = [every] if every is not None else parts or []
    form.holds, form.alters = (tuple, list), True


def fill_set(form: Form, kind: type[set[Any]] | type[frozenset[Any]], part: Form) -> None:
    """An array, in an order that depends on the members alone: a set's own differs from process to process."""
    name = form.name = kind.__name__

    def read(value: Any) -> Any:
        members = _elements(part, name, value)
        try:
            return kind(members)
        except TypeError as error:
            raise Misfit(f"expected {name}, found members that cannot be in one") from error

    def write(value: Any) -> Any:
        if not isinstance(value, set | frozenset):
            return value
        return in_sequence([part.put(member) for member in value])

    form.read, form.write, form.parts = read, write, [part]
    form.holds, form.alters, form.rewrites = (set, frozenset), True, True


def in_sequence(members: list[Any]) -> list[Any]:
    """Plain values sorted: numbers and text as usual, all else by their JSON."""
    kinds = set(map(type, members))
    if len(kinds) <= 1 and kinds <= {int, str, float}:
        return sorted(members)
    try:
        return sorted(members, key=encoding.encode)
    except ValidationError:
        return members  # one of them cannot be written, which the encoder will say


def fill_dict(form: Form, key: Form, part: Form) -> None:
    """An object of one kind. Keys are text in JSON, whatever they are in Python."""
    form.name = "object"
    texts = not key.alters and all(kind is str for kind in key.holds)

    def read(value: Any) -> Any:
        if type(value) is not dict:
            misfit("object", value)
        made: dict[Any, Any] = {}
        for text, member in value.items():
            try:
                found = part.read(member)
            except Misfit as problem:
                at_key(problem, text)
                raise
            made[text if texts else _read_key(key, text)] = found
        return made

    def write(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        if texts:
            return {name: part.put(member) for name, member in value.items()}
        made = {key_text(name): part.put(member) for name, member in value.items()}
        return (
            made if len(made) == len(value) else value
        )  # two keys of one text: the encoder refuses the second

    form.read, form.write, form.parts = read, write, [part]
    form.holds = (dict,)
    if not texts:
        form.parts.append(key)
        form.alters = form.rewrites = True


def _read_key(key: Form, text: str) -> Any:
    try:
        if key.exact is not int:
            found = key.read(text)
            hash(found)
            return found
    except TypeError:
        raise Misfit("a key: it cannot be one") from None
    except Misfit:
        pass
    try:
        if str(number := int(text)) == text:
            return key.read(number)
    except (ValueError, Misfit):
        pass
    raise Misfit(f"a key: expected {key.name}, found other text")


def fill_union(form: Form, members: list[Form]) -> None:
    """JSON's own types first, where the value is of one; then the members in order, those first whose fields fit."""
    exact = frozenset(member.exact for member in members if member.exact is not None)
    form.name = " | ".join(dict.fromkeys(member.name for member in members))

    def read(value: Any) -> Any:
        kind = type(value)
        if kind in exact:
            return value
        order = members
        if kind is dict:
            order = sorted(members, key=lambda member: not member.covers(value))
        nearest: Misfit | None = None
        for member in order:
            try:
                return member.read(value)
            except Misfit as problem:
                # The one that came furthest is about what was meant.
                if nearest is None or len(problem.path) > len(nearest.path):
                    nearest = problem
        if nearest is None or not nearest.path:
            meant = [member for member in members if member.exact is not type(None)]
            if nearest is None or len(meant) != 1:
                misfit(form.name, value)
        raise nearest

    def write(value: Any) -> Any:
        kind = type(value)
        for member in members:
            if kind in member.holds and member.covers(value):
                return member.put(value)
        for member in members:
            if isinstance(value, member.holds):
                return member.put(value)
        return value

    form.read, form.write, form.parts = read, write, members
    form.holds = tuple({kind for member in members for kind in member.holds})
