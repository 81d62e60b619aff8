"""Named counters with their days and visitors, on a whole stack."""

from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import requests

from flask_redis_counter.testing import wait_until

from .conftest import ADMIN_KEY
from .support import read_value

ADMIN = {"Authorization": f"Bearer {ADMIN_KEY}"}


def read_today(stack, name):
    """Return hits and visitors of today; of two days, in case a test runs over midnight."""
    days = requests.get(f"{stack.url()}/counters/{name}/series?days=2", timeout=5).json()["series"]
    return sum(day["hits"] for day in days), sum(day["visitors"] for day in days)


def hit(stack, name, agent):
    """Send a hit of a visitor, retry with the same key, and return the value."""
    headers = {"User-Agent": agent, "Idempotency-Key": f'"{uuid4()}"'}

    def send():
        # A busy machine may return 503: the key makes the retry count once.
        response = requests.post(f"{stack.url()}/counters/{name}/hits", headers=headers, timeout=5)
        response.raise_for_status()
        return response.json()["value"]

    return wait_until(send, what=f"a hit of {agent}", timeout=10)


def test_counter_is_created_hit_listed_and_deleted(stack):
    """Setting and deleting needs the admin key; restarts in between change nothing."""
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
    assert read_value(stack, "orders") == 8
    assert read_today(stack, "orders") == (3, 2)
    url = f"{stack.url()}/counters"
    listed = requests.get(f"{url}?name=orders&name=none", timeout=5).json()["counters"]
    assert listed == [{"name": "orders", "value": 8}, {"name": "none", "value": None}]
    assert requests.delete(f"{url}/orders", timeout=5).status_code == 401
    assert requests.delete(f"{url}/orders", headers=ADMIN, timeout=5).json()["was"] == 8
    assert requests.get(f"{url}/orders", timeout=5).status_code == 404
    assert "orders" not in str(requests.get(url, timeout=5).json())


def test_replicas_share_days_and_visitors(new_stack):
    """Each hit is in the day once and each visitor once, also after a restart of the store."""
    agents = [f"agent {number % 4}" for number in range(200)]
    with new_stack(replicas=2) as stack, ThreadPoolExecutor(8) as pool:
        values = list(pool.map(lambda agent: hit(stack, "shared", agent), agents))
        assert sorted(values) == list(range(1, 201))
        assert read_today(stack, "shared") == (200, 4)
        stack.kill("redis")
        stack.start("redis")
        stack.wait_ready()
        assert read_today(stack, "shared") == (200, 4)
        assert hit(stack, "shared", "another agent") == 201
        assert read_today(stack, "shared") == (201, 5)
