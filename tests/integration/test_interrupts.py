"""Threads that are interrupted and greenlets that are killed: they harm no other hit."""

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
    """What a signal handler raises."""


def interrupt_a_hit(counter, monkeypatch, interrupt):
    """Count once, and interrupt the next hit while it waits for its answer."""
    counter.hit("visits")
    (connection,) = counter._pool._idle
    with monkeypatch.context() as patch:
        patch.setattr(connection, "read_response", lambda: (_ for _ in ()).throw(interrupt))
        with pytest.raises(interrupt):
            counter.hit("visits")


def test_an_interrupted_hit_leaves_no_answer_behind(own_server, monkeypatch):
    """Ctrl-C while waiting: the late answer must not be taken for the next hit's."""
    counter = RedisCounter(own_server.url)
    interrupt_a_hit(counter, monkeypatch, KeyboardInterrupt)
    assert counter.value("visits") == 2
    assert counter.hit("visits").value == 3


def test_an_interrupt_strands_nobody(server, client, monkeypatch):
    """The thread that carries a batch is interrupted; another one takes it over."""
    told = []
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
        wait_until(lambda: len(counter._dispatcher._batcher._queue) == 7, what="seven in line")
        go_on.set()
        with pytest.raises(Interrupted):
            first.result(10)
        told = [call.result(10) for call in calls]
        assert sorted(told) == list(range(3, 10))
    assert client.get(KEY) == b"9"


def test_an_interrupt_is_no_outage(server, client, monkeypatch):
    """After a hit was interrupted, those that arrive together still wait for each other."""
    with RedisCounter(server.url, timeout=5) as counter:
        interrupt_a_hit(counter, monkeypatch, Interrupted)
        told = at_once(counter, server, [("visits", 1)] * 10)
    assert sorted(told) == list(range(3, 13))


GREENLETS = """
from gevent import monkey
monkey.patch_all()
import random, sys
import gevent
from flask_redis_counter import CounterError, RedisCounter

counter = RedisCounter(sys.argv[1], timeout=5)
told = []

def hit(number):
    try:
        with gevent.Timeout(random.uniform(0, 0.02) if number % 4 == 0 else None):
            told.append(counter.hit("visits").value)
    except CounterError as error:
        told.append(error.outcome)
    except gevent.Timeout:
        told.append("unknown")
    except gevent.GreenletExit:
        told.append("unknown")
        raise

greenlets = [gevent.spawn(hit, number) for number in range(200)]
for number, greenlet in enumerate(greenlets):
    if number % 10 == 1:
        gevent.spawn_later(random.uniform(0, 0.02), greenlet.kill, block=False)
gevent.joinall(greenlets, timeout=20)
assert all(greenlet.dead for greenlet in greenlets), "stuck"
# Greenlets that were killed before they began have nothing to tell.
acknowledged = [value for value in told if value not in ("not_counted", "unknown")]
unknown = told.count("unknown")
stored = counter.value("visits")
assert len(set(acknowledged)) == len(acknowledged), "handed out twice"
assert len(acknowledged) <= stored <= len(acknowledged) + unknown, (stored, len(told), unknown)
assert acknowledged, "nothing counted"
assert counter.hit("visits").value == stored + 1, "stuck"
assert counter._dispatcher._batcher.in_flight is None
print("settled", False in told)
"""


def test_greenlets_that_are_killed(server, client):
    """Two hundred hits under gevent, some killed on their way: nothing is stuck or lost."""
    pytest.importorskip("gevent")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(GREENLETS), server.url],
        capture_output=True,
        text=True,
        timeout=40,
    )
    assert done.returncode == 0, done.stderr
    # Where others were told that nothing counted, a kill was taken for an outage.
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
def test_a_first_hit_while_the_interpreter_ends_counts(server, client, when, way):
    """Since Python 3.12 no thread starts then; the hit needs none."""
    script = [sys.executable, "-c", textwrap.dedent(LATE), server.url, when, way]
    done = subprocess.run(script, capture_output=True, text=True, timeout=30)
    assert (done.stdout, done.stderr) == ("1\n", "")
    assert client.get(KEY) == b"1"
