"""The kernel: starts executions, hands out their results, and takes what is said to them."""

import asyncio
import contextvars
import logging
from collections.abc import Coroutine, Iterable, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar, overload

from .. import clock as clocks, durations, encoding, errors, model
from .._spec import EXECUTION_TERMINAL, ExecutionState
from ..clock import Clock
from ..store import ExecutionRow, Rows, Store, StoreSource, open_source
from . import commands, places
from .core import Execution, SystemClock
from .functions import Blueprint, known_blueprint
from .handle import Handle
from .hooks import Hooks
from .hosting import Hosting
from .journaling import LEVELS, Late
from .options import check_options, once
from .run import Run
from .taking import Taking, sleeps
from .threads import Threads
from .timers import Timers
from .values import Codec
from .waiting import LINGER_S
from .watching import Watching

if TYPE_CHECKING:
    from .facade import BlockingKernel

T = TypeVar("T")

log = logging.getLogger("stepwell")

STEP_THREADS: Final = 32
OWN_THREADS: Final = 4
"""For the kernel's own work: it goes on, and ends, however long all the steps in threads take."""


class Kernel(Hosting):
    """Runs blueprints so that they survive the process: `async with Kernel("sqlite:///runs.db", tenant="acme")`.

    `store` is a URL (`sqlite:///` and a path, or `memory`) or an object of `stepwell.store`. Everything is inside
    `tenant`, and each execution within its `limits`. When it is entered, executions that another process left
    unfinished are taken up again, in the background, where their blueprint is known: one of `blueprints`, or without
    that any that is registered; and so are, from then on, those whose time has come or for whom something arrived.
    `hooks` are told of executions and steps, see the documentation. With `recover=False` it does so only for what it
    started, was asked for by key, or resumed; with `execute=False` it answers, signals and lists, and runs nothing.
    `durability` says when the result of a step is seen, see `step`; with `process` no wait for the disk at all, with
    the others waits and ends of executions are on the disk before they are seen. `clock` tells the time (`ManualClock`
    in tests), `codec` turns values into what is recorded.

    Under `with` instead of `async with` the same methods are without `await`: that gives a `BlockingKernel`.
    """

    def __init__(
        self,
        store: str | StoreSource,
        *,
        tenant: str | model.TenantContext,
        limits: model.ResourceLimits | None = None,
        blueprints: Iterable[Blueprint[..., Any]] | None = None,
        execute: bool = True,
        recover: bool = True,
        durability: str = "power",
        clock: Clock | None = None,
        hooks: Sequence[object] = (),
        codec: Codec | None = None,
    ) -> None:
        blueprints, hooks = once("blueprints", blueprints), once("hooks", hooks) or ()
        check_options(store, blueprints, execute, recover, clock, codec)
        self._source = open_source(store) if isinstance(store, str) else store
        given = _context(tenant, limits)
        self.context = _without_deadline(given)
        self._max_wall_time_ms = None if given.limits is None else given.limits.max_wall_time_ms
        self._tenant = self.context.tenant_id
        self._warned = False
        self._blueprints = None if blueprints is None else {known.name: known for known in blueprints}
        self._children: dict[str, Blueprint[..., Any]] = {}  # what those start: they are run here, too
        self.executes = execute
        self._recover_all = execute and recover
        self.durability = model.choice("durability", durability, LEVELS)
        self.codec = codec
        self.hooks = Hooks(hooks)
        self.tell = self.hooks.tell
        self._store: Store | None = None
        self._runs: dict[str, Run] = {}
        self._parents: dict[str, set[tuple[str, str]]] = {}
        self._background: set[asyncio.Task[Any]] = set()
        self._leaving: dict[str, asyncio.Task[None]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self._watch: asyncio.Task[None] | None = None
        self._finishing: set[asyncio.Task[Any]] = set()
        self._closing: asyncio.Future[list[str]] | None = None
        self._blocking: BlockingKernel | None = None
        self.given_clock = clock  # an execution that is given none asks nobody for the time
        self.clock: Clock = SystemClock() if clock is None else clock
        self.linger_s = LINGER_S
        self.threads = Threads(STEP_THREADS, Threads(OWN_THREADS))
        self.timers: Timers
        self.late: Late
        self.taking: Taking
        self.watching: Watching

    @property
    def tenant(self) -> str:
        """Whose executions these are."""
        return self._tenant

    @property
    def store(self) -> Store:
        """The open store. Raises `KernelClosed` outside `async with`."""
        if self._store is None or self._closed:
            raise errors.KernelClosed("this kernel is not open: use it inside `async with` or `with`")
        return self._store

    @property
    def is_stopped(self) -> bool:
        """Whether it can run nothing any more: it was closed, or its loop was."""
        return self._closed or self._loop is None or self._loop.is_closed()

    @property
    def is_interrupted(self) -> bool:
        """Whether its own task was cancelled, as `asyncio.run` does with all tasks when it ends."""
        return self._watch is not None and (self._watch.done() or self._watch.cancelling() > 0)

    @property
    def is_closing(self) -> bool:
        """Whether it takes up nothing any more."""
        return self._closing is not None

    @property
    def is_busy(self) -> bool:
        """Whether an execution runs in it."""
        return bool(self._runs)

    @property
    def max_wall_time_ms(self) -> int | None:
        """How long an execution may run."""
        return self._max_wall_time_ms

    # --- opening and closing --------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        if self._loop is not None:
            raise errors.KernelClosed("a kernel is entered once: make another one")
        self._loop = asyncio.get_running_loop()
        opening = self.threads.apart.run(contextvars.copy_context(), lambda: self._source.open(self._tenant))
        try:
            self._store = await asyncio.shield(opening)
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError):
                opening.add_done_callback(lambda done: done.exception() or done.result().close())
            self.threads.close()
            raise
        self.timers = Timers(self.clock, self._loop)
        self.late = Late(self._loop)
        self.taking = Taking(self)
        self.watching = Watching(self, self._recover_all)
        if self.executes:
            self._watch = self.spawn(self.watching.work())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __enter__(self) -> "BlockingKernel":
        from .facade import BlockingKernel

        self._blocking = BlockingKernel(self)
        return self._blocking

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._blocking is not None:
            self._blocking.close()

    async def close(self, drain: str | float | timedelta | None = None) -> list[str]:
        """Stops running, and returns the ids of the executions that it leaves unfinished; `async with` does it.

        With `drain` it first waits that long for what runs to end or to wait; nothing new is taken up meanwhile. The
        record of what is left is kept, results that are in are written, and the next kernel goes on from there. Running
        `async def` steps are cancelled; `def` steps in threads run on, unheard.
        """
        limit = None if drain is None else durations.parse(drain, "drain") / 1e9
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._close(limit))
        return await asyncio.shield(self._closing)

    async def _close(self, drain: float | None) -> list[str]:
        if self._closed or self._store is None:
            self._closed = True
            return []
        store = self._store
        if drain is not None and self._runs:
            await asyncio.wait([run.ended for run in self._runs.values()], timeout=drain)
        for task in self._background - self._finishing:
            task.cancel()
        while working := {task for task in self._background if not task.done()}:
            await asyncio.wait(working)  # what was claimed begins, and is left like all others
        self._closed = True
        self.watching.close()
        left = list(self._runs.values())
        for run in left:
            run.leave(errors.KernelClosed(f"the kernel was closed before execution {run.execution.id} ended"))
        for run in left:
            await run.wind_up()
        for run in left:
            await self._release(store, run)
        if self._leaving:
            await asyncio.wait([*self._leaving.values()])
        self.timers.close()
        await self.threads.apart.run(contextvars.copy_context(), store.close)
        self.threads.close()
        return [run.execution.id for run in left if not run.is_terminal]

    async def _release(self, store: Store, run: Run) -> None:
        if run.journal.failed is None and not run.is_terminal:
            try:
                await store.release(run.execution.id, run.journal.epoch)
            except errors.StepwellError as error:
                log.warning("execution %s was not released: %s", run.execution.id, error)

    def bare_context(self) -> contextvars.Context:
        """The context of the one who asks, without the blueprint or step that it may be in."""
        context = contextvars.copy_context()
        context.run(places.enter, None)
        return context

    def spawn(self, work: Coroutine[Any, Any, T], finish: bool = False) -> "asyncio.Task[T]":
        """A task of the kernel's own: it ends with the kernel, not with the one who asked; before it with `finish`."""
        context = self.bare_context()
        task: asyncio.Task[T] = context.run(asyncio.get_running_loop().create_task, work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        if finish:
            self._finishing.add(task)
            task.add_done_callback(self._finishing.discard)
        return task

    # --- what users ask -------------------------------------------------------------------------------------------

    @overload
    async def start(
        self,
        bp: Blueprint[..., Coroutine[Any, Any, T]],
        /,
        *args: Any,
        key: str | None = None,
        at: datetime | str | float | timedelta | None = None,
        **kwargs: Any,
    ) -> Handle[T]: ...

    @overload
    async def start(
        self,
        bp: Blueprint[..., T],
        /,
        *args: Any,
        key: str | None = None,
        at: datetime | str | float | timedelta | None = None,
        **kwargs: Any,
    ) -> Handle[T]: ...

    async def start(
        self,
        bp: Blueprint[..., Any],
        /,
        *args: Any,
        key: str | None = None,
        at: datetime | str | float | timedelta | None = None,
        **kwargs: Any,
    ) -> Handle[Any]:
        """Starts an execution of a blueprint and returns its handle as soon as it is durable that there is one.

        Where the blueprint has an execution with this `key` already, that one's handle is returned, and it is taken up
        if nobody runs it. `at` starts it later: an aware datetime, or a duration from now. Raises `ValidationError` for
        arguments that do not fit, or that differ from those of that execution, `SchemaMismatch` where it is of a
        version that the blueprint does not accept.
        """
        blueprint = self._check_known(bp)
        blueprint.check_arguments(args, kwargs)
        given = blueprint.recorded(args, kwargs, self.codec)
        blueprint.check_types(given, self.codec)
        execution = Execution(
            tenant=self.context,
            blueprint=blueprint.name,
            key=key,
            schema_version=blueprint.version,
            input=given,
            clock=self.given_clock,
        )
        wake_at = None if at is None else self._moment(at)
        if wake_at is None:
            execution.start()
        starting = self.spawn(
            self.taking.start(blueprint, execution, self.bare_context(), wake_at), finish=True
        )
        return Handle(self, *await asyncio.shield(starting))

    def _moment(self, at: datetime | str | float | timedelta) -> int:
        if isinstance(at, datetime):
            return clocks.to_ns(at, "at")
        return self.clock.now_ns() + durations.parse(at, "at")

    @overload
    async def run(
        self, bp: Blueprint[..., Coroutine[Any, Any, T]], /, *args: Any, key: str | None = None, **kwargs: Any
    ) -> T: ...

    @overload
    async def run(self, bp: Blueprint[..., T], /, *args: Any, key: str | None = None, **kwargs: Any) -> T: ...

    async def run(self, bp: Blueprint[..., Any], /, *args: Any, key: str | None = None, **kwargs: Any) -> Any:
        """`start`, and the result."""
        handle = await self.start(bp, *args, key=key, **kwargs)
        return await handle.result()

    async def get(self, id: str) -> Handle[Any]:
        """The handle of an execution. Raises `NotFound` for an id that this tenant does not have."""
        await self.store.get(self.id_of(id))
        return Handle(self, id)

    async def list(
        self,
        *,
        state: ExecutionState | str | None = None,
        blueprint: str | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> list[ExecutionRow]:
        """What is known of executions, newest first; a page of at most `limit`, up to 1000.

        `state` and `blueprint` (a name) keep those that are in it and of it; `after` is the id of the last one of the
        page before. Raises `ValidationError`.
        """
        if state is not None:
            state = model.choice("state", state, [known.value for known in ExecutionState])
        return await self.store.list(state, None if after is None else self.id_of(after), limit, blueprint)

    async def unknown(self) -> Rows:
        """The unfinished executions whose blueprint this kernel does not know: they stay as they are. Newest first."""
        found: Rows = []
        after = None
        while page := await self.store.list(None, after, 1000):
            found += [
                row for row in page if row.state not in EXECUTION_TERMINAL and self.blueprint_of(row) is None
            ]
            after = page[-1].id
        return found

    async def resume(self, id: str) -> Handle[Any]:
        """Takes up an unfinished execution, a paused one too, unless it runs already.

        One that is to start later does so at its time; what was said of pausing it is taken back. Where somebody asked
        another process to pause it that is waited for, a while at most, as it is what this takes back.
        Raises `NotFound`, `TerminalExecution` where it has ended, `ValidationError` where its blueprint is not known,
        `SchemaMismatch` where it is of another version, `Conflict` where another process runs it.
        """
        await self._paused_is_left(self.id_of(id))
        row = await commands.pause_is_heard(self, await self.row_of(self.id_of(id)))
        if row.state == ExecutionState.CREATED and sleeps(row, self.clock.now_ns()):
            self.watching.own(id)
            await commands.unpause(self, row)
        elif not self.executes and row.state in (ExecutionState.PAUSED, *EXECUTION_TERMINAL):
            await commands.resume(self, row)
        elif self._runs.get(id) is None and (self.executes or self.taking.may_take(row)):
            if row.state in EXECUTION_TERMINAL:
                errors.terminal_execution(row.state, "resume")
            self.watching.own(id)
            while await self.taking.take_up(row._replace(claims=0), resume=True) is None:
                row = await self.store.get(id)
                if row.state != ExecutionState.PAUSED:  # somebody else was first
                    break
        return Handle(self, id)

    async def fork(self, id: str, step_id: str, *, key: str | None = None) -> Handle[Any]:
        """Starts a new execution that has what was recorded before a step of another one, and goes on from there.

        It is for mending: the other one stays as it is. The new one has the version that the blueprint has now.
        Raises `NotFound` for an execution or a step that there is not, `ValidationError` where the blueprint is not
        known, and as `start` does.
        """
        row = await self.store.get(self.id_of(id))
        blueprint = self.blueprint_of(row)
        if blueprint is None:
            raise errors.ValidationError(
                f"blueprint {row.blueprint} of execution {id} is not known to this kernel"
            )
        old = await self.taking.load(id)
        made = Execution(
            tenant=self.context,
            parent=model.ParentLink("execution", id),
            blueprint=blueprint.name,
            key=key,
            schema_version=blueprint.version,
            input=old.input,
            clock=self.given_clock,
        )
        made.start()
        commands.copied(old, step_id, made)
        starting = self.spawn(
            self.taking.start(blueprint, made, self.bare_context(), self.clock.now_ns()), finish=True
        )
        new, _ = await asyncio.shield(starting)
        self.watching.poke(new)
        return Handle(self, new)

    async def complete_callback(self, id: str, payload: Any = None) -> bool:
        """Answers a callback. `True` where this answer counts, or repeats the one that does; `False` where not.

        Raises `NotFound` for an id that this tenant does not have.
        """
        return await commands.answer(self, id, "complete", encoding.encode(self.encoded(payload)))

    async def fail_callback(self, id: str, error: object) -> bool:
        """Answers a callback with an error: an `ExecutionError`, an exception, or text; else as `complete_callback`."""
        return await commands.answer(self, id, "fail", commands.failure_body(error))

    async def heartbeat_callback(self, id: str) -> bool:
        """Says that whoever is to answer a callback is still at work. `False` where its execution has ended."""
        return await commands.answer(self, id, "heartbeat", b"null")

    # --- for the rest of the runtime ------------------------------------------------------------------------------

    def encoded(self, value: Any) -> Any:
        """A value from outside as it is recorded."""
        return value if self.codec is None else self.codec.encode(value)

    def _check_known(self, bp: object) -> Blueprint[..., Any]:
        if not self.executes:
            raise errors.ValidationError("this kernel was made with execute=False: it runs nothing")
        if not isinstance(bp, Blueprint):
            raise errors.ValidationError(f"expected a function with @blueprint, got {bp.__class__.__name__}")
        if self._blueprints is not None and self._blueprints.get(bp.name) is not bp:
            raise errors.ValidationError(f"this kernel was made for other blueprints than {bp.name}")
        self.store  # noqa: B018 - raises where the kernel is not open
        if self.is_closing:
            raise errors.KernelClosed("this kernel is being closed: it starts nothing any more")
        return bp

    def may_run(self, row: ExecutionRow) -> bool:
        """Whether nobody runs an unfinished execution, and this kernel can."""
        known = (
            self.executes and not (self.is_stopped or self.is_closing) and self.blueprint_of(row) is not None
        )
        return known and row.id not in self._runs and self.taking.may_take(row)

    def blueprint_of(self, row: ExecutionRow) -> Blueprint[..., Any] | None:
        """The blueprint of an execution, if this kernel knows it."""
        if self._blueprints is None:
            return known_blueprint(row.blueprint)
        name = row.blueprint or ""
        return self._blueprints.get(name) or self._children.get(name)

    def learn(self, bp: Blueprint[..., Any] | None) -> None:
        """Executions of this blueprint are children of those that this kernel runs: they come back here, too."""
        if bp is not None:
            self._children.setdefault(bp.name, bp)

    @staticmethod
    def id_of(id: object) -> str:
        """An id as the store takes it. Raises `ValidationError` for what is no text."""
        if not isinstance(id, str):
            raise errors.ValidationError(f"the id of an execution is text, got {id.__class__.__name__}")
        return id if id.isascii() else ascii(id)


def _context(tenant: str | model.TenantContext, limits: model.ResourceLimits | None) -> model.TenantContext:
    if not isinstance(tenant, model.TenantContext):
        return model.TenantContext(tenant, limits=limits)
    if limits is None:
        return tenant
    if tenant.limits is not None:
        raise errors.ValidationError("give the limits to the kernel or in the TenantContext, not both")
    return model.TenantContext(tenant.tenant_id, tenant.user_id, limits, tenant.metadata, tenant.on_warning)


def _without_deadline(context: model.TenantContext) -> model.TenantContext:
    """What an execution by itself looks at. Its deadline is the kernel's: the cleanup after that may run steps."""
    given = context.limits
    if given is None or given.max_wall_time_ms is None:
        return context
    fields = {name: getattr(given, name) for name in given._fields if name != "max_wall_time_ms"}
    limits = model.ResourceLimits(**fields)
    return model.TenantContext(
        context.tenant_id, context.user_id, limits, context.metadata, context.on_warning
    )
