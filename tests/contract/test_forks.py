"""Forked processes: parent and children count on, each on connections of its own."""

import asyncio
import multiprocessing
import threading
from concurrent.futures import ThreadPoolExecutor

from flask_redis_counter import AsyncRedisCounter, RedisCounter, StoreUnavailableError
from flask_redis_counter.testing import wait_until

from .support import KEY

FORK = multiprocessing.get_context("fork")


def child_of(work, *arguments):
    """Start a child that does some work."""
    child = FORK.Process(target=work, args=arguments, daemon=True)
    child.start()
    return child


def _count_in_child(counter, hits, results):
    results.put([counter.hit("visits").value for _ in range(hits)])


def test_a_fork_while_hits_are_in_flight(server, client):
    """A child repeats nothing of its parent's, and both get values of their own."""
    results = FORK.Queue()
    stop = threading.Event()
    counted = []

    def hammer():
        values = []
        while not stop.is_set():
            values.append(counter.hit("visits").value)
        return values

    with RedisCounter(server.url, deadline=10) as counter, ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(hammer) for _ in range(4)]
        children = []
        for number in range(6):
            wait_until(
                lambda number=number: int(client.get(KEY) or 0) > 20 * number,
                what="hits",
                pause=0.001,
            )
            children.append(child_of(_count_in_child, counter, 20, results))
        for _ in children:
            counted += results.get(timeout=30)
        stop.set()
        for call in calls:
            counted += call.result(30)
    for child in children:
        child.join(30)
        assert child.exitcode == 0
    assert sorted(counted) == list(range(1, len(counted) + 1))
    assert client.get(KEY) == b"%d" % len(counted)


async def _ten(counter):
    return [(await counter.hit("visits")).value for _ in range(10)]


def _count_in_loop(runner, counter, results):
    results.put(runner.run(_ten(counter)))


def test_a_fork_between_two_runs_of_a_loop(server, client):
    """A child that goes on with its parent's loop is another writer, on other connections."""
    results = FORK.Queue()
    counter = AsyncRedisCounter(server.url, deadline=5)

    with asyncio.Runner() as runner:
        try:
            values = runner.run(_ten(counter))
            child = child_of(_count_in_loop, runner, counter, results)
            values += results.get(timeout=10)
            child.join(30)
            values += runner.run(_ten(counter))
        finally:
            runner.run(counter.aclose())
    assert sorted(values) == list(range(1, 31))
    assert client.get(KEY) == b"30"


def test_a_forked_child_counts_on_connections_of_its_own(counter):
    """Parent and children use one counter object after a fork, and no reply goes astray."""
    counter.hit("visits")
    results = FORK.Queue()
    children = [child_of(_count_in_child, counter, 100, results) for _ in range(3)]
    values = [counter.hit("visits").value for _ in range(100)]
    for _ in children:
        values += results.get(timeout=30)
    for child in children:
        child.join(30)
    assert sorted(values) == list(range(2, 402))


def _hit(counter):
    while True:  # eighty threads on a small machine: a connection may take more than its time
        try:
            return counter.hit("visits").value
        except StoreUnavailableError:
            continue  # not counted


def _count_in_threads(counter, results):
    try:
        with ThreadPoolExecutor(8) as pool:
            results.put(list(pool.map(lambda _: _hit(counter), range(80))))
    except Exception as error:
        results.put([repr(error)])


def test_threads_that_start_in_a_forked_child(counter):
    """The first hits of a child may come from several threads at once (gunicorn --preload)."""
    counter.hit("visits")
    results = FORK.Queue()
    children = [child_of(_count_in_threads, counter, results) for _ in range(10)]
    values = [value for _ in children for value in results.get(timeout=30)]
    for child in children:
        child.join(30)
    assert sorted(values) == list(range(2, 802))
