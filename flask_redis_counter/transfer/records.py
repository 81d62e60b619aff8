"""A counter with its days, as it is carried from one store to another."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..validation import MIN_VALUE, check_integer, check_name

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


@dataclass(frozen=True, slots=True)
class DayRecord:
    """A day of a counter, in UTC.

    :ivar hits: what was counted in it.
    :ivar visitors: how many visitors there were; None: that is not known.
    """

    hits: int
    visitors: int | None = None


@dataclass(frozen=True, slots=True)
class CounterRecord:
    """A counter as it is carried from one store to another.

    :ivar name: its name.
    :ivar value: what it stands at.
    :ivar days: its days by date, as ``2026-11-20``.
    :ivar origin: what its source calls it, where that has another name for it.
    """

    name: str
    value: int
    days: Mapping[str, DayRecord] = field(default_factory=dict)
    origin: str = ""


@dataclass(frozen=True, slots=True)
class InvalidRecord:
    """What is no counter in something that was read.

    :ivar where: the line, or the key.
    :ivar problem: what is wrong with it.
    :ivar views: how many page views are lost with it, where the source has page views.
    """

    where: str
    problem: str
    views: int = 0

    def __str__(self) -> str:
        return f"{self.where}: {self.problem}"


def validate_record(record: CounterRecord) -> CounterRecord:
    """Return a counter that may be brought in.

    :raises ValueError: it is none: its name, its value or a day is outside the rules.
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
    """Raise :class:`ValueError` where a text is no date."""
    try:
        if _DATE.fullmatch(text):
            datetime.date.fromisoformat(text)
            return
    except ValueError:
        pass
    raise ValueError(f"{text!r:.100} is no date, as 2026-11-20")
