"""Errors of hits when the store fails, on real servers: sent or not sent, within the timeout."""

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
    """Return the exception of an operation, and check that it is raised within the timeout."""
    # The caller checks its class.
    with within(TIMEOUT + 0.1), pytest.raises(Exception) as caught:  # noqa: PT011
        operation()
    return caught.value


def test_hit_on_a_closed_port_is_not_counted():
    """hit raises StoreUnavailableError if the connection is refused: not counted."""
    counter = RedisCounter(nowhere())
    error = timed(lambda: counter.hit("visits"))
    assert isinstance(error, StoreUnavailableError)
    assert error.outcome == "not_counted"


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a..b", "x" * 64])
def test_hit_on_an_unknown_host_is_not_counted(host):
    """hit raises StoreUnavailableError for an unknown or invalid host, within the timeout."""
    counter = RedisCounter(f"redis://{host}/0")
    assert isinstance(timed(lambda: counter.hit("visits")), StoreUnavailableError)


def test_hit_keeps_the_timeout_while_the_resolver_hangs(monkeypatch):
    """hit keeps its timeout, although resolving a host name has none."""
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: time.sleep(1.5))
    counter = RedisCounter("redis://slow.invalid/0")
    for _ in range(2):
        assert isinstance(timed(lambda: counter.hit("visits")), StoreUnavailableError)


def test_lost_reply_is_unknown_and_counted_once(client, store, server):
    """A hit during which the server hangs is unknown; redis-py might count it twice."""
    counter = RedisCounter(store)
    counter.hit("visits")
    sleeps(server, 1)
    error = timed(lambda: counter.hit("visits"))
    assert isinstance(error, OutcomeUnknownError)
    assert error.outcome == "unknown"
    assert client.get(KEY) == b"2"


def test_hit_on_a_frozen_server_is_unknown_once_sent(own_server):
    """A hit that was sent to a frozen server is unknown; the next one is not sent."""
    counter = RedisCounter(own_server.url)
    assert counter.hit("visits").value == 1
    own_server.signal(signal.SIGSTOP)
    assert isinstance(timed(lambda: counter.hit("visits")), OutcomeUnknownError)
    # The connection was closed; a new one gets no reply, so nothing is sent.
    assert isinstance(timed(lambda: counter.hit("visits")), StoreUnavailableError)
    own_server.signal(signal.SIGCONT)
    assert counter.hit("visits").value in (2, 3)


def test_read_without_a_reply_is_never_unknown(own_server):
    """A read without a reply raises StoreUnavailableError: it changed nothing."""
    counter = RedisCounter(own_server.url)
    counter.hit("visits")
    for read in (lambda: counter.value("visits"), counter.names, counter.ping):
        counter.ping()
        own_server.signal(signal.SIGSTOP)
        error = timed(read)
        own_server.signal(signal.SIGCONT)
        assert isinstance(error, StoreUnavailableError)
        assert error.outcome == "not_counted"


def test_next_hit_counts_on_a_restarted_server(own_server):
    """A connection that the server closed is detected before a hit is sent on it."""
    with RedisCounter(own_server.url) as counter:
        assert counter.hit("visits").value == 1
        own_server.kill()
        assert isinstance(timed(lambda: counter.hit("visits")), StoreUnavailableError)
        own_server.start()
        assert counter.hit("visits").value == 2


def test_hit_on_an_isolated_server_is_unknown_once_sent(own_server):
    """On a network that drops all packets, the first hit is unknown, the next not counted."""
    network = Proxy([own_server.port])
    counter = RedisCounter(f"redis://127.0.0.1:{network.port}/0")
    assert counter.hit("visits").value == 1
    network.isolate()
    assert isinstance(timed(lambda: counter.hit("visits")), OutcomeUnknownError)
    assert isinstance(timed(lambda: counter.hit("visits")), StoreUnavailableError)
    network.clear()
    assert counter.hit("visits").value in (2, 3)
    network.close()


def test_hit_needs_the_right_password(own_server):
    """A missing or wrong password is rejected; the right one works in a URL and in a client."""
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


def test_hit_on_a_replica_is_not_counted(own_server):
    """READONLY means not counted: nothing was executed."""
    with redis.Redis.from_url(own_server.url) as admin:
        admin.replicaof("127.0.0.1", free_port())
        error = timed(lambda: RedisCounter(own_server.url).hit("visits"))
    assert isinstance(error, StoreRejectedError)
    assert error.outcome == "not_counted"


def test_hit_on_a_server_with_too_many_clients_is_not_counted(own_server):
    """The server replies before it closes the connection: not counted, and the error says why."""
    with redis.Redis.from_url(own_server.url) as admin:
        admin.config_set("maxclients", 1)
        error = timed(lambda: RedisCounter(own_server.url).hit("visits"))
        assert isinstance(error, StoreUnavailableError)
        assert error.outcome == "not_counted"
        assert "max number of clients reached" in str(error)
        admin.config_set("maxclients", 100)
        assert RedisCounter(own_server.url, timeout=5).hit("visits").value == 1
