"""Blueprints made up at random: a plan is JSON, and this is the code that does what it says.

Each outcome that the code of a plan sees is noted under its path in the plan. Whatever is seen twice, because a process
died in between, has to be the same; each step's own value is new in every attempt, so that none is made up again.
"""

import asyncio
import itertools
import uuid
from collections import Counter
from typing import Any

from hypothesis import strategies as st

import stepwell
from stepwell import Batch, Completion, ExecutionError, RetryPolicy, blueprint, step

seen: dict[str, Any] = {}
"""What the code saw, by path. Emptied for each plan."""
attempts: Counter[str] = Counter()
numbers = itertools.count()


@step(retry=RetryPolicy.never())
async def act(path: str, turns: int, fails: bool) -> str:
    attempts[path] += 1
    for _ in range(turns):
        await asyncio.sleep(0)
    if fails:
        raise LookupError(f"{path} {next(numbers)}")
    return f"{path} {next(numbers)}"


@step(retry=RetryPolicy.never())
def act_blocking(path: str, fails: bool) -> str:
    attempts[path] += 1
    if fails:
        raise LookupError(f"{path} {next(numbers)}")
    return f"{path} {next(numbers)}"


@step(retry=RetryPolicy.attempts(2, base_delay_ms=2_000))
async def act_again(path: str) -> str:
    attempts[path] += 1
    if stepwell.current_step().attempt < 2:
        raise ConnectionError(path)
    return f"{path} {next(numbers)}"


@step
async def use(path: str, value: str) -> str:
    return value


def note(path: str, outcome: Any) -> None:
    known = seen.setdefault(path, outcome)
    assert known == outcome, f"{path} was {known!r}, and is {outcome!r} on replay"


def told(error: BaseException) -> list[Any]:
    if not isinstance(error, ExecutionError):
        return [type(error).__name__]
    cause = error.cause
    inner = None if cause is None else told(cause)
    return [error.category, error.code, error.message, error.step_id, error.exception_type, inner]


def shown(value: Any) -> Any:
    if isinstance(value, Batch):
        errors = {str(at): told(error) for at, error in value.errors.items()}
        counts = [value.total_count, value.success_count, value.failure_count, len(value)]
        return [[[at, out] for at, out in value.succeeded], errors, counts, value.completion_reason]
    return value


async def perform(plan: list[Any], path: str) -> Any:
    """Does one node, and notes what it saw."""
    try:
        value = shown(await perform_kind(plan, path))
    except ExecutionError as error:
        note(path, ["error", told(error)])
        raise
    note(path, ["value", value])
    return value


async def perform_kind(plan: list[Any], path: str) -> Any:
    kind, *given = plan
    if kind == "step":
        return await act(path, *given)
    if kind == "def":
        return await act_blocking(path, *given)
    if kind == "again":
        return await act_again(path)
    if kind == "sleep":
        return await stepwell.sleep(f"{given[0]}s")
    if kind == "uuid":
        return await use(path, f"{stepwell.uuid()} {stepwell.random()} {stepwell.now()}")
    if kind == "checkpoint":
        return await stepwell.checkpoint(str(uuid.uuid4()))
    if kind == "catch":
        try:
            return await perform(given[0], f"{path}c")
        except ExecutionError as error:
            return told(error)
    parts = [(part, f"{path}.{at}") for at, part in enumerate(given[0])]
    if kind == "seq":
        return [await perform(part, own) for part, own in parts]
    if kind == "gather":
        return await asyncio.gather(*(perform(part, own) for part, own in parts))
    if kind == "tasks":
        tasks = [asyncio.create_task(perform(part, own)) for part, own in parts]
        done = [(await asyncio.gather(task, return_exceptions=True))[0] for task in reversed(tasks)]
        return [told(one) if isinstance(one, BaseException) else one for one in done]
    if kind == "scope":
        return await stepwell.scope(perform_all, parts)
    if kind == "child":
        return await stepwell.child(planned, ["seq", given[0]], f"{path}k")
    return await perform_batch(kind, parts, *given[1:])


async def perform_all(parts: list[Any]) -> Any:
    return [await perform(part, own) for part, own in parts]


async def perform_batch(kind: str, parts: list[Any], concurrency: Any, completion: Any) -> Any:
    limit = None if completion is None else Completion(*completion)
    if kind == "map":
        return await stepwell.map(one, parts, concurrency, limit)
    if kind == "map_steps":
        return await stepwell.map(act_again, [own for _, own in parts], concurrency, limit)
    branches = [(own, lambda part=part, own=own: perform(part, own)) for part, own in parts]
    return await stepwell.parallel(branches, concurrency, limit)


async def one(pair: Any) -> Any:
    return await perform(pair[0], pair[1])


@blueprint(name="planned")
async def planned(plan: Any, path: str) -> Any:
    return await perform(plan, path)


# --- making them --------------------------------------------------------------------------------------------------

LEAVES = st.one_of(
    st.tuples(st.just("step"), st.integers(0, 3), st.sampled_from([False, False, False, True])),
    st.tuples(st.just("def"), st.sampled_from([False, False, True])),
    st.tuples(st.just("sleep"), st.integers(0, 3)),
    st.sampled_from([("again",), ("uuid",), ("checkpoint",)]),
).map(list)
COMPLETIONS = st.sampled_from([None, None, [], [1], [2], [None, 0], [None, 1], [1, 0], [None, None, 0.4]])
LIMITS = st.sampled_from([None, None, 1, 2, 3])


def nodes(inner: Any) -> Any:
    parts = st.lists(inner, min_size=0, max_size=3)
    return st.one_of(
        st.tuples(st.sampled_from(["seq", "gather", "tasks", "scope", "child"]), parts),
        st.tuples(st.sampled_from(["map", "parallel", "map_steps"]), parts, LIMITS, COMPLETIONS),
        st.tuples(st.just("catch"), inner),
    ).map(list)


PLANS = st.recursive(LEAVES, nodes, max_leaves=6)
