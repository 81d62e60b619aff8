"""What a RedisCounter promises, on real servers."""

from concurrent.futures import ThreadPoolExecutor
from enum import IntEnum, StrEnum

import pytest
import redis

from flask_redis_counter import RedisCounter
from flask_redis_counter.errors import (
    ConfigurationError,
    CounterOverflowError,
    InvalidAmountError,
    InvalidNameError,
    NotAnIntegerError,
    StoreRejectedError,
)

from .support import MAX


def test_a_hit_is_told_its_value(counter):
    """Hits count 1, 2, 3."""
    hits = [counter.hit("visits") for _ in range(3)]
    assert [hit.value for hit in hits] == [1, 2, 3]
    assert [int(hit) for hit in hits] == [1, 2, 3]
    assert {hit.name for hit in hits} == {"visits"}


def test_a_hit_of_many(counter):
    """An amount counts that many at once."""
    assert counter.hit("visits", 40).value == 40
    assert counter.hit("visits", 2).value == 42
    assert counter.value("visits") == 42


def test_any_client_understands_the_key(counter, client):
    """The value is a plain integer under counter:{NAME}, without an expiry."""
    counter.hit("visits")
    assert client.get("counter:{visits}") == b"1"
    assert client.incrby("counter:{visits}", 5) == 6
    assert client.ttl("counter:{visits}") == -1
    assert counter.hit("visits").value == 7


def test_reading_never_counts(counter, client):
    """Reads leave no key behind."""
    assert counter.value("visits") == 0
    assert counter.value("visits", None) is None
    assert counter.values(["a", "b"]) == {"a": 0, "b": 0}
    assert counter.names() == []
    assert client.dbsize() == 0


def test_many_values_at_once(counter):
    """`values` reads in the order of the names, zero for those that are not there."""
    counter.hit("b", 2)
    counter.hit("a", 1)
    assert list(counter.values(["b", "none", "a"]).items()) == [("b", 2), ("none", 0), ("a", 1)]
    assert counter.values([]) == {}


def test_one_of_many_is_broken(counter, client):
    """It is an error, or what is to stand for it; the others are as they are."""
    counter.hit("a")
    client.rpush("counter:{b}", "1")
    with pytest.raises(NotAnIntegerError, match="b}"):
        counter.values(["a", "b", "c"])
    assert counter.values(["a", "b", "c"], None, invalid=-1) == {"a": 1, "b": -1, "c": None}


def test_set_and_reset_return_what_was_there(counter):
    """Setting returns the value that it replaced, to the last digit."""
    assert counter.set("visits", MAX) is None
    assert counter.set("visits", -(2**63)) == MAX
    assert counter.reset("visits") == -(2**63)
    assert counter.value("visits") == 0
    assert counter.reset("never") is None
    assert counter.value("never", None) == 0


def test_prefixes_keep_counters_apart(store):
    """Two prefixes on one store share nothing."""
    ours, theirs = RedisCounter(store, prefix="ours:"), RedisCounter(store, prefix="")
    with ours, theirs:
        assert ours.hit("visits").value == 1
        assert theirs.hit("visits").value == 1
        assert ours.names() == theirs.names() == ["visits"]


@pytest.mark.parametrize("held", ["text", "12.5", " 1", "1_0", "9223372036854775808", ""])
def test_text_that_is_no_integer_is_left_untouched(counter, client, held):
    """Every operation refuses, and the key is what it was."""
    client.set("counter:{visits}", held)
    for operation in (
        lambda: counter.hit("visits"),
        lambda: counter.value("visits"),
        lambda: counter.values(["visits"]),
        lambda: counter.set("visits", 1),
        lambda: counter.reset("visits"),
    ):
        with pytest.raises(NotAnIntegerError, match="not changed"):
            operation()
    assert client.get("counter:{visits}") == held.encode()


def test_another_type_is_left_untouched(counter, client):
    """A list under our key is an error, and stays a list."""
    client.rpush("counter:{visits}", "a")
    for operation in (
        lambda: counter.hit("visits"),
        lambda: counter.value("visits"),
        lambda: counter.set("visits", 1),
    ):
        with pytest.raises(NotAnIntegerError) as caught:
            operation()
        assert caught.value.outcome == "not_counted"
    assert client.lrange("counter:{visits}", 0, -1) == [b"a"]


def test_overflow_is_an_error_and_not_a_wrap(counter):
    """At the largest value a hit is refused and the value stays."""
    counter.set("visits", MAX)
    with pytest.raises(CounterOverflowError):
        counter.hit("visits")
    assert counter.value("visits") == MAX


def test_a_full_store_counts_nothing(counter, client):
    """With `noeviction`, a store out of memory refuses, and counts again afterwards."""
    counter.hit("visits")
    client.config_set("maxmemory-policy", "noeviction")
    client.config_set("maxmemory", 1)
    try:
        with pytest.raises(StoreRejectedError, match="memory") as caught:
            counter.hit("visits")
        assert caught.value.outcome == "not_counted"
    finally:
        client.config_set("maxmemory", 0)
    assert counter.hit("visits").value == 2


def test_how_the_store_may_lose_hits(counter, client):
    """Each way is named, with its setting; a store that keeps them all has none."""
    assert counter.durability_warnings() == []
    client.config_set("maxmemory-policy", "volatile-lru")
    client.config_set("appendfsync", "everysec")
    try:
        policy, disk = counter.durability_warnings()
        assert policy.startswith("maxmemory-policy is volatile-lru: ")
        assert disk.startswith("appendfsync is everysec: ")
    finally:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("appendfsync", "always")
    assert counter.durability_warnings() == []


@pytest.mark.parametrize("name", ["", "a b", "x" * 65, "ü", "a{b", "a\n", None, 1, ["a"]])
def test_a_name_outside_the_rules(counter, client, name):
    """The name is refused before anything is sent, and the error has it."""
    for operation in (counter.hit, counter.value, counter.reset):
        with pytest.raises(InvalidNameError) as caught:
            operation(name)
        assert caught.value.name == name
    assert client.dbsize() == 0


@pytest.mark.parametrize("amount", [0, -1, 1.0, "1", True, None, MAX + 1])
def test_an_amount_outside_its_bounds(counter, client, amount):
    """The amount is refused before anything is sent."""
    with pytest.raises(InvalidAmountError):
        counter.hit("visits", amount)
    assert client.dbsize() == 0


class Page(StrEnum):
    """Names as many write them."""

    HOME = "home"


class Amount(IntEnum):
    """Amounts as some write them."""

    DOZEN = 12


def test_members_of_enums(counter, client):
    """They count as what they stand for."""
    assert counter.hit(Page.HOME, Amount.DOZEN).value == 12
    assert client.get("counter:{home}") == b"12"
    assert counter.set(Page.HOME, Amount.DOZEN) == 12


@pytest.mark.parametrize(
    "store", [redis.asyncio.Redis(), None, 6379], ids=lambda it: type(it).__name__
)
def test_a_client_that_does_not_fit(store):
    """An error at once, and no false success later."""
    with pytest.raises(ConfigurationError, match="is not a URL or"):
        RedisCounter(store)


def test_threads_get_values_of_their_own(counter):
    """Sixteen threads, two thousand hits, each value once."""
    with ThreadPoolExecutor(16) as pool:
        values = list(pool.map(lambda _: counter.hit("visits").value, range(2000)))
    assert sorted(values) == list(range(1, 2001))
