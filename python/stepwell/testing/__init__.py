"""For those who test: blueprints that are killed everywhere and replayed, a clock, and the contract of a store.

`crash_everywhere(blueprint, *args)` kills a blueprint's process at every write, and `replay(execution)` runs code
against a record; the module `stepwell.testing.plugin` has them as fixtures of pytest. `store_suite(factory)` runs the
contract on a store of your own, and `store_checks()` gives its checks one by one, for instance to
`pytest.mark.parametrize`; `factory()` gives an empty `stepwell.store.StoreSource`, another one each time.
"""

from typing import TYPE_CHECKING, Any, Final

from ..clock import ManualClock
from .checking import Check, Factory, checks

if TYPE_CHECKING:
    from .crashing import SILENCE, Crash, CrashReport, Pending, crash_everywhere, crash_everywhere_async
    from .replaying import Replayed, replay, replay_async

__all__ = [
    "SILENCE",
    "Check",
    "Crash",
    "CrashReport",
    "Factory",
    "ManualClock",
    "Pending",
    "Replayed",
    "crash_everywhere",
    "crash_everywhere_async",
    "replay",
    "replay_async",
    "store_checks",
    "store_suite",
]

_REPLAYING: Final = frozenset({"Replayed", "replay", "replay_async"})


def __getattr__(name: str) -> Any:
    # Those who only test a store, and pytest where nobody asks for a fixture, load no runtime.
    if name in __all__:
        if name in _REPLAYING:
            from . import replaying

            return getattr(replaying, name)
        from . import crashing

        return getattr(crashing, name)
    raise AttributeError(f"module 'stepwell.testing' has no attribute {name!r}")


def store_checks() -> dict[str, Check]:
    """Every check of the contract by its name: `check(factory)` raises `AssertionError` where a store breaks it.

    Each is independent of the others, and what it opens it closes. All together take a few seconds.
    """
    # They are listed when their modules are imported.
    from . import answering, claiming, delivering, keeping, listing, purging, separating, waiting, writing  # noqa: F401

    return checks()


def store_suite(factory: Factory) -> None:
    """Runs every check of the contract on stores that `factory` makes.

    Raises `AssertionError` at the first one that fails: its message begins with the name of the check, its cause is
    what was found.
    """
    for check in store_checks().values():
        check(factory)
