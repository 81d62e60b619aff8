"""Throttling of repeated log lines: one per interval, or one per process."""

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

#: Number of distinct warnings that :func:`warn_once` logs in one process.
MAX_WARNINGS = 100

# Seconds to wait for the lock. Threads hold it for less, but in a forked child the holder may
# not exist.
_LOCK_TIMEOUT = 0.01

_log = logging.getLogger(__name__)
_warned: set[str] = set()


def warn_once(text: str) -> None:
    """Log a warning, unless this process already logged the same text."""
    if text not in _warned and len(_warned) < MAX_WARNINGS:
        _warned.add(text)
        _log.warning("%s", text)


def warn_skipped(skipped: str) -> None:
    """Warn once that a script counted a hit but could not write its other records.

    :param skipped: the script's description of the records and the server's error.
    """
    commands = "run flask counter doctor, or flask-redis-counter doctor for the service"
    warn_once(f"counted, but not recorded: {skipped}; {commands}")


class LogThrottle:
    """Logs the first line about a condition, then one per interval, and one when it is over.

    Each line says how many lines were suppressed since the previous one. There is no timer: a
    summary is logged with the first line after the interval. Thread-safe, even in a forked child.

    :param logger: the logger that gets the lines.
    :param recovery: the line that says that the condition is over.
    :param interval: seconds between two lines.
    :ivar lasts: whether the condition was logged and is not over.
    """

    def __init__(self, logger: logging.Logger, recovery: str, interval: float = INTERVAL) -> None:
        self._logger = logger
        self._recovery = recovery
        self._interval = interval
        self._lock = threading.Lock()
        self._numbers = count(1)
        self._last_number = 0
        self.lasts: bool = False
        self._level = logging.WARNING
        self._next_line: float = 0
        self._next_recovery: float = 0

    def log(self, level: int, message: str, *args: object, **options: Any) -> None:
        """Log a line, or count it as suppressed.

        :param options: keyword arguments of :meth:`logging.Logger.log`.
        """
        number = next(self._numbers)  # atomic, unlike an addition
        self.lasts = True
        self._level = min(level, logging.WARNING)
        now = monotonic()
        if now < self._next_line:
            return
        with self._locked():
            if now < self._next_line:
                return
            self._next_line = now + self._interval
            suffix = self._suppressed_suffix(number)
        self._logger.log(level, message + suffix, *args, stacklevel=2, **options)

    def recovered(self) -> None:
        """Log that the condition is over, if it was logged. Otherwise this is nearly free.

        A condition that comes and goes logs at most one recovery per interval.
        """
        if not self.lasts:
            return
        now = monotonic()
        if now < self._next_recovery:
            return
        with self._locked():
            if now < self._next_recovery:
                return
            self.lasts = False
            self._next_recovery = now + self._interval
            self._next_line = now
            suffix = self._suppressed_suffix(next(self._numbers))
        self._logger.log(self._level, "%s%s", self._recovery, suffix, stacklevel=2)

    def _suppressed_suffix(self, number: int) -> str:
        suppressed = number - self._last_number - 1
        self._last_number = number
        return f" (suppressed before this: {suppressed} similar lines)" if suppressed else ""

    @contextmanager
    def _locked(self) -> Iterator[None]:
        acquired = self._lock.acquire(timeout=_LOCK_TIMEOUT)
        try:
            yield
        finally:
            if acquired:
                self._lock.release()
