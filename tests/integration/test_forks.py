"""Forked processes and snapshots: parent and children count on their own connections."""

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
from flask_redis_counter.counting.journal_keeper import JournalKeeper
from flask_redis_counter.errors import CounterError, StoreUnavailableError
from flask_redis_counter.forking import stop_threads
from flask_redis_counter.stats import HitMetrics
from flask_redis_counter.testing import wait_until
from flask_redis_counter.web.bearer_key import WrongKeyLimiter
from flask_redis_counter.web.concurrency import ConcurrencyLimiter

from .support import KEY

FORK = multiprocessing.get_context("fork")


def start_child(work, *arguments):
    """Start a forked child that runs some work."""
    child = FORK.Process(target=work, args=arguments, daemon=True)
    child.start()
    return child


def _count_in_child(counter, hits, results):
    results.put([counter.hit("visits").value for _ in range(hits)])


def test_fork_during_hits_repeats_none(server, client):
    """A child does not repeat its parent's hits, and both get unique values."""
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
            children.append(start_child(_count_in_child, counter, 20, results))
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


def test_forked_child_can_use_its_parents_loop(server, client):
    """A child that runs its parent's loop is another writer, on other connections."""
    results = FORK.Queue()
    counter = AsyncRedisCounter(server.url, timeout=5)

    with asyncio.Runner() as runner:
        try:
            values = runner.run(_ten(counter))
            child = start_child(_count_in_loop, runner, counter, results)
            values += results.get(timeout=10)
            child.join(30)
            values += runner.run(_ten(counter))
        finally:
            runner.run(counter.aclose())
    assert sorted(values) == list(range(1, 31))
    assert client.get(KEY) == b"30"


def test_forked_child_opens_its_own_connections(counter):
    """Parent and children share a counter object, and each gets its own replies."""
    counter.hit("visits")
    results = FORK.Queue()
    children = [start_child(_count_in_child, counter, 100, results) for _ in range(3)]
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


def test_threads_of_a_forked_child_can_count_at_once(counter):
    """The first hits of a child may come from several threads at once (gunicorn --preload)."""
    counter.hit("visits")
    results = FORK.Queue()
    children = [start_child(_count_in_threads, counter, results) for _ in range(10)]
    values = [value for _ in children for value in results.get(timeout=30)]
    for child in children:
        child.join(30)
    assert sorted(values) == list(range(2, 802))


@pytest.fixture(autouse=True)
def _no_journal_thread(request, monkeypatch):
    """Start no thread that keeps the journal: a fork in C may copy the locks that it holds."""
    if "journal" not in request.node.name:
        monkeypatch.setattr(JournalKeeper, "start", lambda keeper: None)


def test_forks_while_the_journal_is_kept(counter):
    """A fork stops the journal's thread; parent and child go on, each with its own journal."""
    counter.hit("visits")
    results = FORK.Queue()
    for number in range(3):
        child = start_child(_count_in_threads, counter, results)
        assert len(results.get(timeout=30)) == 80
        child.join(30)
        assert counter.hit("visits").value == 82 + 81 * number
    wait_until(lambda: not len(counter.journal), timeout=10, what="an empty journal")


@contextmanager
def copy_of(work, *arguments, as_snapshot=False):
    """Fork this process in C, as uWSGI does, and yield a function that returns the result.

    :param as_snapshot: whether the copy has the same process id, as a restored snapshot.
    """
    # A fork in C while another thread waits for the GIL copies the lock as it is. Threads of
    # earlier tests may keep journals, and ask Sentinels and the nodes of a cluster; the one that
    # connected may be about to end.
    stop_threads()
    for thread in threading.enumerate():
        if any(name in thread.name for name in ("_connect_loop", "_keep", "_watch", "_ask_nodes")):
            thread.join(30)
    reading, writing = os.pipe()
    pid = os.getpid()
    child = ctypes.PyDLL(None).fork()
    if child == 0:
        try:
            signal.alarm(60)
            # Python 3.13's collector reads the parent's other threads, which a fork in C lacks.
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
    """Let several copies work one after the other, and return all their results."""
    answers = []
    for _ in range(number):
        with copy_of(work, *arguments, **more) as result:
            answers += result()
    return answers


def at_once(number, work, *arguments, meanwhile=list, **more):
    """Let several copies work at the same time, and return all their results."""
    with ExitStack() as stack:
        copies = [stack.enter_context(copy_of(work, *arguments, **more)) for _ in range(number)]
        answers = meanwhile()
        for result in copies:
            answers += result()
    return answers


def value_or_error(hit):
    """Return the value of a hit, or the text of its error."""
    try:
        return hit().value
    except CounterError as error:
        return f"{error.outcome}: {error}"


def count(counter, hits=3, name="visits"):
    """Hit some times, and return each value or error."""
    return [value_or_error(lambda: counter.hit(name)) for _ in range(hits)]


@pytest.mark.parametrize("before", [0, 1])
def test_fork_in_c_counts_each_hit_once(server, client, before):
    """Two children get unique values, whether or not the parent has hit before."""
    with RedisCounter(server.url, timeout=10) as counter:
        values = count(counter, before)
        values += copies_of(2, count, counter)
        values += count(counter, 1)
    assert values == list(range(1, 8 + before))
    assert client.get(KEY) == b"%d" % len(values)


