"""Whether memory that is asked for is there already: else a benchmark measures the kernel's page faults, too.

A process gives memory back to the system when it throws an execution away, and pays for each page of the next one anew.
How much of it that is depends on what else has run in the process, and what a page costs on the machine: 3 µs each were
seen in a virtual machine, more than a step takes. So both allocators are told to keep what they have, for everybody who
is measured, and what fresh memory costs is a row by itself.
"""

import ctypes
import os

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's mallopt
_LARGE = 2**31 - 1
_SMALL, _PINNED_EVERY = 400, 500  # bytes; so some in each of Python's arenas, which are of 256 KiB or 1 MiB

_libc = ctypes.CDLL(None) if os.name == "posix" else None
_pinned: list[bytes] = []


def keep_memory(megabytes: int) -> None:
    """From now on nothing is given back, and Python has this much to begin with."""
    mallopt = getattr(_libc, "mallopt", None)
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, _LARGE)
        mallopt(_MMAP_THRESHOLD, _LARGE)
    # Python frees an arena when nothing is in it, so something is.
    small = [bytes(_SMALL) for _ in range(megabytes * 1_000_000 // _SMALL)]
    _pinned.extend(small[::_PINNED_EVERY])


def give_back() -> None:
    """What the system's allocator has free is the system's again."""
    trim = getattr(_libc, "malloc_trim", None)
    if trim is not None:
        trim(0)
