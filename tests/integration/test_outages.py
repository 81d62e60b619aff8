"""Servers that are down, frozen or killed under load: true outcomes, within the deadline."""

import asyncio
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from flask_redis_counter import AsyncRedisCounter, RedisCounter
from flask_redis_counter.errors import OutcomeUnknownError, StoreUnavailableError
from flask_redis_counter.testing import wait_until

from .support import SLACK, awaited_outcome, check, nowhere, outcome, within


def timed(timeout, operation):
    """Return the outcome of an operation, and check its deadline."""
    with within(timeout + SLACK):
        return outcome(operation)


def thaw_and_check(server, outcomes):
    """Thaw a frozen server, count again, and check all outcomes."""
    server.signal(signal.SIGCONT)
    with RedisCounter(server.url, timeout=3) as counter:
        outcomes.append(counter.hit("visits").value)
        check(outcomes, counter.value("visits"))


def test_refused_connection_is_not_counted():
    """Hits fail as not counted within the deadline, with threads and with asyncio."""
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


def test_frozen_server_is_unknown_then_not_counted(own_server):
    """A hit that was sent is unknown, and the next one is not counted, within the deadline."""
    with RedisCounter(own_server.url, timeout=0.5) as counter:
        outcomes = [wait_until(lambda: counter.hit("visits").value, what="a hit")]
        own_server.signal(signal.SIGSTOP)
        outcomes.append(timed(0.5, lambda: counter.hit("visits")))
        assert outcomes[-1] == "unknown"
        outcomes.append(timed(0.5, lambda: counter.hit("visits")))
        assert outcomes[-1] == "not_counted"
        own_server.signal(signal.SIGCONT)
        for _ in range(3):
            outcomes.append(wait_until(lambda: counter.hit("visits").value, what="a hit"))
        check(outcomes, counter.value("visits"))


def test_frozen_server_is_unknown_then_not_counted_async(own_server):
    """An awaited hit that was sent is unknown, and the next one is not counted."""

    async def count():
        async with AsyncRedisCounter(own_server.url, timeout=0.5) as counter:
            outcomes = [(await counter.hit("visits")).value]
            own_server.signal(signal.SIGSTOP)
            for expected in (OutcomeUnknownError, StoreUnavailableError):
                with within(0.5 + SLACK), pytest.raises(expected) as caught:
                    await counter.hit("visits")
                outcomes.append(caught.value.outcome)
            return outcomes

    thaw_and_check(own_server, asyncio.run(count()))


def test_fifty_hits_keep_their_deadline(own_server):
    """Fifty hits on a frozen server return in time, with true outcomes."""
    with RedisCounter(own_server.url, timeout=0.5) as counter, ThreadPoolExecutor(50) as pool:
        outcomes = list(pool.map(lambda _: outcome(lambda: counter.hit("visits")), range(50)))
        own_server.signal(signal.SIGSTOP)
        calls = [pool.submit(timed, 0.5, lambda: counter.hit("visits")) for _ in range(50)]
        frozen_outcomes = [call.result(10) for call in calls]
        assert set(frozen_outcomes) <= {"not_counted", "unknown"}
        own_server.signal(signal.SIGCONT)
        wait_until(lambda: counter.ping() is None, what="the server")
        outcomes += frozen_outcomes
        check(outcomes, wait_until(lambda: counter.value("visits"), what="the value"))


def test_fifty_tasks_keep_their_deadline(own_server):
    """Fifty awaited hits on a frozen server return in time, with true outcomes."""

    async def one(counter):
        with within(0.5 + SLACK):
            return await awaited_outcome(counter.hit("visits"))

    async def count():
        async with AsyncRedisCounter(own_server.url, timeout=0.5) as counter:
            outcomes = list(await asyncio.gather(*[one(counter) for _ in range(50)]))
            own_server.signal(signal.SIGSTOP)
            first = asyncio.create_task(one(counter))
            await asyncio.sleep(0)
            outcomes += await asyncio.gather(first, *[one(counter) for _ in range(50)])
            assert set(outcomes[50:]) <= {"not_counted", "unknown"}
            return outcomes

    thaw_and_check(own_server, asyncio.run(count()))


def test_hits_survive_a_server_killed_under_load(own_server):
    """Hits continue after each restart: each value once, and no counted hit is lost."""
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
        outcomes = [call.result(20) for call in calls]
        check(outcomes, counter.value("visits"))
        assert sum(isinstance(value, int) and value > 0 for value in outcomes) > 100
