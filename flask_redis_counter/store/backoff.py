"""Exponential backoff with jitter."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delays between attempts, which double with each failure up to a maximum.

    :ivar initial: longest delay after the first failure, in seconds.
    :ivar maximum: longest delay after any number of failures, in seconds.
    :ivar jitter: share of the delay that is random, so that many clients do not try at the same
        time: 0.5 is from half the delay to all of it, 1 from 0 ("full jitter").
    """

    initial: float
    maximum: float
    jitter: float = 0.5

    def delay(self, failures: int) -> float:
        """Return the seconds to wait after this many failures in a row, 1 or more."""
        longest = min(self.maximum, self.initial * 2 ** min(failures - 1, 30))
        return random.uniform((1 - self.jitter) * longest, longest)  # noqa: S311  # not a secret
