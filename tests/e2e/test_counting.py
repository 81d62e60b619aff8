"""What the demo promises, on a whole stack."""

import requests

from flask_redis_counter.testing import run_load

from .support import value


def test_a_fresh_stack_counts_one_two_three(new_stack):
    """The first three visits are told 1, 2 and 3."""
    with new_stack() as stack:
        counted = [requests.get(f"{stack.url()}/count", timeout=5).json() for _ in range(3)]
        assert [hit["value"] for hit in counted] == [1, 2, 3]
        assert all(hit["counted"] is True and hit["name"] == "visits" for hit in counted)
        assert value(stack) == 3


def test_a_head_request_never_counts(stack):
    """HEAD reads."""
    before = value(stack)
    for _ in range(3):
        assert requests.head(f"{stack.url()}/count", timeout=5).status_code == 200
    assert value(stack) == before


def test_concurrent_clients_get_consecutive_values(stack):
    """Clients that count at the same time are each told a value of their own, without gaps."""
    before = value(stack)
    tally = run_load(stack.url, clients=16, should_continue=lambda tally: len(tally.values) < 400)
    tally.check(before=before, after=value(stack))
    assert tally.not_counted + tally.unknown <= 8, "a whole stack answers"


def test_the_pages_are_served(stack):
    """A browser gets the welcome page with its style, and a page for its visit."""
    html = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
    welcome = requests.get(stack.url(), headers=html, timeout=5)
    assert welcome.status_code == 200
    assert "static/style.css" in welcome.text
    style = requests.get(f"{stack.url()}/static/style.css", timeout=5)
    assert style.headers["Content-Type"].startswith("text/css")
    before = value(stack)
    visit = requests.get(f"{stack.url()}/count", headers=html, timeout=5)
    assert visit.headers["Content-Type"].startswith("text/html")
    assert f"{before + 1:,}" in visit.text
