"""Counters on their way from one store to another: as lines of JSON, or as CSV."""

from __future__ import annotations

import csv
import datetime
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from .errors import InvalidAmountError
from .rules import MIN_VALUE, check_integer, check_name

#: The first line of CSV; it has no days.
COLUMNS = ["name", "value"]

_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,18}")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Day:
    """A day of a counter, in UTC.

    :ivar hits: what was counted in it.
    :ivar visitors: how many visitors there were; None: that is not known.
    """

    hits: int
    visitors: int | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """A counter as it is carried from one store to another.

    :ivar name: its name.
    :ivar value: what it stands at.
    :ivar days: its days by date, as ``2026-11-20``.
    :ivar origin: what its source calls it, where that has another name for it.
    """

    name: str
    value: int
    days: Mapping[str, Day] = field(default_factory=dict)
    origin: str = ""


@dataclass(frozen=True, slots=True)
class BadRecord:
    """What is no counter in something that was read.

    :ivar where: the line, or the key.
    :ivar problem: what is wrong with it.
    """

    where: str
    problem: str

    def __str__(self) -> str:
        return f"{self.where}: {self.problem}"


def to_json(record: Record) -> str:
    """Return a counter as a line of JSON."""
    document: dict[str, Any] = {"name": record.name, "value": record.value}
    if record.days:
        document["days"] = {
            day: {"hits": it.hits}
            if it.visitors is None
            else {"hits": it.hits, "visitors": it.visitors}
            for day, it in sorted(record.days.items())
        }
    return json.dumps(document) + "\n"


def to_csv(record: Record) -> str:
    """Return a counter as a line of CSV: a name needs no quotes."""
    return f"{record.name},{record.value}\n"


def from_json(lines: Iterable[str]) -> Iterator[Record | BadRecord]:
    """Read counters, one a line; what is none is told by its line."""
    return each_once(((n, line) for n, line in enumerate(lines, 1) if line.strip()), _parsed)


def from_csv(lines: Iterable[str]) -> Iterator[Record | BadRecord]:
    """Read counters from CSV with the columns ``name,value``; what is none is told by its line."""
    rows = csv_rows(lines)
    number, header = next(rows, (1, COLUMNS))
    if header != COLUMNS:
        yield BadRecord(f"line {number}", f"the first line of CSV is {','.join(COLUMNS)}")
        return
    yield from each_once(rows, _of_row)


def csv_rows(lines: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    """Return the rows of CSV that are not empty, with their last lines; one of a broken line has
    no fields.
    """
    reader = csv.reader(lines, strict=True)
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error:
            yield reader.line_num, []
        else:
            if row:
                yield reader.line_num, row


def each_once(
    rows: Iterable[tuple[int, _T]], parse: Callable[[_T], Record]
) -> Iterator[Record | BadRecord]:
    """Return what rows hold; a name that has come before is a mistake."""
    first: dict[str, int] = {}
    for number, row in rows:
        try:
            record = parse(row)
        except (ValueError, RecursionError) as error:
            yield BadRecord(f"line {number}", str(error))
            continue
        if first.setdefault(record.name, number) == number:
            yield record
        else:
            yield BadRecord(
                f"line {number}", f"{record.name!r} is in line {first[record.name]} as well"
            )


def checked(record: Record) -> Record:
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


def integer_in(text: str) -> int:
    """Return the integer that a text is; raises :class:`InvalidAmountError`."""
    if not _INTEGER.fullmatch(text):
        raise InvalidAmountError(text, "in decimal digits")
    return int(text)


def check_date(text: str) -> None:
    """Raise :class:`ValueError` where a text is no date."""
    try:
        if _DATE.fullmatch(text):
            datetime.date.fromisoformat(text)
            return
    except ValueError:
        pass
    raise ValueError(f"{text!r:.100} is no date, as 2026-11-20")


def _parsed(line: str) -> Record:
    try:
        document = json.loads(line, object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        raise ValueError(f"is no JSON: {error.msg} at column {error.colno}") from None
    fields = _fields(document, "name value", "days")
    days = fields.get("days", {})
    if not isinstance(days, dict):
        raise ValueError("its days are no object")
    described = {day: Day(**_fields(it, "hits", "visitors")) for day, it in days.items()}
    return checked(Record(fields["name"], fields["value"], described))


def _fields(document: Any, needed: str, more: str) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise ValueError("is no object")
    for name in needed.split():
        if name not in document:
            raise ValueError(f"lacks {name!r}")
    for name in document:
        if name not in (*needed.split(), more):
            raise ValueError(f"has {name!r:.100}, which nobody knows")
    return document


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object, but not one of whose values all but the last would be lost."""
    document = dict(pairs)
    if len(document) < len(pairs):
        raise ValueError("has a name twice in one object")
    return document


def _of_row(row: list[str]) -> Record:
    if len(row) != len(COLUMNS):
        raise ValueError(f"is not {','.join(COLUMNS)}")
    name, value = row
    return checked(Record(name, integer_in(value)))
