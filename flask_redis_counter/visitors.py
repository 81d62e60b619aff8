"""What is known of visitors in this process: a hash of each, and whom the store was told of."""

from __future__ import annotations

import hashlib
from functools import lru_cache

from . import days
from .call import PendingHit

#: How many visitors are remembered; then they are met anew, which does no harm.
MOST = 20_000

#: Seconds after which all are met anew: a counter may have been deleted, or the store emptied.
SPAN = 3600


@lru_cache(maxsize=4096)
def disguised(visitor: str) -> str:
    """Return a hash of what a visitor is known by: nothing else of it leaves the process."""
    return hashlib.blake2b(visitor.encode("utf-8", "replace"), digest_size=16).hexdigest()


class Acquaintances:
    """Whom each counter has met in this hour: the store need not be told once more."""

    def __init__(self) -> None:
        self._met: set[tuple[str, str]] = set()
        self._ends = 0.0

    def know(self, key: str, visitor: str) -> bool:
        """Whether a counter has met a visitor since the hour began, which no day outlasts."""
        time = days.now()
        if time >= self._ends or len(self._met) >= MOST:
            self._ends = time - time % SPAN + SPAN
            self._met.clear()
        return (key, visitor) in self._met

    def meet(self, key: str, visitor: str, hit: PendingHit) -> None:
        """Remember a visitor whose hit the store has counted."""
        if hit.value is not None and hit.counted and not hit.replayed:
            self._met.add((key, visitor))

    def forget(self) -> None:
        """Know nobody any more."""
        self._met.clear()
