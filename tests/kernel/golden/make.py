"""Makes the golden journals: `PYTHONPATH=tests python -m kernel.golden.make` adds what is not there yet.

A journal that was readable once is readable for ever, so a file here is never changed: where the format grows, a
scenario is added. `<format>-<name>.jsonl` has the bodies of the records, one a line, `<format>-<name>.json` what
`to_json` gives afterwards, `SHA256SUMS` what `sha256sum -c` compares.
"""

import hashlib
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

from kernel.support import START_NS, bodies, made_id, seed
from stepwell import ExecutionError, ManualClock, ParentLink, RetryPolicy, StepSource, _pure
from stepwell._spec import FORMAT, ParentType, StepType, WaitReason

HERE = Path(__file__).parent
SUMS = HERE / "SHA256SUMS"


class Point(NamedTuple):
    x: int
    y: float


class Colour(Enum):
    RED = "red"


def everything(backend: Any) -> Any:
    """Every kind of action but the two other ends, each with all its fields."""
    clock = ManualClock()
    ex = seed(backend, clock=clock, input={"first": 1})
    clock.advance("1ms")
    ex.plan()
    clock.advance("1s")
    ex.start()
    scope = ex.start_step("scope", type="scope")
    step = ex.schedule_step(
        "fetch", type="tool", key="k", parent_step_id=scope, input={"url": "…"}, place="scope:0/fetch:0",
        source=StepSource.discovered(by=scope.id, reason="it was missing", depth=1), callable_id="m.fetch",
    )  # fmt: skip
    clock.advance("250ms")
    ex.start_step("fetch", step_id=step)
    ex.add_usage(step, "tokens", 12.5)
    ex.retry_step(step, ConnectionError("refused"), retry_at=START_NS + 5_000_000_007)
    clock.advance("10s")
    ex.start_step(step_id=step.id)
    ex.complete_step(step, {"bytes": 512})
    ex.fail_step(ex.schedule_step("late", source=StepSource.retry(step.id)), "given up")
    ex.skip_step(ex.schedule_step("perhaps", source=StepSource.initial_plan()), "not needed")
    ex.cancel_step(
        ex.start_step("slow", source=StepSource.user_guidance("ann"), callable_id="m.slow"), "too slow"
    )
    ask = ex.start_step("ask", type="wait", parent_step_id=scope.id)
    for reason in WaitReason:
        ex.wait(reason)
        ex.resume()
    ex.wait("approval")
    ex.pause("lunch")
    ex.input_received(ask, {"yes": True})
    ex.resume()
    ex.pause()
    ex.resume()
    ex.input_received(payload="nobody asked")
    ex.complete_step(scope)
    many = ex.schedule_steps(["a", "b"])
    ex.complete_steps(ex.start_steps(steps=many), output=1)
    ex.fail_steps(ex.start_steps("c", count=2), error="broken")
    ex.cancel_steps(ex.start_steps("d", count=2), "enough")
    clock.advance("1h")
    ex.complete(["done"])
    return ex


def failed(backend: Any) -> Any:
    """The end by an error with all its fields, while steps of every type are open."""
    ex = seed(backend)
    ex.start()
    for kind in StepType:
        ex.start_step(kind.value, type=kind)
        ex.schedule_step(f"{kind} later", type=kind)
    root = ExecutionError("network", "tls", "handshake", details={"peer": "é"})
    ex.fail(
        ExecutionError(
            "llm", "rate_limit", "slow down", retry_policy=RetryPolicy.attempts(5), attempt=2, step_id=made_id(2),
            provider="p", http_status=429, details={"limit": [1, None]}, cause=root, exception_type="RateLimited",
            occurred_at=datetime(2026, 1, 1, 12, 30, 0, 250, tzinfo=timezone(timedelta(hours=2))),
        )
    )  # fmt: skip
    return ex


def cancelled(backend: Any) -> Any:
    """The end by a cancellation while it waits and is paused."""
    clock = ManualClock()
    ex = seed(backend, clock=clock)
    ex.plan()
    ex.start_step("ask", type="wait")
    ex.wait("user_input")
    ex.pause("closed for the night")
    clock.advance("12h")
    ex.cancel("nobody came")
    return ex


def header(backend: Any) -> Any:
    """A header with every field."""
    return seed(
        backend, parent=ParentLink(ParentType.STEP_EXECUTION, made_id(77)), schema_version="sha256:00ff",
        blueprint="shop.orders.order", key="order-1234", input=[["a", 2]],
    )  # fmt: skip


def bulk(backend: Any) -> Any:
    """Bulk actions in all their forms: runs, gaps, one value for all, one each, none for some."""
    clock = ManualClock()
    ex = seed(backend, clock=clock)
    ex.start()
    scope = ex.start_step("map", type="scope", key="m")
    first = ex.schedule_steps(
        ["a", "b", "c", "d"], type="llm", keys=["k1", "k2", "k3", "k4"], parent_step_id=scope, callable_id="m.f",
        inputs=[1, None, {"x": []}, "…"], source=StepSource.initial_plan(),
        places=["map:0/a:0", "map:0/b:0", "map:0/c:0", "map:0/d:0"],
    )  # fmt: skip
    clock.advance("3ms")
    ex.start_steps(steps=first[::2])
    ex.start_steps(["b", "e", "d"], steps=[first[1].id, made_id(50_000), first[3].id])
    ex.complete_steps([first[3], first[0], made_id(50_000)], [None, "zero", 0])
    ex.fail_steps([first[1], first[2]], ["one", TimeoutError("two")])
    ex.start_steps("same", count=90, input={"shared": True})
    clock.advance("3ms")
    for position in range(6, 66, 20):
        ex.complete_steps(ex.step_order[position : position + 20], output="same")
    ex.cancel_steps(ex.step_order[66:])
    ex.fail_steps(ex.schedule_steps("late", count=3), error="late")
    ex.complete_step(scope)
    ex.complete()
    return ex


