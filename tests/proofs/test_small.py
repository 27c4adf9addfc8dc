"""The small editions of the proofs; `make prove-…` runs the full ones."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from backends import BACKENDS

SMALL = {
    "kills": ("--count", 120),
    "zombies": ("--count", 20),
    "processes": ("--seconds", 2),
    "interrupts": ("--count", 100),
    "full": ("--count", 12),
    "power": ("--count", 300),
    "failures": ("--count", 2),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", SMALL)
def test_proof(name: str, backend: str, tmp_path: Path) -> None:
    # In a process of its own: it forks, and it has one backend.
    option, size = SMALL[name]
    command = [sys.executable, "-W", "error", "-m", f"proofs.{name}", option, str(size)]
    environment = {**os.environ, "STEPWELL_BACKEND": backend, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [*command, "--backend", backend, "--folder", str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
