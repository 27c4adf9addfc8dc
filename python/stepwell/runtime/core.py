"""The classes of the chosen backend, for the runtime."""

from typing import TYPE_CHECKING

from .. import _backend

if TYPE_CHECKING:
    from .._pure import Execution, Step, SystemClock, new_id
else:
    _, _chosen = _backend.choose()
    Execution, Step, SystemClock = _chosen.Execution, _chosen.Step, _chosen.SystemClock
    new_id = _chosen.new_id

__all__ = ["Execution", "Step", "SystemClock", "new_id"]
