"""One life of a kernel that may die at a write: what is due is brought about, and what is asked is answered."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, NamedTuple, cast

from .. import errors
from .._spec import EXECUTION_TERMINAL, ExecutionState, StepState, StepType
from ..clock import ManualClock
from ..model import ResourceLimits
from ..runtime import records
from ..runtime.core import Execution, Step
from ..runtime.diverging import DIVERGED
from ..runtime.functions import Blueprint
from ..runtime.kernel import Kernel
from ..runtime.stopping import IN_DOUBT
from ..runtime.values import Codec
from ..store import ExecutionRow, Store, StoreSource
from .comparing import Left
from .dying import DyingSource

KEY: Final = "crash"
_POLL_S: Final = 0.0005
_PATIENCE_S: Final = 3.0
"""So many seconds without anything that can be done mean that there is nothing."""
_LEAVES_S: Final = 0.05
_THREADS: Final = ("stepwell-step", "stepwell-blueprint")
_JOIN_S: Final = 30.0


class _Silence:
    """The answer of somebody who does not answer."""

    def __repr__(self) -> str:
        return "SILENCE"


SILENCE: Final[Any] = _Silence()
"""What `respond` returns where nobody answers: the clock goes on to the time-out."""


class Pending(NamedTuple):
    """A wait that somebody may answer. `kind` is `"signal"` or `"callback"`; a callback's id is its `step_id`."""

    kind: str
    name: str
    execution_id: str
    step_id: str
    blueprint: str | None
    place: str | None


Respond = Mapping[str, Any] | Callable[[Pending], Any]


