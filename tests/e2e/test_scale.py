"""Several replicas, one count."""

from contextlib import closing
from http.client import HTTPConnection
from urllib.parse import urlsplit

import requests

from flask_redis_counter.testing import Tally, run_load, send_hit

from .support import under_load, value

#: What the service takes for the path of its metrics.
METRICS = ["/metrics", "//metrics", "/%6Detrics", "/%2fmetrics", "///m%65trics?x"]


def test_three_replicas_and_one_killed_under_load(new_stack):
    """Replicas count without gaps or repeats, and go on when one of them is killed."""
    with new_stack(replicas=3) as stack:
        tally = run_load(
            stack.url, clients=12, should_continue=lambda tally: len(tally.values) < 300
        )
        tally.check(before=0, after=value(stack))
        assert tally.not_counted + tally.unknown <= 6, "a whole stack answers"

        before = value(stack)
        clients = 8
        tally = under_load(stack, lambda: stack.kill("web", replica=1), clients=clients)
        tally.check(before=before, after=value(stack))
        missed = tally.not_counted + tally.unknown
        assert missed <= clients, "more failed than what the replica was working on"

        if stack.kind == "compose":  # HAProxy tells the truth as well
            check_no_visitor_is_believed(stack.url())
            check_metrics_are_hidden(stack.url())

            before = value(stack)
            stack.kill("web")
            assert send_hit(stack.url()) == Tally(not_counted=1)
            check_pictures_stay_pictures(stack.url())
            stack.start("web")
            stack.wait_ready()
            assert value(stack) == before


def check_no_visitor_is_believed(url):
    """What a visitor writes of itself into a proxy's headers has no effect."""
    lie = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.example"}
    lie["X-Forwarded-Prefix"] = "/evil"
    page = requests.get(f"{url}/snippet", headers=lie, timeout=5).text
    assert f"({url}/counters/visits.svg)" in page
    assert "evil" not in page
    hits = f"{url}/counters/liars/hits"
    for number in range(3):
        lie = {"X-Forwarded-For": f"203.0.113.{number}"}
        assert requests.post(hits, headers=lie, timeout=5).json()["value"] == number + 1
    series = requests.get(f"{url}/counters/liars/series?days=2", timeout=5).json()["series"]
    assert max(day["visitors"] for day in series) == 1


def check_metrics_are_hidden(url):
    """However a visitor spells the path of the metrics, it is a 404."""
    for path in METRICS:
        place = urlsplit(url)
        with closing(HTTPConnection(place.hostname, place.port, timeout=5)) as visitor:
            visitor.request("GET", path)
            answer = visitor.getresponse()
            assert (path, answer.status) == (path, 404)
            assert b"counter_hits_total" not in answer.read()


def check_pictures_stay_pictures(url):
    """Where no replica is there, a picture's address answers a picture, and others a problem."""
    asked = {"/hit/visits.svg": "*/*", "/counters/visits.svg?x": "*/*", "/counters/a": "image/*"}
    for path, accept in asked.items():
        answer = requests.get(f"{url}{path}", headers={"Accept": accept}, timeout=5)
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/svg+xml")
        assert (answer.headers["Counter-Status"], answer.headers["Counted"]) == ("503", "false")
        assert answer.headers["Cache-Control"] == "no-store"
        assert ">unavailable</text>" in answer.text
    answer = requests.get(f"{url}/counters/visits", timeout=5)
    assert answer.headers["Content-Type"] == "application/problem+json"
