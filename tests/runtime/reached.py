"""A process whose steps run until they are told to end: `python reached.py STORE COUNT`, for `test_reach.py`.

It prints the id of each execution that has begun, and then, whenever code of one sees that it is to end, its id and the
time by the monotonic clock in nanoseconds, which all processes of a machine share. It goes when its input ends.
"""

import asyncio
import sys
import threading
import time

import stepwell
from stepwell import Kernel, RetryPolicy, blueprint, step

NEVER = threading.Event()
BEFORE_THE_NEXT_CHECK_S = 0.001


def say(*words: object) -> None:
    """One line, whole, whichever thread writes."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


@step(retry=RetryPolicy.never())
async def endless() -> None:
    known = stepwell.current_step().execution_id
    say("begun", known, "async")
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        say("reached", known, time.monotonic_ns())
        raise


@step(retry=RetryPolicy.never())
def checking() -> None:
    current = stepwell.current_step()
    say("begun", current.execution_id, "def")
    while True:
        try:
            current.check()
        except asyncio.CancelledError:
            say("reached", current.execution_id, time.monotonic_ns())
            raise
        NEVER.wait(BEFORE_THE_NEXT_CHECK_S)


@blueprint(name="runs an async step")
async def runs_async() -> None:
    await endless()


@blueprint(name="runs a def step")
async def runs_def() -> None:
    await checking()


async def main() -> None:
    async with Kernel(f"sqlite:///{sys.argv[1]}", tenant="acme") as kernel:
        for which in (runs_async, runs_def):
            for _ in range(int(sys.argv[2])):
                await kernel.start(which)
        ended = threading.Thread(
            target=wait_for_input, args=[asyncio.get_running_loop(), end := asyncio.Event()]
        )
        ended.start()
        await end.wait()
        ended.join()


def wait_for_input(loop: asyncio.AbstractEventLoop, end: asyncio.Event) -> None:
    sys.stdin.read()
    loop.call_soon_threadsafe(end.set)


if __name__ == "__main__":
    asyncio.run(main())
