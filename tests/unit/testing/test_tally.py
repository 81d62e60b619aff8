"""Tallies and waiting: what they must not let pass."""

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
def test_a_true_tally_passes(tally, before, after):
    """Unknown hits may have counted or not; refused ones have not."""
    tally.check(before=before, after=after)


@pytest.mark.parametrize(
    ("tally", "before", "after", "said"),
    [
        (Tally([1, 2, 3]), 0, 2, "not from 1 to 2"),
        (Tally([1, 3], unknown=1), 0, 4, "4 counted, but 2 acknowledged and 1 unknown"),
        (Tally([1, 2]), 0, 3, "3 counted"),
        (Tally([1, 1, 2]), 0, 3, "returned twice"),
        (Tally([5]), 5, 6, "not from 6 to 6"),
        (Tally([], not_counted=1), 0, 1, "1 counted"),
    ],
)
def test_a_lie_does_not_pass(tally, before, after, said):
    """A lost hit, a double one, a value twice, a value from elsewhere, a refused one counted."""
    with pytest.raises(AssertionError, match=said):
        tally.check(before=before, after=after)


def test_waiting_says_what_was_seen_last():
    """The error has the condition and the last look, be it a value or an exception."""
    with pytest.raises(WaitTimeoutError, match="three; last seen: 0"):
        wait_until(lambda: 0, what="three", timeout=0)
    with pytest.raises(WaitTimeoutError, match="ZeroDivisionError"):
        wait_until(lambda: 1 / 0, what="three", timeout=0)
    assert wait_until(lambda: 3, what="three", timeout=0) == 3
