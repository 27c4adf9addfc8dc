"""Where the thread of a def blueprint waits for the loop."""

import asyncio
import threading
from typing import Any, Final

_LOOK_S: Final = 1.0
"""Seconds between two looks whether the loop is still there."""


class Abandoned(BaseException):
    """Ends the thread of a def blueprint whose execution was left; no `except Exception` holds it up."""


class Gate:
    """Opened once, with a result or an error. `scope` is that of the code which waits."""

    __slots__ = ("_error", "_lock", "_result", "scope")

    def __init__(self, scope: object = None) -> None:
        self.scope = scope
        self._lock = threading.Lock()
        self._lock.acquire()
        self._result: Any = None
        self._error: BaseException | None = None

    def wait(self, loop: asyncio.AbstractEventLoop) -> Any:
        """Blocks until it is opened. Raises `Abandoned` where the loop that was asked to was closed before it did."""
        while not self._lock.acquire(timeout=_LOOK_S):
            # What is asked of a loop in its last moment is neither refused nor done.
            if loop.is_closed():
                raise Abandoned
        if self._error is not None:
            raise self._error
        return self._result

    def open(self, result: Any, error: BaseException | None) -> None:
        """Lets the thread go on; later calls change nothing."""
        if self._lock.locked():
            self._result, self._error = result, error
            self._lock.release()

    def give_up(self) -> None:
        """Ends the thread: its execution goes on elsewhere, or not at all."""
        self.open(None, Abandoned())
