"""The exports of GoatCounter: CSV with a row for each page view, and a ZIP file of JSON.

Formats: https://www.goatcounter.com/help/export and https://www.goatcounter.com/help/export-json
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from ..validation import MAX_NAME
from .formats import csv_rows
from .records import CounterRecord, DayRecord, InvalidRecord

#: The beginning of the header row, with the format's version in front.
HEADER = re.compile(r'"?([0-9]+)Path[",]')
VERSIONS = ("1", "2")

#: The files of the ZIP that are read, and the major version of its format.
INFO, PATHS, HIT_STATS = "info.json", "paths.jsonl", "hit_stats.jsonl"
JSON_VERSION = "1"

#: The counter of the path ``/``.
HOME = "home"

_NEEDED = ("Path", "Bot", "FirstVisit", "Date")
_TRUE, _FALSE = ("1", "true"), ("0", "false")
_FOREIGN = re.compile(r"[^A-Za-z0-9._\-\u0080-\U0010ffff]+")


class PageViews:
    """Page views, added up by path and by day in UTC."""

    def __init__(self) -> None:
        self._paths: dict[str, dict[str, list[int]]] = {}

    def add(self, path: str, time: str, hits: int, visitors: int) -> None:
        """Add page views of a path.

        :param time: when they were, in ISO 8601 with a time zone.
        :raises ValueError: it is not, or there are fewer than none.
        """
        if hits < 0:
            raise ValueError(f"{hits} is not a number of visits")
        at = datetime.fromisoformat(time)
        if at.tzinfo is None:
            raise ValueError(f"{time!r:.100} has no time zone")
        # Browsers send what is not ASCII in percent-encoding, other clients as it is.
        days = self._paths.setdefault(
            unquote(path, errors="surrogateescape").rstrip("/") or "/", {}
        )
        day = days.setdefault(f"{at.astimezone(UTC):%Y-%m-%d}", [0, 0])
        day[0] += hits
        day[1] += visitors

    def records(self) -> Iterator[CounterRecord | InvalidRecord]:
        """Return a counter for each path, sorted by path."""
        path_of: dict[str, str] = {}
        for path, days in sorted(self._paths.items()):
            name = name_of(path)
            hits = sum(day[0] for day in days.values())
            first = path_of.setdefault(name, path)
            if first == path:
                yield CounterRecord(
                    name, hits, {date: DayRecord(*day) for date, day in days.items()}, path
                )
            else:
                problem = f"becomes {name!r}, as {first!r:.200} does"
                yield InvalidRecord(f"path {path!r:.200}", problem, hits)


class GoatCounterExport:
    """The CSV export.

    An event is a path without a slash. Visitors are first visits; GoatCounter recognises a visitor
    for some hours.

    :param lines: the file's.
    :ivar bots: how many rows were left out because of bots, once all are read.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        self._rows = csv_rows(lines)
        self._views = PageViews()
        self.bots = 0

    def __iter__(self) -> Iterator[CounterRecord | InvalidRecord]:
        """Read all rows; return those that are not page views, and then the counters."""
        number, header = next(self._rows, (1, []))
        columns = [header[0].lstrip("0123456789"), *header[1:]] if header else []
        version = header[0].removesuffix("Path") if header else ""
        missing = [name for name in _NEEDED if name not in columns]
        if version not in VERSIONS or missing:
            yield InvalidRecord(
                f"line {number}",
                f"is not the header row of GoatCounter's version {' or '.join(VERSIONS)}",
            )
            return
        for number, row in self._rows:
            try:
                if len(row) != len(columns):
                    raise ValueError(f"has {len(row)} fields, not {len(columns)}")
                self._add(**{name: row[columns.index(name)] for name in _NEEDED})
            except ValueError as error:
                yield InvalidRecord(f"line {number}", str(error), views=1)
        yield from self._views.records()

    # The arguments are the names of the columns.
    def _add(self, Path: str, Bot: str, FirstVisit: str, Date: str) -> None:  # noqa: N803
        if not Path or not Bot.isdecimal() or FirstVisit not in (*_TRUE, *_FALSE):
            raise ValueError("is not a page view: its Path, Bot or FirstVisit is missing or wrong")
        if int(Bot):
            self.bots += 1
        else:
            self._views.add(Path, Date, 1, FirstVisit in _TRUE)


class GoatCounterArchive:
    """The JSON export, a ZIP file. It has visits by hour, and neither page views nor bots.

    :param lines: returns the lines of one of the files in it.
    """

    def __init__(self, lines: Callable[[str], Iterable[str]]) -> None:
        self._lines = lines
        self._views = PageViews()

    def __iter__(self) -> Iterator[CounterRecord | InvalidRecord]:
        """Read all lines; return those that are not statistics, and then the counters."""
        info = json.loads("".join(self._lines(INFO)))
        version = str(info.get("export_version"))
        if version.partition(".")[0] != JSON_VERSION:
            problem = f"export_version is {version!r:.20}, not {JSON_VERSION}.x"
            yield InvalidRecord(INFO, problem)
            return
        paths: dict[int, str] = {}
        for where, row in self._rows(PATHS):
            match row:
                case {"id": int(number), "path": str(path)} if path:
                    paths[number] = path
                case _:
                    yield InvalidRecord(where, "has no id and path")
        for where, row in self._rows(HIT_STATS):
            problem, visits = "has no hour, path_id and count", 1
            match row:
                case {"hour": str(hour), "path_id": int(number), "count": int(visits)} if (
                    visits > 0
                ):
                    try:
                        self._views.add(paths[number], hour, visits, visits)
                        continue
                    except KeyError:
                        problem = f"its path_id {number} is not in {PATHS}"
                    except ValueError as error:
                        problem = str(error)
            yield InvalidRecord(where, problem, max(visits, 0))
        yield from self._views.records()

    def _rows(self, member: str) -> Iterator[tuple[str, Any]]:
        for number, line in enumerate(self._lines(member), 1):
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                row = None  # which has no fields
            yield f"{member}, line {number}", row


def name_of(path: str) -> str:
    """Return the name of the counter for a path, at most 64 characters.

    ``/`` is ``home``; elsewhere the slashes at both ends go, and each run of ASCII characters that
    a name may not have becomes a hyphen: ``/blog/my post`` is ``blog-my-post``. Other letters are
    spelled as in host names (Punycode, RFC 3492): ``/日本語`` is ``xn--wgv71a119e``. The end of a
    longer name is replaced by the beginning of the path's SHA-256.
    """
    stripped = path.strip("/")
    if not stripped:
        return HOME
    name = "-".join(map(_in_ascii, _FOREIGN.split(stripped)))
    if len(name) > MAX_NAME:
        digest = hashlib.sha256(path.encode("utf-8", "surrogateescape")).hexdigest()[:8]
        name = f"{name[: MAX_NAME - 9]}-{digest}"
    return name


def _in_ascii(text: str) -> str:
    return text if text.isascii() else "xn--" + text.encode("punycode").decode("ascii")
