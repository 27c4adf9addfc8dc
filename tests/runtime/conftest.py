"""Fixtures for the tests of the runtime."""

from collections.abc import Iterator

import pytest

from runtime.common import calls
from stepwell.store.memory import MemorySource


@pytest.fixture(autouse=True)
def nothing_called() -> Iterator[None]:
    calls.clear()
    yield
    calls.clear()


@pytest.fixture
def source() -> MemorySource:
    return MemorySource()
