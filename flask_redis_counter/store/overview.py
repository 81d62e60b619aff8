"""Many counters at a glance and how their store fares, in two round trips, without I/O."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..errors import CounterError, NotAnIntegerError
from ..series import SeriesPoint
from .info import StoreInfo, store_info
from .keys import counter_key
from .operation import Operation, gather
from .queries import names, read, series


@dataclass(frozen=True, slots=True)
class CounterSummary:
    """A counter with its days.

    :ivar name: its name.
    :ivar value: what it stands at; None: there is none of that name.
    :ivar days: its last days, today's last.
    :ivar error: why it cannot be read: its key, or that of its days, holds something else.
    """

    name: str
    value: int | None
    days: tuple[SeriesPoint, ...] = ()
    error: NotAnIntegerError | None = None


@dataclass(frozen=True, slots=True)
class Overview:
    """Some counters, and their store.

    :ivar counters: the counters, those that were asked for first.
    :ivar more: whether others come after these.
    :ivar store: the store; None: it may not be asked about itself.
    """

    counters: list[CounterSummary]
    more: bool
    store: StoreInfo | None


def overview(
    prefix: str,
    wanted: Iterable[str],
    after: str | None,
    limit: int,
    days: int,
) -> Operation[Overview]:
    """Read counters that are asked for, and then those that come after a name."""
    found = list(dict.fromkeys(wanted))
    for name in found:
        counter_key(prefix, name)  # raise for an invalid name before anything is sent
    listing = [] if after is None else [names(prefix, after, limit + 1)]
    store, *pages = yield from gather(store_info(), *listing)
    listed: list[str] = []
    for page in pages:
        if isinstance(page, CounterError):
            raise page
        listed = page
    found += [name for name in listed[:limit] if name not in found]
    summaries = yield from gather(
        *(summary(name, counter_key(prefix, name), days) for name in found)
    )
    for one in summaries:
        if isinstance(one, CounterError):
            raise one
    info = store if isinstance(store, StoreInfo) else None
    return Overview(summaries, len(listed) > limit, info)


def summary(name: str, key: str, days: int) -> Operation[CounterSummary]:
    """Read a counter with its days."""
    value, points = yield from gather(read(key, None), series(key, "day", days))
    for answer in (value, points):
        if isinstance(answer, NotAnIntegerError):
            return CounterSummary(name, None, error=answer)
        if isinstance(answer, CounterError):
            raise answer
    return CounterSummary(name, value, tuple(points))
