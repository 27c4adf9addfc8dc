"""`parallel` and `map`: many branches at once, each found again by its number."""

import asyncio
import inspect
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from .. import errors, model
from .._spec import STEP_TERMINAL, StepState, StepType
from . import places
from .batch import ALL, Batch, Completion
from .groups import Group, ScopeGroup
from .operations import Operation, finished
from .performing import breathe, compare, recorded_error
from .places import Call, Inside
from .values import Codec

if TYPE_CHECKING:
    from .core import Step
    from .run import Run


class Branch:
    """One branch: what it calls, and with what."""

    __slots__ = ("args", "op")

    def __init__(self, op: Operation, args: tuple[Any, ...]) -> None:
        self.op = op
        self.args = args


def branch_of(fn: Any, args: tuple[Any, ...], name: str | None, codec: Codec | None) -> Branch:
    """A branch that is a step is that step; any other function is a scope."""
    from .functions import spec_with

    spec = spec_with(fn, name, codec)
    if spec is not None:
        return Branch(spec, args)
    return Branch(ScopeGroup(fn, args, name, codec), ())


def check_concurrency(concurrency: int | None) -> int | None:
    """Raises `ValidationError` for less than one branch at a time."""
    return None if concurrency is None else model.whole("concurrency", concurrency, 1)


def branches_of(given: Iterable[Any], codec: Codec | None) -> list[Branch]:
    """The branches of `parallel`: functions, or pairs of a name and a function."""
    branches = []
    for at, one in enumerate(given):
        name, fn = one if isinstance(one, tuple) and len(one) == 2 else (None, one)
        if not callable(fn):
            raise errors.ValidationError(
                f"branch {at} must be a function without arguments, or a pair of a name and one"
            )
        branches.append(branch_of(fn, (), name, codec))
    return branches


def items_of(
    fn: Callable[..., Any],
    items: Iterable[Any],
    item_name: Callable[[Any, int], str] | None,
    codec: Codec | None,
) -> list[Branch]:
    """The branches of `map`, one for each item."""
    from .functions import spec_with

    given = list(items)
    if item_name is None:
        spec = spec_with(fn, None, codec)
        if spec is not None:
            return [Branch(spec, (item,)) for item in given]
        return [branch_of(fn, (item,), str(at), codec) for at, item in enumerate(given)]
    return [branch_of(fn, (item,), item_name(item, at), codec) for at, item in enumerate(given)]


class BatchGroup(Group):
    """Runs branches, so many at a time, until all are through or the completion says so."""

    __slots__ = ("_branches", "_completion", "_concurrency")

    def __init__(
        self,
        name: str,
        branches: Sequence[Branch],
        concurrency: int | None,
        completion: Completion | None,
    ) -> None:
        super().__init__(name, StepType.SCOPE)
        if completion is not None and not isinstance(completion, Completion):
            raise errors.ValidationError(
                f"completion must be a Completion, got {completion.__class__.__name__}"
            )
        self._branches = branches
        self._concurrency = check_concurrency(concurrency)
        self._completion = completion

    @property
    def input(self) -> Any:
        return {"branches": len(self._branches)}

    def encoded(self, run: "Run", value: Any) -> Any:  # noqa: ARG002
        return value

    async def inside(self, run: "Run", call: Call, step: "Step", inside: Inside) -> Any:  # noqa: ARG002
        return await _Batching(self, run, call, step).work()

    def ended(self, run: "Run", call: Call, step: "Step", value: Any) -> Any:  # noqa: ARG002
        return self._batch(run, value["reason"], call.branches or {})

    def result(self, run: "Run", step: "Step") -> Any:
        place = step.place
        found = {
            at: known
            for at in range(len(self._branches))
            if (known := run.recorded.get(f"{place}/{at}")) is not None
        }
        return self._batch(run, step.output["reason"], found)

    def _batch(self, run: "Run", reason: str, steps: "dict[int, Step]") -> Batch[Any]:
        outputs: dict[int, Any] = {}
        failed: dict[int, Any] = {}
        for at, step in steps.items():
            if step.state == StepState.COMPLETED:
                outputs[at] = self._branches[at].op.result(run, step)
            elif step.state == StepState.FAILED:
                failed[at] = recorded_error(step)
        return Batch(len(self._branches), len(steps), outputs, failed, reason)

    async def outside(self) -> Any:
        completion, gate = self._completion or Completion(), asyncio.Semaphore(self._concurrency or 10**9)

        async def one(branch: Branch) -> Any:
            async with gate:
                return await _plain(branch)

        if self._completion is None:
            results = await asyncio.gather(*(one(branch) for branch in self._branches))
            return Batch(len(results), len(results), dict(enumerate(results)), {}, ALL)
        outcomes = await asyncio.gather(*(one(branch) for branch in self._branches), return_exceptions=True)
        return _plain_batch(outcomes, completion)

    def outside_blocking(self) -> Any:
        outcomes: list[Any] = []
        for branch in self._branches:
            try:
                outcomes.append(_plain_blocking(branch))
            except Exception as error:
                if self._completion is None:
                    raise
                outcomes.append(error)
        return _plain_batch(outcomes, self._completion or Completion())