def same(backend: Any) -> Any:
    """Bulk actions that say once what is the same for all."""
    ex = seed(backend, clock=ManualClock())
    ex.start()
    ex.schedule_steps("a", keys=["k", "k"], places=["map:0", "map:0"])
    steps = ex.start_steps(["b", "b"], keys=["k", "k"], inputs=[1, 1], places=["map:1", "map:1"])
    ex.complete_steps(steps, ["same", "same"])
    return ex


def payloads(backend: Any) -> Any:
    """Text of every kind, and every type that has a JSON form without a further library."""
    values = {
        "escapes": '"\\/\b\f\n\r\t\0\x1f\x7f',
        "lines": "\u2028\u2029\u0085",
        "scripts": "grüße, 世界, שלום, 👩‍👩‍👧‍👦, e\u0301, \ufeff, \uffff, \U0010ffff",
        "empty": ["", [], {}, ()],
        "integers": [0, -1, 2**63 - 1, -(2**63), 2**64 - 1],
        "floats": [0.0, -0.0, 1.0, 0.1, 1e15, 1e16, 1e22, 1.5e300, 1e-4, 1e-5, -1.5e-7, 5e-324, 2**0.5],
        "words": [None, True, False],
        "times": [
            datetime(2026, 1, 1, tzinfo=UTC), datetime(1, 1, 1, 1, 2, 3, 4, tzinfo=timezone(-timedelta(hours=5))),
            date(2026, 2, 28), time(12, 30, tzinfo=UTC),
        ],
        "others": [UUID(int=7), Colour.RED, Point(1, 2.5), StepType.TOOL, ("a", ["b"])],
        "": {"": {"": None}},
    }  # fmt: skip
    ex = seed(
        backend, tenant="a tenant, ünïcode / 租户", key="\"k\\ey'", blueprint="m.<locals>.f", input=values
    )
    ex.start()
    for name, value in values.items():
        step = ex.start_step(name or "no name", input={name: value}, place=f"{name}/é:0")
        ex.complete_step(step, value)
    deep: Any = "bottom"
    for level in range(128):
        deep = [deep] if level % 2 else {"in": deep}
    ex.skip_step(ex.schedule_step("note"), "a reason\nof two lines\twith \x1b[31mcolour\x1b[0m and NUL \0")
    ex.complete(deep)
    return ex


def retries(backend: Any) -> Any:
    """Many attempts, with and without a due time, and usage in millionths."""
    clock = ManualClock()
    ex = seed(backend, clock=clock)
    ex.start()
    step = ex.start_step("flaky", type="tool")
    for attempt in range(1, 6):
        ex.add_usage(step, "tokens", 1000 * attempt)
        ex.add_usage(step, "cost", 0.1)
        clock.advance(attempt)
        due = None if attempt % 2 else datetime(2026, 1, 1, 0, 1, attempt, tzinfo=UTC)
        ex.retry_step(step, ExecutionError("network", "reset", f"try {attempt}", attempt=attempt), due)
        clock.advance("1ms")
        ex.start_step(step_id=step)
    ex.add_usage(step, "tokens", -500)
    ex.add_usage(step, "größe", 2.5e-6)
    ex.complete_step(step, "at last")
    other = ex.start_step("hopeless")
    ex.add_usage(other, "cost", 1e-6)
    ex.retry_step(other, ValueError("no"), START_NS + 3600 * 10**9 + 1)
    ex.fail_step(other, "given up")
    ex.retry_step(ex.start_step("open"), "later", START_NS + 7200 * 10**9)
    return ex


def undrained(backend: Any) -> Any:
    """An execution whose last actions were not drained: they are in the snapshot."""
    ex = retries(backend)
    ex.drain()
    ex.pause("half way")
    ex.fail_steps(ex.step_order[-1:], ["é"])
    ex.resume()
    return ex


def tenantless(backend: Any) -> Any:
    """An execution that nothing was drained of."""
    ex = seed(backend, tenant=None, input="…")
    ex.start()
    ex.complete_steps(ex.start_steps(["a", "b"]), ["…", None])
    return ex


SCENARIOS: dict[str, Callable[[Any], Any]] = {
    "everything": everything,
    "failed": failed,
    "cancelled": cancelled,
    "header": header,
    "bulk": bulk,
    "same": same,
    "payloads": payloads,
    "retries": retries,
}
UNDRAINED: dict[str, Callable[[Any], Any]] = {"undrained": undrained, "tenantless": tenantless}
"""Snapshots alone."""


def made(backend: Any, name: str) -> dict[str, bytes]:
    """The contents of the scenario's files by file name."""
    if name in UNDRAINED:
        return {f"{FORMAT}-{name}.json": UNDRAINED[name](backend).to_json() + b"\n"}
    ex = SCENARIOS[name](backend)
    lines = b"".join(body + b"\n" for body in bodies(ex.drain()))
    return {f"{FORMAT}-{name}.jsonl": lines, f"{FORMAT}-{name}.json": ex.to_json() + b"\n"}


def main() -> None:
    for name in [*SCENARIOS, *UNDRAINED]:
        for file, content in made(_pure, name).items():
            if not (HERE / file).exists():
                (HERE / file).write_bytes(content)
                with SUMS.open("a", encoding="ascii") as sums:
                    sums.write(f"{hashlib.sha256(content).hexdigest()}  {file}\n")
                print(f"added {file}")


if __name__ == "__main__":
    main()
