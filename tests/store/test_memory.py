"""The memory store keeps the contract."""

import pytest

from stepwell.store.memory import MemorySource
from store.suite import StoreSuite


class TestMemory(StoreSuite):
    @pytest.fixture
    def source(self) -> MemorySource:
        return MemorySource()
