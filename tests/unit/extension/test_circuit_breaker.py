"""When pages ask a store that did not answer."""

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
    """Ask the store, which takes so long."""
    try:
        with breaker.watch():
            clock[0] += took
            if error is not None:
                raise error
    except CounterError:
        pass


def spooled(cause):
    """Return the error of a hit that was spooled because of another."""
    error = HitSpooledError("")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [StoreUnavailableError(""), OutcomeUnknownError(""), spooled(StoreUnavailableError(""))],
)
def test_a_question_in_vain_opens_it_for_twice_as_long_as_it_took(clock, error):
    """And not for longer."""
    breaker = CircuitBreaker()
    ask(breaker, clock, 0.2, error)
    clock[0] += 0.39
    assert breaker.is_open()
    clock[0] += 0.02
    assert not breaker.is_open()


def test_a_pause_is_bounded(clock):
    """However long the deadline is."""
    breaker = CircuitBreaker()
    ask(breaker, clock, 60, StoreUnavailableError(""))
    clock[0] += MAX_PAUSE
    assert not breaker.is_open()


def test_a_question_that_is_not_asked_changes_nothing(clock):
    """A hit that fails at once, because it is open, neither ends the pause nor extends it."""
    breaker = CircuitBreaker()
    ask(breaker, clock, 0.2, StoreUnavailableError(""))
    for _ in range(3):
        clock[0] += 0.1
        ask(breaker, clock, 0, StoreUnavailableError(""))
        assert breaker.is_open()
    clock[0] += 0.1
    assert not breaker.is_open()


@pytest.mark.parametrize(
    "error", [StoreRejectedError(""), RateLimitExceededError(1), spooled(StoreRejectedError(""))]
)
def test_a_store_that_answers_does_not_open_it(clock, error):
    """Whatever it answers."""
    breaker = CircuitBreaker()
    ask(breaker, clock, 0.2, error)
    assert not breaker.is_open()


def test_an_answer_closes_it(clock):
    """Whoever got it."""
    breaker = CircuitBreaker()
    ask(breaker, clock, 0.2, StoreUnavailableError(""))
    ask(breaker, clock, 0.01)
    assert not breaker.is_open()
