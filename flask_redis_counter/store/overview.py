"""Many counters with their days, and the state of the store, in two round trips."""

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
    :ivar value: its value; None: it does not exist.
    :ivar days: the last days, ending with today.
    :ivar error: set if its key, or that of its days, holds something else.
    """

    name: str
    value: int | None
    days: tuple[SeriesPoint, ...] = ()
    error: NotAnIntegerError | None = None


@dataclass(frozen=True, slots=True)
class Overview:
    """Some counters, and their store.

    :ivar counters: the counters; those requested by name come first.
    :ivar more: whether there are counters after these.
    :ivar store: the server's state; None: the user may not run INFO.
    """

    counters: list[CounterSummary]
    more: bool
    store: StoreInfo | None


def overview(
    prefix: str,
    requested: Iterable[str],
    after: str | None,
    limit: int,
    days: int,
) -> Operation[Overview]:
    """Read counters by name, and then up to ``limit`` of those that come after a name."""
    found = list(dict.fromkeys(requested))
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
    for reply in (value, points):
        if isinstance(reply, NotAnIntegerError):
            return CounterSummary(name, None, error=reply)
        if isinstance(reply, CounterError):
            raise reply
    return CounterSummary(name, value, tuple(points))
