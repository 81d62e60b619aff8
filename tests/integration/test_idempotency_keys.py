"""Idempotency keys: one key counts once, for all senders and repeats."""

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


def test_idempotency_key_counts_once_for_all_senders(store, server, client):
    """Hits of two counters and asyncio get the same value; all but the first are replayed."""

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


def test_idempotency_key_with_another_amount_is_refused(counter, client):
    """The hit is not counted, and the error has the amount of the first hit."""
    counter.hit("visits", 2, idempotency_key="t")
    with pytest.raises(IdempotencyKeyReusedError, match="amount 2") as caught:
        counter.hit("visits", 3, idempotency_key="t")
    assert (caught.value.outcome, caught.value.amount) == ("not_counted", 2)
    assert client.get(KEY) == b"2"


@pytest.mark.parametrize("idempotency_key", ["", "x" * 256, "ü", "a\n", "\x7f", 1, b"t", ["t"]])
def test_invalid_idempotency_key_is_refused(counter, client, idempotency_key):
    """hit raises InvalidIdempotencyKeyError before anything is sent."""
    with pytest.raises(InvalidIdempotencyKeyError):
        counter.hit("visits", idempotency_key=idempotency_key)
    assert client.dbsize() == 0


def test_idempotency_key_may_have_any_printable_ascii(counter, client):
    """The longest key counts, and so do braces, quotes and spaces."""
    for number, idempotency_key in enumerate(
        ["x" * 255, "}{", " ", "a\"b'c\\", "*?[a]", "%d %s"], 1
    ):
        assert counter.hit("visits", idempotency_key=idempotency_key).value == number
        assert counter.hit("visits", idempotency_key=idempotency_key).replayed
    assert counter.names() == ["visits"]


def test_idempotency_key_of_many_threads_counts_once(store, client):
    """All threads get the same value, and one hit is not replayed."""
    with RedisCounter(store, timeout=5) as counter, ThreadPoolExecutor(16) as pool:
        hits = list(pool.map(lambda _: counter.hit("visits", idempotency_key="t"), range(200)))
    assert {hit.value for hit in hits} == {1}
    assert sum(not hit.replayed for hit in hits) == 1
    assert client.get(KEY) == b"1"


def test_a_repeat_that_does_not_reach_the_store_is_unknown():
    """With a key an earlier attempt may have counted; without a key the hit was not counted."""

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
