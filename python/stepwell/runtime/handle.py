"""The handle of an execution: its result, its record, and what can be said to it."""

import asyncio
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .. import durations, errors
from .._spec import EXECUTION_TERMINAL, ExecutionState
from ..failures import ExecutionError
from ..store import ExecutionRow
from . import commands, diverging
from .commands import UNSET
from .core import Execution
from .renewing import check_new, following

if TYPE_CHECKING:
    from .kernel import Kernel
    from .run import Run

T = TypeVar("T")

_LOOK_FIRST_S = 0.02
_LOOK_LAST_S = 1.0
_LOOK_WAITING_S = 5.0


class Handle(Generic[T]):
    """One execution, seen from outside. `id` is all it needs: a handle of another process or another day works too."""

    __slots__ = ("_ended", "_id", "_kernel")

    def __init__(self, kernel: "Kernel", id: str, run: "Run | None" = None) -> None:
        self._kernel = kernel
        self._id = id
        # Not the run itself: who keeps a handle does not keep what has left memory.
        self._ended = None if run is None else run.ended

    @property
    def id(self) -> str:
        """The id of the execution."""
        return self._id

    async def result(self, timeout: str | float | timedelta | None = None) -> T:  # noqa: ASYNC109
        """What the blueprint returned, once that is durable.

        Raises the execution's `ExecutionError` if it failed or was cancelled (code `cancelled`), `DivergenceError`
        where it is paused because code and record differ, `StoreError` where the store failed it, `KernelClosed`
        where this kernel stopped running it before its end, and `TimeoutError` after `timeout`, which changes nothing.
        While it waits or is paused, or another process runs it, this waits, too, and goes on with it if that
        process dies.
        """
        limit = None if timeout is None else durations.parse(timeout, "timeout") / 1e9
        async with asyncio.timeout(limit):
            return await self._result()  # type: ignore[no-any-return]

    async def _result(self) -> Any:
        kernel = self._kernel
        id, pause = self._id, _LOOK_FIRST_S
        seen = {id}
        while True:
            run = kernel.running(id)
            ended = run.ended if run is not None else self._ended if id == self._id else None
            self._ended = None
            failure: ExecutionError | None = None
            if ended is not None:
                try:
                    await asyncio.shield(ended)
                except errors.LeftMemory:
                    await kernel.left(id)
                except ExecutionError as error:
                    failure = error
            change = kernel.watching.change(id)
            row = await kernel.store.get(id)
            if row.state in EXECUTION_TERMINAL:
                last = await kernel.last_record(row)
                other = await following(kernel, row, last.get("output"))
                if other is None:
                    self._ended = ended if id == self._id else None
                    return self._recorded(row, last, ended)
                check_new(seen, other.id)
                id, pause = other.id, _LOOK_FIRST_S
                continue
            if failure is not None:
                raise failure
            await self._look(row)
            if kernel.running(id) is None:
                waits = row.state in (ExecutionState.WAITING, ExecutionState.PAUSED, ExecutionState.CREATED)
                await asyncio.wait([change], timeout=pause)
                pause = min(pause * 1.5, _LOOK_WAITING_S if waits else _LOOK_LAST_S)

    async def _look(self, row: ExecutionRow) -> None:
        """Raises where it cannot go on by itself, and goes on with it where nobody does."""
        kernel = self._kernel
        if row.state == ExecutionState.PAUSED:
            reason = (await kernel.last_record(row)).get("reason") or ""
            if reason.startswith(diverging.DIVERGED):
                known = errors.DivergenceError(
                    f"{diverging.words_of(reason)}; the execution is paused: resume it when the code is mended"
                )
                known.place = diverging.place_of(reason) or ""
                raise known
        elif kernel.may_run(row) and row.state != ExecutionState.CREATED:
            with suppress(errors.Conflict):
                await kernel.taking.go_on(row)

    def _recorded(self, row: ExecutionRow, last: dict[str, Any], ended: "asyncio.Future[Any] | None") -> Any:
        if row.state == ExecutionState.COMPLETED:
            blueprint = self._kernel.blueprint_of(row)
            output = last.get("output")
            return output if blueprint is None else blueprint.result(output, self._kernel.codec)
        if row.state == ExecutionState.FAILED:
            live = None if ended is None or not ended.done() or ended.cancelled() else ended.exception()
            raise live if isinstance(live, ExecutionError) else ExecutionError.from_dict(last.get("error"))
        raise ExecutionError("tool", "cancelled", last.get("reason") or "the execution was cancelled")

    async def execution(self) -> Execution:
        """The execution as it is recorded now, a copy that this process may look at at leisure."""
        return await self._kernel.taking.load(self._id)

    async def signal(self, name: str, payload: Any = None, *, id: str | None = None) -> bool:
        """Sends a signal, for `wait_for(name)`: kept until the blueprint comes to wait for it, in order.

        Two signals are two, even of one content; what is sent again with the same `id` is the same signal.
        `False` where the execution has ended, or another signal was sent with this `id`. Raises `NotFound`.
        """
        return await commands.signal(self._kernel, self._id, name, payload, id)

    async def cancel(self, reason: str | None = None) -> bool:
        """Asks for it to be cancelled: its code gets `CancelledError` where it is, and may clean up by steps.

        `False` where it has ended already. What becomes of it, `result` says. Raises `NotFound`.
        """
        return await commands.cancel(self._kernel, self._id, reason)

    async def pause(self, reason: str | None = None) -> bool:
        """Pauses it: nothing more is started, and async steps that run are interrupted and tried again at `resume`.

        `False` where it has ended already. Raises `NotFound`.
        """
        return await commands.pause(self._kernel, self._id, reason)

    async def resume(self) -> None:
        """Lets it go on where it is paused; see `Kernel.resume`."""
        await self._kernel.resume(self._id)

    async def settle(
        self, step_id: str, *, output: Any = UNSET, error: object = None, retry: bool = False
    ) -> None:
        """Says what became of a step that is in doubt, and lets the execution go on.

        One of `output` (it was done, with this result), `error` (it failed: an `ExecutionError`, an exception or text)
        and `retry=True` (do it once more). Raises `NotFound`, `Conflict` where there is nothing in doubt.
        """
        row = await self._kernel.row_of(self._id)
        await commands.settle(self._kernel, row, step_id, output, error, retry)
        await self._go_on()

    async def accept(self) -> None:
        """Lets an execution that is paused because code and record differ go on as its code is now.

        What was recorded from the place of the difference on, in that part of the code, is given up: it stays in the
        journal, and counts no more. Raises `NotFound`, `Conflict` where it is not paused for that.
        """
        row = await self._kernel.row_of(self._id)
        await commands.accept(self._kernel, row)
        await self._go_on()

    async def _go_on(self) -> None:
        kernel = self._kernel
        if kernel.executes:
            row = await kernel.row_of(self._id)
            with suppress(errors.Conflict):
                await kernel.taking.go_on(row)

    def __repr__(self) -> str:
        return f"<Handle {self._id}>"