async def _plain(branch: Branch) -> Any:
    if isinstance(branch.op, ScopeGroup):
        return await branch.op.outside()
    value = branch.op.fn(*branch.args)  # type: ignore[attr-defined]
    return await value if inspect.isawaitable(value) else value


def _plain_blocking(branch: Branch) -> Any:
    if isinstance(branch.op, ScopeGroup):
        return branch.op.outside_blocking()
    return finished(branch.op.fn(*branch.args))  # type: ignore[attr-defined]


def _plain_batch(outcomes: Sequence[Any], completion: Completion) -> Batch[Any]:
    from ..failures import ExecutionError

    failed = {
        at: ExecutionError.from_exception(found)
        for at, found in enumerate(outcomes)
        if isinstance(found, Exception)
    }
    good = {at: found for at, found in enumerate(outcomes) if not isinstance(found, BaseException)}
    total = len(outcomes)
    return Batch(total, total, good, failed, completion.reason(total, len(good), len(failed)) or ALL)


class _Batching:
    """The work on one batch in this process."""

    def __init__(self, group: BatchGroup, run: "Run", call: Call, step: "Step") -> None:
        self._group = group
        self._run = run
        self._call = call
        self._branches = group._branches
        self._scope = run.new_scope(call.place + "/", step)
        self._scope.blocking = call.scope.blocking
        self._running: dict[asyncio.Task[Any], int] = {}
        self._through: deque[BaseException | None] = deque()
        self._wake: asyncio.Future[None] | None = None
        self._calls: dict[int, Call] = {}
        self._good = 0
        self._bad = 0

    async def work(self) -> Any:
        # Tasks are made outside of the blueprint's scope: their places are their numbers.
        token = places.enter(None)
        try:
            reason = await self._all()
            self._abandon()
            return {"reason": reason}
        except asyncio.CancelledError:
            await self._cancelled()
            raise
        except Exception:
            self._abandon()
            raise
        finally:
            places.leave(token)
            for task in self._running:
                task.cancel()
            begun = {at: call.step for at, call in self._calls.items() if call.step is not None}
            self._call.branches = {**self._begun_before(), **begun}

    async def _all(self) -> str:
        most = self._group._concurrency or len(self._branches)
        reason = self._reason() if not self._branches else None
        order = self._run.order
        ended, waiting = self._known({} if order is None or order.is_through else await order.numbers())
        while reason is None and ended:
            reason = await self._replay(ended.popleft())
        while reason is None:
            while waiting and len(self._running) < most:
                self._start(waiting.popleft())
            if not self._through:
                await self._next()
            while self._through and reason is None:
                error = self._through.popleft()
                reason = self._count(error)
        return reason

    def _known(self, numbers: dict[str, int]) -> "tuple[deque[int], deque[int]]":
        """The branches that the record has an outcome of, in the order of those, and the others."""
        total = len(self._branches)
        if not self._run.replayed:
            return deque(), deque(range(total))
        ended: list[tuple[Any, int]] = []
        rest: list[int] = []
        last: list[int] = []
        for at in range(total):
            known = self._run.recorded.get(f"{self._call.place}/{at}")
            if known is not None and known.state in (StepState.COMPLETED, StepState.FAILED):
                ended.append((known.ended_at, at))
            else:
                # One that was cancelled was so by its blueprint, which is about to do so again.
                (last if known is not None and known.state in STEP_TERMINAL else rest).append(at)
        ended.sort(key=lambda one: (one[0], numbers.get(f"{self._call.place}/{one[1]}", 0)))
        return deque(at for _, at in ended), deque(rest + last)

    async def _replay(self, at: int) -> str | None:
        """Counts a recorded outcome. If those decide about the batch, nothing else of it is begun."""
        run = self._run
        call = self._prepare(at)
        step = run.recorded[call.place]
        await compare(run, call, step)
        await breathe(run, call)
        return self._count(None if step.state == StepState.COMPLETED else recorded_error(step))

    def _prepare(self, at: int) -> Call:
        branch, call = self._branches[at], self._call
        given = branch.op.input_of(self._run, branch.args, {}) if branch.args else None
        place = f"{call.place}/{at}"
        made = Call(self._scope, branch.op, branch.args, {}, given, call.where, place)
        self._calls[at] = made
        return made

    def _start(self, at: int) -> None:
        run, call = self._run, self._prepare(at)
        task = run.loop.create_task(call.op.perform(run, call))
        self._running[task] = at
        run.adopt(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        at = self._running.pop(task, None)
        if at is None:
            return
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        self._through.append(error)
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def _next(self) -> None:
        run = self._run
        self._wake = run.loop.create_future()
        run.quiet.add(self._wake)
        run.waits.idle_soon()
        try:
            await self._wake
        finally:
            run.quiet.discard(self._wake)
            self._wake = None

    def _count(self, error: BaseException | None) -> str | None:
        if error is None:
            self._good += 1
        elif isinstance(error, Exception):
            self._bad += 1
            if self._group._completion is None:
                raise error
        else:
            raise error
        return self._reason()

    def _reason(self) -> str | None:
        completion = self._group._completion or Completion()
        return completion.reason(len(self._branches), self._good, self._bad)

    async def _cancelled(self) -> None:
        """The blueprint cancelled the batch: it goes on when the code of the branches has come to its end."""
        tasks = list(self._running)
        for task in tasks:
            task.cancel()
        if tasks and self._run.left is None and not self._run.over:
            await asyncio.wait(tasks)

    def _abandon(self) -> None:
        """The batch is decided: what still runs is recorded as cancelled, and not waited for."""
        run = self._run
        for task, at in list(self._running.items()):
            task.cancel()
            step = self._calls[at].step
            if step is not None and step.state not in STEP_TERMINAL and run.left is None and not run.over:
                run.execution.cancel_step(step, reason="its batch was done")
                run.no_longer_open(step)
        self._running.clear()
        for step in self._begun_before().values():
            if step.state not in STEP_TERMINAL and run.left is None and not run.over:
                run.execution.cancel_step(step, reason="its batch was done")
                run.no_longer_open(step)

    def _begun_before(self) -> "dict[int, Step]":
        """Branches that were begun in an earlier life, and not in this one, where the batch was decided before that."""
        if not self._run.replayed:
            return {}
        recorded, place = self._run.recorded, self._call.place
        others = [at for at in range(len(self._branches)) if at not in self._calls]
        return {at: step for at in others if (step := recorded.get(f"{place}/{at}")) is not None}
