"""check_fsync: which servers support durability=fsync."""

import pytest
from redis.exceptions import NoPermissionError, ResponseError

from flask_redis_counter import log_throttle
from flask_redis_counter.errors import DurabilityUnsupportedError
from flask_redis_counter.store.connections import check_fsync

REDIS_8 = b"# Server\r\nredis_version:8.0.2\r\n"
REDIS_7 = b"# Server\r\nredis_version:7.2.4\r\n"
VALKEY = b"# Server\r\nredis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:9.1.2\r\n"
DENIED = NoPermissionError("no permission")


@pytest.fixture(autouse=True)
def _forget_warnings():
    log_throttle._warned.clear()


def policy(word):
    """Return the reply to CONFIG GET."""
    return [b"appendfsync", word]


@pytest.mark.parametrize(
    ("server", "word"),
    [(REDIS_8, b"everysec"), (REDIS_8, b"no"), (REDIS_7, b"always"), (VALKEY, b"always")],
)
def test_check_fsync_accepts_a_server_that_waits(server, word, caplog):
    """check_fsync accepts Redis 8, and other servers with appendfsync always."""
    check_fsync([[0, 0], server, policy(word)])
    assert caplog.messages == []


@pytest.mark.parametrize("word", [b"everysec", b"no"])
def test_check_fsync_rejects_a_valkey_that_does_not_wait(word):
    """check_fsync rejects Valkey with another appendfsync, and names the remedy."""
    with pytest.raises(DurabilityUnsupportedError, match="appendfsync always on Valkey"):
        check_fsync([[0, 0], VALKEY, policy(word)])


@pytest.mark.parametrize(
    ("server", "word"),
    [(REDIS_7, policy(b"everysec")), (VALKEY, DENIED), (DENIED, DENIED), (DENIED, policy(b"no"))],
)
def test_check_fsync_warns_once_of_an_unknown_server(server, word, caplog):
    """check_fsync logs one warning if it cannot tell whether the server waits."""
    check_fsync([[0, 0], server, word])
    check_fsync([[0, 0], server, word])
    (message,) = caplog.messages
    assert "appendfsync always" in message


@pytest.mark.parametrize(
    ("error", "message"),
    [(DENIED, "needs WAITAOF: no permission"), (ResponseError("unknown command"), "appendonly on")],
)
def test_check_fsync_rejects_a_server_without_waitaof(error, message):
    """check_fsync rejects a server without WAITAOF, and a user who may not run it."""
    with pytest.raises(DurabilityUnsupportedError, match=message):
        check_fsync([error, REDIS_8, policy(b"always")])
