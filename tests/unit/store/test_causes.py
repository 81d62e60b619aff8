"""Causes of failed connections."""

from flask_redis_counter.store.causes import find_cause


def test_chain_of_errors_that_leads_back_to_itself():
    """An error that is raised again may have itself among its causes."""
    error, timeout = ConnectionError("broken"), TimeoutError()
    error.__cause__, timeout.__context__ = timeout, error
    assert find_cause(error, secure=False) == ("nothing answers", "")
    again = OSError("broken")
    again.__context__ = again
    assert find_cause(again, secure=False) == ("broken", "")


def test_unknown_cause_has_no_full_stop():
    """A remedy may follow it."""
    error = OSError("Name or service not known.")
    assert find_cause(error, secure=False) == ("Name or service not known", "")


def test_long_chain_of_errors():
    """It may be longer than Python's stack."""
    error = root = OSError("the first")
    for _ in range(5000):
        error.__context__ = error = OSError("one of many")
    assert root is not error
    error.__context__ = TimeoutError()
    assert find_cause(root, secure=False)[0] == "nothing answers"
