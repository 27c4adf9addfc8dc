"""The small edition of `proofs.hostile`."""

from pathlib import Path

import pytest

from backends import BACKENDS
from proofs.hostile import run


@pytest.mark.parametrize("engine", BACKENDS)
def test_whatever_is_read_ends_in_an_answer_or_a_typed_error(engine: str, tmp_path: Path) -> None:
    ran = run(engine, tmp_path, 20_261_124, cases=60)
    assert ran.wrong == []
    assert ran.cases == 60
    assert len(ran.ended) > 5
