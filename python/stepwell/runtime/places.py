"""Places: how a step is found again in its record, whatever else happens at the same time.

A place is the path of a scope and a counter in it: the third call in the blueprint itself is `2`, the first one in the
second task that it creates is `~1/0`. Inside one asyncio task code runs in order, so its calls, and the tasks that it
creates, are the same first, second and third on every replay; how tasks interleave does not matter, because every task
is a scope of its own. That needs the order in which tasks are *created*, which the loop's task factory sees. The
factory is replaced only while code of a blueprint is on the stack, from one resumption to its next `await`: the host's
own tasks are made by the host's own factory.
"""

import asyncio
import hashlib
import sys
import threading
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from types import CodeType, TracebackType
from typing import TYPE_CHECKING, Any, Final

from .. import encoding, errors
from .._spec import STEP_TERMINAL
from .core import encode

if TYPE_CHECKING:
    from .core import Step
    from .functions import StepSpec
    from .operations import Operation
    from .run import Run

_MAX_PATH: Final = 512

Where = tuple[CodeType, int] | None
"""The code and the line of a call; only those are known that are compared with a record."""


class Call:
    """One call at its place, with what was given to it as it was at that moment; of a step also its attempt."""

    is_stopped: bool
    interrupted: bool
    task: asyncio.Task[Any] | None

    __slots__ = (
        "args",
        "attempt",
        "branches",
        "input",
        "interrupted",
        "is_stopped",
        "kwargs",
        "op",
        "place",
        "scope",
        "step",
        "task",
        "where",
    )

    def __init__(
        self,
        scope: "Scope",
        op: "Operation",
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        input: bytes | None,
        where: Where,
        place: str | None = None,
    ) -> None:
        self.scope = scope
        self.op = op
        self.where = where
        self.input = input
        self.args = args
        self.kwargs = kwargs
        if place is None:
            place = f"{scope.path}{scope.calls}"
            scope.calls += 1
        self.place = place
        self.step: Step | None = None
        self.branches: dict[int, Step] | None = None
        self.attempt = 1

    @property
    def run(self) -> "Run":
        """The execution that it is part of."""
        return self.scope.run

    def moved(self) -> bool:
        """Gives a call that nothing is recorded of a place after its code was cancelled, if that has one."""
        scope = self.scope
        if self.step is not None or not scope.stopped or self.place.startswith(scope.path):
            return False
        self.place = scope.next_call()
        return True

    @property
    def source(self) -> str | None:
        """The file and line of the call, where it is compared with a record."""
        return None if self.where is None else f"{self.where[0].co_filename}:{self.where[1]}"

    def stop(self) -> None:
        """Says that nobody waits for this attempt any more."""
        self.is_stopped = True

    def interrupt(self) -> None:
        """Has it end before its time, to be tried again, where it can; a `def` function sees it when it looks."""
        self.is_stopped = True
        if self.task is not None and not self.interrupted:
            self.interrupted = True
            self.task.cancel()


class CurrentStep:
    """The attempt that runs, as its own code sees it: `stepwell.current_step()`."""

    __slots__ = ("_attempt", "_call", "_run", "_step")

    def __init__(self, call: Call, step: "Step") -> None:
        self._call = call
        self._run = call.scope.run
        self._step = step
        self._attempt = call.attempt

    @property
    def execution_id(self) -> str:
        """The id of the execution."""
        return self._run.execution.id

    @property
    def id(self) -> str:
        """The id of the step."""
        return self._step.id

    @property
    def name(self) -> str:
        """The name of the step."""
        return self._step.name

    @property
    def attempt(self) -> int:
        """The number of this attempt, from 1."""
        return self._attempt

    @property
    def idempotency_key(self) -> str:
        """The same text in every attempt of this step, also after a crash, and in no other step's."""
        run, place = self._run, self._call.place
        text = f"{run.execution.id}/{place}"
        if "!accepted 0" in run.recorded:  # what was given up at this place had the key before
            here = [step.id for step in [*run.execution.steps.values()] if step.place == place]
            before = here.index(self._step.id)
            text += f"/{before}" if before else ""
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]

    @property
    def is_stopping(self) -> bool:
        """Whether the execution was cancelled or paused, is over its deadline, or left: time to come to an end."""
        return self._call.is_stopped or self._run.left is not None or self._run.over

    def check(self) -> None:
        """Raises `CancelledError` where `is_stopping`: for `def` steps that run long, now and then."""
        if self.is_stopping:
            raise asyncio.CancelledError

    def add_usage(self, counter: str, amount: float) -> None:
        """Adds to a counter of this step: `tokens` and `cost`, which have limits, or an own one.

        Raises `ExecutionError` (category `quota_exceeded`) where a limit of the tenant is passed.
        """
        self._run.execution.add_usage(self._step, counter, amount)

    def __repr__(self) -> str:
        return f"<CurrentStep {self._step.id} {self.name!r} attempt {self._attempt}>"


