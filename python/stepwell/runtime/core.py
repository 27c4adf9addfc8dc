"""The classes of the chosen backend, for the runtime."""

from typing import TYPE_CHECKING

from .. import _backend

if TYPE_CHECKING:
    from .._pure import Execution, Step, SystemClock, encode, new_id, start_step
else:
    _, _chosen = _backend.choose()
    Execution, Step, SystemClock = _chosen.Execution, _chosen.Step, _chosen.SystemClock
    encode, new_id, start_step = _chosen.encode, _chosen.new_id, _chosen.start_step

__all__ = ["Execution", "Step", "SystemClock", "encode", "new_id", "start_step"]
