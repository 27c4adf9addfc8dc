"""The system's clock: UTC, anchored once to the monotonic clock."""

import time

CHECK_NS = 1_000_000_000
"""How often the anchor is compared with the wall clock, and by how much it may be off."""


class Anchor:
    """UTC as a monotonic clock plus an offset that only grows."""

    __slots__ = ("_check", "_offset")

    def __init__(self, mono: int, wall: int) -> None:
        self._offset = wall - mono
        self._check = mono + CHECK_NS

    def due(self, mono: int) -> bool:
        """Whether it is time to compare with the wall clock."""
        return mono >= self._check

    def compare(self, mono: int, wall: int) -> None:
        """Moves forward to a wall clock that is more than a second ahead; never back."""
        self._check = mono + CHECK_NS
        if wall - mono - self._offset > CHECK_NS:
            self._offset = wall - mono

    def utc(self, mono: int) -> int:
        return self._offset + mono


class SystemClock:
    """UTC that never runs backwards within a process: the wall clock read once, then the monotonic clock.

    When the wall clock is more than a second ahead (after a suspend, or when it was set) this clock follows it; it
    never goes back. Differences between its times therefore ignore jumps of the wall clock.
    """

    __slots__ = ("_anchor",)

    def __init__(self) -> None:
        self._anchor = Anchor(time.monotonic_ns(), time.time_ns())

    def now_ns(self) -> int:
        """The time in UTC ns since 1970."""
        mono = time.monotonic_ns()
        anchor = self._anchor
        if mono >= anchor._check:
            anchor.compare(mono, time.time_ns())
        return anchor._offset + mono

    def __init_subclass__(cls) -> None:
        raise TypeError("type 'stepwell.SystemClock' is not an acceptable base type")

    def __repr__(self) -> str:
        return "SystemClock()"


SystemClock.__module__ = "stepwell"
