"""Exports of GoatCounter: CSV with a row for each page view, and a ZIP file of NDJSON.

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

#: Beginning of the header row: the version of the format, and the first column.
HEADER = re.compile(r'"?([0-9]+)Path[",]')
VERSIONS = ("1", "2")

#: Files of the ZIP that are read, and the major version of its format.
INFO, PATHS, HIT_STATS = "info.json", "paths.jsonl", "hit_stats.jsonl"
JSON_VERSION = "1"

#: Counter of the path ``/``.
HOME = "home"

_REQUIRED = ("Path", "Bot", "FirstVisit", "Date")
_TRUE, _FALSE = ("1", "true"), ("0", "false")
_INVALID_RUN = re.compile(r"[^A-Za-z0-9._\-\u0080-\U0010ffff]+")


class PageViews:
    """Page views, added up by path and by day (UTC)."""

    def __init__(self) -> None:
        self._paths: dict[str, dict[str, list[int]]] = {}

    def add(self, path: str, time: str, hits: int, visitors: int) -> None:
        """Add page views of a path.

        :param time: time of the views, in ISO 8601 with a time zone.
        :raises ValueError: the time is invalid, or ``hits`` is negative.
        """
        if hits < 0:
            raise ValueError(f"the number of visits is negative: {hits}")
        moment = datetime.fromisoformat(time)
        if moment.tzinfo is None:
            raise ValueError(f"{time!r:.100} has no time zone")
        # Browsers percent-encode characters outside of ASCII, other clients do not.
        days = self._paths.setdefault(
            unquote(path, errors="surrogateescape").rstrip("/") or "/", {}
        )
        day = days.setdefault(f"{moment.astimezone(UTC):%Y-%m-%d}", [0, 0])
        day[0] += hits
        day[1] += visitors

    def to_records(self) -> Iterator[CounterRecord | InvalidRecord]:
        """Yield a counter for each path, sorted by path.

        A path with the same counter name as an earlier path is an :class:`InvalidRecord`.
        """
        path_by_name: dict[str, str] = {}
        for path, days in sorted(self._paths.items()):
            name = counter_name(path)
            hits = sum(day[0] for day in days.values())
            first = path_by_name.setdefault(name, path)
            if first == path:
                yield CounterRecord(
                    name, hits, {date: DayRecord(*day) for date, day in days.items()}, path
                )
            else:
                problem = f"{first!r:.200} has the same counter name, {name!r}"
                yield InvalidRecord(f"path {path!r:.200}", problem, hits)


class GoatCounterExport:
    """CSV export: a row for each page view.

    The path of an event has no slash at its beginning. The number of visitors is that of first
    visits; GoatCounter recognises a visitor for some hours.

    :param lines: lines of the file.
    :ivar bots: number of rows of bots, which are skipped; known after the last row.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        self._rows = csv_rows(lines)
        self._views = PageViews()
        self.bots: int = 0

    def __iter__(self) -> Iterator[CounterRecord | InvalidRecord]:
        """Read all rows; yield an error for each invalid one, and then the counters."""
        number, header = next(self._rows, (1, []))
        columns = [header[0].lstrip("0123456789"), *header[1:]] if header else []
        version = header[0].removesuffix("Path") if header else ""
        missing = [name for name in _REQUIRED if name not in columns]
        if version not in VERSIONS or missing:
            yield InvalidRecord(
                f"line {number}",
                f"not the header row of a GoatCounter export, version {' or '.join(VERSIONS)}",
            )
            return
        for number, row in self._rows:
            try:
                if len(row) != len(columns):
                    raise ValueError(f"{len(row)} fields, not {len(columns)}")
                self._add(**{name: row[columns.index(name)] for name in _REQUIRED})
            except ValueError as error:
                yield InvalidRecord(f"line {number}", str(error), views=1)
        yield from self._views.to_records()

    # The arguments have the names of the columns.
    def _add(self, Path: str, Bot: str, FirstVisit: str, Date: str) -> None:  # noqa: N803
        if not Path or not Bot.isdecimal() or FirstVisit not in (*_TRUE, *_FALSE):
            raise ValueError("not a page view: its Path, Bot or FirstVisit is missing or invalid")
        if int(Bot):
            self.bots += 1
        else:
            self._views.add(Path, Date, 1, FirstVisit in _TRUE)


class GoatCounterArchive:
    """JSON export: a ZIP file with visits by hour, without page views and bots.

    :param read_lines: returns the lines of a file in the ZIP file, by its name.
    """

    def __init__(self, read_lines: Callable[[str], Iterable[str]]) -> None:
        self._read_lines = read_lines
        self._views = PageViews()

    def __iter__(self) -> Iterator[CounterRecord | InvalidRecord]:
        """Read all lines; yield an error for each invalid one, and then the counters."""
        info = json.loads("".join(self._read_lines(INFO)))
        version = str(info.get("export_version"))
        if version.partition(".")[0] != JSON_VERSION:
            problem = f"unknown export_version {version!r:.20}: use {JSON_VERSION}.x"
            yield InvalidRecord(INFO, problem)
            return
        paths: dict[int, str] = {}
        for where, row in self._rows(PATHS):
            match row:
                case {"id": int(number), "path": str(path)} if path:
                    paths[number] = path
                case _:
                    yield InvalidRecord(where, "id or path is missing or invalid")
        for where, row in self._rows(HIT_STATS):
            problem, visits = "hour, path_id or count is missing or invalid", 1
            match row:
                case {"hour": str(hour), "path_id": int(number), "count": int(visits)} if (
                    visits > 0
                ):
                    try:
                        self._views.add(paths[number], hour, visits, visits)
                        continue
                    except KeyError:
                        problem = f"path_id {number} is not in {PATHS}"
                    except ValueError as error:
                        problem = str(error)
            yield InvalidRecord(where, problem, max(visits, 0))
        yield from self._views.to_records()

    def _rows(self, member: str) -> Iterator[tuple[str, Any]]:
        for number, line in enumerate(self._read_lines(member), 1):
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                row = None  # has no members, and so is invalid
            yield f"{member}, line {number}", row


def counter_name(path: str) -> str:
    """Return the name of the counter for a path, at most 64 characters.

    ``/`` becomes ``home``. In other paths the slashes at both ends are removed, and each run of
    ASCII characters that are invalid in a name becomes a hyphen: ``/blog/my post`` becomes
    ``blog-my-post``. Parts with other letters are spelled as in host names (Punycode, RFC 3492):
    ``/日本語`` becomes ``xn--wgv71a119e``. The end of a longer name is replaced by the beginning of
    the path's SHA-256.
    """
    stripped = path.strip("/")
    if not stripped:
        return HOME
    name = "-".join(map(_to_ascii, _INVALID_RUN.split(stripped)))
    if len(name) > MAX_NAME:
        digest = hashlib.sha256(path.encode("utf-8", "surrogateescape")).hexdigest()[:8]
        name = f"{name[: MAX_NAME - 9]}-{digest}"
    return name


def _to_ascii(text: str) -> str:
    return text if text.isascii() else "xn--" + text.encode("punycode").decode("ascii")
