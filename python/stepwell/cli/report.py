"""What the commands that keep a store print."""

import json
import sys
from typing import TYPE_CHECKING, Any

from .terminal import Console, Table, Text
from .text import safe

if TYPE_CHECKING:
    from ..store.doctor import Examination
    from ..store.retention import Purged
    from ..store.transfer import Moved
    from ..store.verify import VerifyReport


def print_line(out: Console, text: str, style: str = "") -> None:
    """One line, with nothing in it that a terminal obeys."""
    out.print(Text(safe(text, 2000), style=style))


def verified_data(found: "VerifyReport") -> dict[str, Any]:
    """A report of `verify` as JSON."""
    return {
        "executions": found.executions,
        "records": found.records,
        "findings": [each._asdict() for each in found.findings],
    }


def print_verified(out: Console, found: "VerifyReport") -> None:
    """A report of `verify`."""
    if found.findings:
        table = Table(box=None, pad_edge=False)
        for title in ("execution", "seq", "what"):
            table.add_column(title, no_wrap=title != "what")
        for execution, seq, what in found.findings:
            table.add_row(
                Text(safe("-" if execution is None else execution)),
                "-" if seq is None else str(seq),
                Text(safe(what, 500), style="red"),
            )
        out.print(table)
    bad = f"{len(found.findings):,} findings" if found.findings else "nothing is wrong"
    print_line(out, f"{found.executions:,} executions, {found.records:,} records: {bad}")


def print_moved(what: str, moved: "Moved", *, as_json: bool, aside: bool) -> None:
    """What an export wrote or an import took; `aside`, on the standard error."""
    target = sys.stderr if aside else sys.stdout
    if as_json:
        target.write(json.dumps(moved._asdict()) + "\n")
        return
    target.write(f"{what} {moved.executions:,} executions, {moved.records:,} records\n")
    if moved.skipped:
        target.write(f"{moved.skipped:,} were there already\n")
    if moved.cut is not None:
        target.write(
            f"the file ends too early: {safe(moved.cut, 500)}; all that is whole before that was taken\n"
        )


def print_purged(out: Console, purged: "Purged", *, dry_run: bool) -> None:
    """What a purge deleted, or would."""
    for state, count in purged.states.items():
        out.print(Text(f"{count:>10,} {safe(state)}"))
    verb = "would be deleted" if dry_run else "are deleted"
    print_line(out, f"{purged.executions:>10,} executions with {purged.records:,} records {verb}")


def print_examination(out: Console, found: "Examination") -> None:
    """How a store is."""
    for name, value in found.facts.items():
        if isinstance(value, dict):
            shown = ", ".join(f"{key} {_shown(part)}" for key, part in value.items()) or "none"
        else:
            shown = _shown(value)
        print_line(out, f"{name.replace('_', ' '):<24} {shown}")
    for title, style, entries in (("found", "red", found.findings), ("note", "yellow", found.notes)):
        for what, todo in entries:
            print_line(out, f"{title}: {what}", style)
            print_line(out, f"       {todo}")
    if not found.findings:
        print_line(out, "nothing is wrong", "green")


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_shown(part)}" for key, part in value.items())
    if isinstance(value, list):
        return "; ".join(map(_shown, value))
    return f"{value:,}" if isinstance(value, int) and value > 9_999 else str(value)
