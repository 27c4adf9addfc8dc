"""What a function's module is called in names that are stored."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def module_of(fn: Callable[..., Any]) -> str:
    """The module of a function; that of a script has the name which it has for who imports it."""
    name = getattr(fn, "__module__", None) or "?"
    if name not in (
        "__main__",
        "__mp_main__",
    ):  # the second one is a script's in its multiprocessing children
        return str(name)
    main = sys.modules.get(name)
    spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
    if spec is not None:  # python -m
        return str(spec.name)
    return Path(file).stem if file else str(name)
