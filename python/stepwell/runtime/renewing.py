"""Going on as a new execution, with an empty journal; what was said to the one before, and not heard, is for the new.

That is carried over between the record that there will be a new one and the end of the one before; from that record on
the one before hears nothing more. What comes to it after that, up to its end, is carried over by whoever sees it first:
the next one who has something to say, or a kernel that looks for what arrived. Each delivery keeps its id, so it is
there once, whoever carries it, and however often.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, NoReturn

from .. import errors
from .._spec import EXECUTION_TERMINAL, STEP_TERMINAL, ExecutionState, ParentType
from ..model import ParentLink
from ..store import Delivery, ExecutionRow
from . import places
from .children import child_id
from .delivering import is_cancelling, put, unheard

if TYPE_CHECKING:
    from .kernel import Kernel
    from .run import Run

RENEWED: Final = "stepwell.continued_as"
"""The one key of the output of an execution that went on as another."""
_NAME: Final = "continue_as_new"
PLACE: Final = f"!{_NAME}"
"""Where it is recorded that there will be a new one."""


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
    run.passes_on = run.hears_nothing = True
    step = run.recorded.get(PLACE)
    if step is None:
        run.run_again()
        step = run.execution.start_step(_NAME, type="child", place=PLACE)
    await run.journal.durable()
    given = run.blueprint.recorded(wish.given, wish.named, run.kernel.codec)
    link = ParentLink("execution", run.execution.id)
    id = child_id(step.id)
    await run.kernel.start_child(run.blueprint, id, given, None, link, lambda: _carry(run, id))
    if step.state not in STEP_TERMINAL:
        run.execution.complete_step(step, output=id)
    run.no_longer_open(step)
    return {RENEWED: id}


async def is_begun(run: "Run") -> bool:
    """Whether there is the new execution that the record of this one, which has not ended, tells of."""
    try:
        await run.kernel.store.get(child_id(run.recorded[PLACE].id))
    except errors.NotFound:
        return False
    return True


async def _carry(run: "Run", id: str) -> None:
    """Takes what was said to this execution, and not heard, to the new one, before that begins."""
    was_told = run.root is not None and run.root.cancelling() > 0
    carried = [
        each
        for each in await unheard(run.kernel, run.execution.id)
        if each.id not in run.journal.taken and not (was_told and is_cancelling(each))
    ]
    await tell(run.kernel, id, carried)
    run.journal.taken.extend(each.id for each in carried)


async def tell(kernel: "Kernel", id: str, given: Sequence[Delivery], known: bool = True) -> tuple[str, bool]:
    """Delivers these, in order, to an execution or, where it went on as others, to the first of those that takes them.

    What came to one that ended since, and was not carried over yet, goes before. `known`: one of these may have been
    delivered before, to any of them. Returns the last execution that was asked, and whether all are in. Raises
    `NotFound`, `StoreCorrupt`.
    """
    seen, asks = {id}, True
    while True:
        if asks:
            given = [each for each in given if not await put(kernel, id, each)]
            if not given:
                return id, True
        other = await _next(kernel, await kernel.store.get(id))
        if other is None:
            return id, False
        between = await unheard(kernel, id)
        given, known = [*between, *given], known or bool(between)
        asks = known or other.state not in EXECUTION_TERMINAL
        id = other.id
        check_new(seen, id)


async def carry_rest(kernel: "Kernel", row: ExecutionRow) -> None:
    """Takes what came to an execution just before it went on as another, and was not carried over, to that one."""
    rest = await unheard(kernel, row.id)
    other = await _next(kernel, row) if rest else None
    if other is not None:
        await tell(kernel, other.id, rest)


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


async def _next(kernel: "Kernel", row: ExecutionRow) -> ExecutionRow | None:
    if row.state != ExecutionState.COMPLETED:
        return None
    return await following(kernel, row, (await kernel.last_record(row)).get("output"))


async def last_of(kernel: "Kernel", id: str) -> ExecutionRow:
    """The execution that this one has come to be: itself, or the last of those that it went on as.

    Raises `StoreCorrupt` where they go in a circle, which only a forged store has.
    """
    row, seen = await kernel.store.get(id), {id}
    while (other := await _next(kernel, row)) is not None:
        check_new(seen, other.id)
        row = other
    return row


def check_new(seen: set[str], id: str) -> None:
    """Adds an execution to those that one has come to be. Raises `StoreCorrupt` where it is one of them."""
    if id in seen:
        raise errors.StoreCorrupt(f"execution {id} went on as itself: restore the store from a backup")
    seen.add(id)
