"""A command that is given another tenant's id answers as for one that nobody has, and shows no byte of it."""

import json
from pathlib import Path
from typing import Any

import pytest

from cli.runner import Command
from store.made import make
from store.test_tenants import MARK, nobodys

VERBS = [
    ["show", "ID"],
    ["steps", "ID"],
    ["journal", "ID"],
    ["journal", "ID", "--raw"],
    ["verify", "ID"],
    ["export", "-", "ID"],
    ["list", "--parent", "ID"],
    ["list", "--parent", "ID", "--count"],
    ["list", "--after", "ID"],
    ["list", "--blueprint", f"{MARK}.f"],
    ["cancel", "ID"],
    ["pause", "ID"],
    ["signal", "ID", "go"],
    ["settle", "ID", "step_1", "--retry"],
]
WHOLE = [
    ["list"],
    ["list", "--count"],
    ["verify"],
    ["export", "-"],
    ["purge", "--older-than", "0s", "--dry-run"],
    ["purge", "--older-than", "0s"],
    ["doctor"],
]


@pytest.fixture
def foreign(writing: Any) -> str:
    with writing("other") as store:
        known = make(
            store, text=MARK, key=f"{MARK}-k", blueprint=f"{MARK}.f", owner=f"{MARK}-owner", end=None
        )
        make(store, text=MARK, blueprint=f"{MARK}.f")
    with writing("acme") as store:
        make(store)
    return known.id


def ask(command: Command, verb: list[str], id: str, *more: str) -> tuple[int, str, str]:
    """The answer without the id, whatever the exit code is."""
    for code in (3, 0):
        try:
            done = command(*[id if each == "ID" else each for each in verb], *more, code=code)
        except AssertionError:
            continue
        return done.code, done.out.replace(id, "…"), done.err.replace(id, "…")
    raise AssertionError(f"{verb} answered otherwise than found or not found")


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_an_id_of_another_tenant(command: Command, foreign: str, verb: list[str], form: str) -> None:
    more = ["--json"] if form == "json" and "--raw" not in verb else []
    theirs = ask(command, verb, foreign, *more)
    assert theirs == ask(command, verb, nobodys(foreign), *more)
    assert not any(MARK in text for text in theirs[1:] if f"{MARK}.f" not in verb)
    if verb[0] != "list":
        assert theirs[0] == 3
        assert theirs[1] == ""


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("verb", WHOLE, ids=" ".join)
def test_what_is_about_all_shows_nothing_of_others(
    command: Command, foreign: str, verb: list[str], form: str
) -> None:
    done = command(*verb, *(["--json"] if form == "json" else []))
    for text in (done.out, done.err):
        assert MARK not in text
        assert foreign not in text
    rows = command("list", "--json", tenant="other").json
    assert len(rows) == 2, "theirs is all there"


def test_export_has_nothing_of_others(command: Command, foreign: str, tmp_path: Path) -> None:
    target = tmp_path / "mine.jsonl"
    command("export", target)
    assert MARK not in target.read_text()
    assert foreign not in target.read_text()


def test_resume_of_another_tenants(command: Command, foreign: str, tmp_path: Path) -> None:
    program = tmp_path / "resumed.py"
    program.write_text("from stepwell import blueprint\n\n@blueprint\nasync def f():\n    return 1\n")
    verb = ["resume", f"{program}:f", "ID"]
    assert ask(command, verb, foreign) == ask(command, verb, nobodys(foreign))
    assert ask(command, verb, foreign)[0] == 3


def test_an_answer_to_another_tenants_step(command: Command, foreign: str) -> None:
    step = command("steps", foreign, "--json", tenant="other").json[0]["id"]
    absent = nobodys(step)
    assert ask(command, ["answer", "ID"], step) == ask(command, ["answer", "ID"], absent)
    assert ask(command, ["answer", "ID"], step)[0] == 3


def test_a_check_sees_nothing_of_others(command: Command, foreign: str, tmp_path: Path) -> None:
    program = tmp_path / "checked.py"
    program.write_text(
        f"from stepwell import blueprint\n\n@blueprint(name='{MARK}.f', version='v1')\nasync def f(): ...\n"
    )
    assert command("check", program, "--json").json == {"checked": 0, "broken": []}
    assert command("check", program, "--json", tenant="other", code=7).json["checked"] == 1


def test_every_command_is_tried(command: Command) -> None:
    from stepwell.cli.app import app

    names = {each.name or each.callback.__name__ for each in app.registered_commands if each.callback}
    tried = {verb[0] for verb in [*VERBS, *WHOLE]} | {"resume", "answer", "check"}
    # A run is asked for by its key, which is each tenant's own; import and backup are given no id.
    assert names - tried == {"run", "import", "backup"}


def test_a_key_is_each_tenants_own(command: Command, tmp_path: Path) -> None:
    program = tmp_path / "keyed.py"
    program.write_text("from stepwell import blueprint\n\n@blueprint\nasync def f():\n    return 1\n")
    ids = {
        json.loads(command("run", f"{program}:f", "--key", "k", "--json", tenant=tenant).out)["id"]
        for tenant in ("acme", "other", "acme")
    }
    assert len(ids) == 2
