"""The load balancer by itself, before replicas that cost next to nothing."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest
import requests

from flask_redis_counter.testing import ComposeStack, Endpoint, wait_until
from flask_redis_counter.testing.stacks.project import make_project_name

from .conftest import FILES, ROOT, SCALE_FILES

pytestmark = pytest.mark.compose

#: More than the addresses that HAProxy once had room for.
MANY = 18


@pytest.fixture(scope="module")
def balanced(image):
    """A balancer with many replicas, which trusts the proxy that the tests are."""
    files = [*FILES, *SCALE_FILES, ROOT / "tests" / "e2e" / "docker-compose.many.yml"]
    scale = {"web": MANY, "redis": 0}
    with ComposeStack(
        files, make_project_name("counter"), endpoint=Endpoint("lb", 5000), scale=scale
    ) as up:
        yield up


@pytest.fixture
def told(balanced):
    """Ask with headers, and return what a replica was told: client, scheme and prefix."""

    def ask(headers):
        answer = requests.get(balanced.url(), headers=headers, timeout=5)
        assert answer.status_code == 200
        return answer.text.strip().split("|")[1:]

    return ask


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
def test_a_trusted_proxy_says_who_the_client_is(told, hops, client):
    """The replica is told the nearest address that is not of a trusted proxy, of two at most."""
    assert told({"X-Forwarded-For": hops}) == [client, "http", ""]


@pytest.mark.parametrize("hops", [None, "unknown", "203.0.113.9, unknown"])
def test_a_trusted_proxy_that_names_no_client_is_the_client(told, hops):
    """Without an address in the last place of the header the replica is told the peer's."""
    client, *_ = told({"X-Forwarded-For": hops} if hops else {})
    assert client.startswith(("172.", "192.168."))


def test_a_trusted_proxy_says_scheme_and_prefix(told):
    """What the proxy says of the scheme and of its path prefix reaches the replica."""
    headers = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https"}
    headers["X-Forwarded-Prefix"] = "/counter"
    assert told(headers) == ["203.0.113.9", "https", "/counter"]


def test_a_replica_that_breaks_off_leaves_the_outcome_unknown(balanced):
    """A picture stays one, with 200 and the truth in its headers; programs get a problem."""
    answer = requests.get(f"{balanced.url()}/broken.svg", timeout=5)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/svg+xml")
    assert (answer.headers["Counter-Status"], answer.headers["Counted"]) == ("502", "unknown")
    answer = requests.get(f"{balanced.url()}/broken", timeout=5)
    assert (answer.status_code, answer.json()["counted"]) == (502, "unknown")


def test_all_of_many_replicas_are_asked_until_they_go(balanced):
    """Each of 18 replicas gets requests; when all but one go under load, no request is refused."""
    url, seen = balanced.url(), set()

    def all_seen():
        seen.add(requests.get(url, timeout=5).text.partition("|")[0])
        return len(seen) == MANY

    wait_until(all_seen, what=f"requests on {MANY} replicas", pause=0)
    ended, answers = Event(), Counter()

    def visit(_):
        while not ended.is_set():
            try:
                answers[requests.get(url, timeout=5).status_code] += 1
            except requests.ConnectionError:
                answers["broken off"] += 1

    def enough():
        return answers[200] >= target

    with ThreadPoolExecutor(4) as pool:
        visitors = pool.map(visit, range(4))
        try:
            balanced.scale("web", 1)
            target = answers[200] + 100
            wait_until(enough, what="answers of the last replica")
        finally:
            ended.set()
        list(visitors)
    assert answers[503] == 0, answers
