"""Subscription to channels, with a fake server."""

import asyncio
from types import SimpleNamespace

import pytest
from redis.exceptions import ClusterDownError, MovedError, ResponseError

from flask_redis_counter.store import subscription as module
from flask_redis_counter.store.backoff import Backoff
from flask_redis_counter.store.subscription import Subscription

UNKNOWN = ResponseError("unknown command 'SSUBSCRIBE', with args beginning with: 'a'")


class Connection:
    """A connection that records commands, and gives replies; then it breaks."""

    def __init__(self, *replies):
        self.sent = []
        self.is_closing = False
        self._replies = list(replies)
        transport = SimpleNamespace(is_closing=lambda: self.is_closing)
        self._writer = SimpleNamespace(transport=transport, writelines=self._write)

    def pack_command(self, *words):
        """Return the words of a command."""
        return [words]

    async def read_response(self, timeout):
        """Return the next reply."""
        await asyncio.sleep(0)
        if not self._replies:
            raise ConnectionError("closed")
        reply = self._replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def disconnect(self, nowait):
        """Do nothing."""

    def _write(self, commands):
        assert not self.is_closing
        self.sent += commands


class Factory:
    """Gives connections in turn."""

    may_switch = False

    def __init__(self, *connections):
        self._connections = list(connections)

    async def connect_async(self, timeout):
        """Return the next connection, if there is one."""
        if not self._connections:
            await asyncio.sleep(3600)
        return self._connections.pop(0)

    def is_current(self, connection):
        """Return whether the connection leads to the store."""
        return True


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(module, "BACKOFF", Backoff(0.0, 0.0))


def listen(*connections, channels=("a", "b"), is_sharded=True):
    """Subscribe to channels until the last connection has broken; return the messages."""
    seen = []

    async def run():
        factory = Factory(*connections)
        subscription = Subscription(factory, seen.append, is_sharded=is_sharded)
        for channel in channels:
            subscription.add(channel)
        async with asyncio.timeout(5):
            while factory._connections or subscription._connection is not None or not seen:
                await asyncio.sleep(0)
        subscription.repair()  # without a connection
        subscription.close()

    asyncio.run(run())
    return seen


def test_node_without_sharded_channels_gets_plain_ones_until_the_next_connection():
    """Redis 6 is asked once with SUBSCRIBE, and after an upgrade with SSUBSCRIBE again."""
    old = Connection(UNKNOWN, UNKNOWN, [b"subscribe", b"a", 1], [b"subscribe", b"b", 2])
    new = Connection([b"ssubscribe", b"a", 1], [b"ssubscribe", b"b", 2])
    assert listen(old, new) == ["a", "b", "a", "b"]
    assert sorted(old.sent[:2]) == [("SSUBSCRIBE", "a"), ("SSUBSCRIBE", "b")]
    assert sorted(old.sent[2:]) == [("SUBSCRIBE", "a"), ("SUBSCRIBE", "b")]
    assert sorted(new.sent) == [("SSUBSCRIBE", "a"), ("SSUBSCRIBE", "b")]


@pytest.mark.parametrize("error", [ClusterDownError("not served"), MovedError("1 b:2")])
def test_channel_that_is_elsewhere_does_not_end_the_connection(error):
    """Other channels of the node go on."""
    connection = Connection(error, [b"ssubscribe", b"b", 1], [b"smessage", b"b", b"7"])
    assert listen(connection) == ["b", "b"]
    assert ("SUNSUBSCRIBE", "b") in connection.sent


def test_other_errors_end_the_connection():
    """A missing right is logged, and tried again later."""
    refused = Connection(ResponseError("NOPERM"), [b"subscribe", b"a", 1])
    again = Connection([b"subscribe", b"a", 1])
    assert listen(refused, again, channels=["a"], is_sharded=False) == ["a"]
    assert refused._replies, "nothing was read after the error"


def test_nothing_is_sent_on_a_connection_that_is_closing():
    """A closed transport raises, and subscribing never does."""

    async def run():
        connection = Connection()
        connection.is_closing = True
        subscription = Subscription(Factory(), print, is_sharded=True)
        subscription._connection = connection
        subscription.add("a")
        subscription.repair()
        subscription.close()
        assert connection.sent == []

    asyncio.run(run())
