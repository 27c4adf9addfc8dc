"""When to try again: `RetryPolicy`, and `Backoff`, which is its delays alone."""

from typing import TYPE_CHECKING, Any, Final

from . import durations, errors
from .model import Value, choice, flag, whole

if TYPE_CHECKING:
    from datetime import timedelta

    from .failures import ExecutionError

_KINDS: Final = ("fixed", "linear", "exponential")
_MAX_ATTEMPTS: Final = 2**31 - 1
_MAX_DELAY_MS: Final = (
    100 * 365 * 86_400_000
)  # a hundred years: the time of a retry still fits 64 bits of nanoseconds


class Backoff(Value):
    """How long to wait between attempts.

    `base` is the first delay and `maximum` the longest one, both durations (`"1s"`, a number of seconds, a
    `timedelta`), kept in milliseconds as `base_ms` and `maximum_ms`. `kind` is `fixed` (always `base`), `linear`
    (`base` more each time) or `exponential` (doubles). With `jitter` a delay is multiplied by 0.5 to 1. Raises
    `ValidationError`.
    """

    __slots__ = ("base_ms", "jitter", "kind", "maximum_ms")
    _fields = ("kind", "base", "maximum", "jitter")

    kind: str
    base_ms: int
    maximum_ms: int
    jitter: bool

    def __init__(
        self,
        kind: str = "exponential",
        base: "str | float | timedelta" = "1s",
        maximum: "str | float | timedelta" = "1m",
        jitter: bool = True,
    ) -> None:
        self._set(
            kind=choice("kind", kind, _KINDS),
            base_ms=_milliseconds("base", base),
            maximum_ms=_milliseconds("maximum", maximum),
            jitter=flag("jitter", jitter),
        )

    @property
    def base(self) -> float:
        """The first delay in seconds."""
        return self.base_ms / 1000

    @property
    def maximum(self) -> float:
        """The longest delay in seconds."""
        return self.maximum_ms / 1000

    def __reduce__(self) -> tuple[Any, ...]:
        # Seconds as a float do not hold every long delay to the millisecond.
        return Backoff, (self.kind, f"{self.base_ms}ms", f"{self.maximum_ms}ms", self.jitter)

    def delay_ms(self, attempt: int, execution_id: str, step_id: str) -> int:
        """The milliseconds to wait after attempt `attempt` (from 1). The same arguments give the same delay."""
        return _delay(self.kind, self.base_ms, self.maximum_ms, self.jitter, attempt, execution_id, step_id)


class RetryPolicy(Value):
    """Whether, how often and how soon a step is tried again.

    Without `retryable` there is one try. `max_attempts` counts tries, the first included. `backoff` is `fixed`,
    `linear`, `exponential`, or a `Backoff` in place of `base_delay_ms`, `max_delay_ms` and `jitter`; no delay is
    longer than `max_delay_ms`. With `requires_idempotency_key` only
    steps with such a key are tried again. Raises `ValidationError`.
    """

    __slots__ = _fields = (
        "retryable",
        "max_attempts",
        "backoff",
        "base_delay_ms",
        "max_delay_ms",
        "jitter",
        "requires_idempotency_key",
    )

    retryable: bool
    max_attempts: int
    backoff: str
    base_delay_ms: int
    max_delay_ms: int
    jitter: bool
    requires_idempotency_key: bool

    def __init__(
        self,
        retryable: bool = True,
        max_attempts: int = 3,
        backoff: str | Backoff = "exponential",
        base_delay_ms: int = 1000,
        max_delay_ms: int = 60000,
        jitter: bool = True,
        requires_idempotency_key: bool = False,
    ) -> None:
        if isinstance(backoff, Backoff):
            if (base_delay_ms, max_delay_ms, jitter) != (1000, 60000, True):
                raise errors.ValidationError("give the delays in the Backoff or one by one, not both")
            base_delay_ms, max_delay_ms, jitter = backoff.base_ms, backoff.maximum_ms, backoff.jitter
            backoff = backoff.kind
        self._set(
            retryable=flag("retryable", retryable),
            max_attempts=whole("max_attempts", max_attempts, 1, _MAX_ATTEMPTS),
            backoff=choice("backoff", backoff, _KINDS),
            base_delay_ms=whole("base_delay_ms", base_delay_ms, 0, _MAX_DELAY_MS),
            max_delay_ms=whole("max_delay_ms", max_delay_ms, 0, _MAX_DELAY_MS),
            jitter=flag("jitter", jitter),
            requires_idempotency_key=flag("requires_idempotency_key", requires_idempotency_key),
        )

    @classmethod
    def attempts(cls, n: int, **fields: Any) -> "RetryPolicy":
        """A policy of at most `n` tries, the first included; `fields` as in the constructor."""
        return cls(max_attempts=n, **_known(fields, ("max_attempts",)))

    @classmethod
    def never(cls) -> "RetryPolicy":
        """The policy that tries once."""
        return cls(retryable=False, max_attempts=1)

    def delay_ms(self, attempt: int, execution_id: str, step_id: str) -> int:
        """The milliseconds to wait after attempt `attempt` (from 1). The same arguments give the same delay."""
        return _delay(
            self.backoff, self.base_delay_ms, self.max_delay_ms, self.jitter, attempt, execution_id, step_id
        )

    def should_retry(self, error: "ExecutionError", attempt: int) -> bool:
        """Whether to try again after attempt `attempt` (from 1) ended with `error`.

        No, if its category is fatal, or if the error itself says never, as programming errors do. Else this policy
        decides, even where the taxonomy alone would not retry: `policy_for` chooses the policy.
        """
        if not self.retryable or error.fatal or whole("attempt", attempt, 1) >= self.max_attempts:
            return False
        return error.retry_policy is None or error.retry_policy.retryable

    def to_dict(self) -> dict[str, Any]:
        """The policy as plain JSON values, every field in order."""
        return {name: getattr(self, name) for name in self._fields}

    @classmethod
    def from_dict(cls, data: object) -> "RetryPolicy":
        """The policy that `to_dict` wrote; absent fields have their defaults. Raises `ValidationError`."""
        if not isinstance(data, dict):
            raise errors.ValidationError(f"retry_policy must be an object, got {type(data).__name__}")
        return cls(**_known(data))


def _known(fields: dict[Any, Any], taken: tuple[str, ...] = ()) -> dict[str, Any]:
    names = tuple(name for name in RetryPolicy._fields if name not in taken)
    for name in fields:
        if not isinstance(name, str) or name not in names:
            errors.unknown_field("RetryPolicy", name if isinstance(name, str) else type(name).__name__, names)
    return fields


def _milliseconds(what: str, value: "str | float | timedelta") -> int:
    nanoseconds = durations.parse(value, what)
    # Rounded up: a delay of half a millisecond must not become a busy loop.
    return whole(what, -(-nanoseconds // 1_000_000), 0, _MAX_DELAY_MS)


def _delay(
    kind: str, base: int, maximum: int, jitter: bool, attempt: int, execution_id: str, step_id: str
) -> int:
    attempt = whole("attempt", attempt, 1)
    if kind == "linear":
        base *= attempt
    elif kind == "exponential":
        base <<= min(attempt - 1, 64)  # no larger than it must be to pass any maximum, if base is not 0
    delay = min(base, maximum)
    if not jitter:
        return delay
    from hashlib import blake2b

    seed = f"{execution_id}\0{step_id}\0{attempt}".encode("utf-8", "backslashreplace")
    draw = int.from_bytes(blake2b(seed, digest_size=8).digest(), "big")
    lowest = (delay + 1) // 2
    return lowest + (((delay - lowest + 1) * draw) >> 64)
