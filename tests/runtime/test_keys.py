"""Keys, versions, and going on with what another kernel left."""

import asyncio
from typing import Any

import pytest

from runtime.common import calls, echo
from stepwell import (
    Kernel,
    NotFound,
    SchemaMismatch,
    TerminalExecution,
    ValidationError,
    blueprint,
)
from stepwell.store.memory import MemorySource


def test_the_same_key_is_the_same_execution(source: MemorySource) -> None:
    @blueprint(name="keys")
    async def work(value: int) -> int:
        return int(await echo(value))

    async def main() -> None:
        async with Kernel(source, tenant="acme") as kernel:
            handles = await asyncio.gather(*(kernel.start(work, 5, key="k") for _ in range(10)))
            assert len({handle.id for handle in handles}) == 1
            assert len({await handle.result() for handle in handles}) == 1
            other = await kernel.start(work, 77, key="other")
            assert await other.result() == 77
            assert len(await kernel.list()) == 2
            with pytest.raises(ValidationError, match="started with other arguments"):
                await kernel.start(work, 6, key="k")
            assert len(await kernel.list()) == 2

    asyncio.run(main())
    assert len(calls) == 2


def test_versions(source: MemorySource) -> None:
    def make(version: str | None, accepts: tuple[str, ...] = ()) -> Any:
        @blueprint(name="versions", version=version, accepts=accepts)
        async def work(number: int) -> int:
            await echo(number)
            if number == 1 and len(calls) == 1:
                await asyncio.Event().wait()
            return number

        return work

    async def begin() -> None:
        async with Kernel(source, tenant="acme") as kernel:
            await kernel.start(make("1"), 1, key="k")
            while not calls:
                await asyncio.sleep(0)

    async def go_on(which: Any) -> int:
        async with Kernel(source, tenant="acme", blueprints=[which], recover=False) as kernel:
            return int(await kernel.run(which, 1, key="k"))

    asyncio.run(begin())
    calls.append("more")
    with pytest.raises(SchemaMismatch, match="'1'"):
        asyncio.run(go_on(make("2")))
    assert asyncio.run(go_on(make("2", accepts=("1",)))) == 1
    assert make(None).version == make(None).version != make("1").version
    assert make(None).version.startswith("sha256:")


def test_what_was_left_is_taken_up_at_the_start(
    source: MemorySource, caplog: pytest.LogCaptureFixture
) -> None:
    go = asyncio.Event()

    @blueprint(name="left")
    async def work(number: int) -> int:
        await echo(number)
        await go.wait()
        return number

    @blueprint(name="unknown to the second kernel")
    async def other() -> None:
        await go.wait()

    async def first() -> list[str]:
        async with Kernel(source, tenant="acme") as kernel:
            handles = [await kernel.start(work, number) for number in range(5)]
            await kernel.start(other)
            while len(calls) < 5:
                await asyncio.sleep(0)
            return [handle.id for handle in handles]

    async def second(ids: list[str]) -> list[int]:
        go.set()
        async with Kernel(source, tenant="acme", blueprints=[work]) as kernel:
            results = [await (await kernel.get(each)).result() for each in ids]
            (unknown,) = await kernel.list(state="running")
            assert unknown.blueprint == other.name
            with pytest.raises(ValidationError, match="not known"):
                await kernel.resume(unknown.id)
            with pytest.raises(TerminalExecution):
                await kernel.resume(ids[0])
            return results

    assert asyncio.run(second(asyncio.run(first()))) == [0, 1, 2, 3, 4]
    assert sorted(calls) == [0, 1, 2, 3, 4]


def test_a_kernel_that_does_not_execute_only_reads(source: MemorySource) -> None:
    @blueprint(name="reads")
    async def work() -> int:
        await echo(1)
        await asyncio.Event().wait()
        return 1

    async def main() -> None:
        async with Kernel(source, tenant="acme") as kernel:
            known = (await kernel.start(work)).id
        async with Kernel(source, tenant="acme", execute=False) as kernel:
            assert [row.id for row in await kernel.list()] == [known]
            assert (await (await kernel.get(known)).execution()).state == "running"
            for refused in (kernel.start(work), kernel.resume(known)):
                with pytest.raises(ValidationError):
                    await refused
            with pytest.raises(TimeoutError):
                await (await kernel.get(known)).result(timeout="30ms")

    asyncio.run(main())


def test_ids_of_others_are_not_found(source: MemorySource) -> None:
    @blueprint(name="others")
    async def work() -> int:
        return 1

    async def main() -> None:
        async with Kernel(source, tenant="acme") as kernel, Kernel(source, tenant="other") as other:
            known = (await kernel.start(work, key="k")).id
            messages = []
            for asked in (known, known[:-1] + ("0" if known[-1] != "0" else "1"), "nonsense", "é", ""):
                for request in (other.get, other.resume):
                    with pytest.raises(NotFound) as refused:
                        await request(asked)
                    messages.append(str(refused.value).replace(ascii(asked), "…"))
            assert len(set(messages[:6])) == 1
            assert await other.list() == []
            with pytest.raises(ValidationError):
                await kernel.get(None)  # type: ignore[arg-type]

    asyncio.run(main())
