"""The event loops of hosts, for tests that have to pass on each."""

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

LOOPS = ("asyncio",) if sys.platform == "win32" else ("asyncio", "uvloop")
"""There is no uvloop for Windows. Elsewhere one that is missing is a failure, not a skip."""


def loop_class(kind: str) -> type[asyncio.AbstractEventLoop]:
    """What a loop of this kind is made with."""
    if kind == "uvloop":
        import uvloop

        return uvloop.Loop
    loop = asyncio.new_event_loop()
    loop.close()
    return type(loop)


def run(kind: str, main: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run` on a loop of this kind."""
    made = loop_class(kind)
    with asyncio.Runner(loop_factory=made) as runner:
        assert type(runner.get_loop()) is made
        return runner.run(main)
