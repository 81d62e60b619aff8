"""HitMetrics of counters on real servers."""

import asyncio

import pytest

from flask_redis_counter import AsyncRedisCounter, OutcomeUnknownError, RedisCounter

from .support import SLACK, sleeps


def test_counter_has_metrics_without_a_service(server, client):
    """A counter of the library measures its hits."""
    with RedisCounter(server.url, timeout=0.4) as counter:
        counter.hit("visits", 3)
        sleeps(server, 0.6)
        with pytest.raises(OutcomeUnknownError):
            counter.hit("visits")
        snapshot = counter.metrics.snapshot()
    assert snapshot.outcomes["counted"] == snapshot.outcomes["unknown"] == 1
    assert snapshot.amount_total == 3
    assert sum(snapshot.durations) == 2
    assert 0.1 < snapshot.duration_total < 0.4 + SLACK
    assert snapshot.failed_round_trips >= 1


async def hit_thrice(counter):
    """Count three hits with asyncio."""
    async with counter:
        for _ in range(3):
            await counter.hit("visits")


def test_async_counter_has_metrics(server, client):
    """An async counter measures its hits in its own metrics or in given ones."""
    counter = AsyncRedisCounter(server.url)
    asyncio.run(hit_thrice(counter))
    assert counter.metrics.snapshot().amount_total == 3
    with RedisCounter(server.url) as shared:
        asyncio.run(hit_thrice(AsyncRedisCounter(server.url, metrics=shared.metrics)))
        assert shared.metrics.snapshot().outcomes["counted"] == 3
