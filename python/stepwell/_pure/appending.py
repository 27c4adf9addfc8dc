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

    def append_drained(
        self, execution: Any, expected_seq: int, epoch: int, progress: bool, power: bool
    ) -> Ticket | list[tuple[int, int, str, bytes]]:
        """Drains an execution, and asks for the append of that.

        Gives the records back where they need the long way, as all do unless it runs, or where there are none.
        """
        found: list[tuple[int, int, str, bytes]] = execution.drain()
        return found

    def again(self, ticket: Ticket) -> Ticket:
        """Asks once more for what failed. The outcome is the ticket's that is returned."""
        return ticket
