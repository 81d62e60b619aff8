"""The load balancer, with minimal replicas behind it."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest
import requests

from flask_redis_counter.testing import ComposeStack, Endpoint, wait_until
from flask_redis_counter.testing.stacks.project import make_project_name

from .conftest import FILES, ROOT, SCALE_FILES

pytestmark = pytest.mark.compose

#: More replicas than HAProxy had server slots for in an earlier configuration.
MANY = 18


@pytest.fixture(scope="module")
def balanced(image):
    """A balancer with many replicas, which trusts the tests as its proxy."""
    files = [*FILES, *SCALE_FILES, ROOT / "tests" / "e2e" / "docker-compose.many.yml"]
    scale = {"web": MANY, "redis": 0}
    with ComposeStack(
        files, make_project_name("counter"), endpoint=Endpoint("lb", 5000), scale=scale
    ) as up:
        yield up


@pytest.fixture
def ask(balanced):
    """Send headers, and return the client, scheme and prefix that a replica got."""

    def send(headers):
        response = requests.get(balanced.url(), headers=headers, timeout=5)
        assert response.status_code == 200
        return response.text.strip().split("|")[1:]

    return send


@pytest.mark.parametrize(
    ("hops", "client"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("203.0.113.9:4711", "203.0.113.9"),
        ("1.1.1.1, 203.0.113.9", "203.0.113.9"),
        ("1.1.1.1, 203.0.113.9, 10.1.2.3", "203.0.113.9"),
        ("1.1.1.1, 2001:db9::7, 2001:db8::1", "2001:db9::7"),
        ("203.0.113.9, 10.1.2.3, 10.1.2.4", "10.1.2.3"),
    ],
)
def test_trusted_proxy_sets_client(ask, hops, client):
    """The replica gets the nearest address that is not a trusted proxy, of at most two."""
    assert ask({"X-Forwarded-For": hops}) == [client, "http", ""]


@pytest.mark.parametrize("hops", [None, "unknown", "203.0.113.9, unknown"])
def test_trusted_proxy_without_client_is_client(ask, hops):
    """If the header does not end with an address, the replica gets the peer's address."""
    client, *_ = ask({"X-Forwarded-For": hops} if hops else {})
    assert client.startswith(("172.", "192.168."))


def test_trusted_proxy_sets_scheme_and_prefix(ask):
    """The replica gets X-Forwarded-Proto and X-Forwarded-Prefix of the proxy."""
    headers = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https"}
    headers["X-Forwarded-Prefix"] = "/counter"
    assert ask(headers) == ["203.0.113.9", "https", "/counter"]


def test_broken_response_is_unknown_outcome(balanced):
    """Badge URLs get an image with 200 and the outcome in headers; others get a problem."""
    response = requests.get(f"{balanced.url()}/broken.svg", timeout=5)
    assert (response.status_code, response.headers["Content-Type"]) == (200, "image/svg+xml")
    assert (response.headers["Counter-Status"], response.headers["Counted"]) == ("502", "unknown")
    response = requests.get(f"{balanced.url()}/broken", timeout=5)
    assert (response.status_code, response.json()["counted"]) == (502, "unknown")


def test_all_replicas_get_requests_until_they_are_removed(balanced):
    """Each of 18 replicas gets requests; removing 17 of them under load rejects no request."""
    url, seen = balanced.url(), set()

    def all_seen():
        seen.add(requests.get(url, timeout=5).text.partition("|")[0])
        return len(seen) == MANY

    wait_until(all_seen, what=f"requests on {MANY} replicas", pause=0)
    ended, responses = Event(), Counter()

    def visit(_):
        while not ended.is_set():
            try:
                # A request may try each removed replica in turn, for 500 ms each.
                responses[requests.get(url, timeout=30).status_code] += 1
            except requests.ConnectionError:
                responses["connection error"] += 1

    def has_target():
        return responses[200] >= target

    with ThreadPoolExecutor(4) as pool:
        visitors = pool.map(visit, range(4))
        try:
            balanced.scale("web", 1)
            target = responses[200] + 100
            wait_until(has_target, what="responses of the last replica")
        finally:
            ended.set()
        list(visitors)
    assert responses[503] == 0, responses
