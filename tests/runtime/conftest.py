"""Fixtures for the tests of the runtime."""

import faulthandler
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.common import calls
from stepwell.store import StoreSource
from stepwell.store.memory import MemorySource
from stepwell.store.sqlite import SqliteSource


@pytest.fixture(autouse=True)
def an_end() -> Iterator[None]:
    """A test that waits for what never comes ends the run, and shows where it waits."""
    faulthandler.dump_traceback_later(120, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture(autouse=True)
def nothing_called() -> Iterator[None]:
    calls.clear()
    yield
    calls.clear()


@pytest.fixture
def source() -> MemorySource:
    return MemorySource()


@pytest.fixture(params=["memory", "sqlite"])
def anywhere(request: pytest.FixtureRequest, tmp_path: Path) -> StoreSource:
    """Both kinds of store."""
    return MemorySource() if request.param == "memory" else SqliteSource(tmp_path / "runs.db")
