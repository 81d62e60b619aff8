"""Hits by day and by hour, and the visitors of a day."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
import redis

from flask_redis_counter import AsyncRedisCounter, RedisCounter, SeriesPoint, Spool
from flask_redis_counter.counting.batch import Batch
from flask_redis_counter.counting.hit import PendingHit
from flask_redis_counter.errors import HitSpooledError, InvalidPeriodError
from flask_redis_counter.store.confirmation import MEMORY
from flask_redis_counter.store.scripts import HIT
from flask_redis_counter.testing.waiting import wait_until

from .support import KEY, MAX

DAYS = f"{KEY}:days"


class Clock:
    """The clock of the counter, but not of the store."""

    def __init__(self, monkeypatch, text):
        self.set(text)
        monkeypatch.setattr("flask_redis_counter.series.now", lambda: self._seconds)

    def set(self, text):
        """Set the time."""
        self._seconds = datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is set."""
    return Clock(monkeypatch, "2026-11-23T15:30")


def days(counter, days):
    """Return hits and visitors of the last days, oldest first."""
    return [(point.hits, point.visitors) for point in counter.series("visits", days=days)]


def test_series_has_days_and_hours(counter, clock):
    """series has each hit in its day and its hour; all others are zero."""
    counter.hit("visits", 2)
    counter.hit("visits", idempotency_key="t")
    counter.hit("visits", idempotency_key="t")
    clock.set("2026-11-23T16:00")
    counter.hit("visits")
    clock.set("2026-11-25T00:00")
    counter.hit("visits", 10)
    november = [datetime(2026, 11, day, tzinfo=UTC) for day in (22, 23, 24, 25)]
    hits = [0, 4, 0, 10]
    expected = [SeriesPoint(*point) for point in zip(november, hits, [0] * 4, strict=True)]
    assert counter.series("visits", days=4) == expected
    hours = counter.series("visits", unit="hour", days=3)
    assert len(hours) == 49
    assert hours[0] == SeriesPoint(november[1], 0)
    assert hours[-1] == SeriesPoint(november[3], 10)
    assert {point.start.hour: point.hits for point in hours[:24] if point.hits} == {15: 3, 16: 1}
    assert len(counter.series("visits")) == 30
    assert sum(point.hits for point in counter.series("visits", days=3660)) == 14
    assert counter.series("other", days=1) == [SeriesPoint(november[3], 0, 0)]


def test_series_has_the_visitors_of_a_day(counter, client, clock):
    """A visitor counts once a day; a past day keeps its number."""
    for visitor in ("a", "b", "a", None):
        counter.hit("visits", visitor=visitor)
    counter.hit("visits", idempotency_key="t", visitor="c")
    assert days(counter, 1) == [(5, 3)]
    clock.set("2026-11-24T00:00")
    assert days(counter, 2) == [(5, 3), (0, 0)]
    counter.hit("visits")
    assert days(counter, 2) == [(5, 3), (1, 0)]
    counter.hit("visits", visitor="a")
    assert days(counter, 2) == [(5, 3), (2, 1)]
    clock.set("2026-11-23T23:59")  # another process's, which is late
    counter.hit("visits", visitor="late")
    clock.set("2026-11-24T00:01")
    assert days(counter, 2) == [(6, 3), (2, 1)]


def test_many_visitors(counter, clock):
    """The estimate is as good as HyperLogLog's: 0.81 % is its standard error."""
    for number in range(3000):
        counter.hit("visits", visitor=f"2001:db8::{number:x}")
    [(hits, visitors)] = days(counter, 1)
    assert hits == 3000
    assert abs(visitors - 3000) < 3000 * 0.04


def test_visitors_that_share_a_batch(client, server, counter, clock):
    """Visitors whose hits count in one batch are counted separately."""
    hits = [PendingHit(KEY, 1, None, visitor=visitor) for visitor in "abca"]
    batch = Batch(hits, "writer", 1, MEMORY, is_probe=False)
    client.execute_command(*HIT.load())
    batch.apply_replies([client.execute_command(*command) for command in batch.commands()])
    assert [hit.result() for hit in hits] == [1, 2, 3, 4]
    assert days(counter, 1) == [(4, 3)]


