"""The clock that an execution is given, and one for tests that stands still."""

from _thread import allocate_lock  # what `threading.Lock` is, without the rest of it
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol

from . import durations, errors
from .errors import ValidationError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_TIME = 2**63 - 1  # in the year 2262: what 64 bits hold


class Clock(Protocol):
    """Anything that tells the time in UTC as nanoseconds since 1970."""

    def now_ns(self) -> int:
        """The time in ns. An execution clamps it, so it may stand still or jump."""
        ...


class ManualClock:
    """A clock that stands still until it is moved; for tests.

    `start` is an aware datetime or UTC nanoseconds; without it the clock starts at 2026-01-01 00:00 UTC.
    Raises `ValidationError` for a naive datetime or a time outside 1970 to 2262.
    """

    __slots__ = ("_lock", "_now", "_watchers")

    def __init__(self, start: datetime | int | None = None) -> None:
        self._lock = allocate_lock()
        self._now = 1_767_225_600_000_000_000 if start is None else to_ns(start, "start")
        self._watchers: list[Callable[[], None]] = []

    def now_ns(self) -> int:
        """The time in UTC ns."""
        return self._now

    def advance(self, duration: str | float | timedelta) -> None:
        """Moves the clock forward by a duration such as `"1h30m"`, a number of seconds or a `timedelta`."""
        step = durations.parse(duration)
        with self._lock:
            if self._now + step > _MAX_TIME:
                raise ValidationError("a clock goes as far as the year 2262")
            self._now += step
            watchers = list(self._watchers)
        for watcher in watchers:
            watcher()

    def watch(self, watcher: Callable[[], None]) -> Callable[[], None]:
        """Calls `watcher` after each move, in the thread that moves; returns what ends that."""
        with self._lock:
            self._watchers.append(watcher)

        def unwatch() -> None:
            with self._lock:
                if watcher in self._watchers:
                    self._watchers.remove(watcher)

        return unwatch

    def __repr__(self) -> str:
        return f"ManualClock({from_ns(self._now).isoformat()})"


def to_ns(value: object, what: str) -> int:
    """UTC nanoseconds of an aware datetime or of nanoseconds; raises `ValidationError` for anything else."""
    if isinstance(value, datetime):
        offset = value.utcoffset()
        if offset is None:
            raise ValidationError(f"{what} must be an aware datetime: give it a time zone, for example UTC")
        delta = value.replace(tzinfo=UTC) - _EPOCH - offset
        nanoseconds = ((delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds) * 1_000
    elif isinstance(value, int) and not isinstance(value, bool):
        nanoseconds = value
    else:
        raise ValidationError(
            f"{what} must be an aware datetime or UTC nanoseconds, got {type(value).__name__}"
        )
    if not 0 <= nanoseconds <= _MAX_TIME:
        errors.time_range(what)
    return nanoseconds


def from_ns(nanoseconds: int) -> datetime:
    """The aware UTC datetime of UTC nanoseconds, cut to whole microseconds."""
    return _EPOCH + timedelta(microseconds=nanoseconds // 1_000)
