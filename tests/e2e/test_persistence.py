"""Acknowledged hits survive whatever happens to the processes."""

import pytest

from flask_redis_counter.testing import run_load, wait_until

from .support import under_load, value


@pytest.mark.parametrize("service", ["redis", "web"])
def test_hits_survive_a_restart_under_load(stack, service):
    """A restart loses nothing and repeats nothing."""
    before = value(stack)
    tally = under_load(stack, lambda: stack.restart(service))
    stack.wait_ready()
    tally.check(before=before, after=value(stack))


@pytest.mark.parametrize("service", ["redis", "web"])
def test_hits_survive_a_sigkill_under_load(stack, service):
    """A SIGKILL loses nothing that was acknowledged."""
    before = value(stack)

    def disturb():
        stack.kill(service)
        stack.start(service)

    tally = under_load(stack, disturb)
    stack.wait_ready()
    tally.check(before=before, after=value(stack))


def test_hits_survive_down_and_up(new_stack):
    """The counts are on a volume that outlives the containers."""
    with new_stack() as stack:
        tally = run_load(stack.url, clients=4, should_continue=lambda tally: len(tally.values) < 40)
        stack.down()
        stack.up()
        stack.wait_ready()
        assert value(stack) == len(tally.values)
        tally.check(before=0, after=value(stack))


def test_a_store_killed_within_comes_back_by_itself(stack):
    """The restart policy brings back a store whose process dies."""
    if stack.kind != "compose":
        pytest.skip("restart policies are Docker's")
    before = value(stack)
    (container,) = stack.containers("redis")
    restarts = stack.inspect(container)["RestartCount"]
    stack.compose("exec", "redis", "sh", "-c", "kill -TERM 1")
    wait_until(
        lambda: stack.inspect(container)["RestartCount"] > restarts, what="a restart of redis"
    )
    stack.wait_ready()
    assert value(stack) == before
