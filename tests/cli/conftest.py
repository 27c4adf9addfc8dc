"""Fixtures for the tests of the command."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from backends import BACKENDS
from cli.runner import Command, use_engine
from stepwell.store.sqlite import SqliteSource, SqliteStore


@pytest.fixture(params=BACKENDS)
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The engine that the command opens stores with."""
    use_engine(request.param, monkeypatch)
    return str(request.param)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


@pytest.fixture
def command(path: Path, kind: str) -> Command:
    return Command(path)


@pytest.fixture
def writing(path: Path, kind: str) -> Callable[..., AbstractContextManager[SqliteStore]]:
    """A store to write to, closed before the command looks."""

    @contextmanager
    def opened(tenant: str = "acme") -> Iterator[SqliteStore]:
        store = SqliteSource(path, backend=kind).open(tenant)
        yield store
        store.close()

    return opened
