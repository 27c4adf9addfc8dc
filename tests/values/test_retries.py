"""When to try again: pure, spread, and the same on replay."""

import copy
import datetime
import pickle

import pytest
from hypothesis import given, strategies as st

from stepwell import encoding
from stepwell.errors import ValidationError
from stepwell.failures import ExecutionError
from stepwell.retries import Backoff, RetryPolicy

policies = st.builds(
    RetryPolicy,
    st.booleans(),
    st.integers(1, 2**31 - 1),
    st.sampled_from(["fixed", "linear", "exponential"]),
    st.integers(0, 10**12),
    st.integers(0, 10**12),
    st.booleans(),
    st.booleans(),
)


JITTERED = [57060, 169108, 341063]


def delays(attempts, **fields):
    policy = RetryPolicy(jitter=False, **fields)
    return [policy.delay_ms(attempt, "e", "s") for attempt in attempts]


def test_defaults():
    assert RetryPolicy().to_dict() == {
        "retryable": True,
        "max_attempts": 3,
        "backoff": "exponential",
        "base_delay_ms": 1000,
        "max_delay_ms": 60000,
        "jitter": True,
        "requires_idempotency_key": False,
    }
    assert RetryPolicy.attempts(5, jitter=False) == RetryPolicy(max_attempts=5, jitter=False)
    assert not RetryPolicy.never().retryable


def test_delays():
    attempts = [1, 2, 3, 7, 10**9]
    assert delays(attempts) == [1000, 2000, 4000, 60000, 60000]
    assert delays(attempts, backoff="linear", base_delay_ms=500) == [500, 1000, 1500, 3500, 60000]
    assert delays(attempts, backoff="fixed") == [1000] * 5
    assert delays(attempts, base_delay_ms=0) == [0] * 5
    assert delays([1, 2], max_delay_ms=10) == [10, 10]


def test_jitter_is_the_same_for_ever():
    policy = RetryPolicy(base_delay_ms=100_000, max_delay_ms=10**9)
    assert [policy.delay_ms(attempt, "exec_a", "step_b") for attempt in (1, 2, 3)] == JITTERED
    assert policy.delay_ms(1, "exec_a", "step_c") != JITTERED[0]
    assert policy.delay_ms(1, "exec_b", "step_b") != JITTERED[0]
    assert policy.delay_ms(1, "exec_astep_", "b") != policy.delay_ms(1, "exec_a", "step_b")


def test_jitter_is_spread_over_its_range():
    policy = RetryPolicy(backoff="fixed", base_delay_ms=10_000)
    drawn = [policy.delay_ms(1, "e", str(number)) for number in range(2000)]
    assert 5000 <= min(drawn) < 5050
    assert 9950 < max(drawn) <= 10_000
    assert 7400 < sum(drawn) / len(drawn) < 7600


@given(policies, st.integers(1, 10**12), st.text(st.characters()), st.text(st.characters()))
def test_any_delay(policy, attempt, execution, step):
    delay = policy.delay_ms(attempt, execution, step)
    whole = policy.to_dict() | {"jitter": False}
    longest = RetryPolicy.from_dict(whole).delay_ms(attempt, execution, step)
    assert longest <= policy.max_delay_ms
    assert (longest / 2 <= delay <= longest) if policy.jitter else delay == longest
    assert delay == policy.delay_ms(attempt, execution, step)


@given(policies)
def test_copies_equal_the_original(policy):
    backoff = Backoff(policy.backoff, f"{policy.base_delay_ms}ms", f"{policy.max_delay_ms}ms", policy.jitter)
    for other in (
        pickle.loads(pickle.dumps(policy)),
        copy.deepcopy(policy),
        RetryPolicy.from_dict(encoding.decode(encoding.encode(policy.to_dict()))),
        RetryPolicy(
            policy.retryable,
            policy.max_attempts,
            backoff,
            requires_idempotency_key=policy.requires_idempotency_key,
        ),
    ):
        assert other == policy
        assert hash(other) == hash(policy)
        assert repr(other) == repr(policy)
    again = pickle.loads(pickle.dumps(backoff))
    assert (again, again.base_ms, again.maximum_ms) == (backoff, policy.base_delay_ms, policy.max_delay_ms)
    assert backoff.delay_ms(3, "e", "s") == policy.delay_ms(3, "e", "s")


def test_backoff_takes_durations():
    assert Backoff() == Backoff("exponential", 1, datetime.timedelta(minutes=1), True)
    assert Backoff("fixed", "250ms").base == 0.25
    assert Backoff("fixed", 0.0001).base_ms == 1
    assert repr(Backoff()) == "Backoff(kind='exponential', base=1.0, maximum=60.0, jitter=True)"
    for name in ("backoff", "max_attempts"):
        with pytest.raises(AttributeError):
            setattr(RetryPolicy(), name, 1)


@pytest.mark.parametrize(
    "fields",
    [
        {"retryable": 1},
        {"max_attempts": 0},
        {"max_attempts": True},
        {"max_attempts": 2.0},
        {"backoff": "random"},
        {"backoff": None},
        {"base_delay_ms": -1},
        {"max_delay_ms": 2**62},
        {"jitter": None},
        {"requires_idempotency_key": "yes"},
        {"backoff": Backoff(), "base_delay_ms": 5},
    ],
    ids=ascii,
)
def test_bad_policies(fields):
    with pytest.raises(ValidationError):
        RetryPolicy(**fields)
    with pytest.raises(ValidationError):
        RetryPolicy.from_dict(fields)


@pytest.mark.parametrize("data", [None, [], {"x": 1}, {1: 2}, {"max_attempts": None}], ids=ascii)
def test_hostile_policies(data):
    with pytest.raises(ValidationError):
        RetryPolicy.from_dict(data)


def test_bad_calls():
    with pytest.raises(ValidationError):
        RetryPolicy.attempts(3, max_attempts=4)
    with pytest.raises(ValidationError):
        RetryPolicy.attempts(3, colour=4)
    for attempt in (0, -1, 1.5, True):
        with pytest.raises(ValidationError):
            RetryPolicy().delay_ms(attempt, "e", "s")
    with pytest.raises(ValidationError):
        Backoff("fixed", -1)
    with pytest.raises(ValidationError):
        Backoff("odd")


def test_should_retry():
    policy, network = RetryPolicy.attempts(3), ExecutionError("network")
    assert [policy.should_retry(network, attempt) for attempt in (1, 2, 3, 4)] == [True, True, False, False]
    assert not RetryPolicy.never().should_retry(network, 1)
    assert not policy.should_retry(ExecutionError("quota_exceeded"), 1)
    assert policy.should_retry(ExecutionError("tool", "not_found"), 1)
    assert not policy.should_retry(network.replace(retry_policy=RetryPolicy.never()), 1)
