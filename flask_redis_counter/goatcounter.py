"""The CSV that GoatCounter exports: a row for each page view.

Format: https://www.goatcounter.com/help/export
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from .records import BadRecord, Day, Record, csv_rows
from .rules import check_name

#: How the first line begins, with the format's version before it.
HEADER = re.compile(r'"?([0-9]+)Path[",]')
VERSIONS = ("1", "2")

#: The counter of the path ``/``.
HOME = "home"

_NEEDED = ("Path", "Bot", "FirstVisit", "Date")
_TRUE, _FALSE = ("1", "true"), ("0", "false")
_FOREIGN = re.compile(r"[^A-Za-z0-9._-]+")


class GoatCounterExport:
    """The page views of an export, added up by path and day.

    An event is a path without a slash. Visitors are first visits, which GoatCounter tells by a
    session of some hours.

    :param lines: the file's.
    :ivar bots: how many rows were left out because of bots, once all are read.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        self._rows = csv_rows(lines)
        self._paths: dict[str, dict[str, list[int]]] = {}
        self.bots = 0

    def __iter__(self) -> Iterator[Record | BadRecord]:
        """Read it all; what is no page view is told by its line, and then come the counters."""
        number, header = next(self._rows, (1, []))
        columns = [header[0].lstrip("0123456789"), *header[1:]] if header else []
        version = header[0].removesuffix("Path") if header else ""
        missing = [name for name in _NEEDED if name not in columns]
        if version not in VERSIONS or missing:
            yield BadRecord(
                f"line {number}", f"is no first line of version {' or '.join(VERSIONS)}"
            )
            return
        for number, row in self._rows:
            try:
                if len(row) != len(columns):
                    raise ValueError(f"has {len(row)} fields, not {len(columns)}")
                self._add(**{name: row[columns.index(name)] for name in _NEEDED})
            except ValueError as error:
                yield BadRecord(f"line {number}", str(error))
        yield from self._records()

    # The arguments are the names of the columns.
    def _add(self, Path: str, Bot: str, FirstVisit: str, Date: str) -> None:  # noqa: N803
        if not Path or not Bot.isdecimal() or FirstVisit not in (*_TRUE, *_FALSE):
            raise ValueError("is no page view: its Path, Bot or FirstVisit is none")
        time = datetime.fromisoformat(Date)
        if time.tzinfo is None:
            raise ValueError(f"{Date!r} has no time zone")
        if int(Bot):
            self.bots += 1
            return
        days = self._paths.setdefault(Path.rstrip("/") or "/", {})
        day = days.setdefault(f"{time.astimezone(UTC):%Y-%m-%d}", [0, 0])
        day[0] += 1
        day[1] += FirstVisit in _TRUE

    def _records(self) -> Iterator[Record | BadRecord]:
        path_of: dict[str, str] = {}
        for path, days in sorted(self._paths.items()):
            try:
                name = check_name(name_of(path))
            except ValueError as error:
                yield BadRecord(f"path {path!r:.200}", str(error))
                continue
            first = path_of.setdefault(name, path)
            if first != path:
                yield BadRecord(f"path {path!r:.200}", f"becomes {name!r}, as {first!r:.200} does")
                continue
            hits = sum(day[0] for day in days.values())
            yield Record(name, hits, {date: Day(*day) for date, day in days.items()}, path)


def name_of(path: str) -> str:
    """Return the name of the counter for a path.

    ``/`` is ``home``; elsewhere the slashes at both ends go, and each run of characters that a
    name may not have becomes a hyphen: ``/blog/my post`` is ``blog-my-post``.
    """
    stripped = path.strip("/")
    return _FOREIGN.sub("-", stripped) if stripped else HOME
