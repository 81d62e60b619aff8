"""What is known when a store fails, on real servers: sent or not sent, and in time."""

import signal
import time

import pytest
import redis

from flask_redis_counter import RedisCounter
from flask_redis_counter.errors import (
    OutcomeUnknownError,
    StoreRejectedError,
    StoreUnavailableError,
)
from flask_redis_counter.testing.stacks.process import free_port
from flask_redis_counter.testing.stacks.proxy import Proxy

from .support import KEY, nowhere, sleeps, within

TIMEOUT = 0.5


def timed(operation):
    """Return what an operation raises, and check that it does so within the deadline."""
    # The caller looks at what it is.
    with within(TIMEOUT + 0.1), pytest.raises(Exception) as caught:  # noqa: PT011
        operation()
    return caught.value


def test_nobody_listens():
    """A refused connection: not counted."""
    counter = RedisCounter(nowhere())
    error = timed(lambda: counter.hit("visits"))
    assert isinstance(error, StoreUnavailableError)
    assert error.outcome == "not_counted"


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a..b", "x" * 64])
def test_a_name_that_does_not_resolve(host):
    """An unknown or impossible host: not counted, within the deadline."""
    counter = RedisCounter(f"redis://{host}/0")
    assert isinstance(timed(lambda: counter.hit("visits")), StoreUnavailableError)


def test_a_resolver_that_hangs(monkeypatch):
    """Looking up a name has no time-out of its own; the deadline holds all the same."""
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: time.sleep(1.5))
    counter = RedisCounter("redis://slow.invalid/0")
    for _ in range(2):
        assert isinstance(timed(lambda: counter.hit("visits")), StoreUnavailableError)


def test_a_lost_reply_is_unknown_and_sent_once(client, store, server):
    """A server that hangs during a hit: plain redis-py may count twice, this counter never."""
    counter = RedisCounter(store)
    counter.hit("visits")
    sleeps(server, 1)
    error = timed(lambda: counter.hit("visits"))
    assert isinstance(error, OutcomeUnknownError)
    assert error.outcome == "unknown"
    assert client.get(KEY) == b"2"


def test_a_frozen_server(own_server):
    """A server that accepts nothing: in time, and never a false «not counted» once sent."""
    counter = RedisCounter(own_server.url)
    assert counter.hit("visits").value == 1
    own_server.signal(signal.SIGSTOP)
    assert isinstance(timed(lambda: counter.hit("visits")), OutcomeUnknownError)
    # The connection is gone by now; a new one is not answered, so nothing is sent.
    assert isinstance(timed(lambda: counter.hit("visits")), StoreUnavailableError)
    own_server.signal(signal.SIGCONT)
    assert counter.hit("visits").value in (2, 3)


def test_a_read_without_an_answer_changed_nothing(own_server):
    """Reads are never unknown."""
    counter = RedisCounter(own_server.url)
    counter.hit("visits")
    for read in (lambda: counter.value("visits"), counter.names, counter.ping):
        counter.ping()
        own_server.signal(signal.SIGSTOP)
        error = timed(read)
        own_server.signal(signal.SIGCONT)
        assert isinstance(error, StoreUnavailableError)
        assert error.outcome == "not_counted"


def test_a_restarted_server_counts_with_the_next_hit(own_server):
    """Connections that the server closed are noticed before anything is sent on them."""
    with RedisCounter(own_server.url) as counter:
        assert counter.hit("visits").value == 1
        own_server.kill()
        assert isinstance(timed(lambda: counter.hit("visits")), StoreUnavailableError)
        own_server.start()
        assert counter.hit("visits").value == 2


def test_a_network_that_is_cut(own_server):
    """Behind a network that drops everything: unknown once, then not counted."""
    network = Proxy([own_server.port])
    counter = RedisCounter(f"redis://127.0.0.1:{network.port}/0")
    assert counter.hit("visits").value == 1
    network.isolate()
    assert isinstance(timed(lambda: counter.hit("visits")), OutcomeUnknownError)
    assert isinstance(timed(lambda: counter.hit("visits")), StoreUnavailableError)
    network.clear()
    assert counter.hit("visits").value in (2, 3)
    network.close()


def test_credentials(own_server):
    """A missing password is refused, a right one works, in a URL and in a client."""
    with redis.Redis.from_url(own_server.url) as admin:
        admin.config_set("requirepass", "s:e/c@ret")
    place = f"127.0.0.1:{own_server.port}/0"
    refused = timed(lambda: RedisCounter(f"redis://{place}").hit("visits"))
    assert isinstance(refused, StoreRejectedError)
    wrong = timed(lambda: RedisCounter(f"redis://:wrong@{place}").hit("visits"))
    assert isinstance(wrong, StoreRejectedError)
    assert RedisCounter(f"redis://:s%3Ae%2Fc%40ret@{place}").hit("visits").value == 1
    client = redis.Redis(port=own_server.port, password="s:e/c@ret")
    assert RedisCounter(client).hit("visits").value == 2


def test_a_read_only_replica_refuses(own_server):
    """READONLY means that nothing was executed."""
    with redis.Redis.from_url(own_server.url) as admin:
        admin.replicaof("127.0.0.1", free_port())
        error = timed(lambda: RedisCounter(own_server.url).hit("visits"))
    assert isinstance(error, StoreRejectedError)
    assert error.outcome == "not_counted"


def test_a_server_with_too_many_clients(own_server):
    """It answers before it closes the connection: not counted, and the cause is said."""
    with redis.Redis.from_url(own_server.url) as admin:
        admin.config_set("maxclients", 1)
        error = timed(lambda: RedisCounter(own_server.url).hit("visits"))
        assert isinstance(error, StoreUnavailableError)
        assert error.outcome == "not_counted"
        assert "max number of clients reached" in str(error)
        admin.config_set("maxclients", 100)
        assert RedisCounter(own_server.url, timeout=5).hit("visits").value == 1
