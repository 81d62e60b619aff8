"""Operations on counters other than hits: read, set, delete, list, check."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from redis.exceptions import NoScriptError

from ..errors import NotAnIntegerError, StoreRejectedError
from ..series import SeriesPoint, Unit, bucket_starts
from ..validation import Durability, required_replicas
from .confirmation import Confirmation
from .connections import Command
from .keys import CounterKeys, counter_key, names_key
from .listing import create_listed, delete_listed
from .operation import Operation
from .replies import parse_integer, raise_for_error, translate_error, translate_script_error
from .scripts import DELETE, SET

#: Limit of names that one round trip reads.
PAGE_SIZE = 1000

#: Sentinel: raise NotAnIntegerError instead of returning a substitute.
RAISE: Any = object()


def read(key: str, default: Any) -> Operation[Any]:
    """Read one counter."""
    (reply,) = yield [("GET", key)]
    return parse_integer(reply, key, default)


def read_many(keys: Mapping[str, str], default: Any, invalid: Any) -> Operation[dict[str, Any]]:
    """Read counters.

    :param keys: their keys, by name.
    :param default: the value of one that does not exist.
    :param invalid: the value of one whose key holds something else, or :data:`RAISE`.
    """
    if not keys:
        return {}
    # Not MGET, which replies nil for a key of another type: that would be a zero.
    replies = yield [("GET", key) for key in keys.values()]
    values = {}
    for (name, key), reply in zip(keys.items(), replies, strict=True):
        try:
            values[name] = parse_integer(reply, key, default)
        except NotAnIntegerError:
            if invalid is RAISE:
                raise
            values[name] = invalid
    return values


def set_value(
    key: str, value: int, limit: int, if_absent: bool, is_cluster: bool
) -> Operation[int | None]:
    """Set a counter; return its old value, None if it did not exist.

    :param limit: create it only while there are fewer counters.
    :param if_absent: raise :class:`CounterExistsError` if it exists.
    :param is_cluster: whether the store is a cluster.
    """
    if is_cluster:
        return (yield from create_listed(key, limit, lambda it: _set(key, value, it, if_absent)))
    return (yield from _set(key, value, limit, if_absent))


def _set(key: str, value: int, limit: int, if_absent: bool) -> Operation[int | None]:
    (reply,) = yield [SET.eval((key, CounterKeys(key).names), value, limit, int(if_absent))]
    return _parse_old_value(reply, key)


def delete(key: str, is_cluster: bool) -> Operation[int | None]:
    """Delete a counter and its records; return its old value, None if it did not exist.

    :param is_cluster: whether the store is a cluster.
    """
    keys = CounterKeys(key)
    if is_cluster:  # there the rates are the counter's own
        return (yield from delete_listed(key, _delete(key, [*keys.all(), keys.rates])))
    return (yield from _delete(key, keys.all()))


def _delete(key: str, keys: Sequence[str]) -> Operation[int | None]:
    (reply,) = yield [DELETE.eval(keys)]
    return _parse_old_value(reply, key)


def _parse_old_value(reply: Any, key: str) -> int | None:
    if isinstance(reply, StoreRejectedError):
        raise translate_script_error(reply, key) from reply.__cause__
    old: int | None = parse_integer(reply, key, None)
    return old


def series(key: str, unit: Unit, days: int) -> Operation[list[SeriesPoint]]:
    """Read the hits of the last days, or of their hours."""
    keys = CounterKeys(key)
    starts = bucket_starts(unit, days)
    if unit == "hour":
        return (yield from _hours(keys, starts))
    dates, visitor_fields = _day_fields(starts)
    hits, visitors, last_date, last_visitors = yield [
        ("HMGET", keys.days, *dates),
        ("HMGET", keys.days, *visitor_fields),
        ("HGET", keys.days, "last"),
        ("PFCOUNT", keys.visitors),
    ]
    for reply in (hits, visitors, last_date, last_visitors):
        if isinstance(reply, StoreRejectedError):
            raise translate_error(reply, keys.days) from reply.__cause__
    day_hits = [parse_integer(number, keys.days, 0) for number in hits]
    unique = [
        last_visitors if date == last_date else parse_integer(number, keys.days, 0)
        for date, number in zip(dates, visitors, strict=True)
    ]
    return [SeriesPoint(*point) for point in zip(starts, day_hits, unique, strict=True)]


@lru_cache(maxsize=8)
def _day_fields(starts: tuple[datetime, ...]) -> tuple[list[bytes], list[bytes]]:
    """Return the hash fields of the days' hits and of their visitors."""
    dates = [f"{start:%Y-%m-%d}".encode() for start in starts]
    return dates, [b"visitors:" + date for date in dates]


