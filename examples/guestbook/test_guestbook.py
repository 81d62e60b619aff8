"""The guestbook under faults."""

import pytest

from flask_redis_counter.testing import direct, wait_until


def sign(stack, text):
    return direct.post(f"{stack.url()}/entries", text).status_code


def entries(stack):
    return direct.get(f"{stack.url()}/entries").json()


@pytest.mark.parametrize(
    "fault", ["killed", "stopped", "paused", "partitioned", "connections_reset"]
)
def test_entries_survive_fault(stack, faults, fault):
    assert sign(stack, fault) == 201
    with getattr(faults, fault)("redis"):
        assert sign(stack, "rejected") == 503
    stack.wait_ready()
    assert fault in entries(stack)


def test_dropped_response_leaves_entry(stack, faults):
    with faults.responses_dropped("redis"):
        assert sign(stack, "echo") == 503
    # Once for each attempt of redis-py. On a busy machine the entry arrives a moment later.
    wait_until(lambda: "echo" in entries(stack), what="the entry")


def test_full_memory_rejects_entry(stack, faults):
    with faults.out_of_memory("redis"):
        assert sign(stack, "too much") == 503
    assert "too much" not in entries(stack)


def test_random_faults(stack, faults, nemesis):
    with nemesis(
        {"pause": lambda: faults.paused("redis"), "latency": lambda: faults.latency("redis", 2)}
    ):
        assert {sign(stack, "perhaps") for _ in range(20)} <= {201, 503}
