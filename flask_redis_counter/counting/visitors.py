"""Per-process cache of the visitors that the store was told of."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from functools import lru_cache

from .. import series
from ..forking import ForkSafe

#: How many visitors are remembered; beyond that the store is told of all of them once more.
MAX_VISITORS = 20_000

#: Seconds after which the store is told of all of them once more.
TTL = 60


@lru_cache(maxsize=4096)
def hash_visitor(visitor: str) -> str:
    """Return a hash of a visitor; nothing else of it leaves the process."""
    return hashlib.blake2b(visitor.encode("utf-8", "replace"), digest_size=16).hexdigest()


class ReportedVisitors:
    """Hashes of the visitors of one counter that the store was told of.

    :ivar hashes: the visitors.
    :ivar mark: the store keeps it beside the visitors, and loses it together with them.
    :ivar is_marked: whether the store has taken the mark.
    :ivar cache_id: names the cache in the store.
    """

    __slots__ = ("_cache", "_day", "_expires_at", "cache_id", "hashes", "is_marked", "mark")

    def __init__(self, cache: VisitorCache) -> None:
        self._cache = cache
        self.cache_id: str = cache.cache_id
        self._day = ""
        self._expires_at = 0.0
        self._start_empty()

    def renew(self, hour: str) -> None:
        """Empty the set when the TTL is over or the day has changed.

        :param hour: the hour of the hits that are about to be counted, as ``2026-11-23T15``.
        """
        now = series.now()
        if now >= self._expires_at or hour[:10] != self._day:
            self._expires_at = now + TTL
            self._day = hour[:10]
            self._start_empty()

    def add(self, visitors: Iterable[str | None], mark: str) -> None:
        """Remember visitors that the store was told of, together with a mark."""
        if mark == self.mark:
            self.is_marked: bool = True
            before = len(self.hashes)
            self.hashes.update(visitors)
            self._cache.grow(len(self.hashes) - before)

    def clear(self, mark: str) -> None:
        """Forget all of them, because the store does not have that mark."""
        if mark == self.mark:
            self._start_empty()

    def _start_empty(self) -> None:
        # A new set: calls that are on their way have the old one, with the old mark.
        self.hashes: set[str | None] = set()
        self.mark: str = secrets.token_hex(8)
        self.is_marked = False


class VisitorCache(ForkSafe):
    """Visitors that the store was told of, so that it is not told of them with each hit.

    Another process may take them from the store at any time: it deletes a counter, or flushes or
    restores the store. So a hit that leaves its visitor out carries a mark instead, which the
    store keeps with the visitors; where that is missing it refuses the hit, which is then sent
    with its visitor. A snapshot that is younger than :data:`TTL` may bring the mark back, and
    not the latest visitors: these are left out until the TTL is over.

    Thread-safe. Meant to be shared by all counters of a process.

    :ivar cache_id: names this cache in the store; another one in a forked child.
    """

    def __init__(self) -> None:
        self.cache_id: str = ""
        self._counters: dict[str, ReportedVisitors] = {}
        self._size = 0
        super().__init__()
        self.enter()

    def for_counter(self, key: str) -> ReportedVisitors:
        """Return the visitors of the counter with this key; after :meth:`enter`."""
        reported = self._counters.get(key)
        return self._add(key) if reported is None else reported

    def grow(self, visitors: int) -> None:
        """Add to the size of the cache; beyond :data:`MAX_VISITORS` the cache is emptied."""
        self._size += visitors
        if self._size > MAX_VISITORS:
            self._size = 0
            self._counters = {}

    def _add(self, key: str) -> ReportedVisitors:
        self.grow(1)
        return self._counters.setdefault(key, ReportedVisitors(self))

    def _reset(self) -> None:
        self.cache_id = secrets.token_hex(8)
        self._counters = {}
        self._size = 0
