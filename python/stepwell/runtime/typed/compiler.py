"""From an annotation to its form."""

import dataclasses
from collections import abc
from enum import Enum
from types import UnionType
from typing import (
    Annotated,
    Any,
    ClassVar,
    Final,
    Literal,
    NewType,
    NotRequired,
    Required,
    TypeVar,
    Union,
    get_args,
    get_origin,
)

from . import leaves, models, shapes
from .annotations import is_typed_dict, substitute
from .containers import fill_dict, fill_list, fill_set, fill_tuple, fill_union
from .form import Form, settle

_MAX_NESTING: Final = 64
_LISTS: Final = (list, abc.Sequence, abc.MutableSequence, abc.Collection, abc.Iterable)
_SETS: Final = (set, abc.Set, abc.MutableSet)
_DICTS: Final = (dict, abc.Mapping, abc.MutableMapping)
_EXACT: Final = (str, int, float, bool, type(None))
_MARKS: Final = (Annotated, Required, NotRequired, Final, ClassVar)


def ordered(annotation: Any) -> Any:
    """What tells apart annotations that are equal to Python: unions in another order."""
    args = getattr(annotation, "__args__", None)
    if not isinstance(args, tuple) or not args:
        return annotation
    return (get_origin(annotation), *map(ordered, args))


class Compiler:
    """Makes the forms of one annotation and all that is in it; each once, so that types may name themselves."""

    def __init__(self) -> None:
        self._made: dict[Any, Form] = {}
        self._nesting = 0

    def form(self, annotation: Any) -> Form:
        """The form of the annotation, which may not be filled yet."""
        key = (ordered(annotation), annotation)
        try:
            known = self._made.get(key)
        except TypeError:  # it has something in it that cannot be a key
            return self._filled(Form("Any"), annotation)
        if known is not None:
            return known
        form = self._made[key] = Form("Any")
        return self._filled(form, annotation)

    def _filled(self, form: Form, annotation: Any) -> Form:
        # A generic class whose part is a larger form of itself would have no end.
        if self._nesting < _MAX_NESTING:
            self._nesting += 1
            self._fill(form, annotation)
            self._nesting -= 1
        return form

    def _fill(self, form: Form, annotation: Any) -> None:
        annotation = _bare(annotation)
        args, origin = get_args(annotation), get_origin(annotation)
        if annotation is None:
            leaves.fill_exact(form, type(None))
        elif isinstance(annotation, type) and annotation in _EXACT:
            leaves.fill_exact(form, annotation)
        elif origin is Union or origin is UnionType:
            fill_union(form, [self.form(arg) for arg in args])
        elif origin is Literal:
            leaves.fill_literal(form, args)
            form.name = "Literal"
        else:
            cls = annotation if origin is None else origin
            if isinstance(cls, type):
                form.name = cls.__name__
                self._fill_class(form, annotation, cls, args)

    def _fill_class(self, form: Form, annotation: Any, cls: type, args: tuple[Any, ...]) -> None:
        if cls in _LISTS:
            fill_list(form, self.form(args[0] if args else Any))
        elif cls in _DICTS:
            fill_dict(form, *map(self.form, args if len(args) == 2 else (Any, Any)))
        elif cls in _SETS or cls is frozenset:
            fill_set(form, frozenset if cls is frozenset else set, self.form(args[0] if args else Any))
        elif cls is tuple:
            self._fill_tuple(form, annotation, args)
        elif issubclass(cls, Enum):
            leaves.fill_enum(form, cls)
        elif leaves.fill_known(form, cls):
            pass
        elif is_typed_dict(cls):
            shapes.fill_typed_dict(form, cls, args, self.form)
        elif issubclass(cls, tuple) and hasattr(cls, "_fields"):
            shapes.fill_named_tuple(form, cls, args, self.form)
        elif models.is_model(cls):
            models.fill_model(form, cls, self.form)
        elif models.is_struct(cls):
            models.fill_struct(form, annotation, cls)
        elif dataclasses.is_dataclass(cls):
            shapes.fill_dataclass(form, cls, args, self.form)
            if models.is_pydantic_dataclass(cls):
                models.fill_pydantic_dataclass(form, annotation, cls)

    def _fill_tuple(self, form: Form, annotation: Any, args: tuple[Any, ...]) -> None:
        if len(args) == 2 and args[1] is Ellipsis:
            fill_tuple(form, self.form(args[0]), None)
        elif args or annotation == tuple[()]:
            fill_tuple(form, None, [self.form(arg) for arg in args])
        else:
            fill_tuple(form, self.form(Any), None)


def _bare(annotation: Any) -> Any:
    """Without what says nothing about values: marks, names, aliases; a type variable as what bounds it."""
    for _ in range(_MAX_NESTING):
        origin = get_origin(annotation)
        if origin in _MARKS or getattr(origin, "_name", "") == "ReadOnly":
            annotation = get_args(annotation)[0]
        elif isinstance(annotation, NewType):
            annotation = annotation.__supertype__
        elif isinstance(annotation, TypeVar):
            annotation = _bound(annotation)
        elif _is_alias(annotation):
            annotation = annotation.__value__
        elif _is_alias(origin):
            scope = dict(zip(origin.__type_params__, get_args(annotation), strict=False))
            annotation = substitute(origin.__value__, scope)
        elif isinstance(annotation, dataclasses.InitVar):
            annotation = annotation.type
        else:
            break
    return annotation


def _bound(variable: TypeVar) -> Any:
    if variable.__constraints__:
        return Union[variable.__constraints__]  # noqa: UP007 - they are known only now
    return Any if variable.__bound__ is None else variable.__bound__


def _is_alias(annotation: Any) -> bool:
    """Made by a `type` statement, or by what stands for it before Python 3.12."""
    return type(annotation).__name__ == "TypeAliasType" and hasattr(annotation, "__value__")


def form_of(annotation: Any) -> Form:
    """The form of an annotation, complete."""
    return settle(Compiler().form(annotation))
