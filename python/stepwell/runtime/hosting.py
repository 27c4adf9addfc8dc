"""The executions that run in a kernel: how they come in, are left, and tell their parents of their end."""

import asyncio
import contextvars
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar, cast

from .. import errors, model
from .._spec import ExecutionState
from ..clock import Clock
from ..store import ExecutionRow, Store
from . import children, commands, records as recorded
from .functions import Blueprint
from .run import Run
from .taking import Taking
from .watching import Watching

if TYPE_CHECKING:
    from .kernel import Kernel

T = TypeVar("T")

log = logging.getLogger("stepwell")


class Hosting:
    """What `Kernel` has for the rest of the runtime."""

    if TYPE_CHECKING:
        context: model.TenantContext
        clock: Clock
        executes: bool
        taking: Taking
        watching: Watching
        _runs: dict[str, Run]
        _leaving: dict[str, asyncio.Task[None]]
        _parents: dict[str, set[tuple[str, str]]]
        _background: set[asyncio.Task[Any]]
        _store: Store | None
        _warned: bool
        _closed: bool

        @property
        def store(self) -> Store: ...

        def spawn(self, work: Coroutine[Any, Any, T], finish: bool = False) -> asyncio.Task[T]: ...

    def check_concurrent(self) -> None:
        """Refuses one execution more than this kernel may run at once for its tenant."""
        limits = self.context.limits
        if limits is None or limits.max_concurrent_executions is None:
            return
        used, most = len(self._runs) + 1, limits.max_concurrent_executions
        if used > most:
            errors.quota_exceeded("max_concurrent_executions", float(used), float(most))
        if used >= model.WARN_AT * most and not self._warned:
            self._warned = True
            model.warn(self.context.on_warning, "max_concurrent_executions", float(used), float(most))

    def begin(self, run: Run, context: contextvars.Context) -> Run:
        """Runs it here."""
        if self._closed:
            raise errors.KernelClosed(f"the kernel was closed before execution {run.execution.id} began")
        self._runs[run.execution.id] = run
        self.watching.own(run.execution.id)
        run.begin(context)
        self.watching.poke(run.execution.id)
        return run

    async def start_child(
        self,
        bp: Blueprint[..., Any],
        id: str,
        given: Any,
        key: str | None,
        link: model.ParentLink,
        first: Callable[[], Awaitable[None]] | None = None,
        was_made: bool = False,
    ) -> str:
        """Makes or finds the child execution with this id, does something `first`, and sees that it runs. Its id."""
        return await self.taking.start_child(bp, id, given, key, link, first, was_made)

    def will_tell(self, child: str, waiting: set[tuple[str, str]]) -> bool:
        """When this child ends here, these steps of executions are told. `False` where that was known."""
        known = self._parents.setdefault(child, set())
        new = not waiting <= known
        known |= waiting
        return new

    async def request_cancel(self, id: str, reason: str | None) -> None:
        """Asks for a child to be cancelled."""
        await commands.cancel(cast("Kernel", self), id, reason)

    async def last_record(self, row: ExecutionRow) -> dict[str, Any]:
        """The last record of an execution."""
        return recorded.last(row, await self.store.load(row.id, row.version - 1))

    def running(self, id: str) -> Run | None:
        """The run of an execution in this kernel, unless it is being left."""
        return self._runs.get(id)

    def runs(self) -> tuple[Run, ...]:
        """All of them."""
        return (*self._runs.values(),)

    def poke(self, id: str | None = None) -> None:
        """Something has changed."""
        self.watching.poke(id)

    def forget(self, run: Run) -> None:
        """A run is over, or was left."""
        id = run.execution.id
        if self._runs.get(id) is not run or self._closed:
            return
        del self._runs[id]
        if run.is_terminal:
            self.watching.forget(id)
            self._ended(run)
            if run.passes_on:
                self.watching.left(id, 0)  # what came in its last moment
        elif run.left is not None and not isinstance(run.left, errors.KernelClosed):
            self._leaving[id] = leaving = self.spawn(self._give_up(run))
            self._background.discard(leaving)  # a kernel that is closed waits for it
        self.watching.poke(id)

    async def _give_up(self, run: Run) -> None:
        """Writes what a run that was left has recorded, and lets others have it."""
        id = run.execution.id
        try:
            await run.wind_up()
            if run.journal.failed is None and self._store is not None:
                await self._store.release(id, run.journal.epoch)
        except errors.StepwellError as error:
            log.warning("execution %s was not released: %s", id, error)
        finally:
            self._leaving.pop(id, None)
            self.watching.left(id, run.waits.place)

    async def row_of(self, id: str) -> ExecutionRow:
        """The row of an execution; when it is being left here, after that. Raises `NotFound`."""
        await self.left(id)
        return await self.store.get(id)

    async def _paused_is_left(self, id: str) -> None:
        """Returns when nothing that cannot be interrupted runs any more of an execution that is paused here."""
        run = self._runs.get(id)
        if run is not None and run.execution.state == ExecutionState.PAUSED:
            await asyncio.wait([run.ended])

    async def left(self, id: str) -> None:
        """Returns when an execution that was left here is written and released."""
        leaving = self._leaving.get(id)
        if leaving is not None:
            await asyncio.wait([leaving])

    def _ended(self, run: Run) -> None:
        """Tells the parents of a child that ended."""
        execution = run.execution
        waiting = self._parents.pop(execution.id, set())
        link = execution.parent
        of_step = link is not None and link.parent_type == "step_execution"
        if waiting or of_step:
            step_id = link.parent_id if of_step and link is not None else None
            _ = self.spawn(self._tell_parents(execution.id, step_id, waiting))

    async def _tell_parents(self, id: str, step_id: str | None, waiting: set[tuple[str, str]]) -> None:
        for parent, _ in await children.tell_parents(cast("Kernel", self), id, step_id, waiting):
            run = self._runs.get(parent)
            if run is not None:
                run.waits.look()
        self.poke()

    async def recovered(self) -> None:
        """Returns when what was unfinished at the start has been looked for."""
        if self.executes:
            await asyncio.wait([self.watching.first_search])
