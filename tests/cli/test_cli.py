"""The command: what it prints, how it ends, and that nothing that was recorded can play with the terminal."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from stepwell.cli.text import safe, size_of_time

PROGRAM = """
import asyncio, os
from stepwell import blueprint, step

@step
def shout(text):
    return text.upper()

@blueprint(version="1")
async def greet(name="you", *, loud=False):
    return {"greeting": await shout("hello " + name), "name": name}

@blueprint
async def fails():
    raise LookupError("no \\x1b[31msuch\\u202e thing")

@blueprint
async def changes():
    await shout(os.environ.get("WORD", "a"))
    if os.environ.get("WAIT"):
        os._exit(9)
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    file = tmp_path / "program.py"
    file.write_text(textwrap.dedent(PROGRAM))
    return file


@pytest.fixture
def store(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/made/runs.db"


def stepwell(*arguments: object, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "stepwell", *map(str, arguments)]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("STEPWELL_")}
    kept = {name: os.environ[name] for name in ("STEPWELL_BACKEND",) if name in os.environ}
    done = subprocess.run(
        command, capture_output=True, text=True, env=clean | kept | environment, timeout=60, check=False
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr or code == 1
    return done


def answer(done: subprocess.CompletedProcess[str]) -> Any:
    return json.loads(done.stdout)


def test_run_list_show(program: Path, store: str) -> None:
    where = ("--store", store, "--tenant", "acme")
    done = stepwell("run", f"{program}:greet", '"you\\u202e"', *where, "--key", "k")
    assert "HELLO YOU" in done.stdout
    assert "slowest steps of 1" in done.stdout
    assert "\\u202e" in done.stdout
    assert "\u202e" not in done.stdout
    first = answer(stepwell("run", f"{program}:greet", '"you\\u202e"', *where, "--key", "k", "--json"))
    assert first["output"] == {"greeting": "HELLO YOU\u202e", "name": "you\u202e"}
    assert [(step["name"], step["place"], step["state"]) for step in first["steps"]] == [
        ("shout", "0", "completed")
    ]
    (row,) = answer(stepwell("list", *where, "--json"))
    assert (row["id"], row["state"], row["key"], row["blueprint"]) == (
        first["id"],
        "completed",
        "k",
        "program.greet",
    )
    assert first["id"] in stepwell("list", *where).stdout
    assert answer(stepwell("list", *where, "--state", "failed", "--json")) == []
    shown = answer(stepwell("show", row["id"], *where, "--json"))
    # `duration_ms` of a step that has ended stands still: all of it is the record.
    assert shown == first
    assert "completed" in stepwell("show", row["id"], *where).stdout
    assert (Path(store.removeprefix("sqlite:///")).stat().st_mode & 0o777) == 0o600


def test_the_tenant_is_explicit(program: Path, store: str) -> None:
    assert "--tenant" in stepwell("list", "--store", store, code=2).stderr
    assert "--store" in stepwell("list", "--tenant", "acme", code=2).stderr
    known = answer(
        stepwell("run", f"{program}:greet", "--json", STEPWELL_STORE=store, STEPWELL_TENANT="acme")
    )["id"]
    assert answer(stepwell("list", "--store", store, "--tenant", "other", "--json")) == []
    foreign = stepwell("show", known, "--store", store, "--tenant", "other", code=3).stderr
    absent = stepwell("show", known[:-1] + "z", "--store", store, "--tenant", "other", code=3).stderr
    assert foreign.replace(known, "…") == absent.replace(known[:-1] + "z", "…")


def test_a_failure_is_shown_and_told_by_the_exit_code(program: Path, store: str) -> None:
    done = stepwell("run", f"{program}:fails", "--store", store, "--tenant", "acme", code=1)
    assert "LookupError" in done.stdout
    for text in (done.stdout, done.stderr):
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert "\\x1b[31msuch\\u202e" in text


def test_resume_after_a_death_and_after_a_difference(program: Path, store: str) -> None:
    where = ("--store", store, "--tenant", "acme")
    stepwell("run", f"{program}:changes", *where, "--key", "k", code=9, WAIT="1")
    different = stepwell("run", f"{program}:changes", *where, "--key", "k", code=5, WORD="b")
    assert "argument 0" in different.stderr
    assert f"{program}:19" in different.stderr
    (row,) = answer(stepwell("list", *where, "--json"))
    assert row["state"] == "paused"
    stepwell("resume", f"{program}:changes", row["id"], *where)
    assert answer(stepwell("show", row["id"], *where, "--json"))["state"] == "completed"
    assert "nothing is unfinished" in stepwell("resume", program, *where).stderr
    assert "ended" in stepwell("resume", program, row["id"], *where, code=2).stderr


def test_resume_without_ids_takes_all(program: Path, store: str) -> None:
    where = ("--store", store, "--tenant", "acme")
    for key in "abc":
        stepwell("run", f"{program}:changes", *where, "--key", key, code=9, WAIT="1")
    stepwell("resume", program, *where)
    assert {row["state"] for row in answer(stepwell("list", *where, "--json"))} == {"completed"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["program.py"], "several blueprints"),
        (["program.py:shout"], "no blueprint shout"),
        (["absent.py"], "no file"),
        (["absent_module"], "no module absent_module"),
        (["program.py:greet", "not json"], "not JSON"),
        (["program.py:greet", "1", "2"], "cannot be called"),
    ],
)
def test_wrong_usage(program: Path, store: str, arguments: list[str], words: str) -> None:
    first = str(program.parent / arguments[0]) if ".py" in arguments[0] else arguments[0]
    done = stepwell("run", first, *arguments[1:], "--store", store, "--tenant", "acme", code=2)
    assert words in done.stderr


