"""Throttling of log lines that repeat while one condition lasts, such as an outage."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from time import monotonic
from typing import Any

#: Seconds between two lines about a condition that lasts.
INTERVAL = 30.0

# Seconds to wait for the lock. It is held for less, but by a thread that a forked child lacks.
_LOCK_TIMEOUT = 0.01


class LogThrottle:
    """Logs the first line about a condition, then one per interval, and one when it is over.

    Each line says how many were suppressed since the one before it. No timer runs: a summary
    goes out with the first line after the interval. Thread-safe, also in a forked child.

    :param logger: the logger that gets the lines.
    :param recovery: the line that says that the condition is over.
    :param interval: seconds between two lines.
    :ivar lasts: whether the condition was logged, and is not over.
    """

    def __init__(self, logger: logging.Logger, recovery: str, interval: float = INTERVAL) -> None:
        self._logger = logger
        self._recovery = recovery
        self._interval = interval
        self._lock = threading.Lock()
        self._numbers = count(1)
        self._last = 0
        self.lasts = False
        self._level = logging.WARNING
        self._next_line: float = 0
        self._next_recovery: float = 0

    def log(self, level: int, message: str, *args: object, **options: Any) -> None:
        """Log a line, or count it as suppressed.

        :param options: what :meth:`logging.Logger.log` takes.
        """
        number = next(self._numbers)  # atomic, unlike an addition
        self.lasts = True
        self._level = min(level, logging.WARNING)
        now = monotonic()
        if now < self._next_line:
            return
        with self._turn():
            if now < self._next_line:
                return
            self._next_line = now + self._interval
            suppressed = self._suppressed(number)
        self._logger.log(level, message + suppressed, *args, stacklevel=2, **options)

    def recovered(self) -> None:
        """Log that the condition is over, if it was logged; costs next to nothing otherwise.

        Where it comes and goes, at most once per interval.
        """
        if not self.lasts:
            return
        now = monotonic()
        if now < self._next_recovery:
            return
        with self._turn():
            if now < self._next_recovery:
                return
            self.lasts = False
            self._next_recovery = now + self._interval
            self._next_line = now
            suppressed = self._suppressed(next(self._numbers))
        self._logger.log(self._level, "%s%s", self._recovery, suppressed, stacklevel=2)

    def _suppressed(self, number: int) -> str:
        suppressed = number - self._last - 1
        self._last = number
        return f" (suppressed before this: {suppressed} similar lines)" if suppressed else ""

    @contextmanager
    def _turn(self) -> Iterator[None]:
        held = self._lock.acquire(timeout=_LOCK_TIMEOUT)
        try:
            yield
        finally:
            if held:
                self._lock.release()
