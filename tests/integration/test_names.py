"""names, max_counters and delete."""

import asyncio

import pytest

from flask_redis_counter import AsyncRedisCounter, Limits
from flask_redis_counter.errors import (
    CounterNotFoundError,
    InvalidAmountError,
    NotAnIntegerError,
    TooManyCountersError,
)

from .support import KEY, MAX

NAMES = "counter:{}:names"

NONE_NEW, ONE, TWO = (Limits(max_counters=number) for number in range(3))


def test_names_returns_counters_only(counter, client):
    """names returns each counter that was hit or set once, sorted, and no other key."""
    for name in ("b", "a", "A.b_c-1", "a"):
        counter.hit(name)
    counter.hit("token", idempotency_key="t")
    counter.set("set", 7)
    client.set("counter:other", 1)
    client.set("elsewhere:{c}", 1)
    assert counter.names() == ["A.b_c-1", "a", "b", "set", "token"]
    assert counter.names(after="a") == ["b", "set", "token"]
    assert counter.names(after="a", limit=2) == ["b", "set"]
    assert counter.names(after="a0", limit=1) == ["b"]
    assert counter.names(after="token") == counter.names(limit=0) == []


def test_names_returns_thousands(counter, client):
    """names reads many pages without missing a name."""
    expected = sorted(f"n{i}" for i in range(3000))
    client.zadd(NAMES, dict.fromkeys(expected, 0))
    assert counter.names() == expected
    assert counter.names(limit=1500) == expected[:1500]


def test_names_lists_a_foreign_counter_after_its_first_hit(counter, client):
    """A counter that another client created is listed from its first hit on, and counts on."""
    client.set(KEY, 41)
    assert counter.names() == []
    assert counter.hit("visits", limits=NONE_NEW).value == 42
    assert counter.names() == ["visits"]


def test_max_counters_limits_new_counters(counter, client):
    """A hit that would exceed max_counters changes nothing; existing counters count."""
    assert counter.hit("a", limits=TWO).value == 1
    assert counter.hit("b", limits=TWO, idempotency_key="t").value == 1
    before = sorted(client.keys())
    for attempt in (
        lambda: counter.hit("c", limits=TWO),
        lambda: counter.hit("c", limits=TWO, idempotency_key="t"),
        lambda: counter.set("c", 1, max_counters=2),
    ):
        with pytest.raises(TooManyCountersError, match="'c'"):
            attempt()
    with pytest.raises(CounterNotFoundError, match="'c'"):
        counter.hit("c", limits=NONE_NEW)
    assert sorted(client.keys()) == before
    assert counter.hit("a", limits=NONE_NEW).value == counter.hit("b", limits=ONE).value == 2
    assert counter.set("a", 9, max_counters=0) == 2
    assert counter.hit("c").value == 1
    assert counter.names() == ["a", "b", "c"]


def test_max_counters_must_be_an_integer():
    """Limits raises an error for an invalid max_counters."""
    for limit in (-1, 1.5, True, "7"):
        with pytest.raises(InvalidAmountError):
            Limits(max_counters=limit)


def test_delete_removes_all_records(counter, client):
    """delete removes all records of a counter, but a repeated hit still does not count."""
    counter.hit("visits", 5, idempotency_key="t", visitor="someone")
    counter.hit("other", visitor="someone")
    assert counter.delete("visits") == 5
    assert counter.delete("visits") is None
    assert counter.value("visits", None) is None
    assert counter.names() == ["other"]
    assert [key for key in client.scan_iter(f"{KEY}*") if b":token:" not in key] == []
    assert counter.hit("visits", 5, idempotency_key="t").replayed
    assert counter.value("visits", None) is None
    assert counter.hit("visits").value == 1
    assert sum(point.hits for point in counter.series("visits")) == 1
    assert [point.visitors for point in counter.series("other", days=1)] == [1]


def test_delete_keeps_all_digits(counter):
    """delete returns all digits, which a Lua number would lose."""
    counter.set("visits", MAX)
    assert counter.delete("visits") == MAX


def test_delete_keeps_a_key_that_is_not_a_counter(counter, client):
    """delete raises an error for a key that is not a counter, and keeps its records."""
    counter.hit("visits")
    client.set(KEY, "text")
    before = sorted(client.keys())
    with pytest.raises(NotAnIntegerError):
        counter.delete("visits")
    assert sorted(client.keys()) == before


def test_names_and_delete_with_asyncio(server, client):
    """The same, awaited."""

    async def count():
        async with AsyncRedisCounter(server.url) as counter:
            await counter.hit("a", 2, limits=ONE)
            with pytest.raises(TooManyCountersError):
                await counter.hit("b", limits=ONE)
            with pytest.raises(TooManyCountersError):
                await counter.set("b", 1, max_counters=1)
            assert await counter.names(after="", limit=3) == ["a"]
            assert await counter.delete("a") == 2
            assert await counter.names() == []

    asyncio.run(count())
