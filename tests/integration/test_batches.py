"""Hits that leave together: each has a value or an error of its own."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from flask_redis_counter import RedisCounter
from flask_redis_counter.errors import CounterOverflowError, NotAnIntegerError

from .support import KEY, MAX, at_once


def test_hits_of_several_counters(server, client):
    """They share round trips, and each counter has its values."""
    with RedisCounter(server.url, timeout=5) as counter:
        before = client.info("commandstats")
        hits = [(f"c{number % 3}", 2) for number in range(30)]
        told = at_once(counter, server, hits)
        calls = client.info("commandstats")["cmdstat_evalsha"]["calls"]
        calls -= before.get("cmdstat_evalsha", {"calls": 0})["calls"]
    for number in range(3):
        values = [
            value for value, (name, _) in zip(told, hits, strict=True) if name == f"c{number}"
        ]
        assert sorted(values) == list(range(2, 22, 2))
    assert calls < 20


def test_a_key_of_another_type_harms_no_other(server, client):
    """Hits of one batch fail or count each on its own."""
    client.rpush("counter:{bad}", "text")
    with RedisCounter(server.url, timeout=5) as counter:
        told = at_once(counter, server, [("bad" if n % 2 else "visits", 1) for n in range(20)])
        assert told[1::2] == ["not_counted"] * 10
        assert sorted(told[::2]) == list(range(1, 11))
        with pytest.raises(NotAnIntegerError):
            counter.hit("bad")
    assert client.lrange("counter:{bad}", 0, -1) == [b"text"]


def test_as_many_hits_as_there_is_room_for(server, client):
    """Near the largest value, each hit that fits counts, and no other."""
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
