"""What the kernel's tests share: ids that count up, executions under a clock that stands still, and refusals."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import pytest

from stepwell import ManualClock, errors, typeid

START_NS = 1_767_225_600_000_000_000
"""Where a `ManualClock` begins: 2026-01-01 00:00 UTC."""

SECOND = 1_000_000_000


class Ids:
    """An id source that counts: the same ids in every run, consecutive as those of one process are."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, prefix: str) -> str:
        self.count += 1
        return made_id(self.count, prefix)


def made_id(number: int, prefix: str = "step") -> str:
    """The id that the `number`th call of `Ids` makes."""
    millisecond = START_NS // 1_000_000
    return typeid.encode(prefix, UUID(int=millisecond << 80 | 0x7 << 76 | 0x2 << 62 | number))


def seed(backend: Any, **given: Any) -> Any:
    """An execution of tenant acme with a clock that stands still and ids that count; its own id is the first."""
    return backend.Execution(**{"tenant": "acme", "clock": ManualClock(), "ids": Ids(), **given})


def running(backend: Any, **given: Any) -> Any:
    """The same, started."""
    execution = seed(backend, **given)
    execution.start()
    return execution


def in_state(backend: Any, state: str) -> Any:
    """An execution in that state, with an open wait step where it is neither created nor ended."""
    execution = seed(backend)
    if state in ("created", "failed", "cancelled"):
        {"created": lambda: None, "failed": lambda: execution.fail("broken"), "cancelled": execution.cancel}[
            state
        ]()
        return execution
    if state == "planning":
        execution.plan()
    else:
        execution.start()
    if state == "completed":
        execution.complete()
        return execution
    execution.start_step("ask", type="wait")
    if state == "paused":
        execution.pause("lunch")
    elif state == "waiting":
        execution.wait("approval")
    return execution


def clock_of(start: int | None = None) -> ManualClock:
    return ManualClock(START_NS if start is None else start)


def bodies(records: Sequence[tuple[int, int, str, bytes]]) -> list[bytes]:
    """The records' bodies alone."""
    return [body for _, _, _, body in records]


@contextmanager
def refused(execution: Any, cls: type[Exception], message: str | None = None) -> Iterator[Any]:
    """Expects exactly this refusal, and that every byte of the execution is as it was."""
    before = None if execution is None else execution.to_json()
    with pytest.raises(cls) as caught:
        yield caught
    assert type(caught.value) is cls
    if message is not None:
        assert str(caught.value) == message
    if execution is not None:
        assert execution.to_json() == before


REFUSALS = {
    name: value
    for name, value in vars(errors).items()
    if callable(value) and not isinstance(value, type) and name.islower() and not name.startswith("_")
    if getattr(value, "__module__", None) == errors.__name__
    if name not in {"key_in_path", "short_path"}  # they say where, and refuse nothing
}
"""The functions of `stepwell.errors` that raise a refusal of the kernel, by name."""


def recorded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the refusals that are raised from now on, in order."""
    called: list[str] = []

    def watching(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*args: Any) -> Any:
            called.append(name)
            return function(*args)

        return watched

    for name, function in REFUSALS.items():
        monkeypatch.setattr(errors, name, watching(name, function))
    return called
