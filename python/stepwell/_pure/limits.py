"""What a tenant's limits refuse and warn of."""

from typing import TYPE_CHECKING

from .. import errors, journal, model
from ..fields import MICRO
from ..journal import Fields

if TYPE_CHECKING:
    from .execution import Execution

MAX_STEPS = 2**32 - 1
_PAYLOADS = ("input", "output", "payload")


def quota(
    ex: "Execution", limit: str, used: float, maximum: float | None, step_id: str | None = None
) -> None:
    """Refuses what is over a limit; from 80 % on the limit is to be warned of once."""
    if maximum is None:
        return
    if used > maximum:
        errors.quota_exceeded(limit, float(used), float(maximum), step_id)
    if used >= model.WARN_AT * maximum and limit not in ex._warned:
        ex._warnings.append((limit, float(used), float(maximum)))
        ex._warned.add(limit)


def check_growth(ex: "Execution", count: int, at: int) -> None:
    """Whether so many more steps may be there, and steps may start at this time."""
    steps = len(ex._columns.states) + count
    if steps > MAX_STEPS:
        errors.too_many_steps()
    limits = ex._limits
    if limits is not None:
        quota(ex, "max_steps", steps, limits.max_steps)
        if ex._started is not None:
            quota(ex, "max_wall_time_ms", (at - ex._started) / 1e6, limits.max_wall_time_ms)


def check_payload(ex: "Execution", fields: Fields) -> None:
    """Errors do not count: they are short by themselves, and an execution must be able to fail."""
    limits = ex._limits
    if limits is not None and limits.max_payload_bytes is not None:
        for name in _PAYLOADS:
            if fields.get(name) is not None:
                quota(ex, "max_payload_bytes", len(fields[name]), limits.max_payload_bytes)


def check_payloads(ex: "Execution", fields: Fields) -> None:
    """The same for each of the steps of a bulk action; an error carries the `index` of its element and its id."""
    limits = ex._limits
    if limits is None or limits.max_payload_bytes is None or not fields["steps"]:
        return
    maximum = limits.max_payload_bytes
    for name in _PAYLOADS:
        values = fields.get(name + "s") or [fields.get(name)]
        if max((len(value) for value in values if value is not None), default=-1) < model.WARN_AT * maximum:
            continue  # the most common case, without a look at each
        for index, value in enumerate(values):
            if value is None:
                continue
            try:
                step_id = None if len(value) <= maximum else journal.ids_of(fields["steps"])[index]
                quota(ex, "max_payload_bytes", len(value), maximum, step_id)
            except errors.StepwellError as error:
                error.index = index
                raise


def check_usage(ex: "Execution", index: int, fields: Fields) -> None:
    """Whether the sums stay within 64 bits, and within the limits of those that have one."""
    counter, amount = fields["counter"], fields["amount_micros"]
    total = ex._usage.get(counter, 0) + amount
    own = ex._columns.more["usage"].get(index, {}).get(counter, 0) + amount
    if not -(2**63) <= total < 2**63 or not -(2**63) <= own < 2**63:
        errors.usage_overflow(counter)
    limits = ex._limits
    if limits is not None and counter in ("tokens", "cost"):
        quota(ex, f"max_{counter}", total / MICRO, getattr(limits, f"max_{counter}"))
