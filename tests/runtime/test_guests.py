"""A kernel is a guest: in any loop, in any thread, beside others of its kind."""

import asyncio
import signal
import threading
from typing import Any

import stepwell
from runtime.common import calls
from runtime.stops import note, until
from stepwell import Kernel, blueprint, step
from stepwell.store import StoreSource
from stepwell.store.memory import MemorySource


@blueprint(name="guest")
async def guest(number: int) -> Any:
    await stepwell.sleep("1ms")
    return await note(number)


def test_signal_handlers_and_the_loop_stay_as_they_are(anywhere: StoreSource) -> None:
    def handlers() -> list[Any]:
        return [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)]

    async def main() -> None:
        loop = asyncio.get_running_loop()
        before = handlers(), loop.get_task_factory(), loop.get_exception_handler(), loop.get_debug()
        async with Kernel(anywhere, tenant="acme") as kernel:
            assert await kernel.run(guest, 1) == 1
            now = handlers(), loop.get_task_factory(), loop.get_exception_handler(), loop.get_debug()
            assert now == before
        now = handlers(), loop.get_task_factory(), loop.get_exception_handler(), loop.get_debug()
        assert now == before
        assert asyncio.all_tasks() == {asyncio.current_task()}, "nothing is left behind"

    asyncio.run(main())


def test_two_kernels_in_one_loop_share_a_store(anywhere: StoreSource) -> None:
    async def main() -> None:
        async with Kernel(anywhere, tenant="acme") as one, Kernel(anywhere, tenant="acme") as two:
            handles = [await (one, two)[number % 2].start(guest, number) for number in range(10)]
            across = [await (two, one)[number % 2].get(handle.id) for number, handle in enumerate(handles)]
            assert [await handle.result(timeout=30) for handle in across] == [*range(10)]

    asyncio.run(main())
    assert sorted(calls) == [*range(10)], "each was run once"


def test_kernels_in_threads_of_their_own(anywhere: StoreSource) -> None:
    found: dict[int, Any] = {}

    def serve(number: int) -> None:
        with Kernel(anywhere, tenant="acme") as kernel:
            found[number] = kernel.run(guest, number)

    def serve_async(number: int) -> None:
        async def main() -> Any:
            async with Kernel(anywhere, tenant="acme") as kernel:
                return await kernel.run(guest, number)

        found[number] = asyncio.run(main())

    threads = [
        threading.Thread(target=target, args=(number,)) for number, target in enumerate([serve, serve_async])
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == {0: 0, 1: 1}


def test_one_loop_after_another(anywhere: StoreSource) -> None:
    """As servers that are restarted, and test runners with a loop for each test, do it."""
    for number in range(3):

        async def main(number: int = number) -> Any:
            async with Kernel(anywhere, tenant="acme") as kernel:
                return await kernel.run(guest, number, key=str(number % 2))

        if number < 2:
            assert asyncio.run(main()) == number


def test_interrupted_by_the_host_and_gone_on_with(source: MemorySource) -> None:
    """Ctrl-C in `asyncio.run` cancels every task: no cleanup is run, and nothing has ended."""
    go: list[bool] = []

    @step
    async def slow() -> str:
        calls.append("slow")
        if not go:
            await asyncio.Event().wait()
        return "done"

    @blueprint(name="interrupted by the host")
    async def work() -> str:
        try:
            return str(await slow())
        finally:
            await note("finally")

    async def main() -> None:
        kernel = Kernel(source, tenant="acme")
        await kernel.__aenter__()
        await kernel.start(work, key="k")
        await until(lambda: calls)

    asyncio.run(main())
    assert calls == ["slow"]
    go.append(True)

    async def again() -> Any:
        async with Kernel(source, tenant="acme") as kernel:
            return await kernel.run(work, key="k")

    assert asyncio.run(again()) == "done"
    assert calls == ["slow", "slow", "finally"]
