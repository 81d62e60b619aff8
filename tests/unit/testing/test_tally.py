"""Tallies reject wrong counts, and waiting reports the last value."""

import pytest

from flask_redis_counter.testing import Tally, WaitTimeoutError, wait_until


@pytest.mark.parametrize(
    ("tally", "before", "after"),
    [
        (Tally([1, 2, 3]), 0, 3),
        (Tally([11, 13], unknown=1), 10, 13),
        (Tally([11, 12], unknown=3), 10, 12),
        (Tally([], not_counted=5), 7, 7),
    ],
)
def test_tally_check_accepts_correct_counts(tally, before, after):
    """Unknown hits may have counted; not_counted ones have not."""
    tally.check(before=before, after=after)


@pytest.mark.parametrize(
    ("tally", "before", "after", "message"),
    [
        (Tally([1, 2, 3]), 0, 2, "not from 1 to 2"),
        (Tally([1, 3], unknown=1), 0, 4, "4 counted, but 2 acknowledged and 1 unknown"),
        (Tally([1, 2]), 0, 3, "3 counted"),
        (Tally([1, 1, 2]), 0, 3, "returned twice"),
        (Tally([5]), 5, 6, "not from 6 to 6"),
        (Tally([], not_counted=1), 0, 1, "1 counted"),
    ],
)
def test_tally_check_rejects_wrong_counts(tally, before, after, message):
    """Lost and duplicate hits, repeated and foreign values, and counted not_counted hits fail."""
    with pytest.raises(AssertionError, match=message):
        tally.check(before=before, after=after)


def test_wait_until_error_has_last_value():
    """The error has the condition and its last value or exception."""
    with pytest.raises(WaitTimeoutError, match="three; last seen: 0"):
        wait_until(lambda: 0, what="three", timeout=0)
    with pytest.raises(WaitTimeoutError, match="ZeroDivisionError"):
        wait_until(lambda: 1 / 0, what="three", timeout=0)
    assert wait_until(lambda: 3, what="three", timeout=0) == 3
