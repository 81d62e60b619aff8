"""Ranking of all counters by value, for the statistics page."""

from __future__ import annotations

import time
from dataclasses import dataclass

from flask import Flask, current_app

from ..counter import RedisCounter
from ..errors import CounterError
from ..extension.state import current_state

#: Maximum counters that are ranked. If there are more, the first by name are ranked.
MAX_COUNTERS = 10_000

#: The ranking of more counters than this is cached for :data:`TTL` seconds.
CACHE_FROM = 100
TTL = 10.0

#: Values that one round trip reads.
VALUES_PER_READ = 1000

_EXTENSION = "redis_counter_ranking"


@dataclass(frozen=True, slots=True)
class Ranking:
    """Counters in descending order of their values.

    :ivar names: their names.
    :ivar is_complete: False if there are more than :data:`MAX_COUNTERS`.
    """

    names: list[str]
    is_complete: bool

    def find(self, text: str) -> list[str]:
        """Return the names that contain a text, ignoring case."""
        return [name for name in self.names if text.lower() in name.lower()]


class RankingCache:
    """Cache of an app's ranking."""

    def __init__(self) -> None:
        self._ranking: Ranking | None = None
        self._expires_at = 0.0

    def current(self, counter: RedisCounter) -> Ranking:
        """Return the ranking.

        :raises StoreError: the store did not answer in time, or rejected a command.
        """
        now = time.monotonic()
        if self._ranking is not None and now < self._expires_at:
            return self._ranking
        # One thread reads; the others use the old ranking meanwhile.
        self._expires_at = now + TTL
        try:
            ranking = _read(counter)
        except CounterError:
            self._expires_at = now
            raise
        self._ranking = ranking if len(ranking.names) > CACHE_FROM else None
        return ranking


def init_app(app: Flask) -> None:
    """Give the app a ranking cache."""
    app.extensions[_EXTENSION] = RankingCache()


def current_ranking() -> Ranking:
    """Return the ranking of the current app's counters.

    :raises StoreError: the store did not answer in time, or rejected a command.
    """
    cache: RankingCache = current_app.extensions[_EXTENSION]
    return cache.current(current_state().counter)


def _read(counter: RedisCounter) -> Ranking:
    names = counter.names(limit=MAX_COUNTERS + 1)
    is_complete = len(names) <= MAX_COUNTERS
    names = names[:MAX_COUNTERS]
    values: dict[str, int] = {}
    # Each chunk has its own timeout.
    for start in range(0, len(names), VALUES_PER_READ):
        values |= counter.values(names[start : start + VALUES_PER_READ], default=0, invalid=0)
    # Sorting is stable: counters of equal value stay in the order of their names.
    ranked = sorted(values, key=values.__getitem__, reverse=True)
    return Ranking(ranked, is_complete)
