"""The days and hours that hits are counted by, in UTC."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Literal, TypeAlias

from .errors import InvalidPeriodError, printable

#: What a series counts by.
Unit: TypeAlias = Literal["day", "hour"]

#: How many days a series goes back at the most: days are kept, hours for a week.
MAX_DAYS: dict[Unit, int] = {"day": 3660, "hour": 7}

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)

#: Returns the seconds since 1970, by this process's clock.
now = time.time


@dataclass(frozen=True, slots=True)
class SeriesPoint:
    """A day or an hour of a counter.

    :ivar start: when it begins, in UTC.
    :ivar hits: what was counted in it.
    :ivar visitors: how many visitors there were, where hits said who they are: an estimate,
        within 2 % (HyperLogLog). None for an hour.
    """

    start: datetime
    hits: int
    visitors: int | None = None

    def as_dict(self, unit: Unit) -> dict[str, str | int | None]:
        """Return it as it goes into a document: a day's date, an hour's beginning (RFC 3339)."""
        if unit == "hour":
            return {"start": f"{self.start:%Y-%m-%dT%H:%M:%SZ}", "hits": self.hits}
        return {"start": f"{self.start:%Y-%m-%d}", "hits": self.hits, "visitors": self.visitors}


def current_hour() -> str:
    """Return the hour that it is, as ``2026-11-23T15``."""
    return _named(int(now() // 3600))


def bucket_starts(unit: Unit, days: int) -> tuple[datetime, ...]:
    """Return when each of the last days begins, or each of their hours, oldest first.

    The last one is the day, or the hour, that it is.

    :raises InvalidPeriodError: the unit is another one, or there are too many days.
    """
    if not isinstance(unit, str) or unit not in MAX_DAYS:
        raise InvalidPeriodError(f"{printable(unit)} is neither day nor hour")
    most = MAX_DAYS[unit]
    if isinstance(days, bool) or not isinstance(days, int) or not 1 <= days <= most:
        raise InvalidPeriodError(
            f"{printable(days)} days by {unit}: use an integer from 1 to {most}"
        )
    return _span(unit, days, current_hour())


def hourly_dates() -> list[str]:
    """Return the dates of all hours that are kept."""
    return [f"{start:%Y-%m-%d}" for start in bucket_starts("day", MAX_DAYS["hour"] + 2)]


@lru_cache(maxsize=8)
def _span(unit: Unit, days: int, hour_name: str) -> tuple[datetime, ...]:
    hour = datetime.strptime(hour_name, "%Y-%m-%dT%H").replace(tzinfo=UTC)
    first = hour.replace(hour=0) - (days - 1) * DAY
    step = DAY if unit == "day" else HOUR
    return tuple(first + number * step for number in range((hour - first) // step + 1))


@lru_cache(maxsize=2)
def _named(hour: int) -> str:
    return time.strftime("%Y-%m-%dT%H", time.gmtime(hour * 3600))
