"""A circuit breaker: pages do not wait again for a store that did not answer a moment ago."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

from ..errors import CounterError, HitSpooledError, OutcomeUnknownError, StoreUnavailableError

#: How many times as long as the last question took in vain no other one is asked: so that a
#: server spends at most a third of its time on waiting.
PAUSE_RATIO = 2.0

#: Seconds that this is at most.
MAX_PAUSE = 5.0


class CircuitBreaker:
    """What this process found out about the store, for a short while.

    A store that refuses connections costs next to nothing, and is asked again at once.
    """

    def __init__(self) -> None:
        self._open_until: float = 0

    def is_open(self) -> bool:
        """Return whether the store is not to be asked now."""
        return self._open_until > 0 and monotonic() < self._open_until

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Learn from what is asked of the store meanwhile."""
        began = monotonic()
        try:
            yield
        except CounterError as error:
            if _is_outage(error):
                now = monotonic()
                pause = min(MAX_PAUSE, PAUSE_RATIO * (now - began))
                self._open_until = max(self._open_until, now + pause)
            raise
        self._open_until = 0


def _is_outage(error: BaseException | None) -> bool:
    if isinstance(error, HitSpooledError):
        error = error.__cause__
    return isinstance(error, StoreUnavailableError | OutcomeUnknownError)
