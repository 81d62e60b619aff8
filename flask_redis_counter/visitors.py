"""Per-process cache of the visitors that the store was told of."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from functools import lru_cache

from . import days
from .forks import ForkSafe

#: How many visitors are remembered; beyond that the store is told of all of them once more.
MAX_VISITORS = 20_000

#: Seconds after which the store is told of all of them once more.
TTL = 60


@lru_cache(maxsize=4096)
def hash_visitor(visitor: str) -> str:
    """Return a hash of a visitor; nothing else of it leaves the process."""
    return hashlib.blake2b(visitor.encode("utf-8", "replace"), digest_size=16).hexdigest()


class ToldVisitors:
    """Hashes of the visitors of one counter that the store was told of.

    :ivar hashes: the visitors.
    :ivar mark: the store keeps it beside the visitors, and loses it together with them.
    :ivar marked: whether the store has taken the mark.
    """

    __slots__ = ("_cache", "hashes", "mark", "marked")

    def __init__(self, cache: VisitorCache) -> None:
        self._cache = cache
        self.hashes: set[str | None] = set()
        self.mark = secrets.token_hex(8)
        self.marked = False

    @property
    def process(self) -> str:
        """Return what names the cache in the store."""
        return self._cache.process

    def add(self, visitors: Iterable[str | None], mark: str) -> None:
        """Remember visitors that the store was told of, together with a mark."""
        if mark == self.mark:
            self.marked = True
            before = len(self.hashes)
            self.hashes.update(visitors)
            self._cache.size += len(self.hashes) - before

    def forget(self, mark: str) -> None:
        """Forget all of them, because the store does not have that mark."""
        if mark == self.mark:
            self.hashes.clear()
            self.mark = secrets.token_hex(8)
            self.marked = False


class VisitorCache(ForkSafe):
    """Visitors that the store was told of, so that it is not told of them with each hit.

    Another process may take them from the store at any time: it deletes a counter, or flushes or
    restores the store. So a hit that leaves its visitor out carries a mark instead, which the
    store keeps with the visitors; where that is missing it refuses the hit, which is then sent
    with its visitor. A snapshot that is younger than :data:`TTL` may bring the mark back, and
    not the latest visitors: these are left out until the TTL is over.

    Thread-safe. Meant to be shared by all counters of a process.

    :ivar process: names this cache in the store; another one in a forked child.
    :ivar size: how many visitors there are in it.
    """

    def __init__(self) -> None:
        self._counters: dict[str, ToldVisitors] = {}
        self._ends = 0.0
        self.size = 0
        super().__init__()
        self._enter()

    def of(self, key: str) -> ToldVisitors:
        """Return the visitors of the counter with this key."""
        self._enter()
        time = days.now()
        if time >= self._ends or self.size >= MAX_VISITORS:
            self._ends = time - time % TTL + TTL  # so that it never spans two days
            self.size = 0
            self._counters.clear()
        told = self._counters.get(key)
        if told is None:
            told = self._counters.setdefault(key, ToldVisitors(self))
            self.size += 1
        return told

    def _reset(self) -> None:
        self.process = secrets.token_hex(8)
        self._ends = 0.0
