"""Arguments as they are recorded, and those that `run_step` takes for the step."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from .. import errors
from . import values
from .typed import annotations

Called = tuple[tuple[Any, ...], dict[str, Any]]
"""What a function is called with."""
_NO_NAME: Final = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.VAR_POSITIONAL,
    inspect.Parameter.VAR_KEYWORD,
)


def pack(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Arguments as one value: an array, or an object with both where there are named ones."""
    if kwargs:
        return {"args": list(args), "kwargs": kwargs}
    return list(args) if args else None


def unpack(recorded: Any) -> tuple[list[Any], dict[str, Any]]:
    """The arguments that `pack` recorded."""
    if isinstance(recorded, dict):
        return cast("list[Any]", recorded["args"]), cast("dict[str, Any]", recorded["kwargs"])
    return recorded or [], {}


def check_options(
    fn: Callable[..., Any], options: Mapping[str, Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    """Raises `ValidationError` where an option of a step was surely meant for the function.

    That is so where a parameter of it has that name, needs a value, and has no other one.
    """
    for name in options.keys() & values.hints(fn).annotations.keys():
        found = annotations.signature(fn)
        parameter = found.parameters[name]
        if parameter.default is not parameter.empty or parameter.kind in _NO_NAME:
            continue
        try:
            has_one = name in found.bind_partial(*args, **kwargs).arguments
        except TypeError:  # they do not fit anyhow, which the call will say
            continue
        if not has_one:
            called = getattr(fn, "__name__", fn.__class__.__name__)
            raise errors.ValidationError(
                f"{called} has a parameter {name}, and run_step takes {name}= for the step: give it by position, or as "
                f"functools.partial({called}, {name}=…)"
            )
