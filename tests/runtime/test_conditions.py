"""`wait_until`: looks that are steps, pauses that are waits, and an end to both."""

import asyncio
from typing import Any

import pytest

import stepwell
from runtime.asleep import left, names, opened, place, until
from runtime.common import calls
from stepwell import Backoff, ExecutionError, ManualClock, ValidationError, blocking, blueprint
from stepwell.store import StoreSource

__all__ = ["place"]


def counts(state: int) -> tuple[bool, int]:
    calls.append(state)
    return state >= 3, state + 1


async def counts_too(state: int) -> tuple[bool, int]:
    return counts(state)


@blueprint(name="looks")
async def looks(max_attempts: int | None = None) -> Any:
    return await stepwell.wait_until(counts_too, 1, every="1m", max_attempts=max_attempts, name="counted")


@blueprint(name="looks too")
def looks_too(max_attempts: int | None = None) -> Any:
    return blocking.wait_until(counts, 1, every="1m", max_attempts=max_attempts, name="counted")


@pytest.mark.parametrize("which", [looks, looks_too])
def test_it_looks_at_once_and_leaves_memory_between_looks(place: StoreSource, which: Any) -> None:
    clock = ManualClock()

    async def life(look: int) -> None:
        async with opened(place, clock) as kernel:
            handle = await kernel.start(which, key="k")
            await until(lambda: _looked(look))
            row = await left(kernel, handle)
            assert (row.wait_reason, row.wake_at_ns) == ("timer", clock.now_ns() + 60 * 10**9)

    async def last() -> None:
        async with opened(place, clock) as kernel:
            handle = await kernel.start(which, key="k")
            assert await handle.result() == 4
            check = which.fn.__name__.replace("looks", "counts")
            shown = [name if name != "counts_too" else "counts" for name, _, _ in await names(handle)]
            assert shown == ["counted", "counts", "pause", "counts", "pause", "counts"], check

    for look in (1, 2):
        asyncio.run(life(look))
        clock.advance("1m")
    asyncio.run(last())
    assert calls == [1, 2, 3]


async def _looked(count: int) -> bool:
    return len(calls) == count


@pytest.mark.parametrize("which", [looks, looks_too])
def test_looks_in_vain(place: StoreSource, which: Any) -> None:
    async def main() -> None:
        clock = ManualClock()
        async with opened(place, clock) as kernel:
            handle = await kernel.start(which, 2)
            await left(kernel, handle)
            clock.advance("1m")
            with pytest.raises(ExecutionError, match="2 times in vain") as raised:
                await handle.result()
            assert (raised.value.category, raised.value.code) == ("timeout", "attempts_exhausted")
        assert calls == [1, 2]

    asyncio.run(main())


def test_pauses_follow_a_backoff(place: StoreSource) -> None:
    @blueprint(name="backs off")
    async def backs_off() -> Any:
        every = Backoff("exponential", "1s", "3s", jitter=False)
        return await stepwell.wait_until(lambda state: (state == 4, state + 1), 0, every=every)

    async def main() -> None:
        clock = ManualClock()
        async with opened(place, clock) as kernel:
            handle = await kernel.start(backs_off)
            pauses = []
            for _ in range(4):
                row = await left(kernel, handle)
                pauses.append((row.wake_at_ns - clock.now_ns()) // 10**6)
                clock.advance(pauses[-1] / 1000)
                await until(lambda row=row: _is_further(kernel, handle.id, row.version))
            assert await handle.result() == 5
            assert pauses == [1000, 2000, 3000, 3000]

    asyncio.run(main())


async def _is_further(kernel: Any, known: str, version: int) -> bool:
    row = await kernel.store.get(known)
    return row.version > version and row.state in ("waiting", "completed")


def test_what_check_raises_is_the_end_of_it(place: StoreSource) -> None:
    @blueprint(name="breaks")
    async def breaks() -> Any:
        def check(state: Any) -> Any:
            calls.append(state)
            raise ConnectionError("gone")

        return await stepwell.wait_until(check)

    @blueprint(name="wrong")
    async def wrong() -> Any:
        return await stepwell.wait_until(lambda state: True)  # type: ignore[arg-type]

    async def main() -> None:
        async with opened(place, ManualClock()) as kernel:
            with pytest.raises(ExecutionError, match="gone"):
                await kernel.run(breaks)
            with pytest.raises(ExecutionError, match=r"must return \(done, state\)"):
                await kernel.run(wrong)
        assert calls == [None]

    asyncio.run(main())


def test_outside_a_kernel_it_looks_by_itself() -> None:
    assert asyncio.run(stepwell.wait_until(counts_too, 1, every=0)) == 4
    assert blocking.wait_until(counts, 1, every=0) == 4
    with pytest.raises(ExecutionError, match="in vain"):
        asyncio.run(stepwell.wait_until(counts, -9, every=0, max_attempts=2))
    for options in ({"every": "often"}, {"max_attempts": 0}):
        with pytest.raises(ValidationError):
            stepwell.wait_until(counts, **options)  # type: ignore[arg-type]
    with pytest.raises(ValidationError):
        stepwell.wait_until("check")  # type: ignore[arg-type]
