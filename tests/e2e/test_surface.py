"""Named counters with their days and visitors, on a whole stack."""

from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import requests

from flask_redis_counter.testing import wait_until

from .conftest import ADMIN_KEY
from .support import value

ADMIN = {"Authorization": f"Bearer {ADMIN_KEY}"}


def today(stack, name):
    """Return what the day has: hits and visitors. A test that sees midnight gets both days."""
    days = requests.get(f"{stack.url()}/counters/{name}/series?days=2", timeout=5).json()["series"]
    return sum(day["hits"] for day in days), sum(day["visitors"] for day in days)


def hit(stack, name, agent):
    """Count as a visitor who retries with one key, and return the value."""
    headers = {"User-Agent": agent, "Idempotency-Key": f'"{uuid4()}"'}

    def counts():
        # A busy machine may answer 503: the key makes the retry count once.
        answer = requests.post(f"{stack.url()}/counters/{name}/hits", headers=headers, timeout=5)
        answer.raise_for_status()
        return answer.json()["value"]

    return wait_until(counts, what=f"a hit of {agent}", timeout=10)


def test_the_life_of_a_counter(stack):
    """Made by an administrator, hit, listed, deleted; a restart in between changes nothing."""
    url = f"{stack.url()}/counters/orders"
    assert requests.put(url, json={"value": 5}, timeout=5).status_code == 401
    assert requests.get(url, timeout=5).status_code == 404
    made = requests.put(url, json={"value": 5}, headers=ADMIN, timeout=5)
    assert (made.status_code, made.headers["Location"]) == (201, "/counters/orders")
    assert made.json() == {"name": "orders", "value": 5, "was": None}
    assert [hit(stack, "orders", agent) for agent in ("a", "b", "a")] == [6, 7, 8]
    for service in ("redis", "web"):
        stack.restart(service)
        stack.wait_ready()
    assert value(stack, "orders") == 8
    assert today(stack, "orders") == (3, 2)
    url = f"{stack.url()}/counters"
    listed = requests.get(f"{url}?name=orders&name=none", timeout=5).json()["counters"]
    assert listed == [{"name": "orders", "value": 8}, {"name": "none", "value": None}]
    assert requests.delete(f"{url}/orders", timeout=5).status_code == 401
    assert requests.delete(f"{url}/orders", headers=ADMIN, timeout=5).json()["was"] == 8
    assert requests.get(f"{url}/orders", timeout=5).status_code == 404
    assert "orders" not in str(requests.get(url, timeout=5).json())


def test_replicas_share_days_and_visitors(new_stack):
    """Many clients on two replicas: each hit in the day, each visitor once, a restart between."""
    agents = [f"agent {number % 25}" for number in range(200)]
    with new_stack(replicas=2) as stack, ThreadPoolExecutor(8) as pool:
        values = list(pool.map(lambda agent: hit(stack, "shared", agent), agents))
        assert sorted(values) == list(range(1, 201))
        assert today(stack, "shared") == (200, 25)
        stack.kill("redis")
        stack.start("redis")
        stack.wait_ready()
        assert today(stack, "shared") == (200, 25)
        assert hit(stack, "shared", "somebody else") == 201
        assert today(stack, "shared") == (201, 26)
