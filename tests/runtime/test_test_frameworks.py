"""Kernels in the tests of others: pytest-asyncio in both modes, and the plugin of anyio on each loop."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from backends import BACKENDS
from loops import LOOPS

PRELUDE = """
import asyncio, os
import pytest
import stepwell
from stepwell import Kernel, ManualClock, blueprint, step

@step
async def double(number):
    await asyncio.sleep(0)
    return 2 * number

@step
def add(one, other):
    return one + other

@blueprint
async def work(number):
    await stepwell.sleep("1h")
    signal = await stepwell.wait_for("more")
    return await add(sum(await asyncio.gather(double(number), double(signal))), 0)

@blueprint
async def endless():
    await asyncio.Event().wait()

def opened(folder):
    return Kernel(f"sqlite:///{folder / 'runs.db'}", tenant="acme", clock=ManualClock())

async def does_it(kernel):
    handle = await kernel.start(work, 1)
    while (await handle.execution()).state != "waiting":
        await asyncio.sleep(0)
    kernel.clock.advance("1h")
    await handle.signal("more", 2)
    assert await handle.result(timeout=30) == 6
"""

ASYNCIO = """
import pytest_asyncio
FIXTURE, TEST = {markers}

@FIXTURE
async def kernel(tmp_path):
    async with opened(tmp_path) as kernel:
        yield kernel

@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory):
    async with opened(tmp_path_factory.mktemp("shared")) as kernel:
        yield kernel

@TEST
async def test_in_a_fixture(kernel):
    await does_it(kernel)

@TEST
async def test_left_unfinished(kernel):
    await kernel.start(endless)

@TEST
async def test_of_its_own(tmp_path, crash_everywhere):
    async with opened(tmp_path) as kernel:
        await does_it(kernel)
    assert (await stepwell.testing.crash_everywhere_async(double_once, 2)).result == 4

@blueprint
async def double_once(number):
    return await double(number)

@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("time", [1, 2])
async def test_a_shared_one(shared, time):
    await does_it(shared)

def test_the_blocking_one(stepwell_kernel):
    assert stepwell_kernel.run(double_once, 2) == 4
"""
MARKERS = {
    "strict": "pytest_asyncio.fixture, pytest.mark.asyncio",
    "auto": "pytest.fixture, lambda test: test",
}

ANYIO = """
import anyio
pytestmark = pytest.mark.anyio

@pytest.fixture(params=KINDS)
def anyio_backend(request):
    return "asyncio", {"use_uvloop": request.param == "uvloop"}

@pytest.fixture
async def kernel(tmp_path):
    async with opened(tmp_path) as kernel:
        yield kernel

async def test_in_a_fixture(kernel):
    await does_it(kernel)

async def test_left_unfinished(kernel):
    await kernel.start(endless)

async def test_a_result_is_awaited_in_scopes_of_anyio(kernel):
    handle = await kernel.start(work, 1)
    with anyio.move_on_after(0) as scope:
        await handle.result()
    assert scope.cancelled_caught and await handle.cancel("enough")
    with pytest.raises(stepwell.ExecutionError, match="enough"):
        with anyio.fail_after(30):
            await handle.result()

@step
async def by_anyio(numbers):
    got = []

    async def one(number):
        await anyio.sleep(0)
        got.append(await anyio.to_thread.run_sync(lambda: 2 * number))

    async with anyio.create_task_group() as group:
        for number in numbers:
            group.start_soon(one, number)
    return sum(got)

@blueprint
async def groups():
    got = []

    async def one(number):
        got.append(await double(number))

    async with anyio.create_task_group() as group:
        for number in range(3):
            group.start_soon(one, number)
    await stepwell.sleep("1h")
    return [sum(got), await by_anyio([1, 2, 3])]

async def test_code_of_a_blueprint_may_use_anyio(kernel):
    handle = await kernel.start(groups)
    while (await handle.execution()).state != "waiting":
        await anyio.sleep(0)
    kernel.clock.advance("1h")
    assert await handle.result(timeout=30) == [6, 12]
"""


def check(folder: Path, code: str, backend: str, passed: int, *options: str) -> None:
    """Runs tests in a project of their own, with the plugins that are named and no others."""
    (folder / "test_project.py").write_text(PRELUDE + code)
    environment = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "STEPWELL_BACKEND": backend}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-W",
        "error",
        "-p",
        "no:cacheprovider",
        "--strict-markers",
    ]
    done = subprocess.run(
        [*command, "-p", "stepwell.testing.plugin", *options, str(folder)],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert f"{passed} passed in" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("mode", ["strict", "auto"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_pytest_asyncio(tmp_path: Path, backend: str, mode: str) -> None:
    code = ASYNCIO.format(markers=MARKERS[mode])
    options = ["-o", f"asyncio_mode={mode}", "-o", "asyncio_default_fixture_loop_scope=function"]
    check(tmp_path, code, backend, 6, "-p", "pytest_asyncio.plugin", *options)


@pytest.mark.parametrize("backend", BACKENDS)
def test_anyio(tmp_path: Path, backend: str) -> None:
    code = f"KINDS = {LOOPS}\n{ANYIO}"
    check(tmp_path, code, backend, 4 * len(LOOPS), "-p", "anyio.pytest_plugin")
