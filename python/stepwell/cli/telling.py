"""The commands that say something to an execution: `cancel`, `pause`, `signal`, `answer`, `settle`."""

import sys
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from .. import errors
from ..failures import ExecutionError
from ..runtime import Kernel
from . import loading, view
from .command import (
    LATE,
    Argument,
    CodecOption,
    Exit,
    JsonOption,
    Option,
    StoreOption,
    TenantOption,
    app,
    check_there,
    coroutine,
    where,
)

Id = Annotated[str, Argument(help="The id of an execution.")]
StepId = Annotated[str, Argument(help="The id of a step.")]
Reason = Annotated[str | None, Option(help="Why; it is recorded.")]
Payload = Annotated[str, Argument(help="What is sent, as JSON.")]
Failure = Annotated[str | None, Option("--error", help="It failed, with these words.")]


def _tell(
    store: str | None,
    tenant: str | None,
    as_json: bool,
    say: Callable[[Kernel], Awaitable[bool | None]],
    codec: str | None = None,
) -> None:
    """Says it, and exits with a code of its own where that came too late."""

    async def work() -> None:
        place = where(store, tenant, {})
        writes = loading.codec(codec)
        check_there(place[0])
        async with Kernel(place[0], tenant=place[1], execute=False, codec=writes) as kernel:
            done = await say(kernel) is not False
        if as_json:
            view.print_json({"done": done})
        elif not done:
            print("stepwell: too late: it has ended, or another answer came first", file=sys.stderr)
        if not done:
            raise Exit(LATE)

    coroutine(work)


def _value(text: str) -> Any:
    return loading.arguments([text])[0]


@app.command()
def cancel(
    id: Id,
    *,
    reason: Reason = None,
    store: StoreOption = None,
    tenant: TenantOption = None,
    json: JsonOption = False,
) -> None:
    """Asks for an execution to be cancelled: its code is told where it runs, and may clean up."""

    async def say(kernel: Kernel) -> bool:
        return await (await kernel.get(id)).cancel(reason)

    _tell(store, tenant, json, say)


@app.command()
def pause(
    id: Id,
    *,
    reason: Reason = None,
    store: StoreOption = None,
    tenant: TenantOption = None,
    json: JsonOption = False,
) -> None:
    """Pauses an execution, until `stepwell resume`."""

    async def say(kernel: Kernel) -> bool:
        return await (await kernel.get(id)).pause(reason)

    _tell(store, tenant, json, say)


@app.command()
def signal(
    id: Id,
    name: Annotated[str, Argument(help="What the blueprint waits for.")],
    payload: Payload = "null",
    *,
    signal_id: Annotated[str | None, Option("--id", help="The same id is the same signal.")] = None,
    store: StoreOption = None,
    tenant: TenantOption = None,
    codec: CodecOption = None,
    json: JsonOption = False,
) -> None:
    """Sends a signal to an execution; it is kept until its code waits for it."""

    async def say(kernel: Kernel) -> bool:
        return await (await kernel.get(id)).signal(name, _value(payload), id=signal_id)

    _tell(store, tenant, json, say, codec)


@app.command()
def answer(
    id: Annotated[str, Argument(help="The id of a callback: that of its step.")],
    payload: Payload = "null",
    *,
    error: Failure = None,
    store: StoreOption = None,
    tenant: TenantOption = None,
    codec: CodecOption = None,
    json: JsonOption = False,
) -> None:
    """Answers a callback; the first answer counts."""

    async def say(kernel: Kernel) -> bool:
        if error is not None:
            return await kernel.fail_callback(id, error)
        return await kernel.complete_callback(id, _value(payload))

    _tell(store, tenant, json, say, codec)


@app.command()
def settle(
    id: Id,
    step_id: StepId,
    *,
    output: Annotated[str | None, Option(help="It was done, with this result, as JSON.")] = None,
    error: Failure = None,
    retry: Annotated[bool, Option("--retry", help="Do it once more.")] = False,
    store: StoreOption = None,
    tenant: TenantOption = None,
    codec: CodecOption = None,
    json: JsonOption = False,
) -> None:
    """Says what became of a step that is in doubt, so that its execution can go on."""

    async def say(kernel: Kernel) -> None:
        if [output is not None, error is not None, retry].count(True) != 1:
            raise errors.ValidationError("give one of --output, --error and --retry")
        handle = await kernel.get(id)
        if output is not None:
            await handle.settle(step_id, output=_value(output))
        elif error is not None:
            await handle.settle(step_id, error=ExecutionError("tool", "execution_failed", error))
        else:
            await handle.settle(step_id, retry=True)

    _tell(store, tenant, json, say, codec)
