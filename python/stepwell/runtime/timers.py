"""What is to happen when the kernel's clock says so: one heap, and one alarm of the loop for its earliest entry."""

import asyncio
import contextvars
import heapq
import itertools
from collections.abc import Callable
from typing import Final

from ..clock import Clock

_LONGEST_ALARM_S: Final = 60.0
"""How long the loop's alarm may take: the clock is looked at again then, since it may have been put forward."""
_AT_ONCE: Final = 100
"""How many are called in one turn of the loop."""
_FEW: Final = 64


class Timer:
    """An entry; `cancel` takes it out."""

    __slots__ = ("_timers", "callback")

    def __init__(self, timers: "Timers", callback: Callable[[], None]) -> None:
        self._timers = timers
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        """What it was for does not happen."""
        if self.callback is not None:
            self.callback = None
            self._timers.cancelled()


class Timers:
    """Calls back on the loop when a time has come. A clock that can be watched (`ManualClock`) is heeded at once."""

    def __init__(self, clock: Clock, loop: asyncio.AbstractEventLoop) -> None:
        self._clock = clock
        self._loop = loop
        self._heap: list[tuple[int, int, Timer]] = []
        self._numbers = itertools.count()
        self._alarm: asyncio.Handle | None = None
        self._alarm_at = 0
        self._closed = False
        self._dead = 0
        # Not that of whoever sets a timer: the alarm is everybody's, and would keep a blueprint's in memory.
        self._context = contextvars.Context()
        watch = getattr(clock, "watch", None)
        self._unwatch: Callable[[], None] = (lambda: None) if watch is None else watch(self._moved)

    def at(self, due_ns: int, callback: Callable[[], None]) -> Timer:
        """Has `callback` called when the clock is at `due_ns` or past it, never before this returns."""
        timer = Timer(self, callback)
        heapq.heappush(self._heap, (due_ns, next(self._numbers), timer))
        if self._alarm is None or due_ns < self._alarm_at:
            self._set_alarm()
        return timer

    def cancelled(self) -> None:
        """An entry is for nothing any more. Where most are, they are thrown out: their times may be far away."""
        self._dead += 1
        if self._dead > _FEW and self._dead * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[2].callback is not None]
            heapq.heapify(self._heap)
            self._dead = 0

    def __len__(self) -> int:
        """How many entries are kept, those that were taken out and are still there included."""
        return len(self._heap)

    def close(self) -> None:
        """Calls nobody any more."""
        self._closed = True
        self._unwatch()
        self._heap.clear()
        if self._alarm is not None:
            self._alarm.cancel()

    def _moved(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._ring, context=self._context)
        except RuntimeError:  # the loop is closed
            pass

    def _set_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        while self._heap and self._heap[0][2].callback is None:
            heapq.heappop(self._heap)
            self._dead -= 1
        if not self._heap or self._closed:
            return
        self._alarm_at = self._heap[0][0]
        delay = (self._alarm_at - self._clock.now_ns()) / 1e9
        if delay <= 0:
            self._alarm = self._loop.call_soon(self._ring, context=self._context)
        else:
            pause = min(delay, _LONGEST_ALARM_S)
            self._alarm = self._loop.call_later(pause, self._ring, context=self._context)

    def _ring(self) -> None:
        if self._closed:
            return
        now, called = self._clock.now_ns(), 0
        try:
            while self._heap and self._heap[0][0] <= now and called < _AT_ONCE:
                timer = heapq.heappop(self._heap)[2]
                callback, timer.callback = timer.callback, None
                if callback is None:
                    self._dead -= 1
                else:
                    called += 1
                    callback()
        finally:
            self._set_alarm()
