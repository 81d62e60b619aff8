"""What a counter asks of the store besides counting, without I/O.

Each operation is a generator: it yields commands, is sent their answers, and returns its
result. So the counter for threads and the one for asyncio share them.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

from redis.exceptions import NoScriptError

from ..errors import NotAnIntegerError, StoreRejectedError
from ..series import SeriesPoint, Unit, bucket_starts
from ..validation import Durability
from .connections import Command
from .keys import CounterKeys, counter_key, names_key, ready_key
from .operation import Operation
from .replies import parse_integer, translate_error, translate_script_error
from .scripts import DELETE, SET

#: How many names one round trip reads at the most.
PAGE_SIZE = 1000

#: Says that a key which holds something else is an error, and no value stands for it.
RAISE: Any = object()


def read(key: str, default: Any) -> Operation[Any]:
    """Read one counter."""
    (answer,) = yield [("GET", key)]
    return parse_integer(answer, key, default)


def read_many(keys: Mapping[str, str], default: Any, invalid: Any) -> Operation[dict[str, Any]]:
    """Read the counters that names stand for."""
    if not keys:
        return {}
    # Not MGET: it answers nil, and so zero, for a key of another type.
    answers = yield [("GET", key) for key in keys.values()]
    values = {}
    for (name, key), answer in zip(keys.items(), answers, strict=True):
        try:
            values[name] = parse_integer(answer, key, default)
        except NotAnIntegerError:
            if invalid is RAISE:
                raise
            values[name] = invalid
    return values


def set_value(key: str, value: int, limit: int, if_absent: bool) -> Operation[int | None]:
    """Set a counter and return the value that it had, None where it is made."""
    (answer,) = yield [SET.eval((key, CounterKeys(key).names), value, limit, int(if_absent))]
    return _parse_old_value(answer, key)


def delete(key: str) -> Operation[int | None]:
    """Delete a counter with all that describes it, and return the value that it had."""
    (answer,) = yield [DELETE.eval(CounterKeys(key).all())]
    return _parse_old_value(answer, key)


def _parse_old_value(answer: Any, key: str) -> int | None:
    if isinstance(answer, StoreRejectedError):
        raise translate_script_error(answer, key) from answer.__cause__
    old: int | None = parse_integer(answer, key, None)
    return old


def series(key: str, unit: Unit, days: int) -> Operation[list[SeriesPoint]]:
    """Read the hits of the last days, or of their hours."""
    keys = CounterKeys(key)
    starts = bucket_starts(unit, days)
    if unit == "hour":
        return (yield from _hours(keys, starts))
    dates, visitor_fields = _day_fields(starts)
    counted, visitors, last, visiting = yield [
        ("HMGET", keys.days, *dates),
        ("HMGET", keys.days, *visitor_fields),
        ("HGET", keys.days, "last"),
        ("PFCOUNT", keys.visitors),
    ]
    for answer in (counted, visitors, last, visiting):
        if isinstance(answer, StoreRejectedError):
            raise translate_error(answer, keys.days) from answer.__cause__
    hits = [parse_integer(number, keys.days, 0) for number in counted]
    unique = [
        visiting if date == last else parse_integer(number, keys.days, 0)
        for date, number in zip(dates, visitors, strict=True)
    ]
    return [SeriesPoint(*point) for point in zip(starts, hits, unique, strict=True)]


@lru_cache(maxsize=8)
def _day_fields(starts: tuple[datetime, ...]) -> tuple[list[bytes], list[bytes]]:
    """Return the fields of the days' hits and of their visitors."""
    dates = [f"{start:%Y-%m-%d}".encode() for start in starts]
    return dates, [b"visitors:" + date for date in dates]


def _hours(keys: CounterKeys, starts: tuple[datetime, ...]) -> Operation[list[SeriesPoint]]:
    by_day: dict[str, list[str]] = {}
    for start in starts:
        by_day.setdefault(f"{start:%Y-%m-%d}", []).append(f"{start:%H}")
    answers = yield [("HMGET", keys.hours(date), *hours) for date, hours in by_day.items()]
    hits: list[int] = []
    for answer, date in zip(answers, by_day, strict=True):
        if isinstance(answer, StoreRejectedError):
            raise translate_error(answer, keys.hours(date)) from answer.__cause__
        hits += [parse_integer(number, keys.hours(date), 0) for number in answer]
    return [SeriesPoint(start, number) for start, number in zip(starts, hits, strict=True)]


def names(prefix: str, after: str = "", limit: int | None = None) -> Operation[list[str]]:
    """Return the names of all counters in their order, or as many of those behind a name."""
    found: list[str] = []
    while limit is None or len(found) < limit:
        page = PAGE_SIZE if limit is None else min(PAGE_SIZE, limit - len(found))
        behind = f"({found[-1] if found else after}" if found or after else "-"
        (answer,) = yield [("ZRANGEBYLEX", names_key(prefix), behind, "+", "LIMIT", 0, page)]
        if isinstance(answer, StoreRejectedError):
            raise answer
        found += [name.decode() for name in answer]
        if len(answer) < page:
            break
    return found


def ping() -> Operation[None]:
    """Ask for a sign of life."""
    (answer,) = yield [("PING",)]
    if isinstance(answer, StoreRejectedError):
        raise answer


def check_ready(prefix: str, durability: Durability, attempt_timeout: float) -> Operation[None]:
    """Find out whether a hit would be taken, without counting.

    The commands of a hit, with arguments that change nothing: the server looks at its role, its
    memory, its disk, its replicas and the user's rights before it looks at those.
    """
    key = ready_key(prefix)
    commands: list[Command] = [
        ("SET", key, "", "XX"),
        ("INCRBY", key, "nothing"),
        ("EVALSHA", "0" * 40, 0),
        *((name, key) for name in ("MGET", "GET")),
        # As in a hit, keys of two slots, which a cluster refuses.
        ("EXISTS", counter_key(prefix, "ready"), names_key(prefix)),
        ("ZCARD", names_key(prefix)),
        ("EXPIRE", key, 1),
    ]
    if durability == "replica":
        commands.append(("WAIT", 1, int(attempt_timeout * 1000)))
    answers = yield commands
    for answer in answers:
        if isinstance(answer, StoreRejectedError):
            expected = isinstance(answer.__cause__, NoScriptError) or "not an integer" in str(
                answer
            )
            if not expected:
                raise answer
    if durability == "replica" and answers[-1] == 0:
        raise StoreRejectedError("no replica is connected, and durability=replica waits for one")
