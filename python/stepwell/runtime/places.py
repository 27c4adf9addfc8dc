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

if TYPE_CHECKING:
    from .functions import StepSpec
    from .run import Run

_MAX_PATH: Final = 512


class CurrentStep:
    """The attempt that runs, as its own code sees it: `stepwell.current_step()`."""

    __slots__ = ("_attempt", "_execution_id", "_id", "_name", "_place")

    def __init__(self, execution_id: str, id: str, name: str, place: str, attempt: int) -> None:
        self._execution_id = execution_id
        self._id = id
        self._name = name
        self._place = place
        self._attempt = attempt

    @property
    def execution_id(self) -> str:
        """The id of the execution."""
        return self._execution_id

    @property
    def id(self) -> str:
        """The id of the step."""
        return self._id

    @property
    def name(self) -> str:
        """The name of the step."""
        return self._name

    @property
    def attempt(self) -> int:
        """The number of this attempt, from 1."""
        return self._attempt

    @property
    def idempotency_key(self) -> str:
        """The same text in every attempt of this step, also after a crash, and in no other step's."""
        text = f"{self._execution_id}/{self._place}"
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]

    def __repr__(self) -> str:
        return f"<CurrentStep {self._id} {self._name!r} attempt {self._attempt}>"


class Call:
    """One call of a step at its place, with what was given to it as it was at that moment."""

    __slots__ = ("args", "code", "input", "kwargs", "line", "place", "scope", "spec")

    def __init__(
        self,
        scope: "Scope",
        spec: "StepSpec",
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        code: CodeType,
        line: int,
    ) -> None:
        from .functions import pack

        self.scope = scope
        self.spec = spec
        self.code = code
        self.line = line
        self.input = encoding.encode(pack(args, kwargs)) if args or kwargs else None
        self.args = args
        self.kwargs = kwargs
        self.place = scope.next_call()

    @property
    def source(self) -> str:
        """The file and line of the call."""
        return f"{self.code.co_filename}:{self.line}"


class Scope:
    """One asyncio task, or one thread, of a blueprint."""

    __slots__ = ("calls", "ended", "owner", "path", "run", "tasks")

    def __init__(self, run: "Run", path: str) -> None:
        self.run = run
        self.path = path
        self.calls = 0
        self.tasks = 0
        self.ended = False
        self.owner: object = None

    def next_call(self) -> str:
        place = f"{self.path}{self.calls}"
        self.calls += 1
        return place

    def next_task(self) -> "Scope":
        path = f"{self.path}~{self.tasks}/"
        self.tasks += 1
        if len(path) > _MAX_PATH:  # a chain of tasks, each made by the one before
            path = f"~{hashlib.sha256(path.encode()).hexdigest()[:32]}/"
        return self.run.new_scope(path)

    def check_owner(self, spec: "StepSpec") -> None:
        """Raises `PlaceError` where code runs in this scope's context, but not in its task or thread."""
        try:
            here: object = asyncio.current_task()
        except RuntimeError:
            here = None
        if (here or threading.get_ident()) != self.owner:
            raise errors.PlaceError(
                f"step {spec.name} was called from a callback or thread of its blueprint's own making, where its place "
                "is not the same on every replay: call it in a coroutine that is awaited, gathered or made a task"
            )


_here: ContextVar[Scope | CurrentStep | None] = ContextVar("stepwell", default=None)


def current_step() -> CurrentStep:
    """The attempt that runs. Raises `LookupError` outside a step of a kernel."""
    here = _here.get()
    if isinstance(here, CurrentStep):
        return here
    raise LookupError("no step of a kernel runs here")


def in_blocking_scope() -> bool:
    """Whether this is the code of a `def` blueprint."""
    here = _here.get()
    return isinstance(here, Scope) and isinstance(here.owner, int)


def call(spec: "StepSpec", args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A call of a step: a plain one outside a blueprint and in another step, else one that has a place."""
    here = _here.get()
    if not isinstance(here, Scope):
        return spec.fn(*args, **kwargs)
    here.check_owner(spec)
    frame = sys._getframe(2)
    made = Call(here, spec, args, kwargs, frame.f_code, frame.f_lineno)
    if isinstance(here.owner, int):
        return here.run.perform_blocking(made)
    return here.run.perform(made)


def enter(here: Scope | CurrentStep | None) -> Any:
    """Makes this the surroundings of what is called next, until `leave`."""
    return _here.set(here)


def leave(token: Any) -> None:
    """Ends what `enter` began."""
    _here.reset(token)


class Driver(Coroutine[Any, Any, Any]):
    """A coroutine of a blueprint: runs another one in its scope, and sees the tasks which that creates."""

    __slots__ = ("_hook", "_inner", "_scope", "_started")

    def __init__(self, inner: Coroutine[Any, Any, Any], scope: Scope) -> None:
        self._inner = inner
        self._scope = scope
        self._hook = Hook()
        self._started = False

    @property
    def cr_frame(self) -> Any:
        return getattr(self._inner, "cr_frame", None)

    def __await__(self) -> Any:
        raise errors.InternalError("defect in stepwell, please report it: a driver was awaited")

    def send(self, value: Any) -> Any:
        return self._resume(self._inner.send, value)

    def throw(self, typ: Any, val: Any = None, tb: TracebackType | None = None) -> Any:  # noqa: ARG002
        return self._resume(self._inner.throw, typ if val is None else val)

    def _resume(self, resume: Callable[[Any], Any], value: Any) -> Any:
        if not self._started:
            self._started = True
            self._scope.owner = asyncio.current_task()
            _here.set(self._scope)
        loop = asyncio.get_running_loop()
        before = loop.get_task_factory()
        hook = self._hook
        hook.before = before.before if isinstance(before, Hook) else before
        loop.set_task_factory(hook)
        try:
            return resume(value)
        except Exception:  # returned or raised, but not cancelled: it has made all its calls
            self._scope.ended = True
            raise
        finally:
            # Where the code set a factory of its own, that one stays.
            if loop.get_task_factory() is hook:
                loop.set_task_factory(before)

    def close(self) -> None:
        self._inner.close()


class Hook:
    """The task factory while code of a blueprint runs: gives each new task its scope, and has it made as ever."""

    __slots__ = ("before",)

    def __init__(self) -> None:
        self.before: Any = None

    def __call__(self, loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> Any:
        here = _here.get()
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
        if run is not None:
            run.adopt(task)
        return task
