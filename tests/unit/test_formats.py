"""Counters as lines of JSON and as CSV."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_redis_counter.records import BadRecord, Day, Record, from_csv, from_json, to_csv, to_json

MAX = 2**63 - 1
names = st.from_regex(r"[A-Za-z0-9._-]{1,64}", fullmatch=True)
values = st.integers(-(2**63), MAX)
counts = st.integers(0, MAX)
days = st.dictionaries(st.dates().map(str), st.builds(Day, counts, st.none() | counts), max_size=5)
several = st.lists(st.builds(Record, names, values, days), unique_by=lambda record: record.name)


@given(several)
def test_json_there_and_back(records):
    """What is written is read as it was, with all digits."""
    assert list(from_json(map(to_json, records))) == records


@given(several)
def test_csv_there_and_back(records):
    """The same, without the days."""
    lines = ["name,value\n", *map(to_csv, records)]
    assert list(from_csv(lines)) == [Record(it.name, it.value) for it in records]


@given(st.lists(st.text()))
def test_whatever_the_lines(lines):
    """Nothing raises, and what is no counter says in which line it is."""
    for read in (from_json, from_csv):
        for it in read(lines):
            assert isinstance(it, Record) or it.where.startswith("line ")


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists))
def test_whatever_the_document(document):
    """A value of the wrong type is a mistake, not a crash."""
    for field in ("name", "value", "days"):
        line = json.dumps({"name": "a", "value": 1, "days": {}} | {field: document})
        (it,) = from_json([line])
        assert isinstance(it, BadRecord | Record)
        assert isinstance(it, BadRecord) or (field, document) in {("name", it.name)}


def test_a_line_as_it_is_documented():
    """One line a counter, days in their order."""
    day = {"2026-11-20": Day(5, 3), "2026-11-19": Day(7)}
    assert to_json(Record("orders", 12, day)) == (
        '{"name": "orders", "value": 12, "days": {"2026-11-19": {"hits": 7}, '
        '"2026-11-20": {"hits": 5, "visitors": 3}}}\n'
    )
    assert to_json(Record("orders", -1)) == '{"name": "orders", "value": -1}\n'
    assert to_csv(Record("orders", -1)) == "orders,-1\n"


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "is no JSON"),
        ("[1]", "is no object"),
        ("[" * 100_000, ""),
        ('{"value": 1}', "lacks 'name'"),
        ('{"name": "a"}', "lacks 'value'"),
        ('{"name": "a", "vlaue": 1, "value": 2}', "'vlaue'"),
        ('{"name": "a b", "value": 1}', "'a b' is no counter name"),
        ('{"name": "a", "value": 1.0}', "1.0"),
        ('{"name": "a", "value": true}', "True"),
        ('{"name": "a", "value": "1"}', "'1'"),
        ('{"name": "a", "value": 9223372036854775808}', "9223372036854775808"),
        ('{"name": "a", "value": ' + "9" * 5000 + "}", ""),
        ('{"name": "a", "value": NaN}', "nan"),
        ('{"name": "a", "value": 1, "value": 2}', "twice"),
        ('{"name": "a", "value": 1, "days": []}', "days"),
        ('{"name": "a", "value": 1, "days": {"20261120": {"hits": 1}}}', "'20261120' is no date"),
        ('{"name": "a", "value": 1, "days": {"2026-02-30": {"hits": 1}}}', "'2026-02-30'"),
        ('{"name": "a", "value": 1, "days": {"2026-11-20": 1}}', "is no object"),
        ('{"name": "a", "value": 1, "days": {"2026-11-20": {"hits": -1}}}', "-1"),
        ('{"name": "a", "value": 1, "days": {"2026-11-20": {"visitors": 1}}}', "'hits'"),
        ('{"name": "\udcff", "value": 1}', "'\\udcff' is no counter name"),
    ],
)
def test_what_is_no_counter_in_json(line, problem):
    """It is told with its line; those around it are read, and blank lines are none."""
    good = to_json(Record("good", 1))
    bad, record = from_json(["\n", line, good])
    assert bad.where == "line 2"
    assert problem in bad.problem
    assert record == Record("good", 1)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("a", "name,value"),
        ("a,1,2", "name,value"),
        ("a b,1", "'a b' is no counter name"),
        ("a,", "''"),
        ("a,1.0", "'1.0'"),
        ("a,1e3", "'1e3'"),
        ("a, 1", "' 1'"),
        ("a,007", "'007'"),
        ("a,9223372036854775808", "9223372036854775808"),
        ('a,"1"x', "name,value"),
    ],
)
def test_what_is_no_counter_in_csv(line, problem):
    """The same."""
    bad, record = from_csv(["name,value\r\n", "\r\n", line + "\r\n", '"good","1"\r\n'])
    assert bad.where == "line 3"
    assert problem in bad.problem
    assert record == Record("good", 1)


def test_csv_says_what_it_is():
    """Without its first line nobody knows; an empty file has no counters."""
    (bad,) = from_csv(["a,1\n", "b,2\n"])
    assert str(bad) == "line 1: the first line of CSV is name,value"
    assert list(from_csv([])) == list(from_json([])) == []


def test_a_name_comes_once():
    """Otherwise nobody knows which of the two is meant."""
    lines = [to_json(Record("a", 1)), to_json(Record("b", 2)), to_json(Record("a", 1))]
    first, second, bad = from_json(lines)
    assert (first.name, second.name) == ("a", "b")
    assert str(bad) == "line 3: 'a' is in line 1 as well"
