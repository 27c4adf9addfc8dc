"""What blueprints call: each function makes an operation, and asks for it at the place of the call."""

from collections.abc import Callable, Coroutine, Iterable
from datetime import timedelta
from typing import Any, TypeVar, overload

from .._spec import WaitReason
from ..retries import Backoff, RetryPolicy
from . import places
from .batch import Batch, Completion
from .branching import BatchGroup, branches_of, items_of
from .children import Child
from .determined import Checkpoint
from .functions import Blueprint
from .groups import ScopeGroup
from .submitting import WaitForCallback
from .values import Codec
from .waits import Callback, MakeCallback, Sleep, WaitFor, WaitUntil, answer_type

T = TypeVar("T")
Duration = str | float | timedelta


def sleep(duration: Duration, name: str | None = None) -> Coroutine[Any, Any, None]:
    """Waits that long, whether or not a process runs meanwhile: `await stepwell.sleep("5m")`.

    Text (`"1h30m"`), a number of seconds, or a `timedelta`, counted from the first time that it is called. Outside a
    kernel and in a step it is `asyncio.sleep`. Raises `ValidationError` for what is no duration.
    """
    return places.ask(Sleep(duration, name))


def wait_for(
    name: str,
    timeout: Duration | None = None,
    reason: WaitReason | str = WaitReason.USER_INPUT,
    type: Any = None,
    *,
    codec: Codec | None = None,
) -> Coroutine[Any, Any, Any]:
    """Waits for a signal of this name (`Handle.signal`) and returns its payload, of type `type` where that is given.

    Signals that were sent before are kept, and each goes to one wait, in order. `reason` is what the execution shows
    while it waits. Raises `ExecutionError` (category `timeout`, code `wait_timeout`) after `timeout`, which is
    counted over restarts.
    """
    return places.ask(answer_type(WaitFor(name, timeout, reason, codec), type))


def callback(
    name: str | None = None,
    timeout: Duration | None = None,
    heartbeat_timeout: Duration | None = None,
    type: Any = None,
    *,
    codec: Codec | None = None,
) -> Coroutine[Any, Any, Callback[Any]]:
    """Opens a callback: give its `id` to whoever has the answer, and `await cb.result()`.

    It is answered by `Kernel.complete_callback` or `fail_callback`; the first answer counts. `timeout` bounds the
    whole, `heartbeat_timeout` the time between two calls of `Kernel.heartbeat_callback`: then `result` raises
    `ExecutionError`, category `timeout`, code `wait_timeout` or `heartbeat_timeout`.
    """
    return places.ask(answer_type(MakeCallback(name, timeout, heartbeat_timeout, codec), type))


def wait_for_callback(
    submit: Callable[[str], Any],
    name: str | None = None,
    timeout: Duration | None = None,
    heartbeat_timeout: Duration | None = None,
    retry: RetryPolicy | None = None,
    retry_on: tuple[type[BaseException], ...] | None = None,
    type: Any = None,
    *,
    codec: Codec | None = None,
) -> Coroutine[Any, Any, Any]:
    """Opens a callback, calls `submit` with its id as a step, and returns the answer: a scope with both in it.

    `retry` and `retry_on` are those of the step; the rest is as in `callback`.
    """
    op = WaitForCallback(submit, name, timeout, heartbeat_timeout, retry, retry_on, type, codec)
    return places.ask(answer_type(op, type))


def wait_until(
    check: Callable[[Any], Any],
    initial: Any = None,
    every: Duration | Backoff = "1s",
    max_attempts: int | None = None,
    name: str | None = None,
    *,
    codec: Codec | None = None,
) -> Coroutine[Any, Any, Any]:
    """Looks until a condition holds: `check(state)` returns `(done, state)`, first with `initial`, at once.

    Returns the last state. Each look is a step, and between two the execution waits as `every` says. Raises
    `ExecutionError` (category `timeout`, code `attempts_exhausted`) after `max_attempts` looks in vain, and what
    `check` raises at once.
    """
    return places.ask(WaitUntil(check, initial, every, max_attempts, name, codec))


def scope(
    fn: Callable[..., Any], /, *args: Any, name: str | None = None, codec: Codec | None = None
) -> Coroutine[Any, Any, Any]:
    """Runs a function of the blueprint as a named group of steps. Once it has ended, its body is not run again.

    What it returns is recorded; what it raises is an `ExecutionError` with the inner one as its `cause`.
    """
    return places.ask(ScopeGroup(fn, args, name, codec))


@overload
def child(
    blueprint: Blueprint[..., Coroutine[Any, Any, T]],
    /,
    *args: Any,
    name: str | None = None,
    key: str | None = None,
    tenant: str | None = None,
    on_cancel: str = "cascade",
    codec: Codec | None = None,
    **kwargs: Any,
) -> Coroutine[Any, Any, T]: ...


@overload
def child(
    blueprint: Blueprint[..., T],
    /,
    *args: Any,
    name: str | None = None,
    key: str | None = None,
    tenant: str | None = None,
    on_cancel: str = "cascade",
    codec: Codec | None = None,
    **kwargs: Any,
) -> Coroutine[Any, Any, T]: ...


def child(
    blueprint: Blueprint[..., Any],
    /,
    *args: Any,
    name: str | None = None,
    key: str | None = None,
    tenant: str | None = None,
    on_cancel: str = "cascade",
    codec: Codec | None = None,
    **kwargs: Any,
) -> Coroutine[Any, Any, Any]:
    """Runs another blueprint as an execution of its own and returns its result.

    With a `key` it is the execution of that key, whoever started it. When the parent is cancelled, `cascade` cancels
    the child, too, and waits for its end, `wait` waits for its end, and `detach` leaves it to itself. An error of the
    child is raised with the child's own as its `cause`. `tenant` may only repeat the parent's: `ExecutionError`
    (category `policy_violation`) else. Raises `ValidationError` for arguments that do not fit.
    """
    return places.ask(Child(blueprint, args, kwargs, name, key, tenant, on_cancel, codec))


def parallel(
    branches: Iterable[Callable[[], Any] | tuple[str, Callable[[], Any]]],
    concurrency: int | None = None,
    completion: Completion | None = None,
    name: str | None = None,
    *,
    codec: Codec | None = None,
) -> Coroutine[Any, Any, Batch[Any]]:
    """Runs functions without arguments at the same time, at most `concurrency` of them, and returns a `Batch`.

    A branch that is a step is that step; any other is a scope, under the function's name or the one given with it.
    Without `completion` the first failure cancels the rest and is raised, else see `Completion`.
    """
    made = branches_of(branches, codec)
    return places.ask(BatchGroup("parallel" if name is None else name, made, concurrency, completion))


def map(
    fn: Callable[..., Any],
    items: Iterable[Any],
    concurrency: int | None = None,
    completion: Completion | None = None,
    name: str | None = None,
    item_name: Callable[[Any, int], str] | None = None,
    *,
    codec: Codec | None = None,
) -> Coroutine[Any, Any, Batch[Any]]:
    """Calls `fn` with each item, at most `concurrency` at a time, and returns a `Batch`; else as `parallel`.

    A branch that is no step is named by the item's number, or by `item_name(item, index)`.
    """
    made = items_of(fn, items, item_name, codec)
    return places.ask(BatchGroup("map" if name is None else name, made, concurrency, completion))


def checkpoint(value: T, name: str | None = None, *, codec: Codec | None = None) -> Coroutine[Any, Any, T]:
    """Records a value and returns it as it is recorded: on replay the one of the first time, whatever is given."""
    return places.ask(Checkpoint(value, name, codec))
