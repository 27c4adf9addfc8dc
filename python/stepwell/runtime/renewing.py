"""Going on as a new execution, with an empty journal."""

from typing import TYPE_CHECKING, Any, Final, NoReturn

from .. import errors
from .._spec import STEP_TERMINAL, ExecutionState
from ..model import ParentLink
from ..store import ExecutionRow
from . import places
from .children import child_id

if TYPE_CHECKING:
    from .kernel import Kernel
    from .run import Run

RENEWED: Final = "stepwell.continued_as"
"""The one key of the output of an execution that went on as another."""
_NAME: Final = "continue_as_new"


class ContinueAsNew(BaseException):
    """Ends a blueprint that goes on as a new execution; no `except Exception` holds it up."""

    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        super().__init__("this execution goes on as a new one")
        self.given = args
        self.named = kwargs


def continue_as_new(*args: Any, **kwargs: Any) -> NoReturn:
    """Ends this execution, and goes on with a new one of the same blueprint with these arguments and an empty journal.

    For loops that never end: an execution's record should stay small. Whoever waits for the result waits for the new
    one's. Nothing after it is run but `finally`. Raises `PlaceError` outside a blueprint, `ValidationError` for
    arguments that do not fit.
    """
    here = places.here()
    if not isinstance(here, places.Scope):
        raise errors.PlaceError(
            "continue_as_new is called in a blueprint that a kernel runs, and not in a step or outside of one"
        )
    here.check_owner(_NAME)
    here.run.blueprint.check_arguments(args, kwargs)
    raise ContinueAsNew(args, kwargs)


async def renew(run: "Run", wish: ContinueAsNew) -> Any:
    """Makes the new execution, once whatever happens, and returns the output of this one."""
    place = f"!{_NAME}"
    step = run.recorded.get(place)
    if step is None:
        run.run_again()
        step = run.execution.start_step(_NAME, type="child", place=place)
    await run.journal.durable()
    given = run.blueprint.recorded(wish.given, wish.named, run.kernel.codec)
    link = ParentLink("execution", run.execution.id)
    id = await run.kernel.start_child(run.blueprint, child_id(step.id), given, None, link)
    if step.state not in STEP_TERMINAL:
        run.execution.complete_step(step, output=id)
    run.open.pop(step.id, None)
    return {RENEWED: id}


def renewed(output: Any) -> str | None:
    """The id of the execution that one with this output went on as."""
    if isinstance(output, dict) and len(output) == 1 and isinstance(output.get(RENEWED), str):
        found: str = output[RENEWED]
        return found
    return None


async def following(kernel: "Kernel", row: ExecutionRow) -> str | None:
    """The id of the execution that this one went on as, if it did."""
    if row.state != ExecutionState.COMPLETED:
        return None
    return renewed((await kernel.last_record(row)).get("output"))


async def last_of(kernel: "Kernel", id: str) -> ExecutionRow:
    """The execution that this one has come to be: itself, or the last of those that it went on as."""
    row = await kernel.store.get(id)
    while (other := await following(kernel, row)) is not None:
        row = await kernel.store.get(other)
    return row
