"""Counters as lines of JSON and as CSV."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_redis_counter.transfer.formats import (
    End,
    begin_csv,
    begin_json,
    end_csv,
    end_json,
    from_csv,
    from_json,
    to_csv,
    to_json,
)
from flask_redis_counter.transfer.records import CounterRecord, DayRecord, InvalidRecord

MAX = 2**63 - 1
names = st.from_regex(r"[A-Za-z0-9._-]{1,64}", fullmatch=True)
values = st.integers(-(2**63), MAX)
counts = st.integers(0, MAX)
days = st.dictionaries(
    st.dates().map(str), st.builds(DayRecord, counts, st.none() | counts), max_size=5
)
several = st.lists(
    st.builds(CounterRecord, names, values, days), unique_by=lambda record: record.name
)


@given(several)
def test_json_round_trip(records):
    """from_json parses what to_json writes, with all digits."""
    assert list(from_json(map(to_json, records))) == records


@given(several)
def test_csv_round_trip(records):
    """from_csv parses what to_csv writes, without the days."""
    lines = ["name,value\n", *map(to_csv, records)]
    assert list(from_csv(lines)) == [CounterRecord(it.name, it.value) for it in records]


@given(st.lists(st.text()))
def test_parsers_accept_any_lines(lines):
    """from_json and from_csv raise nothing, and name the line of each invalid record."""
    for read in (from_json, from_csv):
        for it in read(lines):
            assert isinstance(it, CounterRecord | End) or it.where.startswith("line ")


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists))
def test_from_json_value_of_another_type(document):
    """A member of another type makes an InvalidRecord."""
    for field in ("name", "value", "days"):
        line = json.dumps({"name": "a", "value": 1, "days": {}} | {field: document})
        (it,) = from_json([line])
        assert isinstance(it, InvalidRecord | CounterRecord)
        assert isinstance(it, InvalidRecord) or (field, document) in {("name", it.name)}


def test_to_json_and_to_csv_lines():
    """to_json and to_csv write one line for a counter, with sorted days."""
    day = {"2026-11-20": DayRecord(5, 3), "2026-11-19": DayRecord(7)}
    assert to_json(CounterRecord("orders", 12, day)) == (
        '{"name": "orders", "value": 12, "days": {"2026-11-19": {"hits": 7}, '
        '"2026-11-20": {"hits": 5, "visitors": 3}}}\n'
    )
    assert to_json(CounterRecord("orders", -1)) == '{"name": "orders", "value": -1}\n'
    assert to_csv(CounterRecord("orders", -1)) == "orders,-1\n"


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "invalid JSON"),
        ("[1]", "not a JSON object"),
        ("[" * 100_000, ""),
        ('{"value": 1}', "'name' is missing"),
        ('{"name": "a"}', "'value' is missing"),
        ('{"name": "a", "vlaue": 1, "value": 2}', "'vlaue'"),
        ('{"name": "a b", "value": 1}', "invalid counter name 'a b'"),
        ('{"name": "a", "value": 1.0}', "1.0"),
        ('{"name": "a", "value": true}', "True"),
        ('{"name": "a", "value": "1"}', "'1'"),
        ('{"name": "a", "value": 9223372036854775808}', "9223372036854775808"),
        ('{"name": "a", "value": ' + "9" * 5000 + "}", ""),
        ('{"name": "a", "value": NaN}', "nan"),
        ('{"name": "a", "value": 1, "value": 2}', "duplicate member"),
        ('{"name": "a", "value": 1, "days": []}', "days"),
        ('{"name": "a", "value": 1, "days": {"20261120": {"hits": 1}}}', "invalid date '20261120'"),
        ('{"name": "a", "value": 1, "days": {"2026-02-30": {"hits": 1}}}', "'2026-02-30'"),
        ('{"name": "a", "value": 1, "days": {"2026-11-20": 1}}', "not a JSON object"),
        ('{"name": "a", "value": 1, "days": {"2026-11-20": {"hits": -1}}}', "-1"),
        ('{"name": "a", "value": 1, "days": {"2026-11-20": {"visitors": 1}}}', "'hits'"),
        ('{"name": "\udcff", "value": 1}', "invalid counter name '\\udcff'"),
    ],
)
def test_from_json_invalid_line(line, problem):
    """An InvalidRecord has the line number; blank lines are skipped, later lines are parsed."""
    good = to_json(CounterRecord("good", 1))
    bad, record = from_json(["\n", line, good])
    assert bad.where == "line 2"
    assert problem in bad.problem
    assert record == CounterRecord("good", 1)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("a", "name,value"),
        ("a,1,2", "name,value"),
        ("a b,1", "invalid counter name 'a b'"),
        ("a,", "the value '' is not an integer"),
        ("a,1.0", "the value '1.0' is not an integer"),
        ("a,1e3", "'1e3'"),
        ("a, 1", "' 1'"),
        ("a,00012", "the value '00012' has leading zeros: write 12"),
        ("a,-012", "the value '-012' has leading zeros: write -12"),
        ("a,9223372036854775808", "9223372036854775808"),
        ("a,99999999999999999999", "the value '99999999999999999999' is not an integer of up to"),
        ('a,"1"x', "name,value"),
        ("#counters=x", "name,value"),
    ],
)
def test_from_csv_invalid_line(line, problem):
    """An InvalidRecord has the line number; blank lines are skipped, later lines are parsed."""
    bad, record = from_csv(["name,value\r\n", "\r\n", line + "\r\n", '"good","1"\r\n'])
    assert bad.where == "line 3"
    assert problem in bad.problem
    assert record == CounterRecord("good", 1)


def test_from_csv_needs_a_header():
    """A missing header row is an InvalidRecord; an empty file has no counters."""
    (bad,) = from_csv(["a,1\n", "b,2\n"])
    assert str(bad) == "line 1: the first line of CSV must be name,value"
    assert list(from_csv([])) == list(from_json([])) == []


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_from_csv_separators(separator):
    """from_csv accepts the separators of spreadsheets, also if a line names one."""
    rows = [f"name{separator}value\r\n", f'"a"{separator}1\r\n', f"b{separator}x\r\n"]
    for before in ([], [f"sep={separator}\r\n"], ["\r\n"]):
        record, bad = from_csv([*before, *rows])
        assert record == CounterRecord("a", 1)
        assert bad.where == f"line {len(before) + 3}"


def exported(records, form):
    """Return the lines of an export."""
    if form == "csv":
        return [begin_csv(len(records)), *map(to_csv, records), end_csv(len(records))]
    return [begin_json(len(records)), *map(to_json, records), end_json(len(records))]


READERS = {"csv": from_csv, "ndjson": from_json}


@pytest.mark.parametrize("form", READERS)
def test_parsers_yield_the_end_mark(form):
    """The end mark of an export is parsed, also without counters."""
    for records in ([], [CounterRecord("a", 1), CounterRecord("b", 2)]):
        *found, end = READERS[form](exported(records, form))
        assert found == records
        assert end == End(len(records))


def test_from_json_two_exports():
    """Each export in a file has its own marks."""
    lines = exported([CounterRecord("a", 1)], "ndjson") + exported(
        [CounterRecord("b", 2)], "ndjson"
    )
    assert list(from_json(lines)) == [CounterRecord("a", 1), End(1), CounterRecord("b", 2), End(1)]


def test_from_json_truncated_export():
    """from_json reports how many of how many counters the file has, wherever it ends."""
    text = "".join(
        exported([CounterRecord("a", 1), CounterRecord("b", 2), CounterRecord("c", 3)], "ndjson")
    )
    whole = text.removesuffix(text.splitlines(keepends=True)[-1])
    for cut in range(len(begin_json(3)), len(whole) + 1):
        *_, last = from_json(text[:cut].splitlines(keepends=True))
        lines = text[:cut].count("\n") + (not text[:cut].endswith("\n"))
        here = lines - 1
        assert last.where == f"line {lines}"
        assert last.problem.startswith("the export was cut off here: it has no end mark, and ")
        assert f"and {here} of about 3 counters" in last.problem


@pytest.mark.parametrize("form", READERS)
def test_parsers_check_the_end_mark(form):
    """An end mark with another number of counters is an InvalidRecord."""
    lines = exported([CounterRecord("a", 1), CounterRecord("b", 2)], form)
    del lines[1]
    record, bad, end = READERS[form](lines)
    assert (record, end) == (CounterRecord("b", 2), End(2))
    assert str(bad) == "line 3: the export had 2 counters, but the file has 1"


@pytest.mark.parametrize(
    "line",
    [
        '{"format": "flask-redis-counter", "version": 2, "expected": 1}',
        '{"format": "other", "version": 1, "expected": 1}',
        '{"format": "flask-redis-counter"}',
        '{"format": "flask-redis-counter", "version": 1, "expected": -1}',
        '{"counters": -1}',
        '{"counters": true}',
        '{"counters": "1"}',
    ],
)
def test_from_json_invalid_marks(line):
    """A mark of another format, or without a valid number, is an InvalidRecord."""
    (bad,) = from_json([line])
    assert isinstance(bad, InvalidRecord)


def test_from_json_duplicate_name():
    """The second record of a name is invalid."""
    lines = [
        to_json(CounterRecord("a", 1)),
        to_json(CounterRecord("b", 2)),
        to_json(CounterRecord("a", 1)),
    ]
    first, second, bad = from_json(lines)
    assert (first.name, second.name) == ("a", "b")
    assert str(bad) == "line 3: duplicate name 'a', first in line 1"
