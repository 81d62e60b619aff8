"""RedisCounter on real servers."""

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


def test_hit_returns_the_new_value(counter):
    """Three hits return 1, 2 and 3."""
    hits = [counter.hit("visits") for _ in range(3)]
    assert [hit.value for hit in hits] == [1, 2, 3]
    assert [int(hit) for hit in hits] == [1, 2, 3]
    assert {hit.name for hit in hits} == {"visits"}


def test_hit_adds_its_amount(counter):
    """A hit of an amount adds it at once."""
    assert counter.hit("visits", 40).value == 40
    assert counter.hit("visits", 2).value == 42
    assert counter.value("visits") == 42


def test_key_is_a_plain_integer(counter, client):
    """The value is a plain integer under counter:{NAME}, without an expiry."""
    counter.hit("visits")
    assert client.get("counter:{visits}") == b"1"
    assert client.incrby("counter:{visits}", 5) == 6
    assert client.ttl("counter:{visits}") == -1
    assert counter.hit("visits").value == 7


def test_reading_creates_no_keys(counter, client):
    """Reading counters that do not exist leaves no key behind."""
    assert counter.value("visits") == 0
    assert counter.value("visits", None) is None
    assert counter.values(["a", "b"]) == {"a": 0, "b": 0}
    assert counter.names() == []
    assert client.dbsize() == 0


def test_values_keeps_the_order_of_the_names(counter):
    """values returns the counters in the order of the names, and 0 for missing ones."""
    counter.hit("b", 2)
    counter.hit("a", 1)
    assert list(counter.values(["b", "none", "a"]).items()) == [("b", 2), ("none", 0), ("a", 1)]
    assert counter.values([]) == {}


def test_values_with_an_invalid_counter(counter, client):
    """values raises NotAnIntegerError, or returns `invalid` for that counter."""
    counter.hit("a")
    client.rpush("counter:{b}", "1")
    with pytest.raises(NotAnIntegerError, match="b}"):
        counter.values(["a", "b", "c"])
    assert counter.values(["a", "b", "c"], None, invalid=-1) == {"a": 1, "b": -1, "c": None}


def test_set_and_reset_return_the_old_value(counter):
    """set and reset return the value that they replaced, to the last digit."""
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
def test_key_with_other_text_is_not_changed(counter, client, held):
    """Every operation raises NotAnIntegerError, and the key keeps its text."""
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


def test_key_of_another_type_is_not_changed(counter, client):
    """Hits, reads and sets of a list raise NotAnIntegerError, and the list stays."""
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


def test_hit_beyond_the_largest_value_is_refused(counter):
    """A hit at the largest value raises CounterOverflowError, and the value stays."""
    counter.set("visits", MAX)
    with pytest.raises(CounterOverflowError):
        counter.hit("visits")
    assert counter.value("visits") == MAX


def test_hit_on_a_full_store_is_refused(counter, client):
    """A store out of memory with `noeviction` refuses hits, and counts again afterwards."""
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


def test_durability_warnings_name_the_settings(counter, client):
    """durability_warnings has one warning for each setting by which the store may lose hits."""
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
def test_invalid_name_is_refused(counter, client, name):
    """Operations raise InvalidNameError before anything is sent, with the name."""
    for operation in (counter.hit, counter.value, counter.reset):
        with pytest.raises(InvalidNameError) as caught:
            operation(name)
        assert caught.value.name == name
    assert client.dbsize() == 0


@pytest.mark.parametrize("amount", [0, -1, 1.0, "1", True, None, MAX + 1])
def test_invalid_amount_is_refused(counter, client, amount):
    """hit raises InvalidAmountError before anything is sent."""
    with pytest.raises(InvalidAmountError):
        counter.hit("visits", amount)
    assert client.dbsize() == 0


class Page(StrEnum):
    """A name as an enum member."""

    HOME = "home"


class Amount(IntEnum):
    """An amount as an enum member."""

    DOZEN = 12


def test_enum_members_are_accepted(counter, client):
    """Enum members count as the strings and integers that they are."""
    assert counter.hit(Page.HOME, Amount.DOZEN).value == 12
    assert client.get("counter:{home}") == b"12"
    assert counter.set(Page.HOME, Amount.DOZEN) == 12


@pytest.mark.parametrize(
    "store", [redis.asyncio.Redis(), None, 6379], ids=lambda it: type(it).__name__
)
def test_unsupported_store_is_refused(store):
    """RedisCounter raises ConfigurationError at once if the store is not a URL or a client."""
    with pytest.raises(ConfigurationError, match="is not a URL, a redis"):
        RedisCounter(store)


def test_threads_get_unique_values(counter):
    """Two thousand hits of sixteen threads get each value once."""
    with ThreadPoolExecutor(16) as pool:
        values = list(pool.map(lambda _: counter.hit("visits").value, range(2000)))
    assert sorted(values) == list(range(1, 2001))