def test_concurrent_forks_in_c_get_unique_values(server, client):
    """Threads of several children and of the parent count at the same time."""

    def count_in_threads():
        with ThreadPoolExecutor(4) as pool:
            return list(
                pool.map(lambda _: value_or_error(lambda: counter.hit("visits")), range(40))
            )

    with RedisCounter(server.url, timeout=10) as counter:
        counter.hit("visits")
        values = at_once(4, count_in_threads, meanwhile=count_in_threads)
    assert sorted(values) == list(range(2, 202))
    assert client.get(KEY) == b"201"


def test_fork_in_c_does_not_inherit_held_locks(server, client):
    """A child does not wait for locks that another thread of its parent holds."""
    with RedisCounter(server.url, timeout=10) as counter:
        counter.hit("visits")
        held = threading.Event(), threading.Event()

        def hold():
            with counter._lanes.get("")._lock, counter._pool._lock, counter.metrics._lock:
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


def test_fork_in_c_does_not_shut_down_the_parents_connection(server, client):
    """A child closes its copy of the socket, and does not shut it down."""
    with RedisCounter(server.url, timeout=10) as counter:
        counter.hit("visits")
        (connection,) = counter._pool._idle
        copies_of(2, count, counter)
        assert counter.hit("visits").value == 8
        assert list(counter._pool._idle) == [connection]
    assert client.get(KEY) == b"8"


def count_in_loop(runner, counter):
    """Hit in an event loop, and return each value or error."""

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
    """Hit in an event loop of the copy's own, and return each value or error."""
    with asyncio.Runner() as runner:
        return count_in_loop(runner, counter)


def test_fork_in_c_with_asyncio_counts_each_hit_once(server, client):
    """A child counts in its own loop and in its copy of the parent's; the parent counts on."""
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


def spool_hits(counter, hits=5):
    """Hit while the store is down, and return the outcomes."""
    return [str(answer).partition(":")[0] for answer in count(counter, hits)]


@pytest.mark.parametrize("as_snapshot", [False, True], ids=["fork", "snapshot"])
def test_copies_share_a_spool(own_server, tmp_path, as_snapshot):
    """Copies spool, with and without spooled hits before: all count once."""
    spool = Spool(tmp_path / "spool")
    counter = RedisCounter(own_server.url, timeout=0.5, spool=spool)
    counter.hit("visits")
    own_server.kill()
    answers = copies_of(2, spool_hits, counter, as_snapshot=as_snapshot)
    answers += spool_hits(counter)
    counter.close()  # no thread is writing
    answers += copies_of(2, spool_hits, counter, as_snapshot=as_snapshot)
    assert answers == ["spooled"] * 25
    assert spool.pending_hits() == 25
    own_server.start()
    with RedisCounter(own_server.url, spool=spool) as counter:
        wait_until(lambda: spool.pending_hits() == 0, what="an empty spool")
        assert counter.value("visits") == 26


def test_fork_in_c_replays_spooled_hits(own_server, tmp_path):
    """A child starts its own replayer with its first hit, even if that is not spooled."""
    spool = Spool(tmp_path / "spool")
    counter = RedisCounter(own_server.url, timeout=0.5, spool=spool)
    own_server.kill()
    assert spool_hits(counter) == ["spooled"] * 5
    counter.close()  # as a uWSGI master, in which no thread runs
    own_server.start()

    def replays():
        counter.hit("orders")
        wait_until(lambda: spool.pending_hits() == 0, what="an empty spool")
        return [counter.value("visits")]

    assert copies_of(1, replays) == [5]


def test_fork_in_c_has_its_own_metrics(server, client, tmp_path):
    """Each process has its own numbers in its own file, and the snapshot adds them up."""
    counter = RedisCounter(server.url, timeout=10, metrics=HitMetrics(tmp_path))
    alone = RedisCounter(server.url, timeout=10)

    def added():
        count(counter)
        count(alone)
        return [counter.metrics.snapshot().amount_total, alone.metrics.snapshot().amount_total]

    assert added() == [3, 3]
    assert copies_of(2, added) == [6, 3, 9, 3]
    assert added() == [12, 6]
    assert len(list(tmp_path.glob("*.meter"))) == 2, (
        "the parent's file, and a child's that was reused"
    )
    assert client.get(KEY) == b"24"


def test_restored_snapshots_get_unique_values(server, client):
    """Copies with the same writer, number and process id count each hit once."""
    counter = RedisCounter(server.url, timeout=10)
    values = count(counter)
    counter.close()  # a restored process has no connections
    values += copies_of(2, count, counter, as_snapshot=True)
    orders = copies_of(2, count, counter, 5, "orders", as_snapshot=True)
    values += copies_of(2, count, counter, 1, as_snapshot=True)
    values += count(counter)
    counter.close()
    assert values == list(range(1, 15))
    assert orders == list(range(1, 11))
    assert client.get(KEY) == b"14"


def test_concurrent_snapshots_get_unique_values(server, client):
    """Each hit counts once, whichever copy is ahead."""
    counter = RedisCounter(server.url, timeout=10)
    count(counter)
    counter.close()
    values = at_once(4, count, counter, 50, as_snapshot=True)
    values += count(counter, 50)
    assert sorted(values) == list(range(4, 254))
    assert client.get(KEY) == b"253"
    counter.close()


def test_restored_snapshots_with_asyncio_get_unique_values(server, client):
    """Copies that run the restored loop count each hit once."""
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
def test_fork_in_c_does_not_inherit_locks_of_views(shared, lock, use):
    """A child's views do not wait for a thread that only its parent has."""
    with getattr(shared, lock):
        assert copies_of(1, lambda: [use(shared) is not None, "done"])[1] == "done"
