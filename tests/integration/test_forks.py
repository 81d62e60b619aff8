"""Copied processes: parent and children count on, each on connections of its own."""

import asyncio
import ctypes
import gc
import json
import multiprocessing
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext
from unittest import mock

import pytest
from flask import Response

from flask_redis_counter import AsyncRedisCounter, RedisCounter, Spool
from flask_redis_counter.errors import CounterError, StoreUnavailableError
from flask_redis_counter.stats import HitMetrics
from flask_redis_counter.testing import wait_until
from flask_redis_counter.web.bearer_key import WrongKeyLimiter
from flask_redis_counter.web.concurrency import ConcurrencyLimiter

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

    with RedisCounter(server.url, timeout=10) as counter, ThreadPoolExecutor(4) as pool:
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
    counter = AsyncRedisCounter(server.url, timeout=5)

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


@contextmanager
def copy_of(work, *arguments, as_snapshot=False):
    """Copy this process as uWSGI does, in C, and let the copy work; yield what that returns.

    :param as_snapshot: whether it has the same process id, as one that is restored has.
    """
    for thread in threading.enumerate():
        # The thread that connected to the store may be about to end. A fork in C while another
        # thread waits for the interpreter copies a lock of Python's own as it is.
        if "_connect_loop" in thread.name:
            thread.join(30)
    reading, writing = os.pipe()
    pid = os.getpid()
    child = ctypes.PyDLL(None).fork()
    if child == 0:
        try:
            signal.alarm(60)
            # Python 3.13 looks at the parent's other threads there, which a copy in C lacks.
            gc.disable()
            with mock.patch("os.getpid", return_value=pid) if as_snapshot else nullcontext():
                os.write(writing, json.dumps(work(*arguments)).encode())
            os._exit(0)
        finally:
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        yield lambda: json.loads(pipe.read())
    assert os.waitpid(child, 0)[1] == 0


def copies_of(number, work, *arguments, **more):
    """Let several copies work, one after the other, and return all that they return."""
    answers = []
    for _ in range(number):
        with copy_of(work, *arguments, **more) as result:
            answers += result()
    return answers


def at_once(number, work, *arguments, meanwhile=list, **more):
    """Let several copies work at the same time, and return all that they return."""
    with ExitStack() as stack:
        copies = [stack.enter_context(copy_of(work, *arguments, **more)) for _ in range(number)]
        answers = meanwhile()
        for result in copies:
            answers += result()
    return answers


def told(hit):
    """Return the value of a hit, or what its error says."""
    try:
        return hit().value
    except CounterError as error:
        return f"{error.outcome}: {error}"


def count(counter, hits=3, name="visits"):
    """Hit so often, and return what each hit was told."""
    return [told(lambda: counter.hit(name)) for _ in range(hits)]


@pytest.mark.parametrize("before", [0, 1])
def test_a_fork_in_c(server, client, before):
    """Two children, whether the parent has hit or not: each hit counts, with a value of its own."""
    with RedisCounter(server.url, timeout=10) as counter:
        values = count(counter, before)
        values += copies_of(2, count, counter)
        values += count(counter, 1)
    assert values == list(range(1, 8 + before))
    assert client.get(KEY) == b"%d" % len(values)


def test_forks_in_c_that_count_at_once(server, client):
    """Threads of several children, whose first hits come at the same time, as do the parent's."""

    def count_in_threads():
        with ThreadPoolExecutor(4) as pool:
            return list(pool.map(lambda _: told(lambda: counter.hit("visits")), range(40)))

    with RedisCounter(server.url, timeout=10) as counter:
        counter.hit("visits")
        values = at_once(4, count_in_threads, meanwhile=count_in_threads)
    assert sorted(values) == list(range(2, 202))
    assert client.get(KEY) == b"201"


def test_a_fork_in_c_while_another_thread_is_in_the_middle(server, client):
    """The locks that it held and the connection that it used are not the child's."""
    with RedisCounter(server.url, timeout=10) as counter:
        counter.hit("visits")
        held = threading.Event(), threading.Event()

        def hold():
            with counter._dispatcher._lock, counter._pool._lock, counter.metrics._lock:
                held[0].set()
                held[1].wait(30)

        thread = threading.Thread(target=hold)
        thread.start()
        held[0].wait(30)
        values = copies_of(1, count, counter)
        held[1].set()
        thread.join(30)
        values += count(counter, 2)
    assert values == [2, 3, 4, 5, 6]
    assert client.get(KEY) == b"6"


def test_a_fork_in_c_leaves_the_parents_connection(server, client):
    """A child drops its copy of the socket, and does not shut it down."""
    with RedisCounter(server.url, timeout=10) as counter:
        counter.hit("visits")
        (connection,) = counter._pool._idle
        copies_of(2, count, counter)
        assert counter.hit("visits").value == 8
        assert list(counter._pool._idle) == [connection]
    assert client.get(KEY) == b"8"


def count_in_loop(runner, counter):
    """Hit in an event loop, and return what each hit was told."""

    async def hit():
        values = []
        for _ in range(3):
            try:
                values.append((await counter.hit("visits")).value)
            except CounterError as error:
                values.append(str(error))
        return values

    return runner.run(hit())


def count_in_own_loop(counter):
    """The same, in a loop of the copy's own."""
    with asyncio.Runner() as runner:
        return count_in_loop(runner, counter)


