"""The commands that keep a store: what they do, print, and end with."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cli.runner import Command
from cli.test_reading import HOSTILE
from stepwell import Execution
from stepwell.cli import progress
from stepwell.cli.command import EXIT_CODES
from store.made import make, save
from store.processes import in_sqlite, run_python

BAD = {*HOSTILE.replace("evil", "").replace("[2J", "").replace("31m", "")}


@pytest.fixture
def known(writing: Any) -> list[Execution]:
    with writing() as store:
        return [make(store, text="one"), make(store, end="fail"), make(store, end=None)]


def ids(command: Command) -> list[str]:
    return [row["id"] for row in command("list", "--json").json]


# --- purge --------------------------------------------------------------------------------------------------------


def test_purge(command: Command, known: list[Execution]) -> None:
    everything = ids(command)
    would = command("purge", "--older-than", "0s", "--dry-run", "--json").json
    assert would["executions"] == 2
    assert would["states"] == {"completed": 1, "failed": 1, "cancelled": 0}
    assert would["dry_run"] is True
    assert ids(command) == everything
    assert command("purge", "--older-than", "30d", "--json").json["executions"] == 0
    assert "1 executions" in command("purge", "--older-than", "0s", "--state", "failed", "--dry-run").out
    done = command("purge", "--older-than", "0s", "--json").json
    assert done == would | {"dry_run": False}
    assert ids(command) == [known[2].id]
    command("show", known[0].id, code=3)


@pytest.mark.parametrize(
    "wrong",
    [["--older-than", "soon"], ["--older-than", "-1s"], ["--older-than", "1d", "--state", "running"], []],
)
def test_purge_with_what_cannot_be(command: Command, known: list[Execution], wrong: list[str]) -> None:
    command("purge", *wrong, code=2)
    assert len(ids(command)) == 3


def test_progress_is_told_aside(
    command: Command, known: list[Execution], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_LINE_EVERY_S", -1.0)
    done = command("purge", "--older-than", "0s", "--dry-run")
    assert "would purge 2 executions" in done.err
    assert "stepwell:" not in done.out
    assert command("purge", "--older-than", "0s", "--dry-run", "--json").err == ""


def test_interrupted_the_next_purge_goes_on(command: Command, writing: Any, kind: str) -> None:
    with writing() as store:
        for _ in range(5):
            make(store)
    code = """
        import os, signal, sys
        from stepwell.cli import main, progress
        def called(self, executions, records):
            if records >= 6:
                os.kill(os.getpid(), signal.SIGINT)
        progress.Counting.__call__ = called
        where = ["--store", "sqlite:///" + sys.argv[1], "--tenant", "acme"]
        sys.argv = ["stepwell", "purge", "--older-than", "0s", *where]
        main()
    """
    process = run_python(code, command.path)
    process.communicate(timeout=30)
    assert process.returncode == 130
    assert ids(command) == []
    assert command("doctor", "--json").json["doomed"] in range(6)
    command("purge", "--older-than", "0s")
    assert command("doctor", "--json").json["doomed"] == 0


# --- verify -------------------------------------------------------------------------------------------------------


def test_verify(command: Command, known: list[Execution]) -> None:
    found = command("verify", "--json").json
    assert found["executions"] == 3
    assert found["findings"] == []
    assert "nothing is wrong" in command("verify", known[0].id).out
    in_sqlite(command.path, "UPDATE journal SET body = CAST(body || ' ' AS BLOB) WHERE seq = 2")
    bad = command("verify", "--json", code=7).json
    assert {each["execution"] for each in bad["findings"]} >= {each.id for each in known}
    assert known[1].id in command("verify", known[1].id, code=7).out
    command("verify", "exec_absent", code=3)


def test_verify_of_a_hostile_store_plays_with_no_terminal(command: Command, writing: Any) -> None:
    with writing() as store:
        make(store)
    code = "UPDATE journal SET kind = 'k' || char(27, 0x202e), body = CAST('{\"' || char(0x202e) AS BLOB)"
    in_sqlite(command.path, code)
    shown = command("verify", code=7)
    assert not {*shown.out, *shown.err} & BAD


# --- export, import, backup ---------------------------------------------------------------------------------------


def test_export_and_import(command: Command, known: list[Execution], tmp_path: Path) -> None:
    target = tmp_path / "all.jsonl"
    done = command("export", target, "--json").json
    assert (done["executions"], done["skipped"], done["cut"]) == (3, 0, None)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert not (tmp_path / "all.jsonl.part").exists()
    assert "already" in command("export", target, code=2).err
    elsewhere = Command(tmp_path / "made" / "other.db")
    assert "imported 3 executions" in elsewhere("import", target).out
    assert elsewhere("list", "--json").json == command("list", "--json").json
    for each in known:
        assert elsewhere("journal", each.id, "--raw").raw == command("journal", each.id, "--raw").raw
    again = elsewhere("import", target, "--json").json
    assert (again["executions"], again["skipped"]) == (0, 3)


def test_export_of_some_through_a_pipe(command: Command, known: list[Execution], tmp_path: Path) -> None:
    piped = command("export", "-", known[1].id, "--json")
    assert json.loads(piped.err)["executions"] == 1
    assert all(json.loads(line) for line in piped.raw.splitlines())
    elsewhere = Command(tmp_path / "other.db")
    assert elsewhere("import", "-", "--json", given=piped.raw).json["executions"] == 1
    assert ids(elsewhere) == [known[1].id]
    torn = piped.raw[: len(piped.raw) - 20]
    assert Command(tmp_path / "third.db")("import", "-", "--json", given=torn).json["cut"] is not None


def test_an_export_that_fails_leaves_no_file(
    command: Command, known: list[Execution], tmp_path: Path
) -> None:
    before = {*tmp_path.iterdir()}
    command("export", tmp_path / "x.jsonl", "exec_absent", code=3)
    assert {file.name for file in {*tmp_path.iterdir()} - before} <= {"runs.db-shm", "runs.db-wal"}
    command("export", tmp_path / "absent" / "x.jsonl", code=2)
    command("import", tmp_path / "absent.jsonl", code=2)


def test_a_hostile_import_plays_with_no_terminal(command: Command, tmp_path: Path) -> None:
    lines = ('{"\u202e\\u001b":1}\n' + HOSTILE + "\n").encode() * 2
    shown = Command(tmp_path / "new.db")("import", "-", given=lines, code=4)
    assert not {*shown.out, *shown.err} & BAD


def test_backup(command: Command, known: list[Execution], tmp_path: Path) -> None:
    target = tmp_path / "copy.db"
    done = command("backup", target, "--json").json
    assert done == {"target": str(target.resolve()), "bytes": target.stat().st_size}
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert Command(target)("list", "--json").json == command("list", "--json").json
    command("backup", target, code=2)
    assert str(done["bytes"] // 1000) in command("backup", tmp_path / "again.db").out.replace(",", "")


# --- doctor -------------------------------------------------------------------------------------------------------


def test_doctor(command: Command, known: list[Execution], kind: str) -> None:
    found = command("doctor", "--json").json
    assert found["findings"] == []
    assert found["backend"] == kind
    assert found["states"] == {"completed": 1, "failed": 1, "running": 1}
    assert "nothing is wrong" in command("doctor").out
    command.path.chmod(0o644)
    shown = command("doctor", code=7)
    assert "found: others than its owner" in shown.out
    assert command("doctor", "--json", "--no-integrity", code=7).json.get("integrity") is None


def test_doctor_of_what_is_no_store(command: Command) -> None:
    command.path.write_bytes(b"something else\x1b[2J" * 300)
    found = command("doctor", "--json", code=7).json
    assert found["error"] == "StoreCorrupt"
    shown = command("doctor", code=7)
    assert not {*shown.out, *shown.err} & BAD
    gone = Command(command.path.with_name("absent\u202e.db"))("doctor", code=7)
    assert "there is no file" in gone.out
    assert not {*gone.out, *gone.err} & BAD


# --- all of them --------------------------------------------------------------------------------------------------


def test_every_exit_code_is_documented(command: Command) -> None:
    page = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| ") and line[2].isdigit()]
    assert rows == [f"| {code} | {meaning} |" for code, meaning in EXIT_CODES.items()]


def test_every_command_is_documented(command: Command) -> None:
    from stepwell.cli.app import app

    page = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
    names = {each.name or each.callback.__name__ for each in app.registered_commands if each.callback}
    assert names == {
        "run", "resume", "list", "show", "steps", "journal", "verify", "export", "import", "backup", "purge", "doctor",
        "check", "cancel", "pause", "signal", "answer", "settle",
    }  # fmt: skip
    assert {name for name in names if f"| `{name}" not in page} == set()
    for name in names:
        assert "--json" in command(name, "--help").out


def test_an_output_that_nobody_reads_on_is_no_error(command: Command, writing: Any, kind: str) -> None:
    with writing() as store:
        known = make(store, steps=400, text="x" * 500)
    line = f"stepwell journal {known.id} --raw | head -c 100; echo ${{PIPESTATUS[0]}}"
    line = line.replace("stepwell", f"'{sys.executable}' -W error -m stepwell", 1)
    environment = os.environ | {
        "STEPWELL_STORE": f"sqlite:///{command.path}", "STEPWELL_TENANT": "acme", "STEPWELL_BACKEND": kind,
    }  # fmt: skip
    done = subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, env=environment, timeout=60, check=True
    )
    assert done.stderr == ""
    assert done.stdout[100:].strip() in ("0", "1")


def test_a_hostile_name_in_a_purge(command: Command, writing: Any) -> None:
    with writing() as store:
        odd = Execution(tenant="acme", blueprint="m\u202e", key="\u202e")
        odd.start()
        odd.complete()
        save(store, odd)
    shown = command("purge", "--older-than", "0s")
    assert "1 executions" in shown.out
    assert not {*shown.out, *shown.err} & BAD
