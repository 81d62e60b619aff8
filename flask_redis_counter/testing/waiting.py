"""Waiting for a condition, with a timeout and an error that shows the last value."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

#: pytest leaves this module's frames out of tracebacks, and shows the line of the test.
__tracebackhide__ = True

_T = TypeVar("_T")

#: Default pause between two calls of the condition, in seconds.
PAUSE = 0.05


class WaitTimeoutError(AssertionError):
    """A condition did not become true in time.

    :ivar last: the last value that the condition returned, or the exception that it raised.
    """

    def __init__(self, what: str, timeout: float, last: object) -> None:
        super().__init__(f"not within {timeout:g} s: {what}; last seen: {last!r}")
        self.last = last


def wait_until(
    condition: Callable[[], _T], *, what: str, timeout: float = 30.0, pause: float = PAUSE
) -> _T:
    """Call a condition until it returns a true value, and return that value.

    :param condition: called repeatedly; an :class:`Exception` counts as false.
    :param what: the condition in words, for the error.
    :param timeout: maximum seconds to wait. The condition is called at least once.
    :param pause: seconds between two calls.
    :raises WaitTimeoutError: the condition did not become true in time.
    """
    deadline = time.monotonic() + timeout
    while True:
        last: object
        try:
            value = condition()
            if value:
                return value
            last = value
        except Exception as error:
            last = error
        if time.monotonic() > deadline:
            raise WaitTimeoutError(what, timeout, last)
        time.sleep(pause)
