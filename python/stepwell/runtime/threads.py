"""The kernel's own threads, for code that blocks: neither the loop's default executor nor its shutdown is involved.

They are daemons: a step that never returns holds up neither the kernel's end nor the interpreter's.
"""

import asyncio
import queue
import threading
from collections.abc import Callable
from contextvars import Context
from typing import Any

_Job = tuple[Context, Callable[[], Any], asyncio.AbstractEventLoop, "asyncio.Future[Any]"]


class Threads:
    """Up to `limit` threads, made when they are needed. `apart`: others, for what must not wait for those."""

    def __init__(self, limit: int, apart: "Threads | None" = None) -> None:
        self.apart = self if apart is None else apart
        self._limit = limit
        self._count = 0
        self._idle = 0
        self._waiting = 0  # jobs that no thread has said it took
        self._lock = threading.Lock()
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()

    def run(self, context: Context, work: Callable[[], Any]) -> "asyncio.Future[Any]":
        """Runs `work` in a thread and in this context. Cancelling the future only stops waiting for it."""
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[Any] = loop.create_future()
        self._jobs.put((context, work, loop, outcome))
        with self._lock:
            self._waiting += 1
            if self._waiting > self._idle and self._count < self._limit:
                self._count += 1
                threading.Thread(target=self._serve, name="stepwell-step", daemon=True).start()
        return outcome

    def close(self) -> None:
        """Ends every thread behind its current job."""
        if self.apart is not self:
            self.apart.close()
        with self._lock:
            for _ in range(self._count):
                self._jobs.put(None)

    def _serve(self) -> None:
        while True:
            with self._lock:
                self._idle += 1
            job = self._jobs.get()
            with self._lock:
                # Both at once: a thread that has a job already must not be counted on for the next one.
                self._idle -= 1
                self._waiting -= job is not None
            if job is None:
                return
            run_job(*job)
            del job


def run_job(context: Context, work: Callable[[], Any], loop: asyncio.AbstractEventLoop, outcome: Any) -> None:
    """Runs `work` here and tells the loop what came of it."""
    error: BaseException | None = None
    result = None
    try:
        result = context.run(work)
    except BaseException as raised:  # noqa: BLE001 - it belongs to the one who waits, in whatever thread
        error = raised
    try:
        loop.call_soon_threadsafe(_deliver, outcome, result, error)
    except RuntimeError:  # the loop was closed meanwhile: nobody waits any more
        pass


def _deliver(outcome: "asyncio.Future[Any]", result: Any, error: BaseException | None) -> None:
    if outcome.done():
        return
    if isinstance(error, StopIteration):  # a future cannot carry it
        error = RuntimeError("the function raised StopIteration")
    if error is None:
        outcome.set_result(result)
    else:
        outcome.set_exception(error)
