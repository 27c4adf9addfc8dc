"""What would differ on each replay if it were not recorded: the time, randomness, which version of code runs."""

import random as _random
import secrets
import uuid as _uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from .. import model
from .._spec import StepState, StepType
from ..clock import from_ns
from . import places
from .core import Step
from .operations import Operation
from .performing import begin, seen
from .places import Call, Scope
from .stopping import check_left
from .values import Codec

if TYPE_CHECKING:
    from .run import Run

T = TypeVar("T")

_PATCH = "patched "


def now() -> datetime:
    """The time in UTC, the same on every replay. In a step and outside a kernel the time of this moment.

    In a blueprint it is recorded, so `datetime.now()` is never needed there.
    """
    here = places.here()
    if isinstance(here, Scope):
        return datetime.fromisoformat(
            _recorded(here, "now", lambda: from_ns(here.run.kernel.clock.now_ns()).isoformat())
        )
    return from_ns(here.run.kernel.clock.now_ns()) if isinstance(here, Call) else datetime.now(UTC)


def random() -> float:
    """A random number from 0 up to 1, the same on every replay."""
    here = places.here()
    if isinstance(here, Scope):
        value: float = _recorded(here, "random", _random.SystemRandom().random)
        return value
    return _random.SystemRandom().random()


def uuid() -> _uuid.UUID:
    """A random UUID (version 4), the same on every replay."""
    here = places.here()
    if isinstance(here, Scope):
        return _uuid.UUID(_recorded(here, "uuid", lambda: str(_new_uuid())))
    return _new_uuid()


def _new_uuid() -> _uuid.UUID:
    return _uuid.UUID(bytes=secrets.token_bytes(16), version=4)


def _recorded(scope: Scope, name: str, make: Callable[[], T]) -> T:
    """A value that is made once. Nobody waits for its record: what is written later is written after it."""
    scope.check_owner(name)
    place = scope.next_call()
    run = scope.run

    def answer() -> Any:
        check_left(run)
        step = run.recorded.get(place)
        if step is not None:
            if step.name != name or step.state != StepState.COMPLETED:
                why = f"at place {place} the record has step {step.name!r}, and the code calls {name!r}"
                run.park(place, None, step, None, why)
                check_left(run)
            run.replays += 1
            return step.output
        if run.rehearses:
            return make()
        return mark(run, name, place, make(), scope.step)

    value: T = run.on_loop(answer)
    return value


def mark(run: "Run", name: str, place: str, value: Any, group: Step | None = None, input: Any = None) -> Any:
    """Records a step that is done at once."""
    run.run_again()
    step = run.execution.start_step(name, place=place, parent_step_id=group, input=input)
    run.execution.complete_step(step, output=value)
    run.journal.soon()
    return value


def patched(name: str) -> bool:
    """Whether this run takes the new way: `if stepwell.patched("v2"): … else: …` changes code that is being run.

    `True` for executions that come here for the first time, `False` for those that went past this point before there
    was the question. The first answer of an execution is recorded and stays. Outside a kernel it is `True`.
    Raises `ValidationError` for a name that cannot be.
    """
    full = model.label("name", _PATCH + model.label("name", name))
    here = places.here()
    if not isinstance(here, Scope):
        return True
    scope = here
    scope.check_owner("patched")
    run = scope.run

    def answer() -> bool:
        check_left(run)
        place = "!" + full
        step = run.recorded.get(place)
        if step is None and not run.rehearses:
            step = run.recorded[place] = run.execution.steps[
                mark_id(run, full, place, run.takes_new_way(scope))
            ]
        if step is not None:
            return step.output is not False
        known = run.patches.get(full)
        if known is None:
            known = run.patches[full] = run.takes_new_way(scope)
        return known

    return bool(run.on_loop(answer))


def mark_id(run: "Run", name: str, place: str, value: Any) -> str:
    """Records a mark, and returns its step's id."""
    run.run_again()
    step = run.execution.start_step(name, place=place)
    run.execution.complete_step(step, output=value)
    run.journal.soon()
    return step.id


class Checkpoint(Operation):
    """A value that the blueprint itself gives to be recorded."""

    __slots__ = ("value",)

    def __init__(self, value: Any, name: str | None, codec: Codec | None) -> None:
        super().__init__("checkpoint" if name is None else name, StepType.FUNCTION, codec)
        self.value = value

    async def go(self, run: "Run", call: Call, step: Step | None) -> Any:
        encoded = self.encoded(run, self.value)
        if step is None or step.state == StepState.PENDING:
            step = begin(run, call, step)
        run.execution.complete_step(step, output=encoded)
        run.no_longer_open(step)
        run.journal.progress = True
        await seen(run, None, call)
        return self.result(run, step)

    async def outside(self) -> Any:
        return self.value

    def outside_blocking(self) -> Any:
        return self.value


class Current:
    """The execution that a blueprint or step is part of, as its own code sees it: `stepwell.current()`."""

    __slots__ = ("_run",)

    def __init__(self, run: "Run") -> None:
        self._run = run

    @property
    def execution_id(self) -> str:
        """The id of the execution."""
        return self._run.execution.id

    @property
    def tenant(self) -> str:
        """Whose it is."""
        return self._run.kernel.tenant

    @property
    def blueprint(self) -> str:
        """The name of its blueprint."""
        return self._run.blueprint.name

    @property
    def key(self) -> str | None:
        """The key that it was started with."""
        return self._run.execution.key

    @property
    def parent(self) -> model.ParentLink | None:
        """What started it, where that is known."""
        return self._run.execution.parent

    @property
    def created_at(self) -> datetime:
        """When it was created, UTC."""
        return self._run.execution.created_at

    def __repr__(self) -> str:
        return f"<Current {self.execution_id} of {self.blueprint}>"


def current() -> Current:
    """The execution that runs. Raises `LookupError` outside a blueprint and its steps."""
    here = places.here()
    if isinstance(here, Scope):
        return Current(here.run)
    if isinstance(here, Call):
        return Current(here.run)
    raise LookupError("no execution of a kernel runs here")
