"""An order: money is taken once, a courier has so long to come, and whatever goes wrong, the money goes back.

    python examples/order.py                    # starts order A-1, or goes on with it, and waits for its end
    python examples/order.py A-1 picked-up      # the courier took the parcel; from another terminal, at any time
    python examples/order.py A-1 cancel         # the customer does not want it any more

Kill it at any moment and start it again. Without a courier it gives the money back after half a minute, counted from
when it began to wait, whether or not a process ran meanwhile. The bank is a file: its lines are the money that moved.
"""

import argparse
import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import stepwell
from stepwell import ExecutionError, Kernel, WaitReason, blueprint, step

STORE = os.environ.get("ORDER_STORE", "sqlite:///.stepwell/order.db")
BANK = Path(os.environ.get("ORDER_BANK", ".stepwell/bank.jsonl"))
NO_ANSWER = os.environ.get(
    "ORDER_NO_ANSWER"
)  # the step that is done outside, but is never told so: kill it there


# --- the world outside --------------------------------------------------------------------------------------------


def moved() -> list[dict[str, Any]]:
    """What the bank has moved."""
    return [json.loads(line) for line in BANK.read_text().splitlines()] if BANK.exists() else []


def move_money(key: str, order: str, cents: int) -> str:
    """What a bank does with an idempotency key: the first request moves the money, its repetition moves nothing.

    Returns the number of the receipt, the same each time. A real one plugs in here.
    """
    known = moved()
    receipts = {entry["key"]: number for number, entry in enumerate(known)}
    if key not in receipts:
        receipts[key] = len(known)
        with BANK.open("a") as lines:
            lines.write(json.dumps({"key": key, "order": order, "cents": cents}) + "\n")
    return f"receipt {receipts[key]}"


async def done_outside(line: str) -> None:
    """The world outside has done something, and takes its time to say so."""
    say(line)
    step_name = stepwell.current_step().name
    await asyncio.sleep(3600 if step_name == NO_ANSWER else 0.1)


def say(line: str) -> None:
    """Prints at once, so that it is seen although the process may be killed."""
    print(line, flush=True)


# --- steps --------------------------------------------------------------------------------------------------------


@step
async def reserve(order: str) -> None:
    """Puts the goods aside. Doing so twice is no harm."""
    await done_outside(f"reserved the goods of {order}")


@step
async def put_back(order: str) -> None:
    """The goods are for others again, if they were put aside."""
    await done_outside(f"put back the goods of {order}")


@step(effect="keyed")
async def charge(order: str, cents: int) -> str:
    """Takes the money. After a crash in the middle it is asked for again, with the same key."""
    receipt = move_money(stepwell.current_step().idempotency_key, order, cents)
    await done_outside(f"took {cents} cents for {order}")
    return receipt


@step(effect="keyed")
async def give_back(order: str) -> int:
    """Gives back whatever was taken for the order: all of it, or nothing where nothing was."""
    taken = sum(int(entry["cents"]) for entry in moved() if entry["order"] == order and entry["cents"] > 0)
    if taken:
        move_money(stepwell.current_step().idempotency_key, order, -taken)
    await done_outside(f"gave back {taken} cents for {order}")
    return taken


# --- the blueprint ------------------------------------------------------------------------------------------------


@blueprint(name="order", version="1")
async def order(number: str, cents: int, patience: str) -> dict[str, Any]:
    """Reserves, charges, and waits for the courier; when anything fails, or it is cancelled, undoes what it did.

    What undoes an act is noted *before* the act: when that fails half way, nobody knows how far it came.
    """
    undo: list[Callable[[str], Awaitable[Any]]] = []
    try:
        undo.append(put_back)
        await reserve(number)
        undo.append(give_back)
        receipt = await charge(number, cents)
        await stepwell.sleep("1s", name="time to think it over")
        courier = await stepwell.wait_for("picked-up", timeout=patience, reason=WaitReason.EXTERNAL)
    except (ExecutionError, asyncio.CancelledError):
        for step_back in reversed(undo):
            await step_back(number)
        raise
    return {"receipt": receipt, "courier": courier}


# --- running it ---------------------------------------------------------------------------------------------------


async def run(number: str, cents: int, patience: str) -> int:
    """Starts the order, or goes on with it, and says how it ended. By its key it is always the same one."""
    async with Kernel(STORE, tenant="example", blueprints=[order]) as kernel:
        handle = await kernel.start(order, number, cents, patience, key=number)
        try:
            say(f"{number} is on its way: {await handle.result()}")
        except ExecutionError as error:
            say(f"{number} came to nothing: {error.code}")
            return 1
    return 0


async def tell(number: str, what: str) -> int:
    """Tells an order something. This kernel runs nothing: another process may have the order, or none."""
    async with Kernel(STORE, tenant="example", execute=False) as kernel:
        for row in await kernel.list(blueprint=order.name):
            if row.key == number:
                handle = await kernel.get(row.id)
                if what == "cancel":
                    heard = await handle.cancel("the customer does not want it any more")
                else:
                    heard = await handle.signal(what, "bicycle", id="the courier")
                say(f"{number} was told: {what}" if heard else f"{number} has ended")
                return 0
    say(f"there is no order {number}")
    return 1


def main() -> int:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description="An order with a payment.")
    parser.add_argument("number", nargs="?", default="A-1")
    parser.add_argument("what", nargs="?", choices=["picked-up", "cancel"])
    parser.add_argument("--cents", type=int, default=4200)
    parser.add_argument("--patience", default="30s", help="how long the courier has")
    given = parser.parse_args()
    Path(".stepwell").mkdir(exist_ok=True)
    if given.what:
        return asyncio.run(tell(given.number, given.what))
    return asyncio.run(run(given.number, given.cents, given.patience))


if __name__ == "__main__":
    raise SystemExit(main())
