"""Fixtures for the tests of the stores."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from stepwell.store.sqlite import SqliteSource, SqliteStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    opened = SqliteSource(path).open("acme")
    yield opened
    opened.close()
