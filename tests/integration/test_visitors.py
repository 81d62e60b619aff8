"""VisitorCache of each process, and changes that other processes make to the store."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from flask_redis_counter import AsyncRedisCounter, Limits, RateLimit, RedisCounter
from flask_redis_counter.counting import call, counted_call
from flask_redis_counter.counting.journal import Journal
from flask_redis_counter.counting.visitors import MAX_VISITORS, VisitorCache
from flask_redis_counter.transfer import CounterRecord, DayRecord
from flask_redis_counter.transfer.transfer import Transfer

from .support import KEY, contents

VISITORS = [f"192.0.2.{number} Firefox" for number in range(20)]


@pytest.fixture(autouse=True)
def salt(monkeypatch):
    """Give the day the same salt in each run: with one in 80 salts, 20 visitors are 19.

    Visitors are estimated (HyperLogLog): two of them may share one of its 16,384 registers.
    """
    for module in (call, counted_call):
        monkeypatch.setattr(module, "salt_seed", lambda day: "salt")


def today(counter):
    """Return the hits and the visitors of today."""
    [point] = counter.series("visits", days=1)
    return point.hits, point.visitors


def delete(server, before):
    """Delete the counter."""
    with RedisCounter(server.url) as other:
        assert other.delete("visits") == 20


def flush(server, before):
    """Empty the store."""
    with redis.Redis.from_url(server.url) as client:
        client.flushall()


def restore(server, before):
    """Restore the earlier contents of the store."""
    with redis.Redis.from_url(server.url) as client:
        client.flushall()
        for key, dumped in before.items():
            client.restore(key, 0, dumped)


def replace(server, before):
    """Import another value of the counter, with its own days."""
    record = CounterRecord("visits", 7, {"2020-01-01": DayRecord(7)})
    [result] = Transfer(server.url).import_records([record], "elsewhere", on_conflict="replace")
    assert result.status == "replaced"


def replace_as_other_process(server, before):
    """Delete the counter, and let another process count some of the visitors."""
    delete(server, before)
    with RedisCounter(server.url) as other:
        for visitor in VISITORS[:5]:
            other.hit("visits", visitor=visitor)


LIMITED = {"client": "a", "limits": Limits(rate=RateLimit(1000, 60))}


@pytest.mark.parametrize("undo", [delete, flush, restore, replace, replace_as_other_process])
@pytest.mark.parametrize("kwargs", [{}, LIMITED])
def test_visitors_that_another_process_removed_count_again(server, client, undo, kwargs):
    """Each visitor counts again with its first hit after the change."""
    with RedisCounter(server.url, timeout=10) as counter:
        before = contents(client)
        for visitor in VISITORS:
            counter.hit("visits", visitor=visitor, **kwargs)
        assert today(counter) == (20, 20)
        undo(server, before)
        hits, _ = today(counter)
        for visitor in VISITORS:
            counter.hit("visits", visitor=visitor, **kwargs)
        assert today(counter) == (hits + 20, 20)
        for visitor in VISITORS:
            counter.hit("visits", visitor=visitor, **kwargs)
        assert today(counter) == (hits + 40, 20)


def test_visitors_lost_in_a_restored_snapshot_count_again(start_server):
    """A server that starts from an older snapshot gets the lost visitors again."""
    server = start_server("--appendonly", "no")
    with (
        RedisCounter(server.url, timeout=10, journal=Journal(0)) as counter,
        redis.Redis.from_url(server.url) as client,
    ):
        RedisCounter(server.url).hit("visits", visitor="first")
        client.save()
        for visitor in VISITORS:
            counter.hit("visits", visitor=visitor)
        assert today(counter) == (21, 21)
        server.kill()
        server.start()
        assert today(counter) == (1, 1)
        for visitor in VISITORS:
            counter.hit("visits", visitor=visitor)
        assert today(counter) == (21, 21)


def test_reset_keeps_the_visitors(server, client):
    """After reset the visitors are kept, and are not sent again."""
    with RedisCounter(server.url, timeout=10) as counter, RedisCounter(server.url) as other:
        for visitor in VISITORS:
            counter.hit("visits", visitor=visitor)
        other.reset("visits")
        counter.hit("visits", visitor=VISITORS[0])
        assert today(counter) == (21, 20)
        assert client.get(KEY) == b"1"


def test_visitors_with_idempotency_keys_count_once(server, client):
    """A replayed hit sends no visitor; a hit with a forgotten mark counts once."""
    with RedisCounter(server.url, timeout=10) as counter:
        counter.hit("visits", visitor="a", idempotency_key="1")
        counter.hit("visits", visitor="a", idempotency_key="2")
        client.flushall()
        assert counter.hit("visits", visitor="a", idempotency_key="3").value == 1
        assert counter.hit("visits", visitor="a", idempotency_key="3").replayed
        assert today(counter) == (1, 1)


def test_visitor_cache_can_be_shared(server, client):
    """Counters of threads and of event loops share a cache, and count each visitor once."""
    visitors = VisitorCache()
    shared = {"timeout": 10, "visitors": visitors}
    with RedisCounter(server.url, **shared) as counter, ThreadPoolExecutor(4) as pool:
        awaited = AsyncRedisCounter(server.url, **shared)

        async def count():
            await asyncio.gather(*[awaited.hit("visits", visitor=it) for it in VISITORS])

        for _ in range(3):
            work = [pool.submit(asyncio.run, count()) for _ in range(2)]
            work += [pool.submit(counter.hit, "visits", visitor=it) for it in VISITORS]
            for one in work:
                one.result(10)
            assert today(counter) == (60, 20)
            assert visitors.for_counter(KEY).is_marked
            client.flushall()


@pytest.mark.parametrize("path", ["/count", "/counters/visits/hits"])
def test_visitors_of_a_counter_deleted_over_http_count_again(server, client, client_of, path):
    """Visitors of a deleted counter count again, on the fast path and in Flask."""
    key = "k" * 16
    web = client_of(REDIS_URL=server.url, COUNTER_TIMEOUT=10, COUNTER_ADMIN_KEY=key)
    for _ in range(2):
        for number in range(5):
            environ = {"REMOTE_ADDR": f"192.0.2.{number}"}
            assert web.post(path, environ_overrides=environ).status_code == 200
        [day] = web.get("/counters/visits/series?days=1").json["series"]
        assert (day["hits"], day["visitors"]) == (5, 5)
        deleted = web.delete("/counters/visits", headers={"Authorization": f"Bearer {key}"})
        assert deleted.status_code in (200, 204)


def test_reported_visitors_are_not_sent_again(server, client):
    """A hit of a reported visitor sends only the mark of the cache."""
    with RedisCounter(server.url, timeout=10) as counter, client.monitor() as monitor:
        for visitor in ("a", "a", "b", "a"):
            counter.hit("visits", visitor=visitor)
        client.ping()
        sent = []
        for command in monitor.listen():
            if command["command"] == "PING":
                break
            sent.append(command["command"])
        reports = [line for line in sent if line.startswith("PFADD")]
        assert len(reports) == 2
        assert len(client.hgetall(f"{KEY}:told")) == 1


def test_hits_count_without_the_right_to_record_visitors(own_server):
    """Each hit takes one round trip, and visitors count once the user has the right."""
    with redis.Redis.from_url(own_server.url) as client:
        client.execute_command("ACL", "SETUSER", "default", "-pfadd")
        with RedisCounter(own_server.url, timeout=10) as counter:
            for visitor in ("a", "a", "a"):
                counter.hit("visits", visitor=visitor)
            assert client.info("commandstats")["cmdstat_evalsha"]["failed_calls"] <= 1  # NOSCRIPT
            client.execute_command("ACL", "SETUSER", "default", "+pfadd")
            counter.hit("visits", visitor="a")
            assert today(counter) == (4, 1)


def test_visitor_cache_is_cleared_by_size_time_and_day(monkeypatch):
    """The cache is cleared beyond its size, after its time and on another day."""
    time = 1000.0
    monkeypatch.setattr("flask_redis_counter.series.now", lambda: time)
    cache = VisitorCache()
    reported = cache.for_counter("a")
    for hour, later in (("2026-11-23T15", 0), ("2026-11-23T16", 60), ("2026-11-24T00", 1)):
        time += later
        reported.renew(hour)
        assert "hash" not in reported.hashes
        mark = reported.mark
        reported.add(["hash"], reported.mark)
        time += 58
        reported.renew(hour)
        assert "hash" in cache.for_counter("a").hashes
        assert reported.mark == mark
        time -= 58
    reported.add(map(str, range(MAX_VISITORS)), reported.mark)
    assert "1" not in cache.for_counter("a").hashes
