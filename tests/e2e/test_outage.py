"""The store is away: every answer is true and in time, and counting goes on by itself."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from flask_redis_counter.testing import Tally, send_hit, wait_until

from .support import value

#: The default deadline, and what a noisy machine may add on the way.
TIMEOUT = 0.5 + 0.15


@pytest.mark.parametrize("fault", ["stopped", "killed", "paused", "partitioned"])
def test_outage_and_recovery(stack, faults, fault):
    """`/` answers, `/count` says in time what it knows, and afterwards the next hit counts."""
    name = f"outage-{fault}"  # what is unknown may arrive during the next test
    before = value(stack, name)
    tally = Tally()
    url = stack.url()
    hits = f"{url}/counters/{name}/hits"
    for _ in range(20):  # every worker has connections
        tally.add(send_hit(url, counter=name))
    with getattr(faults, fault)("redis"):
        assert requests.get(url, timeout=5).status_code == 200
        assert requests.get(f"{url}/healthz", timeout=5).status_code == 200
        assert requests.get(f"{url}/readyz", timeout=5).status_code == 503
        for _ in range(20):
            answer = requests.post(hits, timeout=5)
            assert answer.status_code == 503
            assert answer.elapsed.total_seconds() < TIMEOUT
            assert answer.headers["Content-Type"] == "application/problem+json"
            problem = answer.json()
            assert problem["status"] == 503
            assert problem["counted"] in (False, "unknown")
            assert ("Retry-After" in answer.headers) is (problem["counted"] is False)
            tally.add(
                Tally(not_counted=1) if problem["counted"] is False else Tally(unknown=1),
            )
        page = requests.post(hits, headers={"Accept": "text/html"}, timeout=5)
        assert page.status_code == 503
        assert page.headers["Content-Type"].startswith("text/html")
        assert "Traceback" not in page.text
        assert tally.not_counted, "an outage that lasts is known before anything is sent"
    for _ in range(20):
        recovered = send_hit(url, counter=name)
        assert recovered.values, "the store is back, and a hit did not count"
        tally.add(recovered)
    tally.unknown += 1  # the page's
    tally.check(before=before, after=value(stack, name))


def test_many_visitors_in_an_outage(stack, faults):
    """A frozen store costs nobody more than the deadline, however many come at once."""
    before = value(stack, "crowd")
    tally = Tally()
    url = stack.url()
    for _ in range(20):
        tally.add(send_hit(url, counter="crowd"))
    with faults.paused("redis"), ThreadPoolExecutor(32) as pool:
        answers = list(
            pool.map(lambda _: requests.post(f"{url}/counters/crowd/hits", timeout=5), range(160)),
        )
        slowest = max(answer.elapsed.total_seconds() for answer in answers)
        assert slowest < TIMEOUT
        for answer in answers:
            refused = answer.json()["counted"] is False
            tally.add(Tally(not_counted=1) if refused else Tally(unknown=1))
    stack.wait_ready()
    tally.check(before=before, after=value(stack, "crowd"))


def test_web_started_before_the_store(new_stack):
    """A web service that finds no store starts, says so, and counts once there is one."""
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
