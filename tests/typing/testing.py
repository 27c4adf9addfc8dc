"""What a type checker sees of `stepwell.testing`, the filter of log records and hooks: nothing here runs."""

import logging
from typing import Any, assert_type

import stepwell
from stepwell import Execution, Kernel, blueprint
from stepwell.testing import (
    SILENCE,
    Crash,
    CrashReport,
    Pending,
    Replayed,
    crash_everywhere,
    crash_everywhere_async,
    replay,
    replay_async,
)


@blueprint
async def order(cents: int) -> str:
    return str(cents)


def respond(pending: Pending) -> Any:
    return SILENCE if pending.kind == "signal" else {"for": pending.name}


def check(crash: Crash) -> None:
    assert_type(crash.write, int | None)


async def kit(execution: Execution, kernel: Kernel) -> None:
    report = crash_everywhere(order, 4200, respond=respond, check=check)
    assert_type(report, CrashReport)
    crash_everywhere(order, kwargs={"cents": 1}, respond={"approval": None})
    assert_type(await crash_everywhere_async(order, 1, seconds=5), CrashReport)
    assert_type(replay(execution), Replayed)
    assert_type(replay(execution, order).waits[0].place, str)
    assert_type(await replay_async(await kernel.get("exec_1")), Replayed)
    crash_everywhere(len)  # pyright: ignore[reportArgumentType]


def logs(handler: logging.Handler) -> None:
    handler.addFilter(stepwell.LogFilter())
    assert_type(stepwell.logging.install(logging.getLogger("orders")), stepwell.LogFilter)
