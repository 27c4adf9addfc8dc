"""Fixtures for pytest, which finds them by itself where stepwell is installed. Nothing else here imports pytest."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ..clock import ManualClock
    from ..runtime import BlockingKernel
    from ..store.memory import MemorySource
    from .crashing import CrashReport


@pytest.fixture
def manual_clock() -> "ManualClock":
    """A `stepwell.ManualClock`, the one that `stepwell_kernel` has."""
    from ..clock import ManualClock

    return ManualClock()


@pytest.fixture
def stepwell_source() -> "MemorySource":
    """An empty store in memory, the one of `stepwell_kernel`; give it to a kernel of your own."""
    from ..store.memory import MemorySource

    return MemorySource()


@pytest.fixture
def stepwell_kernel(
    stepwell_source: "MemorySource", manual_clock: "ManualClock"
) -> "Iterator[BlockingKernel]":
    """An open `BlockingKernel` of the tenant `test` on `stepwell_source`, whose time is `manual_clock`."""
    from ..runtime import Kernel

    with Kernel(stepwell_source, tenant="test", clock=manual_clock) as kernel:
        yield kernel


@pytest.fixture
def crash_everywhere() -> "Callable[..., CrashReport]":
    """`stepwell.testing.crash_everywhere`."""
    from .crashing import crash_everywhere as found

    return found
