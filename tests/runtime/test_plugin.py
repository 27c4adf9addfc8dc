"""The fixtures of pytest, as a project that has stepwell installed sees them."""

import os
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

from house.tree import ROOT

PROJECT = """
import stepwell
from stepwell import ManualClock, blueprint, step
from stepwell.store.memory import MemorySource

@step
async def double(number: int) -> int:
    return 2 * number

@blueprint
async def later(number: int) -> int:
    await stepwell.sleep("1h")
    return await double(number)

def test_kernel_and_clock(stepwell_kernel, manual_clock, stepwell_source):
    assert isinstance(manual_clock, ManualClock) and isinstance(stepwell_source, MemorySource)
    handle = stepwell_kernel.start(later, 4)
    while handle.execution().state != "waiting":
        pass
    manual_clock.advance("1h")
    assert handle.result(timeout=20) == 8

def test_each_test_has_its_own(stepwell_kernel):
    assert stepwell_kernel.list() == []

def test_crashes(crash_everywhere):
    assert crash_everywhere(later, 4).result == 8
"""


def test_the_fixtures(tmp_path: Path) -> None:
    (tmp_path / "test_project.py").write_text(PROJECT)
    environment = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "stepwell.testing.plugin"]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", str(tmp_path)],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert "3 passed" in done.stdout, done.stdout + done.stderr
    listed = subprocess.run(
        [*command, "--fixtures", str(tmp_path)],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    for name in ("manual_clock", "stepwell_source", "stepwell_kernel", "crash_everywhere"):
        assert f"{name} " in listed


def test_pytest_finds_it_where_stepwell_is_installed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert import_module(project["entry-points"]["pytest11"]["stepwell"])


def test_it_costs_a_project_that_does_not_use_it_no_runtime() -> None:
    program = "import sys, stepwell.testing.plugin; print('stepwell.runtime' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
