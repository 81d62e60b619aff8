"""Tokens: the same one counts once, whoever sends it and how often."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from flask_redis_counter import AsyncRedisCounter, RedisCounter
from flask_redis_counter.errors import (
    IdempotencyKeyReusedError,
    InvalidIdempotencyKeyError,
    OutcomeUnknownError,
    StoreError,
)

from .support import KEY, nowhere


def test_a_token_counts_once_whoever_sends_it(store, server, client):
    """Two counters and asyncio: the same value, and all but the first are told."""

    async def count():
        async with AsyncRedisCounter(server.url) as counter:
            return await counter.hit("visits", 2, idempotency_key="order 17")

    with RedisCounter(store) as one, RedisCounter(server.url) as two:
        one.hit("visits")
        hits = [
            one.hit("visits", 2, idempotency_key="order 17"),
            two.hit("visits", 2, idempotency_key="order 17"),
        ]
        hits += [asyncio.run(count()), one.hit("visits", 2, idempotency_key="order 17")]
        assert [(hit.value, hit.replayed) for hit in hits] == [(3, False)] + [(3, True)] * 3
        assert two.hit("visits", 2, idempotency_key="order 18").value == 5
        assert two.hit("others", 2, idempotency_key="order 17").value == 2
    assert client.get(KEY) == b"5"


def test_a_token_with_another_amount(counter, client):
    """It is refused, not counted, and says what the token stands for."""
    counter.hit("visits", 2, idempotency_key="t")
    with pytest.raises(IdempotencyKeyReusedError, match="amount 2") as caught:
        counter.hit("visits", 3, idempotency_key="t")
    assert (caught.value.outcome, caught.value.amount) == ("not_counted", 2)
    assert client.get(KEY) == b"2"


@pytest.mark.parametrize("idempotency_key", ["", "x" * 256, "ü", "a\n", "\x7f", 1, b"t", ["t"]])
def test_a_token_outside_the_rules(counter, client, idempotency_key):
    """It is refused before anything is sent."""
    with pytest.raises(InvalidIdempotencyKeyError):
        counter.hit("visits", idempotency_key=idempotency_key)
    assert client.dbsize() == 0


def test_the_longest_and_the_oddest_token(counter, client):
    """Braces, quotes and spaces are characters like others."""
    for number, idempotency_key in enumerate(
        ["x" * 255, "}{", " ", "a\"b'c\\", "*?[a]", "%d %s"], 1
    ):
        assert counter.hit("visits", idempotency_key=idempotency_key).value == number
        assert counter.hit("visits", idempotency_key=idempotency_key).replayed
    assert counter.names() == ["visits"]


def test_many_threads_with_the_same_token(store, client):
    """It counts once, all get the value, and one is told that it was the one."""
    with RedisCounter(store, timeout=5) as counter, ThreadPoolExecutor(16) as pool:
        hits = list(pool.map(lambda _: counter.hit("visits", idempotency_key="t"), range(200)))
    assert {hit.value for hit in hits} == {1}
    assert sum(not hit.replayed for hit in hits) == 1
    assert client.get(KEY) == b"1"


def test_a_repeat_that_does_not_reach_the_store_is_unknown():
    """An attempt before it may have counted; without a token there is none before it."""

    async def count(idempotency_key):
        async with AsyncRedisCounter(nowhere(), timeout=0.1) as counter:
            await counter.hit("visits", idempotency_key=idempotency_key)

    with RedisCounter(nowhere(), timeout=0.1) as counter:
        for hit in (
            lambda idempotency_key: counter.hit("visits", idempotency_key=idempotency_key),
            lambda idempotency_key: asyncio.run(count(idempotency_key)),
        ):
            with pytest.raises(OutcomeUnknownError, match="this attempt was not counted"):
                hit("t")
            with pytest.raises(StoreError) as caught:
                hit(None)
            assert caught.value.outcome == "not_counted"
