"""Annotations as types: names looked up, type variables filled in. What cannot be found counts as missing, `Any`."""

import inspect
import sys
import types
from collections.abc import Mapping
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
    Optional,
    Self,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

Names = dict[str, Any]


def own(thing: Any) -> Names:
    """The annotations that a class or a function itself has, as they were written."""
    if sys.version_info >= (3, 14):
        import annotationlib

        try:
            return dict(annotationlib.get_annotations(thing, format=annotationlib.Format.FORWARDREF))
        except (TypeError, ValueError):
            return {}
    try:
        return dict(inspect.get_annotations(thing))
    except (TypeError, ValueError):  # something callable without any
        return {}


def signature(function: Any) -> inspect.Signature:
    """Of what can be called, also where its annotations cannot be looked up."""
    if sys.version_info >= (3, 14):
        import annotationlib

        return inspect.signature(function, annotation_format=annotationlib.Format.FORWARDREF)
    return inspect.signature(function)


def resolve(annotation: Any, names: Mapping[str, Any], local: Mapping[str, Any], parameters: Any = ()) -> Any:
    """The annotation with every name in it looked up; `Any` where one is not there (yet)."""
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return annotation

    def holder() -> None: ...

    # One at a time: a name that only type checkers know makes its own annotation missing, not all of them.
    holder.__annotations__ = {"it": annotation}
    if parameters:
        holder.__type_params__ = parameters  # type: ignore[attr-defined, unused-ignore]
    try:
        return get_type_hints(holder, dict(names), dict(local), include_extras=True)["it"]
    except Exception:  # noqa: BLE001 - an annotation is the user's expression, it may raise anything
        return Any


def of_function(function: Any) -> Names:
    """The annotations of a function. Those that are text may name what its body uses from the function around it."""
    local: Names = {}
    code, closure = getattr(function, "__code__", None), getattr(function, "__closure__", None)
    for name, cell in zip(getattr(code, "co_freevars", ()), closure or (), strict=False):
        try:
            local[name] = cell.cell_contents
        except ValueError:
            pass  # not bound yet
    names = getattr(function, "__globals__", {})
    parameters = getattr(function, "__type_params__", ())
    return {name: resolve(given, names, local, parameters) for name, given in own(function).items()}


def of_class(cls: Any, args: tuple[Any, ...] = ()) -> Names:
    """The annotations of a class and those it inherits, with type variables filled in as `cls[args]` says."""
    if is_typed_dict(cls):
        return _of_typed_dict(cls, args)
    scopes: dict[Any, dict[Any, Any]] = {}
    _walk(cls, args, scopes)
    found: Names = {}
    for base in reversed(cls.__mro__):
        found.update(_own_resolved(base, cls, scopes.get(base, {})))
    return found


def _of_typed_dict(cls: Any, args: tuple[Any, ...]) -> Names:
    """Such a class has no bases left, and lists the keys of those it had as its own."""
    scope = _scope(cls, args)
    found: Names = {}
    for base in getattr(cls, "__orig_bases__", ()):
        origin = get_origin(base) or base
        if is_typed_dict(origin):
            found.update(of_class(origin, tuple(substitute(arg, scope) for arg in get_args(base))))
    for name, annotation in _own_resolved(cls, cls, scope).items():
        found.setdefault(name, annotation)
    return found


def _own_resolved(base: Any, cls: Any, scope: dict[Any, Any]) -> Names:
    written = own(base)
    if not written:
        return {}
    # The module before the class: `date: date = TODAY` means the type. A class made in a function is in no module.
    names = {**vars(base), **getattr(sys.modules.get(base.__module__), "__dict__", {})}
    local = {cls.__name__: cls, base.__name__: base}
    parameters = getattr(base, "__type_params__", ())
    return {
        name: substitute(_with_self(resolve(given, names, local, parameters), cls), scope)
        for name, given in written.items()
    }


def _scope(cls: Any, args: tuple[Any, ...]) -> dict[Any, Any]:
    return dict(zip(getattr(cls, "__parameters__", ()), args, strict=False))


def _walk(cls: Any, args: tuple[Any, ...], scopes: dict[Any, dict[Any, Any]]) -> None:
    """What each class among the bases has for its type variables."""
    scope = scopes.setdefault(cls, _scope(cls, args))
    for base in cls.__dict__.get("__orig_bases__", cls.__bases__):
        origin = get_origin(base) or base
        if isinstance(origin, type) and origin not in (object, Generic):
            _walk(origin, tuple(substitute(arg, scope) for arg in get_args(base)), scopes)


def substitute(annotation: Any, scope: dict[Any, Any]) -> Any:
    """The annotation with its type variables replaced by what they stand for."""
    if not scope:
        return annotation
    if isinstance(annotation, TypeVar):
        return scope.get(annotation, annotation)
    parameters = getattr(annotation, "__parameters__", ())
    if not parameters or (isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias)):
        return annotation
    try:
        return annotation[tuple(scope.get(parameter, parameter) for parameter in parameters)]
    except TypeError:
        return Any  # variadic type variables, parameter specifications


def _with_self(annotation: Any, cls: Any) -> Any:
    """The annotation with `Self` as the class that it is in."""
    if annotation is Self:
        return cls
    origin, args = get_origin(annotation), get_args(annotation)
    if not args or origin is Literal:
        return annotation
    ours = tuple(_with_self(arg, cls) for arg in args)
    if all(one is other for one, other in zip(ours, args, strict=True)):
        return annotation
    if origin is Annotated:
        return ours[0]
    return Union[ours] if origin in (Union, types.UnionType) else origin[ours]  # noqa: UP007 - known only now


def optional(annotation: Any, default: Any) -> Any:
    """`price: float = None` means `float | None`, whoever writes it."""
    if default is not None or annotation is Any:
        return annotation
    try:
        return Optional[annotation]  # noqa: UP045 - `|` takes fewer things
    except TypeError:  # not a type
        return annotation


def is_typed_dict(cls: Any) -> bool:
    """Whether it is a typed dictionary, of `typing` or of `typing_extensions`."""
    return isinstance(cls, type) and issubclass(cls, dict) and hasattr(cls, "__required_keys__")
