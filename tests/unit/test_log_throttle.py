"""Throttling of log lines that repeat while a condition lasts."""

import logging
from concurrent.futures import ThreadPoolExecutor

import pytest

from flask_redis_counter.log_throttle import LogThrottle


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test moves, in a list of one."""
    now = [1000.0]
    monkeypatch.setattr("flask_redis_counter.log_throttle.monotonic", lambda: now[0])
    return now


@pytest.fixture
def throttle(caplog):
    """A throttle whose lines the test reads."""
    caplog.set_level(logging.DEBUG)
    return LogThrottle(logging.getLogger("throttled"), "the store answers again", 30)


def test_log_is_a_first_line_a_summary_per_interval_and_a_recovery(throttle, clock, caplog):
    """Each line has the number of lines suppressed before it."""
    for number in range(5):
        throttle.log(logging.ERROR, "no answer: %s", number)
    clock[0] += 30
    throttle.log(logging.ERROR, "no answer: %s", 5)
    throttle.log(logging.ERROR, "no answer: %s", 6)
    throttle.recovered()
    throttle.recovered()
    assert caplog.messages == [
        "no answer: 0",
        "no answer: 5 (suppressed before this: 4 similar lines)",
        "the store answers again (suppressed before this: 1 similar lines)",
    ]
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR", "WARNING"]


def test_second_condition_is_logged_at_once(throttle, clock, caplog):
    """recovered ends the interval."""
    throttle.log(logging.ERROR, "away")
    throttle.recovered()
    clock[0] += 1
    throttle.log(logging.ERROR, "away")
    assert caplog.messages == ["away", "the store answers again", "away"]


def test_condition_that_comes_and_goes_stays_throttled(throttle, clock, caplog):
    """At most three lines per interval, and no suppressed line is missing from the sum."""
    for _ in range(100):
        throttle.log(logging.ERROR, "away")
        throttle.recovered()
    assert caplog.messages == ["away", "the store answers again", "away"]
    clock[0] += 30
    throttle.recovered()
    assert caplog.messages[3:] == [
        "the store answers again (suppressed before this: 98 similar lines)"
    ]


def test_recovered_logs_nothing_without_a_condition(throttle, caplog):
    """A store that answers is not worth a line."""
    throttle.recovered()
    assert caplog.messages == []


def test_lines_of_many_threads_are_all_logged_or_suppressed(throttle, clock, caplog):
    """No line is lost between threads."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: throttle.log(logging.ERROR, "away"), range(400)))
    throttle.recovered()
    assert caplog.messages[0].startswith("away")
    numbers = [int(word) for line in caplog.messages for word in line.split() if word.isdigit()]
    assert len(caplog.messages) - 1 + sum(numbers) == 400


def test_line_keeps_its_extra_fields_and_its_caller(throttle, caplog):
    """`extra` is passed on, and the record names the caller's file."""
    throttle.log(logging.ERROR, "away", extra={"path": "/count"})
    (record,) = caplog.records
    assert (record.path, record.filename) == ("/count", "test_log_throttle.py")


def test_log_works_with_a_lock_that_is_never_released(throttle, clock, caplog):
    """In a forked child its holder may be a thread that the child lacks."""
    throttle._lock.acquire()
    for _ in range(3):
        throttle.log(logging.ERROR, "away")
    throttle.recovered()
    assert caplog.messages == [
        "away",
        "the store answers again (suppressed before this: 2 similar lines)",
    ]
