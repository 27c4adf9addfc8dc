"""Chooses the backend, once, by `STEPWELL_BACKEND=auto|native|pure`."""

import importlib.util
import os
from functools import cache
from typing import Any


def chosen() -> Any:
    """The module of the backend that runs."""
    return choose()[1]


@cache
def choose() -> tuple[str, Any]:
    """The backend's name and module.

    `auto` takes the native one and falls back to the pure one only where the extension module is absent. An extension
    that is there and does not load, or is of another version, raises `ImportError`.
    """
    wanted = os.environ.get("STEPWELL_BACKEND", "auto")
    if wanted not in ("auto", "native", "pure"):
        raise ImportError(f"STEPWELL_BACKEND must be auto, native or pure; got {wanted!a}")
    if wanted != "pure":
        if importlib.util.find_spec("stepwell._native") is not None:
            return "native", _native()
        if wanted == "native":
            raise ImportError(
                "STEPWELL_BACKEND=native, but this installation has no extension module: install a native wheel, "
                "or build one with cargo on the PATH (pip install --force-reinstall stepwell)"
            )
    from . import _pure

    return "pure", _pure


def _native() -> Any:
    from . import _native
    from ._version import VERSION

    if _native.VERSION != VERSION:
        raise ImportError(
            f"the extension module is of version {_native.VERSION}, the package of {VERSION}: reinstall stepwell"
        )
    return _native
