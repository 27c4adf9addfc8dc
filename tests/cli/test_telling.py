"""`check`, and the commands that say something to an execution, on executions that a kernel has left."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from cli.runner import Command
from stepwell import Kernel
from stepwell.cli import loading

ORDERS = """
import stepwell
from stepwell import blocking, blueprint, callback, child, scope, step, wait_for

@step
async def reserve(item):
    return item

@step(effect="once")
async def charge(cents):
    {charging}
    return cents

async def asking(item):
    await reserve(item)
    return await wait_for("approval", timeout="24h")

@blueprint(name="orders.small")
async def small(item):
    await stepwell.sleep("5m")
    return item

@blueprint(name="orders.order")
async def order(item, ask=True):
    await {first}
    if ask:
        approved = await scope(asking, item)
        answer = await callback("carrier")
        return [approved, await answer.result()]
    return await charge(4200)

@blueprint(name="orders.parent")
async def parent():
    return await child(small, "x")

@blueprint(name="orders.blocking")
def waits():
    return blocking.wait_for("approval")
"""


@pytest.fixture
def module(tmp_path: Path) -> Path:
    return write(tmp_path / "orders.py")


def write(path: Path, first: str = "reserve(item)", charging: str = "pass") -> Path:
    path.write_text(ORDERS.format(first=first, charging=charging))
    return path


def left(command: Command, module: Path, name: str, *args: Any, until: str = "waiting") -> str:
    """The id of an execution that a kernel ran until it was in this state, and left."""

    async def main() -> str:
        (found,) = loading.load(f"{module}:{name}")
        async with Kernel(f"sqlite:///{command.path}", tenant="acme") as kernel:
            handle = await kernel.start(found, *args)
            while (row := await kernel.store.get(handle.id)).state != until or row.owner is None:
                await asyncio.sleep(0)
            return handle.id

    return asyncio.run(main())


def result(command: Command, module: Path, id: str, code: int = 0) -> Any:
    shown = command("resume", module, id, "--json", code=code)
    return shown.json["output"]


# --- check --------------------------------------------------------------------------------------------------------


def test_code_that_fits(command: Command, module: Path) -> None:
    ids = [left(command, module, name, *args) for name, args in (("order", ("a",)), ("waits", ()))]
    before = [command("journal", each, "--raw").out for each in ids]
    done = command("check", module)
    assert done.out == ""
    assert "2 checked, 0 cannot go on" in done.err
    assert command("check", module, "--json").json == {"checked": 2, "broken": []}
    assert command("check", f"{module}:small", "--json").json["checked"] == 0
    assert [command("journal", each, "--raw").out for each in ids] == before


def test_code_that_does_not(command: Command, module: Path) -> None:
    known = left(command, module, "order", "a")
    write(module, first="charge(1)")
    done = command("check", module, code=7)
    assert f"{known} of orders.order is waiting" in done.out
    assert "at place 0 the record has step 'reserve', and the code calls 'charge'" in done.out
    assert f"source    {module}:" in done.out
    assert 'recorded  reserve ["a"]' in done.out
    assert "called    charge [1]" in done.out
    assert "1 checked, 1 cannot go on" in done.err
    (broken,) = command("check", module, "--json", code=7).json["broken"]
    assert broken["id"] == known
    assert broken["place"] == "0"
    assert broken["problem"] == "DivergenceError"
    assert broken["recorded"] == {"name": "reserve", "input": ["a"]}
    assert broken["called"] == {"name": "charge", "input": [1]}
    assert command("show", known, "--json").json["state"] == "waiting", "it is as it was"


def test_the_ended_are_checked_when_asked(command: Command, module: Path) -> None:
    known = command("run", f"{module}:order", '"a"', "false", "--json").json["id"]
    write(module, first="stepwell.sleep(1)")
    assert command("check", module, "--json").json["checked"] == 0
    (broken,) = command("check", module, "--ended", "--json", code=7).json["broken"]
    assert (broken["id"], broken["state"]) == (known, "completed")


def test_a_version_that_is_not_accepted_and_a_damaged_record(command: Command, module: Path) -> None:
    known = left(command, module, "waits")
    module.write_text(module.read_text().replace('"orders.blocking"', '"orders.blocking", version="2"'))
    (broken,) = command("check", module, "--json", code=7).json["broken"]
    assert (broken["id"], broken["problem"], broken["place"]) == (known, "SchemaMismatch", None)
    assert "schema version" in command("check", module, code=7).out


def test_check_makes_no_store(command: Command, module: Path) -> None:
    assert "there is no store" in command("check", module, code=4).err
    assert not command.path.exists()


# --- saying something ---------------------------------------------------------------------------------------------


def test_signal_and_answer(command: Command, module: Path) -> None:
    known = left(command, module, "order", "a")
    assert command("signal", known, "approval", '{"by": "me"}', "--id", "s").out == ""
    assert command("signal", known, "approval", '{"by": "me"}', "--id", "s", "--json").json == {"done": True}
    assert "is not JSON" in command("signal", known, "approval", "{", code=2).err
    asyncio.run(attend(command, module, known))
    (callback,) = [each for each in command("steps", known, "--json").json if each["name"] == "carrier"]
    assert command("answer", callback["id"], "7", "--json").json == {"done": True}
    assert "too late" in command("answer", callback["id"], "8", code=8).err
    assert command("answer", callback["id"], "--error", "no", "--json", code=8).json == {"done": False}
    assert result(command, module, known) == [{"by": "me"}, 7]
    assert command("signal", known, "approval", code=8).err.startswith("stepwell: too late: it has ended")
    assert command("answer", "step_none", code=3).code == 3


async def attend(command: Command, module: Path, id: str) -> None:
    """A kernel goes on with an order until it waits for the carrier."""
    known = loading.load(str(module))
    async with Kernel(f"sqlite:///{command.path}", tenant="acme", blueprints=known) as kernel:
        handle = await kernel.get(id)
        while "carrier" not in {each.name for each in (await handle.execution()).steps.values()}:
            await asyncio.sleep(0)


def test_an_answer_that_is_a_failure(command: Command, module: Path) -> None:
    known = left(command, module, "order", "a")
    command("signal", known, "approval")
    asyncio.run(attend(command, module, known))
    (callback,) = [each for each in command("steps", known, "--json").json if each["name"] == "carrier"]
    command("answer", callback["id"], "--error", "lost at sea")
    assert "lost at sea" in command("resume", module, known, code=1).out


def test_cancel_and_pause(command: Command, module: Path) -> None:
    known = left(command, module, "waits")
    assert command("pause", known, "--reason", "lunch", "--json").json == {"done": True}
    shown = command("show", known, "--json").json
    assert (shown["state"], shown["reason"]) == ("paused", "lunch")
    assert command("cancel", known, "--reason", "not needed").code == 0
    shown = command("show", known, "--json").json
    assert (shown["state"], shown["reason"]) == ("cancelled", "not needed")
    assert command("cancel", known, code=8).code == 8
    assert command("pause", known, "--json", code=8).json == {"done": False}


@pytest.mark.parametrize("how", [["--output", "4200"], ["--retry"], ["--error", "it was not"]])
def test_settle(command: Command, module: Path, how: list[str]) -> None:
    write(module, charging="import asyncio; await asyncio.Event().wait()")
    known = in_doubt(command, module)
    write(module)
    (step,) = [each for each in command("steps", known, "--json").json if each["name"] == "charge"]
    assert "give one of" in command("settle", known, step["id"], code=2).err
    assert "give one of" in command("settle", known, step["id"], "--retry", *how, "--error", "x", code=2).err
    command("settle", known, step["id"], *how)
    assert command("settle", known, step["id"], *how, code=6).code == 6
    if how[0] == "--error":
        assert "it was not" in command("resume", module, known, code=1).out
    else:
        assert result(command, module, known) == 4200


def in_doubt(command: Command, module: Path) -> str:
    async def main() -> str:
        (found,) = loading.load(f"{module}:order")
        async with Kernel(f"sqlite:///{command.path}", tenant="acme") as kernel:
            handle = await kernel.start(found, "a", False, key="k")
            while not any(
                each.name == "charge" and each.state == "running"
                for each in (await handle.execution()).steps.values()
            ):
                await asyncio.sleep(0)
        async with Kernel(f"sqlite:///{command.path}", tenant="acme") as kernel:
            handle = await kernel.start(found, "a", False, key="k")
            while (await kernel.store.get(handle.id)).state != "paused":
                await asyncio.sleep(0)
            return handle.id

    return asyncio.run(main())


# --- what is shown ------------------------------------------------------------------------------------------------


def test_steps_are_a_tree_and_say_what_they_wait_for(command: Command, module: Path) -> None:
    known = left(command, module, "order", "a")
    lines = command("steps", known).out.splitlines()
    names = [line[line.index("step_") :].split("  ") for line in lines[1:]]
    assert [[part for part in each if part][2].strip() for each in names] == [
        "reserve",
        "asking",
        "reserve",
        "approval",
    ]
    indented = [line for line in lines if "    reserve" in line or "    approval" in line]
    assert len(indented) == 2
    assert "the signal, until 20" in lines[-1]
    assert "waits for  approval: the signal, until 20" in command("show", known).out
    (wait,) = [each for each in command("steps", known, "--json").json if each["waits_for"]]
    assert wait["name"] == "approval"


def test_times_children_and_callbacks(command: Command, module: Path) -> None:
    parent = left(command, module, "parent")
    (child,) = command("list", "--blueprint", "orders.small", "--json").json
    assert f"orders.small: execution {child['id']}" in command("show", parent).out
    assert "sleep: the time 20" in command("show", child["id"]).out
    known = left(command, module, "order", "a")
    command("signal", known, "approval")
    asyncio.run(attend(command, module, known))
    (wait,) = [each for each in command("steps", known, "--json").json if each["waits_for"]]
    assert wait["waits_for"] == f"an answer to {wait['id']}"
