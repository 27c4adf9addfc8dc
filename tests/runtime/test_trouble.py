"""What goes wrong around a kernel: the store, other processes, and the death of its own."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from runtime.common import calls
from stepwell import Conflict, Kernel, StoreFull, blueprint, step
from stepwell.store import open_store
from stepwell.store.memory import MemorySource, MemoryStore
from waiting import until_lines


@step
async def echo(value: Any) -> Any:
    calls.append(value)
    await asyncio.sleep(0)
    return value


@blueprint(name="trouble")
async def work(count: int) -> list[int]:
    async def one(number: int) -> int:
        await echo(number)
        return int(await echo(number * 10))

    try:
        return await asyncio.gather(*(one(number) for number in range(count)))
    except Exception:
        calls.append("swallowed")
        raise


@pytest.mark.parametrize("nth", range(6))
def test_a_full_store_ends_the_run_and_resume_goes_on(monkeypatch: pytest.MonkeyPatch, nth: int) -> None:
    real, appends = MemoryStore.append, []

    def append(self: MemoryStore, *args: Any) -> Any:
        appends.append(args)
        if len(appends) == nth + 1:
            raise StoreFull("there is no room left")
        return real(self, *args)

    monkeypatch.setattr(MemoryStore, "append", append)
    source = MemorySource()

    async def main() -> Any:
        async with Kernel(source, tenant="acme") as kernel:
            handle = await kernel.start(work, 3, key="k")
            failed = None
            try:
                result = await handle.result()
            except StoreFull as error:
                failed = error
                assert (await kernel.list())[0].state == "running"
                again = await kernel.resume(handle.id)
                result = await again.result()
                assert await handle.result() == result
            return failed, result

    failed, result = asyncio.run(main())
    assert result == [0, 10, 20]
    assert (failed is not None) == (len(appends) > nth)
    assert "swallowed" not in calls


def test_one_that_was_taken_over_stops_and_writes_nothing_more() -> None:
    source = MemorySource()
    go = asyncio.Event()

    @blueprint(name="zombie")
    async def waits() -> int:
        try:
            await echo(1)
            await go.wait()
            return int(await echo(2))
        except Exception:
            calls.append("swallowed")
            raise

    async def main() -> None:
        async with Kernel(source, tenant="acme") as kernel:
            handle = await kernel.start(waits)
            while (await kernel.list())[0].version < 3:
                await asyncio.sleep(0)
            source.open("acme").claim(handle.id, "somebody else", 1).wait()
            go.set()
            with pytest.raises(Conflict):
                await handle.result()
            row = (await kernel.list())[0]
            assert (row.owner, row.state, row.version) == ("somebody else", "running", 3)
            with pytest.raises(Conflict, match="another process"):
                await kernel.resume(handle.id)

    asyncio.run(main())
    assert calls == [1, 2]


def test_two_kernels_do_not_run_the_same_execution() -> None:
    source = MemorySource()

    async def main() -> None:
        async with Kernel(source, tenant="acme") as one:
            first = await one.start(work, 5, key="k")
            async with Kernel(source, tenant="acme") as two:
                second = await two.start(work, 5, key="k")
                assert second.id == first.id
                assert await asyncio.gather(first.result(), second.result()) == [[0, 10, 20, 30, 40]] * 2

    asyncio.run(main())
    assert max(Counter(calls).values()) == 2, "0 and 0 * 10 are the same number"
    assert len(calls) == 10


# --- processes ----------------------------------------------------------------------------------------------------

PROGRAM = """
    import asyncio, os, sys
    from stepwell import Kernel, blueprint, step

    url, log, seed = sys.argv[1:4]

    def effect(text):
        with open(log, "a") as lines:
            lines.write(text + "\\n")

    @step
    async def a(number):
        await asyncio.sleep(0)
        effect(f"a {number}")
        return number + 1

    @step
    def b(number):
        effect(f"b {number}")
        return number * 2

    @blueprint(version="1")
    async def work(branches, rounds):
        async def branch(number):
            value = number
            for _ in range(rounds):
                value = await b(await a(value))
            return value
        return await asyncio.gather(*(branch(1000 * number) for number in range(branches)))

    async def main():
        async with Kernel(url, tenant="acme") as kernel:
            handles = [await kernel.start(work, 4, 4, key=f"k{n}") for n in range(4)]
            print([await handle.result() for handle in handles])

    asyncio.run(main())
"""


def program(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(PROGRAM), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def recorded(path: Path) -> set[str]:
    """The effects whose results are in the record."""
    store = open_store(f"sqlite:///{path}", "acme")
    found = Counter[str]()
    for row in store.list().wait(10):
        names, after = {}, -1
        while page := store.load(row.id, after).wait(10):
            for _, _, kind, body in page:
                record = json.loads(body)
                if kind == "step_started" and "name" in record:
                    names[record["step_id"]] = f"{record['name']} {record['input'][0]}"
                elif kind == "step_completed":
                    found[names[record["step_id"]]] += 1
            after = page[-1][0]
    store.close()
    return found


def test_killed_again_and_again_it_runs_no_recorded_step_again(tmp_path: Path) -> None:
    path, log = tmp_path / "runs.db", tmp_path / "effects"
    url = f"sqlite:///{path}"
    log.touch()
    lines, kills = 0, 0
    while True:
        process = program(url, log, kills)
        lines += 23
        until_lines(process, log, lines)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            kills += 1
        output, _ = process.communicate(timeout=30)
        if process.returncode == 0:
            break
        before = recorded(path) if path.exists() else Counter[str]()
        effects = Counter(log.read_text().split("\n"))
        assert all(effects[name] >= times for name, times in before.items())
        lines = log.read_text().count("\n")
        mark = log.read_text()
        again = program(url, log, kills)
        until_lines(again, log, lines + 11)
        if again.poll() is None:
            os.kill(again.pid, signal.SIGKILL)
            kills += 1
        again.communicate(timeout=30)
        new = Counter(log.read_text().removeprefix(mark).split("\n")[:-1])
        # Four executions do the same: an effect may come once more for each of them whose record does not have it.
        assert all(before[name] + times <= 4 for name, times in new.items()), (before, new)
        lines = log.read_text().count("\n")
    expected = []
    for value in (0, 1000, 2000, 3000):
        for _ in range(4):
            value = (value + 1) * 2
        expected.append(value)
    assert output.strip() == repr([expected] * 4)
    assert kills >= 2
    assert sum(recorded(path).values()) == 4 * 4 * 4 * 2


def test_interrupted_by_the_keyboard_it_can_be_gone_on_with(tmp_path: Path) -> None:
    path, log = tmp_path / "runs.db", tmp_path / "effects"
    log.touch()
    process = program(f"sqlite:///{path}", log, 0)
    until_lines(process, log, 20)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    done = sum(recorded(path).values())
    again = program(f"sqlite:///{path}", log, 0)
    output, _ = again.communicate(timeout=30)
    assert again.returncode == 0
    assert output.count("[") == 5
    if process.returncode != 0:
        assert 0 < done < 128
    assert sum(recorded(path).values()) == 128
