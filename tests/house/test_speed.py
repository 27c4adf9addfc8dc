"""The kernel stays fast: a short edition of `make bench`, gated by ratios within one run, with room for noise."""

import subprocess
import sys

import pytest

from backends import BACKENDS
from house.tree import ROOT

QUICK = ROOT / "benches" / "quick.py"  # the gates are in benches/targets.py
RUNS = 3
MISSED = 3


def test_each_backend_keeps_its_ratios_to_a_hand_written_version(capsys: pytest.CaptureFixture[str]) -> None:
    # In a process of its own: this one is full of objects that a collector would walk. And a busy machine makes a run
    # slower, never faster: one that is fast enough is the answer.
    command = [sys.executable, str(QUICK), *BACKENDS]
    for _ in range(RUNS):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode in (0, MISSED), done.stderr
        with capsys.disabled():
            print(f"\n{done.stdout}")
        if done.returncode == 0:
            return
    pytest.fail(f"a gate of {QUICK.name} was missed in each of {RUNS} runs")
