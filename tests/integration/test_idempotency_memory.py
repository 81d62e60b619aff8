"""Idempotency keys take a bounded part of the store's memory; hits without a key still count."""

import asyncio
import re
import secrets

import pytest
import redis

from flask_redis_counter import AsyncRedisCounter, Limits, RedisCounter
from flask_redis_counter.doctor.checks import run_checks
from flask_redis_counter.errors import IdempotencyMemoryError, StoreRejectedError
from flask_redis_counter.store.keys import MAX_PLAIN_KEY
from flask_redis_counter.testing import wait_until

from .support import KEY, problem, readiness

MEGABYTE = 1_000_000
LIMIT = 20 * MEGABYTE
SHARE = Limits(idempotency_memory=80)


@pytest.fixture
def full(start_server):
    """A store with 20 MB, of which 9 are used, and a plain client of it."""
    store = start_server("--maxmemory", str(LIMIT), "--appendonly", "no")
    with redis.Redis.from_url(store.url) as client:
        client.setrange("filler", 9 * MEGABYTE, "x")
        yield store, client


def fill_up(client, used):
    """Use memory up to a size in bytes."""
    while client.info("memory")["used_memory"] < used:
        client.rpush("more", "x" * 50_000)


def fill(url):
    """Send hits with random keys until one is refused; return the number counted, and a key."""

    async def run():
        counted, idempotency_key = 0, ""
        async with AsyncRedisCounter(url, timeout=10) as counter:
            for _ in range(100):
                keys = [secrets.token_urlsafe(190)[:250] for _ in range(500)]
                hits = (counter.hit("visits", idempotency_key=it, limits=SHARE) for it in keys)
                outcomes = await asyncio.gather(*hits, return_exceptions=True)
                counted += sum(not isinstance(it, BaseException) for it in outcomes)
                idempotency_key = idempotency_key or keys[0]
                errors = [it for it in outcomes if isinstance(it, BaseException)]
                if errors:
                    assert {type(it) for it in errors} == {IdempotencyMemoryError}
                    return counted, idempotency_key
        raise AssertionError("no key was refused")

    return asyncio.run(run())


def test_idempotency_keys_leave_room_for_hits(full):
    """Beyond the limit new keys are refused; other hits count, and no record is lost."""
    store, client = full
    counted, idempotency_key = fill(store.url)
    assert counted > 5_000
    assert client.info("memory")["used_memory"] < 0.85 * LIMIT
    assert client.get(KEY) == b"%d" % counted
    with RedisCounter(store.url, timeout=10) as counter:
        assert counter.hit("visits").value == counted + 1
        assert counter.hit("another", visitor="v").value == 1
        with pytest.raises(IdempotencyMemoryError) as caught:
            counter.hit("visits", idempotency_key="new", limits=SHARE)
        assert caught.value.outcome == "not_counted"
        assert counter.hit("visits", idempotency_key=idempotency_key, limits=SHARE).replayed
        assert counter.hit("visits", idempotency_key="another client's").value == counted + 2
        assert counter.delete("visits") == counted + 2
        assert counter.hit("visits", idempotency_key=idempotency_key, limits=SHARE).replayed, (
            "its key was not kept"
        )
        assert counter.value("visits") == 0


def test_new_idempotency_keys_count_when_memory_is_free(full):
    """New keys count as soon as there is memory."""
    store, client = full
    with RedisCounter(store.url, timeout=10) as counter:
        fill_up(client, 17 * MEGABYTE)
        with pytest.raises(IdempotencyMemoryError):
            counter.hit("visits", idempotency_key="t", limits=SHARE)
        client.delete("filler")
        wait_until(
            lambda: client.get("counter:{}:room") is None, what="the end of the cached check"
        )
        assert counter.hit("visits", idempotency_key="t", limits=SHARE).value == 1


