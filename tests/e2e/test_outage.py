"""Outage of the store: responses are correct and in time, and counting resumes by itself."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from flask_redis_counter.testing import Tally, send_hit, wait_until

from .support import read_value

#: The default timeout, and a tolerance for a busy machine.
TIMEOUT = 0.5 + 0.15


@pytest.mark.parametrize("fault", ["stopped", "killed", "paused", "partitioned"])
def test_outage_and_recovery(stack, faults, fault):
    """During the outage each hit gets a 503 in time; afterwards the next hit counts."""
    name = f"outage-{fault}"  # an unknown hit may arrive during the next test
    before = read_value(stack, name)
    tally = Tally()
    url = stack.url()
    hits = f"{url}/counters/{name}/hits"
    for _ in range(20):  # so that every worker has connections
        tally.add(send_hit(url, counter=name))
    with getattr(faults, fault)("redis"):
        assert requests.get(url, timeout=5).status_code == 200
        assert requests.get(f"{url}/healthz", timeout=5).status_code == 200
        assert requests.get(f"{url}/readyz", timeout=5).status_code == 503
        for _ in range(20):
            response = requests.post(hits, timeout=5)
            assert response.status_code == 503
            assert response.elapsed.total_seconds() < TIMEOUT
            assert response.headers["Content-Type"] == "application/problem+json"
            problem = response.json()
            assert problem["status"] == 503
            assert problem["counted"] in (False, "unknown")
            assert ("Retry-After" in response.headers) is (problem["counted"] is False)
            tally.add(
                Tally(not_counted=1) if problem["counted"] is False else Tally(unknown=1),
            )
        page = requests.post(hits, headers={"Accept": "text/html"}, timeout=5)
        assert page.status_code == 503
        assert page.headers["Content-Type"].startswith("text/html")
        assert "Traceback" not in page.text
        assert tally.not_counted, "in a long outage hits are rejected before they are sent"
    for _ in range(20):
        recovered = send_hit(url, counter=name)
        assert recovered.values, "the store is up again, and a hit did not count"
        tally.add(recovered)
    tally.unknown += 1  # the page's hit
    tally.check(before=before, after=read_value(stack, name))


def test_concurrent_hits_in_outage(stack, faults):
    """With a frozen store each of many concurrent hits gets its response within the timeout."""
    before = read_value(stack, "concurrent")
    tally = Tally()
    url = stack.url()
    for _ in range(20):
        tally.add(send_hit(url, counter="concurrent"))
    with faults.paused("redis"), ThreadPoolExecutor(32) as pool:
        responses = list(
            pool.map(
                lambda _: requests.post(f"{url}/counters/concurrent/hits", timeout=5), range(160)
            ),
        )
        slowest = max(response.elapsed.total_seconds() for response in responses)
        assert slowest < TIMEOUT
        for response in responses:
            not_counted = response.json()["counted"] is False
            tally.add(Tally(not_counted=1) if not_counted else Tally(unknown=1))
    stack.wait_ready()
    tally.check(before=before, after=read_value(stack, "concurrent"))


def test_web_started_before_store(new_stack):
    """The web service starts without a store, logs it, and counts when the store is up."""
    with new_stack() as stack:
        stack.down()
        stack.up("web")
        url = wait_until(
            lambda: requests.get(stack.url(), timeout=5).status_code == 200 and stack.url(),
            what="the welcome page without a store",
        )
        assert requests.get(f"{url}/count", timeout=5).json()["counted"] is False
        assert "does not answer yet" in "".join(stack.logs().values())
        stack.up("redis")
        stack.wait_ready()
        assert [send_hit(url).values for _ in range(3)] == [[1], [2], [3]]
