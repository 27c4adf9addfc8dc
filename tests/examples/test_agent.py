"""The agent, as a user runs it: killed and gone on with, approved while nobody runs it, and stopped by its budget."""

import random
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends import BACKENDS
from examples.processes import Example
from waiting import until

LOOKED_UP = "tool: looked up order 17"
GAVE_BACK = "tool: gave back 4200 cents for order 17"
ALL = [
    "model: look_up",
    LOOKED_UP,
    "model: refund",
    "approval needed: refund {'order': '17', 'cents': 4200}",
    GAVE_BACK,
    "model: write_to",
    "tool: wrote to Ada: You have it back.",
    "model: Told Ada: You have it back.",
]


@pytest.fixture(params=BACKENDS)
def agent(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Example]:
    example = Example("agent", tmp_path, request.param, AGENT_THINKING="0")
    yield example
    example.close()


def done(lines: list[str]) -> list[str]:
    """What was really done, without what is said about it."""
    return [
        line.partition("; say yes")[0] for line in lines if line.startswith(("model", "tool", "approval"))
    ]


def test_killed_while_it_waits_and_approved_while_nobody_runs_it(agent: Example) -> None:
    process = agent.start()
    agent.until_state("waiting", "approval")
    agent.kill(process)
    before = done(agent.lines())
    assert before == ALL[:4]
    assert len([line for line in agent.run("yes") if line.startswith("told exec_")]) == 1
    last = agent.run()
    assert done(last) == ALL[4:], "what is recorded was done again"
    assert last[-2] == "answer: Told Ada: You have it back."
    assert re.fullmatch(r"cost: 0\.00\d\d of 0\.05", last[-1])
    assert agent.run() == last[-2:], "it answers from the record"
    thoughts = [step for step in agent.execution().steps.values() if step.name == "think"]
    assert agent.execution().usage["cost"] == pytest.approx(
        sum(step.output["tokens"] for step in thoughts) * 0.00002
    )


def test_killed_again_and_again(agent: Example) -> None:
    """What is done twice is at most what was not recorded when it died."""
    chance = random.Random()
    lives, alive, told = 0, True, False
    while alive:
        known, before = {name for name, _ in agent.ended()}, len(agent.lines())
        enough = before + chance.randrange(1, 4)

        def is_time(enough: int = enough, told: bool = told) -> bool:
            return len(agent.lines()) >= enough or (not told and agent.is_in_state("waiting", "approval"))

        alive = agent.kill_when(is_time)
        if not told and agent.is_in_state("waiting", "approval"):
            agent.run("yes")
            told = True
        again = done(agent.lines()[before:])
        assert (LOOKED_UP in again) <= ("look_up" not in known)
        assert (GAVE_BACK in again) <= ("refund" not in known)
        lives += 1
    assert lives >= 3
    assert {*done(agent.lines())} == {*ALL}
    assert agent.execution().output == "Told Ada: You have it back."


def test_refused(agent: Example) -> None:
    process = agent.start()
    agent.until_state("waiting", "approval")
    agent.run("no")
    until(lambda: process.poll() is not None)
    assert agent.execution().output == "Told Ada: I have passed it on."
    assert GAVE_BACK not in agent.lines()


def test_the_budget(agent: Example) -> None:
    agent.environment["AGENT_BUDGET"] = "0.002"
    last = agent.run()
    assert done(last) == ALL[:2]
    assert last[-2] == "answer: Stopped: the budget is used up."
    usage = agent.execution().usage
    assert usage["cost"] <= 0.002
    assert agent.run() == last[-2:]
