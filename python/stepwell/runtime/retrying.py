"""The wait between two attempts of a step."""

from typing import TYPE_CHECKING

from .._spec import WaitReason
from .waiting import Wait

if TYPE_CHECKING:
    from .core import Step
    from .run import Run


class RetryWait(Wait):
    """Over when the time of the next attempt has come. The record has that time; nothing is written at its end."""

    __slots__ = ()

    def __init__(self, run: "Run", step: "Step", due: int) -> None:
        super().__init__(run, step, WaitReason.TIMER, due)

    def expire(self) -> None:
        self.run.waits.remove(self)
        self._tell()
