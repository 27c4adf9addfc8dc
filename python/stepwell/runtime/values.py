"""Values of annotated types as JSON and back: results, arguments, payloads of waits.

What a blueprint sees is always what was recorded, turned into the annotated type: live as on replay. An annotation is
compiled once; where decoded JSON is of the type already there is nothing to call (`restorer` gives `None`).
A type says how its values become plain only where it is annotated: a set, a `Decimal` or a `timedelta` that no
annotation speaks of is refused, as everywhere. Data never names code: types come from annotations alone.
"""

import functools
import inspect
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, Final, Protocol, get_args, get_origin

from .. import encoding, errors
from .typed import annotations
from .typed.compiler import form_of, ordered
from .typed.form import Form, Misfit

Restorer = Callable[[Any], Any]
"""Makes the value of decoded JSON, or raises `ValidationError`."""


class Codec(Protocol):
    """How values become JSON and come back, where the project's own way is not enough: encryption, arrays and the like.

    It is chosen by code, for a kernel or a step, never by data, and must read what it or its older versions wrote. What
    either method raises fails what it was called for.
    """

    def encode(self, value: Any, /) -> Any:
        """The value as what JSON has: `None`, `bool`, `int`, `float`, `str`, lists and dictionaries."""
        ...

    def decode(self, value: Any, type: Any, /) -> Any:
        """The value of the decoded JSON. `type` is the annotation, `typing.Any` where there is none."""
        ...


# --- one value ----------------------------------------------------------------------------------------------------


class _Ways:
    """What is done for one annotation."""

    __slots__ = ("form", "restore", "write")

    def __init__(self, form: Form) -> None:
        self.form = form
        self.restore: Restorer | None = functools.partial(_restore, form) if form.alters else None
        self.write: Restorer | None = functools.partial(_write, form.write) if form.write else None


def _restore(form: Form, value: Any) -> Any:
    try:
        return form.read(value)
    except Misfit as problem:
        raise errors.ValidationError(_words(problem)) from problem.__cause__


def _write(write: Restorer, value: Any) -> Any:
    try:
        return write(value)
    except RecursionError:
        raise errors.EncodingError("cannot encode the value at $: it is nested too deep") from None


def _words(problem: Misfit) -> str:
    return f"{errors.short_path('$' + ''.join(reversed(problem.path)))}: {problem.reason}"


def _ways(annotation: Any) -> _Ways:
    try:
        hash(annotation)
    except TypeError:
        return _Ways(form_of(annotation))
    return _known_ways(ordered(annotation), annotation)


@functools.lru_cache(maxsize=1024)
def _known_ways(_: Any, annotation: Any) -> _Ways:
    return _Ways(form_of(annotation))


def restorer(annotation: object) -> Restorer | None:
    """What turns decoded JSON into the annotated type; `None` where it is that already, or the type has no form here.

    JSON's own types are looked at only where something around or beside them is turned: `list[int]` is taken as it is.
    The restorer raises `ValidationError`, which names the place and not the value, for what does not fit.
    """
    return _ways(annotation).restore


def writer(annotation: object) -> Restorer | None:
    """What makes values of the type plain; `None` where the encoder takes them as they are."""
    return _ways(annotation).write


def restore(value: Any, annotation: object) -> Any:
    """Decoded JSON as a value of the annotated type. Raises `ValidationError` for what does not fit."""
    found = _ways(annotation).restore
    return value if found is None else found(value)


def plain(value: Any, annotation: object = Any) -> Any:
    """The value as the encoder takes it: what only the annotation gives a JSON form is replaced, all else is the same.

    It refuses nothing: what has no form is left for the encoder, which names its place.
    """
    found = _ways(annotation).write
    return value if found is None else found(value)


def encode(value: Any, codec: Codec | None = None, annotation: object = Any) -> bytes:
    """The value as JSON, by the codec where there is one, else as a value of the annotated type.

    Raises `EncodingError`, whose `path` says where, for what has no JSON form, and `PayloadTooLarge`.
    """
    if codec is None:
        return encoding.encode(plain(value, annotation))
    return encoding.encode(codec.encode(value))


def decode(data: bytes, codec: Codec | None = None, annotation: object = Any) -> Any:
    """The value that `encode` wrote. Raises `ValidationError` for what is not JSON, or not of the type."""
    value = encoding.decode(data)
    return restore(value, annotation) if codec is None else codec.decode(value, annotation)


# --- the values of a function -------------------------------------------------------------------------------------


