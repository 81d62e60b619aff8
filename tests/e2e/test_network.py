"""What the network does between web and store, and a store in want: each hit counts once."""

from uuid import uuid4

import pytest
import requests

from flask_redis_counter.testing import ComposeStack, Faults, Tally, send_hit, wait_until
from flask_redis_counter.testing.stacks.project import make_project_name

from .conftest import FILES, KIND, ROOT, WEB, process_stack
from .support import value

FAULTS = {
    "slow": lambda faults: faults.latency("redis", 0.05),
    "too slow": lambda faults: faults.latency("redis", 1),
    "choked": lambda faults: faults.bandwidth_limited("redis", 4000),
    "reset": lambda faults: faults.connections_reset("redis"),
    "half open": lambda faults: faults.half_open("redis"),
    "replies lost": lambda faults: faults.responses_dropped("redis"),
    "out of memory": lambda faults: faults.out_of_memory("redis"),
    # The disk is the store's; it is filled by one that runs on when the store gives up.
    "disk full": lambda faults: faults.disk_full("redis-proxy", "/data"),
}

#: Those that nobody has to notice: the hits take longer, or another connection.
HARMLESS = {"slow", "choked", "half open"}


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
    """Let `stack` and `faults` be that one's."""
    return proxied


@pytest.mark.parametrize("fault", FAULTS)
def test_each_hit_counts_once(stack, faults: Faults, fault):
    """Without a key within what was said; with one exactly, once it is acknowledged."""
    if fault == "disk full" and stack.kind == "process":
        pytest.skip("a process has no disk of its own")
    name = fault.replace(" ", "-")
    url, tally = stack.url(), Tally()
    tokens = [str(uuid4()) for _ in range(30)]

    def send(idempotency_key):
        headers = {"Idempotency-Key": f'"{idempotency_key}"'}
        hits = f"{url}/counters/{name}-keyed/hits"
        return requests.post(hits, headers=headers, timeout=5).status_code == 200

    def settle(idempotency_key):
        assert wait_until(lambda: send(idempotency_key), what="an acknowledgement")

    def noticed():
        tally.add(send_hit(url, counter=name))
        return tally.not_counted + tally.unknown

    for idempotency_key in tokens[:10]:
        tally.add(send_hit(url, counter=name))
        settle(idempotency_key)
    with FAULTS[fault](faults):
        for idempotency_key in tokens[10:20]:
            tally.add(send_hit(url, counter=name))
            send(idempotency_key)
        if fault in HARMLESS:
            # A hit may spend its deadline on finding out that its connection is silent.
            assert tally.not_counted + tally.unknown <= 2
        else:
            wait_until(noticed, what="a hit that is not acknowledged", pause=0)
    stack.wait_ready()
    for idempotency_key in tokens:
        settle(idempotency_key)
    for _ in range(10):
        tally.add(send_hit(url, counter=name))
    tally.check(before=0, after=value(stack, name))
    assert value(stack, f"{name}-keyed") == len(tokens)
