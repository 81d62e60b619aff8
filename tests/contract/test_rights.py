"""Users of the store that may not run a command, and servers that lack one."""

import secrets
import threading
from functools import partial
from itertools import product

import fakeredis
import pytest

from flask_redis_counter import (
    CounterError,
    Rate,
    RedisCounter,
    Terms,
    TooOftenError,
    Transfer,
)
from flask_redis_counter.records import Day, Record
from flask_redis_counter.rights import FEATURES, acl_rules

from .support import KEY, MAX, contents, knows_waitaof

SCREENED = {"visitor": "v", "client": "c", "terms": Terms(once_in=60, rate=Rate(5, 60))}


@pytest.fixture
def features(client):
    """Return the features that this server can have."""
    return [name for name in FEATURES if name != "fsync" or knows_waitaof(client)]


@pytest.fixture
def rights(features):
    """Return the rights that all of them need."""
    return sorted({right for name in features for right in FEATURES[name].rights})


@pytest.fixture
def user(server, client, features):
    """Make users that have all rights but one, and return their URL."""
    made = []

    def make(missing=None):
        name = f"user-{secrets.token_hex(4)}"
        rules = [rule for rule in acl_rules("counter:", features).split() if rule != f"+{missing}"]
        client.execute_command("ACL", "SETUSER", name, "on", "nopass", *rules)
        made.append(name)
        return server.url.replace("redis://", f"redis://{name}:x@")

    yield make
    if made:
        client.acl_deluser(*made)


def error_of(action):
    """Return the error that something ends with, None where it does not."""
    try:
        action()
    except CounterError as error:
        return error
    return None


def adopt(url, mode):
    """Import a counter with a day."""
    with Transfer(url) as transfer:
        days = {"2026-11-20": Day(3, 2)}
        (adopted,) = transfer.adopt([Record("visits", 7, days)], "elsewhere", mode=mode)
        return adopted.verdict


ACTIONS = {
    "hit": lambda counter, _: counter.hit("visits", 5),
    "hit with a token": lambda counter, _: counter.hit("visits", 5, token="t"),
    "hit under a rate": lambda counter, _: counter.hit("visits", 5, **SCREENED),
    "set": lambda counter, _: counter.set("visits", 7),
    "delete": lambda counter, _: counter.delete("visits"),
    "make": lambda _, url: adopt(url, "leave"),
    "add": lambda _, url: adopt(url, "add"),
    "replace": lambda _, url: adopt(url, "replace"),
}


@pytest.mark.parametrize("value", [None, 3, 10**16])
def test_an_error_has_changed_nothing(user, client, rights, value):
    """Whatever a user may not do: where an error says that nothing was counted, nothing was."""
    urls = {right: user(right) for right in rights}
    refused = set()
    for right, action in product(rights, ACTIONS):
        client.flushall()
        if value is not None:
            client.set(KEY, value)
            client.zadd("counter:{}:names", {"visits": 0})
            client.hset(f"{KEY}:days", "2026-11-20", 3)
        before = contents(client)
        with RedisCounter(urls[right], deadline=10) as counter:
            error = error_of(partial(ACTIONS[action], counter, urls[right]))
        if error is not None:
            # With a token an earlier attempt may have counted; this one has not.
            assert error.counted is False or action == "hit with a token", (right, action)
            left = contents(client)
            left.pop(f"{KEY}:salt".encode(), None)
            assert left == before, (right, action)
            refused.add(right)
    assert {"evalsha", "set", "incrby", "del"} - refused == set()


def test_a_token_counts_once_without_the_right_to_record_it(user, client):
    """Each attempt is refused, and takes back what it has counted."""
    with RedisCounter(user("set"), deadline=10) as counter:
        client.set(KEY, MAX - 5)
        for _ in range(3):
            with pytest.raises(CounterError):
                counter.hit("visits", 5, token="t")
    assert client.get(KEY) == b"%d" % (MAX - 5)


@pytest.fixture
def compatible():
    """A server that is only compatible: it lacks `redis.set_repl`."""
    server = fakeredis.TcpFakeServer(("127.0.0.1", 0), server_type="redis")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"redis://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_compatible_server(compatible):
    """Hits under a rate count as often as it allows, and what is refused is not stored."""
    terms = Terms(rate=Rate(3, 60))
    with RedisCounter(compatible, deadline=10) as counter:
        for value in (1, 2, 3):
            assert counter.hit("visits", visitor="v", client="c", terms=terms).value == value
        with pytest.raises(TooOftenError):
            counter.hit("visits", visitor="v", client="c", terms=terms)
        assert counter.value("visits") == 3
        (today,) = counter.series("visits", days=1)
        assert today.hits == 3
