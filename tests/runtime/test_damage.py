"""What a kernel does with a journal that is not what was written, with a process that is gone, and after `fork`."""

import asyncio
import multiprocessing
from pathlib import Path

import pytest

from stepwell import ForkedProcessError, Kernel, StoreCorrupt, blueprint, step
from stepwell.runtime import owners
from stepwell.store.memory import MemorySource
from store.processes import in_sqlite


@step
async def double(number: int) -> int:
    return 2 * number


@blueprint(name="damage.work", version="1")
async def work(number: int) -> int:
    return await double(number) + 1


def edit(kind: str, before: str, after: str) -> str:
    changed = f"CAST(replace(CAST(body AS TEXT), '{before}', '{after}') AS BLOB)"
    return f"UPDATE journal SET body = {changed} WHERE kind = '{kind}'"


@pytest.mark.parametrize(
    "statement",
    [
        edit("complete", '"output":7', '"output":9'),
        "DELETE FROM journal WHERE kind = 'complete'",
        "UPDATE journal SET body = x'00' WHERE kind = 'complete'",
        edit("step_completed", '"output":6', '"output":8'),
    ],
)
def test_a_damaged_journal_is_not_believed(tmp_path: Path, statement: str) -> None:
    path = tmp_path / "runs.db"

    async def main(damaged: bool) -> None:
        async with Kernel(f"sqlite:///{path}", tenant="acme", blueprints=[work]) as kernel:
            if not damaged:
                assert await kernel.run(work, 3, key="k") == 7
                return
            handle = await kernel.get((await kernel.list())[0].id)
            with pytest.raises(StoreCorrupt, match=f"the journal of {handle.id} is damaged"):
                await handle.execution()
            if "'complete'" in statement:
                with pytest.raises(StoreCorrupt, match="is damaged"):
                    await handle.result()

    asyncio.run(main(False))
    in_sqlite(path, statement)
    asyncio.run(main(True))


def test_who_waits_goes_on_with_what_a_dead_process_left(monkeypatch: pytest.MonkeyPatch) -> None:
    source = MemorySource()
    gone: set[str] = set()
    real = owners.is_gone
    monkeypatch.setattr(owners, "is_gone", lambda owner: owner in gone or real(owner))
    stuck = asyncio.Event()
    lives = []

    @blueprint(name="damage.stuck", version="1")
    async def stops_once(number: int) -> int:
        lives.append(number)
        if len(lives) == 1:
            await stuck.wait()
        return await double(number)

    async def main() -> None:
        async with (
            Kernel(source, tenant="acme", blueprints=[stops_once]) as first,
            Kernel(source, tenant="acme", blueprints=[stops_once], recover=False) as second,
        ):
            mine = await first.start(stops_once, 4, key="k")
            theirs = await second.get(mine.id)
            waiting = asyncio.create_task(theirs.result(timeout=30))
            while not lives:
                await asyncio.sleep(0)
            row = (await first.list())[0]
            assert row.owner is not None
            gone.add(row.owner)
            assert await waiting == 8
            assert len(lives) == 2

    asyncio.run(main())


def in_child(kernel: object, answers: "multiprocessing.connection.Connection") -> None:
    try:
        kernel.list()  # type: ignore[attr-defined]
    except ForkedProcessError as error:
        answers.send(str(error))
    kernel.close()  # type: ignore[attr-defined]
    answers.send("closed")


def test_a_blocking_kernel_is_refused_in_a_forked_child(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    with Kernel(f"sqlite:///{tmp_path / 'runs.db'}", tenant="acme", blueprints=[work]) as kernel:
        child = context.Process(target=in_child, args=(kernel, theirs))
        child.start()
        for wanted in ("fork", "closed"):
            assert ours.poll(30)
            assert wanted in ours.recv()
        child.join(30)
        assert child.exitcode == 0
        assert kernel.run(work, 3) == 7
