"""overview and store_info: many counters, and the state of their store."""

import asyncio

import pytest

from flask_redis_counter import AsyncRedisCounter, RedisCounter
from flask_redis_counter.errors import (
    InvalidNameError,
    InvalidPeriodError,
    NotAnIntegerError,
    StoreRejectedError,
    StoreUnavailableError,
)

from .support import KEY, nowhere


def names(overview):
    """Return the counters' names."""
    return [counter.name for counter in overview.counters]


def test_overview_has_counters_with_their_days(counter, client):
    """overview returns the requested counters, then a page of the others, with their days."""
    for number, name in enumerate("dcba", start=1):
        counter.hit(name, number, visitor="someone")
    overview = counter.overview(["c", "none"], after="", limit=3, days=2)
    assert names(overview) == ["c", "none", "a", "b"]
    assert overview.more
    c, none, a, _ = overview.counters
    assert (c.value, none.value, a.value) == (2, None, 4)
    assert [(day.hits, day.visitors) for day in a.days] == [(0, 0), (4, 1)]
    assert a.days == tuple(counter.series("a", days=2))
    rest = counter.overview(after="b", limit=2)
    assert (names(rest), rest.more, len(rest.counters[0].days)) == (["c", "d"], False, 30)
    assert names(counter.overview(["a", "a"])) == ["a"]
    assert names(counter.overview()) == []


def test_overview_takes_two_round_trips(counter, client, monkeypatch):
    """overview takes two round trips for any number of counters, and one without a listing."""
    for number in range(30):
        counter.hit(f"c{number:02}")
    trips = []
    read = counter._pool.read

    def recorded_read(commands):
        trips.append(len(commands))
        return read(commands)

    monkeypatch.setattr(counter._pool, "read", recorded_read)
    assert len(counter.overview(["c00"], after="").counters) == 20
    assert len(trips) == 2


@pytest.mark.parametrize("key", [KEY, f"{KEY}:days"])
def test_overview_reads_past_a_key_of_another_type(counter, client, key):
    """A counter whose key holds something else has an error; the others are read."""
    counter.hit("other")
    client.lpush(key, "text")
    visits, other = counter.overview(["visits", "other"]).counters
    assert isinstance(visits.error, NotAnIntegerError)
    assert (visits.value, other.value, other.error) == (None, 1, None)


def test_overview_rejects_invalid_arguments(counter):
    """overview raises an error for an invalid name or period."""
    with pytest.raises(InvalidNameError):
        counter.overview(["a b"])
    with pytest.raises(InvalidPeriodError):
        counter.overview(["visits"], days=0)


def test_store_info_has_the_fields_of_info(counter, client, server):
    """store_info returns the server's version, uptime and memory."""
    about = counter.store_info()
    facts = client.info()
    assert about.server == facts.get("server_name", "redis").capitalize()
    assert about.version in (facts.get("valkey_version"), facts["redis_version"])
    assert 0 <= about.uptime <= facts["uptime_in_seconds"]
    assert about.clients >= 1
    assert about.memory > 100_000
    assert about.memory_limit is None
    assert (about.append_only, about.append_only_ok, about.saved_ok) == (True, True, True)
    client.config_set("maxmemory", "100mb")
    try:
        assert counter.store_info().memory_limit == 100 * 2**20
    finally:
        client.config_set("maxmemory", 0)


def test_overview_without_the_right_to_run_info(counter, client, server):
    """overview reads the counters; store is None."""
    client.acl_setuser("mute", enabled=True, nopass=True, keys="*", commands=["+@all", "-info"])
    counter.hit("visits")
    url = server.url.replace("//", "//mute:x@")
    with RedisCounter(url, timeout=10) as mute:
        with pytest.raises(StoreRejectedError):
            mute.store_info()
        overview = mute.overview(["visits"])
    client.acl_deluser("mute")
    assert overview.store is None
    assert overview.counters[0].value == 1


def test_overview_without_the_right_to_list_names(counter, client, server):
    """overview raises an error instead of returning an empty list."""
    commands = ["+@all", "-zrangebylex"]
    client.acl_setuser("nameless", enabled=True, nopass=True, keys="*", commands=commands)
    with (
        RedisCounter(server.url.replace("//", "//nameless:x@"), timeout=10) as nameless,
        pytest.raises(StoreRejectedError),
    ):
        nameless.overview(after="")
    client.acl_deluser("nameless")


def test_overview_without_a_store():
    """overview raises StoreUnavailableError if the store is down."""
    with RedisCounter(nowhere()) as counter:
        with pytest.raises(StoreUnavailableError):
            counter.overview(["visits"])
        with pytest.raises(StoreUnavailableError):
            counter.store_info()


def test_overview_with_asyncio(server, client):
    """The same, awaited."""

    async def look():
        async with AsyncRedisCounter(server.url) as counter:
            await counter.hit("visits")
            overview = await counter.overview(after="")
            assert overview.store.version == (await counter.store_info()).version
            return overview

    overview = asyncio.run(look())
    assert [(counter.name, counter.value) for counter in overview.counters] == [("visits", 1)]