class Hints:
    """What the annotations of a function say, as far as there is something to do.

    `annotations` are those of all parameters, `parameters` the restorers of those that have one. `annotation` is that
    of the result, without an `Awaitable` around it, and `result` its restorer; `writes` whether any argument has to be
    made plain. Annotations that name what cannot be
    found count as missing, so ask when the function is first called, not when it is defined.
    """

    __slots__ = (
        "_named",
        "_others",
        "_positional",
        "_rest",
        "_writes",
        "annotation",
        "annotations",
        "parameters",
        "result",
        "writes",
    )

    def __init__(self, fn: Callable[..., Any]) -> None:
        found = _annotations(fn)
        self.annotation: Any = _awaited(found.pop("return", Any))
        self.result: Restorer | None = restorer(self.annotation)
        self.annotations: dict[str, Any] = {}
        self.parameters: dict[str, Restorer] = {}
        self.writes = False
        self._positional: list[tuple[str, _Ways]] = []
        self._named: dict[str, _Ways] = {}
        self._rest: tuple[str, _Ways] | None = None
        self._others: tuple[str, _Ways] | None = None
        self._writes = False
        for name, parameter in _parameters(fn):
            kind = parameter.kind
            annotation = annotations.optional(found.get(name, Any), parameter.default)
            self.annotations[name] = annotation
            ways = _ways(annotation)
            if ways.restore is not None:
                self.parameters[name] = ways.restore
            self.writes |= ways.write is not None
            self._writes = self._writes or ways.write is not None
            if kind is inspect.Parameter.VAR_POSITIONAL:
                self._rest = name, ways
            elif kind is inspect.Parameter.VAR_KEYWORD:
                self._others = name, ways
            else:
                self._named[name] = ways
                if kind is not inspect.Parameter.KEYWORD_ONLY:
                    self._positional.append((name, ways))

    def restored(self, args: Any, kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Decoded arguments as what the parameters say. Raises `ValidationError`, which names the parameter."""
        return self._each(args, kwargs, _RESTORE) if self.parameters else (tuple(args), kwargs)

    def plain(self, args: Any, kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Arguments as the encoder takes them, where only the parameters' annotations give them a JSON form."""
        return self._each(args, kwargs, _WRITE) if self._writes else (tuple(args), kwargs)

    def _each(
        self, args: Any, kwargs: dict[str, Any], way: Callable[[_Ways], Restorer | None]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        given = list(args)
        for index, value in enumerate(given):
            known = self._positional[index] if index < len(self._positional) else self._rest
            if known is not None:
                given[index] = _apply(known[0], way(known[1]), value)
        named = dict(kwargs)
        for name, value in named.items():
            ways = self._named.get(name) or (self._others and self._others[1])
            if ways:
                named[name] = _apply(name, way(ways), value)
        return tuple(given), named


_RESTORE: Final[Callable[[_Ways], Restorer | None]] = lambda ways: ways.restore
_WRITE: Final[Callable[[_Ways], Restorer | None]] = lambda ways: ways.write


def _apply(name: str, change: Restorer | None, value: Any) -> Any:
    if change is None:
        return value
    try:
        return change(value)
    except errors.ValidationError as problem:
        raise errors.ValidationError(f"argument {name}: {problem}") from problem.__cause__


_hints: "weakref.WeakKeyDictionary[Any, Hints]" = weakref.WeakKeyDictionary()


def hints(fn: Callable[..., Any]) -> Hints:
    """What the annotations of a function, a method, a class or another callable say; found once for each."""
    try:
        known = _hints.get(fn)
        if known is None:
            known = _hints[fn] = Hints(fn)
    except TypeError:  # it cannot be a key, or not weakly
        return Hints(fn)
    return known


def arguments(
    fn: Callable[..., Any], args: Any, kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Decoded arguments for a call of `fn`, each as its parameter is annotated, those of `*args` and `**kwargs` too.

    Raises `ValidationError`, which names the parameter and the place in it. The signature itself is not checked.
    """
    return hints(fn).restored(args, kwargs)


def _parameters(fn: Callable[..., Any]) -> Iterable[tuple[str, inspect.Parameter]]:
    try:
        return annotations.signature(fn).parameters.items()
    except (TypeError, ValueError):  # some built-in functions have none
        return ()


def _annotations(fn: Any) -> dict[str, Any]:
    while isinstance(fn, functools.partial):
        fn = fn.func
    fn = inspect.unwrap(fn)
    if isinstance(fn, type):
        found = annotations.of_class(fn)
        if "__init__" in vars(fn) and not hasattr(fn, "__dataclass_fields__"):
            found = annotations.of_function(vars(fn)["__init__"])
        return {**found, "return": fn}
    if not inspect.isroutine(fn):
        fn = getattr(type(fn), "__call__", fn)  # noqa: B004
    return annotations.of_function(getattr(fn, "__func__", fn))


def _awaited(annotation: Any) -> Any:
    """A function that returns an awaitable is called for what that gives."""
    origin, args = get_origin(annotation), get_args(annotation)
    if isinstance(origin, type) and issubclass(origin, Awaitable) and args:
        return args[2] if issubclass(origin, Coroutine) and len(args) == 3 else args[0]
    return annotation
