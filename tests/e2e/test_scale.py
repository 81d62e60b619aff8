"""Several replicas share one count."""

from contextlib import closing
from http.client import HTTPConnection
from urllib.parse import urlsplit

import requests

from flask_redis_counter.testing import Tally, run_load, send_hit

from .support import read_value, run_under_load

#: Spellings that the service accepts as the path of its metrics.
METRICS = ["/metrics", "//metrics", "/%6Detrics", "/%2fmetrics", "///m%65trics?x"]


def test_three_replicas_and_one_killed_under_load(new_stack):
    """Replicas count without gaps or duplicates, also when one of them is killed."""
    with new_stack(replicas=3) as stack:
        tally = run_load(
            stack.url, clients=12, should_continue=lambda tally: len(tally.values) < 300
        )
        tally.check(before=0, after=read_value(stack))
        assert tally.not_counted + tally.unknown <= 6, "a healthy stack responds"

        before = read_value(stack)
        clients = 8
        tally = run_under_load(stack, lambda: stack.kill("web", replica=1), clients=clients)
        tally.check(before=before, after=read_value(stack))
        failed = tally.not_counted + tally.unknown
        assert failed <= clients, "more hits failed than the replica was handling"

        if stack.kind == "compose":  # HAProxy's own responses are correct as well
            check_forwarded_headers_of_visitors_are_ignored(stack.url())
            check_metrics_are_hidden(stack.url())

            before = read_value(stack)
            stack.kill("web")
            assert send_hit(stack.url()) == Tally(not_counted=1)
            check_badges_are_images_without_replicas(stack.url())
            stack.start("web")
            stack.wait_ready()
            assert read_value(stack) == before


def check_forwarded_headers_of_visitors_are_ignored(url):
    """A visitor's X-Forwarded-* headers have no effect."""
    headers = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.example"}
    headers["X-Forwarded-Prefix"] = "/evil"
    page = requests.get(f"{url}/snippet", headers=headers, timeout=5).text
    assert f"({url}/counters/visits.svg)" in page
    assert "evil" not in page
    hits = f"{url}/counters/liars/hits"
    for number in range(3):
        headers = {"X-Forwarded-For": f"203.0.113.{number}"}
        assert requests.post(hits, headers=headers, timeout=5).json()["value"] == number + 1
    series = requests.get(f"{url}/counters/liars/series?days=2", timeout=5).json()["series"]
    assert max(day["visitors"] for day in series) == 1


def check_metrics_are_hidden(url):
    """Each spelling of the metrics' path returns 404."""
    for path in METRICS:
        place = urlsplit(url)
        with closing(HTTPConnection(place.hostname, place.port, timeout=5)) as visitor:
            visitor.request("GET", path)
            response = visitor.getresponse()
            assert (path, response.status) == (path, 404)
            assert b"counter_hits_total" not in response.read()


def check_badges_are_images_without_replicas(url):
    """Without replicas, badge URLs return an image, and others a problem document."""
    asked = {"/hit/visits.svg": "*/*", "/counters/visits.svg?x": "*/*", "/counters/a": "image/*"}
    for path, accept in asked.items():
        response = requests.get(f"{url}{path}", headers={"Accept": accept}, timeout=5)
        assert (response.status_code, response.headers["Content-Type"]) == (200, "image/svg+xml")
        assert (response.headers["Counter-Status"], response.headers["Counted"]) == ("503", "false")
        assert response.headers["Cache-Control"] == "no-store"
        assert ">unavailable</text>" in response.text
    response = requests.get(f"{url}/counters/visits", timeout=5)
    assert response.headers["Content-Type"] == "application/problem+json"
