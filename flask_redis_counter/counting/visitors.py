"""Per-process cache of the visitors that were already reported to the store."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from functools import lru_cache

from .. import series
from ..forking import ForkSafe

#: Maximum number of cached visitors; beyond it the cache is emptied.
MAX_VISITORS = 20_000

#: Seconds after which all visitors of a counter are reported again.
TTL = 60


@lru_cache(maxsize=4096)
def hash_visitor(visitor: str) -> str:
    """Return a hash of a visitor, the only thing about the visitor that leaves the process."""
    return hashlib.blake2b(visitor.encode("utf-8", "replace"), digest_size=16).hexdigest()


class ReportedVisitors:
    """Hashes of the visitors of one counter that were reported to the store.

    :ivar hashes: hashes of the visitors.
    :ivar mark: random value that the store keeps with the visitors, and loses with them.
    :ivar is_marked: whether the store has acknowledged the mark.
    :ivar cache_id: identifies the cache in the store.
    """

    __slots__ = ("_cache", "_day", "_expires_at", "cache_id", "hashes", "is_marked", "mark")

    def __init__(self, cache: VisitorCache) -> None:
        self._cache = cache
        self.cache_id: str = cache.cache_id
        self._day = ""
        self._expires_at = 0.0
        self._start_empty()

    def renew(self, hour: str) -> None:
        """Empty the set if the TTL is over or the day has changed.

        :param hour: hour of the next hits, as ``2026-11-23T15``.
        """
        now = series.now()
        if now >= self._expires_at or hour[:10] != self._day:
            self._expires_at = now + TTL
            self._day = hour[:10]
            self._start_empty()

    def add(self, visitors: Iterable[str | None], mark: str) -> None:
        """Add visitors that were reported to the store together with a mark."""
        if mark == self.mark:
            self.is_marked: bool = True
            before = len(self.hashes)
            self.hashes.update(visitors)
            self._cache.grow(len(self.hashes) - before)

    def clear(self, mark: str) -> None:
        """Remove all visitors, because the store does not have the mark."""
        if mark == self.mark:
            self._start_empty()

    def _start_empty(self) -> None:
        # A new set: calls in flight keep the old set with the old mark.
        self.hashes: set[str | None] = set()
        self.mark: str = secrets.token_hex(8)
        self.is_marked = False


class VisitorCache(ForkSafe):
    """Cache of reported visitors, so that not every hit sends its visitor.

    Another process may remove visitors from the store at any time: it deletes a counter, or flushes
    or restores the store. So a hit without its visitor carries a mark, which the store keeps with
    the visitors. If the mark is missing, the store rejects the hit, which is then sent with its
    visitor. Restoring a snapshot that is younger than :data:`TTL` may restore the mark without the
    latest visitors; these are missing until the TTL is over.

    Thread-safe. Meant to be shared by all counters of a process.

    :ivar cache_id: identifies this cache in the store; a forked child has its own.
    """

    def __init__(self) -> None:
        self.cache_id: str = ""
        self._counters: dict[str, ReportedVisitors] = {}
        self._size = 0
        super().__init__()
        self.enter()

    def for_counter(self, key: str) -> ReportedVisitors:
        """Return the reported visitors of a counter by its key. Call :meth:`enter` first."""
        reported = self._counters.get(key)
        return self._add(key) if reported is None else reported

    def grow(self, visitors: int) -> None:
        """Add to the size of the cache, which is emptied beyond :data:`MAX_VISITORS`."""
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
