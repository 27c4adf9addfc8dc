"""Blueprints that survive their process: `@blueprint`, `@step`, `run_step`, and the `Kernel` that runs them."""

from .blocking import BlockingHandle, BlockingKernel
from .functions import Blueprint, blueprint, run_step, step
from .handle import Handle
from .kernel import Kernel
from .places import CurrentStep, current_step

__all__ = [
    "BlockingHandle",
    "BlockingKernel",
    "Blueprint",
    "CurrentStep",
    "Handle",
    "Kernel",
    "blueprint",
    "current_step",
    "run_step",
    "step",
]
