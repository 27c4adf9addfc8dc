"""The classes of the chosen backend, for the runtime."""

from typing import TYPE_CHECKING

from .. import _backend

if TYPE_CHECKING:
    from .._pure import Execution, Step, SystemClock
else:
    _, _chosen = _backend.choose()
    Execution, Step, SystemClock = _chosen.Execution, _chosen.Step, _chosen.SystemClock

__all__ = ["Execution", "Step", "SystemClock"]