def test_visitor_is_stored_as_a_salted_hash(own_server, tmp_path):
    """Only a hash is stored; its salt expires with the day, and is not in the append-only file."""
    with RedisCounter(own_server.url) as counter, redis.Redis.from_url(own_server.url) as client:
        counter.hit("visits", visitor="203.0.113.7")
        salt = client.get(f"{KEY}:salt")
        assert len(salt) == 32
        assert 0 < client.ttl(f"{KEY}:salt") <= 86400
        own_server.stop()
        files = [path.read_bytes() for path in tmp_path.rglob("*.aof*")]
        assert any(DAYS.encode() in written for written in files)
        assert not any(salt in written or b"203.0.113.7" in written for written in files)
        own_server.start()
        assert client.get(f"{KEY}:salt") is None
        assert counter.series("visits", days=1)[0].visitors == 1


@pytest.mark.parametrize("key", ["days", "hours:2026-11-23", "visitors", "salt"])
def test_hit_counts_if_its_details_cannot_be_recorded(counter, client, clock, key):
    """A hit counts if the key of its days, hours or visitors has another type."""
    client.lpush(f"{KEY}:{key}", "text")
    assert counter.hit("visits", visitor="a").value == 1
    assert counter.hit("visits", idempotency_key="t", visitor="a").value == 2
    assert client.get(KEY) == b"2"


def test_hit_counts_if_its_day_overflows(counter, client, clock):
    """The counter counts, and the day keeps its number."""
    counter.hit("visits", MAX)
    counter.reset("visits")
    assert counter.hit("visits", 5).value == 5
    assert days(counter, 1) == [(MAX, 0)]


def test_hours_are_kept_for_a_week(counter, client, clock):
    """Hours expire after a week; days do not."""
    counter.hit("visits")
    assert 7 * 86400 < client.ttl(f"{KEY}:hours:2026-11-23") <= 8 * 86400
    assert client.ttl(DAYS) == -1


def test_spooled_hit_counts_on_its_own_day(own_server, tmp_path, clock):
    """A spooled hit counts on the day it arrived, also with an idempotency key."""
    spool = Spool(tmp_path / "spool")
    with RedisCounter(own_server.url, spool=spool) as counter:
        own_server.stop()
        for day, amount, idempotency_key in (
            (23, 1, None),
            (23, 2, None),
            (24, 4, None),
            (25, 8, "t"),
        ):
            clock.set(f"2026-11-{day}T12:00")
            with pytest.raises(HitSpooledError):
                counter.hit("visits", amount, idempotency_key=idempotency_key, visitor="someone")
        clock.set("2026-11-26T00:00")
        own_server.start()
        wait_until(lambda: spool.pending_hits() == 0, what="an empty spool")
        assert days(counter, 4) == [(3, 0), (4, 0), (8, 0), (0, 0)]
        assert counter.value("visits") == 15


@pytest.mark.parametrize(
    ("unit", "length"),
    [("week", 1), (None, 1), ("day", 0), ("day", 3661), ("hour", 8), ("day", 1.0), ("day", True)],
)
def test_series_rejects_an_invalid_period(counter, unit, length):
    """series raises InvalidPeriodError, and sends nothing."""
    with pytest.raises(InvalidPeriodError):
        counter.series("visits", unit=unit, days=length)


def test_series_with_asyncio(server, client, clock):
    """The same, awaited."""

    async def count():
        async with AsyncRedisCounter(server.url) as counter:
            await asyncio.gather(*(counter.hit("visits", visitor=f"v{i % 3}") for i in range(9)))
            [day] = await counter.series("visits", days=1)
            assert day == SeriesPoint(datetime(2026, 11, 23, tzinfo=UTC), 9, 3)
            [*_, hour] = await counter.series("visits", unit="hour", days=1)
            assert hour == SeriesPoint(day.start + timedelta(hours=15), 9)

    asyncio.run(count())
