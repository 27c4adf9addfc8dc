"""A small edition of `python -m proofs.sequences`, and that a difference is one."""

from collections import Counter
from pathlib import Path

import pytest

from backends import BACKENDS
from proofs import sequences
from stepwell.store.memory import MemorySource
from store.broken import BROKEN, source_of


def test_all_stores_answer_the_same(tmp_path: Path) -> None:
    figures: Counter[str] = Counter()
    sequences.run_file(range(40), 7, 40, tmp_path, BACKENDS, figures)
    assert figures["sequences"] == 40
    assert figures["requests"] == 1_600
    assert 400 < figures["refused"] < 1_200


@pytest.mark.parametrize(
    "name",
    ["NoFence", "RemembersTheLastAction", "CountsForEver", "TakesNothingOut", "SweepsAll", "WakesByAge"],
)
def test_a_difference_is_found(name: str) -> None:
    stores = [
        sequences.Under("memory", MemorySource()),
        sequences.Under("broken", source_of(BROKEN[name])),
    ]
    with pytest.raises(sequences.Difference, match=r"(?s)sequence \d+:.*\nmemory: .*\nbroken: "):
        sequences.run_side_by_side(range(60), 1, 40, stores, Counter())


def test_the_command_says_what_it_did(capsys: pytest.CaptureFixture[str]) -> None:
    assert sequences.main(["--count", "2", "--length", "10", "--seed", "3"]) == 0
    said = capsys.readouterr().out
    assert f"stores: memory, {', '.join(BACKENDS)}; seed 3: 2 sequences, 20 requests, " in said
    assert ", 0 differences, " in said
