"""Servers that are away, frozen or killed under many hits: the truth, within the deadline."""

import asyncio
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from flask_redis_counter import AsyncRedisCounter, RedisCounter
from flask_redis_counter.errors import OutcomeUnknownError, StoreUnavailableError
from flask_redis_counter.testing import wait_until

from .support import SLACK, awaited_outcome, check, nowhere, outcome, within


def timed(timeout, operation):
    """Return what an operation says about having counted, and check its deadline."""
    with within(timeout + SLACK):
        return outcome(operation)


def thawed(server, told):
    """Let a frozen server go on, count once more, and compare."""
    server.signal(signal.SIGCONT)
    with RedisCounter(server.url, timeout=3) as counter:
        told.append(counter.hit("visits").value)
        check(told, counter.value("visits"))


def test_a_refused_connection():
    """Not counted, within the deadline, awaited or not, for one and for many."""
    url = nowhere()
    with RedisCounter(url) as counter:
        assert timed(0.5, lambda: counter.hit("visits")) == "not_counted"

    async def count():
        async with AsyncRedisCounter(url) as counter:
            hits = [counter.hit("visits") for _ in range(50)]
            return await asyncio.gather(*hits, return_exceptions=True)

    with within(0.5 + SLACK):
        errors = asyncio.run(count())
    assert {type(error) for error in errors} == {StoreUnavailableError}


def test_a_frozen_server(own_server):
    """The truth within the deadline: unknown where it was sent, not counted where it was not."""
    with RedisCounter(own_server.url, timeout=0.5) as counter:
        told = [wait_until(lambda: counter.hit("visits").value, what="a hit")]
        own_server.signal(signal.SIGSTOP)
        told.append(timed(0.5, lambda: counter.hit("visits")))
        assert told[-1] == "unknown"
        told.append(timed(0.5, lambda: counter.hit("visits")))
        assert told[-1] == "not_counted"
        own_server.signal(signal.SIGCONT)
        for _ in range(3):
            told.append(wait_until(lambda: counter.hit("visits").value, what="a hit"))
        check(told, counter.value("visits"))


def test_a_frozen_server_with_asyncio(own_server):
    """The same, awaited."""

    async def count():
        async with AsyncRedisCounter(own_server.url, timeout=0.5) as counter:
            told = [(await counter.hit("visits")).value]
            own_server.signal(signal.SIGSTOP)
            for expected in (OutcomeUnknownError, StoreUnavailableError):
                with within(0.5 + SLACK), pytest.raises(expected) as caught:
                    await counter.hit("visits")
                told.append(caught.value.outcome)
            return told

    thawed(own_server, asyncio.run(count()))


def test_fifty_hits_keep_their_deadline(own_server):
    """On a server that freezes they are all back in time, and none is told a lie."""
    with RedisCounter(own_server.url, timeout=0.5) as counter, ThreadPoolExecutor(50) as pool:
        told = list(pool.map(lambda _: outcome(lambda: counter.hit("visits")), range(50)))
        own_server.signal(signal.SIGSTOP)
        calls = [pool.submit(timed, 0.5, lambda: counter.hit("visits")) for _ in range(50)]
        frozen_told = [call.result(10) for call in calls]
        assert set(frozen_told) <= {"not_counted", "unknown"}
        own_server.signal(signal.SIGCONT)
        wait_until(lambda: counter.ping() is None, what="the server")
        told += frozen_told
        check(told, wait_until(lambda: counter.value("visits"), what="the value"))


def test_fifty_tasks_keep_their_deadline(own_server):
    """The same, awaited."""

    async def one(counter):
        with within(0.5 + SLACK):
            return await awaited_outcome(counter.hit("visits"))

    async def count():
        async with AsyncRedisCounter(own_server.url, timeout=0.5) as counter:
            told = list(await asyncio.gather(*[one(counter) for _ in range(50)]))
            own_server.signal(signal.SIGSTOP)
            first = asyncio.create_task(one(counter))
            await asyncio.sleep(0)
            told += await asyncio.gather(first, *[one(counter) for _ in range(50)])
            assert set(told[50:]) <= {"not_counted", "unknown"}
            return told

    thawed(own_server, asyncio.run(count()))


def test_a_server_that_is_killed_under_load(own_server):
    """Hits go on through its restart: each value once, and nothing that counted is lost."""
    with RedisCounter(own_server.url, timeout=5) as counter, ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(lambda: outcome(lambda: counter.hit("visits"))) for _ in range(800)]
        for _ in range(2):
            done = sum(call.done() for call in calls)
            wait_until(
                lambda done=done: sum(call.done() for call in calls) > min(done + 50, 790),
                what="hits",
                pause=0.001,
            )
            own_server.kill()
            own_server.start()
        told = [call.result(20) for call in calls]
        check(told, counter.value("visits"))
        assert sum(isinstance(value, int) and value > 0 for value in told) > 100
