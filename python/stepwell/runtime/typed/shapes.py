"""Types with named parts: dataclasses, named tuples, typed dictionaries."""

import dataclasses
from collections.abc import Callable
from typing import Any, NotRequired, Required, get_args, get_origin

from . import annotations
from .annotations import optional
from .form import Form, Misfit, at_index, at_key, misfit

Compile = Callable[[Any], Form]
_Field = tuple[str, Form, bool]


def fill_dataclass(form: Form, cls: Any, args: tuple[Any, ...], compile: Compile) -> None:
    """An object of all fields. One that is absent takes its default, one that the class no longer has is left out."""
    hints = annotations.of_class(cls, args)
    fields = dataclasses.fields(cls)
    parts = {field.name: compile(optional(hints.get(field.name, Any), field.default)) for field in fields}
    required = {field.name for field in fields if field.init and not _has_default(field)}
    form.keys = frozenset(parts), frozenset(required)
    form.parts, form.holds, form.alters = list(parts.values()), (cls,), True
    form.write = _dataclass_writer(cls, parts)
    lost = [field.name for field in _init_only(cls) if not _has_default(field)]
    if lost:
        form.read = _refuse(f"{cls.__name__} cannot be made again: InitVar {lost[0]} is not among its fields")
        return
    make = _maker(cls, {field.name for field in fields if field.init})
    listed = [(name, part, name in required) for name, part in parts.items()]
    form.read = lambda value: make(_members(cls.__name__, listed, value))


def _has_default(field: Any) -> bool:
    return field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING


def _init_only(cls: Any) -> list[Any]:
    # Pseudo-fields are listed nowhere else; their type is the one mark they have.
    kind = dataclasses.InitVar
    return [
        field
        for field in cls.__dataclass_fields__.values()
        if getattr(field._field_type, "name", "") == "_FIELD_INITVAR" or isinstance(field.type, kind)
    ]


def _refuse(reason: str) -> Callable[[Any], Any]:
    def read(_: Any) -> Any:
        raise Misfit(reason)

    return read


def _members(name: str, fields: list[_Field], value: Any) -> dict[str, Any]:
    """The members of an object that are fields, read."""
    if type(value) is not dict:
        misfit(name, value)
    found: dict[str, Any] = {}
    for key, part, required in fields:
        if key in value:
            try:
                found[key] = part.read(value[key])
            except Misfit as problem:
                at_key(problem, key)
                raise
        elif required:
            absent = Misfit(f"expected {part.name}, found nothing")
            at_key(absent, key)
            raise absent
    return found


def _maker(cls: Any, taken: set[str]) -> Callable[[dict[str, Any]], Any]:
    """Makes an instance of its fields as recorded, whatever `__post_init__` makes of them."""
    put = object.__setattr__
    if not cls.__dataclass_params__.init:

        def bare(members: dict[str, Any]) -> Any:
            made = object.__new__(cls)
            for key, value in members.items():
                put(made, key, value)
            return made

        return bare
    prepares = hasattr(cls, "__post_init__")

    def make(members: dict[str, Any]) -> Any:
        try:
            made = cls(**{key: value for key, value in members.items() if key in taken})
        except Exception as error:
            raise Misfit(f"{cls.__name__} refuses its fields: {type(error).__name__}") from error
        for key, value in members.items():
            if prepares or key not in taken:
                put(made, key, value)
        return made

    return make


def _dataclass_writer(cls: Any, parts: dict[str, Form]) -> Callable[[Any], Any]:
    def write(value: Any) -> Any:
        if not isinstance(value, cls):
            return value
        written: dict[str, Any] = {}
        for field in dataclasses.fields(value):
            try:
                member = getattr(value, field.name)
            except AttributeError:
                return value  # the encoder has the words for it
            part = parts.get(field.name)
            written[field.name] = member if part is None else part.put(member)
        return written

    return write


def fill_named_tuple(form: Form, cls: Any, args: tuple[Any, ...], compile: Compile) -> None:
    """An array of the fields in their order; those at the end that have defaults may be absent."""
    hints = annotations.of_class(cls, args)
    defaults = cls._field_defaults
    parts = [compile(optional(hints.get(name, Any), defaults.get(name, cls))) for name in cls._fields]
    least, most = len(parts) - len(defaults), len(parts)
    name = cls.__name__

    def read(value: Any) -> Any:
        if type(value) is not list:
            misfit(name, value)
        if not least <= len(value) <= most:
            raise Misfit(f"expected {name} of {most}, found a list of {len(value)}")
        members = in_order(parts, value)
        try:
            return cls(*members)
        except Exception as error:
            raise Misfit(f"{name} refuses its fields: {type(error).__name__}") from error

    def write(value: Any) -> Any:
        if not isinstance(value, cls):
            return value
        return [part.put(member) for part, member in zip(parts, value, strict=False)]

    form.read, form.write, form.parts = read, write, parts
    form.holds, form.alters = (cls,), True


def in_order(parts: list[Form], value: list[Any]) -> list[Any]:
    """The elements of an array, each read as the part of its place."""
    members: list[Any] = []
    for part, member in zip(parts, value, strict=False):
        try:
            members.append(part.read(member))
        except Misfit as problem:
            at_index(problem, len(members))
            raise
    return members


def fill_typed_dict(form: Form, cls: Any, args: tuple[Any, ...], compile: Compile) -> None:
    """An object with these keys. Others stay as they are: it is a dictionary."""
    hints = annotations.of_class(cls, args)
    required = {name for name, hint in hints.items() if _is_required(cls, name, hint)}
    parts = {name: compile(hint) for name, hint in hints.items()}
    fields = [(name, part, name in required) for name, part in parts.items()]

    def read(value: Any) -> Any:
        members = _members(cls.__name__, fields, value)
        return {**value, **members}

    def write(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {key: parts[key].put(member) if key in parts else member for key, member in value.items()}

    form.read, form.write, form.parts = read, write, list(parts.values())
    form.keys, form.holds = (frozenset(parts), frozenset(required)), (dict,)


def _is_required(cls: Any, name: str, hint: Any) -> bool:
    # In text annotations Python itself has not seen these marks.
    while get_origin(hint) is not None:
        origin = get_origin(hint)
        if origin is Required or origin is NotRequired:
            return origin is Required
        if not _is_mark(origin):
            break
        hint = get_args(hint)[0]
    return name in cls.__required_keys__


def _is_mark(origin: Any) -> bool:
    return getattr(origin, "__name__", getattr(origin, "_name", "")) in ("Annotated", "ReadOnly")
