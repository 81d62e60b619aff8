"""Delays between attempts."""

import pytest

from flask_redis_counter.store.backoff import Backoff


def fix_random(monkeypatch):
    """Let random.uniform return its two bounds."""
    monkeypatch.setattr("random.uniform", lambda least, most: (least, most))


def test_delay_doubles_up_to_the_maximum(monkeypatch):
    """delay doubles its longest value with each failure, and stops at the maximum."""
    fix_random(monkeypatch)
    backoff = Backoff(0.25, 4.0)
    longest = [backoff.delay(failures)[1] for failures in range(1, 8)]
    assert longest == [0.25, 0.5, 1.0, 2.0, 4.0, 4.0, 4.0]
    assert backoff.delay(100_000)[1] == 4.0


@pytest.mark.parametrize(("jitter", "least"), [(0, 2.0), (0.5, 1.0), (1, 0.0)])
def test_delay_has_the_jitter(monkeypatch, jitter, least):
    """delay takes at most the share ``jitter`` off the longest value."""
    fix_random(monkeypatch)
    assert Backoff(1.0, 2.0, jitter=jitter).delay(2) == (least, 2.0)


def test_delays_differ():
    """delay is random, between its bounds."""
    delays = [Backoff(0.1, 2.0).delay(1) for _ in range(100)]
    assert all(0.05 <= delay <= 0.1 for delay in delays)
    assert len(set(delays)) > 1
