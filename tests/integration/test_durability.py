"""Hits that wait for the disk or for a replica."""

import asyncio

import pytest
import redis

from flask_redis_counter import AsyncRedisCounter, RedisCounter, log_throttle
from flask_redis_counter.errors import DurabilityUnsupportedError, OutcomeUnknownError
from flask_redis_counter.store.connections import WAITING_REDIS
from flask_redis_counter.testing import wait_until

from .support import KEY, SLACK, knows_waitaof, within


def waits(client, command):
    """Return how often a command was executed."""
    return client.info("commandstats").get(f"cmdstat_{command}", {"calls": 0})["calls"]


def test_hits_that_wait_for_the_disk(server, client):
    """WAITAOF is sent with each hit, and the values are right; an old server is unsuitable."""
    with RedisCounter(server.url, durability="fsync", timeout=3) as counter:
        if not knows_waitaof(client):
            with pytest.raises(DurabilityUnsupportedError, match="fsync") as caught:
                counter.hit("visits")
            assert caught.value.outcome == "not_counted"
            assert client.dbsize() == 0
            return
        counter.hit("visits")
        before = waits(client, "waitaof")
        assert [counter.hit("visits").value for _ in range(5)] == [2, 3, 4, 5, 6]
        assert counter.hit("visits", idempotency_key="t").value == 7
        assert counter.hit("visits", idempotency_key="t").replayed
        assert waits(client, "waitaof") - before == 7


def test_hits_that_wait_for_the_disk_with_asyncio(server, client):
    """The same, awaited."""

    async def count():
        async with AsyncRedisCounter(server.url, durability="fsync", timeout=3) as counter:
            return [(await counter.hit("visits")).value for _ in range(3)]

    if not knows_waitaof(client):
        with pytest.raises(DurabilityUnsupportedError, match="fsync"):
            asyncio.run(count())
        assert client.dbsize() == 0
        return
    assert asyncio.run(count()) == [1, 2, 3]
    assert waits(client, "waitaof") > 3


def test_a_server_without_a_file_is_unsuitable(start_server):
    """With `appendonly no` nothing can be waited for: not counted."""
    store = start_server("--appendonly", "no")
    with RedisCounter(store.url, durability="fsync", timeout=3) as counter:
        with pytest.raises(DurabilityUnsupportedError, match="appendonly"):
            counter.hit("visits")
        assert counter.value is not None
    with redis.Redis.from_url(store.url) as client:
        assert client.dbsize() == 0


def test_a_server_that_answers_before_the_disk_has_it(server, client):
    """Valkey's WAITAOF does, unless appendfsync is always: not counted, and the error says so."""
    if not knows_waitaof(client) or client.info("server").get("server_name") != "valkey":
        pytest.skip("not Valkey")

    async def count():
        async with AsyncRedisCounter(server.url, durability="fsync", timeout=3) as counter:
            return (await counter.hit("visits")).value

    policy = client.config_get("appendfsync")["appendfsync"]
    try:
        for lax in ("everysec", "no"):
            client.config_set("appendfsync", lax)
            with RedisCounter(server.url, durability="fsync", timeout=3) as counter:
                with pytest.raises(DurabilityUnsupportedError, match=f"on Valkey, and it is {lax}"):
                    counter.hit("visits")
                with pytest.raises(DurabilityUnsupportedError, match="appendfsync always"):
                    asyncio.run(count())
                assert client.get(KEY) is None
                client.config_set("appendfsync", "always")
                assert counter.hit("visits").value == 1
                assert asyncio.run(count()) == 2
                client.delete(KEY)
    finally:
        client.config_set("appendfsync", policy)


def test_a_server_whose_policy_cannot_be_read(server, client, caplog):
    """Hits count, and the log says once that nothing shows whether the disk has them.

    Redis 8 waits for the disk under any policy, so nothing is logged there.
    """
    if not knows_waitaof(client):
        pytest.skip("too old")
    facts = client.info("server")
    is_valkey = facts.get("server_name") == "valkey"
    waits = not is_valkey and int(facts["redis_version"].partition(".")[0]) >= WAITING_REDIS
    log_throttle._warned.clear()
    client.acl_setuser("blind", enabled=True, nopass=True, keys="*", commands=["+@all", "-config"])
    url = server.url.replace("redis://", "redis://blind:x@")
    try:
        for value in (1, 2):
            with RedisCounter(url, durability="fsync", timeout=3) as counter:
                assert counter.hit("visits").value == value
    finally:
        client.acl_deluser("blind")
    lines = [line for line in caplog.messages if "appendfsync always" in line]
    assert len(lines) == (0 if waits else 1)


def test_no_replica(server, client):
    """The hit counts and reaches no replica: unknown, within the deadline, and counted once."""
    with RedisCounter(server.url, timeout=10) as counter:
        counter.hit("other")  # the server knows the script: loading it would take half of the time
    with (
        RedisCounter(server.url, durability="replica", timeout=0.5) as counter,
        within(0.5 + SLACK),
        pytest.raises(OutcomeUnknownError),
    ):
        counter.hit("visits")
    assert client.get(KEY) == b"1"


def test_a_replica(server, client, start_server):
    """With a replica the hit is on it when the answer comes."""
    primary = ["--replicaof", f"127.0.0.1 {server.port}", "--repl-diskless-sync-delay", "0"]
    client.config_set("repl-diskless-sync-delay", 0)
    replica = start_server(*primary)
    with redis.Redis.from_url(replica.url) as behind:
        wait_until(
            lambda: behind.info("replication")["master_link_status"] == "up", what="a replica"
        )
        with RedisCounter(server.url, durability="replica", timeout=5) as counter:
            for value in range(1, 6):
                assert counter.hit("visits").value == value
                assert behind.get(KEY) == b"%d" % value
    assert waits(client, "wait") >= 5
