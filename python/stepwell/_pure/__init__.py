"""The pure twin: the kernel in Python alone, the same to a user in everything but speed."""

from ..encoding import Encoded, encode
from .clock import SystemClock
from .execution import Execution
from .ids import IdSource, new_id
from .step import Step


def start_step(
    execution: Execution,
    name: str,
    type: str,
    key: str | None,
    parent: str | Step | None,
    input: bytes | None,
    callable_id: str | None,
    place: str,
    step_id: str | None,
) -> Step:
    """`Execution.start_step` with everything in its place, and an input that is encoded."""
    return execution.start_step(
        name,
        step_id=step_id,
        type=type,
        key=key,
        parent_step_id=parent,
        input=input if input is None else Encoded(input),
        callable_id=callable_id,
        place=place,
    )


__all__ = ["Execution", "IdSource", "Step", "SystemClock", "encode", "new_id", "start_step"]
