"""The methods of `Execution` that make actions: one each."""

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING

from .. import fields, model
from .._spec import WaitReason
from ..failures import ExecutionError
from ..steps import StepRange
from .step import Step


class Methods:
    """What changes an execution, by name; see `Execution`."""

    __slots__ = ()

    if TYPE_CHECKING:

        def _do(self, kind: str, given: dict[str, object]) -> None: ...
        def _own(self, step: object) -> object: ...
        def _complete(self, step_id: object, output: object) -> None: ...
        def _new(
            self,
            kind: str,
            step_id: object,
            name: object,
            type: object,
            key: object,
            parent_step_id: object,
            input: object,
            source: object,
            callable_id: object,
            place: object,
        ) -> Step: ...
        def _one(self, kind: str, step_id: object, given: dict[str, object]) -> None: ...
        def _many(self, kind: str, given: dict[str, object], count: int | None = None) -> StepRange: ...

    # --- actions of the execution ---

    def plan(self) -> None:
        """Begins with planning."""
        self._do("plan", {})

    def start(self) -> None:
        """Begins to run."""
        self._do("start", {})

    def pause(self, reason: str | None = None) -> None:
        """Pauses: steps that run may still end, none starts."""
        self._do("pause", {"reason": reason})

    def resume(self) -> None:
        """Goes back to where it was paused from, or from waiting to running."""
        self._do("resume", {})

    def wait(self, reason: WaitReason | str) -> None:
        """Waits for something outside, for one of the `WaitReason`s."""
        self._do("wait", {"reason": reason})

    def input_received(self, step_id: str | Step | None = None, payload: object = None) -> None:
        """What it waited for is there; where it names an open wait step, that step completes with the payload."""
        self._do("input_received", {"step_id": self._own(step_id), "payload": payload})

    def complete(self, output: object = None) -> None:
        """Ends well. Raises `OpenSteps` while a step is pending or running."""
        self._do("complete", {"output": output})

    def fail(self, error: ExecutionError | BaseException | str) -> None:
        """Ends with an error; open steps are cancelled."""
        self._do("fail", {"error": error})

    def cancel(self, reason: str | None = None) -> None:
        """Ends because somebody wants so; open steps are cancelled."""
        self._do("cancel", {"reason": reason})

    # --- actions of one step ---

    def schedule_step(
        self,
        name: str,
        *,
        step_id: str | None = None,
        type: str = "function",
        key: str | None = None,
        parent_step_id: str | Step | None = None,
        input: object = None,
        source: model.StepSource | None = None,
        callable_id: str | None = None,
        place: str | None = None,
    ) -> Step:
        """Makes a step that is to start later, and returns it."""
        return self._new(
            "step_scheduled", step_id, name, type, key, parent_step_id, input, source, callable_id, place
        )

    def start_step(
        self,
        name: str | None = None,
        *,
        step_id: str | Step | None = None,
        type: str = "function",
        key: str | None = None,
        parent_step_id: str | Step | None = None,
        input: object = None,
        source: model.StepSource | None = None,
        callable_id: str | None = None,
        place: str | None = None,
    ) -> Step:
        """Makes a step that runs at once, or starts the pending one with this `step_id`, and returns it."""
        return self._new(
            "step_started", step_id, name, type, key, parent_step_id, input, source, callable_id, place
        )

    def complete_step(self, step_id: str | Step, output: object = None) -> None:
        """Ends a running step well."""
        self._complete(step_id, output)

    def retry_step(
        self,
        step_id: str | Step,
        error: ExecutionError | BaseException | str,
        retry_at: datetime | int | None = None,
    ) -> None:
        """Ends an attempt of a running step with an error; the step is pending until the next, due at `retry_at`."""
        self._one("step_retrying", step_id, {"error": error, "retry_at": retry_at})

    def fail_step(self, step_id: str | Step, error: ExecutionError | BaseException | str) -> None:
        """Ends a running or pending step with an error."""
        self._one("step_failed", step_id, {"error": error})

    def skip_step(self, step_id: str | Step, reason: str | None = None) -> None:
        """Ends a pending step that is not needed."""
        self._one("step_skipped", step_id, {"reason": reason})

    def cancel_step(self, step_id: str | Step, reason: str | None = None) -> None:
        """Ends a pending or running step before its result."""
        self._one("step_cancelled", step_id, {"reason": reason})

    def add_usage(self, step_id: str | Step, counter: str, amount: float) -> None:
        """Adds to a counter of a running step: `tokens`, `cost` or an own one, kept in millionths, half to even."""
        self._one("step_usage", step_id, {"counter": counter, "amount_micros": fields.micros(amount)})

    # --- actions of many steps ---

    def schedule_steps(
        self,
        names: str | Iterable[str] | None = None,
        *,
        steps: StepRange | Iterable[str | Step] | None = None,
        count: int | None = None,
        type: str = "function",
        keys: Iterable[str] | None = None,
        parent_step_id: str | Step | None = None,
        input: object = None,
        inputs: Iterable[object] | None = None,
        source: model.StepSource | None = None,
        callable_id: str | None = None,
        places: Iterable[str] | None = None,
    ) -> StepRange:
        """Makes many steps that are to start later, as one action: all or none.

        `names` is one name for all or one each; `count` says how many where no sequence does. Sequences may be lists,
        tuples, arrays of numpy or Arrow, and whatever else can be iterated, text and bytes aside. An error carries the
        `index` of the first offending element, and the `step_id` where that is a step which has one.
        """
        given = fields.bulk_new(
            names, steps, type, keys, parent_step_id, input, inputs, source, callable_id, places
        )
        return self._many("steps_scheduled", given, count)

    def start_steps(
        self,
        names: str | Iterable[str] | None = None,
        *,
        steps: StepRange | Iterable[str | Step] | None = None,
        count: int | None = None,
        type: str = "function",
        keys: Iterable[str] | None = None,
        parent_step_id: str | Step | None = None,
        input: object = None,
        inputs: Iterable[object] | None = None,
        source: model.StepSource | None = None,
        callable_id: str | None = None,
        places: Iterable[str] | None = None,
    ) -> StepRange:
        """Makes many steps that run at once, or starts the pending ones given as `steps`; see `schedule_steps`."""
        given = fields.bulk_new(
            names, steps, type, keys, parent_step_id, input, inputs, source, callable_id, places
        )
        return self._many("steps_started", given, count)

    def complete_steps(
        self,
        steps: StepRange | Iterable[str | Step],
        outputs: Iterable[object] | None = None,
        *,
        output: object = None,
    ) -> StepRange:
        """Ends many running steps well, with one output each or the same for all; all or none."""
        return self._many("steps_completed", {"steps": steps, "output": output, "outputs": outputs})

    def fail_steps(
        self,
        steps: StepRange | Iterable[str | Step],
        errors: Iterable[ExecutionError | BaseException | str] | None = None,
        *,
        error: ExecutionError | BaseException | str | None = None,
    ) -> StepRange:
        """Ends many running or pending steps with one error each or the same for all; all or none."""
        return self._many("steps_failed", {"steps": steps, "error": error, "errors": errors})

    def cancel_steps(self, steps: StepRange | Iterable[str | Step], reason: str | None = None) -> StepRange:
        """Ends many pending or running steps before their results; all or none."""
        return self._many("steps_cancelled", {"steps": steps, "reason": reason})
