"""What every test gets: the backends under test, and how Hypothesis runs."""

import os
from importlib import import_module
from types import ModuleType

import pytest
from hypothesis import settings

from backends import BACKENDS

# A gate gives the same answer for the same tree; a developer's run may find what no run found before.
settings.register_profile("gate", deadline=None, derandomize=True, print_blob=True)
settings.register_profile("here", deadline=None, print_blob=True)
settings.load_profile("gate" if os.environ.get("CI") else "here")


def pytest_report_header() -> str:
    return f"stepwell backends under test: {', '.join(BACKENDS)}"


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> ModuleType:
    """Each backend's module, with its `Execution`, `Step`, `SystemClock`, `IdSource` and `new_id`."""
    return import_module(f"stepwell._{request.param}")
