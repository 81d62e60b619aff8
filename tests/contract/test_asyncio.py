"""Tasks and event loops: cancelled, blocked, or gone in the middle of a hit."""

import asyncio
import time
from contextlib import suppress

import pytest

from flask_redis_counter import AsyncRedisCounter, CounterError, Hit, StoreUnavailableError
from flask_redis_counter.testing import wait_until

from .support import KEY, awaited_outcome, check, nowhere, sleeps


async def in_flight(counter):
    """Wait until a batch was sent."""
    async with asyncio.timeout(5):
        while (flying := counter._driver._combiner.flying) is None or not flying.sent:
            await asyncio.sleep(0)


async def cancelled(task):
    """Cancel a task; Python 3.11's `wait_for` may swallow the first attempt."""
    async with asyncio.timeout(5):
        while not task.done():
            task.cancel()
            await asyncio.sleep(0)


def test_what_a_counter_does_besides_counting(server, client):
    """The same as for threads."""

    async def use():
        async with AsyncRedisCounter(server.url, deadline=10) as counter:
            await counter.ping()
            assert await counter.set("orders", 7) is None
            assert (await counter.hit("orders", 3)).value == 10
            assert await counter.value("orders") == 10
            assert await counter.value("nothing", None) is None
            assert await counter.values(["orders", "nothing"]) == {"orders": 10, "nothing": 0}
            assert await counter.reset("orders") == 10
            assert await counter.names() == ["orders"]
            assert await counter.risks() == []
        async with AsyncRedisCounter(nowhere(), deadline=0.1) as counter:
            with pytest.raises(StoreUnavailableError):
                await counter.values(["orders"])

    asyncio.run(use())
    assert client.get("counter:{orders}") == b"0"


def test_many_tasks(server, client):
    """A thousand tasks, each with a value of its own, in few round trips."""

    async def count():
        async with AsyncRedisCounter(server.url, deadline=10) as counter:
            return [hit.value for hit in await asyncio.gather(*map(counter.hit, ["visits"] * 1000))]

    assert sorted(asyncio.run(count())) == list(range(1, 1001))
    assert client.get(KEY) == b"1000"


def test_tasks_that_are_cancelled(server, client):
    """Nothing is stuck, and the total is within what was told."""

    async def count():
        told = []

        async def one(counter):
            try:
                told.append((await counter.hit("visits")).value)
            except asyncio.CancelledError:
                told.append("unknown")
                raise

        async with AsyncRedisCounter(server.url, deadline=5) as counter:
            for _ in range(20):
                tasks = [asyncio.create_task(one(counter)) for _ in range(20)]
                await asyncio.sleep(0)
                for task in tasks[::3]:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            check(told, await counter.value("visits"))
            assert counter._driver._combiner.flying is None
            assert not counter._driver._combiner.waiting()
            return (await counter.hit("visits")).value

    assert asyncio.run(count()) == int(client.get(KEY))


def test_a_task_that_is_cancelled_while_the_server_hangs(server, client):
    """Who waits with it is not harmed."""

    async def count():
        async with AsyncRedisCounter(server.url, deadline=5) as counter:
            await counter.ping()
            await asyncio.to_thread(sleeps, server, 0.5)
            first = asyncio.create_task(counter.hit("visits"))
            await in_flight(counter)
            others = [asyncio.create_task(counter.hit("visits")) for _ in range(5)]
            await asyncio.sleep(0)
            first.cancel()
            others[4].cancel()
            values = [(await other).value for other in others[:4]]
            assert sorted(values) == [2, 3, 4, 5]

    asyncio.run(count())
    assert client.get(KEY) == b"5"


def test_two_loops_in_turn(server, client):
    """A counter that outlives its loop begins anew in the next one."""
    counter = AsyncRedisCounter(server.url, deadline=5)

    async def count():
        hits = await asyncio.gather(*[counter.hit("visits") for _ in range(10)])
        await counter.aclose()
        return [hit.value for hit in hits]

    values = asyncio.run(count()) + asyncio.run(count())
    assert sorted(values) == list(range(1, 21))
    assert client.get(KEY) == b"20"


def test_a_loop_that_is_blocked(server, client):
    """A loop that stands still for longer than a deadline goes on, without an error."""
    unhandled = []

    async def count():
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: unhandled.append(context)
        )
        async with AsyncRedisCounter(server.url, deadline=0.4) as counter:
            with suppress(CounterError):  # it connects, and loads the scripts
                await counter.hit("visits")
            slow = asyncio.create_task(counter.hit("visits"))
            await in_flight(counter)
            time.sleep(1.6)  # the fault
            for hits in ([counter.hit("visits"), counter.hit("visits")], [slow]):
                for told in await asyncio.gather(*hits, return_exceptions=True):
                    assert isinstance(told, Hit | CounterError)
            async with asyncio.timeout(5):
                while len(asyncio.all_tasks()) > 1:  # let what carries come to its end
                    await asyncio.sleep(0.01)

    asyncio.run(count())
    assert not unhandled


def test_all_tasks_are_cancelled_but_the_loop_goes_on(server, client):
    """Whoever cancels all tasks cancels ours, too: the next hits count all the same."""

    async def count():
        told = []

        async def one():
            told.append(await awaited_outcome(counter.hit("visits")))

        async with AsyncRedisCounter(server.url, deadline=1) as counter:
            await counter.ping()
            await asyncio.to_thread(sleeps, server, 0.2)
            ours = asyncio.all_tasks()
            tasks = [asyncio.create_task(one())]
            await in_flight(counter)
            tasks += [asyncio.create_task(one()) for _ in range(3)]
            await asyncio.sleep(0)
            (pump,) = asyncio.all_tasks() - ours - set(tasks)
            await cancelled(pump)
            await asyncio.gather(*tasks)
            tasks = [asyncio.create_task(one()) for _ in range(3)]
            await asyncio.gather(*tasks)
            assert all(isinstance(value, int) and value for value in told[-3:]), told
            check(told, await counter.value("visits"))

    asyncio.run(count())


def test_a_batch_whose_carrier_is_cancelled_is_unknown(server, client):
    """It was sent, so nobody may be told that it was not counted."""

    async def count():
        async with AsyncRedisCounter(server.url, deadline=2) as counter:
            await counter.ping()
            await asyncio.to_thread(sleeps, server, 0.2)
            hit = asyncio.create_task(counter.hit("visits"))
            await in_flight(counter)
            await cancelled(counter._driver._pump)
            await hit

    told = outcome_of_run(count)
    wait_until(lambda: client.ping(), what="the server")
    assert told == "unknown"


def outcome_of_run(count):
    """Return what a coroutine's error says about having counted."""
    with pytest.raises(CounterError) as caught:
        asyncio.run(count())
    return caught.value.counted
