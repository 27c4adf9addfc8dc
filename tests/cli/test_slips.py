"""Targets and arguments that are none: one line and exit code, no traceback."""

from pathlib import Path

import pytest

from cli.runner import Command


@pytest.mark.parametrize("target", ["", ":", ".", "..x", ":name"])
@pytest.mark.parametrize("command", ["run", "resume", "check"])
def test_a_target_that_names_nothing(target: str, command: str, tmp_path: Path) -> None:
    assert "expected a module" in Command(tmp_path / "runs.db")(command, target, code=2).err


def test_an_argument_that_is_nested_too_deeply(tmp_path: Path) -> None:
    script = tmp_path / "slips.py"
    script.write_text("from stepwell import blueprint\n@blueprint\nasync def main(x):\n    return x\n")
    found = Command(tmp_path / "runs.db")("run", script, "[" * 100_000, code=2)
    assert "nested too deeply" in found.err
