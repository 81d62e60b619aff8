"""RedisCounter.from_env and AsyncRedisCounter.from_env on a real server."""

import asyncio

import pytest

from flask_redis_counter import AsyncRedisCounter, HitSpooledError, RedisCounter
from flask_redis_counter.testing import wait_until


def test_from_env_counts_in_the_store_of_the_settings(server, client):
    """A hit is counted under the prefix, in the store, that the environment names."""
    environ = {"REDIS_HOST": "127.0.0.1", "REDIS_PORT": str(server.port), "COUNTER_PREFIX": "a:"}
    with RedisCounter.from_env(environ, timeout=10) as counter:
        assert counter.hit("visits").value == 1
    assert client.get("a:{visits}") == b"1"


def test_from_env_with_asyncio_counts_in_the_same_store(server, client):
    """Both classes read the same settings."""
    environ = {"REDIS_URL": server.url, "COUNTER_TIMEOUT": "10"}

    async def count():
        async with AsyncRedisCounter.from_env(environ) as counter:
            return (await counter.hit("visits")).value

    with RedisCounter.from_env(environ) as counter:
        assert counter.hit("visits").value == 1
    assert asyncio.run(count()) == 2


def test_from_env_spools_while_the_store_is_away(own_server, tmp_path, monkeypatch):
    """The spool of the settings keeps a hit, and a later counter of the same settings counts it."""
    monkeypatch.setenv("REDIS_URL", own_server.url)
    monkeypatch.setenv("COUNTER_ON_OUTAGE", "spool")
    monkeypatch.setenv("COUNTER_SPOOL_DIR", str(tmp_path))
    own_server.stop()
    with RedisCounter.from_env() as counter, pytest.raises(HitSpooledError):
        counter.hit("visits")
    own_server.start()
    with RedisCounter.from_env() as counter:
        wait_until(lambda: counter.value("visits") == 1, what="the replayed hit")
