"""A process that asks for what another one runs: `python asker.py STORE HOW`, for `test_reach.py`.

HOW is `command`, then each line of the input is what `stepwell` is given, such as `cancel exec_…`; or `kernel`, then
one kernel with `execute=False` does it. For each line it prints when what was asked for was durable, by the monotonic
clock in nanoseconds, which all processes of a machine share.
"""

import asyncio
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

from stepwell import Kernel
from stepwell.store import Ticket
from stepwell.store.sqlite import SqliteStore

durable: list[int] = []


def note_what_is_delivered() -> None:
    """Has the time noted when a wish is in the store; nothing else of this process goes on until then."""
    deliver = SqliteStore.deliver

    def noted(self: SqliteStore, *args: Any, **options: Any) -> Ticket[bool]:
        ticket = deliver(self, *args, **options)
        ticket.wait(30)
        durable.append(time.monotonic_ns())
        return ticket

    SqliteStore.deliver = noted  # type: ignore[method-assign]


def wishes() -> Iterator[list[str]]:
    for line in sys.stdin:
        yield line.split()
        assert len(durable) == 1, "one wish, delivered once"
        print("asked", durable.pop(), flush=True)


def by_command(url: str) -> None:
    from stepwell.cli.app import app

    os.environ |= {"STEPWELL_STORE": url, "STEPWELL_TENANT": "acme"}
    print("ready", flush=True)
    for words in wishes():
        assert app(words, standalone_mode=False) in (None, 0)


async def by_kernel(url: str) -> None:
    async with Kernel(url, tenant="acme", execute=False) as kernel:
        print("ready", flush=True)
        for what, known in wishes():
            handle = await kernel.get(known)
            assert await (handle.cancel() if what == "cancel" else handle.pause())


if __name__ == "__main__":
    note_what_is_delivered()
    place = f"sqlite:///{sys.argv[1]}"
    if sys.argv[2] == "command":
        by_command(place)
    else:
        asyncio.run(by_kernel(place))
