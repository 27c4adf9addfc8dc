"""Both ways of making JSON, for the tests."""

import pytest

from stepwell import encoding
from stepwell.errors import ValidationError

LIBRARIES = ["orjson", "stdlib"]


def use(name, monkeypatch):
    encoding.library()  # has chosen by now
    if name == "stdlib":
        monkeypatch.setattr(encoding, "_dumps", None)
        monkeypatch.setattr(encoding, "_loads", None)
    assert encoding.library() == name


def both(function, *args):
    """The outcome with orjson; checked to be the same without."""
    outcomes = []
    for name in LIBRARIES:
        with pytest.MonkeyPatch.context() as patch:
            use(name, patch)
            try:
                outcomes.append((function(*args), None))
            except ValidationError as error:
                outcomes.append((type(error), str(error), vars(error)))
    assert repr(outcomes[0]) == repr(outcomes[1])
    return outcomes[0]
