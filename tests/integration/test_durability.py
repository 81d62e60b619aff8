"""durability=fsync and durability=replica: hits that wait for the disk or a replica."""

import asyncio
import signal
from contextlib import contextmanager

import pytest
import redis

from flask_redis_counter import AsyncRedisCounter, RedisCounter, log_throttle
from flask_redis_counter.errors import (
    DurabilityUnsupportedError,
    OutcomeUnknownError,
    StoreRejectedError,
)
from flask_redis_counter.store.connections import WAITING_REDIS
from flask_redis_counter.testing import wait_until
from flask_redis_counter.transfer import CounterRecord, Transfer

from .support import KEY, SLACK, knows_waitaof, wait_for_replicas, within


def waits(client, command):
    """Return how often a command was executed."""
    return client.info("commandstats").get(f"cmdstat_{command}", {"calls": 0})["calls"]


def test_fsync_waits_for_the_disk(server, client):
    """fsync sends WAITAOF with each hit; a server without it is rejected."""
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


def test_fsync_waits_for_the_disk_with_asyncio(server, client):
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


def test_fsync_rejects_a_server_without_append_only_file(start_server):
    """fsync rejects a server with `appendonly no`: not counted."""
    store = start_server("--appendonly", "no")
    with RedisCounter(store.url, durability="fsync", timeout=3) as counter:
        with pytest.raises(DurabilityUnsupportedError, match="appendonly"):
            counter.hit("visits")
        assert counter.value is not None
    with redis.Redis.from_url(store.url) as client:
        assert client.dbsize() == 0


def test_fsync_rejects_a_server_that_replies_too_early(server, client):
    """fsync rejects Valkey without appendfsync always, whose WAITAOF replies too early."""
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


def test_fsync_warns_if_appendfsync_cannot_be_read(server, client, caplog):
    """Hits count, and one warning says that it is unknown whether they are on disk.

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


def test_hit_without_a_replica_is_unknown(server, client):
    """A hit that reaches no replica is unknown, within the timeout, and counts once."""
    with RedisCounter(server.url, timeout=10) as counter:
        counter.hit("other")  # the server knows the script: loading it would take half of the time
    with (
        RedisCounter(server.url, durability="replica", timeout=0.5) as counter,
        within(0.5 + SLACK),
        pytest.raises(OutcomeUnknownError),
    ):
        counter.hit("visits")
    assert client.get(KEY) == b"1"


def test_hit_is_on_the_replica_when_it_returns(server, client, start_server):
    """A hit is on the replica when hit returns."""
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


@pytest.fixture
def replicated(start_server):
    """A primary with two replicas in step: processes and clients, the primary first."""
    servers = [start_server("--repl-diskless-sync-delay", "0") for _ in range(3)]
    clients = [redis.Redis.from_url(server.url) for server in servers]
    for client in clients[1:]:
        client.replicaof("127.0.0.1", servers[0].port)
    wait_for_replicas(clients[0])
    yield servers, clients
    for client in clients:
        client.close()


@contextmanager
def frozen(server):
    """Freeze a server: its connections stay open."""
    server.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        server.signal(signal.SIGCONT)


def test_replica_accepts_a_number(replicated):
    """A hit under `replica:2` is on both replicas when it returns, and unknown if one hangs."""
    servers, clients = replicated
    with (
        RedisCounter(servers[0].url, durability="replica", timeout=2) as one,
        RedisCounter(servers[0].url, durability="replica:2", timeout=2) as two,
    ):
        for value in range(1, 6):
            assert two.hit("visits").value == value
            assert [client.get(KEY) for client in clients[1:]] == [b"%d" % value] * 2
        two.check_ready()
        with frozen(servers[1]):
            assert one.hit("visits").value == 6
            with pytest.raises(OutcomeUnknownError, match="not on 2 replicas, only on 1, within"):
                two.hit("visits")
        wait_for_replicas(clients[0])
        assert two.hit("visits").value == 8
        clients[2].replicaof("NO", "ONE")
        wait_until(lambda: clients[0].info()["connected_slaves"] == 1, what="one replica")
        one.check_ready()
        with pytest.raises(
            StoreRejectedError, match=r"replica:2 waits for .* too few are connected: 1"
        ):
            two.check_ready()
    assert clients[1].get(KEY) == b"8"


@pytest.mark.parametrize("frozen_replica", [1, 2])
@pytest.mark.parametrize("change", ["set", "delete", "import"])
def test_changes_wait_for_all_replicas(replicated, change, frozen_replica):
    """A change is on all replicas when it returns; while one hangs it is unknown, each time."""
    servers, clients = replicated
    url = servers[0].url

    def make():
        with Transfer(url, timeout=2) as transfer, RedisCounter(url, timeout=2) as counter:
            if change == "import":
                records = [CounterRecord("visits", 5), CounterRecord("other", 7)]
                list(transfer.import_records(records, "test"))
            elif change == "set":
                counter.set("visits", 5)
            else:
                counter.delete("visits")

    expected = None if change == "delete" else b"5"
    if change != "import":
        with RedisCounter(url, timeout=2) as counter:
            counter.set("visits", 3)
    with frozen(servers[frozen_replica]):
        # A repeat, on another connection, of an import or a deletion finds nothing to do.
        for _ in range(2):
            with (
                within(2 + SLACK),
                pytest.raises(OutcomeUnknownError, match="not on 2 replicas, only on 1"),
            ):
                make()
        reached = [clients[0], clients[3 - frozen_replica]]
        assert [client.get(KEY) for client in reached] == [expected] * 2
    wait_for_replicas(clients[0])
    make()
    assert [client.get(KEY) for client in clients] == [expected] * 3


def test_changes_wait_for_all_replicas_with_asyncio(replicated):
    """The same, awaited."""
    servers, clients = replicated

    async def change():
        async with AsyncRedisCounter(servers[0].url, timeout=2) as counter:
            await counter.set("visits", 5)
            assert [client.get(KEY) for client in clients] == [b"5"] * 3
            with frozen(servers[1]), pytest.raises(OutcomeUnknownError, match="only on 1"):
                await counter.delete("visits")
            wait_for_replicas(clients[0])
            assert await counter.delete("visits") is None

    asyncio.run(change())
    assert [client.get(KEY) for client in clients] == [None] * 3
