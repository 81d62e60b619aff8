"""Records of counters and their days, for exports and imports."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..validation import MIN_VALUE, check_integer, check_name

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


@dataclass(frozen=True, slots=True)
class DayRecord:
    """A day (UTC) of a counter.

    :ivar hits: hits of the day.
    :ivar visitors: visitors of the day; None: unknown.
    """

    hits: int
    visitors: int | None = None


@dataclass(frozen=True, slots=True)
class CounterRecord:
    """A counter as it is exported and imported.

    :ivar name: name of the counter.
    :ivar value: value of the counter.
    :ivar days: days of the counter by date, such as ``2026-11-20``.
    :ivar source_key: key or path in the source, if that differs from the name.
    """

    name: str
    value: int
    days: Mapping[str, DayRecord] = field(default_factory=dict)
    source_key: str = ""


@dataclass(frozen=True, slots=True)
class InvalidRecord:
    """Input that is not a valid counter.

    :ivar where: line or key of the input.
    :ivar problem: error message.
    :ivar views: page views that are lost with it, if the source has page views.
    """

    where: str
    problem: str
    views: int = 0

    def __str__(self) -> str:
        return f"{self.where}: {self.problem}"


def validate_record(record: CounterRecord) -> CounterRecord:
    """Return the record if it can be imported.

    :raises ValueError: its name, its value or one of its days is invalid.
    """
    check_name(record.name)
    check_integer(record.value, MIN_VALUE)
    for date, day in record.days.items():
        check_date(date)
        check_integer(day.hits, 0)
        if day.visitors is not None:
            check_integer(day.visitors, 0)
    return record


def check_date(text: str) -> None:
    """Raise :class:`ValueError` unless the text is a date such as ``2026-11-20``."""
    try:
        if _DATE.fullmatch(text):
            datetime.date.fromisoformat(text)
            return
    except ValueError:
        pass
    raise ValueError(f"invalid date {text!r:.100}: write it as 2026-11-20")
