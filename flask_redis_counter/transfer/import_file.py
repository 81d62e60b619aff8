"""Import files: read and checked as a whole before anything is written."""

from __future__ import annotations

import codecs
import gzip
import io
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias

from ..errors import ImportFileError
from .formats import COLUMNS, CSV_HEADER, CSV_SEPARATOR, End, from_csv, from_json
from .goatcounter import HEADER, HIT_STATS, PATHS, GoatCounterArchive, GoatCounterExport
from .records import CounterRecord, InvalidRecord

#: What a file may be.
Format: TypeAlias = Literal["ndjson", "csv", "goatcounter"]

#: How many mistakes are kept to be shown; all are counted.
MAX_SHOWN_ERRORS = 20

#: The most characters of a line: ten times what all days of ten years take. What is read at once
#: is bounded by it, however small a compressed file is.
MAX_LINE = 4 * 2**20

#: Is told from time to time how much more was read: bytes of a file.
ProgressCallback: TypeAlias = Callable[[int], None]

_GZIP, _ZIP = b"\x1f\x8b", b"PK\x03\x04"


@dataclass
class ImportBatch:
    """Counters that were read and checked.

    :ivar records: returns them, as often as they are asked for.
    :ivar total: how many there are.
    :ivar bad: the first things that are no counters.
    :ivar bad_total: how many there are of them.
    :ivar lost_views: how many page views are lost with them.
    :ivar bots: how many page views of bots were left out.
    :ivar complete: whether an end mark says that nothing is missing; None: the format has none.
    """

    records: Callable[[], Iterable[CounterRecord]]
    total: int = 0
    bad: list[InvalidRecord] = field(default_factory=list)
    bad_total: int = 0
    lost_views: int = 0
    bots: int = 0
    complete: bool | None = None

    def note(self, found: Iterable[CounterRecord | InvalidRecord | End]) -> Iterator[CounterRecord]:
        """Count what is read, and return the counters."""
        for it in found:
            if isinstance(it, CounterRecord):
                self.total += 1
                yield it
            elif isinstance(it, End):
                self.complete = True
            else:
                self.bad_total += 1
                self.lost_views += it.views
                if len(self.bad) < MAX_SHOWN_ERRORS:
                    self.bad.append(it)


def from_records(found: Iterable[CounterRecord | InvalidRecord]) -> ImportBatch:
    """Read counters and keep them."""
    records: list[CounterRecord] = []
    intake = ImportBatch(lambda: records)
    records.extend(intake.note(found))
    return intake


def read_file(path: Path, form: Format | None, watch: ProgressCallback) -> ImportBatch:
    """Read a file, compressed (gzip, ZIP) or not; it is read again when its counters are asked for.

    Of a GoatCounter export the sums are kept instead.

    :param form: what it is; None: what its first line looks like.
    :raises ImportFileError: it cannot be read, is of an unknown format, or is empty.
    """
    form = form or _form_of(path)
    if form == "goatcounter":
        intake = _of_goatcounter(path, watch)
    else:
        read = from_csv if form == "csv" else from_json
        intake = ImportBatch(lambda: _again(read(_lines(path)), intake))
        intake.complete = False if form == "csv" else None
        for _ in intake.note(read(_lines(path, watch))):
            pass
    if not (intake.total or intake.bad_total or intake.bots or intake.complete):
        what = "page views" if form == "goatcounter" else "counters"
        raise ImportFileError(f"it is empty: there are no {what} in it")
    return intake


def _of_goatcounter(path: Path, watch: ProgressCallback) -> ImportBatch:
    if HIT_STATS in (_members(path) or ()):
        return from_records(GoatCounterArchive(lambda member: _lines(path, watch, member)))
    export = GoatCounterExport(_lines(path, watch))
    intake = from_records(export)
    intake.bots = export.bots
    return intake


def _again(
    found: Iterable[CounterRecord | InvalidRecord | End], before: ImportBatch
) -> Iterator[CounterRecord]:
    now = ImportBatch(tuple)
    yield from now.note(found)
    if (now.total, now.bad_total) != (before.total, before.bad_total):
        raise ImportFileError("it was changed while it was read")


def _form_of(path: Path) -> Format:
    members = _members(path)
    if members is not None and {PATHS, HIT_STATS} <= set(members):
        return "goatcounter"
    if members is not None and "xl/workbook.xml" in members:
        raise ImportFileError(
            f"it is an Excel workbook: save it as CSV with the columns {','.join(COLUMNS)}"
        )
    written = filter(str.strip, _lines(path))
    first = next(written, "")
    if HEADER.match(first):
        return "goatcounter"
    if CSV_HEADER.fullmatch(first) or CSV_SEPARATOR.fullmatch(first):
        return "csv"
    if first.startswith("{") and '"path_id"' in first:
        raise ImportFileError(
            "it is one file of a GoatCounter JSON export: import the ZIP file as it was downloaded"
        )
    if not first or first.lstrip().startswith("{"):
        return "ndjson"
    if first.lstrip().startswith("["):
        raise ImportFileError(
            "it is a JSON array: write one object a line instead, as `jq -c '.[]'` does"
        )
    raise ImportFileError(
        f"its first line is neither JSON nor {','.join(COLUMNS)} nor that of a "
        f"GoatCounter export, but {first.strip()!r:.60}: say what it is with --format"
    )


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    # RuntimeError: a ZIP file is encrypted, or compressed in another way.
    except (OSError, EOFError, UnicodeError, RuntimeError, zlib.error, zipfile.BadZipFile) as error:
        problem = getattr(error, "strerror", None) or str(error)
        raise ImportFileError(f"cannot be read: {problem}") from error


def _members(path: Path) -> list[str] | None:
    """Return the names of the files in a ZIP file, None for any other."""
    with _readable(), path.open("rb") as raw:
        if raw.read(len(_ZIP)) != _ZIP:
            return None
        with zipfile.ZipFile(raw) as archive:
            return archive.namelist()


def _lines(
    path: Path, watch: ProgressCallback = lambda _: None, member: str | None = None
) -> Iterator[str]:
    """Return the lines of a file. Bytes that are not UTF-8 make a name invalid.

    :param member: which file of a ZIP file; None: the only one.
    """
    told = 0
    with _readable(), ExitStack() as stack:
        raw = stack.enter_context(path.open("rb"))
        data = stack.enter_context(_unpacked(raw, member))
        utf_16 = data.peek(2)[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
        encoding = "utf-16" if utf_16 else "utf-8-sig"
        text = io.TextIOWrapper(data, encoding, errors="surrogateescape", newline="")
        for number, line in enumerate(iter(partial(text.readline, MAX_LINE), ""), 1):
            if len(line) == MAX_LINE:
                raise ImportFileError(f"line {number} is longer than {MAX_LINE} characters")
            yield line
            if number % 1000 == 1:
                told, before = raw.tell(), told
                watch(told - before)


def _unpacked(raw: io.BufferedReader, member: str | None) -> Any:
    """Return a file object with what a compressed file holds, or the file as it is."""
    magic = raw.peek(len(_ZIP))
    if magic.startswith(_GZIP):
        return gzip.GzipFile(fileobj=raw)
    if not magic.startswith(_ZIP):
        return raw
    archive = zipfile.ZipFile(raw)
    names = archive.namelist()
    if member is None and len(names) != 1:
        raise ImportFileError(
            f"it is a ZIP file with {len(names)} files: extract the one with the counters"
        )
    return archive.open(member or names[0])
