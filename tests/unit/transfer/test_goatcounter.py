"""Exports of GoatCounter."""

import csv
import io
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_redis_counter.transfer.goatcounter import HEADER, GoatCounterExport, counter_name
from flask_redis_counter.transfer.records import CounterRecord, DayRecord, InvalidRecord
from flask_redis_counter.validation import check_name

SECOND, FIRST = csv.reader(
    [
        "2Path,Title,Event,UserAgent,Browser,System,Session,Bot,Referrer,Referrer scheme,"
        "Screen size,Location,FirstVisit,Date",
        "1Path,Title,Event,Bot,Session,FirstVisit,Referrer,Referrer scheme,Browser,Screen size,"
        "Location,Date",
    ]
)


def export(*views, header=SECOND):
    """Return the lines of an export: views are path, bot, first visit and date."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(header)
    for path, bot, first, date in views:
        known = {header[0]: path, "Bot": bot, "FirstVisit": first, "Date": date}
        writer.writerow([known.get(name, 'a "title",\nof two lines') for name in header])
    return io.StringIO(text.getvalue(), newline="")


def test_csv_export_adds_up_page_views():
    """Page views are added up by path and day (UTC) without bots; first visits are visitors."""
    read = GoatCounterExport(
        export(
            ("/", "0", "1", "2026-11-20T00:07:10Z"),
            ("/", "0", "0", "2026-11-20T23:59:59Z"),
            ("/", "0", "1", "2026-11-20T23:30:00-01:00"),
            ("/", "3", "1", "2026-11-20T00:07:10Z"),
            ("/blog/my post/", "0", "0", "2026-11-21T10:00:00Z"),
            ("click-cv", "0", "1", "2026-11-21T10:00:00Z"),
            ("/only/bots", "1", "1", "2026-11-21T10:00:00Z"),
        )
    )
    assert list(read) == [
        CounterRecord(
            "home", 3, {"2026-11-20": DayRecord(2, 1), "2026-11-21": DayRecord(1, 1)}, "/"
        ),
        CounterRecord("blog-my-post", 1, {"2026-11-21": DayRecord(1, 0)}, "/blog/my post"),
        CounterRecord("click-cv", 1, {"2026-11-21": DayRecord(1, 1)}, "click-cv"),
    ]
    assert read.bots == 2


def test_csv_export_version_1():
    """Version 1 has other columns, and words for booleans."""
    views = [
        ("/a", "0", "true", "2020-12-01T00:07:10Z"),
        ("/a", "0", "false", "2020-12-01T01:00:00Z"),
    ]
    assert list(GoatCounterExport(export(*views, header=FIRST))) == [
        CounterRecord("a", 2, {"2020-12-01": DayRecord(2, 1)}, "/a")
    ]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.dates().map(str))))
def test_csv_export_loses_no_page_view(views):
    """Counters and their days have as many hits as there are rows."""
    lines = export(*((f"/{path}", int(bot), 1, f"{day}T12:00:00Z") for path, bot, day in views))
    read = GoatCounterExport(lines)
    records = {it.name: it for it in read}
    hits = Counter(path for path, bot, _ in views if not bot)
    assert {name: it.value for name, it in records.items()} == hits
    assert read.bots == len(views) - hits.total()
    for it in records.values():
        assert sum(day.hits for day in it.days.values()) == it.value


@pytest.mark.parametrize(
    "header", [["3Path", *SECOND[1:]], ["Path"], SECOND[:-1], ["name", "value"]]
)
def test_csv_export_of_another_version(header):
    """A header row of an unknown version is an InvalidRecord."""
    (bad,) = GoatCounterExport(export(("/a", "0", "1", "2020-12-01T00:07:10Z"), header=header))
    assert bad == InvalidRecord(
        "line 1", "not the header row of a GoatCounter export, version 1 or 2"
    )


@pytest.mark.parametrize(
    "view",
    [
        ("", "0", "1", "2020-12-01T00:07:10Z"),
        ("/a", "", "1", "2020-12-01T00:07:10Z"),
        ("/a", "-1", "1", "2020-12-01T00:07:10Z"),
        ("/a", "0", "yes", "2020-12-01T00:07:10Z"),
        ("/a", "0", "1", "2020-12-01T00:07:10"),
        ("/a", "0", "1", "yesterday"),
    ],
)
def test_csv_export_invalid_row(view):
    """An InvalidRecord has the last line of its row; other rows count."""
    good = ("/good", "0", "1", "2020-12-01T00:07:10Z")
    bad, record = GoatCounterExport(export(good, view, good))
    lines = 1 + 2 * (1 + len(SECOND) - 4)
    assert bad.where == f"line {lines}"
    assert (record.name, record.value) == ("good", 2)


def test_csv_export_two_paths_with_one_name():
    """The second path is an InvalidRecord that names both, and has its page views."""
    date = "2020-12-01T00:07:10Z"
    views = [(path, "0", "1", date) for path in ("/a/b", "/a/b/", "/a-b")]
    first, both = GoatCounterExport(export(*views))
    assert first == CounterRecord("a-b", 1, {"2020-12-01": DayRecord(1, 1)}, "/a-b")
    assert str(both) == "path '/a/b': '/a-b' has the same counter name, 'a-b'"
    assert both.views == 2


def test_csv_export_percent_encoding():
    """A percent-encoded path is the same path."""
    date = "2020-12-01T00:07:10Z"
    views = [(path, "0", "1", date) for path in ("/日本語/", "/%E6%97%A5%E6%9C%AC%E8%AA%9E")]
    (record,) = GoatCounterExport(export(*views))
    assert record == CounterRecord("xn--wgv71a119e", 2, {"2020-12-01": DayRecord(2, 2)}, "/日本語")


def test_counter_name_examples():
    """counter_name returns the names of the documentation."""
    names = {
        "/": "home",
        "/about.html": "about.html",
        "/blog/my post/": "blog-my-post",
        "/a?b=c&d": "a-b-c-d",
        "event": "event",
        "/é": "xn--9ca",
        "/日本語/": "xn--wgv71a119e",
        "/blog/über uns/": "blog-xn--ber-goa-uns",
        "/" + "x" * 64: "x" * 64,
        "/" + "x" * 65: "x" * 55 + "-5bdfee24",
        "?": "-",
    }
    assert {path: counter_name(path) for path in names} == names


@given(st.text(min_size=1))
def test_counter_name_is_valid(path):
    """counter_name returns a valid name for any path."""
    assert check_name(counter_name(path))


def test_header_pattern():
    """HEADER matches the header row, quoted or not."""
    assert HEADER.match("2Path,Title")
    assert HEADER.match('"2Path","Title"')
    assert not HEADER.match("name,value")
    assert not HEADER.match("Path,Title")
