"""Work that needs a loop of its own, for those who may be on one already."""

import asyncio
import contextvars
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


class _Outcome:
    """What came of some work in a thread."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self._work = work
        self._value: Any = None
        self._error: BaseException | None = None

    def run(self) -> None:
        """Does it."""
        try:
            self._value = self._work()
        except BaseException as error:  # noqa: BLE001 - it belongs to the one who waits
            self._error = error

    def get(self) -> Any:
        """What it returned, or raised."""
        if self._error is not None:
            raise self._error
        return self._value


def apart(work: Callable[[], T]) -> T:
    """Does work that runs a loop: here, or in a thread where a loop runs here already, which then stands still."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return work()
    outcome = _Outcome(work)
    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(outcome.run,), name="stepwell-testing", daemon=True)
    thread.start()
    thread.join()
    found: T = outcome.get()
    return found


async def beside(work: Callable[[], T]) -> T:
    """Does work that runs a loop in a thread, while the loop here goes on."""
    loop = asyncio.get_running_loop()
    outcome, done = _Outcome(work), loop.create_future()

    def run() -> None:
        outcome.run()
        try:
            loop.call_soon_threadsafe(lambda: None if done.done() else done.set_result(None))
        except RuntimeError:  # the loop is closed: nobody waits
            pass

    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(run,), name="stepwell-testing", daemon=True).start()
    await done
    found: T = outcome.get()
    return found
