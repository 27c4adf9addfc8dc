"""What `parallel` and `map` give back, and when they are done."""

from collections.abc import Iterator, Sequence
from typing import Final, Generic, TypeVar, overload

from .. import model
from ..errors import ValidationError
from ..failures import ExecutionError
from ..model import Value

T = TypeVar("T")

ALL: Final = "all_completed"
ENOUGH: Final = "min_successful_reached"
TOO_MANY: Final = "failure_tolerance_exceeded"


class Completion(Value):
    """When a batch is done before all of its branches are: it never raises by itself then.

    `min_successful`: so many successes are enough. `tolerated_failures` and `tolerated_failure_ratio` (of all
    branches, 0 to 1): with more than that, the rest is given up. With `min_successful` alone, or nothing, every failure
    is tolerated. Raises `ValidationError`.
    """

    __slots__ = _fields = ("min_successful", "tolerated_failures", "tolerated_failure_ratio")

    min_successful: int | None
    tolerated_failures: int | None
    tolerated_failure_ratio: float | None

    def __init__(
        self,
        min_successful: int | None = None,
        tolerated_failures: int | None = None,
        tolerated_failure_ratio: float | None = None,
    ) -> None:
        ratio = None
        if tolerated_failure_ratio is not None:
            ratio = model.amount("tolerated_failure_ratio", tolerated_failure_ratio)
            if not 0 <= ratio <= 1:
                raise ValidationError("tolerated_failure_ratio must be between 0 and 1")
        self._set(
            min_successful=None
            if min_successful is None
            else model.whole("min_successful", min_successful, 1),
            tolerated_failures=None
            if tolerated_failures is None
            else model.whole("tolerated_failures", tolerated_failures),
            tolerated_failure_ratio=ratio,
        )

    def reason(self, total: int, succeeded: int, failed: int) -> str | None:
        """Why a batch of `total` branches is done, or `None` where it goes on."""
        if self.tolerated_failures is not None and failed > self.tolerated_failures:
            return TOO_MANY
        if self.tolerated_failure_ratio is not None and failed > self.tolerated_failure_ratio * total:
            return TOO_MANY
        if self.min_successful is not None and succeeded >= self.min_successful:
            return ENOUGH
        return ALL if succeeded + failed >= total else None


class Batch(Sequence[T], Generic[T]):
    """The outcomes of all branches, in the order in which they were given.

    `batch[i]` and iteration give a branch's output, or raise its `ExecutionError`; `LookupError` where it did not come
    to an end, because the batch was done before.
    """

    __slots__ = ("_errors", "_outputs", "_reason", "_started", "_total")

    def __init__(
        self, total: int, started: int, outputs: dict[int, T], errors: dict[int, ExecutionError], reason: str
    ) -> None:
        self._total = total
        self._started = started
        self._outputs = outputs
        self._errors = errors
        self._reason = reason

    def __len__(self) -> int:
        return self._total

    @overload
    def __getitem__(self, index: int) -> T: ...

    @overload
    def __getitem__(self, index: slice) -> list[T]: ...

    def __getitem__(self, index: int | slice) -> T | list[T]:
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(self._total))]
        at = index + self._total if index < 0 else index
        if not 0 <= at < self._total:
            raise IndexError(f"a batch of {self._total} branches has none at {index}")
        if at in self._errors:
            raise self._errors[at]
        if at not in self._outputs:
            raise LookupError(f"branch {at} has no outcome: the batch was done before ({self._reason})")
        return self._outputs[at]

    def __iter__(self) -> Iterator[T]:
        return (self[at] for at in range(self._total))

    @property
    def succeeded(self) -> list[tuple[int, T]]:
        """Index and output of each branch that succeeded."""
        return sorted(self._outputs.items(), key=lambda pair: pair[0])

    @property
    def failed(self) -> list[int]:
        """The indices of the branches that failed."""
        return sorted(self._errors)

    @property
    def errors(self) -> dict[int, ExecutionError]:
        """The error of each branch that failed."""
        return {at: self._errors[at] for at in sorted(self._errors)}

    @property
    def has_failure(self) -> bool:
        """Whether any branch failed."""
        return bool(self._errors)

    @property
    def total_count(self) -> int:
        """How many branches were started."""
        return self._started

    @property
    def success_count(self) -> int:
        """How many succeeded."""
        return len(self._outputs)

    @property
    def failure_count(self) -> int:
        """How many failed."""
        return len(self._errors)

    @property
    def state(self) -> str:
        """`failed` if any branch failed, else `completed`."""
        return "failed" if self._errors else "completed"

    @property
    def completion_reason(self) -> str:
        """`all_completed`, `min_successful_reached` or `failure_tolerance_exceeded`."""
        return self._reason

    def raise_if_failed(self) -> None:
        """Raises the error of the first branch that failed, by index."""
        if self._errors:
            raise self._errors[min(self._errors)]

    def __repr__(self) -> str:
        return (
            f"<Batch of {self._total}: {len(self._outputs)} succeeded, {len(self._errors)} failed, "
            f"{self._reason}>"
        )
