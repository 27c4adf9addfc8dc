"""Arguments as they are recorded."""

from typing import Any, cast


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
