"""Limits of hits: visitor windows and rates."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from flask_redis_counter import AsyncRedisCounter, Hit, Limits, RateLimit, RedisCounter
from flask_redis_counter.counting.batch import Batch
from flask_redis_counter.counting.hit import PendingHit
from flask_redis_counter.errors import (
    CounterOverflowError,
    InvalidAmountError,
    RateLimitExceededError,
)
from flask_redis_counter.store.confirmation import MEMORY
from flask_redis_counter.store.scripts import HIT, HIT_ONCE

from .support import KEY, MAX, contents

RATES = "counter:{}:rates"
HALF_AN_HOUR = Limits(visitor_window=1800)
THREE_A_DAY = Limits(rate=RateLimit(3, 86_400))


def test_visitor_counts_once_within_the_window(counter, client):
    """A second hit within the window is skipped; other visitors and counters count."""

    def visit(visitor, name="visits", amount=1):
        return counter.hit(name, amount, visitor=visitor, limits=HALF_AN_HOUR)

    assert visit("a") == Hit("visits", 1)
    assert visit("b") == Hit("visits", 2)
    assert visit("a") == visit("a", amount=7) == Hit("visits", 2, counted=False)
    assert visit("a", "other").counted
    assert counter.hit("visits", visitor="a") == Hit("visits", 3)
    assert visit(None) == Hit("visits", 4)
    assert counter.hit("visits") == Hit("visits", 5)
    assert counter.series("visits", days=1)[0].visitors == 2
    assert 0 < client.ttl(f"{KEY}:seen") <= 1800
    for seen, at in client.zscan_iter(f"{KEY}:seen"):
        client.zadd(f"{KEY}:seen", {seen: at - 1800})
    assert visit("a") == Hit("visits", 6)
    assert client.zcard(f"{KEY}:seen") == 1, "an older visitor was not removed"
    assert len(list(client.scan_iter(f"{KEY}:*"))) == 7, "a key is kept for each hit"


def test_visitor_window_holds_for_idempotency_keys(counter, client):
    """A new key within the window is skipped; a key that has counted is replayed."""

    def visit(idempotency_key, visitor="a"):
        return counter.hit(
            "visits", idempotency_key=idempotency_key, visitor=visitor, limits=HALF_AN_HOUR
        )

    assert visit("t") == Hit("visits", 1)
    assert visit("u") == visit(None) == Hit("visits", 1, counted=False)
    assert visit("t") == Hit("visits", 1, replayed=True)
    assert visit("v", "b") == Hit("visits", 2)
    assert client.get(KEY) == b"2"


def test_rate_holds_for_all_counters_and_processes(counter, client, server):
    """A client over its rate gets RateLimitExceededError, with and without a key."""
    with RedisCounter(server.url, timeout=10) as other:
        assert counter.hit("visits", client="a", limits=THREE_A_DAY).value == 1
        assert other.hit("other", client="a", idempotency_key="t", limits=THREE_A_DAY).value == 1
        assert other.hit("visits", 5, client="a", limits=THREE_A_DAY).value == 6
        for one in (counter, other):
            with pytest.raises(RateLimitExceededError) as caught:
                one.hit("visits", client="a", limits=THREE_A_DAY)
            assert caught.value.outcome == "not_counted"
            assert caught.value.retry_after == 28_800
        with pytest.raises(RateLimitExceededError):
            other.hit("other", client="a", idempotency_key="u", limits=THREE_A_DAY)
        assert other.hit("other", client="a", idempotency_key="t", limits=THREE_A_DAY).replayed
        assert counter.hit("visits", client="b", limits=THREE_A_DAY).value == 7
        assert counter.hit("visits", client="a").value == 8
        assert counter.hit("visits", limits=THREE_A_DAY).value == 9
        assert client.zcard(RATES) == 2
        for one, at in client.zscan_iter(RATES):
            client.zadd(RATES, {one: at - 28_800})
        assert counter.hit("visits", client="a", limits=THREE_A_DAY).value == 10
        with pytest.raises(RateLimitExceededError):
            counter.hit("visits", client="a", limits=THREE_A_DAY)
        for one, at in client.zscan_iter(RATES):
            client.zadd(RATES, {one: at - 86_400})
        assert counter.hit("visits", client="c", limits=THREE_A_DAY).value == 11
        assert client.zcard(RATES) == 1, "a client of the past was not removed"


def test_rate_without_a_window_counts_each_hit(counter, client):
    """A visitor counts as often as its client may, and is one visitor."""
    hits = [counter.hit("visits", visitor="v", client="a", limits=THREE_A_DAY) for _ in range(3)]
    assert hits == [Hit("visits", value) for value in (1, 2, 3)]
    assert counter.series("visits", days=1)[0].visitors == 1
    assert f"{KEY}:seen".encode() not in contents(client)


def test_rates_are_not_in_the_append_only_file(own_server, tmp_path):
    """The hashes of client addresses are in no file."""
    with RedisCounter(own_server.url) as counter:
        counter.hit("visits", client="203.0.113.7", limits=THREE_A_DAY)
    own_server.stop()
    files = [path.read_bytes() for path in tmp_path.rglob("*.aof*")]
    assert any(KEY.encode() in written for written in files)
    assert not any(b"rates" in written or b"203.0.113.7" in written for written in files)


def test_concurrent_hits_keep_window_and_rate(server, client):
    """Of concurrent hits as many count as the limits allow, with unique values."""
    limits = Limits(visitor_window=60, rate=RateLimit(10, 86_400))

    async def count():
        async with AsyncRedisCounter(server.url, timeout=10) as counter:
            hits = [
                counter.hit("visits", visitor=f"v{i // 2}", client=f"c{i % 2}", limits=limits)
                for i in range(100)
            ]
            return await asyncio.gather(*hits, return_exceptions=True)

    outcomes = asyncio.run(count())
    hits = [hit for hit in outcomes if isinstance(hit, Hit)]
    assert {type(hit) for hit in outcomes} == {Hit, RateLimitExceededError}
    counted = [hit.value for hit in hits if hit.counted]
    assert sorted(counted) == list(range(1, len(counted) + 1))
    assert client.get(KEY) == b"%d" % len(counted)
    # Each visitor comes from both clients and counts once, for the first client below its rate.
    assert len(counted) == 20


def test_screened_and_plain_hits_share_batches(counter, client):
    """Hits with and without limits share batches, and get unique values."""

    def count(number):
        kind = number % 3
        if kind == 0:
            return counter.hit("visits", 2)
        if kind == 1:
            return counter.hit("visits", visitor=f"v{number % 10}", limits=HALF_AN_HOUR)
        return counter.hit("visits", client="c", limits=Limits(rate=RateLimit(1000, 1)))

    with ThreadPoolExecutor(16) as pool:
        hits = list(pool.map(count, range(300)))
    counted = [hit.value for hit in hits if hit.counted]
    assert len(set(counted)) == len(counted) == 100 + 10 + 100
    assert max(counted) == int(client.get(KEY)) == 200 + 10 + 100


def send_twice(client, *hits):
    """Send hits in one batch, each packet twice; return the calls of the batch."""
    for script in (HIT, HIT_ONCE):
        client.execute_command(*script.load())
    batch = Batch(list(hits), "writer", 1, MEMORY, is_probe=False)
    while not batch.done:
        commands = batch.commands()
        answers = [client.execute_command(*command) for command in commands]
        assert [client.execute_command(*command) for command in commands] == answers
        batch.apply_replies(answers)
    return commands


def test_repeated_screened_batch_gets_the_same_reply(client):
    """Skipped hits stay skipped, and counted hits count once."""
    hits = [PendingHit(KEY, 1, None, visitor=one, limits=HALF_AN_HOUR) for one in "aba"]
    hits += [PendingHit(KEY, 1, None, client="c", limits=THREE_A_DAY) for _ in range(4)]
    assert len(send_twice(client, *hits)) == 1
    assert [hit.value for hit in hits] == [1, 2, 2, 3, 4, 5, None]
    assert [hit.counted for hit in hits] == [True, True, False, True, True, True, True]
    assert isinstance(hits[-1].error, RateLimitExceededError)
    assert client.get(KEY) == b"5"


@pytest.mark.parametrize("amount", [2**53 - 2, MAX])
def test_amounts_beyond_53_bits_are_not_rounded(client, amount):
    """Large amounts do not share a call with screened hits; each counts to the last digit."""
    large = PendingHit(KEY, amount, None, visitor="a", limits=HALF_AN_HOUR)
    again = PendingHit(KEY, 5, None, visitor="a", limits=HALF_AN_HOUR)
    send_twice(client, large, again)
    assert (large.value, again.value, again.counted) == (amount, amount, False)
    assert client.get(KEY) == b"%d" % amount


def test_overflow_uses_up_no_window_and_no_rate(counter, client):
    """A visitor whose hit was refused for an overflow may come again."""
    counter.set("visits", MAX)
    with pytest.raises(CounterOverflowError):
        counter.hit(
            "visits",
            visitor="a",
            client="c",
            limits=Limits(visitor_window=60, rate=RateLimit(1, 60)),
        )
    counter.reset("visits")
    hit = counter.hit(
        "visits", visitor="a", client="c", limits=Limits(visitor_window=60, rate=RateLimit(1, 60))
    )
    assert hit == Hit("visits", 1)


def test_clients_of_one_batch_keep_their_own_rates(client):
    """Two clients in one batch have different rates."""
    hits = [
        PendingHit(KEY, 1, None, client=one, limits=Limits(rate=rate))
        for one, rate in (("a", RateLimit(1, 60)), ("b", RateLimit(2, 60)), ("a", RateLimit(1, 60)))
    ]
    send_twice(client, *hits)
    assert [hit.value for hit in hits[:2]] == [1, 2]
    assert isinstance(hits[2].error, RateLimitExceededError)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Limits(visitor_window=0),
        lambda: Limits(visitor_window=86_401),
        lambda: Limits(visitor_window=1.5),
        lambda: RateLimit(0, 60),
        lambda: RateLimit(1, 0),
        lambda: RateLimit(1_000_001, 60),
        lambda: RateLimit(1, True),
    ],
)
def test_invalid_limits_are_refused(make):
    """Limits and RateLimit raise InvalidAmountError for invalid arguments."""
    with pytest.raises(InvalidAmountError):
        make()
