"""Retries: a lost reply or a hanging server does not count a hit twice."""

import asyncio
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
import redis

from flask_redis_counter import AsyncRedisCounter, OutcomeUnknownError, RedisCounter
from flask_redis_counter.testing import RedisServerProcess, wait_until

from .lossy_proxy import LossyProxy
from .support import KEY, sleeps

LOSSES = pytest.mark.parametrize(
    ("hold", "idempotency_key"),
    [(True, None), (False, None), (False, "t")],
    ids=["held", "closed", "closed-key"],
)


@pytest.fixture
def proxy(server: RedisServerProcess) -> Iterator[LossyProxy]:
    """A proxy in front of the server that can lose replies."""
    proxy = LossyProxy(server.port)
    yield proxy
    proxy.close()


@LOSSES
def test_hit_with_a_lost_reply_counts_once(proxy, client, hold, idempotency_key):
    """The hit is sent again, counts once, and has the right value."""
    with RedisCounter(proxy.url, timeout=4) as counter:
        assert counter.hit("visits").value == 1
        proxy.lose(2 if not hold else 1, hold=hold)
        hit = counter.hit("visits", 3, idempotency_key=idempotency_key)
        assert (hit.value, hit.replayed) == (4, False)
        assert proxy.lost >= 1
        assert counter.hit("visits").value == 5
    assert client.get(KEY) == b"5"


@LOSSES
def test_async_hit_with_a_lost_reply_counts_once(proxy, client, hold, idempotency_key):
    """The awaited hit is sent again, counts once, and has the right value."""

    async def count():
        async with AsyncRedisCounter(proxy.url, timeout=4) as counter:
            assert (await counter.hit("visits")).value == 1
            proxy.lose(2 if not hold else 1, hold=hold)
            hit = await counter.hit("visits", 3, idempotency_key=idempotency_key)
            assert (hit.value, hit.replayed) == (4, False)
            assert proxy.lost >= 1
            assert (await counter.hit("visits")).value == 5

    asyncio.run(count())
    assert client.get(KEY) == b"5"


def test_many_hits_with_lost_replies_count_once(proxy, client):
    """Each hit counts once, with and without an idempotency key."""

    def hit(number):
        return counter.hit(
            "visits", idempotency_key=f"t{number}" if number % 5 == 0 else None
        ).value

    with RedisCounter(proxy.url, timeout=10) as counter, ThreadPoolExecutor(8) as pool:
        proxy.lose(20, hold=False)
        values = list(pool.map(hit, range(400)))
    assert proxy.lost == 20
    assert sorted(values) == list(range(1, 401))
    assert client.get(KEY) == b"400"


def test_plain_redis_py_counts_a_lost_reply_twice(proxy, client):
    """One call of redis-py's `incr` with a lost reply counts twice."""
    with redis.Redis(host="127.0.0.1", port=proxy.port, socket_timeout=2) as plain:
        proxy.lose(1, hold=False)
        assert plain.incr(KEY) == 2
    assert client.get(KEY) == b"2"


def test_hanging_server_counts_once_unlike_plain_redis_py(server, client):
    """On a hanging server redis-py counts one call twice or more, this package once."""
    with redis.Redis(host="127.0.0.1", port=server.port, socket_timeout=0.2) as plain:
        plain.ping()
        sleeps(server, 0.7)
        assert plain.incr("plain") >= 2
    with RedisCounter(server.url, timeout=2) as counter:
        counter.ping()
        sleeps(server, 1)
        assert counter.hit("visits").value == 1
    assert client.get(KEY) == b"1"


@contextmanager
def frozen(server: RedisServerProcess, *, until) -> Iterator[None]:
    """Freeze a server, and thaw it from another thread when a condition holds."""

    def thaw() -> None:
        try:
            wait_until(until, what="the moment to thaw", timeout=10, pause=0.01)
        finally:
            server.signal(signal.SIGCONT)

    server.signal(signal.SIGSTOP)
    thread = threading.Thread(target=thaw)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def test_hits_on_a_frozen_server_count_once_after_it_thaws(own_server):
    """All hits count once after the thaw, though each was sent more than once."""
    sent = threading.Event()
    with RedisCounter(own_server.url, timeout=3) as counter, ThreadPoolExecutor(8) as pool:
        assert counter.hit("visits").value == 1
        round_trip = counter._pool.round_trip

        def watched(*arguments):
            try:
                return round_trip(*arguments)
            except OutcomeUnknownError:
                sent.set()
                raise

        counter._pool.round_trip = watched
        with frozen(own_server, until=sent.is_set):
            values = list(pool.map(lambda _: counter.hit("visits").value, range(50)))
        assert sorted(values) == list(range(2, 52))
        assert counter.value("visits") == 51
