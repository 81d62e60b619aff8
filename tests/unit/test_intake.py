"""Files that are brought in."""

import gzip

import pytest

from flask_redis_counter import Record, UnreadableError
from flask_redis_counter.intake import MOST_SHOWN, of_file
from flask_redis_counter.records import COLUMNS, to_csv, to_json

RECORDS = [Record(f"n{number}", number) for number in range(2500)]
JSON = "".join(map(to_json, RECORDS))
CSV = ",".join(COLUMNS) + "\n" + "".join(map(to_csv, RECORDS))


@pytest.fixture
def read(tmp_path):
    """Read a file that has such a content."""

    def read(content, form=None, watch=lambda _: None):
        (tmp_path / "file").write_bytes(content)
        return of_file(tmp_path / "file", form, watch)

    return read


@pytest.mark.parametrize("text", [JSON, CSV], ids=["ndjson", "csv"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_a_file_is_read_as_often_as_needed(read, text, pack):
    """By its first line it is known, gzipped or not; somebody is told how far it is."""
    told = []
    content = pack(text.encode())
    intake = read(content, watch=told.append)
    assert list(intake.records()) == list(intake.records()) == RECORDS
    assert (intake.total, intake.bad_total) == (2500, 0)
    assert min(told) >= 0
    assert 0 < sum(told) <= len(content)


def test_what_is_bad_is_counted(read):
    """All of it, and the first is kept; the others are there."""
    intake = read((JSON + "broken\n" * 30).encode())
    assert (intake.total, intake.bad_total, len(intake.bad)) == (2500, 30, MOST_SHOWN)
    assert intake.bad[0].where == "line 2501"
    assert list(intake.records()) == RECORDS


def test_an_empty_file(read):
    """It has no counters."""
    assert read(b"\n\n").total == read(b"").total == 0


def test_the_format_may_be_said(read):
    """It is believed, and then all lines are wrong."""
    assert read(CSV.encode(), "ndjson").bad_total == 2501
    assert read(CSV.encode(), "goatcounter").bad_total == 1


@pytest.mark.parametrize("change", [lambda text: text[:-30], lambda text: text + text])
def test_a_file_that_changes(read, tmp_path, change):
    """It is not what was checked, and that is said."""
    intake = read(JSON.encode())
    (tmp_path / "file").write_text(change(JSON))
    records = intake.records()
    with pytest.raises(UnreadableError, match="it was changed"):
        list(records)


def test_a_file_that_is_gone(read, tmp_path):
    """The same."""
    intake = read(JSON.encode())
    (tmp_path / "file").unlink()
    with pytest.raises(UnreadableError, match="cannot be read: No such file"):
        list(intake.records())