def test_a_fork_in_c_with_asyncio(server, client):
    """In a loop of the child's own, and in its copy of the parent's, which counts on as well."""
    counter = AsyncRedisCounter(server.url, timeout=5)
    with asyncio.Runner() as runner:
        values = count_in_loop(runner, counter)
        for _ in range(2):
            values += copies_of(1, count_in_own_loop, counter)
            values += count_in_loop(runner, counter)
            values += copies_of(1, count_in_loop, runner, counter)
            values += count_in_loop(runner, counter)
        runner.run(counter.aclose())
    assert values == list(range(1, 28))
    assert client.get(KEY) == b"27"


def spools(counter, hits=5):
    """Hit while the store is away, and return how it went."""
    return [str(answer).partition(":")[0] for answer in count(counter, hits)]


@pytest.mark.parametrize("as_snapshot", [False, True], ids=["fork", "snapshot"])
def test_copies_that_spool(own_server, tmp_path, as_snapshot):
    """Copies with and without hits that wait: all count once when the store is back."""
    spool = Spool(tmp_path / "spool")
    counter = RedisCounter(own_server.url, timeout=0.5, spool=spool)
    counter.hit("visits")
    own_server.kill()
    answers = copies_of(2, spools, counter, as_snapshot=as_snapshot)
    answers += spools(counter)
    counter.close()  # no thread is in the middle of a write
    answers += copies_of(2, spools, counter, as_snapshot=as_snapshot)
    assert answers == ["spooled"] * 25
    assert spool.pending_hits() == 25
    own_server.start()
    with RedisCounter(own_server.url, spool=spool) as counter:
        wait_until(lambda: spool.pending_hits() == 0, what="an empty spool")
        assert counter.value("visits") == 26


def test_a_fork_in_c_replays_what_waits(own_server, tmp_path):
    """A child has a replayer of its own from its first hit on, though none is spooled."""
    spool = Spool(tmp_path / "spool")
    counter = RedisCounter(own_server.url, timeout=0.5, spool=spool)
    own_server.kill()
    assert spools(counter) == ["spooled"] * 5
    counter.close()  # as a uWSGI master, in which no thread runs
    own_server.start()

    def replays():
        counter.hit("orders")
        wait_until(lambda: spool.pending_hits() == 0, what="an empty spool")
        return [counter.value("visits")]

    assert copies_of(1, replays) == [5]


def test_a_fork_in_c_with_metrics(server, client, tmp_path):
    """Each process has numbers of its own, in a file of its own, for all to add up."""
    counter = RedisCounter(server.url, timeout=10, metrics=HitMetrics(tmp_path))
    alone = RedisCounter(server.url, timeout=10)

    def added():
        count(counter)
        count(alone)
        return [counter.metrics.snapshot().amount_total, alone.metrics.snapshot().amount_total]

    assert added() == [3, 3]
    assert copies_of(2, added) == [6, 3, 9, 3]
    assert added() == [12, 6]
    assert len(list(tmp_path.glob("*.meter"))) == 2, "the parent's, and one that a child left"
    assert client.get(KEY) == b"24"


def test_snapshots(server, client):
    """Copies that nothing tells from each other: the same writer, number and process id."""
    counter = RedisCounter(server.url, timeout=10)
    values = count(counter)
    counter.close()  # what is restored has no connections
    values += copies_of(2, count, counter, as_snapshot=True)
    orders = copies_of(2, count, counter, 5, "orders", as_snapshot=True)
    values += copies_of(2, count, counter, 1, as_snapshot=True)
    values += count(counter)
    counter.close()
    assert values == list(range(1, 15))
    assert orders == list(range(1, 11))
    assert client.get(KEY) == b"14"


def test_snapshots_that_count_at_once(server, client):
    """Whichever of them is ahead: each hit counts, with a value of its own."""
    counter = RedisCounter(server.url, timeout=10)
    count(counter)
    counter.close()
    values = at_once(4, count, counter, 50, as_snapshot=True)
    values += count(counter, 50)
    assert sorted(values) == list(range(4, 254))
    assert client.get(KEY) == b"253"
    counter.close()


def test_snapshots_with_asyncio(server, client):
    """The same in a loop that is restored with its process."""
    counter = AsyncRedisCounter(server.url, timeout=5)
    with asyncio.Runner() as runner:
        values = count_in_loop(runner, counter)
        runner.run(counter.aclose())
        values += copies_of(3, count_in_loop, runner, counter, as_snapshot=True)
        values += count_in_loop(runner, counter)
        runner.run(counter.aclose())
    assert sorted(values) == list(range(1, 16))
    assert client.get(KEY) == b"15"


@pytest.mark.parametrize(
    ("shared", "lock", "use"),
    [
        (WrongKeyLimiter(), "_lock", lambda limiter: limiter.record("client", "KEY")),
        (ConcurrencyLimiter(), "_lock", lambda limiter: limiter.respond(None, Response)),
    ],
    ids=["keys", "costly"],
)
def test_a_fork_in_c_while_a_view_holds_a_lock(shared, lock, use):
    """A child's views do not wait for a thread that only its parent has."""
    with getattr(shared, lock):
        assert copies_of(1, lambda: [use(shared) is not None, "done"])[1] == "done"
