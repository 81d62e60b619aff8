"""Lanes of hits: one for each master of a cluster, or a single one.

A lane has one batch in flight at a time. With a lane for each master, hits of the other masters go
on while one does not answer.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

_T = TypeVar("_T")


class Lanes(Generic[_T]):
    """The dispatchers of a counter, by lane.

    :param find: returns the lane of a counter's key.
    :param make: makes the dispatcher of a lane.
    """

    def __init__(self, find: Callable[[str], Hashable], make: Callable[[], _T]) -> None:
        self._find = find
        self._make = make
        self._dispatchers: dict[Hashable, _T] = {}

    def get(self, key: str) -> _T:
        """Return the dispatcher for the hits of a counter."""
        lane = self._find(key)
        found = self._dispatchers.get(lane)
        # setdefault is atomic.
        return self._dispatchers.setdefault(lane, self._make()) if found is None else found
