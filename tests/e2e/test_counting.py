"""The demo counts on a whole stack."""

import requests

from flask_redis_counter.testing import run_load

from .support import read_value


def test_new_stack_counts_one_two_three(new_stack):
    """The first three visits get 1, 2 and 3."""
    with new_stack() as stack:
        counted = [requests.get(f"{stack.url()}/count", timeout=5).json() for _ in range(3)]
        assert [hit["value"] for hit in counted] == [1, 2, 3]
        assert all(hit["counted"] is True and hit["name"] == "visits" for hit in counted)
        assert read_value(stack) == 3


def test_head_request_does_not_count(stack):
    """HEAD /count reads the counter."""
    before = read_value(stack)
    for _ in range(3):
        assert requests.head(f"{stack.url()}/count", timeout=5).status_code == 200
    assert read_value(stack) == before


def test_concurrent_clients_get_consecutive_values(stack):
    """Concurrent clients get different values, without gaps."""
    before = read_value(stack)
    tally = run_load(stack.url, clients=16, should_continue=lambda tally: len(tally.values) < 400)
    tally.check(before=before, after=read_value(stack))
    assert tally.not_counted + tally.unknown <= 8, "a healthy stack responds"


def test_pages_are_served(stack):
    """A browser gets the welcome page with its style, and a page for its visit."""
    html = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
    welcome = requests.get(stack.url(), headers=html, timeout=5)
    assert welcome.status_code == 200
    assert "static/style.css" in welcome.text
    style = requests.get(f"{stack.url()}/static/style.css", timeout=5)
    assert style.headers["Content-Type"].startswith("text/css")
    before = read_value(stack)
    visit = requests.get(f"{stack.url()}/count", headers=html, timeout=5)
    assert visit.headers["Content-Type"].startswith("text/html")
    assert f"{before + 1:,}" in visit.text
