"""The waits of one execution: for a time, a signal, an answer or a child, and for the next try of a step.

Each is an open step. What ends a wait is an event, a time that has come or a delivery, and it is recorded when that
happens, whether or not the blueprint is awaiting it just then.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from .. import errors
from .._spec import STEP_TERMINAL, ExecutionState, WaitReason
from ..failures import ExecutionError
from ..store import Delivery
from . import idling

if TYPE_CHECKING:
    from .core import Step
    from .run import Run
    from .timers import Timer

log = logging.getLogger("stepwell")

LINGER_S: Final = 1.0
"""How long an execution stays in memory while all of it waits, in case what it waits for comes at once."""
AGAIN_S: Final = 1.0
"""Seconds after which a store in trouble is asked again."""
_TURNS: Final = 4
_PAGE: Final = 1000


class Wait:
    """An open wait. Subclasses say what ends it, and what is recorded then."""

    __slots__ = ("due", "future", "over", "reason", "run", "step", "timer")

    def __init__(self, run: "Run", step: "Step", reason: WaitReason, due: int | None) -> None:
        self.run = run
        self.step = step
        self.reason = reason
        self.due = due
        self.timer: Timer | None = None
        self.future: asyncio.Future[Any] = run.loop.create_future()
        self.over = False

    @property
    def next_due(self) -> int | None:
        """The time that it has to be looked at, in UTC ns."""
        return self.due

    def wants(self, delivery: Delivery) -> bool:  # noqa: ARG002
        """Whether this delivery is what it waits for."""
        return False

    def take(self, delivery: Delivery) -> None:
        """That delivery came."""

    def expire(self) -> None:
        """Its time has come."""
        raise NotImplementedError

    # --- how it ends ----------------------------------------------------------------------------------------------

    def end(self, record: Callable[[], None], taken: Iterable[str] = ()) -> None:
        """Ends it: records the outcome, and lets the blueprint go on when that is durable."""
        if self.over:
            return
        run = self.run
        run.waits.remove(self)
        if run.left is not None or run.over:
            return
        if self.step.state not in STEP_TERMINAL:
            run.run_again()
            try:
                record()
            except Exception as refusal:  # noqa: BLE001 - what cannot be recorded is the end of the wait, too
                error = ExecutionError.from_exception(refusal, step_id=self.step.id)
                run.execution.fail_step(self.step, error)
            run.journal.progress = True
            run.journal.taken.extend(taken)
            run.no_longer_open(self.step)
        # As durable as waits are, whatever is said of steps: what came from outside must not come differently again.
        if self.future.done():  # nobody waits for it any more
            _ = run.journal.durable()
        else:
            # Who waits is told by the journal itself, and so in the order of the records.
            run.journal.durable(self.future).add_done_callback(self._told)

    def _tell(self) -> None:
        if not self.future.done():
            self.future.set_result(None)
            self.run.waits.idle_soon()

    def _told(self, future: "asyncio.Future[Any]") -> None:
        if not future.cancelled():
            self.run.waits.idle_soon()  # others may go on waiting


class Waits:
    """All open waits of one execution, what was delivered and not taken, and when to leave memory."""

    __slots__ = (
        "_check",
        "_left_dues",
        "_lingering",
        "_look_again",
        "_looking",
        "_looks",
        "_place",
        "_run",
        "_unhurried",
        "mail",
        "open",
    )

    def __init__(self, run: "Run") -> None:
        self._run = run
        self.open: dict[str, Wait] = {}
        self.mail: list[Delivery] = []
        self._left_dues: list[int] = []
        self._place = 0
        self._looking: asyncio.Task[None] | None = None
        self._look_again = False
        self._check: asyncio.Handle | None = None
        self._unhurried = False
        self._looks = 0
        self._lingering: asyncio.Handle | None = None

    def __len__(self) -> int:
        """How many are open."""
        return len(self.open)

    @property
    def place(self) -> int:
        """The place of the last delivery that was seen here."""
        return self._place

    def get(self, step_id: str) -> Wait | None:
        """The open wait of this step."""
        return self.open.get(step_id)

    @property
    def futures(self) -> "set[asyncio.Future[Any]]":
        """What the blueprint's tasks may be waiting for."""
        return {wait.future for wait in self.open.values()}

    def add(self, wait: Wait) -> None:
        """Opens a wait: sees whether what it waits for is there already, else when to look at it."""
        self.open[wait.step.id] = wait
        for delivery in [*self.mail]:
            if wait.wants(delivery):
                self.mail.remove(delivery)
                wait.take(delivery)
                if wait.over:
                    return
        self.set_timer(wait)
        self.idle_soon()

    def set_timer(self, wait: Wait, due: int | None = None) -> None:
        """Has it looked at when its time comes, or at another one."""
        if wait.timer is not None:
            wait.timer.cancel()
        due = wait.next_due if due is None else due
        wait.timer = None if due is None else self._run.kernel.timers.at(due, wait.expire)

    def remove(self, wait: Wait) -> None:
        """It is over, or nobody waits for it any more."""
        wait.over = True
        if wait.timer is not None:
            wait.timer.cancel()
        if self.open.get(wait.step.id) is wait:
            del self.open[wait.step.id]

    def close(self) -> None:
        """The execution is left: nothing is waited for here any more."""
        self._left_dues += [due for wait in self.open.values() if (due := wait.next_due) is not None]
        for wait in list(self.open.values()):
            self.remove(wait)
        for handle in (self._check, self._lingering, self._looking):
            if handle is not None:
                handle.cancel()

    def wake_at(self) -> int | None:
        """When the execution has to be looked at again, if all of it waits."""
        if self._run.execution.state != ExecutionState.WAITING:
            return None
        # What is written when the execution has been left still says when to come back.
        dues = [*self._left_dues, *(due for wait in self.open.values() if (due := wait.next_due) is not None)]
        if self._run.deadline_ns is not None:
            dues.append(self._run.deadline_ns)
        return min(dues, default=None)

    # --- what comes from outside ----------------------------------------------------------------------------------

    def look(self) -> None:
        """Something may have been delivered."""
        if self._looking is not None:
            self._look_again = True
            return
        self._looking = self._run.loop.create_task(self._fetch())
        self._looking.add_done_callback(self._looked)

    def _looked(self, task: "asyncio.Task[None]") -> None:
        self._looking = None
        run = self._run
        if not task.cancelled() and task.exception() is not None:
            log.warning("the inbox of %s cannot be read: %s", run.execution.id, task.exception())
            if not run.kernel.is_stopped:
                run.loop.call_later(AGAIN_S, lambda: None if run.left or run.over else self.look())
        elif self._look_again and run.left is None:
            self._look_again = False
            self.look()

    async def _fetch(self) -> None:
        await self.fetch()

    async def fetch(self) -> None:
        """Reads what was delivered since the last time, and hands it to whoever waits for it."""
        run = self._run
        while page := await run.kernel.store.inbox(run.execution.id, self._place, _PAGE):
            # What comes while the execution is being left is seen by whoever takes it up.
            self.receive([delivery for delivery in page if delivery.place > self._place])
            if len(page) < _PAGE or run.left is not None or run.over:
                return

    def receive(self, deliveries: Iterable[Delivery]) -> None:
        """Hands deliveries to whoever waits for them; the others are kept."""
        run = self._run
        deliveries = unpaused(run, deliveries)
        for delivery in deliveries:
            if run.left is not None or run.over:
                return
            self._place = max(self._place, delivery.place)
            if delivery.kind in ("cancel", "pause"):
                if not run.hears_nothing:
                    run.asked(delivery)
                continue
            wait = next((wait for wait in self.open.values() if wait.wants(delivery)), None)
            if wait is None:
                self.mail.append(delivery)
            else:
                wait.take(delivery)

    # --- waiting as a whole ---------------------------------------------------------------------------------------

    def idle_soon(self) -> None:
        """Something began to wait: sees, when this turn of the loop is over, whether anything else goes on."""
        self._looks = 0
        if self._check is not None and self._unhurried:
            self._check.cancel()
            self._check = None
        if self._check is None and self._run.active == 0:
            self._unhurried = False
            self._check = self._run.loop.call_soon(self._look_whether_idle)

    def _look_whether_idle(self) -> None:
        self._check = None
        run = self._run
        if not self.open or run.left is not None or run.over or run.active:
            return
        if run.stop is not None and not run.stop.heard:
            return
        if run.execution.state not in (ExecutionState.RUNNING, ExecutionState.WAITING):
            return
        if idling.may_run(run):
            # Tasks that were woken in this turn have not had theirs yet; and some wait for what is not stepwell's.
            self._looks += 1
            loop, look = run.loop, self._look_whether_idle
            self._unhurried = self._looks >= _TURNS
            self._check = loop.call_later(LINGER_S, look) if self._unhurried else loop.call_soon(look)
            return
        if run.execution.state == ExecutionState.RUNNING:
            run.execution.wait(self.reason())
        run.journal.durable().add_done_callback(self._linger)

    def reason(self) -> WaitReason:
        """What the execution as a whole waits for: for somebody rather than for a time.

        For a child before all: by that it is found where nobody is left to tell it that the child has ended.
        """
        reasons = [wait.reason for wait in self.open.values()]
        if WaitReason.SUB_AGENT in reasons:
            return WaitReason.SUB_AGENT
        return next((reason for reason in reasons if reason != WaitReason.TIMER), WaitReason.TIMER)

    def _linger(self, written: "asyncio.Future[None]") -> None:
        run = self._run
        if written.cancelled() or run.left is not None or run.over:
            return
        if self._lingering is not None:
            self._lingering.cancel()
        # One that was taken up, and goes on waiting as before, has no reason to stay.
        pause = run.kernel.linger_s if run.journal.progress else 0
        self._lingering = run.loop.call_later(pause, self._leave_memory)

    def _leave_memory(self, written: "asyncio.Future[None] | None" = None) -> None:
        self._lingering = None
        run, execution = self._run, self._run.execution
        if not self.open or execution.state != ExecutionState.WAITING or run.active or run.is_stopping:
            return
        if (written is not None and written.cancelled()) or not idling.may_leave(run):
            return
        if run.journal.progress and run.journal.wakes == self.wake_at():
            run.leave(errors.LeftMemory(f"execution {execution.id} waits in the store"))
            return
        # Its row says an older time to be looked at again; or counts a claim that did no harm.
        execution.resume()
        execution.wait(self.reason())
        run.journal.progress = True
        run.journal.durable().add_done_callback(self._leave_memory)


def unpaused(run: "Run", deliveries: Iterable[Delivery]) -> list[Delivery]:
    """Without wishes to pause that were taken back before the execution began, and what took them back."""
    found = list(deliveries)
    last = max((each.place for each in found if each.kind == "resume"), default=0)
    if not last:
        return found
    over = [each for each in found if each.kind in ("pause", "resume") and each.place <= last]
    run.journal.taken.extend(each.id for each in over)
    return [each for each in found if each not in over]


def check_reason(reason: object) -> WaitReason:
    """The `WaitReason` of this name. Raises `ValidationError`."""
    from .. import model

    return WaitReason(model.choice("reason", reason, [known.value for known in WaitReason]))


def timed_out(name: str, code: str, what: str) -> ExecutionError:
    """The error of a wait that took too long."""
    return ExecutionError("timeout", code, f"{name}: {what}")
