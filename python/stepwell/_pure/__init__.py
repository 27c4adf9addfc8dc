"""The pure twin: the kernel in Python alone, the same to a user in everything but speed."""

from .clock import SystemClock
from .execution import Execution
from .ids import IdSource, new_id
from .step import Step

__all__ = ["Execution", "IdSource", "Step", "SystemClock", "new_id"]
