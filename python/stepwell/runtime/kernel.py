"""The kernel: starts executions, takes up unfinished ones, and hands out their results."""

import asyncio
import contextvars
import logging
import os
from collections.abc import Callable, Coroutine, Iterable, Sequence
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar, overload

from .. import durations, errors, model
from .._spec import EXECUTION_TERMINAL, ExecutionState
from ..store import ExecutionRow, NewExecution, Store, StoreSource, open_source
from . import owners, places, records as recorded
from .core import Execution, SystemClock
from .functions import Blueprint, known_blueprint, pack
from .handle import Handle
from .journaling import LEVELS, boundary, projection
from .run import Run
from .threads import Threads

if TYPE_CHECKING:
    from .blocking import BlockingKernel

T = TypeVar("T")

log = logging.getLogger("stepwell")

STEP_THREADS: Final = 32
_UNFINISHED: Final = ("created", "planning", "running", "waiting")


class Kernel:
    """Runs blueprints so that they survive the process: `async with Kernel("sqlite:///runs.db", tenant="acme")`.

    `store` is a URL (`sqlite:///` and a path, or `memory`) or an object of `stepwell.store`. Everything is inside
    `tenant`. When it is entered, executions that another process left unfinished are taken up again, in the background,
    where their blueprint is known: one of `blueprints`, or without that any that is registered. `hooks` are told
    of executions and steps, see the documentation. With `recover=False` nothing is taken up by itself, only by `start`
    with its key and by `resume`; with `execute=False` the kernel only reads, and runs nothing. `durability` says when
    the result of a step is seen, see `step`; with `process` no wait for the disk at all, with the others waits and ends
    of executions are on the disk before they are seen.

    Under `with` instead of `async with` the same methods are without `await`: that gives a `BlockingKernel`.
    """

    def __init__(
        self,
        store: str | StoreSource,
        *,
        tenant: str | model.TenantContext,
        blueprints: Iterable[Blueprint[..., Any]] | None = None,
        execute: bool = True,
        recover: bool = True,
        durability: str = "power",
        hooks: Sequence[object] = (),
    ) -> None:
        self._source = open_source(store) if isinstance(store, str) else store
        self._context = tenant if isinstance(tenant, model.TenantContext) else model.TenantContext(tenant)
        self._tenant = self._context.tenant_id
        self._warned = False
        self._blueprints = None if blueprints is None else {known.name: known for known in blueprints}
        self._execute = execute
        self._recover_all = execute and recover
        self.durability = model.choice("durability", durability, LEVELS)
        self._hooks = tuple(hooks)
        self._store: Store | None = None
        self._runs: dict[str, Run] = {}
        self._taking: dict[str, asyncio.Task[Run]] = {}
        self._background: set[asyncio.Task[Any]] = set()
        self._recovery: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._owner = ""
        self._closed = False
        self._blocking: BlockingKernel | None = None
        self.clock = SystemClock()
        self.threads = Threads(STEP_THREADS)

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

    # --- opening and closing --------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        if self._loop is not None:
            raise errors.KernelClosed("a kernel is entered once: make another one")
        self._loop = asyncio.get_running_loop()
        opening = self.threads.run(contextvars.copy_context(), lambda: self._source.open(self._tenant))
        try:
            self._store = await asyncio.shield(opening)
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError):
                opening.add_done_callback(lambda done: done.exception() or done.result().close())
            self.threads.close()
            raise
        self._owner = owners.register(self)
        if self._recover_all:
            self._recovery = self._spawn(self._recover())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __enter__(self) -> "BlockingKernel":
        from .blocking import BlockingKernel

        self._blocking = BlockingKernel(self)
        return self._blocking

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._blocking is not None:
            self._blocking.close()

    async def close(self) -> list[str]:
        """Stops running, and returns the ids of the executions that are left unfinished; `async with` does it.

        Their record is kept, results that are in are written, and the next kernel goes on from there. Running
        `async def` steps are cancelled; `def` steps in threads run on, unheard.
        """
        closing = asyncio.ensure_future(self._close())
        return await asyncio.shield(closing)

    async def _close(self) -> list[str]:
        if self._closed or self._store is None:
            self._closed = True
            return []
        store, self._closed = self._store, True
        for task in self._background:
            task.cancel()
        if self._background:
            await asyncio.wait(self._background)
        left = list(self._runs.values())
        for run in left:
            run.leave(errors.KernelClosed(f"the kernel was closed before execution {run.execution.id} ended"))
        for run in left:
            await run.wind_up()
        for run in left:
            if run.journal.failed is None and not run.is_terminal:
                try:
                    await store.release(run.execution.id, run.journal.epoch)
                except errors.StepwellError as error:
                    log.warning("execution %s was not released: %s", run.execution.id, error)
        await self.threads.run(contextvars.copy_context(), store.close)
        self.threads.close()
        return [run.execution.id for run in left if not run.is_terminal]

    def _spawn(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """A task of the kernel's own: it ends with the kernel, not with the one who asked."""
        context = contextvars.copy_context()
        context.run(places.enter, None)
        task: asyncio.Task[T] = asyncio.get_running_loop().create_task(work, context=context)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    # --- what users ask -------------------------------------------------------------------------------------------

    @overload
    async def start(
        self, bp: Blueprint[..., Coroutine[Any, Any, T]], /, *args: Any, key: str | None = None, **kwargs: Any
    ) -> Handle[T]: ...

    @overload
    async def start(
        self, bp: Blueprint[..., T], /, *args: Any, key: str | None = None, **kwargs: Any
    ) -> Handle[T]: ...

    async def start(
        self, bp: Blueprint[..., Any], /, *args: Any, key: str | None = None, **kwargs: Any
    ) -> Handle[Any]:
        """Starts an execution of a blueprint and returns its handle as soon as it is durable that there is one.

        Where the blueprint has an execution with this `key` already, that one's handle is returned, and it is taken up
        if nobody runs it. Raises `ValidationError` for arguments that do not fit, or that differ from those of that
        execution, `SchemaMismatch` where it is of a version that the blueprint does not accept.
        """
        blueprint = self._check_known(bp)
        blueprint.check_arguments(args, kwargs)
        execution = Execution(
            tenant=self._context,
            blueprint=blueprint.name,
            key=key,
            schema_version=blueprint.version,
            input=pack(args, kwargs),
        )
        execution.start()
        starting = self._spawn(self._start(blueprint, execution, contextvars.copy_context()))
        return Handle(self, *await asyncio.shield(starting))

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
        await self.store.get(_text(id))
        return Handle(self, id, self._runs.get(id))

    async def list(
        self, *, state: ExecutionState | str | None = None, after: str | None = None, limit: int = 100
    ) -> list[ExecutionRow]:
        """What is known of executions, newest first; a page of at most `limit`, up to 1000.

        `state` keeps those in that state; `after` is the id of the last one of the page before.
        Raises `ValidationError`.
        """
        if state is not None:
            state = model.choice("state", state, [known.value for known in ExecutionState])
        return await self.store.list(state, None if after is None else _text(after), limit)

    async def resume(self, id: str) -> Handle[Any]:
        """Takes up an unfinished execution, a paused one too, unless it runs already.

        Raises `NotFound`, `TerminalExecution` where it has ended, `ValidationError` where its blueprint is not known,
        `SchemaMismatch` where it is of another version, `Conflict` where another process runs it.
        """
        row = await self.store.get(_text(id))
        run = self._runs.get(id)
        if run is None:
            if row.state in EXECUTION_TERMINAL:
                errors.terminal_execution(row.state, "resume")
            run = await self.take_up(row)
        return Handle(self, id, run)

    # --- taking up ------------------------------------------------------------------------------------------------

    def _check_known(self, bp: object) -> Blueprint[..., Any]:
        if not self._execute:
            raise errors.ValidationError("this kernel was made with execute=False: it runs nothing")
        if not isinstance(bp, Blueprint):
            raise errors.ValidationError(f"expected a function with @blueprint, got {bp.__class__.__name__}")
        if self._blueprints is not None and self._blueprints.get(bp.name) is not bp:
            raise errors.ValidationError(f"this kernel was made for other blueprints than {bp.name}")
        self.store  # noqa: B018 - raises where the kernel is not open
        return bp

    def may_run(self, row: ExecutionRow) -> bool:
        """Whether nobody runs an unfinished execution, and this kernel can."""
        known = self._execute and not self.is_stopped and self.blueprint_of(row) is not None
        return known and row.id not in self._runs and self._may_take(row)

    def _may_take(self, row: ExecutionRow) -> bool:
        return row.owner == self._owner or owners.is_gone(row.owner)

    def blueprint_of(self, row: ExecutionRow) -> Blueprint[..., Any] | None:
        """The blueprint of an execution, if this kernel knows it."""
        if self._blueprints is not None:
            return self._blueprints.get(row.blueprint or "")
        return known_blueprint(row.blueprint)

    async def _start(
        self, blueprint: Blueprint[..., Any], execution: Execution, context: contextvars.Context
    ) -> tuple[str, Run | None]:
        key, records = execution.key, execution.drain()
        if key is None or await self.store.find(blueprint.name, key) is None:
            self._check_concurrent()
            new = NewExecution(
                execution.id, blueprint.name, key, execution.schema_version, None, None, self._owner
            )
            known, made = await self.store.create(
                new, os.urandom(16), records, projection(execution), boundary(self.durability)
            )
            if made:
                return known, self._begin(Run(self, blueprint, execution, 1, execution.version), context)
        row = await self.store.find(blueprint.name, key or "")
        if row is None:
            raise errors.InternalError("defect in stepwell, please report it: a key was taken and is gone")
        given = recorded.arguments(row.id, records)
        if recorded.arguments(row.id, await self.store.load(row.id, -1)) != given:
            raise errors.ValidationError(
                f"key {key!r} of {blueprint.name} is that of execution {row.id}, which was started with other "
                "arguments: give the same ones, or another key"
            )
        unfinished = row.state not in EXECUTION_TERMINAL and row.state != ExecutionState.PAUSED
        if unfinished and row.id not in self._runs and self._may_take(row):
            return row.id, await self.take_up(row)
        return row.id, self._runs.get(row.id)

    def _check_concurrent(self) -> None:
        """Refuses one execution more than this kernel may run at once for its tenant."""
        limits = self._context.limits
        if limits is None or limits.max_concurrent_executions is None:
            return
        used, most = len(self._runs) + 1, limits.max_concurrent_executions
        if used > most:
            errors.quota_exceeded("max_concurrent_executions", float(used), float(most))
        if used >= model.WARN_AT * most and not self._warned:
            self._warned = True
            model.warn(self._context.on_warning, "max_concurrent_executions", float(used), float(most))

    def _begin(self, run: Run, context: contextvars.Context) -> Run:
        if self._closed:
            raise errors.KernelClosed(f"the kernel was closed before execution {run.execution.id} began")
        self._runs[run.execution.id] = run
        run.begin(context)
        return run

    async def take_up(self, row: ExecutionRow) -> Run:
        """Runs an unfinished execution from its record; several who want it at once get the same run."""
        taking = self._taking.get(row.id)
        if taking is None:
            context = contextvars.copy_context()
            taking = self._taking[row.id] = self._spawn(self._claim_and_run(row, context))
            taking.add_done_callback(lambda _: self._taking.pop(row.id, None))
        return await asyncio.shield(taking)

    async def _claim_and_run(self, row: ExecutionRow, context: contextvars.Context) -> Run:
        blueprint = self.blueprint_of(row)
        if not self._execute or blueprint is None:
            raise errors.ValidationError(
                f"blueprint {row.blueprint} of execution {row.id} is not known to this kernel: import its module first"
            )
        blueprint.check_version(row.schema_version)
        if not self._may_take(row):
            raise errors.Conflict(f"execution {row.id} is run by another process ({row.owner})")
        epoch = await self.store.claim(row.id, self._owner, row.epoch)
        execution = await self.load(row.id, row.schema_version)
        stored = execution.version
        if execution.state == ExecutionState.CREATED:
            execution.start()
        elif execution.state == ExecutionState.PAUSED:
            execution.resume()
        return self._begin(Run(self, blueprint, execution, epoch, stored), context)

    async def load(self, id: str, schema_version: str | None) -> Execution:
        """An execution as it is recorded.

        Raises `StoreCorrupt` where the journal is damaged, or is not the one that the execution's row is about.
        """
        parts: list[bytes] = []
        last = -1
        try:
            row = await self.store.get(id)
            while last < row.version:
                before = last
                last, page = await self.store.bodies(id, last)
                parts.append(page)
                if last == before:
                    raise recorded.damaged(id, "records are missing")
                if last > row.version:  # somebody writes
                    row = await self.store.get(id)
        except errors.StoreCorrupt as error:
            raise recorded.damaged(id, str(error)) from error
        replay: Callable[[], Execution] = lambda: Execution.replay(
            id, parts, schema_version, version=row.version, tenant=self._context
        )
        try:
            execution: Execution = await self.threads.run(contextvars.copy_context(), replay)
        except errors.UnsupportedFormat:
            raise
        except errors.ReplayError as error:
            raise recorded.damaged(id, str(error)) from error
        if execution.head != row.head:
            raise recorded.damaged(id, "its last record is not the one that was written")
        return execution

    async def _recover(self) -> None:
        """Takes up what other processes left, oldest first."""
        rows: list[ExecutionRow] = []
        for state in _UNFINISHED:
            after = None
            while page := await self.store.list(state, after, 1000):
                rows.extend(page)
                after = page[-1].id
        for row in sorted(rows, key=lambda row: row.id):
            if row.id in self._runs or self.blueprint_of(row) is None or not self._may_take(row):
                continue
            try:
                await self.take_up(row)
            except errors.Conflict:
                continue
            except Exception as error:  # noqa: BLE001 - one that cannot be run must not keep the others from it
                log.warning("execution %s could not be taken up: %s", row.id, error)

    async def recovered(self) -> None:
        """Returns when what was unfinished at the start has been taken up."""
        if self._recovery is not None:
            await asyncio.wait([self._recovery])

    def running(self, id: str) -> Run | None:
        """The run of an execution in this kernel."""
        return self._runs.get(id)

    def forget(self, run: Run) -> None:
        """A run is over."""
        if self._runs.get(run.execution.id) is run and not self._closed:
            del self._runs[run.execution.id]
            if isinstance(run.left, errors.DivergenceError):
                _ = self._spawn(self._give_up(run))

    async def _give_up(self, run: Run) -> None:
        await run.wind_up()
        if run.journal.failed is None:
            await self.store.release(run.execution.id, run.journal.epoch)

    def tell(self, event: str, *about: object) -> None:
        """Calls the hooks; what they raise is logged and changes nothing."""
        for hook in self._hooks:
            method = getattr(hook, event, None)
            if method is not None:
                try:
                    method(*about)
                except Exception:
                    log.exception("a hook failed in %s", event)


def _text(id: object) -> str:
    if not isinstance(id, str):
        raise errors.ValidationError(f"the id of an execution is text, got {id.__class__.__name__}")
    return id if id.isascii() else ascii(id)


def seconds(timeout: str | float | timedelta | None) -> float | None:
    """A time-out as seconds."""
    return None if timeout is None else durations.parse(timeout, "timeout") / 1e9
