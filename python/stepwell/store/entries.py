"""What the store in memory keeps of one execution."""

from collections.abc import Sequence

from .protocol import Delivery, ExecutionRow, Projection, Record, Records


class Entry:
    """One execution. What an append changes is kept beside the row, which is made when it is asked for."""

    __slots__ = ("_row", "action_ids", "inbox", "last", "now", "opened", "records", "taken")

    def __init__(self, row: ExecutionRow) -> None:
        self._row = row
        self.now: Projection | None = None
        self.last: Record = (row.version, row.updated_at_ns, "", b"")
        self.records: Records = []
        self.action_ids: dict[int, bytes] = {}
        self.inbox: dict[str, Delivery] = {}
        self.taken: set[str] = set()
        self.opened: list[str] = []

    @property
    def row(self) -> ExecutionRow:
        now = self.now
        if now is not None:
            self.now = None
            self._row = self._row._replace(
                state=now.state,
                wait_reason=now.wait_reason,
                head=now.head,
                wake_at_ns=now.wake_at_ns,
                version=self.last[0],
                updated_at_ns=self.last[1],
            )
        return self._row

    @row.setter
    def row(self, row: ExecutionRow) -> None:
        self._row = row

    @property
    def epoch(self) -> int:
        return self._row.epoch

    def write(self, action_id: bytes, records: Sequence[Record], row: Projection) -> None:
        self.records.extend(records)
        self.last = records[-1]
        self.action_ids[self.last[0]] = action_id
        if row.progress and self._row.claims:
            self._row = self._row._replace(claims=0)
        self.now = row


def is_usual(action_id: bytes, row: Projection, durability: str) -> bool:
    """Whether these are as the runtime gives them for a step: beside the head there is nothing to be checked then."""
    return (
        row.wake_at_ns is None
        and row.wait_reason is None
        and row.state == "running"
        and action_id.__class__ is bytes
        and (durability == "power" or durability == "process")  # noqa: PLR1714 - quicker than a tuple
    )
