"""The guestbook under faults."""

import pytest

from flask_redis_counter.testing import direct, wait_until


def sign(stack, text):
    return direct.post(f"{stack.url()}/entries", text).status_code


def entries(stack):
    return direct.get(f"{stack.url()}/entries").json()


@pytest.mark.parametrize("fault", ["killed", "stopped", "paused", "partitioned", "reset"])
def test_what_was_signed_is_still_there(stack, faults, fault):
    assert sign(stack, fault) == 201
    with getattr(faults, fault)("redis"):
        assert sign(stack, "nobody reads this") == 503
    stack.wait_ready()
    assert fault in entries(stack)


def test_it_says_no_and_signed_all_the_same(stack, faults):
    with faults.responses_dropped("redis"):
        assert sign(stack, "echo") == 503
    # As often as redis-py has tried. On a busy machine the entry is there a moment later.
    wait_until(lambda: "echo" in entries(stack), what="the entry")


def test_a_full_memory(stack, faults):
    with faults.out_of_memory("redis"):
        assert sign(stack, "too much") == 503
    assert "too much" not in entries(stack)


def test_everything_at_once(stack, faults, nemesis):
    with nemesis(
        {"pause": lambda: faults.paused("redis"), "slow": lambda: faults.latency("redis", 2)}
    ):
        assert {sign(stack, "perhaps") for _ in range(20)} <= {201, 503}
