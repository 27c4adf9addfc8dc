"""An agent: a model decides, tools act, a person approves what costs money, and there is a budget.

    python examples/agent.py                    # starts it, or goes on where it was
    python examples/agent.py yes                # approves the refund that it asks for, from another terminal; or no

Kill it at any moment and start it again: an answer of the model that is recorded is not paid for again, and what a tool
did is not done again. The approval may come while no process runs. What it prints is what it really does.
"""

import asyncio
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import stepwell
from stepwell import (
    ExecutionError,
    Kernel,
    ResourceLimits,
    RetryPolicy,
    StepType,
    WaitReason,
    blueprint,
    step,
)

STORE = os.environ.get("AGENT_STORE", "sqlite:///.stepwell/agent.db")
BUDGET = float(os.environ.get("AGENT_BUDGET", "0.05"))
THINKING = float(os.environ.get("AGENT_THINKING", "0.5"))
QUESTION = "Order 17 came broken. I would like my money back. Ada"
PRICE_OF_A_TOKEN = 0.00002
TURNS = 10
FREE_CENTS = 1000  # so much may be given back without asking

Message = dict[str, Any]


# --- the model ----------------------------------------------------------------------------------------------------


@dataclass
class Reply:
    """What a model answers: a call of a tool, or a text, which is its last word."""

    text: str = ""
    tool: str | None = None
    arguments: dict[str, Any] = field(default_factory=dict)
    tokens: int = 0


async def complete(messages: list[Message]) -> Reply:
    """Asks the model. A real provider plugs in here, and nowhere else: send it the messages and `TOOLS`.

    This one is a function of the messages. What a provider raises is tried again where the error says that this makes
    sense; raise `ExecutionError("llm", "rate_limit", …)` and the like to say so yourself.
    """
    await asyncio.sleep(THINKING)
    tokens = 50 + sum(len(str(message["content"])) for message in messages) // 4
    results = {message["tool"]: message["content"] for message in messages if message["role"] == "tool"}
    if "look_up" not in results:
        return Reply(tool="look_up", arguments={"order": "17"}, tokens=tokens)
    if "refund" not in results:
        cents = results["look_up"]["cents"]
        return Reply(tool="refund", arguments={"order": "17", "cents": cents}, tokens=tokens)
    if "write_to" not in results:
        text = "You have it back." if "receipt" in results["refund"] else "I have passed it on."
        return Reply(tool="write_to", arguments={"name": "Ada", "text": text}, tokens=tokens)
    return Reply(text=f"Told Ada: {results['write_to']['sent']}", tokens=tokens)


@step(type=StepType.LLM, retry=RetryPolicy.attempts(4), timeout="60s", record_input=False)
async def think(messages: list[Message]) -> Reply:
    """One turn of the model, and what it cost; the turn that passes the budget fails, and its answer is not used.

    Its input is not recorded with it: it is in the record already, as the results of the steps before.
    """
    reply = await complete(messages)
    stepwell.current_step().add_usage("tokens", reply.tokens)
    stepwell.current_step().add_usage("cost", reply.tokens * PRICE_OF_A_TOKEN)
    say(f"model: {reply.text or reply.tool}")
    return reply


# --- the tools ----------------------------------------------------------------------------------------------------


@step(type=StepType.TOOL)
def look_up(order: str) -> dict[str, Any]:
    """What the shop knows of an order."""
    say(f"tool: looked up order {order}")
    return {"order": order, "cents": 4200, "customer": "Ada"}


@step(type=StepType.TOOL, effect="keyed")
def refund(order: str, cents: int) -> dict[str, Any]:
    """Gives money back. Whoever keeps the money knows this attempt from a new wish by the key."""
    key = stepwell.current_step().idempotency_key
    say(f"tool: gave back {cents} cents for order {order}")
    return {"receipt": key[:8]}


@step(type=StepType.TOOL, effect="keyed")
def write_to(name: str, text: str) -> dict[str, Any]:
    """Writes to a customer."""
    say(f"tool: wrote to {name}: {text}")
    return {"sent": text}


TOOLS: dict[str, Callable[..., Any]] = {"look_up": look_up, "refund": refund, "write_to": write_to}


def needs_approval(reply: Reply) -> bool:
    """Whether a person has to be asked before this call."""
    return reply.tool == "refund" and reply.arguments["cents"] > FREE_CENTS


# --- the loop -----------------------------------------------------------------------------------------------------


async def act(reply: Reply) -> Any:
    """Calls the tool that the model wants. What goes wrong with it is the model's to know."""
    if reply.tool not in TOOLS:
        return {"error": f"there is no tool {reply.tool}"}
    if needs_approval(reply):
        await stepwell.run_step(ask_for_approval, reply.tool, reply.arguments)
        answer = await stepwell.wait_for("approval", timeout="7d", reason=WaitReason.APPROVAL)
        if not answer["approved"]:
            return {"refused": "a person said no"}
    try:
        return await TOOLS[reply.tool](**reply.arguments)
    except ExecutionError as error:
        return {"error": error.message}


@step
def ask_for_approval(tool: str, arguments: dict[str, Any]) -> None:
    """Tells a person. Here it prints; a mail or a message with a link would do."""
    say(f"approval needed: {tool} {arguments}; say yes or no with: python {sys.argv[0]} yes")


@blueprint(name="agent", version="1")
async def agent(question: str) -> str:
    """Lets the model call tools until it has an answer, its turns are over, or the money is."""
    messages: list[Message] = [{"role": "user", "content": question}]
    for _ in range(TURNS):
        try:
            reply = await think(messages)
        except ExecutionError as error:
            if error.category == "quota_exceeded":
                return "Stopped: the budget is used up."
            raise
        if reply.tool is None:
            return reply.text
        messages.append({"role": "assistant", "content": f"{reply.tool} {reply.arguments}"})
        messages.append({"role": "tool", "tool": reply.tool, "content": await act(reply)})
    return "Stopped: too many turns."


# --- running it ---------------------------------------------------------------------------------------------------


def say(line: str) -> None:
    """Prints at once, so that it is seen although the process may be killed."""
    print(line, flush=True)


async def run() -> None:
    """Starts the agent, or goes on with it, and prints its answer."""
    limits = ResourceLimits(max_cost=BUDGET)
    async with Kernel(STORE, tenant="example", limits=limits, blueprints=[agent]) as kernel:
        handle = await kernel.start(agent, QUESTION, key="ada")
        say(f"answer: {await handle.result()}")
        execution = await handle.execution()
        say(f"cost: {execution.usage.get('cost', 0):.4f} of {BUDGET}")


async def answer(approved: bool) -> None:
    """Tells every agent that waits for an approval. This kernel runs nothing: another process may have it, or none."""
    async with Kernel(STORE, tenant="example", execute=False) as kernel:
        for row in await kernel.list(state="waiting"):
            if row.wait_reason == WaitReason.APPROVAL:
                handle = await kernel.get(row.id)
                await handle.signal("approval", {"approved": approved})
                say(f"told {row.id}")


if __name__ == "__main__":
    Path(".stepwell").mkdir(exist_ok=True)
    asyncio.run(answer(sys.argv[1] == "yes") if sys.argv[1:] else run())
