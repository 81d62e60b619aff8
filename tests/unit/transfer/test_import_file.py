"""Import files."""

import gzip
import io
import json
import re
import tracemalloc
import zipfile

import pytest

from flask_redis_counter.errors import ImportFileError
from flask_redis_counter.transfer import CounterRecord
from flask_redis_counter.transfer.formats import (
    COLUMNS,
    begin_json,
    end_csv,
    end_json,
    to_csv,
    to_json,
)
from flask_redis_counter.transfer.import_file import MAX_LINE, MAX_SHOWN_ERRORS, read_file
from flask_redis_counter.transfer.records import DayRecord

RECORDS = [CounterRecord(f"n{number}", number) for number in range(2500)]
JSON = "".join(map(to_json, RECORDS))
CSV = ",".join(COLUMNS) + "\n" + "".join(map(to_csv, RECORDS))


def zipped(**members):
    """Return a ZIP file."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/").replace("_dot_", "."), content)
    return file.getvalue()


def zipped_one(content):
    """Return a ZIP file with one file in it."""
    return zipped(counters_dot_txt=content)


@pytest.fixture
def read(tmp_path):
    """Read a file with the given content."""

    def read(content, form=None, watch=lambda _: None):
        (tmp_path / "file").write_bytes(content)
        return read_file(tmp_path / "file", form, watch)

    return read


@pytest.mark.parametrize("text", [JSON, CSV], ids=["ndjson", "csv"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress, zipped_one], ids=["plain", "gzip", "zip"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_read_file_formats_and_encodings(read, text, pack, encoding):
    """The format is detected, compressed or not; progress adds up to the size of the file."""
    told = []
    content = pack(text.encode(encoding))
    batch = read(content, watch=told.append)
    assert list(batch.open_records()) == list(batch.open_records()) == RECORDS
    assert (batch.total, batch.bad_total) == (2500, 0)
    assert min(told) >= 0
    assert 0 < sum(told) <= len(content)


def test_read_file_counts_invalid_records(read):
    """All invalid records are counted, the first are kept; the others are imported."""
    batch = read((JSON + "broken\n" * 30).encode())
    assert (batch.total, batch.bad_total, len(batch.bad)) == (2500, 30, MAX_SHOWN_ERRORS)
    assert batch.bad[0].where == "line 2501"
    assert list(batch.open_records()) == RECORDS


@pytest.mark.parametrize("content", [b"", b"\n\n", b"name,value\n", zipped_one(b"")])
def test_read_file_empty(read, content):
    """read_file rejects a file without counters: an export of an empty store has marks."""
    with pytest.raises(ImportFileError, match="it is empty: there are no counters in it"):
        read(content)


def test_read_file_goatcounter_without_rows(read):
    """read_file rejects a GoatCounter export with a header row only."""
    with pytest.raises(ImportFileError, match="it is empty: there are no page views in it"):
        read(b"2Path,Title,Event,Bot,FirstVisit,Date\n")


def test_read_file_export_of_an_empty_store(read):
    """An end mark makes a file without counters valid."""
    assert read((begin_json(0) + end_json(0)).encode()).complete


def test_read_file_complete(read):
    """complete is True with an end mark; without one, False for CSV and None for NDJSON."""
    assert read((begin_json(2500) + JSON + end_json(2500)).encode()).complete is True
    assert read((CSV + end_csv(2500)).encode()).complete is True
    assert read(JSON.encode()).complete is None
    assert read(CSV.encode()).complete is False


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zipped_one])
def test_read_file_bounds_memory_of_a_line(read, pack):
    """A line is bounded, so that a small compressed file does not take all memory."""
    content = pack(JSON.encode() + b'{"name": "' + b"x" * (8 * MAX_LINE))
    tracemalloc.start()
    try:
        with pytest.raises(ImportFileError, match=f"line 2501 is longer than {MAX_LINE} char"):
            read(content)
        assert tracemalloc.get_traced_memory()[1] < 5 * MAX_LINE
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b'[{"name": "a", "value": 1}]', "it is a JSON array: write one object per line"),
        (
            zipped(xl__workbook_dot_xml="x", b="y"),
            "it is an Excel workbook: save it as CSV with the columns name,value",
        ),
        (zipped(a="x", b="y"), "it is a ZIP file with 2 files: extract the one with the counters"),
        (zipped_one(CSV)[:-40], "cannot be read: "),
        (
            b'{"hour": "2026-03-05T19:00:00Z", "path_id": 211, "ref_id": 1, "count": 4}\n',
            "it is one file of a GoatCounter JSON export: import the ZIP file",
        ),
        (b"<html>\n", "its first line is neither JSON nor .* but '<html>'"),
        ("naïve,value\n".encode("utf-16")[:-1], "cannot be read: "),
    ],
    ids=["array", "xlsx", "zip of two", "cut zip", "hit_stats", "html", "odd utf-16"],
)
def test_read_file_unknown_formats(read, content, problem):
    """read_file names the format that it found, and how to convert it."""
    with pytest.raises(ImportFileError, match=problem):
        read(content)


STATS = [
    {"hour": "2026-03-05T19:00:00Z", "path_id": 1, "ref_id": 1, "count": 4},
    {"hour": "2026-03-05T23:00:00Z", "path_id": 1, "ref_id": 2, "count": 3},
    {"hour": "2026-03-06T00:00:00Z", "path_id": 1, "ref_id": 1, "count": 2},
    {"hour": "2026-03-06T00:00:00Z", "path_id": 2, "ref_id": 1, "count": 1},
]
PATHS = [{"id": 1, "path": "/日本語/", "title": "x"}, {"id": 2, "event": True, "path": "sign-up"}]


def archive(version="1.0", stats=STATS):
    """Return a JSON export of GoatCounter."""
    lines = {
        name: "".join(json.dumps(row) + "\n" for row in rows)
        for name, rows in (
            ("paths_dot_jsonl", PATHS),
            ("hit_stats_dot_jsonl", stats),
            ("languages_dot_jsonl", []),
        )
    }
    info = json.dumps({"export_version": version, "goatcounter_version": "2.8"}, indent=4)
    return zipped(info_dot_json=info, **lines)


@pytest.mark.parametrize("form", [None, "goatcounter"])
def test_read_file_goatcounter_archive(read, form):
    """Visits of a JSON export are added up by path and day."""
    batch = read(archive(), form)
    assert list(batch.open_records()) == [
        CounterRecord(
            "xn--wgv71a119e",
            9,
            {"2026-03-05": DayRecord(7, 7), "2026-03-06": DayRecord(2, 2)},
            "/日本語",
        ),
        CounterRecord("sign-up", 1, {"2026-03-06": DayRecord(1, 1)}, "sign-up"),
    ]
    assert (batch.total, batch.bad_total, batch.lost_views) == (2, 0, 0)


def test_read_file_goatcounter_archive_with_invalid_lines(read):
    """Each invalid line is named with its file, and its visits are counted as lost."""
    more = [
        {"hour": "2026-03-05T19:00:00Z", "path_id": 9, "count": 5},
        {"hour": "yesterday", "path_id": 1, "count": 2},
        {"hour": "2026-03-05T19:00:00", "path_id": 1, "count": 2},
        {"hour": "2026-03-05T19:00:00Z", "path_id": 1, "count": "2"},
        {"hour": "2026-03-05T19:00:00Z", "path_id": 1, "count": -2},
        [],
    ]
    batch = read(archive(stats=STATS + more))
    assert sum(record.value for record in batch.open_records()) == 10
    assert batch.bad_total == len(more)
    assert str(batch.bad[0]) == "hit_stats.jsonl, line 5: path_id 9 is not in paths.jsonl"
    assert batch.lost_views == 5 + 2 + 2 + 1 + 1


def test_read_file_goatcounter_archive_version(read):
    """Another major version is rejected; another minor version is compatible."""
    assert read(archive("1.3")).total == 2
    (bad,) = read(archive("2.0")).bad
    assert re.match(r"info\.json: unknown export_version '2\.0': use 1\.x", str(bad))


def test_read_file_given_format(read):
    """A given format overrides the detection, so that all lines may be invalid."""
    assert read(CSV.encode(), "ndjson").bad_total == 2501
    assert read(CSV.encode(), "goatcounter").bad_total == 1


@pytest.mark.parametrize("change", [lambda text: text[:-30], lambda text: text + text])
def test_open_records_of_a_changed_file(read, tmp_path, change):
    """open_records raises an error if the file has changed since it was checked."""
    batch = read(JSON.encode())
    (tmp_path / "file").write_text(change(JSON))
    records = batch.open_records()
    with pytest.raises(ImportFileError, match="it was changed"):
        list(records)


def test_open_records_of_a_deleted_file(read, tmp_path):
    """open_records raises an error if the file was deleted."""
    batch = read(JSON.encode())
    (tmp_path / "file").unlink()
    with pytest.raises(ImportFileError, match="cannot be read: No such file"):
        list(batch.open_records())
