"""Blueprints that survive their process: `@blueprint`, `@step`, what they call, and the `Kernel` that runs them."""

from .batch import Batch, Completion
from .calling import (
    callback,
    checkpoint,
    child,
    map,
    parallel,
    scope,
    sleep,
    wait_for,
    wait_for_callback,
    wait_until,
)
from .determined import Current, current, now, patched, random, uuid
from .facade import BlockingHandle, BlockingKernel
from .functions import Blueprint, blueprint, run_step, step
from .handle import Handle
from .kernel import Kernel
from .places import CurrentStep, current_step
from .renewing import continue_as_new
from .values import Codec
from .waits import Callback

__all__ = [
    "Batch",
    "BlockingHandle",
    "BlockingKernel",
    "Blueprint",
    "Callback",
    "Codec",
    "Completion",
    "Current",
    "CurrentStep",
    "Handle",
    "Kernel",
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
]
