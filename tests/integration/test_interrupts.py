"""Interrupted threads and killed greenlets do not affect other hits."""

import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from flask_redis_counter import RedisCounter
from flask_redis_counter.testing import wait_until

from .support import KEY, at_once, outcome


class Interrupted(BaseException):
    """The exception of a signal handler."""


def interrupt_hit(counter, monkeypatch, interrupt):
    """Count once, and interrupt the next hit while it waits for its reply."""
    counter.hit("visits")
    (connection,) = counter._pool._idle
    with monkeypatch.context() as patch:
        patch.setattr(connection, "read_response", lambda: (_ for _ in ()).throw(interrupt))
        with pytest.raises(interrupt):
            counter.hit("visits")


def test_interrupted_hit_leaves_no_reply_on_its_connection(own_server, monkeypatch):
    """After Ctrl-C the late reply is not read as the next hit's."""
    counter = RedisCounter(own_server.url)
    interrupt_hit(counter, monkeypatch, KeyboardInterrupt)
    assert counter.value("visits") == 2
    assert counter.hit("visits").value == 3


def test_interrupted_leader_is_replaced(server, client, monkeypatch):
    """If the thread that sends a batch is interrupted, another one takes over."""
    outcomes = []
    with RedisCounter(server.url, timeout=5) as counter, ThreadPoolExecutor(8) as pool:
        counter.hit("visits")
        (connection,) = counter._pool._idle
        begun, go_on = threading.Event(), threading.Event()
        read = connection.read_response

        def interrupted():
            begun.set()
            assert go_on.wait(10)
            read()
            raise Interrupted

        monkeypatch.setattr(connection, "read_response", interrupted)
        first = pool.submit(counter.hit, "visits")
        assert begun.wait(10)
        calls = [pool.submit(outcome, lambda: counter.hit("visits")) for _ in range(7)]
        wait_until(
            lambda: len(counter._lanes.get("")._batcher._queue) == 7, what="seven queued hits"
        )
        go_on.set()
        with pytest.raises(Interrupted):
            first.result(10)
        outcomes = [call.result(10) for call in calls]
        assert sorted(outcomes) == list(range(3, 10))
    assert client.get(KEY) == b"9"


def test_interrupt_does_not_start_an_outage(server, client, monkeypatch):
    """After an interrupted hit, concurrent hits are still queued and count."""
    with RedisCounter(server.url, timeout=5) as counter:
        interrupt_hit(counter, monkeypatch, Interrupted)
        outcomes = at_once(counter, server, [("visits", 1)] * 10)
    assert sorted(outcomes) == list(range(3, 13))


GREENLETS = """
from gevent import monkey
monkey.patch_all()
import random, sys
import gevent
from flask_redis_counter import CounterError, RedisCounter

counter = RedisCounter(sys.argv[1], timeout=5)
outcomes = []

def hit(number):
    try:
        with gevent.Timeout(random.uniform(0, 0.02) if number % 4 == 0 else None):
            outcomes.append(counter.hit("visits").value)
    except CounterError as error:
        outcomes.append(error.outcome)
    except gevent.Timeout:
        outcomes.append("unknown")
    except gevent.GreenletExit:
        outcomes.append("unknown")
        raise

greenlets = [gevent.spawn(hit, number) for number in range(200)]
for number, greenlet in enumerate(greenlets):
    if number % 10 == 1:
        gevent.spawn_later(random.uniform(0, 0.02), greenlet.kill, block=False)
gevent.joinall(greenlets, timeout=20)
assert all(greenlet.dead for greenlet in greenlets), "stuck"
# Greenlets that were killed before they started have no outcome.
acknowledged = [value for value in outcomes if value not in ("not_counted", "unknown")]
unknown = outcomes.count("unknown")
stored = counter.value("visits")
assert len(set(acknowledged)) == len(acknowledged), "returned twice"
assert len(acknowledged) <= stored <= len(acknowledged) + unknown, (stored, len(outcomes), unknown)
assert acknowledged, "nothing counted"
assert counter.hit("visits").value == stored + 1, "stuck"
assert counter._lanes.get("")._batcher.in_flight is None
print("settled", False in outcomes)
"""


def test_killed_greenlets_do_not_block_the_counter(server, client):
    """Of two hundred gevent hits some are killed; the others count, and the total matches."""
    pytest.importorskip("gevent")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(GREENLETS), server.url],
        capture_output=True,
        text=True,
        timeout=40,
    )
    assert done.returncode == 0, done.stderr
    # False among the outcomes would mean that a kill was taken for an outage.
    assert done.stdout.split() == ["settled", "False"]


LATE = """
    import asyncio, atexit, sys, threading
    from flask_redis_counter import AsyncRedisCounter, RedisCounter

    url, when, way = sys.argv[1:]

    async def count_async():
        async with AsyncRedisCounter(url) as counter:
            return await counter.hit("visits")

    def count():
        if way == "async":
            return asyncio.run(count_async())
        return RedisCounter(url).hit("visits")

    def last():
        print(count().value)

    def after_the_main_thread():
        threading.main_thread().join()
        last()

    if when == "atexit":
        atexit.register(last)
    else:
        threading.Thread(target=after_the_main_thread).start()
"""


@pytest.mark.parametrize("when", ["atexit", "thread"])
@pytest.mark.parametrize("way", ["sync", "async"])
def test_first_hit_at_interpreter_exit_counts(server, client, when, way):
    """Since Python 3.12 no thread can start at exit; a hit does not need one."""
    script = [sys.executable, "-c", textwrap.dedent(LATE), server.url, when, way]
    done = subprocess.run(script, capture_output=True, text=True, timeout=30)
    assert (done.stdout, done.stderr) == ("1\n", "")
    assert client.get(KEY) == b"1"
