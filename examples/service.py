"""A web service whose work survives it: it starts executions, shows them, takes callbacks and signals, and cancels.

    python -m uvicorn --app-dir examples service:app

    POST /executions {"document": "a text"}     starts one; with the header `Idempotency-Key` at most one for each key
    GET  /executions                            the newest
    GET  /executions/ID?wait=5s                 how one stands; with `wait` when it has ended, or after so long
    POST /executions/ID/cancel
    POST /executions/ID/signals/NAME            the body, JSON, is what the blueprint gets
    POST /callbacks/ID                          likewise: the answer to a callback

It is a plain ASGI application: each framework has a place for the same few lines. Kill the server at any moment: when
it is started again, it goes on with what was unfinished, and the answers and signals that it took before count.
"""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import stepwell
from stepwell import Execution, ExecutionError, Kernel, WaitReason, blueprint, step
from stepwell.errors import DivergenceError, NotFound, StepwellError, ValidationError

STORE = os.environ.get("SERVICE_STORE", "sqlite:///.stepwell/service.db")
LOG = os.environ.get("SERVICE_LOG")

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


# --- the work -----------------------------------------------------------------------------------------------------


def note(line: str) -> None:
    """Notes what is really done."""
    if LOG:
        with Path(LOG).open("a") as lines:
            lines.write(line + "\n")


@step
async def count_words(document: str) -> int:
    """The first half of the work, which the service does itself."""
    note("counted")
    await asyncio.sleep(0.05)
    return len(document.split())


@step
async def send_to_translator(document: str, callback_id: str) -> None:
    """The other half is done elsewhere; who does it answers with `POST /callbacks/ID`. A request would go out here."""
    note(f"sent {len(document)} characters, to be answered under {callback_id}")


@step
async def publish(text: str) -> str:
    """Makes the result known."""
    note("published")
    return f"published: {text}"


@blueprint(name="translation", version="1")
async def translation(document: str) -> dict[str, Any]:
    """Counts, has it translated elsewhere, waits until somebody says that it is good, and publishes."""
    words = await count_words(document)
    translated = await stepwell.callback("translated", timeout="7d", type=str)
    await send_to_translator(document, translated.id)
    text = await translated.result()
    said = await stepwell.wait_for("approve", timeout="7d", reason=WaitReason.APPROVAL)
    return {"words": words, "by": said["by"], "result": await publish(text)}


# --- the service --------------------------------------------------------------------------------------------------


async def app(scope: Message, receive: Receive, send: Send) -> None:
    """The ASGI application."""
    if scope["type"] == "lifespan":
        await lifespan(scope, receive, send)
    elif scope["type"] == "http":
        status, answer = await respond(scope, receive)
        body = json.dumps(answer).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


async def lifespan(scope: Message, receive: Receive, send: Send) -> None:
    """Opens the kernel with the server and closes it with it. What is unfinished then, the next one takes up."""
    await receive()
    try:
        await asyncio.to_thread(Path(".stepwell").mkdir, exist_ok=True)
        async with Kernel(STORE, tenant="example", blueprints=[translation]) as kernel:
            scope["state"]["kernel"] = kernel
            await send({"type": "lifespan.startup.complete"})
            await receive()
    except StepwellError as error:
        await send({"type": "lifespan.startup.failed", "message": str(error)})
        return
    await send({"type": "lifespan.shutdown.complete"})


async def respond(scope: Message, receive: Receive) -> tuple[int, Any]:
    """Status and body of the answer to one request; the errors of the kernel have statuses of their own."""
    try:
        body = await read(receive)
        return await route(scope, json.loads(body) if body else None)
    except NotFound as error:
        return 404, {"error": str(error)}
    except (ValidationError, ValueError) as error:  # ValueError: a body that is no JSON
        return 422, {"error": str(error)}
    except StepwellError as error:
        return 503, {"error": str(error)}


async def route(scope: Message, body: Any) -> tuple[int, Any]:
    """Does what is asked for."""
    kernel: Kernel = scope["state"]["kernel"]
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    match scope["method"], *scope["path"].strip("/").split("/"):
        case "POST", "executions":
            key = headers.get("idempotency-key")
            if not isinstance(body, dict) or not isinstance(body.get("document"), str):
                raise ValidationError('the body must be {"document": "a text"}')
            handle = await kernel.start(translation, body["document"], key=key)
            return 201, {"id": handle.id}
        case "GET", "executions":
            rows = await kernel.list()
            return 200, [{"id": row.id, "key": row.key, "state": row.state} for row in rows]
        case "GET", "executions", id_:
            handle = await kernel.get(id_)
            query = parse_qs(scope["query_string"].decode())
            if "wait" in query:
                await ended(handle, query["wait"][0])
            return 200, shown(await handle.execution())
        case "POST", "executions", id_, "cancel":
            return 200, {"heard": await (await kernel.get(id_)).cancel("asked for over HTTP")}
        case "POST", "executions", id_, "signals", name:
            return 200, {"heard": await (await kernel.get(id_)).signal(name, body)}
        case "POST", "callbacks", id_:
            return 200, {"counts": await kernel.complete_callback(id_, body)}
        case _:
            return 404, {"error": f"there is no {scope['method']} {scope['path']}"}


async def ended(handle: stepwell.Handle[Any], patience: str) -> None:
    """Returns when it has ended, or after that time. How it ended is in its record."""
    try:
        await handle.result(patience)
    except (ExecutionError, DivergenceError, TimeoutError):
        pass


def shown(execution: Execution) -> Message:
    """An execution as this service shows it: with what it waits for, by the ids that answers are given under."""
    waits = [one for one in execution.steps.values() if one.step_type == "wait" and not one.is_terminal]
    return {
        "id": execution.id,
        "state": execution.state,
        "waits_for": {one.name: one.id for one in waits},
        "steps": {one.name: one.state for one in execution.steps.values()},
        "output": execution.output,
        "error": None if execution.error is None else execution.error.to_dict(),
    }


async def read(receive: Receive) -> bytes:
    """The body of a request."""
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    return body