class Inside:
    """What the code of a group began and may leave behind: tasks, and callbacks that are open."""

    __slots__ = ("opened", "tasks")

    def __init__(self) -> None:
        self.tasks: set[asyncio.Task[Any]] = set()
        self.opened: list[Step] = []


class Scope:
    """One asyncio task, or one thread, of a blueprint, or a group of steps in it. `step` is the group's own."""

    __slots__ = (
        "blocking",
        "calls",
        "ended",
        "inside",
        "owner",
        "path",
        "run",
        "runs",
        "step",
        "stopped",
        "tasks",
    )

    def __init__(
        self, run: "Run", path: str, step: "Step | None" = None, inside: "Inside | None" = None
    ) -> None:
        self.run = run
        self.path = path
        self.step = step
        self.inside = inside
        self.blocking = False
        self.calls = 0
        self.tasks = 0
        self.ended = False
        self.stopped = False
        self.runs = False  # its task is just running its code
        self.owner: object = None

    def next_call(self) -> str:
        place = f"{self.path}{self.calls}"
        self.calls += 1
        return place

    def next_task(self) -> "Scope":
        path = f"{self.path}~{self.tasks}/"
        self.tasks += 1
        return self.run.new_scope(path, self.step, self.inside)

    @property
    def is_over(self) -> bool:
        """Whether the group that the code belongs to has ended. It will not be run again, and starts nothing more."""
        return self.step is not None and self.step.state in STEP_TERMINAL

    def end_places(self) -> None:
        """The code was cancelled: what it calls from here on is counted anew.

        Those places say after how many calls that was, `x4.0` for the first one after four, and with an `r` that the
        last of them kept its outcome, and was cancelled all the same: so that it is the same in the next life.
        """
        if not self.stopped:
            self.stopped = True
            known = self.run.ended_places().get(self.path)
            self.path += f"x{self.calls}." if known is None else known[0]
            self.calls = self.tasks = 0

    def kept(self) -> None:
        """The call during which the code was cancelled kept its outcome."""
        if self.stopped and self.calls == self.tasks == 0 and not self.path.endswith("r."):
            self.path = f"{self.path[:-1]}r."

    @property
    def is_replaying(self) -> bool:
        """Whether the record has something that this scope's code has not come to yet."""
        recorded = self.run.recorded
        return f"{self.path}{self.calls}" in recorded or (
            self.run.replayed and self.run.has_task(self.path, self.tasks)
        )

    def check_owner(self, name: str) -> None:
        """Raises `PlaceError` where code runs in this scope's context, but not in its task or thread."""
        thread, run = threading.get_ident(), self.run
        here = asyncio.current_task(run.loop) if thread == run.thread else thread
        if here != self.owner:
            raise errors.PlaceError(
                f"{name} was called from a callback or thread of its blueprint's own making, where its place "
                "is not the same on every replay: call it in a coroutine that is awaited, gathered or made a task"
            )


def shortened(path: str) -> str:
    """The path of a scope; a long one is that of a chain of tasks, each made by the one before."""
    return path if len(path) <= _MAX_PATH else f"~{hashlib.sha256(path.encode()).hexdigest()[:32]}/"


HERE: ContextVar[Scope | Call | None] = ContextVar("stepwell", default=None)
"""What code of a blueprint runs: set by `enter`."""


def current_step() -> CurrentStep:
    """The attempt that runs. Raises `LookupError` outside a step of a kernel."""
    here = HERE.get()
    if isinstance(here, Call) and here.step is not None:
        return CurrentStep(here, here.step)
    raise LookupError("no step of a kernel runs here")


def here() -> Scope | Call | None:
    """What runs: a scope of a blueprint, a step's attempt, or neither."""
    return HERE.get()


def in_blocking_scope() -> bool:
    """Whether this is the code of a `def` blueprint."""
    here = HERE.get()
    return isinstance(here, Scope) and isinstance(here.owner, int)


