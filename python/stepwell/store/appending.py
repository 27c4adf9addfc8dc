"""What an append writes: the rows of its records, and their large payloads out of line."""

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

from .. import journal
from .cutting import CUT_BYTES, cut
from .protocol import Record, check_head, conflict, not_found

MARK_EVERY: Final = 1_024
"""Every so many records of an execution there is one that can be found directly."""

Changes: TypeAlias = list[tuple[str, list[tuple[Any, ...]]]]
"""Statements by their names, each with the rows of values that it is run for."""

_bytes = bytes.fromhex


def refused(execution_id: str, action_id: bytes, last: int, answers: list[list[tuple[Any, ...]]]) -> int:
    """What it means that no guard let an append happen: the last seq where it was done before, else raises."""
    mine, fence = answers
    if not fence:
        raise not_found(execution_id)
    if mine == [(action_id,)]:
        return last
    raise conflict(execution_id)


def written(
    tenant: str, execution_id: str, action_id: bytes, records: Sequence[Record], head: str
) -> Changes:
    """The rows of an append: its records, the last one with its `action_id`, and payloads that are kept apart."""
    last = len(records) - 1
    if last == 1:
        (seq, at, kind, body), (end, end_at, end_kind, end_body) = records
        if len(body) < CUT_BYTES > len(end_body) and 0 < end % MARK_EVERY < MARK_EVERY - 1:
            # A step, as most appends are: the same as below.
            first = (tenant, execution_id, seq, at, kind, body, None, _digest(body, end_body), None, None)
            head_bytes = check_head(head)
            second = (
                tenant,
                execution_id,
                end,
                end_at,
                end_kind,
                end_body,
                action_id,
                head_bytes,
                None,
                None,
            )
            return [("insert_first", [first]), ("insert_next", [second])]
    then: Changes = []
    name: str = "insert_first"
    rows: list[tuple[Any, ...]] = []
    payloads: dict[bytes, bytes] = {}
    for index, (seq, at, kind, body) in enumerate(records):
        cut_at = hashed = None
        if len(body) >= CUT_BYTES:
            body, cut_at, hashed, payload = cut(body)
            if hashed is not None:
                payloads[hashed] = payload
        whole = records[index][3]
        mark, digest = (
            (action_id, check_head(head)) if index == last else (None, _digest(whole, records[index + 1][3]))
        )
        rows.append((tenant, execution_id, seq, at, kind, body, mark, digest, cut_at, hashed))
        at_mark = seq % MARK_EVERY == MARK_EVERY - 1
        if index == 0 or at_mark:
            then.append((name, rows))
            name, rows = "insert_next", []
            if at_mark:
                then.append(("insert_mark", [(tenant, execution_id, seq)]))
    if rows:
        then.append((name, rows))
    if payloads:
        then.append(("insert_payload", [(tenant, hashed, payload) for hashed, payload in payloads.items()]))
        then.append(("insert_use", [(tenant, hashed, execution_id) for hashed in payloads]))
    return then


_PREV: Final = b',"prev":"'


def _digest(body: bytes, following: bytes) -> bytes:
    """The digest of a record: the one after has it, if it is a record."""
    start = following.find(_PREV, 0, 40) + len(_PREV)
    if start >= len(_PREV):
        try:
            found = _bytes(following[start : start + 32].decode("ascii"))
        except ValueError:
            found = b""
        if len(found) == 16:
            return found
    return _bytes(journal.digest(body))
