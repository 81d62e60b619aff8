"""Acknowledged hits survive restarts and crashes."""

import pytest

from flask_redis_counter.testing import run_load, wait_until

from .support import read_value, run_under_load


@pytest.mark.parametrize("service", ["redis", "web"])
def test_hits_survive_a_restart_under_load(stack, service):
    """A restart under load loses and duplicates no hit."""
    before = read_value(stack)
    tally = run_under_load(stack, lambda: stack.restart(service))
    stack.wait_ready()
    tally.check(before=before, after=read_value(stack))


@pytest.mark.parametrize("service", ["redis", "web"])
def test_hits_survive_a_sigkill_under_load(stack, service):
    """A SIGKILL under load loses no acknowledged hit."""
    before = read_value(stack)

    def kill_and_start():
        stack.kill(service)
        stack.start(service)

    tally = run_under_load(stack, kill_and_start)
    stack.wait_ready()
    tally.check(before=before, after=read_value(stack))


def test_hits_survive_down_and_up(new_stack):
    """The counts are on a volume that survives `down`."""
    with new_stack() as stack:
        tally = run_load(stack.url, clients=4, should_continue=lambda tally: len(tally.values) < 40)
        stack.down()
        stack.up()
        stack.wait_ready()
        assert read_value(stack) == len(tally.values)
        tally.check(before=0, after=read_value(stack))


def test_store_is_restarted_when_its_process_dies(stack):
    """The restart policy starts a store again whose process dies."""
    if stack.kind != "compose":
        pytest.skip("restart policies are Docker's")
    before = read_value(stack)
    (container,) = stack.containers("redis")
    restarts = stack.inspect(container)["RestartCount"]
    stack.compose("exec", "redis", "sh", "-c", "kill -TERM 1")
    wait_until(
        lambda: stack.inspect(container)["RestartCount"] > restarts, what="a restart of redis"
    )
    stack.wait_ready()
    assert read_value(stack) == before
