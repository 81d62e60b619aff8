"""Demoted primaries, and other servers that reply but take no hits."""

import asyncio
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from flask_redis_counter import AsyncRedisCounter, RedisCounter, create_app
from flask_redis_counter.errors import StoreRejectedError
from flask_redis_counter.extension.state import EXTENSION_KEY
from flask_redis_counter.testing import wait_until
from flask_redis_counter.testing.stacks.proxy import Proxy

from .support import KEY, SLACK, awaited_outcome, check, outcome, problem, wait_for_replicas, within


class Pair:
    """A primary and its replica, behind an address that leads to one of them."""

    def __init__(self, start_server):
        start = "--repl-diskless-sync-delay", "0"
        self.primary, self.replica = start_server(*start), start_server(*start)
        self.proxy = Proxy([self.primary.port])
        self.url = f"redis://127.0.0.1:{self.proxy.port}/0"
        self._clients = [redis.Redis.from_url(it.url) for it in (self.primary, self.replica)]
        self._clients[1].replicaof("127.0.0.1", self.primary.port)
        self._wait_for_replica(0)

    def demote(self):
        """Swap the roles; connections to the old primary stay open."""
        # Hits that the replica does not have by now would be lost, as in each failover.
        wait_for_replicas(self._clients[0], 1)
        self._clients[1].replicaof("NO", "ONE")
        self._clients[0].replicaof("127.0.0.1", self.replica.port)
        self._wait_for_replica(1)

    def switch_to_new_primary(self):
        """Route new connections to the new primary, as after a change in DNS."""
        self.proxy.backends = [("127.0.0.1", self.replica.port)]

    def value(self):
        """Return the value on the new primary."""
        return int(self._clients[1].get(KEY))

    def close(self):
        """Close the proxy and the clients."""
        self.proxy.close()
        for client in self._clients:
            client.close()

    def _wait_for_replica(self, primary):
        replica = self._clients[1 - primary]
        wait_until(
            lambda: replica.info("replication").get("master_link_status") == "up", what="a replica"
        )
        wait_for_replicas(self._clients[primary], 1)


@pytest.fixture
def pair(start_server):
    """A primary and its replica."""
    pair = Pair(start_server)
    yield pair
    pair.close()


@pytest.mark.parametrize("idempotency_key", [None, "t"])
def test_hits_move_to_the_new_primary(pair, idempotency_key):
    """The first hit after a failover connects to the new primary, and counts there."""
    with RedisCounter(pair.url, timeout=5) as counter, ThreadPoolExecutor(8) as pool:
        values = list(pool.map(lambda _: counter.hit("visits").value, range(50)))
        pair.demote()
        pair.switch_to_new_primary()
        values.append(counter.hit("visits", idempotency_key=idempotency_key).value)
        values += pool.map(lambda _: counter.hit("visits").value, range(50))
        assert sorted(values) == list(range(1, 102))
        assert pair.value() == 101


def test_hits_move_to_the_new_primary_with_asyncio(pair):
    """The same, awaited."""

    async def count():
        async with AsyncRedisCounter(pair.url, timeout=5) as counter:
            values = await asyncio.gather(*[counter.hit("visits") for _ in range(50)])
            pair.demote()
            pair.switch_to_new_primary()
            values += await asyncio.gather(*[counter.hit("visits") for _ in range(50)])
            await counter.set("visits", 100)
            return [hit.value for hit in values]

    assert sorted(asyncio.run(count())) == list(range(1, 101))
    assert pair.value() == 100


def test_changes_and_reads_find_the_new_primary(pair):
    """set, delete and value use the new primary after a rejection by the old one."""
    with RedisCounter(pair.url, timeout=5) as counter:
        counter.hit("visits")
        pair.demote()
        pair.switch_to_new_primary()
        assert counter.set("visits", 7) == 1
        assert counter.value("visits") == 7
    with RedisCounter(pair.url, timeout=5) as counter:
        assert counter.delete("visits") == 7


def test_hits_without_a_primary_are_not_counted(pair):
    """Hits fail within the timeout while there is no primary, and count again afterwards."""
    with RedisCounter(pair.url, timeout=0.5) as counter, ThreadPoolExecutor(10) as pool:
        values = [counter.hit("visits").value]
        pair.demote()
        with within(0.5 + SLACK), pytest.raises(StoreRejectedError, match="read only replica"):
            counter.hit("visits")
        with within(0.5 + SLACK):
            values += pool.map(lambda _: outcome(lambda: counter.hit("visits")), range(30))
        assert set(values[1:]) == {"not_counted"}
        pair.switch_to_new_primary()
        values.append(wait_until(lambda: counter.hit("visits").value, what="a hit"))
        check(values, pair.value())
        assert pair.value() == 2


