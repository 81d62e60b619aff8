"""Faults of replicated stores: a failover by Sentinels, and an isolated master with its clients."""

from pathlib import Path

import pytest

pytestmark = pytest.mark.compose

EXAMPLE = Path(__file__).parents[2] / "examples" / "failover"

#: The example's stack with three Sentinels, and Valkey instead of Redis.
VALKEY = (
    (EXAMPLE / "docker-compose.yml")
    .read_text("utf-8")
    .replace("redis:alpine", "valkey/valkey:alpine")
    .replace("redis-server", "valkey-server")
    .replace("redis 6379 1", "redis 6379 2")
    .replace("  sentinel:\n", "  sentinel:\n    deploy: {replicas: 3}\n")
)

FAILOVERS = """
from flask_redis_counter.testing import wait_until

def ask(stack, host, *command):
    return stack.run_redis_command("client", "-h", host, *command)

def named_masters(stack):
    command = "SENTINEL", "GET-MASTER-ADDR-BY-NAME", "counters"
    replies = [
        stack.run_redis_command("sentinel", *command, port=26379, replica=n) for n in range(3)
    ]
    return {reply.split()[0] for reply in replies}

def test_two_failovers(stack, faults):
    hits = 0
    for old, new in [("redis", "replica"), ("replica", "redis")]:
        assert named_masters(stack) == {old}
        for _ in range(5):
            ask(stack, old, "INCR", "hits")
            hits += 1
        # A Sentinel makes the demoted server a replica after some ten seconds.
        wait_until(lambda: ask(stack, new, "GET", "hits") == str(hits), what="a replica in step")
        with faults.failover("sentinel"):
            assert named_masters(stack) == {new}
            assert ask(stack, new, "ROLE").split()[0] == "master"
            assert ask(stack, new, "GET", "hits") == str(hits)
        assert named_masters(stack) == {new}
"""

#: A store, two of its clients, and a client with a published port.
NETWORKS = """
services:
  redis:
    image: redis:alpine
    networks: {front: {aliases: [store]}, back: }
    stop_grace_period: 1s
  client:
    image: redis:alpine
    networks: [front, back]
    ports: ["127.0.0.1::6379"]
    stop_grace_period: 1s
  other:
    image: redis:alpine
    networks: [front]
    stop_grace_period: 1s
networks:
  front:
  back: {internal: true}
"""

ISOLATED = """
import pytest
from flask_redis_counter.testing import StackError
from flask_redis_counter.testing.stacks.docker import run_docker

def hit(stack, client, host="redis"):
    words = "timeout", "2", "redis-cli", "-e", "-h", host, "INCR", "hits"
    return int(stack.exec(client, *words).output)

def networks(stack):
    found = {}
    for service in stack.services():
        (container,) = stack.containers(service)
        each = stack.inspect(container)["NetworkSettings"]["Networks"]
        found[service] = {name: sorted(it["Aliases"]) for name, it in each.items()}
    return found

def published(stack):
    import redis
    host, port = stack.address("client", 6379)
    with redis.Redis(host, port, socket_timeout=2) as store:
        return port, store.ping()

def test_only_clients_reach_service(stack, faults):
    before, port = networks(stack), published(stack)
    assert [hit(stack, "client"), hit(stack, "other")] == [1, 2]
    with faults.isolated("redis", with_clients=["client"]):
        assert [hit(stack, "client"), hit(stack, "client", "store")] == [3, 4]
        with pytest.raises(StackError):
            hit(stack, "other")
        assert hit(stack, "client") == 5
        assert published(stack) == port
        assert stack.exec("redis", "redis-cli", "-h", "client", "PING").output == "PONG\\n"
        with pytest.raises(StackError):
            stack.exec("redis", "timeout", "2", "redis-cli", "-e", "-h", "other", "PING")
        assert networks(stack)["other"] == before["other"]
    assert [hit(stack, "other"), hit(stack, "client", "store")] == [6, 7]
    assert (networks(stack), published(stack)) == (before, port)
    assert "isolated" not in run_docker("docker", "network", "ls")

def test_service_that_was_killed_while_isolated(stack, faults):
    before = networks(stack)
    with faults.isolated("redis", with_clients=["client"]):
        with faults.killed("client"):
            pass
        stack.kill("redis")
        stack.start("redis")
        assert hit(stack, "client") > 0
    assert networks(stack) == before
    assert hit(stack, "other") > 0

def test_nemesis(stack, faults, nemesis):
    before = networks(stack)
    kinds = {
        "isolated": lambda: faults.isolated("redis", with_clients=["client"]),
        "partitioned": lambda: faults.partitioned("redis"),
    }
    first = hit(stack, "client")
    with nemesis(kinds, rate=600) as working:
        counted = 0
        while len(working.done) < 4:
            try:
                last = hit(stack, "client")
            except StackError:
                continue
            counted += 1
    assert networks(stack) == before
    assert hit(stack, "client") > first + counted > first

def test_stack_is_removed_while_isolated(stack):
    stack.isolate("redis", with_clients=["client"])
"""


def test_failovers_with_three_sentinels(suite, pytester):
    """All Sentinels name the promoted server, which has every hit that was replicated."""
    pytester.makefile(".yml", compose=VALKEY)
    pytester.makepyfile(test_it=FAILOVERS)
    suite().assert_outcomes(passed=1)


def test_isolated_service(suite, pytester):
    """Only its clients count on it meanwhile; its networks, names and their ports stay."""
    pytester.makefile(".yml", compose=NETWORKS)
    pytester.makepyfile(test_it=ISOLATED)
    suite().assert_outcomes(passed=4)
