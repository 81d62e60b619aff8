"""All counters of the service in the order of their hits, for the page of statistics."""

from __future__ import annotations

import time
from dataclasses import dataclass

from flask import Flask, current_app

from ..counter import RedisCounter
from ..errors import CounterError
from ..extension.state import current_state

#: How many counters are read at the most; of more, those first by name are ranked.
MAX_COUNTERS = 10_000

#: Of more counters than this the ranking is kept for :data:`TTL` seconds: it takes a while.
CACHE_FROM = 100
TTL = 10.0

#: How many values one round trip reads.
VALUES_PER_READ = 1000

_EXTENSION = "redis_counter_ranking"


@dataclass(frozen=True, slots=True)
class Ranking:
    """The counters, those with the most hits first.

    :ivar names: their names.
    :ivar is_whole: whether these are all.
    """

    names: list[str]
    is_whole: bool

    def find(self, words: str) -> list[str]:
        """Return the names that have this text in them, in any case."""
        return [name for name in self.names if words.lower() in name.lower()]


class RankingCache:
    """The ranking of an app's counters, kept for a moment where it took a while to read."""

    def __init__(self) -> None:
        self._kept: Ranking | None = None
        self._until = 0.0

    def current(self, counter: RedisCounter) -> Ranking:
        """Return the ranking.

        :raises StoreError: the store did not answer in time, or refused.
        """
        now = time.monotonic()
        if self._kept is not None and now < self._until:
            return self._kept
        # One thread reads; the others go on with the ranking that there is.
        self._until = now + TTL
        try:
            ranking = _read(counter)
        except CounterError:
            self._until = now
            raise
        self._kept = ranking if len(ranking.names) > CACHE_FROM else None
        return ranking


def init_app(app: Flask) -> None:
    """Let the app keep its ranking."""
    app.extensions[_EXTENSION] = RankingCache()


def current_ranking() -> Ranking:
    """Return the ranking of the current app's counters.

    :raises StoreError: the store did not answer in time, or refused.
    """
    cache: RankingCache = current_app.extensions[_EXTENSION]
    return cache.current(current_state().counter)


def _read(counter: RedisCounter) -> Ranking:
    names = counter.names(limit=MAX_COUNTERS + 1)
    is_whole = len(names) <= MAX_COUNTERS
    names = names[:MAX_COUNTERS]
    values: dict[str, int] = {}
    # In steps, which keep to the deadline each.
    for begin in range(0, len(names), VALUES_PER_READ):
        values |= counter.values(names[begin : begin + VALUES_PER_READ], default=0, invalid=0)
    # Sorting is stable: of equal ones the first by name is first.
    ranked = sorted(values, key=values.__getitem__, reverse=True)
    return Ranking(ranked, is_whole)
