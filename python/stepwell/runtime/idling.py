"""Whether an execution does nothing but wait, and whether it may leave memory meanwhile.

A blueprint may await other things than stepwell's: a queue, a lock, `asyncio.sleep`. What cannot be told to be one of
its own waits counts as work, and an execution that uses `asyncio.timeout` round a wait stays in memory, because that
timer would be lost.
"""

import asyncio
import gc
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

from .places import Driver

if TYPE_CHECKING:
    from .run import Run

_TIMEOUTS: Final = frozenset({"Timeout", "CancelScope"})
"""The classes of asyncio, async_timeout and anyio."""


def may_run(run: "Run") -> bool:
    """Whether code of the execution runs, is about to, or waits for something that is none of its waits."""
    if run.threads_running:
        return True
    tasks = run.live_tasks()
    futures = run.waits.futures | run.quiet
    return any(not _waits(task, tasks, futures) for task in tasks)


def may_leave(run: "Run") -> bool:
    """Whether nothing is lost when it leaves memory now: it only waits, and no timer of asyncio's is about it."""
    if may_run(run):
        return False
    return not any(_has_timeout(coro) for task in run.live_tasks() for coro in _chain(task.get_coro()))


def _waits(
    task: "asyncio.Task[Any]", tasks: "set[asyncio.Task[Any]]", futures: "set[asyncio.Future[Any]]"
) -> bool:
    waiter = getattr(task, "_fut_waiter", None)
    # What the native backend waits for the store with is no future of asyncio's.
    if waiter is None or not hasattr(waiter, "done") or waiter.done():
        return False
    if waiter in futures or waiter in tasks:
        return True
    if getattr(waiter, "_children", None) is not None:
        return _gathers(waiter, tasks, futures)
    frames = [*_frames(task.get_coro())]
    if not frames:
        return False
    frame = frames[-1]
    name = frame.f_globals.get("__name__")
    if name == "asyncio.taskgroups":
        return True
    return (
        name == "asyncio.tasks" and frame.f_code.co_name == "_wait" and frame.f_locals.get("timeout") is None
    )


def _gathers(waiter: Any, tasks: "set[asyncio.Task[Any]]", futures: "set[asyncio.Future[Any]]") -> bool:
    """Whether all that a `gather` waits for is tasks of the blueprint, waits, and other `gather`s of such."""
    return all(
        child.done()
        or child in tasks
        or child in futures
        or (hasattr(child, "_children") and _gathers(child, tasks, futures))
        for child in waiter._children
    )


def _frames(coro: Any) -> Iterator[FrameType]:
    """The frames of a suspended coroutine, the innermost last."""
    for each in _chain(coro):
        frame = getattr(each, "cr_frame", None) or getattr(each, "gi_frame", None)
        if frame is not None:
            yield frame


def _chain(coro: Any) -> Iterator[Any]:
    """A suspended coroutine, the one that it awaits, and so on."""
    while coro is not None:
        if isinstance(coro, Driver):
            coro = coro.inner
        yield coro
        following = getattr(coro, "cr_await", None)
        coro = getattr(coro, "gi_yieldfrom", None) if following is None else following


def _has_timeout(coro: Any) -> bool:
    """Whether a coroutine is inside `async with asyncio.timeout(…)`, or that of another library."""
    # What the frame of a suspended coroutine has on its stack belongs to the coroutine, or to the frame's object.
    found = [*gc.get_referents(coro), *gc.get_referents(getattr(coro, "cr_frame", None))]
    return any(type(getattr(one, "__self__", one)).__name__ in _TIMEOUTS for one in found)
