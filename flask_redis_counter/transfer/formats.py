"""The file formats of counters: lines of JSON, and CSV."""

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

#: The header row of CSV; it has no days.
COLUMNS = ["name", "value"]
#: The header row as spreadsheets write it: quoted or not, with their separator.
CSV_HEADER = re.compile(r'"?{}"?([,;\t])"?{}"?\s*'.format(*COLUMNS))
#: The line with which a spreadsheet names its separator before the header row.
CSV_SEPARATOR = re.compile(r"sep=([,;\t])\s*")

#: The ``format`` and ``version`` in the first line of an export as lines of JSON.
FORMAT = "flask-redis-counter"
VERSION = 1

_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,18}")
_CSV_END = re.compile(r"#counters=([0-9]{1,19})")

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Begin:
    """The start mark of an export: an end mark must follow.

    :ivar expected: how many counters the store had when the export began.
    """

    expected: int


@dataclass(frozen=True, slots=True)
class End:
    """The end mark of an export.

    :ivar counters: how many counters the export has.
    """

    counters: int


def begin_json(expected: int) -> str:
    """Return the first line of an export as lines of JSON."""
    return json.dumps({"format": FORMAT, "version": VERSION, "expected": expected}) + "\n"


def end_json(counters: int) -> str:
    """Return the last line of an export as lines of JSON."""
    return json.dumps({"counters": counters}) + "\n"


def begin_csv(expected: int) -> str:
    """Return the header row; a spreadsheet expects nothing else in its place."""
    return ",".join(COLUMNS) + "\n"


def end_csv(counters: int) -> str:
    """Return the last row of an export as CSV: one cell, so that sums of values stay right."""
    return f"#counters={counters}\n"


def to_json(record: CounterRecord) -> str:
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


def to_csv(record: CounterRecord) -> str:
    """Return a counter as a line of CSV: a name needs no quotes."""
    return f"{record.name},{record.value}\n"


def from_json(lines: Iterable[str]) -> Iterator[CounterRecord | InvalidRecord | End]:
    """Read counters, one a line, with or without the marks of an export."""
    return reject_duplicates(
        ((n, line) for n, line in enumerate(lines, 1) if line.strip()), _parsed
    )


def from_csv(lines: Iterable[str]) -> Iterator[CounterRecord | InvalidRecord | End]:
    """Read counters from CSV with the columns ``name,value``, separated by ``,`` ``;`` or tabs."""
    lines = iter(lines)
    blank: list[str] = []  # lines before the header row; they count in the numbers of lines
    first = ""
    for first in lines:
        if first.strip() and not CSV_SEPARATOR.fullmatch(first):
            break
        blank.append("\n")
    header_row = CSV_HEADER.fullmatch(first)
    rows = csv_rows(chain(blank, [first], lines), header_row[1] if header_row else ",")
    number, header = next(rows, (1, COLUMNS))
    if header != COLUMNS:
        yield InvalidRecord(f"line {number}", f"the first line of CSV is {','.join(COLUMNS)}")
        return
    yield from reject_duplicates(rows, _of_row)


def csv_rows(lines: Iterable[str], separator: str = ",") -> Iterator[tuple[int, list[str]]]:
    """Return the rows of CSV that are not empty, with their last lines; one of a broken line has
    no fields.
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
    """Return what rows hold, each name once.

    A repeated name is a mistake, and so is an export that lacks counters or its end mark.
    """
    first: dict[str, int] = {}
    begin: Begin | None = None
    number = here = 0
    for number, row in rows:
        try:
            it = parse(row)
        except (ValueError, RecursionError) as error:
            here += 1
            yield InvalidRecord(f"line {number}", str(error))
            continue
        if isinstance(it, Begin):
            begin, here = it, 0
        elif isinstance(it, End):
            if it.counters != here:
                problem = f"the export has {it.counters} counters, and {here} of them are here"
                yield InvalidRecord(f"line {number}", problem)
            yield it
            begin = None
        else:
            here += 1
            if first.setdefault(it.name, number) == number:
                yield it
            else:
                problem = f"{it.name!r} is in line {first[it.name]} as well"
                yield InvalidRecord(f"line {number}", problem)
    if begin is not None:
        yield InvalidRecord(
            f"line {number}",
            f"the export was cut off here: it has no end mark, and {here} of about "
            f"{begin.expected} counters; export again",
        )


def parse_integer(text: str) -> int:
    """Return the integer that a text spells.

    :raises ValueError: it is not one in plain decimal digits, or has leading zeros.
    """
    if _INTEGER.fullmatch(text):
        return int(text)
    if re.fullmatch(r"-?0[0-9]{1,18}", text):
        raise ValueError(f"the value {text!r} has leading zeros: write {int(text)}")
    raise ValueError(
        f"the value {text!r:.100} is not an integer of up to 19 decimal digits: leave out spaces, "
        "signs other than -, separators and decimal points"
    )


def _parsed(line: str) -> CounterRecord | Begin | End:
    try:
        document = json.loads(line, object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        raise ValueError(f"is no JSON: {error.msg} at column {error.colno}") from None
    if isinstance(document, dict) and "format" in document:
        return _begin_of(document)
    if isinstance(document, dict) and document.keys() == {"counters"}:
        return End(check_integer(document["counters"], 0))
    fields = _fields(document, "name value", "days")
    days = fields.get("days", {})
    if not isinstance(days, dict):
        raise ValueError("its days are no object")
    described = {day: DayRecord(**_fields(it, "hits", "visitors")) for day, it in days.items()}
    return validate_record(CounterRecord(fields["name"], fields["value"], described))


def _begin_of(document: dict[str, Any]) -> Begin:
    if (document["format"], document.get("version")) != (FORMAT, VERSION):
        raise ValueError(
            f"the format is {document['format']!r:.50}, version {document.get('version')!r:.50}: "
            f"this release reads {FORMAT!r}, version {VERSION}"
        )
    return Begin(check_integer(document.get("expected"), 0))


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


def _of_row(row: list[str]) -> CounterRecord | End:
    if len(row) == 1 and (mark := _CSV_END.fullmatch(row[0])):
        return End(int(mark[1]))
    if len(row) != len(COLUMNS):
        raise ValueError(f"is not {','.join(COLUMNS)}")
    name, value = row
    return validate_record(CounterRecord(name, parse_integer(value)))
