"""How executions come to a kernel: new ones, known ones, those that others left; and how they are read."""

import asyncio
import contextvars
import logging
import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from .. import errors
from .._spec import EXECUTION_TERMINAL, ExecutionState
from ..failures import ExecutionError
from ..model import ParentLink
from ..store import ExecutionRow, NewExecution
from . import owners, records as recorded, renewing
from .core import Execution
from .functions import Blueprint, known_blueprint
from .journaling import boundary, projection
from .run import Run

if TYPE_CHECKING:
    from .kernel import Kernel

log = logging.getLogger("stepwell")

MAX_CLAIMS: Final = 5
"""After so many claims without progress an execution is parked: whoever takes it up dies of it."""
POISON: Final = "poison: claimed five times, and whoever claimed it ended without progress"
LEASE_S: Final = 60
"""How long a claim is believed in where it cannot be looked up whether its owner lives."""


class Taking:
    """Makes and takes up executions for a kernel. All of it runs on the kernel's loop."""

    def __init__(self, kernel: "Kernel") -> None:
        self._kernel = kernel
        self._taking: dict[str, asyncio.Task[Run | None]] = {}
        self._altering: dict[str, asyncio.Future[None]] = {}
        self.owner = owners.register(kernel)

    # --- new ones -------------------------------------------------------------------------------------------------

    async def start(
        self,
        blueprint: Blueprint[..., Any],
        execution: Execution,
        context: contextvars.Context,
        wake_at: int | None = None,
        first: Callable[[], Awaitable[None]] | None = None,
    ) -> tuple[str, Run | None]:
        """Stores a new execution and begins it, unless there is one with its key, which is then gone on with.

        `first` is given where it takes the place of one that is about to end, and so is none more. It is done in
        between, and may put something into the inbox.
        """
        kernel, key, records = self._kernel, execution.key, execution.drain()
        if key is None or await kernel.store.find(blueprint.name, key) is None:
            if first is None:
                kernel.check_concurrent()
            parent = execution.parent
            new = NewExecution(
                execution.id,
                blueprint.name,
                key,
                execution.schema_version,
                None if parent is None else str(parent.parent_type),
                None if parent is None else parent.parent_id,
                self.owner if wake_at is None else None,
            )
            row = projection(execution, wake_at)
            known, made = await kernel.store.create(
                new, os.urandom(16), records, row, boundary(kernel.durability)
            )
            if made:
                if wake_at is not None:
                    kernel.watching.own(known)
                    return known, None
                run = Run(kernel, blueprint, execution, 1, execution.version)
                if first is not None:
                    await self._do_first(run, first)
                return known, kernel.begin(run, context)
        found = await kernel.store.find(blueprint.name, key or "")
        if found is None:
            raise errors.InternalError("defect in stepwell, please report it: a key was taken and is gone")
        given = recorded.arguments(found.id, records)
        if recorded.arguments(found.id, await kernel.store.load(found.id, -1)) != given:
            raise errors.ValidationError(
                f"key {key!r} of {blueprint.name} is that of execution {found.id}, which was started with other "
                "arguments: give the same ones, or another key"
            )
        return found.id, await self.go_on(found)

    async def _do_first(self, run: Run, first: Callable[[], Awaitable[None]]) -> None:
        id = run.execution.id
        # It has an owner, and does not run: nobody here is to take that for one that was left.
        done = self._altering[id] = asyncio.get_running_loop().create_future()
        try:
            await first()
            await run.waits.fetch()
        finally:
            del self._altering[id]
            done.set_result(None)

    async def go_on(self, row: ExecutionRow) -> Run | None:
        """The run of an execution, which is taken up where it can be gone on with and nobody runs it."""
        kernel = self._kernel
        run = kernel.running(row.id)
        if run is not None or row.state in EXECUTION_TERMINAL or row.state == ExecutionState.PAUSED:
            return run
        kernel.watching.own(row.id)
        if not self.may_take(row) or kernel.blueprint_of(row) is None:
            return None
        if sleeps(row, kernel.clock.now_ns()) and (
            row.state == ExecutionState.CREATED or not await kernel.watching.is_called(row)
        ):
            return None  # it comes back by itself
        return await self.take_up(row)

    async def start_child(
        self,
        blueprint: Blueprint[..., Any],
        id: str,
        given: Any,
        key: str | None,
        link: ParentLink,
        first: Callable[[], Awaitable[None]] | None = None,
        was_made: bool = False,
    ) -> str:
        """Makes the child with this id, or finds it, and begins it or goes on with it. Returns the id it has.

        `first` is done before that, when it is there. Raises `ExecutionError` where it `was_made`, and is gone: what it
        did must not be done a second time.
        """
        kernel = self._kernel
        kernel.learn(blueprint)
        try:
            row: ExecutionRow | None = await renewing.last_of(kernel, id)
        except errors.NotFound:
            row = None
        if row is not None:
            if first is not None:
                await first()
            await self.go_on_with_child(row)
            return id
        if was_made:
            message = (
                f"the child {id} was purged before its parent had seen how it ended: it is not started again"
            )
            raise ExecutionError("tool", "child_gone", message)
        execution = Execution(
            id=id,
            tenant=kernel.context,
            parent=link,
            blueprint=blueprint.name,
            key=key,
            schema_version=blueprint.version,
            input=given,
            clock=kernel.given_clock,
        )
        execution.start()
        found, _ = await self.start(blueprint, execution, kernel.bare_context(), first=first)
        return found

    async def go_on_with_child(self, row: ExecutionRow) -> None:
        """Goes on with a child unless somebody runs it."""
        self._kernel.learn(known_blueprint(row.blueprint))
        try:
            await self.go_on(row)
        except errors.Conflict:  # somebody else was first, and runs it
            pass

    # --- those that are there -------------------------------------------------------------------------------------

    def may_take(self, row: ExecutionRow) -> bool:
        """Whether nobody runs an execution, as far as can be known."""
        if row.owner == self.owner or owners.is_gone(row.owner):
            return True
        lease = row.lease_until_ns
        if lease is None:  # its owner made it, and was gone before it renewed anything
            lease = row.updated_at_ns + LEASE_S * 1_000_000_000
        return owners.is_elsewhere(row.owner) and lease < self._kernel.clock.now_ns()

    async def take_up(self, row: ExecutionRow, resume: bool = False) -> Run | None:
        """Runs an unfinished execution from its record; several who want it at once get the same run.

        `None` where it is parked instead, or is paused and nobody says `resume`.
        """
        taking = self._taking.get(row.id)
        if taking is not None and resume:
            await asyncio.wait([taking])
            taking = self._taking.get(row.id)
        if taking is None:
            work = self._claim_and_run(row, self._kernel.bare_context(), resume)
            taking = self._taking[row.id] = self._kernel.spawn(work, finish=True)
            taking.add_done_callback(lambda _: self._taking.pop(row.id, None))
        return await asyncio.shield(taking)

    async def _claim_and_run(
        self, row: ExecutionRow, context: contextvars.Context, resume: bool
    ) -> Run | None:
        kernel = self._kernel
        await kernel.left(row.id)
        altering = self._altering.get(row.id)
        if altering is not None:
            await asyncio.wait([altering])
        running = kernel.running(row.id)
        if running is not None:
            return running
        if row.owner == self.owner or altering is not None:
            row = (await kernel.store.get(row.id))._replace(claims=row.claims)
        if row.state in EXECUTION_TERMINAL or (row.state == ExecutionState.PAUSED and not resume):
            return None
        blueprint = kernel.blueprint_of(row)
        if not kernel.executes or blueprint is None:
            raise errors.ValidationError(
                f"blueprint {row.blueprint} of execution {row.id} is not known to this kernel: import its module first"
            )
        blueprint.check_version(row.schema_version)
        epoch = await self.claim(row)
        try:
            return await self._run_claimed(row, blueprint, epoch, context, resume)
        except BaseException:
            self._give_back(row.id, epoch)
            raise

    def _give_back(self, id: str, epoch: int) -> None:
        """A claim that nothing came of: others may have the execution at once."""
        try:
            _ = self._kernel.store.release(id, epoch)
        except errors.StepwellError as error:
            log.warning("execution %s was not released: %s", id, error)

    async def _run_claimed(
        self,
        row: ExecutionRow,
        blueprint: Blueprint[..., Any],
        epoch: int,
        context: contextvars.Context,
        resume: bool,
    ) -> Run | None:
        kernel = self._kernel
        execution = await self.load(row.id)
        if execution.state in EXECUTION_TERMINAL:
            # It ended here since its row was read: a claim by the same owner from the same epoch was the same claim.
            self._give_back(row.id, epoch)
            return None
        stored = execution.version
        if row.claims >= MAX_CLAIMS and execution.state != ExecutionState.PAUSED:
            await self._park(row, execution, epoch)
            return None
        if execution.state == ExecutionState.CREATED:
            execution.start()
        resumed = execution.state == ExecutionState.PAUSED
        if resumed:
            execution.resume()
        run = Run(kernel, blueprint, execution, epoch, stored)
        run.journal.wakes = row.wake_at_ns
        if run.order is not None:
            read = lambda: recorded.endings(kernel.store, row._replace(version=stored))
            run.order.ended = lambda: kernel.threads.apart.run(contextvars.copy_context(), read)
        if resumed:  # somebody wants it: claims that came to nothing are counted anew
            run.journal.progress = True
            await run.journal.durable()
        if run.passes_on:
            run.passes_on = await renewing.is_begun(run)
        run.overrules_pauses = resume  # those that were asked for before it was resumed
        await run.waits.fetch()
        run.overrules_pauses = False
        return kernel.begin(run, context)

    async def claim(self, row: ExecutionRow) -> int:
        """Claims an execution. Raises `Conflict` where somebody runs it, or was first."""
        kernel = self._kernel
        if not self.may_take(row):
            raise errors.Conflict(f"execution {row.id} is run by another process ({row.owner})")
        until = kernel.clock.now_ns() + LEASE_S * 1_000_000_000
        return await kernel.store.claim(row.id, self.owner, row.epoch, until)

    async def _park(self, row: ExecutionRow, execution: Execution, epoch: int) -> None:
        """Sets an execution aside that each time ended the process it ran in."""
        if execution.state == ExecutionState.CREATED:
            execution.start()
        execution.pause(POISON)
        log.warning("execution %s is parked (%s): resume it when the cause is mended", row.id, POISON)
        await self.write(execution, row.version, epoch)

    async def write(
        self, execution: Execution, stored: int, epoch: int, taken: "list[str] | None" = None
    ) -> None:
        """Writes what was done to a claimed execution without running it, and gives the claim up.

        Where it can go on by itself, kernels that are looking for work find it.
        """
        kernel = self._kernel
        goes_on = execution.state not in EXECUTION_TERMINAL and execution.state != ExecutionState.PAUSED
        records = execution.drain()  # before its row is made: the head is that of what was drained
        row = projection(execution, kernel.clock.now_ns() if goes_on else None)
        if records:
            await kernel.store.append(
                execution.id,
                stored,
                epoch,
                os.urandom(16),
                records,
                row,
                boundary(kernel.durability),
                taken or [],
            )
        if execution.state in EXECUTION_TERMINAL:
            kernel.tell("execution_ended", execution)
        await kernel.store.release(execution.id, epoch)

    async def alter(self, row: ExecutionRow, change: Callable[[Execution], list[str]]) -> ExecutionRow:
        """Changes an execution that nobody runs, without running it. `change` returns what it took from the inbox."""
        kernel = self._kernel
        # Two claims of one owner are one claim: nobody else here may make one meanwhile.
        while busy := self._taking.get(row.id) or self._altering.get(row.id):
            await asyncio.wait([busy])
        if kernel.running(row.id) is not None:
            raise errors.Conflict(f"execution {row.id} is run here by now")
        done = self._altering[row.id] = asyncio.get_running_loop().create_future()
        try:
            await self._alter(row, change)
        finally:
            del self._altering[row.id]
            done.set_result(None)
        kernel.watching.poke(row.id)
        return await kernel.store.get(row.id)

    async def _alter(self, row: ExecutionRow, change: Callable[[Execution], list[str]]) -> None:
        row = await self._kernel.row_of(row.id)
        if row.state in EXECUTION_TERMINAL:  # somebody else was first
            raise errors.Conflict(f"execution {row.id} has ended ({row.state}); nothing was changed")
        epoch = await self.claim(row)
        execution = await self.load(row.id)
        stored = execution.version
        try:
            taken = change(execution)
        except BaseException:
            await self._kernel.store.release(row.id, epoch)
            raise
        await self.write(execution, stored, epoch, taken)

    async def load(self, id: str) -> Execution:
        """An execution as it is recorded.

        Raises `StoreCorrupt` where the journal is damaged, or is not the one that the execution's row is about.
        """
        kernel = self._kernel
        row = await kernel.store.get(id)
        if row.version < _SMALL:
            with recorded.believed(id):
                last, page = await kernel.store.bodies(id)
            if last == row.version:
                return recorded.replayed([row], [page], kernel.context, kernel.given_clock)
        load = lambda: recorded.load(kernel.store, row, kernel.context, kernel.given_clock)
        return await kernel.threads.apart.run(contextvars.copy_context(), load)  # type: ignore[no-any-return]


def sleeps(row: ExecutionRow, now: int) -> bool:
    """Whether an execution that nobody owns waits for a time or for somebody, and is rightly left alone."""
    if row.owner is not None:
        return False
    if row.wake_at_ns is not None:
        return row.wake_at_ns > now
    return row.state == ExecutionState.WAITING


_SMALL: Final = 64
"""Records that are replayed on the loop: to ask a thread takes longer."""
