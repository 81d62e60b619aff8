"""Waiting for a condition, with a deadline, and an error that says what was seen last."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

#: pytest shows the line of the test, and not ours.
__tracebackhide__ = True

_T = TypeVar("_T")

#: Seconds between two looks, by default.
PAUSE = 0.05


class WaitTimeoutError(AssertionError):
    """A condition did not come about in time.

    :ivar last: what the last look returned or raised.
    """

    def __init__(self, what: str, within: float, last: object) -> None:
        super().__init__(f"not within {within:g} s: {what}; last seen: {last!r}")
        self.last = last


def wait_until(
    look: Callable[[], _T], *, what: str, within: float = 30.0, pause: float = PAUSE
) -> _T:
    """Look until something true is seen, and return it.

    :param look: called again and again; an :class:`Exception` counts as not yet.
    :param what: the condition in words, for the error.
    :param within: seconds to wait at the most.
    :param pause: seconds between two looks.
    :raises WaitTimeoutError: it was not seen in time.
    """
    ends = time.monotonic() + within
    while True:
        last: object
        try:
            seen = look()
            if seen:
                return seen
            last = seen
        except Exception as error:
            last = error
        if time.monotonic() > ends:
            raise WaitTimeoutError(what, within, last)
        time.sleep(pause)
