"""Batches on real servers: each hit has its own value or error."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from flask_redis_counter import RedisCounter
from flask_redis_counter.errors import CounterOverflowError, NotAnIntegerError

from .support import KEY, MAX, at_once


def test_hits_of_several_counters_share_round_trips(server, client):
    """Hits of three counters share round trips, and each counter has its values."""
    with RedisCounter(server.url, timeout=5) as counter:
        before = client.info("commandstats")
        hits = [(f"c{number % 3}", 2) for number in range(30)]
        outcomes = at_once(counter, server, hits)
        calls = client.info("commandstats")["cmdstat_evalsha"]["calls"]
        calls -= before.get("cmdstat_evalsha", {"calls": 0})["calls"]
    for number in range(3):
        values = [
            value for value, (name, _) in zip(outcomes, hits, strict=True) if name == f"c{number}"
        ]
        assert sorted(values) == list(range(2, 22, 2))
    assert calls < 20


def test_invalid_key_fails_only_its_own_hits(server, client):
    """The other hits of the batch count."""
    client.rpush("counter:{bad}", "text")
    with RedisCounter(server.url, timeout=5) as counter:
        outcomes = at_once(counter, server, [("bad" if n % 2 else "visits", 1) for n in range(20)])
        assert outcomes[1::2] == ["not_counted"] * 10
        assert sorted(outcomes[::2]) == list(range(1, 11))
        with pytest.raises(NotAnIntegerError):
            counter.hit("bad")
    assert client.lrange("counter:{bad}", 0, -1) == [b"text"]


def test_hits_near_the_largest_value_count_if_they_fit(server, client):
    """Near the largest value, exactly the hits that fit count."""
    client.set(KEY, MAX - 100)
    with RedisCounter(server.url, timeout=5) as counter, ThreadPoolExecutor(16) as pool:

        def hit(_):
            try:
                return counter.hit("visits").value
            except CounterOverflowError:
                return None

        values = [value for value in pool.map(hit, range(300)) if value is not None]
    assert sorted(values) == list(range(MAX - 99, MAX + 1))
    assert client.get(KEY) == b"%d" % MAX
