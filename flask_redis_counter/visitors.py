"""What is known of visitors in this process: a hash of each, and whom the store was told of."""

from __future__ import annotations

import hashlib
from functools import lru_cache

from .call import PendingHit
from .days import now

#: How many visitors are remembered; then they are met anew, which does no harm.
MOST = 20_000

_DAY = 86_400


@lru_cache(maxsize=4096)
def disguised(visitor: str) -> str:
    """Return a hash of what a visitor is known by: nothing else of it leaves the process."""
    return hashlib.blake2b(visitor.encode("utf-8", "replace"), digest_size=16).hexdigest()


class Acquaintances:
    """Whom each counter has met today: the store need not be told once more."""

    def __init__(self) -> None:
        self._met: set[tuple[str, str]] = set()
        self._midnight = 0.0

    def know(self, hit: PendingHit) -> bool:
        """Whether a hit's visitor was met by its counter since midnight, in UTC."""
        time = now()
        if time >= self._midnight or len(self._met) >= MOST:
            self._midnight = time - time % _DAY + _DAY
            self._met.clear()
        return (hit.key, hit.visitor) in self._met

    def meet(self, hit: PendingHit) -> None:
        """Remember the visitor of a hit that the store has counted."""
        if hit.visitor is not None and hit.value is not None and hit.counted and not hit.replayed:
            self._met.add((hit.key, hit.visitor))

    def forget(self) -> None:
        """Know nobody any more."""
        self._met.clear()
