"""The inbox of an execution: how something comes into it, and what of it is for the execution as a whole."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from ..store import Delivery

if TYPE_CHECKING:
    from .kernel import Kernel

_PAGE: Final = 1000


async def put(kernel: "Kernel", id: str, given: Delivery) -> bool:
    """Delivers this to an execution: see `Store.deliver`. Where it runs here, it looks at once."""
    taken = await kernel.store.deliver(
        id, given.id, given.kind, given.name, given.body, kernel.clock.now_ns()
    )
    run = kernel.running(id)
    if run is not None:
        run.waits.look()
    elif taken:
        kernel.poke()
    return taken


async def unheard(kernel: "Kernel", id: str) -> list[Delivery]:
    """What was said to an execution as a whole, and not taken: signals, and that it is to be cancelled or paused."""
    return await _those(
        kernel, id, lambda each: each.kind in ("signal", "pause") or is_cancelling(each), after=0
    )


async def wishes(kernel: "Kernel", id: str, after: int = 0) -> list[Delivery]:
    """That an execution is to be cancelled or paused, behind whatever else lies in its inbox; from a place on."""
    return await _those(kernel, id, lambda each: each.kind in ("cancel", "pause"), after)


async def _those(kernel: "Kernel", id: str, wanted: Callable[[Delivery], bool], after: int) -> list[Delivery]:
    found: list[Delivery] = []
    while page := await kernel.store.inbox(id, after, _PAGE):
        after = page[-1].place
        found += filter(wanted, page)
        if len(page) < _PAGE:
            break
    return found


def is_cancelling(given: Delivery) -> bool:
    """Whether somebody asks for the execution to be cancelled. A deadline, which has a name, does it by itself."""
    return given.kind == "cancel" and not given.name
