"""Time buckets of a series: days and hours, in UTC."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Literal, TypeAlias

from .errors import InvalidPeriodError, printable

#: Length of a series' buckets.
Unit: TypeAlias = Literal["day", "hour"]

#: Longest series, in days. Days are kept for good, hours for a week.
MAX_DAYS: dict[Unit, int] = {"day": 3660, "hour": 7}

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)

#: Returns this machine's time, in seconds since 1970.
now = time.time


@dataclass(frozen=True, slots=True)
class SeriesPoint:
    """The hits of a counter in one day or hour.

    :ivar start: beginning of the day or hour, in UTC.
    :ivar hits: sum of the amounts counted in it.
    :ivar visitors: number of unique visitors, among hits with a ``visitor``: an estimate within
        2 % (HyperLogLog). None for an hour.
    """

    start: datetime
    hits: int
    visitors: int | None = None

    def as_dict(self, unit: Unit) -> dict[str, str | int | None]:
        """Return the members of its JSON object.

        ``start`` is the date of a day, or the beginning of an hour (RFC 3339).
        """
        if unit == "hour":
            return {"start": f"{self.start:%Y-%m-%dT%H:%M:%SZ}", "hits": self.hits}
        return {"start": f"{self.start:%Y-%m-%d}", "hits": self.hits, "visitors": self.visitors}


def current_hour() -> str:
    """Return the current hour, as ``2026-11-23T15``."""
    return _format_hour(int(now() // 3600))


def bucket_starts(unit: Unit, days: int) -> tuple[datetime, ...]:
    """Return the beginning of each of the last days, or of each of their hours, oldest first.

    The last bucket is the current day or hour.

    :raises InvalidPeriodError: the unit is unknown, or the number of days is out of bounds.
    """
    if not isinstance(unit, str) or unit not in MAX_DAYS:
        raise InvalidPeriodError(f"{printable(unit)} is not a unit: use day or hour")
    limit = MAX_DAYS[unit]
    if isinstance(days, bool) or not isinstance(days, int) or not 1 <= days <= limit:
        raise InvalidPeriodError(
            f"{printable(days)} days by {unit}: use an integer from 1 to {limit}"
        )
    return _list_starts(unit, days, current_hour())


def hourly_dates() -> list[str]:
    """Return the dates for which hours may be stored."""
    return [f"{start:%Y-%m-%d}" for start in bucket_starts("day", MAX_DAYS["hour"] + 2)]


@lru_cache(maxsize=8)
def _list_starts(unit: Unit, days: int, hour_name: str) -> tuple[datetime, ...]:
    hour = datetime.strptime(hour_name, "%Y-%m-%dT%H").replace(tzinfo=UTC)
    first = hour.replace(hour=0) - (days - 1) * DAY
    step = DAY if unit == "day" else HOUR
    return tuple(first + index * step for index in range((hour - first) // step + 1))


@lru_cache(maxsize=2)
def _format_hour(hour: int) -> str:
    return time.strftime("%Y-%m-%dT%H", time.gmtime(hour * 3600))
