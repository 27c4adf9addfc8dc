"""In which order a replay lets code see the outcomes that are recorded: that in which they came.

Where one task calls one step after the other that is so by itself. Where several tasks do, whichever of them is resumed
first would see its outcome first, and code that asks which of two was quicker, as `gather` does of two errors, would
be told something else than before. So an outcome whose turn it is not yet waits; each is given out when what the one
before has brought about has come to rest. What is not in the record is begun after all of that.

Code that does not come to call what is recorded, because it waits for something else than stepwell's, holds nobody up:
at rest the first of those that are there has its turn.
"""

import asyncio
import heapq
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from .._spec import STEP_TERMINAL, StepState, StepType

if TYPE_CHECKING:
    from .core import Step
    from .places import Scope
    from .run import Run

_REST: Final = 6
"""Turns of the loop after which what an outcome has brought about counts as through."""
_LONG_REST: Final = 12
"""The same where one is missing that should come before."""
_THREAD_S: Final = 0.002
_THREAD_LOOKS: Final = 100


class Order:
    """The recorded outcomes of a run that code is still to see."""

    def __init__(self, run: "Run", places: Sequence[str], has_ties: bool) -> None:
        self._run = run
        self.has_ties = has_ties
        self._numbers = {place: number for number, place in enumerate(places)}
        self._next = 0
        self._scope: Scope | None = None
        self._held: list[tuple[int, int, asyncio.Future[None]]] = []
        self._count = 0
        self._rest = 0
        self._looks = 0
        self._seen = -1
        self._watch: asyncio.Handle | None = None

    @property
    def is_holding(self) -> bool:
        """Whether anybody waits for its turn."""
        return bool(self._held)

    def has(self, place: str) -> bool:
        """Whether the outcome at this place is one of them."""
        return place in self._numbers

    def number(self, place: str) -> int:
        """Which one it is; behind all others where it is none of them."""
        return self._numbers.get(place, len(self._numbers))

    async def turn(self, scope: "Scope", place: str) -> None:
        """Returns when it is the turn of the outcome at this place, which code of `scope` is about to see."""
        number = self._numbers.get(place)
        if number is None or number < self._next:
            return
        if number > self._next or (self._scope is not None and self._scope is not scope):
            await self._hold(number)
        self._next, self._scope = max(self._next, number + 1), scope

    async def end(self) -> None:
        """Returns when the code has seen what is recorded, as far as it comes to that by itself."""
        if self._next < len(self._numbers) or self._held:
            await self._hold(len(self._numbers))

    async def _hold(self, number: int) -> None:
        held: asyncio.Future[None] = self._run.loop.create_future()
        self._count += 1
        heapq.heappush(self._held, (number, self._count, held))
        self._rest = self._looks = 0
        if self._watch is None:
            self._watch = self._run.loop.call_soon(self._look)
        await held

    def _look(self) -> None:
        self._watch = None
        run = self._run
        while self._held and self._held[0][2].done():  # cancelled
            heapq.heappop(self._held)
        if not self._held:
            return
        if run.replays != self._seen:
            self._seen, self._rest = run.replays, 0
        self._rest += 1
        if run.threads_running and self._looks < _THREAD_LOOKS and run.left is None:
            self._looks += 1
            self._watch = run.loop.call_later(_THREAD_S, self._look)
            return
        number = self._held[0][0]
        if self._rest >= (_REST if number == self._next else _LONG_REST) or run.left is not None:
            heapq.heappop(self._held)[2].set_result(None)
            self._rest = self._looks = 0
            if number == len(self._numbers):  # whatever is not called by now is not waited for
                self._next = number
        if self._held:
            self._watch = run.loop.call_soon(self._look)


def order_of(run: "Run", ended: Sequence[str] | None = None) -> Order | None:
    """The order for a run whose record was sorted by places; `None` where only one task has anything in it.

    `ended` are the ids of steps in the order of their ends. Without it the times of those say, where they differ.
    """
    if not any("/" in place for place in run.recorded):
        return None
    known = {id: number for number, id in enumerate(ended or ())}
    inside = _Inside(run.recorded)
    found: list[tuple[Any, int, str]] = []
    for place, step in run.recorded.items():
        if place[0] == "!" or step.state not in (StepState.COMPLETED, StepState.FAILED):
            continue
        if not _is_mark(step) and not inside.is_left_out(place):
            found.append((step.ended_at, known.get(step.id, 0), place))
    if len(found) < 2:
        return None
    found.sort(key=lambda one: one[:2])
    return Order(run, [place for _, _, place in found], len({one[:2] for one in found}) < len(found))


def _is_mark(step: "Step") -> bool:
    """Whether it is the time, a random number or the like: code is given that at once."""
    return step.step_type == StepType.FUNCTION and step.callable_id is None


class _Inside:
    """What is inside of groups: of those that have ended nothing is called again, of branches only after the ended."""

    def __init__(self, recorded: "dict[str, Step]") -> None:
        self._recorded = recorded
        self._known: dict[str, tuple[bool, bool]] = {"": (False, False)}

    def is_left_out(self, place: str) -> bool:
        path, slash, _ = place.rpartition("/")
        return self._of(path)[0] if slash else False

    def _of(self, path: str) -> tuple[bool, bool]:
        """Of what is directly inside: whether it is left out, and whether it is the branches of a batch."""
        known = self._known.get(path)
        if known is None:
            outer, slash, _ = path.rpartition("/")
            out, is_branch = self._of(outer if slash else "")
            step = self._recorded.get(path)
            given = None if step is None else step.input
            is_batch = isinstance(given, dict) and "branches" in given and step.step_type == StepType.SCOPE  # type: ignore[union-attr]
            out = out or is_branch or (step is not None and step.state in STEP_TERMINAL)
            known = self._known[path] = (out, is_batch)
        return known
