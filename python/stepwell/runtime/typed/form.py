"""What an annotation becomes: a `Form`, which writes values of a type as plain ones and reads them back."""

from collections.abc import Callable, Iterator
from typing import Any, Final, NoReturn

from ...errors import key_in_path

FOUND: Final[dict[type, str]] = {
    type(None): "null",
    bool: "bool",
    int: "int",
    float: "float",
    str: "text",
    list: "list",
    dict: "object",
}


class Misfit(Exception):
    """Why decoded JSON is not of a type. The containers it passes on its way out add the path, innermost first."""

    def __init__(self, reason: str, path: list[str] | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.path = [] if path is None else path


def misfit(expected: str, value: object) -> NoReturn:
    """Of another JSON type; the value itself is not shown."""
    raise Misfit(f"expected {expected}, found {FOUND.get(type(value), type(value).__name__)}")


def same(value: Any) -> Any:
    """What nobody looks at."""
    return value


class Form:
    """A type, as far as values are concerned.

    `read` makes the value of decoded JSON, or raises `Misfit`. `write` makes plain values where the encoder cannot, and
    leaves alone what is not of the type, for the encoder to judge; `None` where the encoder takes all there is.
    `alters` and `rewrites` say whether they do anything. `exact` is the JSON type that is the type itself. `holds` are
    the classes of values, `keys` the fields of an object: those known, and those it must have. `parts` are inside.
    """

    __slots__ = ("alters", "exact", "holds", "keys", "name", "parts", "read", "rewrites", "write")

    def __init__(self, name: str) -> None:
        self.name = name
        self.read: Callable[[Any], Any] = same
        self.write: Callable[[Any], Any] | None = None
        self.alters = False
        self.rewrites = False
        self.exact: type | None = None
        self.holds: tuple[type, ...] = ()
        self.keys: tuple[frozenset[str], frozenset[str]] | None = None
        self.parts: list[Form] = []

    def covers(self, value: Any) -> bool:
        """Whether an object has the fields of this form and no others; true for what is no object."""
        if self.keys is None or not isinstance(value, dict):
            return True
        known, required = self.keys
        return value.keys() <= known and required <= value.keys()

    def put(self, value: Any) -> Any:
        """The value with everything plain in it that this form knows how to write."""
        return value if self.write is None else self.write(value)


def reachable(form: Form) -> Iterator[Form]:
    """The form and all that is in it, each once."""
    seen, rest = {id(form)}, [form]
    while rest:
        one = rest.pop()
        yield one
        for part in one.parts:
            if id(part) not in seen:
                seen.add(id(part))
                rest.append(part)


def settle(form: Form) -> Form:
    """Spreads `alters` and `rewrites` from the parts to the wholes, once all forms are there: they may be recursive."""
    forms = list(reachable(form))
    changed = True
    while changed:
        changed = False
        for one in forms:
            alters = one.alters or any(part.alters for part in one.parts)
            rewrites = one.rewrites or any(part.rewrites for part in one.parts)
            changed |= (alters, rewrites) != (one.alters, one.rewrites)
            one.alters, one.rewrites = alters, rewrites
    for one in forms:
        if not one.rewrites:
            one.write = None
    return form


def at_key(problem: Misfit, key: str) -> None:
    """The problem was under this key."""
    problem.path.append(key_in_path(key))


def at_index(problem: Misfit, index: int) -> None:
    """The problem was in this element."""
    problem.path.append(f"[{index}]")