def test_hits_without_a_primary_are_not_counted_with_asyncio(pair):
    """The same, awaited."""

    async def count():
        async with AsyncRedisCounter(pair.url, timeout=0.5) as counter:
            values = [await awaited_outcome(counter.hit("visits"))]
            pair.demote()
            with within(0.5 + SLACK):
                hits = [awaited_outcome(counter.hit("visits")) for _ in range(30)]
                values += await asyncio.gather(*hits)
            assert set(values[1:]) == {"not_counted"}
            pair.switch_to_new_primary()
            async with asyncio.timeout(10):
                while values[-1] in (
                    "not_counted",
                    "unknown",
                ):  # connecting takes longer on a busy machine
                    values.append(await awaited_outcome(counter.hit("visits")))
            return values

    check(asyncio.run(count()), pair.value())


def test_hit_waiting_for_a_replica_survives_a_demotion(pair):
    """`UNBLOCKED` does not count as a replica's confirmation; the hit is sent again."""
    with RedisCounter(pair.url, timeout=3, durability="replica") as counter:
        assert counter.hit("visits").value == 1
        pair.demote()
        pair.switch_to_new_primary()
        assert counter.hit("visits").value == 2
    assert pair.value() == 2


@pytest.fixture
def ready(own_server, client_of):
    """Return the status of `/readyz` on this server, with settings."""

    def get(**config):
        return client_of(REDIS_URL=own_server.url, COUNTER_TIMEOUT=2, **config).get("/readyz")

    return get


FAULTS = {
    "replica": ("REPLICAOF", "127.0.0.1", "1"),
    "full": ("CONFIG", "SET", "maxmemory", "1"),
    "replicas": ("CONFIG", "SET", "min-replicas-to-write", "1"),
    "rights": ("ACL", "SETUSER", "default", "-incrby"),
    "scripts": ("ACL", "SETUSER", "default", "-evalsha"),
    "records": ("ACL", "SETUSER", "default", "-set"),
    "keys": ("ACL", "SETUSER", "default", "resetkeys", "~other:*"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_readyz_fails_if_a_hit_would_be_rejected(own_server, ready, fault):
    """/readyz and check_ready fail if the store would reject a hit, and change nothing."""
    with (
        redis.Redis.from_url(own_server.url) as client,
        RedisCounter(own_server.url, timeout=5) as counter,
    ):
        assert ready().status_code == 200
        assert client.keys() == []
        client.execute_command(*FAULTS[fault])
        with pytest.raises(StoreRejectedError):
            counter.hit("visits")
        with pytest.raises(StoreRejectedError):
            counter.check_ready()
        assert "rejects hits" in problem(ready(), 503)["detail"]

        async def check_ready():
            async with AsyncRedisCounter(own_server.url, timeout=5) as awaited:
                await awaited.check_ready()

        with pytest.raises(StoreRejectedError):
            asyncio.run(check_ready())


def test_readyz_fails_if_the_disk_failed(start_server, tmp_path, client_of):
    """/readyz fails on a server whose last snapshot failed: it takes no writes."""
    server = start_server("--appendonly", "no", "--save", "3600 1")
    web = client_of(REDIS_URL=server.url, COUNTER_TIMEOUT=2)
    with (
        redis.Redis.from_url(server.url) as client,
        RedisCounter(server.url, timeout=5) as counter,
    ):
        assert web.get("/readyz").status_code == 200
        shutil.rmtree(tmp_path / "store0")  # its folder
        client.bgsave()
        wait_until(
            lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err", what="a failure"
        )
        with pytest.raises(StoreRejectedError, match="snapshots"):
            counter.hit("visits")
        assert "rejects hits" in problem(web.get("/readyz"), 503)["detail"]


def test_readyz_fails_without_a_replica_to_wait_for(pair, client_of):
    """/readyz needs a replica with `durability=replica`."""
    alone = {"COUNTER_TIMEOUT": 1, "COUNTER_DURABILITY": "replica"}
    web = client_of(REDIS_URL=pair.primary.url, **alone)
    wait_until(lambda: web.get("/readyz").status_code == 200, what="that it is ready")
    pair.replica.kill()
    wait_until(lambda: web.get("/readyz").status_code == 503, what="that it is not ready")


def test_readyz_with_a_spool_reports_spooling(own_server, tmp_path):
    """/readyz is ready with a spool if the store rejects hits, and says that they are spooled."""
    app = create_app(
        {
            "REDIS_URL": own_server.url,
            "COUNTER_ON_OUTAGE": "spool",
            "COUNTER_SPOOL_DIR": str(tmp_path / "spool"),
        }
    )
    with redis.Redis.from_url(own_server.url) as client:
        client.execute_command(*FAULTS["full"])
        assert app.test_client().get("/readyz").json == {"status": "spooling", "spooled": 0}
        assert app.test_client().get("/count").status_code == 202
        client.config_set("maxmemory", 0)
        wait_until(lambda: client.get(KEY) == b"1", what="the hit")
    app.extensions[EXTENSION_KEY].counter.close()
