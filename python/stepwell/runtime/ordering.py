"""In which order a replay lets code see the outcomes that are recorded: that in which they came.

Where one task calls one step after the other that is so by itself. Where several tasks do, whichever of them is resumed
first would see its outcome first, and code that asks which of two was quicker, as `gather` does of two errors, would
be told something else than before. So an outcome whose turn it is not yet waits; the turn of another task comes when
what the last outcome has brought about is at rest. What is not in the record is begun after all of that.

Code that does not come to call what is recorded, because it waits for something else than stepwell's, holds nobody up:
at rest the first of those that are there has its turn.
"""

import asyncio
import heapq
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from .. import errors
from .._spec import STEP_TERMINAL, StepState, StepType

if TYPE_CHECKING:
    from .core import Step
    from .places import Scope
    from .run import Run

_REST: Final = 6
"""Turns of a loop that others keep busy, after which what an outcome has brought about counts as through."""
_LONG_REST: Final = 12
"""The same where one is missing that should come before."""
_THREAD_S: Final = 0.002
_THREAD_LOOKS: Final = 100
_OUTCOMES: Final = (StepState.COMPLETED, StepState.FAILED)

Ended = Callable[[], Awaitable[Sequence[str]]]
"""Gives the ids of the steps of an execution in the order in which they ended."""


class Order:
    """The recorded outcomes of a run that code is still to see."""

    def __init__(self, run: "Run") -> None:
        self._run = run
        self.ended: Ended | None = None
        """Asked where times do not say it."""
        self._numbers: dict[str, int] | None = None
        self._numbering: asyncio.Task[None] | None = None
        self._next = 0
        self._who: object = None
        self._held: list[tuple[int, int, asyncio.Future[None]]] = []
        self._count = 0
        self._rest = 0
        self._looks = 0
        self._replays = -1
        self._watch: asyncio.Handle | None = None

    # --- what has been seen ---------------------------------------------------------------------------------------

    @property
    def is_holding(self) -> bool:
        """Whether anybody waits for its turn."""
        return bool(self._held) or (self._numbering is not None and not self._numbering.done())

    @property
    def is_through(self) -> bool:
        """Whether code has seen all."""
        numbers = self._numbers or self._number()
        return numbers is not None and self._next >= len(numbers) and not self._held

    def passes(self, scope: "Scope", place: str) -> bool:
        """Whether code of `scope` may see the outcome at this place now, which it has then done."""
        numbers = self._numbers or self._number()
        if numbers is None:
            return False
        number = numbers.get(place, -1)
        if number == self._next and self._who in (None, _who(scope)):
            self._who = _who(scope)
            self._next += 1
        return number < self._next

    async def turn(self, scope: "Scope", place: str) -> None:
        """Returns when it is the turn of the outcome at this place, where it does not pass at once."""
        number = (await self.numbers()).get(place, -1)
        if number >= self._next:
            await self._hold(number)
            self._next = max(self._next, number + 1)
            self._who = _who(scope)

    async def end(self) -> None:
        """Returns when the code has seen what is recorded, as far as it comes to that by itself."""
        last = len(await self.numbers())
        if not self.is_through:
            await self._hold(last)

    # --- their order ----------------------------------------------------------------------------------------------

    async def numbers(self) -> dict[str, int]:
        """The places of the outcomes, and which one each is."""
        if self._number() is None:
            if self._numbering is None:
                self._numbering = self._run.kernel.spawn(self._ask())
            await asyncio.shield(self._numbering)
        return self._numbers or {}

    def _number(self) -> dict[str, int] | None:
        """The same, where nobody has to be asked."""
        if self._numbers is None and self._numbering is None:
            found = _found(self._run)
            if self.ended is None or len({time for time, _, _ in found}) == len(found):
                self._sort(found, {})
        return self._numbers

    async def _ask(self) -> None:
        ids: Sequence[str] = ()
        try:
            if self.ended is not None:
                ids = await self.ended()
        except errors.StepwellError:  # the store is in trouble, which others will tell of
            pass
        self._sort(_found(self._run), {id: number for number, id in enumerate(ids)})

    def _sort(self, found: "list[Outcome]", ended: dict[str, int]) -> None:
        # What has ended in this life, before anybody asked, is not among those.
        found.sort(key=lambda one: (one[0], ended.get(one[2].id, len(ended))) if ended else one[0])
        self._numbers = {place: number for number, (_, place, _) in enumerate(found)}

    # --- waiting for one's turn -----------------------------------------------------------------------------------

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
        if run.replays != self._replays:
            self._replays, self._rest = run.replays, 0
        self._rest += 1
        if run.threads_running and self._looks < _THREAD_LOOKS and run.left is None:
            self._looks += 1
            self._watch = run.loop.call_later(_THREAD_S, self._look)
            return
        number, last = self._held[0][0], len(self._numbers or ())
        if self._is_at_rest(number) or run.left is not None:
            heapq.heappop(self._held)[2].set_result(None)
            self._rest = self._looks = 0
            if number == last:  # whatever is not called by now is not waited for
                self._next = last
        if self._held:
            self._watch = run.loop.call_soon(self._look)

    def _is_at_rest(self, number: int) -> bool:
        """Whether all that is about to run has run."""
        if number != self._next:
            return self._rest >= _LONG_REST
        # A loop of asyncio says so itself.
        ready = getattr(self._run.loop, "_ready", None)
        return self._rest >= _REST or (ready is not None and not ready)


Outcome = tuple[Any, str, "Step"]
"""When a step ended, its place, and the step."""


def _who(scope: "Scope") -> object:
    """Whose code it is: a thread's, or a task's, where calls of one scope may be awaited in several."""
    return scope if isinstance(scope.owner, int) else asyncio.current_task()


def _found(run: "Run") -> list[Outcome]:
    inside = _Inside(run.recorded)
    return [
        (step.ended_at, place, step)
        for place, step in run.recorded.items()
        if step.state in _OUTCOMES
        and place[0] != "!"
        and not _is_mark(step)
        and not ("/" in place and inside.is_left_out(place))
    ]


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
            is_batch = step is not None and step.step_type == StepType.SCOPE
            is_batch = is_batch and isinstance(given, dict) and "branches" in given
            out = out or is_branch or (step is not None and step.state in STEP_TERMINAL)
            known = self._known[path] = (out, is_batch)
        return known
