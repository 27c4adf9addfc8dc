"""stepwell: an execution kernel for Python.

One run of a blueprint is an `Execution`, what it does are its `Step`s, and every change is an `Action` in a journal
that replays. `BACKEND` says whether the Rust core (`"native"`) or its twin in Python (`"pure"`) runs.
"""

from typing import TYPE_CHECKING, Any

from . import _backend, errors, typeid
from ._spec import (
    ErrorCategory,
    ExecutionState,
    LlmCode,
    ParentType,
    StepState,
    StepType,
    ToolCode,
    WaitReason,
)
from ._version import VERSION as __version__
from .action import Action
from .clock import Clock, ManualClock
from .errors import (
    Conflict,
    DivergenceError,
    DuplicateStep,
    EncodingError,
    ForkedProcessError,
    InternalError,
    InvalidId,
    InvalidTransition,
    KernelClosed,
    LeftMemory,
    NotFound,
    OpenSteps,
    PayloadTooLarge,
    PlaceError,
    ReplayError,
    SchemaMismatch,
    StepwellError,
    StoreBusy,
    StoreCorrupt,
    StoreError,
    StoreFull,
    StoreReadOnly,
    StoreTooNew,
    TenantRequired,
    TerminalExecution,
    UnknownStep,
    UnsupportedFormat,
    ValidationError,
)
from .failures import Backoff, ExecutionError, RetryPolicy
from .ids import ExecutionId, StepId
from .model import Attempt, LimitWarning, ParentLink, ResourceLimits, StepSource, TenantContext
from .steps import StepRange, Steps

if TYPE_CHECKING:
    from . import logging as logging
    from ._pure import Execution, IdSource, Step, SystemClock, new_id
    from .logging import LogFilter
    from .runtime import (
        Batch,
        Blueprint,
        Callback,
        Codec,
        Completion,
        Current,
        CurrentStep,
        Handle,
        Kernel,
        blocking,
        blueprint,
        callback,
        checkpoint,
        child,
        continue_as_new,
        current,
        current_step,
        map,
        now,
        parallel,
        patched,
        random,
        run_step,
        scope,
        sleep,
        step,
        uuid,
        wait_for,
        wait_for_callback,
        wait_until,
    )

BACKEND, _chosen = _backend.choose()
if not TYPE_CHECKING:
    Execution, IdSource, Step, SystemClock, new_id = (
        _chosen.Execution,
        _chosen.IdSource,
        _chosen.Step,
        _chosen.SystemClock,
        _chosen.new_id,
    )

_RUNTIME = frozenset(
    {
        "Batch",
        "Blueprint",
        "Callback",
        "Codec",
        "Completion",
        "Current",
        "CurrentStep",
        "Handle",
        "Kernel",
        "blocking",
        "blueprint",
        "callback",
        "checkpoint",
        "child",
        "continue_as_new",
        "current",
        "current_step",
        "map",
        "now",
        "parallel",
        "patched",
        "random",
        "run_step",
        "scope",
        "sleep",
        "step",
        "uuid",
        "wait_for",
        "wait_for_callback",
        "wait_until",
    }
)


def __getattr__(name: str) -> Any:
    # The runtime needs asyncio and a database driver: they are loaded when it is used.
    if name in _RUNTIME:
        from . import runtime

        if name == "blocking":
            from .runtime import blocking

            return blocking
        return getattr(runtime, name)
    if name in {"LogFilter", "logging"}:
        from importlib import import_module

        found = import_module(".logging", __name__)
        return found if name == "logging" else found.LogFilter
    raise AttributeError(f"module 'stepwell' has no attribute {name!r}")


__all__ = [
    "BACKEND",
    "Action",
    "Attempt",
    "Backoff",
    "Batch",
    "Blueprint",
    "Callback",
    "Clock",
    "Codec",
    "Completion",
    "Conflict",
    "Current",
    "CurrentStep",
    "DivergenceError",
    "DuplicateStep",
    "EncodingError",
    "ErrorCategory",
    "Execution",
    "ExecutionError",
    "ExecutionId",
    "ExecutionState",
    "ForkedProcessError",
    "Handle",
    "IdSource",
    "InternalError",
    "InvalidId",
    "InvalidTransition",
    "Kernel",
    "KernelClosed",
    "LeftMemory",
    "LimitWarning",
    "LlmCode",
    "LogFilter",
    "ManualClock",
    "NotFound",
    "OpenSteps",
    "ParentLink",
    "ParentType",
    "PayloadTooLarge",
    "PlaceError",
    "ReplayError",
    "ResourceLimits",
    "RetryPolicy",
    "SchemaMismatch",
    "Step",
    "StepId",
    "StepRange",
    "StepSource",
    "StepState",
    "StepType",
    "Steps",
    "StepwellError",
    "StoreBusy",
    "StoreCorrupt",
    "StoreError",
    "StoreFull",
    "StoreReadOnly",
    "StoreTooNew",
    "SystemClock",
    "TenantContext",
    "TenantRequired",
    "TerminalExecution",
    "ToolCode",
    "UnknownStep",
    "UnsupportedFormat",
    "ValidationError",
    "WaitReason",
    "__version__",
    "blocking",
    "blueprint",
    "callback",
    "checkpoint",
    "child",
    "continue_as_new",
    "current",
    "current_step",
    "errors",
    "map",
    "new_id",
    "now",
    "parallel",
    "patched",
    "random",
    "run_step",
    "scope",
    "sleep",
    "step",
    "typeid",
    "uuid",
    "wait_for",
    "wait_for_callback",
    "wait_until",
]
