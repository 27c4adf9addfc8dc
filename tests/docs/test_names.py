"""Every public name has its line in `docs/names.md`, and a guide that speaks of it."""

import re

import pytest

import stepwell
import stepwell.testing
from docs.pages import tables
from house.tree import ROOT, text
from stepwell import runtime

ROWS = tables("names", "name", "meaning", "guide")
GUIDES = {
    name: re.findall(r"\]\(([^)#]+)", guide)[0]
    for names, _, guide in ROWS
    for name in re.findall(r"`(\w+)`", names)
}


def test_every_public_name_has_a_line() -> None:
    named = [name for names, _, _ in ROWS for name in re.findall(r"`(\w+)`", names)]
    assert sorted(named) == sorted(stepwell.__all__)
    assert all(meaning for _, meaning, _ in ROWS)


def test_every_name_for_tests_has_a_line() -> None:
    rows = tables("names", "in `stepwell.testing`", "meaning")
    named = [name for names, _ in rows for name in re.findall(r"`(\w+)`", names)]
    assert sorted(named) == sorted(stepwell.testing.__all__)


@pytest.mark.parametrize("guide", sorted({*GUIDES.values()}))
def test_its_guide_speaks_of_it(guide: str) -> None:
    page = text(ROOT / "docs" / guide)
    assert [
        name for name, own in GUIDES.items() if own == guide and not re.search(rf"\b{name}\b", page)
    ] == []


@pytest.mark.parametrize("name", ["BlockingKernel", "BlockingHandle"])
def test_every_method_of_kernels_and_handles_is_spoken_of(name: str) -> None:
    """Those without `await` have exactly what is there for users."""
    pages = "\n".join(text(path) for path in sorted((ROOT / "docs").glob("*.md")))
    public = [method for method in dir(getattr(runtime, name)) if method[0] != "_"]
    assert [method for method in public if not re.search(rf"\b{method}\b", pages)] == []
