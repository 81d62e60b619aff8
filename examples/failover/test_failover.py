"""A count in Redis, under a planned failover and with an isolated master."""

import pytest

from flask_redis_counter.testing import wait_until


def ask(stack, host, *command):
    """Send a command from the client's container."""
    return stack.run_redis_command("client", "-h", host, *command)


def find_master(stack):
    """Return the host that the Sentinel names."""
    command = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "counters"]
    return stack.run_redis_command("sentinel", *command, port=26379).split()[0]


@pytest.fixture
def servers(stack):
    """The master and its replica, both with one hit."""
    master = find_master(stack)
    (replica,) = {"redis", "replica"} - {master}
    ask(stack, master, "SET", "hits", "1")
    # After a failover the old master becomes a replica some ten seconds later.
    wait_until(lambda: "master_link_status:up" in ask(stack, replica, "INFO"), what="a replica")
    wait_until(lambda: ask(stack, replica, "GET", "hits") == "1", what="the hit on the replica")
    return master, replica


def test_failover_keeps_count(stack, faults, servers):
    _, replica = servers
    with faults.failover("sentinel"):
        assert find_master(stack) == replica
        assert ask(stack, replica, "INCR", "hits") == "2"


def test_isolated_master_loses_hits(stack, faults, servers):
    master, replica = servers
    with faults.isolated(master, with_clients=["client"]):
        for hits in range(2, 7):  # acknowledged, and received by no replica
            assert ask(stack, master, "INCR", "hits") == str(hits)
        wait_until(lambda: find_master(stack) == replica, what="the replica as the master")
        assert ask(stack, replica, "GET", "hits") == "1"
    wait_until(lambda: ask(stack, master, "GET", "hits") == "1", what="the loss of five hits")
