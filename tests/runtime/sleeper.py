"""A process that runs what waits, for `test_apart.py`: `python sleeper.py STORE LOG [ROLE]`, until its input ends."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import stepwell
from stepwell import Kernel, RetryPolicy, blueprint, step

LOG = Path(sys.argv[2])


def said(*words: object) -> None:
    """One line in the log, whole, whoever else writes."""
    line = " ".join(map(str, words)) + "\n"
    with LOG.open("ab", buffering=0) as log:
        log.write(line.encode())


@step
def tells(*words: object) -> None:
    said(*words)


@step(retry=RetryPolicy.attempts(3, base_delay_ms=300, jitter=False))
async def fails_twice() -> int:
    attempt = stepwell.current_step().attempt
    said("attempt", attempt)
    if attempt < 3:
        raise ConnectionError("not yet")
    return attempt


@blueprint(name="sleeps")
async def sleeps(name: str, seconds: float) -> str:
    await tells("asleep", name)
    await stepwell.sleep(seconds)
    await tells("awake", name)
    return name


@blueprint(name="retries")
async def retries() -> int:
    return await fails_twice()


@blueprint(name="asks")
async def asks() -> Any:
    answer = await stepwell.callback()
    await tells("callback", answer.id)
    got = [await answer.result(), await stepwell.wait_for("more")]
    await tells("got", *got)
    return got


async def main() -> None:
    kernel = Kernel(f"sqlite:///{sys.argv[1]}", tenant="acme")
    kernel.linger_s = 0.0 if "left" in sys.argv[3:] else 60.0
    async with kernel:
        if "start" in sys.argv[3:]:
            for number in range(5):
                await kernel.start(sleeps, f"{number}", 0.5, key=f"{number}")
            await kernel.start(retries, key="retries")
            await kernel.start(asks, key="asks")
        said("ready", os.getpid())
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
