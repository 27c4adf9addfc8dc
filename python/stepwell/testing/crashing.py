"""`crash_everywhere`: a blueprint is killed before and after each of its writes, and has to come to the same end."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from .. import errors
from ..clock import ManualClock
from ..model import ResourceLimits
from ..runtime.functions import Blueprint
from ..runtime.values import Codec
from ..store import StoreSource
from ..store.memory import MemorySource
from .apart import apart, beside
from .comparing import Left, Path, differences, left_in, replays, unstable
from .dying import DyingSource
from .lives import SILENCE, Ending, Life, Pending, Plan, Respond, Watcher

__all__ = ["SILENCE", "Crash", "CrashReport", "Pending", "crash_everywhere", "crash_everywhere_async"]

_ENOUGH: Final = 20
_ALL: Final = 10**9


class Crash(NamedTuple):
    """One history: how it was disturbed, and how it ended.

    `write` is the number of the write at which its first process died, from 0, `request` that write in words, and
    `done` whether it was still done; `None`, "" and `False` where nothing was disturbed. It ended with `result` or
    `error`.
    """

    write: int | None
    done: bool
    request: str
    result: Any
    error: BaseException | None

    def __str__(self) -> str:
        if self.write is None:
            return "undisturbed"
        return f"killed {'after' if self.done else 'before'} write {self.write}, {self.request}"


class CrashReport(NamedTuple):
    """What `crash_everywhere` found: no difference.

    `result` or `error` is that of an undisturbed run, `writes` what that wrote, in words, and `crashes` one entry for
    each process that was killed. `not_compared` are outcomes that are not the same in two undisturbed runs.
    """

    result: Any
    error: BaseException | None
    writes: tuple[str, ...]
    crashes: tuple[Crash, ...]
    not_compared: tuple[str, ...]

    def __str__(self) -> str:
        return f"{len(self.crashes)} crashes at {len(self.writes)} writes, and no difference"


def crash_everywhere(
    blueprint: Blueprint[..., Any],
    /,
    *args: Any,
    kwargs: Mapping[str, Any] | None = None,
    respond: Respond | None = None,
    check: Callable[[Crash], None] | None = None,
    store: Callable[[], StoreSource] = MemorySource,
    tenant: str = "acme",
    durability: str = "power",
    limits: ResourceLimits | None = None,
    codec: Codec | None = None,
    hooks: Sequence[object] = (),
    seconds: float = 60.0,
) -> CrashReport:
    """Runs a blueprint once for each write to its store, killed before it, and once more, killed after it.

    Each time a new kernel goes on to the end, and result, error and recorded steps have to be those of an undisturbed
    run; the code has to replay to the result that it recorded; no step whose completion was recorded may run again, and
    none with `effect="once"` twice. Raises `AssertionError`, which says all that is wrong.

    Time is a `ManualClock`, which goes on by itself when everything waits. `respond` answers signals and callbacks: a
    mapping from the name of the wait to the payload, or a function of a `Pending` that returns it; an exception makes a
    callback fail, and `SILENCE` lets the time-out pass. A step in doubt is settled as it ended when undisturbed.
    `check` is called after each history, the two undisturbed ones first, and may raise: for your own counts of effects.
    `store` makes a new empty store, `kwargs` are the blueprint's named arguments, `seconds` bounds each life.
    It may be called while a loop runs; `crash_everywhere_async` lets that go on.
    """
    return apart(
        lambda: _work(
            blueprint, args, kwargs, respond, check, store, tenant, durability, limits, codec, hooks, seconds
        )
    )


async def crash_everywhere_async(
    blueprint: Blueprint[..., Any], /, *args: Any, **options: Any
) -> CrashReport:
    """`crash_everywhere`, awaited: it works in a thread, on loops of its own."""
    return await beside(lambda: crash_everywhere(blueprint, *args, **options))


def _work(
    blueprint: Blueprint[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any] | None,
    respond: Respond | None,
    check: Callable[[Crash], None] | None,
    store: Callable[[], StoreSource],
    tenant: str,
    durability: str,
    limits: ResourceLimits | None,
    codec: Codec | None,
    hooks: Sequence[object],
    seconds: float,
) -> CrashReport:
    if not isinstance(blueprint, Blueprint):
        raise errors.ValidationError(
            f"expected a function with @blueprint, got {blueprint.__class__.__name__}"
        )
    plan = Plan(
        blueprint, args, kwargs or {}, tenant, respond or {}, durability, codec, limits, hooks, seconds
    )
    return _Crashing(plan, store, check).work()


class _Crashing:
    """All histories of one blueprint."""

    def __init__(
        self, plan: Plan, store: Callable[[], StoreSource], check: Callable[[Crash], None] | None
    ) -> None:
        self._plan = plan
        self._store = store
        self._check = check
        self._undisturbed: Left | None = None
        self._left_out: set[Path] = set()
        self._wrong: list[str] = []

    def work(self) -> CrashReport:
        """Lives them all. Raises `AssertionError`."""
        first, one, writes = self._history(None, False)
        self._stop_where_wrong()
        _, other, _ = self._history(None, False)
        self._undisturbed, self._left_out = one, unstable(one, other)
        self._stop_where_wrong()
        crashes: list[Crash] = []
        for done in (False, True):
            write = 0
            while (found := self._history(write, done)[0]).request:
                crashes.append(found)
                write += 1
                if len(self._wrong) >= _ENOUGH:
                    break
        self._stop_where_wrong()
        names = sorted(f"{label}, {what}" for label, place, what in self._left_out if not place)
        names += sorted(f"{label}, {what} at place {place}" for label, place, what in self._left_out if place)
        return CrashReport(first.result, first.error, tuple(writes), tuple(crashes), tuple(names))

    def _stop_where_wrong(self) -> None:
        if self._wrong:
            shown = "\n".join(f"- {each}" for each in self._wrong[:_ENOUGH])
            more = "" if len(self._wrong) <= _ENOUGH else "\n- …"
            raise AssertionError(f"{self._plan.blueprint.name} does not survive everywhere:\n{shown}{more}")

    def _history(self, write: int | None, done: bool) -> tuple[Crash, Left, list[str]]:
        """One execution from its beginning to its end, over one life or two."""
        source, clock, watcher = self._store(), ManualClock(), Watcher()
        dying = DyingSource(source, _ALL if write is None else write, done)
        request = ""
        try:
            ending = self._life(dying, clock, watcher)
            if ending is None:
                request = dying.asked[-1]
                ending = self._life(DyingSource(source, _ALL, False), clock, watcher)
        except AssertionError as stuck:
            died = None if not request else write
            self._wrong.append(f"{Crash(died, done, request, None, None)}: {stuck}")
            return Crash(died, done, request, None, stuck), Left({}, {}), dying.asked
        assert ending is not None
        crash = Crash(write if request else None, done if request else False, request, *ending)
        store = source.open(self._plan.tenant)
        try:
            left = left_in(store)
        finally:
            store.close()
        self._compare(crash, left, watcher)
        if self._check is not None:
            try:
                self._check(crash)
            except BaseException as error:
                error.add_note(f"crash_everywhere: {crash}")
                raise
        return crash, left, dying.asked

    def _life(self, dying: DyingSource, clock: ManualClock, watcher: Watcher) -> Ending | None:
        return Life(self._plan, dying, clock, watcher, self._undisturbed).run()

    def _compare(self, crash: Crash, left: Left, watcher: Watcher) -> None:
        told = list(watcher.broken)
        if isinstance(crash.error, errors.StepwellError) and not hasattr(crash.error, "category"):
            told.append(f"{crash.error.__class__.__name__}: {crash.error}")
        if self._undisturbed is not None:
            told += differences(self._undisturbed, left, self._left_out)
        told += replays(left, self._plan.codec)
        self._wrong += [f"{crash}: {each}" for each in told]