def test_counter_can_be_deleted_on_a_full_store(full):
    """A full store refuses hits, and frees the memory of a deleted counter."""
    store, client = full
    with RedisCounter(store.url, timeout=10) as counter:
        assert counter.hit("visits", visitor="v").value == 1
        client.config_set("maxmemory", 1)
        with pytest.raises(StoreRejectedError):
            counter.hit("visits")
        assert counter.delete("visits") == 1
        assert client.get(KEY) is None


@pytest.mark.parametrize("length", [MAX_PLAIN_KEY, MAX_PLAIN_KEY + 1, 255])
def test_long_idempotency_keys_have_bounded_records(counter, client, length):
    """Long keys are distinct, and the key of their record is bounded."""
    one, other = "x" * (length - 1) + "1", "x" * (length - 1) + "2"
    assert counter.hit("visits", idempotency_key=one).value == 1
    assert counter.hit("visits", idempotency_key=other).value == 2
    assert counter.hit("visits", idempotency_key=one).replayed
    assert counter.hit("visits", idempotency_key=other).replayed
    records = list(client.scan_iter(f"{KEY}:token*"))
    assert len(records) == 2
    assert max(map(len, records)) <= len(KEY) + len(":token-hash:") + 40


def test_no_idempotency_key_is_refused_below_the_limit(server, client, counter):
    """A key counts if the store has no memory limit, or if the user may not read it."""
    assert (
        counter.hit("visits", idempotency_key="a", limits=Limits(idempotency_memory=1)).value == 1
    )
    client.acl_setuser("blind", enabled=True, nopass=True, keys="*", commands=["+@all", "-info"])
    url = server.url.replace("redis://", "redis://blind:x@")
    client.delete("counter:{}:room")
    try:
        with RedisCounter(url, timeout=10) as blind:
            assert (
                blind.hit("visits", idempotency_key="b", limits=Limits(idempotency_memory=1)).value
                == 2
            )
    finally:
        client.acl_deluser("blind")


def test_doctor_says_that_keys_are_refused(full):
    """doctor reports the memory used, the keys that expire, and that deleting frees none."""
    store, client = full
    with RedisCounter(store.url, timeout=10) as counter:
        counter.hit("visits", idempotency_key="t")
    settings = {"REDIS_URL": store.url, "COUNTER_TIMEOUT": "10"}
    found = {one.subject: one for one in run_checks(settings)}
    assert found["memory"].status == "ok"
    fill_up(client, 17 * MEGABYTE)
    found = {one.subject: one for one in run_checks(settings)}
    assert found["memory"].status == "warning"
    expiring = sum(client.ttl(key) > 0 for key in client.scan_iter())
    match = re.search(r"of 20.0 MB.* rejected,.* (\d+) keys expire", found["memory"].message)
    assert 2 <= int(match[1]) <= expiring
    assert "even if its counter is deleted" in found["memory"].remedy


def test_refused_idempotency_key_over_http_is_503(full, client_of):
    """The problem has a reason, /readyz reports it, and a hit without a key counts."""
    store, client = full
    web = client_of(REDIS_URL=store.url, COUNTER_TIMEOUT=10)
    key = {"Idempotency-Key": '"a"'}
    assert web.post("/counters/visits/hits", headers=key).json["value"] == 1
    assert readiness(web.get("/readyz").json) == {"status": "ready"}
    fill_up(client, 17 * MEGABYTE)
    client.delete("counter:{}:room")
    refused = problem(web.post("/counters/visits/hits", headers={"Idempotency-Key": '"b"'}), 503)
    assert refused["counted"] is False
    assert refused["reason"] == "idempotency_memory"
    assert "without a key" in refused["detail"]
    assert web.post("/counters/visits/hits", headers=key).headers["Idempotent-Replayed"] == "true"
    assert web.post("/counters/visits/hits").json["value"] == 2
    assert readiness(web.get("/readyz").json) == {"status": "ready", "idempotency_keys": "refused"}
    assert client.get(KEY) == b"2"
