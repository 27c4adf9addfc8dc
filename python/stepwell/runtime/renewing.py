"""Going on as a new execution, with an empty journal."""

from typing import TYPE_CHECKING, Any, Final, NoReturn

from .. import errors
from .._spec import STEP_TERMINAL, ExecutionState, ParentType
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
    run.no_longer_open(step)
    return {RENEWED: id}


def renewed(output: Any) -> str | None:
    """The id of the execution that one with this output went on as."""
    if isinstance(output, dict) and len(output) == 1 and isinstance(output.get(RENEWED), str):
        found: str = output[RENEWED]
        return found
    return None


async def following(kernel: "Kernel", row: ExecutionRow, output: Any) -> ExecutionRow | None:
    """The execution that a completed one with this output went on as, if it did.

    An output is a blueprint's, and may look like that by itself: the other one has to say that it comes from this one.
    """
    id = renewed(output)
    if id is None:
        return None
    try:
        other = await kernel.store.get(id)
    except errors.NotFound:
        return None
    return other if (other.parent_type, other.parent_id) == (ParentType.EXECUTION, row.id) else None


async def last_of(kernel: "Kernel", id: str) -> ExecutionRow:
    """The execution that this one has come to be: itself, or the last of those that it went on as.

    Raises `StoreCorrupt` where they go in a circle, which only a forged store has.
    """
    row, seen = await kernel.store.get(id), {id}
    while row.state == ExecutionState.COMPLETED:
        other = await following(kernel, row, (await kernel.last_record(row)).get("output"))
        if other is None:
            break
        check_new(seen, other.id)
        row = other
    return row


def check_new(seen: set[str], id: str) -> None:
    """Adds an execution to those that one has come to be. Raises `StoreCorrupt` where it is one of them."""
    if id in seen:
        raise errors.StoreCorrupt(f"execution {id} went on as itself: restore the store from a backup")
    seen.add(id)
