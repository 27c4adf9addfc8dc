"""Models of pydantic and structures of msgspec, made by their own libraries. Neither is imported here."""

import inspect
import re
import sys
from collections.abc import Callable
from typing import Any, Final

from ... import encoding
from .containers import in_sequence
from .form import Form, Misfit, at_key

_PLACE: Final = re.compile(r" - at `(?:key` in `)?\$?([^`]*)`$")
_TOKENS: Final = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")
_HARMLESS: Final = ("Expected `", "Object missing required field ", "Object contains unknown field ")


def is_model(cls: Any) -> bool:
    """Whether it is a class of pydantic models."""
    base = getattr(sys.modules.get("pydantic"), "BaseModel", None)
    return isinstance(base, type) and isinstance(cls, type) and issubclass(cls, base)


def is_struct(cls: Any) -> bool:
    """Whether it is a class of msgspec structures."""
    base = getattr(sys.modules.get("msgspec"), "Struct", None)
    return isinstance(base, type) and isinstance(cls, type) and issubclass(cls, base)


def is_pydantic_dataclass(cls: Any) -> bool:
    """Whether pydantic made this dataclass."""
    return "__pydantic_validator__" in getattr(cls, "__dict__", {}) and not is_model(cls)


def fill_model(form: Form, cls: Any, compile: Callable[[Any], Form]) -> None:
    """The encoder writes models; they are read as JSON, so that strict ones read their own text, by alias or name."""
    form.read = _validating(cls, cls.model_validate_json)
    form.alters, form.holds = True, (cls,)
    names: set[str] = set()
    for name, field in cls.model_fields.items():
        aliases = (field.alias, field.serialization_alias, field.validation_alias)
        names |= {name, *(alias for alias in aliases if isinstance(alias, str))}
    if cls.model_config.get("extra") != "allow" and not cls.__pydantic_root_model__:
        form.keys = frozenset(names), frozenset()

    def write(value: Any) -> Any:
        if not isinstance(value, cls):
            return value
        try:
            return _sets_in_order(value, value.model_dump(mode="json", by_alias=True, round_trip=True))
        except Exception:  # noqa: BLE001 - the encoder meets it again, and has the words
            return value

    # What it does differs from the encoder only where a set is in one of the fields.
    form.write, form.parts = write, [compile(field.annotation) for field in cls.model_fields.values()]


def fill_pydantic_dataclass(form: Form, annotation: Any, cls: Any) -> None:
    """Read by pydantic, which knows the types that only it has; written as any dataclass."""
    made: list[Callable[[Any], Any]] = []

    def read(value: Any) -> Any:
        if not made:  # late: what the class names may be defined after it
            made.append(_validating(cls, sys.modules["pydantic"].TypeAdapter(annotation).validate_json))
        return made[0](value)

    form.read = read


def _validating(cls: Any, validate: Any) -> Callable[[Any], Any]:
    known = inspect.signature(validate).parameters
    options = {name: True for name in ("by_alias", "by_name") if name in known}

    def read(value: Any) -> Any:
        try:
            return validate(encoding.encode(value), **options)
        except Exception as error:
            # Its messages may show the value, and so may those of validators; the kind of the error does not.
            found = getattr(error, "errors", None)
            if found is None:
                raise Misfit(f"{cls.__name__} cannot be made: {type(error).__name__}") from error
            first = found(include_url=False, include_context=False, include_input=False)[0]
            problem = Misfit(f"{cls.__name__} refuses it: {first['type']}")
            for place in reversed(first["loc"]):
                if isinstance(place, int):
                    problem.path.append(f"[{place}]")
                else:
                    at_key(problem, str(place))
            raise problem from None  # a cause would be recorded, with the value in its words

    return read


def fill_struct(form: Form, annotation: Any, cls: Any) -> None:
    """Written by msgspec, sets in an order that does not depend on the process; read as JSON."""
    msgspec = sys.modules["msgspec"]

    def read(value: Any) -> Any:
        try:
            return msgspec.json.decode(encoding.encode(value), type=annotation)
        except Exception as error:  # noqa: BLE001 - hooks of the structure may raise anything
            raise _struct_problem(cls.__name__, error) from None

    def write(value: Any) -> Any:
        if not isinstance(value, cls):
            return value
        try:
            return _sets_in_order(value, msgspec.to_builtins(value, str_keys=True))
        except Exception:  # noqa: BLE001 - the encoder meets it again, and has the words
            return value

    form.read, form.write = read, write
    form.alters, form.rewrites, form.holds = True, True, (cls,)
    config = cls.__struct_config__
    if not config.array_like:
        tags = () if config.tag_field is None else (config.tag_field,)
        form.keys = frozenset((*cls.__struct_encode_fields__, *tags)), frozenset()


def _struct_problem(name: str, error: Exception) -> Misfit:
    text = str(error)
    place = _PLACE.search(text)
    words = text[: place.start()] if place else text
    # Other messages may show the value.
    problem = Misfit(
        f"{name} refuses it: {words if words.startswith(_HARMLESS) else type(error).__name__}".replace(
            "`", ""
        )
    )
    for key, index in reversed(_TOKENS.findall(place[1] if place else "")):
        if key:
            at_key(problem, key)
        else:
            problem.path.append(f"[{index}]")
    return problem


def _sets_in_order(live: Any, written: Any) -> Any:
    """What a library wrote of a value, with what was a set in it sorted: its own order is the process's."""
    if getattr(live, "__pydantic_root_model__", False):
        return _sets_in_order(live.root, written)
    if isinstance(written, list):
        if isinstance(live, set | frozenset):
            return in_sequence(written)
        if isinstance(live, list | tuple) and len(live) == len(written):
            return [_sets_in_order(one, other) for one, other in zip(live, written, strict=True)]
    elif isinstance(written, dict):
        if isinstance(live, dict) and len(live) == len(written):
            pairs = zip(live.values(), written.items(), strict=True)
            return {key: _sets_in_order(one, other) for one, (key, other) in pairs}
        for name, key in _fields(live):
            if key in written:
                written[key] = _sets_in_order(getattr(live, name, None), written[key])
    return written


def _fields(live: Any) -> list[tuple[str, str]]:
    """The fields of a model, a structure or a dataclass, and the keys that they have in JSON."""
    cls = type(live)
    if is_model(cls):
        return [(name, field.serialization_alias or name) for name, field in cls.model_fields.items()]
    if is_struct(cls):
        return list(zip(cls.__struct_fields__, cls.__struct_encode_fields__, strict=True))
    return [(name, name) for name in getattr(cls, "__dataclass_fields__", ())]