def _hours(keys: CounterKeys, starts: tuple[datetime, ...]) -> Operation[list[SeriesPoint]]:
    by_day: dict[str, list[str]] = {}
    for start in starts:
        by_day.setdefault(f"{start:%Y-%m-%d}", []).append(f"{start:%H}")
    replies = yield [("HMGET", keys.hours(date), *hours) for date, hours in by_day.items()]
    hits: list[int] = []
    for reply, date in zip(replies, by_day, strict=True):
        if isinstance(reply, StoreRejectedError):
            raise translate_error(reply, keys.hours(date)) from reply.__cause__
        hits += [parse_integer(number, keys.hours(date), 0) for number in reply]
    return [SeriesPoint(start, number) for start, number in zip(starts, hits, strict=True)]


def names(prefix: str, after: str = "", limit: int | None = None) -> Operation[list[str]]:
    """Return the names of counters, sorted.

    :param after: only those that come after this name; ``""``: all.
    :param limit: up to this many; None: all, with a round trip for each :data:`PAGE_SIZE`.
    """
    found: list[str] = []
    while limit is None or len(found) < limit:
        page = PAGE_SIZE if limit is None else min(PAGE_SIZE, limit - len(found))
        start = f"({found[-1] if found else after}" if found or after else "-"
        (reply,) = yield [("ZRANGEBYLEX", names_key(prefix), start, "+", "LIMIT", 0, page)]
        raise_for_error(reply)
        found += [name.decode() for name in reply]
        if len(reply) < page:
            break
    return found


def ping() -> Operation[None]:
    """Check that the server replies."""
    (reply,) = yield [("PING",)]
    raise_for_error(reply)


def check_ready(
    prefix: str,
    durability: Durability,
    attempt_timeout: float,
    keys: Sequence[str],
    is_cluster: bool,
) -> Operation[None]:
    """Check whether the store would take a hit, without counting.

    Sends the commands of a hit with arguments that change nothing: a server checks its role, its
    memory, its disk, its replicas and the user's rights before it checks arguments.

    :param attempt_timeout: seconds that a round trip may take.
    :param keys: for each server a key that is never set.
    :param is_cluster: whether the store is a cluster.
    :raises StoreRejectedError: the store would reject a hit.
    """
    commands: list[Command] = [("ZCARD", names_key(prefix))]
    for key in keys:
        commands += [
            ("SET", key, "", "XX"),
            ("INCRBY", key, "nothing"),
            ("EVALSHA", "0" * 40, 1, key),
            *((name, key) for name in ("MGET", "GET", "EXISTS")),
            ("EXPIRE", key, 1),
        ]
    if not is_cluster:
        # Keys of two hash slots, as in a hit: a node of a cluster rejects them.
        commands.append(("EXISTS", counter_key(prefix, "ready"), names_key(prefix)))
    needed = required_replicas(durability)
    if needed:
        commands += Confirmation(durability, attempt_timeout).commands
    replies = yield commands
    for reply in replies:
        if isinstance(reply, StoreRejectedError):
            expected = isinstance(reply.__cause__, NoScriptError) or "not an integer" in str(reply)
            if not expected:
                raise reply
    if needed and replies[-1] < needed:
        raise StoreRejectedError(
            f"durability={durability} waits for replicas, and too few are connected: {replies[-1]}"
        )
