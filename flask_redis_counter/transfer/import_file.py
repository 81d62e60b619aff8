"""Import files: the format is detected, and the whole file is checked before the import."""

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

#: Formats of a file.
Format: TypeAlias = Literal["ndjson", "csv", "goatcounter"]

#: How many errors are kept to be shown; all are counted.
MAX_SHOWN_ERRORS = 20

#: Maximum length of a line, in characters: ten times that of a counter with ten years of days. It
#: bounds memory, because a small compressed file can contain a huge line.
MAX_LINE = 4 * 2**20

#: Called from time to time with the number of bytes of the file that were read since the last call.
ProgressCallback: TypeAlias = Callable[[int], None]

_GZIP, _ZIP = b"\x1f\x8b", b"PK\x03\x04"


@dataclass
class ImportBatch:
    """Counters that were read and checked.

    :ivar open_records: returns an iterable of the counters; may be called repeatedly.
    :ivar total: number of counters.
    :ivar bad: the first :data:`MAX_SHOWN_ERRORS` invalid records.
    :ivar bad_total: number of invalid records.
    :ivar lost_views: number of page views in the invalid records, which are lost.
    :ivar bots: number of page views of bots, which are skipped.
    :ivar complete: True if an end mark says that no counter is missing; False for CSV without it;
        None for NDJSON without it, and for formats that have none.
    """

    open_records: Callable[[], Iterable[CounterRecord]]
    total: int = 0
    bad: list[InvalidRecord] = field(default_factory=list)
    bad_total: int = 0
    lost_views: int = 0
    bots: int = 0
    complete: bool | None = None

    def collect(
        self, items: Iterable[CounterRecord | InvalidRecord | End]
    ) -> Iterator[CounterRecord]:
        """Count what is read, keep the first errors, and yield the counters."""
        for item in items:
            if isinstance(item, CounterRecord):
                self.total += 1
                yield item
            elif isinstance(item, End):
                self.complete = True
            else:
                self.bad_total += 1
                self.lost_views += item.views
                if len(self.bad) < MAX_SHOWN_ERRORS:
                    self.bad.append(item)


def from_records(items: Iterable[CounterRecord | InvalidRecord]) -> ImportBatch:
    """Read counters, and keep them in memory."""
    records: list[CounterRecord] = []
    batch = ImportBatch(lambda: records)
    records.extend(batch.collect(items))
    return batch


def read_file(path: Path, form: Format | None, on_progress: ProgressCallback) -> ImportBatch:
    """Check a file, plain or compressed (gzip, ZIP).

    ``open_records`` of the result reads the file again. Of a GoatCounter export, the sums are kept
    in memory instead.

    :param form: format of the file; None: detect it by the first line.
    :raises ImportFileError: the file cannot be read, has an unknown format, or is empty.
    """
    form = form or _detect_format(path)
    if form == "goatcounter":
        batch = _read_goatcounter(path, on_progress)
    else:
        parse = from_csv if form == "csv" else from_json
        batch = ImportBatch(lambda: _reread(parse(_read_lines(path)), batch))
        batch.complete = False if form == "csv" else None
        for _ in batch.collect(parse(_read_lines(path, on_progress))):
            pass
    if not (batch.total or batch.bad_total or batch.bots or batch.complete):
        noun = "page views" if form == "goatcounter" else "counters"
        raise ImportFileError(f"it is empty: there are no {noun} in it")
    return batch


def _read_goatcounter(path: Path, on_progress: ProgressCallback) -> ImportBatch:
    if HIT_STATS in (_zip_members(path) or ()):
        return from_records(
            GoatCounterArchive(lambda member: _read_lines(path, on_progress, member))
        )
    export = GoatCounterExport(_read_lines(path, on_progress))
    batch = from_records(export)
    batch.bots = export.bots
    return batch


def _reread(
    items: Iterable[CounterRecord | InvalidRecord | End], checked: ImportBatch
) -> Iterator[CounterRecord]:
    """Yield the counters of a file that was checked before.

    :raises ImportFileError: the file has changed since.
    """
    batch = ImportBatch(tuple)
    yield from batch.collect(items)
    if (batch.total, batch.bad_total) != (checked.total, checked.bad_total):
        raise ImportFileError("it was changed while it was read")


def _detect_format(path: Path) -> Format:
    members = _zip_members(path)
    if members is not None and {PATHS, HIT_STATS} <= set(members):
        return "goatcounter"
    if members is not None and "xl/workbook.xml" in members:
        raise ImportFileError(
            f"it is an Excel workbook: save it as CSV with the columns {','.join(COLUMNS)}"
        )
    first = next(filter(str.strip, _read_lines(path)), "")
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
            "it is a JSON array: write one object per line instead, as `jq -c '.[]'` does"
        )
    raise ImportFileError(
        f"its first line is neither JSON nor {','.join(COLUMNS)} nor the header of a "
        f"GoatCounter export, but {first.strip()!r:.60}: name the format with --format"
    )


@contextmanager
def _translate_errors() -> Iterator[None]:
    """Raise errors of reading and decompressing as :class:`ImportFileError`."""
    try:
        yield
    # RuntimeError: a ZIP file is encrypted, or compressed by an unsupported method.
    except (OSError, EOFError, UnicodeError, RuntimeError, zlib.error, zipfile.BadZipFile) as error:
        problem = getattr(error, "strerror", None) or str(error)
        raise ImportFileError(f"cannot be read: {problem}") from error


def _zip_members(path: Path) -> list[str] | None:
    """Return the names of the files in a ZIP file, or None if the file is not a ZIP file."""
    with _translate_errors(), path.open("rb") as raw:
        if raw.read(len(_ZIP)) != _ZIP:
            return None
        with zipfile.ZipFile(raw) as archive:
            return archive.namelist()


def _read_lines(
    path: Path, on_progress: ProgressCallback = lambda _: None, member: str | None = None
) -> Iterator[str]:
    """Yield the lines of a file. Bytes that are not UTF-8 make a name invalid.

    :param member: file in a ZIP file; None: the only one.
    """
    reported = 0
    with _translate_errors(), ExitStack() as stack:
        raw = stack.enter_context(path.open("rb"))
        data = stack.enter_context(_decompress(raw, member))
        is_utf_16 = data.peek(2)[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
        encoding = "utf-16" if is_utf_16 else "utf-8-sig"
        text = io.TextIOWrapper(data, encoding, errors="surrogateescape", newline="")
        for number, line in enumerate(iter(partial(text.readline, MAX_LINE), ""), 1):
            if len(line) == MAX_LINE:
                raise ImportFileError(f"line {number} is longer than {MAX_LINE} characters")
            yield line
            if number % 1000 == 1:
                reported, before = raw.tell(), reported
                on_progress(reported - before)


def _decompress(raw: io.BufferedReader, member: str | None) -> Any:
    """Return a file object with the content of a compressed file, or the file itself."""
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
