"""AsyncRedisCounter: tasks that are cancelled, and event loops that block or end."""

import asyncio
import gc
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from flask import Flask

from flask_redis_counter import AsyncRedisCounter, Hit
from flask_redis_counter.errors import CounterError, StoreUnavailableError
from flask_redis_counter.testing import wait_until

from .support import KEY, awaited_outcome, check, nowhere, sleeps


async def wait_until_sent(counter):
    """Wait until a batch was sent."""
    async with asyncio.timeout(5):
        while (
            batch := counter._loops.get().lanes.get("")._batcher.in_flight
        ) is None or not batch.is_sent:
            await asyncio.sleep(0)


async def cancel(task):
    """Cancel a task; Python 3.11's `wait_for` may swallow the first attempt."""
    async with asyncio.timeout(5):
        while not task.done():
            task.cancel()
            await asyncio.sleep(0)


def test_async_counter_reads_and_sets(server, client):
    """The operations besides hits return the same as those of RedisCounter."""

    async def use():
        async with AsyncRedisCounter(server.url, timeout=10) as counter:
            await counter.ping()
            assert await counter.set("orders", 7) is None
            assert (await counter.hit("orders", 3)).value == 10
            assert await counter.value("orders") == 10
            assert await counter.value("nothing", None) is None
            assert await counter.values(["orders", "nothing"]) == {"orders": 10, "nothing": 0}
            assert await counter.reset("orders") == 10
            assert await counter.names() == ["orders"]
            assert await counter.durability_warnings() == []
        async with AsyncRedisCounter(nowhere(), timeout=0.1) as counter:
            with pytest.raises(StoreUnavailableError):
                await counter.values(["orders"])

    asyncio.run(use())
    assert client.get("counter:{orders}") == b"0"


def test_tasks_get_unique_values(server, client):
    """A thousand tasks get each value once."""

    async def count():
        async with AsyncRedisCounter(server.url, timeout=10) as counter:
            return [hit.value for hit in await asyncio.gather(*map(counter.hit, ["visits"] * 1000))]

    assert sorted(asyncio.run(count())) == list(range(1, 1001))
    assert client.get(KEY) == b"1000"


def test_cancelled_tasks_do_not_block_the_counter(server, client):
    """Later hits count, and the total matches the outcomes."""

    async def count():
        outcomes = []

        async def one(counter):
            try:
                outcomes.append((await counter.hit("visits")).value)
            except asyncio.CancelledError:
                outcomes.append("unknown")
                raise

        async with AsyncRedisCounter(server.url, timeout=5) as counter:
            for _ in range(20):
                tasks = [asyncio.create_task(one(counter)) for _ in range(20)]
                await asyncio.sleep(0)
                for task in tasks[::3]:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            check(outcomes, await counter.value("visits"))
            assert counter._loops.get().lanes.get("")._batcher.in_flight is None
            assert not counter._loops.get().lanes.get("")._batcher.pending()
            return (await counter.hit("visits")).value

    assert asyncio.run(count()) == int(client.get(KEY))


def test_cancelled_hit_does_not_affect_its_batch(server, client):
    """The other hits of the batch get their values."""

    async def count():
        async with AsyncRedisCounter(server.url, timeout=5) as counter:
            await counter.ping()
            await asyncio.to_thread(sleeps, server, 0.5)
            first = asyncio.create_task(counter.hit("visits"))
            await wait_until_sent(counter)
            others = [asyncio.create_task(counter.hit("visits")) for _ in range(5)]
            await asyncio.sleep(0)
            first.cancel()
            others[4].cancel()
            values = [(await other).value for other in others[:4]]
            assert sorted(values) == [2, 3, 4, 5]

    asyncio.run(count())
    assert client.get(KEY) == b"5"


