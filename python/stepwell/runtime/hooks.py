"""Hooks: objects of the user that are told what happens to executions and steps."""

import asyncio
import logging
from collections.abc import Iterable
from typing import Final

from .. import errors
from . import places
from .functions import is_async

log = logging.getLogger("stepwell")

EVENTS: Final = ("execution_started", "execution_ended", "step_started", "step_ended")
"""What a hook may have a method for."""


def _missing() -> None:
    pass


class Hooks:
    """All hooks of a kernel, called in order. What one raises is logged and changes nothing."""

    __slots__ = ("_hooks",)

    def __init__(self, hooks: Iterable[object]) -> None:
        self._hooks = tuple(hooks)
        for hook in self._hooks:
            for event in EVENTS:
                if is_async(getattr(hook, event, _missing)):
                    name = f"{hook.__class__.__name__}.{event}"
                    raise errors.ValidationError(
                        f"the hook {name} is an async def function: hooks are called, and not awaited"
                    )

    def __bool__(self) -> bool:
        return bool(self._hooks)

    def tell(self, event: str, *about: object) -> None:
        """Calls each hook that has a method of this name."""
        if not self._hooks:
            return
        # They are no part of the blueprint or step on the stack: a step that one calls has no place in its record.
        token = places.enter(None)
        try:
            for hook in self._hooks:
                method = getattr(hook, event, None)
                if method is not None:
                    try:
                        method(*about)
                    except (Exception, asyncio.CancelledError):  # none of the loop's own: a hook is called
                        log.exception("a hook failed in %s", event)
        finally:
            places.leave(token)
