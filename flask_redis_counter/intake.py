"""What is to be brought in, all of it read and checked before anything is written."""

from __future__ import annotations

import gzip
import io
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from .errors import UnreadableError
from .goatcounter import HEADER, GoatCounterExport
from .records import COLUMNS, BadRecord, Record, from_csv, from_json

#: What a file may be.
Format: TypeAlias = Literal["ndjson", "csv", "goatcounter"]

#: How many mistakes are kept to be shown; all are counted.
MOST_SHOWN = 20

#: Is told from time to time how much more was read: bytes of a file.
Watch: TypeAlias = Callable[[int], None]


@dataclass
class Intake:
    """Counters that were read and checked.

    :ivar records: returns them, as often as they are asked for.
    :ivar total: how many there are.
    :ivar bad: the first things that are no counters.
    :ivar bad_total: how many there are of them.
    :ivar bots: how many page views of bots were left out.
    """

    records: Callable[[], Iterable[Record]]
    total: int = 0
    bad: list[BadRecord] = field(default_factory=list)
    bad_total: int = 0
    bots: int = 0

    def note(self, found: Iterable[Record | BadRecord]) -> Iterator[Record]:
        """Count what is read, and return the counters."""
        for it in found:
            if isinstance(it, Record):
                self.total += 1
                yield it
            else:
                self.bad_total += 1
                if len(self.bad) < MOST_SHOWN:
                    self.bad.append(it)


def held(found: Iterable[Record | BadRecord]) -> Intake:
    """Read counters and keep them."""
    records: list[Record] = []
    intake = Intake(lambda: records)
    records.extend(intake.note(found))
    return intake


def of_file(path: Path, form: Format | None, watch: Watch) -> Intake:
    """Read a file, gzipped or not; it is read again when its counters are asked for.

    Of a GoatCounter export the sums are kept instead.

    :param form: what it is; None: what its first line looks like.
    :raises UnreadableError: it cannot be read, or nobody knows what it is.
    """
    form = form or _form_of(path)
    if form == "goatcounter":
        export = GoatCounterExport(_lines(path, watch))
        intake = held(export)
        intake.bots = export.bots
        return intake
    read = from_csv if form == "csv" else from_json
    intake = Intake(lambda: _again(read(_lines(path)), intake))
    for _ in intake.note(read(_lines(path, watch))):
        pass
    return intake


def _again(found: Iterable[Record | BadRecord], before: Intake) -> Iterator[Record]:
    now = Intake(tuple)
    yield from now.note(found)
    if (now.total, now.bad_total) != (before.total, before.bad_total):
        raise UnreadableError("it was changed while it was read")


def _form_of(path: Path) -> Format:
    first = next((line for line in _lines(path) if line.strip()), "")
    if HEADER.match(first):
        return "goatcounter"
    if re.fullmatch(r'"?{}"?,"?{}"?\s*'.format(*COLUMNS), first):
        return "csv"
    if not first or first.lstrip().startswith("{"):
        return "ndjson"
    raise UnreadableError(
        f"its first line is neither JSON nor {','.join(COLUMNS)} nor that of a "
        "GoatCounter export: say what it is with --format"
    )


def _lines(path: Path, watch: Watch = lambda _: None) -> Iterator[str]:
    """Return the lines of a file. Bytes that are no UTF-8 make a name that is none."""
    told = 0
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            data = gzip.GzipFile(fileobj=raw) if packed else raw
            text = io.TextIOWrapper(data, "utf-8-sig", errors="surrogateescape", newline="")
            for number, line in enumerate(text):
                yield line
                if number % 1000 == 0:
                    told, before = raw.tell(), told
                    watch(told - before)
    except (OSError, EOFError, zlib.error) as error:
        problem = getattr(error, "strerror", None) or str(error)
        raise UnreadableError(f"cannot be read: {problem}") from error
