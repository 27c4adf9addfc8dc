"""The proofs find what they look for: an account with something wrong in it is found wrong."""

from pathlib import Path

import pytest

from proofs.command import Violation, check
from proofs.kills import STEPS, Account
from proofs.locks import keeps_others_out
from store.processes import run_python

ALL = [line for number in range(STEPS) for line in (f"ran 0-0 {number} n{number}", f"done 0-0 {number}")]


def heard(*lines: str) -> list[str]:
    account = Account()
    for line in lines:
        account.hear(line)
    return account.wrong


def test_a_life_without_fault() -> None:
    assert heard("loaded 0-0 0", *ALL, "ended 0-0", "loaded 0-1 0") == []
    assert heard("loaded 0-0 0", "ran 0-0 0 a", "loaded 0-0 0", "ran 0-0 0 b", "done 0-0 0") == []
    assert heard("loaded 0-0 0", "ran 0-0 0 a", "loaded 0-0 1", "ran 0-0 1 b") == []


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["done 0-0 0", "loaded 0-0 0"], "1 steps were acknowledged, 0 were found"),
        (["done 0-0 0", "ran 0-0 0 b"], "ran again after it was acknowledged"),
        (["loaded 0-0 3", "ran 0-0 2 b"], "ran again after it was acknowledged"),
        (["loaded 0-0 0", *ALL[:-2], "ended 0-0"], f"ended with {STEPS - 1} steps"),
        (["! StoreBusy: it was held"], "StoreBusy"),
    ],
)
def test_what_is_wrong_is_found(lines: list[str], words: str) -> None:
    [wrong] = heard(*lines)
    assert words in wrong


def test_what_is_wrong_is_told() -> None:
    assert check([], {"kills": 1}) == {"kills": 1, "violations": 0}
    with pytest.raises(Violation, match=r"step 3 is lost\nkills 1, violations 1"):
        check(["step 3 is lost"], {"kills": 1})


@pytest.mark.parametrize("mode", ["WAL", "TRUNCATE"])
def test_who_holds_the_lock_is_seen(mode: str, tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    code = """
        import sqlite3, sys
        db = sqlite3.connect(sys.argv[1], isolation_level=None)
        db.execute(sys.argv[2])
        db.execute("CREATE TABLE t (a)")
        print("idle", flush=True)
        sys.stdin.readline()
        db.execute("BEGIN IMMEDIATE")
        print("held", flush=True)
        sys.stdin.readline()
    """
    holder = run_python(code, path, f"PRAGMA journal_mode = {mode}")
    assert holder.stdin is not None
    assert holder.stdout is not None
    assert holder.stdout.readline() == "idle\n"
    assert not keeps_others_out(holder.pid, path)
    holder.stdin.write("go\n")
    holder.stdin.flush()
    assert holder.stdout.readline() == "held\n"
    assert keeps_others_out(holder.pid, path)
    holder.communicate("go\n", timeout=30)