def call(spec: "StepSpec", args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A call of a step: a plain one outside a blueprint and in another step, else one that has a place."""
    here = HERE.get()
    if not isinstance(here, Scope):
        return spec.fn(*args, **kwargs)
    run = here.run
    if not here.runs or threading.get_ident() != run.thread:
        here.check_owner(spec.name)
    if spec.takes_plain and args and not kwargs and not run.has_codec:
        given: bytes | None = encode(args)
    else:
        given = spec.input_of(run, args, kwargs) if args or kwargs else None
    made = Call(here, spec, args, kwargs, given, _where(3) if run.replayed else None)
    return run.perform_blocking(made) if isinstance(here.owner, int) else spec.perform(run, made)


def _where(depth: int) -> Where:
    frame = sys._getframe(depth)
    return frame.f_code, frame.f_lineno


def ask(op: "Operation") -> Coroutine[Any, Any, Any]:
    """A call of an operation in an `async def` blueprint, or what it is outside of one."""
    here = HERE.get()
    if not isinstance(here, Scope):
        return op.outside()
    if isinstance(here.owner, int):
        raise errors.PlaceError(f"{op.name}: in a def blueprint use stepwell.blocking, which needs no await")
    return op.perform(here.run, _operation(here, op))


def ask_blocking(op: "Operation") -> Any:
    """The same in a `def` blueprint."""
    here = HERE.get()
    if not isinstance(here, Scope):
        return op.outside_blocking()
    if not isinstance(here.owner, int):
        raise errors.PlaceError(
            f"{op.name}: in an async def blueprint await what stepwell itself has of this name"
        )
    return here.run.perform_blocking(_operation(here, op))


def _operation(here: Scope, op: "Operation") -> Call:
    here.check_owner(op.name)
    given = op.input
    encoded = None if given is None else encoding.encode(given)
    return Call(here, op, (), {}, encoded, _where(4) if here.run.replayed else None)


def enter(here: Scope | Call | None) -> Any:
    """Makes this the surroundings of what is called next, until `leave`."""
    return HERE.set(here)


def leave(token: Any) -> None:
    """Ends what `enter` began."""
    HERE.reset(token)


class Driver(Coroutine[Any, Any, Any]):
    """A coroutine of a blueprint: runs another one in its scope, and sees the tasks which that creates."""

    __slots__ = ("_hook", "_loop", "_scope", "_send", "inner")

    def __init__(self, inner: Coroutine[Any, Any, Any], scope: Scope) -> None:
        self.inner = inner
        self._send = inner.send
        self._scope = scope
        self._hook = Hook()
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def cr_frame(self) -> Any:
        return getattr(self.inner, "cr_frame", None)

    def __await__(self) -> Any:
        raise errors.InternalError("defect in stepwell, please report it: a driver was awaited")

    def send(self, value: Any, resume: Callable[[Any], Any] | None = None) -> Any:
        scope, loop = self._scope, self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()
            scope.owner = asyncio.current_task()
            HERE.set(scope)
        before = loop.get_task_factory()
        hook = self._hook
        hook.before = before.before if before.__class__ is Hook else before
        loop.set_task_factory(hook)
        scope.runs = True
        try:
            return (resume or self._send)(value)
        except Exception:  # returned or raised, but not cancelled: it has made all its calls
            scope.ended = True
            raise
        finally:
            scope.runs = False
            # Where the code set a factory of its own, that one stays.
            if loop.get_task_factory() is hook:
                loop.set_task_factory(before)

    def throw(self, typ: Any, val: Any = None, tb: TracebackType | None = None) -> Any:  # noqa: ARG002
        error = typ if val is None else val
        if isinstance(error, asyncio.CancelledError):
            self._scope.run.check_host()
        return self.send(error, self.inner.throw)

    def close(self) -> None:
        self.inner.close()


class InnerDriver(Driver):
    """The same for a coroutine that is awaited: in a task which is the kernel's, and not the blueprint's, own."""

    __slots__ = ()

    def __await__(self) -> Any:
        return self

    def __iter__(self) -> "InnerDriver":
        return self

    def __next__(self) -> Any:
        return self.send(None)


def is_driven() -> bool:
    """Whether the tasks that are made now are seen."""
    return isinstance(asyncio.get_running_loop().get_task_factory(), Hook)


class Hook:
    """The task factory while code of a blueprint runs: gives each new task its scope, and has it made as ever."""

    __slots__ = ("before",)

    def __init__(self) -> None:
        self.before: Any = None

    def __call__(self, loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> Any:
        here = HERE.get()
        run = None
        ours = isinstance(here, Scope) and asyncio.current_task() is here.owner
        if ours and isinstance(here, Scope) and not isinstance(coro, Driver) and asyncio.iscoroutine(coro):
            run = here.run
            coro = Driver(coro, here.next_task())
        task = (
            asyncio.Task(coro, loop=loop, **options)
            if self.before is None
            else self.before(loop, coro, **options)
        )
        if run is not None and isinstance(here, Scope):
            run.adopt(task)
            if here.inside is not None:
                here.inside.tasks.add(task)
                task.add_done_callback(here.inside.tasks.discard)
        return task