class Plan(NamedTuple):
    """What is run in every life."""

    blueprint: Blueprint[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    tenant: str
    respond: Respond
    durability: str
    codec: Codec | None
    limits: ResourceLimits | None
    hooks: Sequence[object]
    seconds: float


class Ending(NamedTuple):
    """How a life ended that nothing cut short."""

    result: Any
    error: BaseException | None


class Watcher:
    """A hook that sees which steps run, over all lives of a history."""

    def __init__(self) -> None:
        self.broken: list[str] = []
        self.doubt: tuple[str, str] | None = None
        self._ran: set[tuple[str, str]] = set()
        self._done: set[tuple[str, str]] = set()
        self._once: set[tuple[str, str]] = set()
        self._open: set[tuple[str, str]] = set()

    def begins(self, store: Store) -> None:
        """A life begins: what is recorded now as completed must not run in it."""
        for row in store.list(None, None, 1000).wait():
            self._done |= {
                (row.id, _place(step))
                for step in records.load(store, row).steps.values()
                if step.state == StepState.COMPLETED
            }

    def has_run(self, execution_id: str, step: Step) -> bool:
        """Whether code of this step was ever begun."""
        return (execution_id, _place(step)) in self._ran

    def _step_once(self, execution: Execution, step: Step) -> None:
        self._once.add((execution.id, _place(step)))

    def _step_in_doubt(self, execution: Execution, step: Step) -> None:
        self.doubt = execution.id, step.id

    def execution_started(self, execution: Execution, replay: bool) -> None:
        """Part of a hook."""
        if replay:
            steps = execution.steps.values()
            self._done |= {
                (execution.id, _place(step)) for step in steps if step.state == StepState.COMPLETED
            }

    def step_started(self, execution: Execution, step: Step) -> None:
        """Part of a hook."""
        known = execution.id, _place(step)
        what = f"step {step.name!r} at place {_place(step)} of {execution.blueprint}"
        if known in self._done:
            self.broken.append(f"{what} ran again, though its completion was recorded")
        if known in self._once and known in self._open:
            self.broken.append(f"{what} ran twice, and has effect once")
        self._ran.add(known)
        self._open.add(known)

    def step_ended(self, execution: Execution, step: Step) -> None:
        """Part of a hook."""
        self._open.discard((execution.id, _place(step)))


def _place(step: Step) -> str:
    return step.place or step.id


class Life:
    """A kernel from its start until its store dies, or until everything has ended."""

    def __init__(
        self,
        plan: Plan,
        source: DyingSource,
        clock: ManualClock,
        watcher: Watcher,
        undisturbed: Left | None,
    ) -> None:
        self._plan = plan
        self._source = source
        self._clock = clock
        self._watcher = watcher
        self._undisturbed = undisturbed
        self._store = source.source.open(plan.tenant)
        self._answered: set[str] = set()
        self._loaded: dict[str, tuple[int, Execution]] = {}
        self._in_memory: dict[str, tuple[int, float]] = {}
        self._idle_since: float | None = None

    def run(self) -> Ending | None:
        """How it ended; `None` where it died. Raises `AssertionError` where it does not come to an end."""
        before = {*threading.enumerate()}
        self._watcher.begins(self._store)
        plan = self._plan
        kernel = Kernel(
            cast("StoreSource", self._source),
            tenant=plan.tenant,
            limits=plan.limits,
            durability=plan.durability,
            clock=self._clock,
            codec=plan.codec,
            hooks=[self._watcher, *plan.hooks],
        )
        kernel.linger_s = 0.0
        loop = asyncio.new_event_loop()
        try:
            return loop.run_until_complete(self._live(kernel))
        finally:
            loop.run_until_complete(_bury(loop, kernel, before))
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()
            self._source.close()
            self._store.close()

    async def _live(self, kernel: Kernel) -> Ending | None:
        await kernel.__aenter__()
        plan, died = self._plan, self._source.died
        work = asyncio.ensure_future(kernel.run(plan.blueprint, *plan.args, key=KEY, **plan.kwargs))
        death = asyncio.ensure_future(died.wait())
        drive = asyncio.ensure_future(self._drive(kernel, work))
        await asyncio.wait({death, drive}, timeout=plan.seconds, return_when=asyncio.FIRST_COMPLETED)
        if died.is_set():
            return None
        if not drive.done():
            raise AssertionError(f"nothing came to an end in {plan.seconds:g} s: {self._standing()}")
        drive.result()
        closing = asyncio.ensure_future(kernel.close())
        await asyncio.wait({death, closing}, return_when=asyncio.FIRST_COMPLETED)
        error = work.exception()
        if error is not None and not isinstance(error, Exception):
            raise error
        return Ending(None if error is not None else work.result(), error)

    # --- bringing about what is waited for ------------------------------------------------------------------------

    async def _drive(self, kernel: Kernel, work: "asyncio.Future[Any]") -> None:
        while True:
            await asyncio.sleep(_POLL_S)
            rows = self._store.list(None, None, 1000).wait()
            rows = [row for row in rows if row.state not in EXECUTION_TERMINAL]
            if work.done() and (not rows or work.exception() is not None):
                return
            if any(self._is_busy(kernel, row) for row in rows):
                self._idle_since = None
            elif rows:
                await self._help(kernel, rows)

    def _is_busy(self, kernel: Kernel, row: ExecutionRow) -> bool:
        run = kernel.running(row.id)
        if run is not None:
            if run.execution.state != ExecutionState.WAITING or row.state != ExecutionState.WAITING:
                return True
            # It leaves memory at once, unless its code uses a timer that would be lost by that.
            version, since = self._in_memory.get(row.id, (-1, 0.0))
            if version != row.version:
                self._in_memory[row.id] = row.version, time.monotonic()
                return True
            return time.monotonic() - since < _LEAVES_S
        return row.state in (ExecutionState.RUNNING, ExecutionState.PLANNING)

    async def _help(self, kernel: Kernel, rows: list[ExecutionRow]) -> None:
        now = time.monotonic()
        since = self._idle_since = self._idle_since or now
        for row in rows:
            if row.state == ExecutionState.PAUSED:
                await self._settle(kernel, row)
            elif await self._answer(kernel, row):
                return
        due = [row.wake_at_ns for row in rows if row.wake_at_ns is not None and row.state != "paused"]
        ahead = 0 if not due else min(due) - self._clock.now_ns()
        if ahead > 0:
            self._clock.advance(timedelta(microseconds=-(-ahead // 1000)))
            self._idle_since = None
        elif now - since > min(_PATIENCE_S, self._plan.seconds / 2) and not due:
            raise AssertionError(f"nothing goes on any more, and nobody answers: {self._standing()}")

    async def _answer(self, kernel: Kernel, row: ExecutionRow) -> bool:
        for step in self._load(row).steps.values():
            kind = kind_of(step)
            if kind is None or step.id in self._answered:
                continue
            self._answered.add(step.id)
            pending = Pending(kind, step.name, row.id, step.id, row.blueprint, step.place)
            respond = self._plan.respond
            given = respond.get(step.name, SILENCE) if isinstance(respond, Mapping) else respond(pending)
            if given is SILENCE:
                continue
            self._idle_since = None
            if kind == "signal":
                # Under one id for the wait: whoever dies and sends it again has sent one signal.
                await (await kernel.get(row.id)).signal(step.name, given, id=f"answer {step.id}")
            elif isinstance(given, BaseException):
                await kernel.fail_callback(step.id, given)
            else:
                await kernel.complete_callback(step.id, given)
            return True
        return False

    async def _settle(self, kernel: Kernel, row: ExecutionRow) -> None:
        execution = self._load(row)
        if execution.reason != IN_DOUBT:
            if (execution.reason or "").startswith(DIVERGED):
                return  # whoever waits for the result is told
            raise AssertionError(f"execution of {row.blueprint} is paused: {execution.reason}")
        in_doubt = self._watcher.doubt
        if in_doubt is None or in_doubt[0] != row.id or kernel.running(row.id) is not None:
            return
        self._watcher.doubt = self._idle_since = None
        step = execution.steps[in_doubt[1]]
        handle = await kernel.get(row.id)
        label = self._label(row)
        known = None if self._undisturbed is None else self._undisturbed.at(label, step.place)
        if not self._watcher.has_run(row.id, step):
            await handle.settle(step.id, retry=True)
        elif known is None or known.state not in (StepState.COMPLETED, StepState.FAILED):
            raise AssertionError(f"step {step.name!r} is in doubt, and has no outcome when it is undisturbed")
        elif known.state == StepState.FAILED:
            await handle.settle(step.id, error=known.error or "failed")
        else:
            codec = self._plan.codec
            await handle.settle(
                step.id, output=known.output if codec is None else codec.decode(known.output, Any)
            )

    def _label(self, row: ExecutionRow) -> str:
        from .comparing import left_in

        return left_in(self._store).step(row.id, None)[0]

    def _load(self, row: ExecutionRow) -> Execution:
        known = self._loaded.get(row.id)
        if known is None or known[0] != row.version:
            known = self._loaded[row.id] = row.version, records.load(self._store, row)
        return known[1]

    def _standing(self) -> str:
        """How everything stands, in words."""
        told = []
        for row in self._store.list(None, None, 1000).wait():
            if row.state not in EXECUTION_TERMINAL:
                steps = self._load(row).steps.values()
                still = [f"{step.step_type} {step.name!r}" for step in steps if not step.is_terminal]
                told.append(f"{row.blueprint} is {row.state} with {', '.join(still) or 'no open step'}")
        return "; ".join(told) or "everything in the store has ended"


def kind_of(step: Step) -> str | None:
    """Which kind of answer an open wait takes: `"signal"`, `"callback"`, or none."""
    if step.step_type != StepType.WAIT or step.is_terminal or not isinstance(step.input, dict):
        return None
    if "heartbeat_ns" in step.input:
        return "callback"
    return "signal" if "reason" in step.input else None


async def _bury(loop: asyncio.AbstractEventLoop, kernel: Kernel, before: set[threading.Thread]) -> None:
    """Ends what a dead kernel's code still does: it is not heard, and starts nothing more.

    A killed process runs nothing at all; here `finally` blocks see a `CancelledError`.
    """
    loop.set_exception_handler(lambda _loop, _context: None)
    kernel.tell = lambda _event, *_about: None
    for run in kernel.runs():
        run.left = run.left or errors.KernelClosed("the process was killed")
        run.waits.close()
        for gate in list(run.gates):
            gate.give_up()
    kernel.threads.close()
    loop_time = loop.time() + _JOIN_S
    while loop.time() < loop_time:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        threads = [each for each in {*threading.enumerate()} - before if each.name in _THREADS]
        if not tasks and not threads:
            break
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0 if tasks else _POLL_S)
    if hasattr(kernel, "timers"):
        kernel.timers.close()
        kernel.watching.close()
