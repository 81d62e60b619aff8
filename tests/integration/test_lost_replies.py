"""Lost replies: a command is executed, also on a new connection, without the client knowing."""

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from flask_redis_counter import OutcomeUnknownError, RedisCounter
from flask_redis_counter.testing import Proxy


@pytest.fixture
def proxy(own_server):
    """A proxy in front of a server."""
    made = Proxy([own_server.port])
    yield made
    made.close()


@pytest.mark.parametrize("protocol", [2, 3])
def test_command_on_a_new_connection_is_executed(own_server, proxy, protocol):
    """A client completes the handshake, and then gets no reply to its command."""
    with redis.Redis(port=own_server.port) as direct:
        direct.acl_setuser("app", enabled=True, passwords=["+secret"], commands=["+@all"], keys="*")
    options = {"protocol": protocol, "db": 1, "client_name": "test", "socket_timeout": 0.5}
    options |= {"username": "app", "password": "secret", "retry": Retry(NoBackoff(), 0)}
    with redis.Redis(port=proxy.port, **options) as client:
        proxy.inject("responses_dropped")
        with pytest.raises(redis.TimeoutError):
            client.incr("hits")
        proxy.clear()
        assert client.get("hits") == b"1"


def test_hit_on_a_new_connection_is_unknown(own_server, proxy):
    """A hit counts once although it was sent twice, and its outcome is unknown."""
    with (
        RedisCounter(own_server.url) as direct,
        RedisCounter(f"redis://127.0.0.1:{proxy.port}", timeout=0.5) as counter,
    ):
        assert direct.hit("visits").value == 1  # from now on the server knows the script
        proxy.inject("responses_dropped")
        with pytest.raises(OutcomeUnknownError):
            counter.hit("visits")
        proxy.clear()
        assert direct.value("visits") == 2