def test_counter_can_be_used_in_a_second_loop(server, client):
    """A counter that outlives its loop opens new connections in the next one."""
    counter = AsyncRedisCounter(server.url, timeout=5)

    async def count():
        hits = await asyncio.gather(*[counter.hit("visits") for _ in range(10)])
        await counter.aclose()
        return [hit.value for hit in hits]

    values = asyncio.run(count()) + asyncio.run(count())
    assert sorted(values) == list(range(1, 21))
    assert client.get(KEY) == b"20"


#: Open files of this process.
FILES = Path("/proc/self/fd")

LOOPS = """
import asyncio, gc, sys, threading
from flask_redis_counter import AsyncRedisCounter

counter = AsyncRedisCounter(sys.argv[1], timeout=10)
outcomes = []

def work():
    for _ in range(50):
        outcomes.append(asyncio.run(counter.hit("visits")).value)

threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
gc.collect()
assert sorted(outcomes) == list(range(1, 201)), sorted(outcomes)
assert not counter._loops.get_all()
"""


def run_strictly(code, *arguments):
    """Run a program in which every warning is an error, also an unraisable one."""
    command = [sys.executable, "-W", "error", "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_loops_in_threads_leave_nothing_open(server, client):
    """Fifty loops in each of four threads: all hits count, and no connection stays open."""
    run_strictly(LOOPS, server.url)
    assert client.get(KEY) == b"200"


def test_async_flask_view_counts(server, client):
    """Each request of an async view runs its own loop in its thread."""
    pytest.importorskip("asgiref")
    counter = AsyncRedisCounter(server.url, timeout=10)
    app = Flask("awaits")

    @app.get("/")
    async def visited():
        return str((await counter.hit("visits")).value)

    with ThreadPoolExecutor(4) as pool:
        answers = pool.map(lambda _: app.test_client().get("/").text, range(40))
    assert sorted(map(int, answers)) == list(range(1, 41))
    assert client.get(KEY) == b"40"
    assert not counter._loops.get_all()


def test_concurrent_loops_are_separate_writers(server, client):
    """Each loop has its own writer and connections, for all operations."""
    counter = AsyncRedisCounter(server.url, timeout=10)
    together = threading.Barrier(4)

    async def use(number):
        name = f"loop{number}"
        together.wait(10)
        for _ in range(20):
            hits = await asyncio.gather(*[counter.hit("visits") for _ in range(5)])
            assert await counter.set(name, 3) is None
            assert await counter.values([name, "nothing"]) == {name: 3, "nothing": 0}
            assert await counter.delete(name) == 3
            await counter.ping()
        return hits[-1].value

    with ThreadPoolExecutor(4) as pool:
        values = list(pool.map(lambda number: asyncio.run(use(number)), range(4)))
    assert max(values) == 400 == int(client.get(KEY))
    assert not counter._loops.get_all()


def test_closed_loop_leaves_no_state_to_the_next(server, client):
    """A new loop, even at the same address, does not reuse the state of a closed one."""
    counter = AsyncRedisCounter(server.url, timeout=10)
    for number in range(1, 6):
        loop = asyncio.new_event_loop()
        hit = loop.run_until_complete(counter.hit("visits"))
        loop.run_until_complete(counter.aclose())
        loop.close()
        assert hit.value == number
        assert len(counter._loops.get_all()) == 1
    assert client.get(KEY) == b"5"


def test_ended_loops_close_their_sockets(server, client):
    """A loop that has ended leaves no state, no connection and no socket open."""
    counter = AsyncRedisCounter(server.url, timeout=10)
    asyncio.run(counter.hit("visits"))
    before = len(list(FILES.iterdir())) + 1  # the connection of the journal's thread
    for _ in range(200):
        asyncio.run(counter.hit("visits"))
    # Threads of counters of other tests may have a socket for a moment.
    wait_until(lambda: len(list(FILES.iterdir())) <= before, what="closed sockets")
    assert not counter._loops.get_all()
    assert client.get(KEY) == b"201"


def test_dropped_counter_closes_its_connections(server, client):
    """Without `aclose` the loop of a collected counter closes its connections."""

    async def count():
        hit = await AsyncRedisCounter(server.url, timeout=10).hit("visits")
        gc.collect()
        async with asyncio.timeout(5):
            while len(client.client_list()) > 1:
                await asyncio.sleep(0)
        return hit.value

    assert asyncio.run(count()) == 1


def test_loop_that_ends_during_a_hit_cancels_its_sender(server, client):
    """The sending task is cancelled with its loop; the next loop is another writer."""
    counter = AsyncRedisCounter(server.url, timeout=2)

    async def leave():
        await counter.ping()
        await asyncio.to_thread(sleeps, server, 0.2)
        hit = asyncio.create_task(awaited_outcome(counter.hit("visits")))
        await wait_until_sent(counter)
        assert not hit.done()

    asyncio.run(leave())
    wait_until(lambda: client.ping(), what="the server")
    assert asyncio.run(counter.hit("visits")).value == 2 == int(client.get(KEY))
    assert not counter._loops.get_all()


def test_blocked_loop_continues_without_errors(server, client):
    """A loop that was blocked beyond a deadline gets values or errors, none unhandled."""
    unhandled = []

    async def count():
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: unhandled.append(context)
        )
        async with AsyncRedisCounter(server.url, timeout=0.4) as counter:
            with suppress(CounterError):  # connecting and loading the scripts may take longer
                await counter.hit("visits")
            slow = asyncio.create_task(counter.hit("visits"))
            await wait_until_sent(counter)
            time.sleep(1.6)  # the fault
            for hits in ([counter.hit("visits"), counter.hit("visits")], [slow]):
                for outcome in await asyncio.gather(*hits, return_exceptions=True):
                    assert isinstance(outcome, Hit | CounterError)
            async with asyncio.timeout(5):
                while len(asyncio.all_tasks()) > 1:  # wait for the sending task
                    await asyncio.sleep(0.01)

    asyncio.run(count())
    assert not unhandled


