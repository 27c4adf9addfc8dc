"""The work that the benchmarks do, the same lines for all who do it, and the checks that it was done right."""

import gc
import importlib.util
import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import handwritten

from stepwell import _pure

STEPS = 100_000
MILLION = 1_000_000
NAMES = ("fetch", "parse", "score", "store")
TENANT = "acme"


def makers() -> dict[str, Callable[..., Any]]:
    """What makes an execution, by who it is; native only where the extension was built."""
    found: dict[str, Callable[..., Any]] = {"hand": handwritten.Execution}
    if importlib.util.find_spec("stepwell._native") is not None:
        from stepwell import _native

        found["native"] = _native.Execution
    found["pure"] = _pure.Execution
    return found


MAKERS = makers()


def begun(who: str) -> Any:
    """A new execution that runs."""
    execution = MAKERS[who](tenant=TENANT)
    execution.start()
    return execution


def names_of(count: int) -> list[str]:
    return [NAMES[i % len(NAMES)] for i in range(count)]


def outputs_of(count: int) -> list[str]:
    """A short text for each step, all different."""
    return [f"ok {i}" for i in range(count)]


# --- the work -----------------------------------------------------------------------------------------------------


def one_by_one(execution: Any, names: list[str], outputs: list[str]) -> None:
    """Starts and completes each step before the next one, named by its id as it would be by code far away."""
    start, complete = execution.start_step, execution.complete_step
    for name, output in zip(names, outputs, strict=True):
        complete(start(name).id, output)


def one_by_one_views(execution: Any, names: list[str], outputs: list[str]) -> None:
    """The same where the step itself is at hand; the hand-written version is given its id, which it wants."""
    start, complete = execution.start_step, execution.complete_step
    for name, output in zip(names, outputs, strict=True):
        complete(start(name), output)


def one_by_one_drained(execution: Any, names: list[str], outputs: list[str]) -> list[Any]:
    """The same, and the records of it."""
    one_by_one(execution, names, outputs)
    records: list[Any] = execution.drain()
    return records


def in_bulk(execution: Any, names: list[str], outputs: list[str]) -> None:
    execution.complete_steps(execution.start_steps(names), outputs)


def one_by_one_bare(execution: Any, names: list[str]) -> None:
    """Steps without outputs."""
    start, complete = execution.start_step, execution.complete_step
    for name in names:
        complete(start(name).id)


def in_bulk_bare(execution: Any, names: list[str]) -> None:
    execution.complete_steps(execution.start_steps(names))


def in_bulk_of_one_name(execution: Any, names: list[str]) -> None:
    """As many steps as there are names, all with the first one."""
    execution.complete_steps(execution.start_steps(names[0], count=len(names)))


def back_and_forth(execution: Any, pairs: int) -> None:
    pause, resume = execution.pause, execution.resume
    for _ in range(pairs):
        pause()
        resume()


class Nothing:
    """What a call costs that does nothing."""

    def pause(self) -> None:
        pass

    def resume(self) -> None:
        pass


# --- the checks ---------------------------------------------------------------------------------------------------


def check(execution: Any, names: list[str], outputs: list[str] | None = None) -> None:
    """The execution holds these steps, in order, all completed, with their outputs and times that make sense."""
    steps = list(execution.steps.values())
    assert str(execution.state) == "running", execution.state
    assert len(steps) == len(names)
    assert Counter(str(step.state) for step in steps) == {"completed": len(names)}
    assert [step.name for step in steps] == names
    assert [step.output for step in steps] == (outputs or [None] * len(names))
    assert [step.id for step in steps] == list(execution.steps)
    assert len(set(execution.steps)) == len(steps)
    assert all(
        step.attempt == 1 and step.started_at <= step.ended_at for step in steps[:: len(steps) // 100 or 1]
    )


def check_records(records: list[Any], names: list[str], outputs: list[str]) -> None:
    """The records hold a start and an end of each step, in order, without a gap, with names and outputs."""
    actions = [json.loads(body) for _, _, _, body in records]
    assert [action["seq"] for action in actions] == list(
        range(actions[0]["seq"], actions[0]["seq"] + len(actions))
    )
    assert [action["at"] for action in actions] == sorted(action["at"] for action in actions)
    steps = [action for action in actions if action["kind"].startswith("step_")]
    assert [action["kind"] for action in steps] == ["step_started", "step_completed"] * len(names)
    assert [action["name"] for action in steps[::2]] == names
    assert [action["output"] for action in steps[1::2]] == outputs
    assert [action["step_id"] for action in steps[::2]] == [action["step_id"] for action in steps[1::2]]


# --- quiet --------------------------------------------------------------------------------------------------------


def settle() -> None:
    """What earlier work left behind is collected, and what stays is not walked again: as in a fresh process.

    The collector stays on while something is timed, for objects are part of the cost of what makes them.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    gc.collect()


@contextmanager
def no_collector() -> Iterator[None]:
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
