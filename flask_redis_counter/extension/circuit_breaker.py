"""Circuit breaker: after a timeout, pages do not ask the store again for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

from ..errors import CounterError, HitSpooledError, OutcomeUnknownError, StoreUnavailableError

#: Length of the pause, as a multiple of the duration of the failed call. A worker thus spends at
#: most a third of its time waiting.
PAUSE_RATIO = 2.0

#: Longest pause, in seconds.
MAX_PAUSE = 5.0


class CircuitBreaker:
    """The breaker of one app in one process. Closed means that the store may be asked.

    An immediate failure, such as a refused connection, opens the breaker only for a moment: such
    calls cost little time.
    """

    def __init__(self) -> None:
        self._open_until: float = 0

    def is_open(self) -> bool:
        """Return whether the store should not be asked now."""
        return self._open_until > 0 and monotonic() < self._open_until

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Open the breaker if the block fails because of an outage; close it if it succeeds."""
        started_at = monotonic()
        try:
            yield
        except CounterError as error:
            if _is_outage(error):
                now = monotonic()
                pause = min(MAX_PAUSE, PAUSE_RATIO * (now - started_at))
                self._open_until = max(self._open_until, now + pause)
            raise
        self._open_until = 0


def _is_outage(error: BaseException | None) -> bool:
    if isinstance(error, HitSpooledError):
        error = error.__cause__
    return isinstance(error, StoreUnavailableError | OutcomeUnknownError)
