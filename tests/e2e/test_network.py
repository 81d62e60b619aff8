"""Network faults between web and store, and a store without memory or disk."""

from uuid import uuid4

import pytest
import requests

from flask_redis_counter.testing import ComposeStack, Faults, Tally, send_hit, wait_until
from flask_redis_counter.testing.stacks.project import make_project_name

from .conftest import FILES, KIND, ROOT, WEB, process_stack
from .support import read_value

FAULTS = {
    "latency": lambda faults: faults.latency("redis", 0.05),
    "long latency": lambda faults: faults.latency("redis", 1),
    "bandwidth limited": lambda faults: faults.bandwidth_limited("redis", 4000),
    "connections reset": lambda faults: faults.connections_reset("redis"),
    "half open": lambda faults: faults.half_open("redis"),
    "responses dropped": lambda faults: faults.responses_dropped("redis"),
    "out of memory": lambda faults: faults.out_of_memory("redis"),
    # The volume of the store, filled from the proxy: it keeps running when the store exits.
    "disk full": lambda faults: faults.disk_full("redis-proxy", "/data"),
}

#: Faults that need not make hits fail: they take longer, or use another connection.
HARMLESS = {"latency", "bandwidth limited", "half open"}


@pytest.fixture(scope="module")
def proxied(pytestconfig, image):
    """A stack with a proxy between web and store."""
    if pytestconfig.stash[KIND] == "process":
        made = process_stack()
    else:
        files = [*FILES, ROOT / "tests" / "e2e" / "docker-compose.proxy.yml"]
        made = ComposeStack(files, make_project_name("counter"), endpoint=WEB)
    with made:
        yield made


@pytest.fixture
def shared_stack(proxied):
    """Use the stack with the proxy for `stack` and `faults`."""
    return proxied


@pytest.mark.parametrize("fault", FAULTS)
def test_each_hit_counts_once_under_fault(stack, faults: Faults, fault):
    """Without keys the count agrees with the responses; with keys it is exact."""
    if fault == "disk full" and stack.kind == "process":
        pytest.skip("a process has no disk of its own")
    name = fault.replace(" ", "-")
    url, tally = stack.url(), Tally()
    keys = [str(uuid4()) for _ in range(30)]

    def send(key):
        headers = {"Idempotency-Key": f'"{key}"'}
        hits = f"{url}/counters/{name}-keyed/hits"
        return requests.post(hits, headers=headers, timeout=5).status_code == 200

    def send_until_acknowledged(key):
        assert wait_until(lambda: send(key), what="an acknowledgement")

    def count_failed():
        tally.add(send_hit(url, counter=name))
        return tally.not_counted + tally.unknown

    for key in keys[:10]:
        tally.add(send_hit(url, counter=name))
        send_until_acknowledged(key)
    with FAULTS[fault](faults):
        for key in keys[10:20]:
            tally.add(send_hit(url, counter=name))
            send(key)
        if fault in HARMLESS:
            # A hit may spend its timeout on a connection that is silent.
            assert tally.not_counted + tally.unknown <= 2
        else:
            wait_until(count_failed, what="a hit that is not acknowledged", pause=0)
    stack.wait_ready()
    for key in keys:
        send_until_acknowledged(key)
    for _ in range(10):
        tally.add(send_hit(url, counter=name))
    tally.check(before=0, after=read_value(stack, name))
    assert read_value(stack, f"{name}-keyed") == len(keys)
