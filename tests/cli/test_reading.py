"""The commands that show what is recorded: what they print, and that they only read."""

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from cli.runner import Command
from stepwell import Execution, ParentLink
from store.made import make, save
from store.processes import in_sqlite, run_python
from waiting import until

READERS = [
    ["list"],
    ["list", "--count"],
    ["show", "ID"],
    ["steps", "ID"],
    ["journal", "ID"],
    ["journal", "ID", "--raw"],
    ["purge", "--older-than", "0s", "--dry-run"],
    ["doctor"],
]
HOSTILE = "\x1b[2J\x07\u202eevil\u2066\x9b31m\x7f"


def about(verb: list[str], id: str) -> list[str]:
    return [id if each == "ID" else each for each in verb]


@pytest.fixture
def known(writing: Any) -> list[Execution]:
    with writing() as store:
        return [
            make(store, key="k", text="é💣"),
            make(store, end="fail", blueprint="m.g"),
            make(store, end=None, owner="somebody"),
        ]


def test_list_filters_and_pages(command: Command, known: list[Execution]) -> None:
    rows = command("list", "--json").json
    assert [row["id"] for row in rows] == [each.id for each in reversed(known)]
    assert rows[2]["key"] == "k"
    assert rows[0]["owner"] == "somebody"
    assert [row["id"] for row in command("list", "--state", "failed", "--json").json] == [known[1].id]
    assert [row["id"] for row in command("list", "--blueprint", "m.f", "--json").json] == [
        known[2].id,
        known[0].id,
    ]
    page = command("list", "--limit", 2)
    assert f"--after {known[1].id}" in page.err
    rest = command("list", "--after", known[1].id, "--json").json
    assert [row["id"] for row in rest] == [known[0].id]
    assert command("list", "--count", "--json").json == {"completed": 1, "failed": 1, "running": 1}
    assert command("list", "--count", "--blueprint", "m.f", "--json").json == {"completed": 1, "running": 1}
    assert command("list", "--count", "--state", "failed", "--json").json == {"failed": 1}
    assert "3 in all" in command("list", "--count").out
    assert "--state" in command("list", "--state", "odd", code=2).err


def test_list_of_children(command: Command, writing: Any) -> None:
    with writing() as store:
        parent = make(store)
        link = ParentLink("execution", parent.id)
        children = []
        for end in (True, False, True):
            child = Execution(tenant="acme", blueprint="m.child", parent=link)
            child.start()
            if end:
                child.complete()
            save(store, child)
            children.append(child.id)
    found = command("list", "--parent", parent.id, "--json").json
    assert [row["id"] for row in found] == children[::-1]
    assert {row["parent"] for row in found} == {parent.id}
    chosen = command("list", "--parent", parent.id, "--state", "completed", "--limit", 1, "--json").json
    assert [row["id"] for row in chosen] == [children[2]]
    assert command("list", "--parent", parent.id, "--blueprint", "odd", "--json").json == []
    assert command("list", "--parent", parent.id, "--count", "--json").json == {"completed": 2, "running": 1}


def test_steps(command: Command, known: list[Execution]) -> None:
    found = command("steps", known[0].id, "--json").json
    assert [step["name"] for step in found] == ["step0é💣", "step1é💣"]
    assert found[0]["output"] == {"got": "é💣"}
    assert {step["state"] for step in found} == {"completed"}
    assert "step1é💣" in command("steps", known[0].id).out


def test_journal_is_the_record(command: Command, known: list[Execution], writing: Any) -> None:
    with writing() as store:
        records = store.load(known[0].id).wait(10)
    raw = command("journal", known[0].id, "--raw").raw
    assert raw == b"".join(record[3] + b"\n" for record in records)
    assert Execution.replay(known[0].id, raw, "v1").head == known[0].head
    shown = command("journal", known[0].id, "--json")
    assert shown.json == [json.loads(record[3]) for record in records]
    assert shown.raw.isascii()
    part = command("journal", known[0].id, "--after", 2, "--limit", 2, "--json").json
    assert [record["seq"] for record in part] == [3, 4]
    lines = command("journal", known[0].id).out.splitlines()
    assert len(lines) == len(records) + 1
    assert "step_started" in lines[3]
    assert command("journal", known[0].id, "--after", 99, "--json").json == []
    assert "choose one" in command("journal", known[0].id, "--raw", "--json", code=2).err


def test_numbers_come_out_as_they_are_stored(command: Command, writing: Any) -> None:
    with writing() as store:
        known = make(store, end=None)
        number = b'{"seq":99,"prev":"%s","at":1,"kind":"odd","n":1.10e+2}' % (b"0" * 32)
    in_sqlite(command.path, f"UPDATE journal SET body = CAST('{number.decode()}' AS BLOB) WHERE seq = 1")
    assert '"n":1.10e+2' in command("journal", known.id, "--json").out


