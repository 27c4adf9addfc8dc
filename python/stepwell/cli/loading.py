"""Finds the user's blueprint: in a module by name, or in a file."""

import importlib
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

from ..errors import ValidationError
from ..runtime import Blueprint
from ..runtime.values import Codec


def load(target: str) -> list[Blueprint[..., Any]]:
    """The blueprints that `module`, `file.py`, `module:name` or `file.py:name` names.

    Without a name: all that the module defines. Raises `ValidationError` where there is none, and whatever the module
    itself raises.
    """
    where, colon, name = target.rpartition(":")
    if not colon or name.endswith(".py") or "/" in name or "\\" in name:
        where, name = target, ""
    module = _module(where)
    if name:
        found = getattr(module, name, None)
        if not isinstance(found, Blueprint):
            raise ValidationError(f"{where} has no blueprint {name}")
        return [found]
    blueprints = [
        value
        for value in vars(module).values()
        if isinstance(value, Blueprint) and value.__module__ == module.__name__
    ]
    if not blueprints:
        raise ValidationError(f"{where} defines no function with @blueprint")
    return blueprints


def load_one(target: str) -> Blueprint[..., Any]:
    """The one blueprint that `target` names. Raises `ValidationError` where there are several."""
    found = load(target)
    if len(found) > 1:
        names = ", ".join(str(blueprint.__name__) for blueprint in found)  # type: ignore[attr-defined]
        raise ValidationError(
            f"{target} has several blueprints: say which, as in {target}:{names.split(', ')[0]} ({names})"
        )
    return found[0]


def defaults(blueprint: Blueprint[..., Any]) -> dict[str, str]:
    """What the blueprint's module says it is run with: its constant `STEPWELL`.

    That has `store`, `tenant` and `key`; and `codec`, which `codec` below looks at.
    """
    return {name: value for name, value in _constant(blueprint).items() if name != "codec"}


def _constant(blueprint: Blueprint[..., Any]) -> dict[str, Any]:
    found = getattr(sys.modules.get(blueprint.fn.__module__), "STEPWELL", {})
    if not isinstance(found, dict) or not {*found} <= {"store", "tenant", "key", "codec"}:
        raise ValidationError(
            "STEPWELL in a module must be a dictionary with no other keys than store, tenant, key and codec"
        )
    return found


def codec(given: str | None, blueprint: Blueprint[..., Any] | None = None) -> Codec | None:
    """The kernel's codec: what `module:name` or `file.py:name` names, else what the blueprint's module says.

    Raises `ValidationError` where that is none, and whatever the module itself raises.
    """
    if given is None:
        found, what = None if blueprint is None else _constant(blueprint).get("codec"), "codec in STEPWELL"
        if found is None:
            return None
    else:
        where, colon, name = given.rpartition(":")
        if not colon or not name.isidentifier():
            raise ValidationError(f"--codec is module:name or file.py:name, got {given[:80]!a}")
        found, what = getattr(_module(where, known=True), name, None), f"{name} in {where}"
    if isinstance(found, type) or not all(
        callable(getattr(found, each, None)) for each in ("encode", "decode")
    ):
        raise ValidationError(f"{what} is no codec: an object with encode(value) and decode(value, type)")
    return found


def _module(where: str, known: bool = False) -> Any:
    """A module, or a file as one; `known`: that file is not run again if it was."""
    if not where or where.startswith("."):
        raise ValidationError(f"expected a module such as shop.orders, or a .py file, got {where[:80]!a}")
    if not where.endswith(".py"):
        sys.path.insert(0, "")
        try:
            return importlib.import_module(where)
        except ModuleNotFoundError as error:
            if error.name is None or not where.startswith(error.name):
                raise
            raise ValidationError(f"there is no module {where}; a file is named with its .py") from None
    path = Path(where)
    if not path.is_file():
        raise ValidationError(f"there is no file {where}")
    name = path.stem
    there = getattr(sys.modules.get(name), "__file__", None)
    if known and there is not None and Path(there).resolve() == path.resolve():
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ValidationError(f"{where} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(path.resolve().parent))
    spec.loader.exec_module(module)
    return module


def arguments(texts: list[str]) -> list[Any]:
    """Each text as the JSON value that it is. Raises `ValidationError`."""
    values = []
    for text in texts:
        try:
            values.append(json.loads(text))
        except RecursionError:
            raise ValidationError(f"argument {text[:40]!a} is nested too deeply") from None
        except ValueError:
            raise ValidationError(
                f"argument {text[:40]!a} is not JSON: write text in quotes, as in {json.dumps(text[:20])!r}"
            ) from None
    return values
