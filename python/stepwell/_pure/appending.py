"""The short way of an append, which the native twin alone has: here statements are put together in Python anyway."""

# ruff: noqa: ARG002 - what it is given is what the twin is given

from collections.abc import Callable
from typing import Any

from .engine import Engine
from .ticket import Ticket


class Appender:
    """One tenant's appends, in one call each.

    It is for bodies shorter than `cut_bytes`. Every so many records of an execution, `mark_every`, one is marked. What
    it means that an append was not done says `refused`, of the execution, the action, the last seq and what was found.
    """

    def __init__(
        self,
        engine: Engine,
        tenant: str,
        cut_bytes: int,
        mark_every: int,
        refused: Callable[[str, bytes, int, Any], Any],
    ) -> None:
        pass

    def append(
        self,
        execution_id: str,
        expected_seq: int,
        epoch: int,
        action_id: bytes,
        records: list[tuple[int, int, str, bytes]],
        row: tuple[Any, ...],
        power: bool,
    ) -> Ticket | None:
        """Asks for an append that needs nothing but its records and the row; `None` where it needs the long way."""
        return None
