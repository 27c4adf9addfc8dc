"""For `def` blueprints: what `stepwell` has to be awaited, blocking. `from stepwell import blocking`."""

from collections.abc import Callable, Coroutine, Iterable
from datetime import timedelta
from typing import Any, TypeVar, overload

from .._spec import StepType, WaitReason
from ..retries import Backoff, RetryPolicy
from . import places
from .batch import Batch, Completion
from .branching import BatchGroup, branches_of, items_of
from .children import Child
from .determined import Checkpoint
from .functions import Blueprint, spec_of
from .groups import ScopeGroup
from .submitting import WaitForCallback
from .values import Codec
from .waits import BlockingCallback, MakeCallback, Sleep, WaitFor, WaitUntil, answer_type

T = TypeVar("T")
Duration = str | float | timedelta


def run_step(
    fn: Callable[..., Any],
    /,
    *args: Any,
    name: str | None = None,
    type: StepType | str | None = None,
    retry: RetryPolicy | None = None,
    retry_on: tuple[type[BaseException], ...] | None = None,
    timeout: Duration | None = None,
    effect: str | None = None,
    durability: str | None = None,
    record_input: bool | None = None,
    codec: Codec | None = None,
    **kwargs: Any,
) -> Any:
    """See `stepwell.run_step`."""
    spec = spec_of(
        fn,
        (args, kwargs),
        name=name,
        type=type,
        retry=retry,
        retry_on=retry_on,
        timeout=timeout,
        effect=effect,
        durability=durability,
        record_input=record_input,
        codec=codec,
    )
    return places.call(spec, args, kwargs)


def sleep(duration: Duration, name: str | None = None) -> None:
    """See `stepwell.sleep`."""
    places.ask_blocking(Sleep(duration, name))


def wait_for(
    name: str,
    timeout: Duration | None = None,
    reason: WaitReason | str = WaitReason.USER_INPUT,
    type: Any = None,
    *,
    codec: Codec | None = None,
) -> Any:
    """See `stepwell.wait_for`."""
    return places.ask_blocking(answer_type(WaitFor(name, timeout, reason, codec), type))


def callback(
    name: str | None = None,
    timeout: Duration | None = None,
    heartbeat_timeout: Duration | None = None,
    type: Any = None,
    *,
    codec: Codec | None = None,
) -> BlockingCallback[Any]:
    """See `stepwell.callback`."""
    opened = places.ask_blocking(answer_type(MakeCallback(name, timeout, heartbeat_timeout, codec), type))
    return BlockingCallback(opened)


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
) -> Any:
    """See `stepwell.wait_for_callback`."""
    op = WaitForCallback(submit, name, timeout, heartbeat_timeout, retry, retry_on, type, codec)
    return places.ask_blocking(answer_type(op, type))


def wait_until(
    check: Callable[[Any], Any],
    initial: Any = None,
    every: Duration | Backoff = "1s",
    max_attempts: int | None = None,
    name: str | None = None,
    *,
    codec: Codec | None = None,
) -> Any:
    """See `stepwell.wait_until`."""
    return places.ask_blocking(WaitUntil(check, initial, every, max_attempts, name, codec))


def scope(fn: Callable[..., Any], /, *args: Any, name: str | None = None, codec: Codec | None = None) -> Any:
    """See `stepwell.scope`."""
    return places.ask_blocking(ScopeGroup(fn, args, name, codec))


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
) -> T: ...


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
) -> T: ...


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
) -> Any:
    """See `stepwell.child`."""
    return places.ask_blocking(Child(blueprint, args, kwargs, name, key, tenant, on_cancel, codec))


def parallel(
    branches: Iterable[Callable[[], Any] | tuple[str, Callable[[], Any]]],
    concurrency: int | None = None,
    completion: Completion | None = None,
    name: str | None = None,
    *,
    codec: Codec | None = None,
) -> Batch[Any]:
    """See `stepwell.parallel`."""
    made = branches_of(branches, codec)
    batch: Batch[Any] = places.ask_blocking(
        BatchGroup("parallel" if name is None else name, made, concurrency, completion)
    )
    return batch


def map(
    fn: Callable[..., Any],
    items: Iterable[Any],
    concurrency: int | None = None,
    completion: Completion | None = None,
    name: str | None = None,
    item_name: Callable[[Any, int], str] | None = None,
    *,
    codec: Codec | None = None,
) -> Batch[Any]:
    """See `stepwell.map`."""
    made = items_of(fn, items, item_name, codec)
    batch: Batch[Any] = places.ask_blocking(
        BatchGroup("map" if name is None else name, made, concurrency, completion)
    )
    return batch


def checkpoint(value: T, name: str | None = None, *, codec: Codec | None = None) -> T:
    """See `stepwell.checkpoint`."""
    recorded: T = places.ask_blocking(Checkpoint(value, name, codec))
    return recorded
