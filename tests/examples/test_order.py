"""The order, as a user runs it: whatever is killed when, the money is taken once, and goes back with a failure."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends import BACKENDS
from examples.processes import Example

RESERVED = "reserved the goods of A-1"
TOOK = "took 4200 cents for A-1"
GAVE_BACK = "gave back 4200 cents for A-1"
PUT_BACK = "put back the goods of A-1"
TOO_LATE = "A-1 came to nothing: wait_timeout"
CANCELLED = "A-1 came to nothing: cancelled"
ON_ITS_WAY = "A-1 is on its way: {'receipt': 'receipt 0', 'courier': 'bicycle'}"


@pytest.fixture(params=BACKENDS)
def order(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Example]:
    bank = str(tmp_path / "bank.jsonl")
    example = Example("order", tmp_path, request.param, ORDER_BANK=bank)
    yield example
    example.close()


def moved(order: Example) -> list[int]:
    """The money that the bank has moved for order A-1, in order."""
    return [json.loads(line)["cents"] for line in (order.folder / "bank.jsonl").read_text().splitlines()]


def kill_in(order: Example, step: str, line: str, *arguments: str) -> None:
    """Starts a process and kills it when this step has done its work outside, and nobody knows."""
    order.environment["ORDER_NO_ANSWER"] = step
    assert order.kill_when(lambda: line in order.lines(), *arguments)
    del order.environment["ORDER_NO_ANSWER"]


def test_it_is_delivered_whatever_is_killed(order: Example) -> None:
    kill_in(order, "charge", TOOK)
    assert order.kill_when(lambda: order.lines().count(TOOK) == 2), "it asked the bank again"
    assert order.kill_when(lambda: order.is_in_state("waiting", "external"))
    assert order.run("A-1", "picked-up") == ["A-1 was told: picked-up"]
    assert order.run("A-1", "picked-up") == ["A-1 was told: picked-up"], "the same courier"
    assert order.run()[-1] == ON_ITS_WAY
    assert moved(order) == [4200], "and the bank moved nothing"
    assert order.run() == [ON_ITS_WAY], "it answers from the record"
    assert order.run("A-1", "cancel") == ["A-1 has ended"]


def test_no_courier_comes(order: Example) -> None:
    """The time runs on while no process does; and what undoes is killed half way, too."""
    patience = ("A-1", "--patience", "1ms")
    assert order.kill_when(lambda: order.is_in_state("waiting", "timer"), *patience)
    kill_in(order, "give_back", GAVE_BACK, *patience)
    assert moved(order) == [4200, -4200]
    last = order.run(*patience, code=1)
    assert last == [GAVE_BACK, PUT_BACK, TOO_LATE]
    assert moved(order) == [4200, -4200], "the bank moved it once"
    assert order.lines().count(RESERVED) == order.lines().count(TOOK) == 1
    assert order.run(*patience, code=1) == [TOO_LATE]


def test_cancelled_while_nobody_runs_it_and_knows_what_the_bank_did(order: Example) -> None:
    kill_in(order, "charge", TOOK)
    assert order.run("A-1", "cancel") == ["A-1 was told: cancel"]
    assert order.run(code=1) == [GAVE_BACK, PUT_BACK, CANCELLED]
    assert moved(order) == [4200, -4200]
    assert order.execution().state == "cancelled"


def test_cancelled_before_anything_was_taken(order: Example) -> None:
    kill_in(order, "reserve", RESERVED)
    order.run("A-1", "cancel")
    assert order.run(code=1) == [PUT_BACK, CANCELLED]
    assert not (order.folder / "bank.jsonl").exists()


def test_cancelled_while_it_waits(order: Example) -> None:
    process = order.start()
    order.until_state("waiting", "external")
    order.run("A-1", "cancel")
    assert process.wait(30) == 1
    assert order.lines()[-3:] == [GAVE_BACK, PUT_BACK, CANCELLED]
    assert moved(order) == [4200, -4200]
    assert order.run("A-9", "cancel", code=1) == ["there is no order A-9"]