@pytest.mark.parametrize("store", ["sqlite:///", "postgres://x", "memory:"])
def test_a_store_that_cannot_be(program: Path, store: str) -> None:
    stepwell("list", "--store", store, "--tenant", "acme", code=2)


def test_a_file_that_is_no_store(program: Path) -> None:
    done = stepwell("list", "--store", f"sqlite:///{program}", "--tenant", "acme", code=4)
    assert "not a stepwell store" in done.stderr


def test_a_missing_extra_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'typer'\", name='typer')\n"
    )
    done = stepwell("list", code=2, PYTHONPATH=f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    assert "pip install stepwell[cli]" in done.stderr


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("é 日本 💣", "é 日本 💣"),
        ("\x1b[2J\x07\0\x7f", "\\x1b[2J\\x07\\x00\\x7f"),
        ("a\u202eb\u2066c\u200f", "a\\u202eb\\u2066c\\u200f"),
        ("a\nb\tc\r", "a\\nb\\tc\\r"),
        ("\x9b31m\u2028\ud800\U000e0041", "\\x9b31m\\u2028\\ud800\\U000e0041"),
        ("x" * 300, "x" * 199 + "…"),
        (None, "None"),
    ],
)
def test_what_comes_from_outside_is_written_out(text: object, shown: str) -> None:
    assert safe(text) == shown


def test_times_are_readable() -> None:
    assert [size_of_time(ms) for ms in (0.25, 12.3, 4_500, 300_000)] == [
        "250 µs",
        "12.3 ms",
        "4.50 s",
        "5.0 min",
    ]


def test_what_is_paused_ends_the_command(program: Path, store: str) -> None:
    where = ("--store", store, "--tenant", "acme")
    program.write_text(
        program.read_text()
        + "\n@blueprint\nasync def waits():\n    os._exit(9) if os.environ.get('WAIT') else None\n"
    )
    stepwell("run", f"{program}:waits", *where, "--key", "k", code=9, WAIT="1")
    (row,) = answer(stepwell("list", *where, "--json"))
    stepwell("pause", row["id"], *where, "--reason", "not now")
    assert "not now" in stepwell("run", f"{program}:waits", *where, "--key", "k", code=5).stderr
    stepwell("resume", program, *where)


def test_one_that_waits_keeps_no_other_from_being_resumed(program: Path, store: str) -> None:
    where = ("--store", store, "--tenant", "acme")
    program.write_text(
        textwrap.dedent("""
        import os, stepwell
        from stepwell import blueprint, step

        @step
        async def look():
            if os.environ.get("WAIT"):
                os._exit(9)

        @blueprint
        async def waits():
            await look()
            await stepwell.wait_for("go", timeout="30s")

        @blueprint
        async def second():
            await look()
            os._exit(7)
        """)
    )
    for name in ("waits", "second"):
        stepwell("run", f"{program}:{name}", *where, code=9, WAIT="1")
    stepwell("resume", program, *where, code=7)
