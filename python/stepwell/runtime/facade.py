"""The kernel for code without an event loop: one with a loop of its own in a thread."""

import asyncio
import concurrent.futures
import contextvars
import os
import threading
from collections.abc import Coroutine, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, overload

from .. import errors
from .._spec import ExecutionState
from ..store import ExecutionRow, Rows
from .commands import UNSET
from .functions import Blueprint

if TYPE_CHECKING:
    from .core import Execution
    from .handle import Handle
    from .kernel import Kernel

T = TypeVar("T")


class BlockingHandle(Generic[T]):
    """A `Handle` whose methods block."""

    __slots__ = ("_handle", "_kernel")

    def __init__(self, kernel: "BlockingKernel", handle: "Handle[T]") -> None:
        self._kernel = kernel
        self._handle = handle

    @property
    def id(self) -> str:
        """The id of the execution."""
        return self._handle.id

    def result(self, timeout: str | float | timedelta | None = None) -> T:
        """See `Handle.result`."""
        return self._kernel._wait(self._handle.result(timeout))

    def execution(self) -> "Execution":
        """See `Handle.execution`."""
        return self._kernel._wait(self._handle.execution())

    def signal(self, name: str, payload: Any = None, *, id: str | None = None) -> bool:
        """See `Handle.signal`."""
        return self._kernel._wait(self._handle.signal(name, payload, id=id))

    def cancel(self, reason: str | None = None) -> bool:
        """See `Handle.cancel`."""
        return self._kernel._wait(self._handle.cancel(reason))

    def pause(self, reason: str | None = None) -> bool:
        """See `Handle.pause`."""
        return self._kernel._wait(self._handle.pause(reason))

    def resume(self) -> None:
        """See `Handle.resume`."""
        self._kernel._wait(self._handle.resume())

    def settle(self, step_id: str, *, output: Any = UNSET, error: object = None, retry: bool = False) -> None:
        """See `Handle.settle`."""
        self._kernel._wait(self._handle.settle(step_id, output=output, error=error, retry=retry))

    def accept(self) -> None:
        """See `Handle.accept`."""
        self._kernel._wait(self._handle.accept())

    def __repr__(self) -> str:
        return f"<BlockingHandle {self.id}>"


class BlockingKernel:
    """What `with Kernel(…) as kernel` gives: the methods of `Kernel`, blocking. Its loop runs in a thread of its own.

    An interrupt (Ctrl-C) while one of them waits loses nothing: the work goes on until the block is left.
    """

    def __init__(self, kernel: "Kernel") -> None:
        self._kernel = kernel
        self._pid = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="stepwell-kernel", daemon=True)
        self._thread.start()
        try:
            self._wait(kernel.__aenter__())
        except BaseException:
            self._stop()
            raise

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            asyncio.set_event_loop(None)
            self._loop.close()

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        if os.getpid() != self._pid:
            work.close()
            raise errors.ForkedProcessError(
                "this kernel was opened before fork, and its thread is not in the child: open one there, or use spawn"
            )
        if threading.current_thread() is self._thread or self._loop.is_closed():
            work.close()
            raise errors.KernelClosed("this kernel is closed, or is asked from its own thread")
        done: concurrent.futures.Future[T] = concurrent.futures.Future()
        context = contextvars.copy_context()
        self._loop.call_soon_threadsafe(lambda: context.run(self._do, work, done))
        return done.result()

    def _do(self, work: Coroutine[Any, Any, T], done: "concurrent.futures.Future[T]") -> None:
        task = self._loop.create_task(work)

        def finished(task: "asyncio.Task[T]") -> None:
            if task.cancelled():
                done.set_exception(errors.KernelClosed("the kernel was closed"))
            elif task.exception() is not None:
                done.set_exception(task.exception())
            else:
                done.set_result(task.result())

        task.add_done_callback(finished)

    def _stop(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()

    @overload
    def start(
        self,
        bp: Blueprint[..., Coroutine[Any, Any, T]],
        /,
        *args: Any,
        key: str | None = None,
        at: datetime | str | float | timedelta | None = None,
        **kwargs: Any,
    ) -> BlockingHandle[T]: ...

    @overload
    def start(
        self,
        bp: Blueprint[..., T],
        /,
        *args: Any,
        key: str | None = None,
        at: datetime | str | float | timedelta | None = None,
        **kwargs: Any,
    ) -> BlockingHandle[T]: ...

    def start(
        self,
        bp: Blueprint[..., Any],
        /,
        *args: Any,
        key: str | None = None,
        at: datetime | str | float | timedelta | None = None,
        **kwargs: Any,
    ) -> BlockingHandle[Any]:
        """See `Kernel.start`."""
        return BlockingHandle(self, self._wait(self._kernel.start(bp, *args, key=key, at=at, **kwargs)))

    @overload
    def run(
        self, bp: Blueprint[..., Coroutine[Any, Any, T]], /, *args: Any, key: str | None = None, **kwargs: Any
    ) -> T: ...

    @overload
    def run(self, bp: Blueprint[..., T], /, *args: Any, key: str | None = None, **kwargs: Any) -> T: ...

    def run(self, bp: Blueprint[..., Any], /, *args: Any, key: str | None = None, **kwargs: Any) -> Any:
        """See `Kernel.run`."""
        return self._wait(self._kernel.run(bp, *args, key=key, **kwargs))

    def get(self, id: str) -> BlockingHandle[Any]:
        """See `Kernel.get`."""
        return BlockingHandle(self, self._wait(self._kernel.get(id)))

    def list(
        self,
        *,
        state: ExecutionState | str | None = None,
        blueprint: str | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> list[ExecutionRow]:
        """See `Kernel.list`."""
        return self._wait(self._kernel.list(state=state, blueprint=blueprint, after=after, limit=limit))

    def unknown(self) -> Rows:
        """See `Kernel.unknown`."""
        return self._wait(self._kernel.unknown())

    def resume(self, id: str) -> BlockingHandle[Any]:
        """See `Kernel.resume`."""
        return BlockingHandle(self, self._wait(self._kernel.resume(id)))

    def fork(self, id: str, step_id: str, *, key: str | None = None) -> BlockingHandle[Any]:
        """See `Kernel.fork`."""
        return BlockingHandle(self, self._wait(self._kernel.fork(id, step_id, key=key)))

    def complete_callback(self, id: str, payload: Any = None) -> bool:
        """See `Kernel.complete_callback`."""
        return self._wait(self._kernel.complete_callback(id, payload))

    def fail_callback(self, id: str, error: object) -> bool:
        """See `Kernel.fail_callback`."""
        return self._wait(self._kernel.fail_callback(id, error))

    def heartbeat_callback(self, id: str) -> bool:
        """See `Kernel.heartbeat_callback`."""
        return self._wait(self._kernel.heartbeat_callback(id))

    def close(self, drain: str | float | timedelta | None = None) -> Sequence[str]:
        """See `Kernel.close`. In a child of `fork` there is nothing to close."""
        if self._loop.is_closed() or os.getpid() != self._pid:
            return []
        try:
            return self._wait(self._kernel.close(drain))
        finally:
            self._stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
