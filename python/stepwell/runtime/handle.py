"""The handle of an execution: its result, and its record."""

import asyncio
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .. import durations, errors
from .._spec import EXECUTION_TERMINAL, ExecutionState
from ..failures import ExecutionError
from ..store import ExecutionRow
from . import records as recorded
from .core import Execution
from .run import DIVERGED, Run

if TYPE_CHECKING:
    from .kernel import Kernel

T = TypeVar("T")

_LOOK_FIRST_S = 0.02
_LOOK_LAST_S = 1.0


class Handle(Generic[T]):
    """One execution, seen from outside. `id` is all it needs: a handle of another process or another day works too."""

    __slots__ = ("_id", "_kernel", "_run")

    def __init__(self, kernel: "Kernel", id: str, run: Run | None) -> None:
        self._kernel = kernel
        self._id = id
        self._run = run

    @property
    def id(self) -> str:
        """The id of the execution."""
        return self._id

    async def result(self, timeout: str | float | timedelta | None = None) -> T:  # noqa: ASYNC109
        """What the blueprint returned, once that is durable.

        Raises the execution's `ExecutionError` if it failed or was cancelled (code `cancelled`), `DivergenceError`
        where it is paused because code and record differ, `StoreError` where the store failed it, `KernelClosed`
        where this kernel stopped running it before its end, and `TimeoutError` after `timeout`, which changes nothing.
        Where another process runs it, this looks into the store again and again, and goes on with it if that process
        dies.
        """
        limit = None if timeout is None else durations.parse(timeout, "timeout") / 1e9
        async with asyncio.timeout(limit):
            return await self._result()  # type: ignore[no-any-return]

    async def _result(self) -> Any:
        if self._run is None:
            await self._kernel.recovered()
        self._run = self._kernel.running(self._id) or self._run
        if self._run is not None:
            if self._run.left is None or not self._run.ended.done():
                await asyncio.shield(self._run.ended)
            else:  # it was left before; somebody may have gone on with it since
                row = await self._kernel.store.get(self._id)
                if row.state not in EXECUTION_TERMINAL:
                    raise self._run.left
        pause = _LOOK_FIRST_S
        while True:
            row = await self._kernel.store.get(self._id)
            if row.state in EXECUTION_TERMINAL:
                return await self._recorded(row)
            if row.state == ExecutionState.PAUSED:
                reason = (await self._last(row)).get("reason") or ""
                if reason.startswith(DIVERGED):
                    raise errors.DivergenceError(
                        f"{reason[len(DIVERGED) :]}; the execution is paused: resume it when the code is mended"
                    )
            elif self._kernel.may_run(row):  # whoever ran it is gone
                with suppress(errors.Conflict):
                    self._run = await self._kernel.take_up(row)
                    await asyncio.shield(self._run.ended)
                    continue
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, _LOOK_LAST_S)

    async def _last(self, row: ExecutionRow) -> dict[str, Any]:
        records = await self._kernel.store.load(self._id, row.version - 1)
        return recorded.last(row, records)

    async def _recorded(self, row: ExecutionRow) -> Any:
        last = await self._last(row)
        if row.state == ExecutionState.COMPLETED:
            return last.get("output")
        if row.state == ExecutionState.FAILED:
            raise ExecutionError.from_dict(last.get("error"))
        raise ExecutionError("tool", "cancelled", last.get("reason") or "the execution was cancelled")

    async def execution(self) -> Execution:
        """The execution as it is recorded now, a copy that this process may look at at leisure."""
        row = await self._kernel.store.get(self._id)
        return await self._kernel.load(self._id, row.schema_version)

    def __repr__(self) -> str:
        return f"<Handle {self._id}>"
