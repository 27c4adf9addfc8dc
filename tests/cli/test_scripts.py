"""What a script began, by `python FILE` or `python -m`, is what the command finds with that file or module."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import stepwell
from cli.runner import Command

SCRIPT = """
import asyncio
import stepwell
from stepwell import Kernel, blueprint, step


@step
async def first(x):
    return x


@blueprint(version="1")
async def main(x):
    await first(x)
    return await stepwell.wait_for("go")


async def begin():
    async with Kernel("sqlite:///runs.db", tenant="acme") as kernel:
        handle = await kernel.start(main, 4, key="monday")
        while (await handle.execution()).state != "waiting":
            await asyncio.sleep(0)


if __name__ == "__main__":
    asyncio.run(begin())
"""


@pytest.mark.parametrize("how", [["weekly.py"], ["-m", "weekly"]])
def test_the_command_knows_what_a_script_began(
    how: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "weekly.py"
    script.write_text(SCRIPT)
    package = str(Path(stepwell.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([package, str(tmp_path)])}
    subprocess.run([sys.executable, *how], cwd=tmp_path, env=environment, check=True, timeout=60)
    monkeypatch.delitem(sys.modules, "weekly", raising=False)
    command = Command(tmp_path / "runs.db")
    (row,) = command("list", "--json").json
    assert row["blueprint"] == "weekly.main"
    assert command("check", script, "--json").json["checked"] == 1
    script.write_text(SCRIPT.replace("await first(x)", "await first(x + 1)"))
    found = command("check", script, "--json", code=7).json
    assert [each["id"] for each in found["broken"]] == [row["id"]]
    monkeypatch.delitem(sys.modules, "weekly", raising=False)
