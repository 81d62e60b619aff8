"""The circuit breaker of pages."""

import pytest

from flask_redis_counter.errors import (
    CounterError,
    HitSpooledError,
    OutcomeUnknownError,
    RateLimitExceededError,
    StoreRejectedError,
    StoreUnavailableError,
)
from flask_redis_counter.extension.circuit_breaker import MAX_PAUSE, CircuitBreaker


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test moves, in a list of one."""
    now = [1000.0]
    monkeypatch.setattr("flask_redis_counter.extension.circuit_breaker.monotonic", lambda: now[0])
    return now


def ask(breaker, clock, took, error=None):
    """Call the store, which takes some seconds."""
    try:
        with breaker.watch():
            clock[0] += took
            if error is not None:
                raise error
    except CounterError:
        pass


def spooled_error(cause):
    """Return the error of a hit that was spooled because of another error."""
    error = HitSpooledError("")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [
        StoreUnavailableError(""),
        OutcomeUnknownError(""),
        spooled_error(StoreUnavailableError("")),
    ],
)
def test_breaker_opens_for_twice_the_duration_of_a_failed_call(clock, error):
    """And not for longer."""
    breaker = CircuitBreaker()
    ask(breaker, clock, 0.2, error)
    clock[0] += 0.39
    assert breaker.is_open()
    clock[0] += 0.02
    assert not breaker.is_open()


def test_pause_is_bounded(clock):
    """Whatever the timeout is."""
    breaker = CircuitBreaker()
    ask(breaker, clock, 60, StoreUnavailableError(""))
    clock[0] += MAX_PAUSE
    assert not breaker.is_open()


def test_calls_that_fail_at_once_leave_the_breaker_as_it_is(clock):
    """A hit that fails because the breaker is open neither ends nor extends the pause."""
    breaker = CircuitBreaker()
    ask(breaker, clock, 0.2, StoreUnavailableError(""))
    for _ in range(3):
        clock[0] += 0.1
        ask(breaker, clock, 0, StoreUnavailableError(""))
        assert breaker.is_open()
    clock[0] += 0.1
    assert not breaker.is_open()


@pytest.mark.parametrize(
    "error",
    [StoreRejectedError(""), RateLimitExceededError(1), spooled_error(StoreRejectedError(""))],
)
def test_breaker_stays_closed_if_the_store_replies(clock, error):
    """Whatever the reply is."""
    breaker = CircuitBreaker()
    ask(breaker, clock, 0.2, error)
    assert not breaker.is_open()


def test_success_closes_the_breaker(clock):
    """Also if it was open."""
    breaker = CircuitBreaker()
    ask(breaker, clock, 0.2, StoreUnavailableError(""))
    ask(breaker, clock, 0.01)
    assert not breaker.is_open()
