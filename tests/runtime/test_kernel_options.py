"""Options of a kernel that cannot be: refused where the kernel is made, with the option's name."""

from typing import Any

import pytest

from stepwell import Kernel, blueprint
from stepwell.errors import ValidationError


@blueprint(name="options.work")
async def work() -> None:
    pass


WRONG = [
    {"store": 5},
    {"store": None},
    {"blueprints": [lambda: None]},
    {"blueprints": work},
    {"blueprints": "work"},
    {"hooks": object()},
    {"hooks": 5},
    {"codec": 5},
    {"clock": 5},
    {"execute": "no"},
    {"recover": 1},
]


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_the_option_is_named(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(ValidationError, match=name):
        Kernel(**{"store": "memory", "tenant": "acme", **wrong})


def test_what_can_be_read_only_once_is_taken() -> None:
    Kernel("memory", tenant="acme", blueprints=iter([work]), hooks=[])
