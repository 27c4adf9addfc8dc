"""The small edition of `proofs.tampering`."""

from pathlib import Path

import pytest

from backends import BACKENDS
from proofs.tampering import Small, bad, file_bytes, rows

SEED = 20_261_124


@pytest.mark.parametrize("engine", BACKENDS)
def test_a_changed_byte_of_a_row_is_found_or_harmless(engine: str, tmp_path: Path) -> None:
    small = Small(tmp_path, engine)
    outcomes = [*rows(small, 60, 1, SEED)]
    assert [outcome for outcome in outcomes if bad(outcome)] == []
    assert sum(outcome.what == "found" for outcome in outcomes) > len(outcomes) / 2


@pytest.mark.parametrize("engine", BACKENDS)
def test_a_changed_byte_of_the_file_is_found_or_harmless(engine: str, tmp_path: Path) -> None:
    small = Small(tmp_path, engine)
    outcomes = [*file_bytes(small, 997, 1, SEED)]
    assert [outcome for outcome in outcomes if bad(outcome)] == []
    assert sum(outcome.what == "found" for outcome in outcomes) > len(outcomes) / 10
