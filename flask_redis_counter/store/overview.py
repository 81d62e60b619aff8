"""Many counters at a glance and how their store fares, in two round trips, without I/O."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from ..errors import CounterError, NotAnIntegerError, StoreRejectedError
from ..series import SeriesPoint
from .connections import Command
from .keys import counter_key
from .queries import Operation, gather, names, parse_info, read, series

_SECTIONS: list[Command] = [
    ("INFO", section) for section in ("server", "clients", "memory", "persistence")
]


@dataclass(frozen=True, slots=True)
class StoreInfo:
    """What a server says of itself.

    :ivar server: ``Redis``, ``Valkey`` or another.
    :ivar version: its version.
    :ivar uptime: seconds since its start.
    :ivar clients: how many connections it has.
    :ivar memory: bytes that it uses.
    :ivar memory_limit: bytes that it may use; None: no limit.
    :ivar append_only: whether it keeps an append-only file.
    :ivar append_only_ok: whether the last write to it succeeded.
    :ivar saved: when it last took a snapshot; its start, where it has not since.
    :ivar saved_ok: whether the last snapshot succeeded.
    """

    server: str
    version: str
    uptime: int
    clients: int
    memory: int
    memory_limit: int | None
    append_only: bool
    append_only_ok: bool
    saved: datetime
    saved_ok: bool


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


def store_info() -> Operation[StoreInfo]:
    """Ask a server about itself."""
    answers = yield _SECTIONS
    facts: dict[str, str] = {}
    for answer in answers:
        if isinstance(answer, StoreRejectedError):
            raise answer
        facts |= parse_info(answer)
    server = facts.get("server_name", "redis")
    return StoreInfo(
        server=server.capitalize(),
        version=facts.get(f"{server}_version") or facts.get("redis_version", ""),
        uptime=int(facts.get("uptime_in_seconds", 0)),
        clients=int(facts.get("connected_clients", 0)),
        memory=int(facts.get("used_memory", 0)),
        memory_limit=int(facts.get("maxmemory", 0)) or None,
        append_only=facts.get("aof_enabled") == "1",
        append_only_ok=facts.get("aof_last_write_status", "ok") == "ok",
        saved=datetime.fromtimestamp(int(facts.get("rdb_last_save_time", 0)), UTC),
        saved_ok=facts.get("rdb_last_bgsave_status", "ok") == "ok",
    )


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
