"""File formats of counters: NDJSON (a JSON object per line) and CSV."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeVar

from ..validation import check_integer
from .records import CounterRecord, DayRecord, InvalidRecord, validate_record

#: Columns of CSV, which has no days.
COLUMNS = ["name", "value"]
#: Header row as spreadsheets write it: quoted or not, with any of their separators.
CSV_HEADER = re.compile(r'"?{}"?([,;\t])"?{}"?\s*'.format(*COLUMNS))
#: Line before the header row in which a spreadsheet names its separator.
CSV_SEPARATOR = re.compile(r"sep=([,;\t])\s*")

#: ``format`` and ``version`` in the first line of an NDJSON export.
FORMAT = "flask-redis-counter"
VERSION = 1

_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,18}")
_CSV_END = re.compile(r"#counters=([0-9]{1,19})")

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Begin:
    """Start mark of an export. An end mark must follow.

    :ivar expected: number of counters in the store when the export began.
    """

    expected: int


@dataclass(frozen=True, slots=True)
class End:
    """End mark of an export.

    :ivar counters: number of counters in the export.
    """

    counters: int


def begin_json(expected: int) -> str:
    """Return the first line of an NDJSON export."""
    return json.dumps({"format": FORMAT, "version": VERSION, "expected": expected}) + "\n"


def end_json(counters: int) -> str:
    """Return the last line of an NDJSON export."""
    return json.dumps({"counters": counters}) + "\n"


def begin_csv(expected: int) -> str:
    """Return the header row. CSV has no start mark: spreadsheets expect column names first."""
    return ",".join(COLUMNS) + "\n"


def end_csv(counters: int) -> str:
    """Return the last row of a CSV export: a single cell, so that it does not change sums."""
    return f"#counters={counters}\n"


def to_json(record: CounterRecord) -> str:
    """Return a counter as a line of NDJSON."""
    document: dict[str, Any] = {"name": record.name, "value": record.value}
    if record.days:
        document["days"] = {
            date: {"hits": day.hits}
            if day.visitors is None
            else {"hits": day.hits, "visitors": day.visitors}
            for date, day in sorted(record.days.items())
        }
    return json.dumps(document) + "\n"


def to_csv(record: CounterRecord) -> str:
    """Return a counter as a line of CSV. Names need no quotes."""
    return f"{record.name},{record.value}\n"


def from_json(lines: Iterable[str]) -> Iterator[CounterRecord | InvalidRecord | End]:
    """Parse NDJSON, with or without the marks of an export."""
    return reject_duplicates(
        ((n, line) for n, line in enumerate(lines, 1) if line.strip()), _parse_json
    )


def from_csv(lines: Iterable[str]) -> Iterator[CounterRecord | InvalidRecord | End]:
    """Parse CSV with the columns ``name,value``, separated by commas, semicolons or tabs."""
    lines = iter(lines)
    blank: list[str] = []  # stand for the lines before the header row, to keep line numbers right
    first = ""
    for first in lines:
        if first.strip() and not CSV_SEPARATOR.fullmatch(first):
            break
        blank.append("\n")
    header_row = CSV_HEADER.fullmatch(first)
    rows = csv_rows(chain(blank, [first], lines), header_row[1] if header_row else ",")
    number, header = next(rows, (1, COLUMNS))
    if header != COLUMNS:
        yield InvalidRecord(f"line {number}", f"the first line of CSV must be {','.join(COLUMNS)}")
        return
    yield from reject_duplicates(rows, _parse_row)


def csv_rows(lines: Iterable[str], separator: str = ",") -> Iterator[tuple[int, list[str]]]:
    """Yield the non-empty rows of CSV with the number of their last line.

    A malformed row is an empty list.
    """
    reader = csv.reader(lines, delimiter=separator, strict=True)
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


def reject_duplicates(
    rows: Iterable[tuple[int, _T]], parse: Callable[[_T], CounterRecord | Begin | End]
) -> Iterator[CounterRecord | InvalidRecord | End]:
    """Parse rows of (line number, row), and yield their records and end marks.

    A repeated name is an :class:`InvalidRecord`, and so is an export that lacks counters or its
    end mark.
    """
    first_line: dict[str, int] = {}
    begin: Begin | None = None
    number = found = 0
    for number, row in rows:
        try:
            item = parse(row)
        except (ValueError, RecursionError) as error:
            found += 1
            yield InvalidRecord(f"line {number}", str(error))
            continue
        if isinstance(item, Begin):
            begin, found = item, 0
        elif isinstance(item, End):
            if item.counters != found:
                problem = f"the export had {item.counters} counters, but the file has {found}"
                yield InvalidRecord(f"line {number}", problem)
            yield item
            begin = None
        else:
            found += 1
            if first_line.setdefault(item.name, number) == number:
                yield item
            else:
                problem = f"duplicate name {item.name!r}, first in line {first_line[item.name]}"
                yield InvalidRecord(f"line {number}", problem)
    if begin is not None:
        yield InvalidRecord(
            f"line {number}",
            f"the export was cut off here: it has no end mark, and {found} of about "
            f"{begin.expected} counters; export again",
        )


def parse_integer(text: str) -> int:
    """Parse an integer in decimal digits.

    :raises ValueError: the text is not an integer of up to 19 digits, or has leading zeros.
    """
    if _INTEGER.fullmatch(text):
        return int(text)
    if re.fullmatch(r"-?0[0-9]{1,18}", text):
        raise ValueError(f"the value {text!r} has leading zeros: write {int(text)}")
    raise ValueError(
        f"the value {text!r:.100} is not an integer of up to 19 decimal digits: leave out spaces, "
        "signs other than -, separators and decimal points"
    )


def _parse_json(line: str) -> CounterRecord | Begin | End:
    try:
        document = json.loads(line, object_pairs_hook=_make_object)
    except json.JSONDecodeError as error:
        raise ValueError(f"invalid JSON: {error.msg} at column {error.colno}") from None
    if isinstance(document, dict) and "format" in document:
        return _parse_begin(document)
    if isinstance(document, dict) and document.keys() == {"counters"}:
        return End(check_integer(document["counters"], 0))
    members = _check_members(document, "name value", "days")
    days = members.get("days", {})
    if not isinstance(days, dict):
        raise ValueError("days is not an object")
    records = {
        date: DayRecord(**_check_members(day, "hits", "visitors")) for date, day in days.items()
    }
    return validate_record(CounterRecord(members["name"], members["value"], records))


def _parse_begin(document: dict[str, Any]) -> Begin:
    if (document["format"], document.get("version")) != (FORMAT, VERSION):
        raise ValueError(
            f"unknown format {document['format']!r:.50}, version {document.get('version')!r:.50}: "
            f"this release reads {FORMAT!r}, version {VERSION}"
        )
    return Begin(check_integer(document.get("expected"), 0))


def _check_members(document: Any, required: str, optional: str) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise ValueError("not a JSON object")
    for name in required.split():
        if name not in document:
            raise ValueError(f"{name!r} is missing")
    for name in document:
        if name not in (*required.split(), optional):
            raise ValueError(f"unknown member {name!r:.100}")
    return document


def _make_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object.

    :raises ValueError: a member occurs twice; :mod:`json` would keep only the last value.
    """
    document = dict(pairs)
    if len(document) < len(pairs):
        raise ValueError("duplicate member in a JSON object")
    return document


def _parse_row(row: list[str]) -> CounterRecord | End:
    if len(row) == 1 and (mark := _CSV_END.fullmatch(row[0])):
        return End(int(mark[1]))
    if len(row) != len(COLUMNS):
        raise ValueError(f"not a row of {','.join(COLUMNS)}")
    name, value = row
    return validate_record(CounterRecord(name, parse_integer(value)))
