"""The comparison of responses with the count in the store."""

from types import SimpleNamespace

import pytest

from bench.contestants import OURS, WEBDIS
from bench.load_check import MiscountError, check_count, checked_load


@pytest.mark.parametrize("rise", [100, 108])
def test_check_count_in_flight(make_load, rise):
    """check_count accepts one more hit per connection: wrk closes them without a response."""
    check_count("x", make_load(100), rise, 8)


@pytest.mark.parametrize("rise", [99, 109])
def test_check_count_miscount(make_load, rise):
    """check_count raises if fewer hits were counted than answered, or more than sent."""
    with pytest.raises(MiscountError, match=f"100 responses, but the store counted {rise}"):
        check_count("x", make_load(100), rise, 8)


@pytest.mark.parametrize("rise", [90, 113])
def test_check_count_errors(make_load, rise):
    """check_count accepts that requests with errors were counted or not."""
    check_count("x", make_load(100, non_2xx=10, failed=5), rise, 8)


@pytest.mark.parametrize("rise", [89, 114])
def test_check_count_miscount_despite_errors(make_load, rise):
    """check_count raises if the errors do not explain the difference."""
    with pytest.raises(MiscountError, match="90 responses"):
        check_count("x", make_load(100, non_2xx=10, failed=5), rise, 8)


def test_check_count_constant(make_load):
    """check_count accepts any responses of a contestant that does not count."""
    check_count("x", make_load(100), None, 8)


@pytest.fixture
def measured(make_load, monkeypatch):
    """A function that measures a contestant whose 100 responses raise the count by 99."""

    def measure(contestant):
        counts = iter([5, 104])
        monkeypatch.setattr("bench.load_check.put_load", lambda *_, **__: make_load(100))
        monkeypatch.setattr("bench.load_check._read_stable", lambda *_: next(counts))
        server = SimpleNamespace(contestant=contestant, address="")
        return checked_load(server, None, seconds=1, connections=8)

    return measure


def test_miscount_of_another_service_is_reported(measured, make_load, make_report):
    """A miscount of another service is in the report; the other measurements remain."""
    load = measured(WEBDIS)
    assert load.miscounted
    report = make_report({}, sweep={WEBDIS.name: {8: [load, make_load(100)]}})
    assert f"MISCOUNTED in 1 runs: {WEBDIS.name}" in report.as_text().splitlines()


def test_own_miscount_is_an_error(measured, make_report):
    """A miscount of this service ends the benchmark."""
    with pytest.raises(MiscountError, match="100 responses, but the store counted 99"):
        measured(OURS)
    assert "MISCOUNTED" not in make_report({}).as_text()
