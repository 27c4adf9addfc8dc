"""What a kernel is made with: a slip is refused where it is made, with the name of the option."""

from collections.abc import Iterable
from typing import Any

from .. import errors, model
from .functions import Blueprint


def once(name: str, given: Any) -> tuple[Any, ...] | None:
    """All of an iterable, which may be one that is read only once. Raises `ValidationError` for what is none."""
    if given is None:
        return None
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise errors.ValidationError(f"{name} takes a list of them, got {given.__class__.__name__}")
    return tuple(given)


def check_options(
    store: object,
    blueprints: tuple[Any, ...] | None,
    execute: object,
    recover: object,
    clock: object,
    codec: object,
) -> None:
    """Raises `ValidationError` for options of a kernel that cannot be."""
    if not isinstance(store, str):
        _has("store", store, ("open",), "a URL such as sqlite:///runs.db, or an object of stepwell.store")
    for known in blueprints or ():
        if not isinstance(known, Blueprint):
            raise errors.ValidationError(
                f"blueprints takes functions with @blueprint, got {known.__class__.__name__}"
            )
    model.flag("execute", execute)
    model.flag("recover", recover)
    if clock is not None:
        _has("clock", clock, ("now_ns",), "an object with now_ns(), such as ManualClock()")
    if codec is not None:
        _has("codec", codec, ("encode", "decode"), "an object with encode(value) and decode(value, type)")


def _has(name: str, given: object, methods: tuple[str, ...], what: str) -> None:
    if isinstance(given, type) or not all(callable(getattr(given, each, None)) for each in methods):
        shown = given.__name__ if isinstance(given, type) else given.__class__.__name__
        raise errors.ValidationError(f"{name} is {what}; got {shown}")
