"""The comparison of responses with the count in the store."""

import pytest

from bench.load_check import MiscountError, check_count


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
