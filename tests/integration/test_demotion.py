"""A primary that was demoted, and other servers that answer and take no hits."""

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

from .support import KEY, SLACK, awaited_outcome, check, outcome, problem, within


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
        """Let them change places; the connections to the old primary stay open."""
        # What the replica has not got by now would be lost, as in each failover.
        self._clients[0].set("in step", 1)
        wait_until(lambda: self._clients[0].wait(1, 1000) == 1, what="a replica in step")
        self._clients[1].replicaof("NO", "ONE")
        self._clients[0].replicaof("127.0.0.1", self.replica.port)
        self._wait_for_replica(1)

    def lead_to_the_new_primary(self):
        """Let new connections go there, as after a change in DNS."""
        self.proxy.backends = [("127.0.0.1", self.replica.port)]

    def value(self):
        """Return what the new primary holds."""
        return int(self._clients[1].get(KEY))

    def close(self):
        """Close all that is open."""
        self.proxy.close()
        for client in self._clients:
            client.close()

    def _wait_for_replica(self, primary):
        replica = self._clients[1 - primary]
        wait_until(
            lambda: replica.info("replication").get("master_link_status") == "up", what="a replica"
        )
        wait_until(lambda: self._clients[primary].wait(1, 100) == 1, what="a replica in step")


@pytest.fixture
def pair(start_server):
    """Two servers."""
    pair = Pair(start_server)
    yield pair
    pair.close()


@pytest.mark.parametrize("idempotency_key", [None, "t"])
def test_a_demoted_primary_is_left(pair, idempotency_key):
    """The first hit after the change finds the new primary, and counts there."""
    with RedisCounter(pair.url, timeout=5) as counter, ThreadPoolExecutor(8) as pool:
        told = list(pool.map(lambda _: counter.hit("visits").value, range(50)))
        pair.demote()
        pair.lead_to_the_new_primary()
        told.append(counter.hit("visits", idempotency_key=idempotency_key).value)
        told += pool.map(lambda _: counter.hit("visits").value, range(50))
        assert sorted(told) == list(range(1, 102))
        assert pair.value() == 101


def test_a_demoted_primary_is_left_with_asyncio(pair):
    """The same, awaited."""

    async def count():
        async with AsyncRedisCounter(pair.url, timeout=5) as counter:
            told = await asyncio.gather(*[counter.hit("visits") for _ in range(50)])
            pair.demote()
            pair.lead_to_the_new_primary()
            told += await asyncio.gather(*[counter.hit("visits") for _ in range(50)])
            await counter.set("visits", 100)
            return [hit.value for hit in told]

    assert sorted(asyncio.run(count())) == list(range(1, 101))
    assert pair.value() == 100


def test_changes_and_reads_find_the_new_primary(pair):
    """A change that was refused is made there; what is read after it is read there."""
    with RedisCounter(pair.url, timeout=5) as counter:
        counter.hit("visits")
        pair.demote()
        pair.lead_to_the_new_primary()
        assert counter.set("visits", 7) == 1
        assert counter.value("visits") == 7
    with RedisCounter(pair.url, timeout=5) as counter:
        assert counter.delete("visits") == 7


def test_while_there_is_no_primary(pair):
    """Not counted, within the deadline, and one at a time finds out; then hits count again."""
    with RedisCounter(pair.url, timeout=0.5) as counter, ThreadPoolExecutor(10) as pool:
        told = [counter.hit("visits").value]
        pair.demote()
        with within(0.5 + SLACK), pytest.raises(StoreRejectedError, match="read only replica"):
            counter.hit("visits")
        with within(0.5 + SLACK):
            told += pool.map(lambda _: outcome(lambda: counter.hit("visits")), range(30))
        assert set(told[1:]) == {"not_counted"}
        pair.lead_to_the_new_primary()
        told.append(wait_until(lambda: counter.hit("visits").value, what="a hit"))
        check(told, pair.value())
        assert pair.value() == 2


def test_while_there_is_no_primary_with_asyncio(pair):
    """The same, awaited."""

    async def count():
        async with AsyncRedisCounter(pair.url, timeout=0.5) as counter:
            told = [await awaited_outcome(counter.hit("visits"))]
            pair.demote()
            with within(0.5 + SLACK):
                hits = [awaited_outcome(counter.hit("visits")) for _ in range(30)]
                told += await asyncio.gather(*hits)
            assert set(told[1:]) == {"not_counted"}
            pair.lead_to_the_new_primary()
            async with asyncio.timeout(10):
                while told[-1] in (
                    "not_counted",
                    "unknown",
                ):  # on a busy machine dialling takes its time
                    told.append(await awaited_outcome(counter.hit("visits")))
            return told

    check(asyncio.run(count()), pair.value())


def test_a_primary_that_is_demoted_while_a_hit_waits_for_its_replica(pair):
    """`UNBLOCKED` says that it waits in vain: the hit is not told to be on the replica."""
    with RedisCounter(pair.url, timeout=3, durability="replica") as counter:
        assert counter.hit("visits").value == 1
        pair.demote()
        pair.lead_to_the_new_primary()
        assert counter.hit("visits").value == 2
    assert pair.value() == 2


@pytest.fixture
def ready(own_server, client_of):
    """Return the status of `/readyz` on this server, with settings."""

    def ask(**config):
        return client_of(REDIS_URL=own_server.url, COUNTER_TIMEOUT=2, **config).get("/readyz")

    return ask


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
def test_ready_means_that_a_hit_would_be_taken(own_server, ready, fault):
    """Where a hit would be refused, it says so, and changes nothing."""
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


def test_ready_and_a_disk_that_fails(start_server, tmp_path, client_of):
    """A server whose snapshot failed takes no writes, and is not ready."""
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


def test_ready_with_a_replica_to_wait_for(pair, client_of):
    """With `durability=replica` a hit needs one."""
    alone = {"COUNTER_TIMEOUT": 1, "COUNTER_DURABILITY": "replica"}
    web = client_of(REDIS_URL=pair.primary.url, **alone)
    wait_until(lambda: web.get("/readyz").status_code == 200, what="that it is ready")
    pair.replica.kill()
    wait_until(lambda: web.get("/readyz").status_code == 503, what="that it is not ready")


def test_ready_with_a_spool(own_server, tmp_path):
    """What the store refuses is written down: that is ready, and says so."""
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
