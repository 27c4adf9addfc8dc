"""New ids: UUIDv7 (RFC 9562) as TypeIDs, ascending within one process, also within one millisecond."""

import os
import time
from _thread import allocate_lock  # what `threading.Lock` is, without the rest of it

from ..typeid import ALPHABET, PAIRS

_TAIL_BITS = 40
_POOL = 4096
_MS = 1_000_000


_forks = 0
"""How many times this process is a child of `fork`, counted from the first import."""


class IdSource:
    """Makes ids: `source("step")` is a new `step_…`. Each is greater than the one before.

    An id has the time in ms, then 74 random bits; within one millisecond the last 40 of them count up by random steps.
    In a child of `fork` every source starts afresh.
    """

    __slots__ = (
        "_begins",
        "_forks",
        "_head",
        "_high",
        "_lock",
        "_ms",
        "_pool",
        "_read",
        "_tail",
        "_until",
    )

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        # After a fork too: the parent goes on with what was there, and may have held the lock.
        self._lock = allocate_lock()
        self._forks = _forks
        self._ms = -1
        self._head = ""
        self._tail = 0
        self._until = 0
        self._high = -1
        self._begins = ""
        self._pool = b""
        self._read = _POOL

    def __call__(self, prefix: str) -> str:
        """A new id with this prefix."""
        if self._forks != _forks:
            self._start()
        with self._lock:
            now = time.time_ns()
            if now >= self._until:
                self._seed(now // _MS)
            read = self._read
            if read >= _POOL:
                self._pool, read = os.urandom(_POOL), 0
            self._read = read + 1
            tail = self._tail + 1 + self._pool[read]
            if tail >> _TAIL_BITS:
                self._seed(self._ms + 1)
                tail = self._tail
            self._tail = tail
            if tail >> 20 != self._high:  # what comes before the last four characters seldom changes
                self._high = tail >> 20
                self._begins = f"_{self._head}{PAIRS[tail >> 30]}{PAIRS[tail >> 20 & 1023]}"
            return f"{prefix}{self._begins}{PAIRS[tail >> 10 & 1023]}{PAIRS[tail & 1023]}"

    def reserve(self, prefix: str, count: int) -> str:
        """The first of `count` consecutive new ids with this prefix."""
        if self._forks != _forks:
            self._start()
        with self._lock:
            ms = max(time.time_ns() // _MS, self._ms)
            if ms > self._ms or (self._tail + count) >> _TAIL_BITS:
                self._seed(ms if ms > self._ms else ms + 1)
            first = self._tail + 1
            self._tail += count
            return (
                f"{prefix}_{self._head}{PAIRS[first >> 30]}{PAIRS[first >> 20 & 1023]}"
                f"{PAIRS[first >> 10 & 1023]}{PAIRS[first & 1023]}"
            )

    def _seed(self, ms: int) -> None:
        """Fresh random bits for a new millisecond; the top bit of the counter stays free, so that it does not end."""
        random = int.from_bytes(os.urandom(10), "big")
        self._ms = ms
        self._until = (ms + 1) * _MS
        self._high = -1
        self._tail = random & (1 << _TAIL_BITS - 1) - 1
        random >>= _TAIL_BITS
        # version 7, 12 random bits, variant 2, 22 random bits: 40 bits, eight characters
        high = 7 << 36 | (random >> 22 & 4095) << 24 | 2 << 22 | random & 0x3FFFFF
        number = ms << 40 | high
        # 48 bits of time and these 40 are 88 bits: 18 characters, the first of them 3 bits
        self._head = (
            ALPHABET[number >> 85]
            + "".join(PAIRS[number >> shift & 1023] for shift in range(75, -1, -10))
            + (ALPHABET[number & 31])
        )

    def __init_subclass__(cls) -> None:
        raise TypeError("type 'stepwell.IdSource' is not an acceptable base type")

    def __repr__(self) -> str:
        return "IdSource()"


IdSource.__module__ = "stepwell"

new_id = IdSource()
"""The source of the process."""


def _forked() -> None:
    global _forks
    _forks += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
