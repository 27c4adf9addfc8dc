"""`--codec`: what kernels with a codec of their own wrote is read, and what is said to them is written, by it."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from cli.runner import Command
from stepwell import Kernel
from stepwell.cli import loading

CODED = """
import stepwell
from stepwell import blueprint, step

class Turned:
    def encode(self, value):
        return {{"turned": value}}

    def decode(self, value, type):
        return value["turned"]

codec = Turned()
{constant}

@step
async def double(number):
    return 2 * number

@blueprint(name="coded.sums")
async def sums(number):
    assert number == 21
    found = await double(number)
    assert found == 42
    return [found, await {last}, await (await stepwell.callback("carrier")).result()]
"""


def write(path: Path, constant: str = "", last: str = 'stepwell.wait_for("word")') -> Path:
    path.write_text(CODED.format(constant=constant, last=last))
    return path


@pytest.fixture
def module(tmp_path: Path) -> Path:
    return write(tmp_path / "coded.py")


def left(command: Command, module: Path) -> str:
    """The id of an execution that waits, and whose values are recorded by the codec."""

    async def main() -> str:
        (found,) = loading.load(f"{module}:sums")
        codec = loading.codec(f"{module}:codec")
        async with Kernel(f"sqlite:///{command.path}", tenant="acme", codec=codec) as kernel:
            handle = await kernel.start(found, 21)
            while (await kernel.store.get(handle.id)).state != "waiting":
                await asyncio.sleep(0)
            return handle.id

    return asyncio.run(main())


def open_step(command: Command, id: str, name: str) -> Any:
    steps = command("show", id, "--json").json["steps"]
    return next((each["id"] for each in steps if each["name"] == name and each["state"] == "running"), None)


def test_check_reads_by_it(command: Command, module: Path) -> None:
    left(command, module)
    assert command("check", module, "--codec", f"{module}:codec", "--json").json == {
        "checked": 1,
        "broken": [],
    }
    write(module, last="double(1)")
    (broken,) = command("check", module, "--codec", f"{module}:codec", "--json", code=7).json["broken"]
    assert broken["place"] == "1"


def test_the_module_may_say_it(command: Command, module: Path) -> None:
    write(module, 'STEPWELL = {"codec": codec}')
    left(command, module)
    assert command("check", module, "--json").json == {"checked": 1, "broken": []}


def test_what_is_said_is_written_by_it(command: Command, module: Path) -> None:
    coded = ("--codec", f"{module}:codec")
    id = left(command, module)
    command("signal", id, "word", "[1]", *coded)

    async def on() -> None:
        (found,) = loading.load(f"{module}:sums")
        codec = loading.codec(f"{module}:codec")
        async with Kernel(
            f"sqlite:///{command.path}", tenant="acme", codec=codec, blueprints=[found]
        ) as kernel:
            await kernel.resume(id)
            while not any(
                one.name == "carrier" for one in (await (await kernel.get(id)).execution()).steps.values()
            ):
                await asyncio.sleep(0)

    asyncio.run(on())
    command("answer", open_step(command, id, "carrier"), '"there"', *coded)
    shown = command("resume", module, id, *coded, "--json").json
    assert shown["output"] == {"turned": [42, [1], "there"]}


def test_run_writes_by_it(command: Command, module: Path) -> None:
    write(module, last='stepwell.sleep("0s")').write_text(
        module.read_text().replace(', await (await stepwell.callback("carrier")).result()', "")
    )
    shown = command("run", f"{module}:sums", "21", "--codec", f"{module}:codec", "--json").json
    assert shown["output"] == {"turned": [42, None]}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("{module}", "--codec is module:name or file.py:name"),
        ("{module}:no name", "--codec is module:name or file.py:name"),
        ("{module}:nothing", "nothing in {module} is no codec"),
        ("{module}:Turned", "Turned in {module} is no codec"),
        ("{module}:sums", "sums in {module} is no codec"),
        ("no_such_module:codec", "there is no module no_such_module"),
    ],
)
def test_what_is_no_codec_is_refused(command: Command, module: Path, given: str, says: str) -> None:
    left(command, module)
    done = command("check", module, "--codec", given.format(module=module), code=2)
    assert says.format(module=module) in done.err


def test_a_constant_that_is_no_codec_is_refused(command: Command, module: Path) -> None:
    left(command, module)
    write(module, 'STEPWELL = {"codec": "coded:codec"}')
    assert "codec in STEPWELL is no codec" in command("check", module, code=2).err