def test_hits_count_after_all_tasks_were_cancelled(server, client):
    """Hits after the sending task was cancelled count."""

    async def count():
        outcomes = []

        async def one():
            outcomes.append(await awaited_outcome(counter.hit("visits")))

        async with AsyncRedisCounter(server.url, timeout=1) as counter:
            await counter.ping()
            await asyncio.to_thread(sleeps, server, 0.2)
            ours = asyncio.all_tasks()
            tasks = [asyncio.create_task(one())]
            await wait_until_sent(counter)
            tasks += [asyncio.create_task(one()) for _ in range(3)]
            await asyncio.sleep(0)
            (pump,) = asyncio.all_tasks() - ours - set(tasks)
            await cancel(pump)
            await asyncio.gather(*tasks)
            tasks = [asyncio.create_task(one()) for _ in range(3)]
            await asyncio.gather(*tasks)
            assert all(isinstance(value, int) and value for value in outcomes[-3:]), outcomes
            check(outcomes, await counter.value("visits"))

    asyncio.run(count())


def test_batch_whose_sender_is_cancelled_is_unknown(server, client):
    """The batch was sent, so its hits are not reported as not counted."""

    async def count():
        async with AsyncRedisCounter(server.url, timeout=2) as counter:
            await counter.ping()
            await asyncio.to_thread(sleeps, server, 0.2)
            hit = asyncio.create_task(counter.hit("visits"))
            await wait_until_sent(counter)
            await cancel(counter._loops.get().lanes.get("")._sender_task)
            await hit

    result = outcome_of_run(count)
    wait_until(lambda: client.ping(), what="the server")
    assert result == "unknown"


def outcome_of_run(count):
    """Return the outcome of a coroutine's error."""
    with pytest.raises(CounterError) as caught:
        asyncio.run(count())
    return caught.value.outcome
