"""Opening a callback and handing it to somebody, as one."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .. import errors
from .._spec import StepType
from ..retries import RetryPolicy
from . import places
from .groups import Group
from .places import Call
from .values import Codec
from .waits import MakeCallback, answer_type

if TYPE_CHECKING:
    from .core import Step
    from .run import Run


class WaitForCallback(Group):
    """A scope with the wait, and the step that submits its id."""

    __slots__ = ("_heartbeat", "_retry", "_retry_on", "_submit", "_timeout", "_type")

    def __init__(
        self,
        submit: Callable[[str], Any],
        name: str | None,
        timeout: Any,
        heartbeat_timeout: Any,
        retry: RetryPolicy | None,
        retry_on: tuple[type[BaseException], ...] | None,
        type: Any,
        codec: Codec | None,
    ) -> None:
        super().__init__("wait_for_callback" if name is None else name, StepType.SCOPE, codec)
        if not callable(submit):
            raise errors.ValidationError(f"submit must be a function, got {submit.__class__.__name__}")
        self._submit = submit
        self._timeout = timeout
        self._heartbeat = heartbeat_timeout
        self._retry = retry
        self._retry_on = retry_on
        self._type = type
        MakeCallback(None, timeout, heartbeat_timeout, codec)  # refuses at once what cannot be

    async def body(self, run: "Run", call: Call, step: "Step") -> Any:  # noqa: ARG002
        from .functions import spec_of

        op = answer_type(MakeCallback(None, self._timeout, self._heartbeat, self.codec), self._type)
        opened = await places.ask(op)
        spec = spec_of(self._submit, None, retry=self._retry, retry_on=self._retry_on)
        try:
            await places.call(spec, (opened.id,), {})
            return await opened.result()
        finally:  # nobody else has this callback: where it is not answered, it is over with its scope
            opened.give_up()
