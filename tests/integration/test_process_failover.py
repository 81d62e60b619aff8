"""The fault `failover` on a stack of processes."""

import pytest

from flask_redis_counter.store.valkey_binary import server_binary
from flask_redis_counter.testing import Faults, ProcessStack, Program, wait_until

#: Writes the Sentinel's file, which it changes later, and runs it.
SENTINEL = """
printf 'port {{port}}\\nsentinel monitor counters 127.0.0.1 {{redis}} 1\\n' > {{data}}/sentinel.conf
exec {server} {{data}}/sentinel.conf --sentinel
"""


@pytest.fixture
def stack():
    """A master, a replica and a Sentinel, each behind a proxy."""
    server = server_binary()
    options = ["--port", "{port}", "--dir", "{data}", "--save", "", "--repl-diskless-sync-delay"]
    redis = [server, *options, "0", "--replica-announce-port"]
    programs = {
        "redis": Program([*redis, "{redis}"]),
        "replica": Program([*redis, "{replica}", "--replicaof", "127.0.0.1 {redis}"]),
        "sentinel": Program(["sh", "-c", SENTINEL.format(server=server)]),
    }
    with ProcessStack(programs) as stack:
        yield stack


def test_failover_of_processes(stack):
    """The replica is promoted, and has the count."""
    assert stack.run_redis_command("redis", "INCR", "hits") == "1"
    wait_until(
        lambda: stack.run_redis_command("replica", "GET", "hits") == "1", what="a replica in step"
    )
    with Faults(stack).failover("sentinel"):
        assert stack.run_redis_command("replica", "INCR", "hits") == "2"
    command = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "counters"]
    _, port = stack.run_redis_command("sentinel", *command).split()
    assert int(port) == stack.address("replica", 6379)[1]


def test_command_of_one_replica(stack):
    """run_redis_command sends it to the replica with that number, whatever the port."""
    stack.scale("redis", 2)
    for number, hits in enumerate(["1", "1", "2"]):
        reply = stack.run_redis_command("redis", "INCR", "own", port=6379, replica=number % 2)
        assert reply == hits
