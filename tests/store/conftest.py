"""Fixtures for the tests of the stores."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from backends import BACKENDS
from stepwell.store.sqlite import SqliteSource, SqliteStore


@pytest.fixture(params=BACKENDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Which engine a store file is opened with."""
    return str(request.param)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


@pytest.fixture
def source(path: Path, kind: str) -> SqliteSource:
    return SqliteSource(path, backend=kind)


@pytest.fixture
def store(source: SqliteSource) -> Iterator[SqliteStore]:
    opened = source.open("acme")
    yield opened
    opened.close()