def test_a_damaged_record_is_shown(command: Command, known: list[Execution]) -> None:
    in_sqlite(command.path, "UPDATE journal SET body = x'ff1b5b324a' WHERE seq = 1")
    found = command("journal", known[0].id, "--json").json
    assert found[1]["damaged"] == "/xtbMko="
    text = command("journal", known[0].id).out
    assert "\x1b" not in text
    assert "\\x1b[2J" in text
    assert "damaged" in command("show", known[0].id, code=4).err


@pytest.mark.parametrize("verb", READERS, ids=" ".join)
def test_nothing_recorded_plays_with_the_terminal(command: Command, writing: Any, verb: list[str]) -> None:
    with writing() as store:
        for end in ("fail", "cancel", "complete"):
            bad = Execution(tenant="acme", blueprint="m.f", key="k\u202e" + end, input={HOSTILE: HOSTILE})
            bad.start()
            step = bad.start_step("name\u202e\u2066", input=HOSTILE)
            bad.complete_step(step.id, output={HOSTILE: [HOSTILE]})
            if end == "fail":
                bad.fail(HOSTILE)
            elif end == "cancel":
                bad.cancel("reason\u202e")
            else:
                bad.complete(output={HOSTILE: HOSTILE})
            save(store, bad, owner="me" + HOSTILE)
            done = bad.id
    shown = command(*about(verb, done))
    if "--raw" in verb:
        assert "\u202e" in shown.out, "byte for byte, for programs"
        return
    for output in (shown.out, shown.err):
        assert not {*output} & {*HOSTILE.replace("evil", "").replace("[2J", "").replace("31m", "")}
    if "--raw" not in verb:
        exact = command(*about(verb, done), "--json").raw
        assert exact.isascii()
        assert not any(byte < 32 and byte != 10 for byte in exact)


@pytest.mark.parametrize("verb", READERS, ids=" ".join)
def test_readers_change_nothing(command: Command, known: list[Execution], verb: list[str]) -> None:
    before = command.path.read_bytes(), command.path.stat().st_mtime_ns
    command(*about(verb, known[0].id))
    assert (command.path.read_bytes(), command.path.stat().st_mtime_ns) == before
    for file in command.path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("is_empty", [False, True])
@pytest.mark.parametrize("verb", [*READERS, ["purge", "--older-than", "0s"]], ids=" ".join)
def test_a_slip_in_the_path_makes_no_store(
    command: Command, tmp_path: Path, verb: list[str], is_empty: bool
) -> None:
    wrong = tmp_path / "slip.db"
    if is_empty:
        wrong.touch(0o600)
    done = Command(wrong)(*about(verb, "exec_1"), code=7 if verb == ["doctor"] else 4)
    assert "check" in done.out + done.err
    assert [(file.name, file.stat().st_size) for file in tmp_path.iterdir()] == [("slip.db", 0)] * is_empty


WRITER = """
    import sys
    from stepwell.store import NewExecution, Projection
    from stepwell.store.sqlite import SqliteSource
    store = SqliteSource(sys.argv[1], backend=sys.argv[2]).open("acme")
    row = Projection("running", None, "0" * 32)
    new = NewExecution("exec_w", "m.f", None, None, None, None, None)
    store.create(new, b"c", [(0, 1, "created", b"{}")], row).wait()
    seq = 0
    while True:
        seq += 1
        store.append("exec_w", seq - 1, 1, b"%d" % seq, [(seq, seq, "kind", b"x" * 500)], row).wait()
        if seq % 10 == 0:
            with open(sys.argv[3], "a") as log:
                log.write("more\\n")
"""


def test_readers_work_while_another_process_writes(
    command: Command, known: list[Execution], kind: str, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    log.touch()
    writer = run_python(WRITER, command.path, kind, log)
    try:
        until(lambda: log.read_text().count("\n") > 3)
        for verb in READERS:
            before = log.read_text().count("\n")
            assert command(*about(verb, known[0].id)).out or verb[0] == "purge"
            until(lambda before=before: log.read_text().count("\n") > before + 1)
        assert writer.poll() is None, "no writer was locked out"
    finally:
        writer.kill()
        writer.communicate(timeout=30)


def test_an_id_that_is_no_text(command: Command, known: list[Execution]) -> None:
    odd = os.fsdecode(b"exec_\xff\x1b")
    for verb in (["show"], ["steps"], ["journal"]):
        done = command(*verb, odd, code=3)
        assert "\x1b" not in done.err
    for option in ("--blueprint", "--parent", "--after"):
        assert "no text" in command("list", option, odd, code=2).err


@pytest.mark.parametrize("url", ["memory", "sqlite:///:memory:", "runs.db", "postgres://x"])
def test_a_command_needs_a_file(command: Command, url: str) -> None:
    assert "sqlite:///" in command("list", "--store", url, code=2).err
