"""Each hit counts once, on real servers: under lost replies, freezes, restarts, forks, kills."""

import asyncio
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import pytest
import redis

from flask_redis_counter import (
    AsyncRedisCounter,
    CounterError,
    CounterOverflowError,
    Hit,
    InvalidTokenError,
    NotAnIntegerError,
    OutcomeUnknownError,
    RedisCounter,
    StoreRefusedError,
    StoreUnavailableError,
    StoreUnsuitableError,
    TokenReusedError,
)
from flask_redis_counter.call import RECORD_LIFE, PendingHit, Script
from flask_redis_counter.combiner import Combiner
from flask_redis_counter.testing import StoreProcess, wait_until
from flask_redis_counter.testing.process import free_port

HIT, HIT_ONCE = Script("hit.lua"), Script("hit_once.lua")
KEY = "counter:{visits}"
MAX = 2**63 - 1
#: Seconds within which a hit that has this deadline is back, on a machine that is busy.
SLACK = 0.8


class LossyProxy:
    """Forwards to a server, and swallows replies when told to.

    :param port: the server's, on 127.0.0.1.
    """

    def __init__(self, port: int) -> None:
        self._backend = port
        self._losses = 0
        self._holds = False
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.lost = 0
        self.port: int = self._listener.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        threading.Thread(target=self._accept, daemon=True).start()

    def lose(self, replies: int, *, hold: bool) -> None:
        """Swallow the next replies to scripts and INCR; hold the connections, or close them."""
        self._holds = hold
        self._losses = replies

    def close(self) -> None:
        """Close everything."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for one in self._open:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with suppress(OSError):  # the listener was closed
            while True:
                client, _ = self._listener.accept()
                backend = socket.create_connection(("127.0.0.1", self._backend))
                with self._lock:
                    self._open += [client, backend]
                counts = threading.Event()
                for work in (self._requests, self._replies):
                    pair = (client, backend, counts)
                    threading.Thread(target=work, args=pair, daemon=True).start()

    def _requests(
        self, client: socket.socket, backend: socket.socket, counts: threading.Event
    ) -> None:
        with backend, suppress(OSError):
            while data := client.recv(65536):
                if b"EVALSHA" in data or b"INCR" in data:
                    counts.set()
                backend.sendall(data)

    def _replies(
        self, client: socket.socket, backend: socket.socket, counts: threading.Event
    ) -> None:
        with client, suppress(OSError):
            while data := backend.recv(65536):
                if counts.is_set() and self._swallow():
                    if not self._holds:
                        break
                    continue
                counts.clear()
                client.sendall(data)
            client.shutdown(socket.SHUT_RDWR)  # closing would wait for the other thread's recv

    def _swallow(self) -> bool:
        with self._lock:
            if self._losses == 0:
                return False
            self._losses -= 1
            self.lost += 1
            return True


@pytest.fixture
def proxy(server: StoreProcess) -> Iterator[LossyProxy]:
    """A network before the server that loses replies."""
    proxy = LossyProxy(server.port)
    yield proxy
    proxy.close()


@pytest.fixture
def own_server(tmp_path) -> Iterator[StoreProcess]:
    """A store that a test may stop, freeze and kill."""
    store = StoreProcess(tmp_path)
    store.start()
    yield store
    store.signal(signal.SIGCONT)
    store.kill()


@pytest.fixture
def commands(client):
    """What runs the two scripts by hand."""
    for script in (HIT, HIT_ONCE):
        client.execute_command(*script.load())

    def run(script, record, *arguments):
        return client.execute_command(*script.run((KEY, f"{KEY}:{record}"), *arguments))

    return run


@contextmanager
def frozen(server: StoreProcess, *, until) -> Iterator[None]:
    """Freeze a server, and let another thread thaw it as soon as it sees something."""

    def thaw() -> None:
        try:
            wait_until(until, what="the moment to thaw", within=10, pause=0.01)
        finally:
            server.signal(signal.SIGCONT)

    server.signal(signal.SIGSTOP)
    thread = threading.Thread(target=thaw)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def outcome(hit):
    """Return the value that a hit brings, or what it says about having counted."""
    try:
        return hit().value
    except CounterError as error:
        return error.counted


def check(outcomes, stored):
    """Compare what many hits of 1 were told with what is stored."""
    values = [told for told in outcomes if told not in (False, "unknown")]
    assert len(set(values)) == len(values), "a value was handed out twice"
    assert len(values) <= stored <= len(values) + outcomes.count("unknown")
    assert not values or max(values) <= stored


# The scripts


def test_a_repeated_number_gets_its_answer_again(commands, client):
    """It does not count, and an older number neither counts nor has an answer."""
    assert commands(HIT, "writer:w", 1, 5, 60) == b"5"
    assert commands(HIT, "writer:w", 1, 5, 60) == b"5"
    assert commands(HIT, "writer:v", 1, 2, 60) == b"7"
    assert commands(HIT, "writer:w", 2, 1, 60) == b"8"
    assert commands(HIT, "writer:w", 10, 1, 60) == b"9"
    for number in (1, 2, 9):
        with pytest.raises(redis.ResponseError, match="STALE"):
            commands(HIT, "writer:w", number, 5, 60)
    assert commands(HIT, "writer:w", 10, 1, 60) == b"9"
    assert client.get(KEY) == b"9"


def test_a_repeated_token_gets_its_answer_again(commands, client):
    """The sender is told that it counted, everybody else that it is a replay."""
    assert commands(HIT_ONCE, "token:t", 5, "me", 60) == [b"5", 0]
    assert commands(HIT_ONCE, "token:t", 5, "me", 60) == [b"5", 0]
    assert commands(HIT_ONCE, "token:t", 5, "you", 60) == [b"5", 1]
    with pytest.raises(redis.ResponseError, match="TOKENREUSED"):
        commands(HIT_ONCE, "token:t", 6, "me", 60)
    assert client.get(KEY) == b"5"


@pytest.mark.parametrize("start", [2**53 - 1, 2**53, 10**15 - 1, MAX - 2, -(2**63), -(2**53) - 2])
def test_large_values_keep_all_digits(commands, client, counter, start):
    """A Lua number would lose some, in the answer and in the record of it."""
    client.set(KEY, start)
    assert commands(HIT, "writer:w", 1, 1, 60) == commands(HIT, "writer:w", 1, 1, 60)
    assert client.get(f"{KEY}:writer:w") == b"1 %d" % (start + 1)
    assert counter.hit("visits", token="t").value == start + 2
    assert counter.hit("visits", token="t").value == start + 2
    assert client.get(KEY) == b"%d" % (start + 2)


@pytest.mark.parametrize(("script", "arguments"), [(HIT, (2, 1, 60)), (HIT_ONCE, (1, "me", 60))])
def test_a_refusal_changes_nothing(commands, client, script, arguments):
    """The counter is what it was."""
    for held in ("text", str(MAX)):
        client.set(KEY, held)
        with pytest.raises(redis.ResponseError, match=r"not an integer|overflow"):
            commands(script, "record", *arguments)
        assert client.get(KEY) == held.encode()
        client.flushall()


def test_records_expire_and_counters_do_not(counter, client):
    """What is kept beside a counter is gone a day after its last use."""
    counter.hit("visits")
    counter.hit("visits", token="a token")
    assert client.ttl(KEY) == -1
    records = [key for key in client.scan_iter() if key != KEY.encode()]
    assert len(records) == 2
    assert b"counter:{visits}:token:a token" in records
    for record in records:
        assert 0 < client.ttl(record) <= RECORD_LIFE
        client.expire(record, 60)
    counter.hit("visits")
    counter.hit("visits", token="a token")
    assert all(client.ttl(record) > 60 for record in records)


def test_one_small_record_a_writer(counter, client):
    """A thousand hits leave one record behind."""
    for _ in range(100):
        counter.hit("visits")
    assert client.dbsize() == 2


def test_scripts_that_are_flushed(counter, client):
    """They are loaded again, and the hit counts once."""
    values = []
    for _ in range(5):
        values.append(counter.hit("visits").value)
        client.script_flush()
        values.append(counter.hit("visits", token=f"t{len(values)}").value)
        client.script_flush()
    assert values == list(range(1, 11))


def test_a_server_that_restarts(own_server):
    """It knows the scripts no more, and all the records: a repeat does not count."""
    with RedisCounter(own_server.url, deadline=3) as counter:
        for number in (1, 2, 3):
            assert counter.hit("visits").value == 2 * number - 1
            assert counter.hit("visits", token=f"t{number}").value == 2 * number
            own_server.kill()
            own_server.start()
        for number in (1, 2, 3):
            assert counter.hit("visits", token=f"t{number}").value == 2 * number
        assert counter.value("visits") == 6


# Replies that are lost


@pytest.mark.parametrize(
    ("hold", "token"),
    [(True, None), (False, None), (False, "t")],
    ids=["held", "closed", "closed-token"],
)
def test_a_lost_reply(proxy, client, hold, token):
    """The hit is sent again, is counted once, and has the right value."""
    with RedisCounter(proxy.url, deadline=4) as counter:
        assert counter.hit("visits").value == 1
        proxy.lose(2 if not hold else 1, hold=hold)
        hit = counter.hit("visits", 3, token=token)
        assert (hit.value, hit.replayed) == (4, False)
        assert proxy.lost >= 1
        assert counter.hit("visits").value == 5
    assert client.get(KEY) == b"5"


@pytest.mark.parametrize(
    ("hold", "token"),
    [(True, None), (False, None), (False, "t")],
    ids=["held", "closed", "closed-token"],
)
def test_a_lost_reply_with_asyncio(proxy, client, hold, token):
    """The same, awaited."""

    async def count():
        async with AsyncRedisCounter(proxy.url, deadline=4) as counter:
            assert (await counter.hit("visits")).value == 1
            proxy.lose(2 if not hold else 1, hold=hold)
            hit = await counter.hit("visits", 3, token=token)
            assert (hit.value, hit.replayed) == (4, False)
            assert proxy.lost >= 1
            assert (await counter.hit("visits")).value == 5

    asyncio.run(count())
    assert client.get(KEY) == b"5"


def test_many_hits_whose_replies_are_lost(proxy, client):
    """Each counts once, those with a token as well."""

    def hit(number):
        return counter.hit("visits", token=f"t{number}" if number % 5 == 0 else None).value

    with RedisCounter(proxy.url, deadline=10) as counter, ThreadPoolExecutor(8) as pool:
        proxy.lose(20, hold=False)
        values = list(pool.map(hit, range(400)))
    assert proxy.lost == 20
    assert sorted(values) == list(range(1, 401))
    assert client.get(KEY) == b"400"


def test_plain_redis_py_counts_a_lost_reply_twice(proxy, client):
    """What this package is for: one call of `incr`, more than one count."""
    with redis.Redis(host="127.0.0.1", port=proxy.port, socket_timeout=2) as plain:
        proxy.lose(1, hold=False)
        assert plain.incr(KEY) == 2
    assert client.get(KEY) == b"2"


def sleeps(server, seconds):
    """Let a server hang as it does in a long command."""
    sleeper = redis.Redis.from_url(server.url, socket_timeout=0.05)
    with sleeper, pytest.raises(redis.TimeoutError):
        sleeper.execute_command("DEBUG", "SLEEP", seconds)


def test_the_demonstration(server, client):
    """A server that hangs: redis-py counts one call twice or more, this package once."""
    with redis.Redis(host="127.0.0.1", port=server.port, socket_timeout=0.2) as plain:
        plain.ping()
        sleeps(server, 0.7)
        assert plain.incr("plain") >= 2
    with RedisCounter(server.url, deadline=2) as counter:
        counter.ping()
        sleeps(server, 1)
        assert counter.hit("visits").value == 1
    assert client.get(KEY) == b"1"


def test_a_server_that_freezes_during_many_hits(own_server):
    """All of them count once when it goes on, though each was sent more than once."""
    sent = threading.Event()
    with RedisCounter(own_server.url, deadline=3) as counter, ThreadPoolExecutor(8) as pool:
        assert counter.hit("visits").value == 1
        exchange = counter._store.exchange

        def watched(prepare, ends):
            try:
                return exchange(prepare, ends)
            except OutcomeUnknownError:
                sent.set()
                raise

        counter._store.exchange = watched
        with frozen(own_server, until=sent.is_set):
            values = list(pool.map(lambda _: counter.hit("visits").value, range(50)))
        assert sorted(values) == list(range(2, 52))
        assert counter.value("visits") == 51


# Tokens


def test_a_token_counts_once_whoever_sends_it(store, server, client):
    """Two counters and asyncio: the same value, and all but the first are told."""

    async def count():
        async with AsyncRedisCounter(server.url) as counter:
            return await counter.hit("visits", 2, token="order 17")

    with RedisCounter(store) as one, RedisCounter(server.url) as two:
        one.hit("visits")
        hits = [one.hit("visits", 2, token="order 17"), two.hit("visits", 2, token="order 17")]
        hits += [asyncio.run(count()), one.hit("visits", 2, token="order 17")]
        assert [(hit.value, hit.replayed) for hit in hits] == [(3, False)] + [(3, True)] * 3
        assert two.hit("visits", 2, token="order 18").value == 5
        assert two.hit("others", 2, token="order 17").value == 2
    assert client.get(KEY) == b"5"


def test_a_token_with_another_amount(counter, client):
    """It is refused, not counted, and says what the token stands for."""
    counter.hit("visits", 2, token="t")
    with pytest.raises(TokenReusedError, match="amount 2") as caught:
        counter.hit("visits", 3, token="t")
    assert (caught.value.counted, caught.value.amount) == (False, 2)
    assert client.get(KEY) == b"2"


@pytest.mark.parametrize("token", ["", "x" * 256, "ü", "a\n", "\x7f", 1, b"t", ["t"]])
def test_a_token_outside_the_rules(counter, client, token):
    """It is refused before anything is sent."""
    with pytest.raises(InvalidTokenError):
        counter.hit("visits", token=token)
    assert client.dbsize() == 0


def test_the_longest_and_the_oddest_token(counter, client):
    """Braces, quotes and spaces are characters like others."""
    for number, token in enumerate(["x" * 255, "}{", " ", "a\"b'c\\", "*?[a]", "%d %s"], 1):
        assert counter.hit("visits", token=token).value == number
        assert counter.hit("visits", token=token).replayed
    assert counter.names() == ["visits"]


def test_many_threads_with_the_same_token(store, client):
    """It counts once, all get the value, and one is told that it was the one."""
    with RedisCounter(store, deadline=5) as counter, ThreadPoolExecutor(16) as pool:
        hits = list(pool.map(lambda _: counter.hit("visits", token="t"), range(200)))
    assert {hit.value for hit in hits} == {1}
    assert sum(not hit.replayed for hit in hits) == 1
    assert client.get(KEY) == b"1"


# Batches


def at_once(counter, server, hits):
    """Let hits arrive while the server hangs, so that they leave together; return outcomes."""
    counter.ping()
    sleeps(server, 0.3)
    with ThreadPoolExecutor(len(hits)) as pool:
        return list(pool.map(lambda hit: outcome(lambda: counter.hit(*hit)), hits))


def test_hits_of_several_counters(server, client):
    """They share round trips, and each counter has its values."""
    with RedisCounter(server.url, deadline=5) as counter:
        before = client.info("commandstats")
        hits = [(f"c{number % 3}", 2) for number in range(30)]
        told = at_once(counter, server, hits)
        calls = client.info("commandstats")["cmdstat_evalsha"]["calls"]
        calls -= before.get("cmdstat_evalsha", {"calls": 0})["calls"]
    for number in range(3):
        values = [
            value for value, (name, _) in zip(told, hits, strict=True) if name == f"c{number}"
        ]
        assert sorted(values) == list(range(2, 22, 2))
    assert calls < 20


def test_a_key_of_another_type_harms_no_other(server, client):
    """Hits of one batch fail or count each on its own."""
    client.rpush("counter:{bad}", "text")
    with RedisCounter(server.url, deadline=5) as counter:
        told = at_once(counter, server, [("bad" if n % 2 else "visits", 1) for n in range(20)])
        assert told[1::2] == [False] * 10
        assert sorted(told[::2]) == list(range(1, 11))
        with pytest.raises(NotAnIntegerError):
            counter.hit("bad")
    assert client.lrange("counter:{bad}", 0, -1) == [b"text"]


def test_as_many_hits_as_there_is_room_for(server, client):
    """Near the largest value, each hit that fits counts, and no other."""
    client.set(KEY, MAX - 100)
    with RedisCounter(server.url, deadline=5) as counter, ThreadPoolExecutor(16) as pool:

        def hit(_):
            try:
                return counter.hit("visits").value
            except CounterOverflowError:
                return None

        values = [value for value in pool.map(hit, range(300)) if value is not None]
    assert sorted(values) == list(range(MAX - 99, MAX + 1))
    assert client.get(KEY) == b"%d" % MAX


def executed(client, commands):
    """Return the answers to commands as the store does."""
    answers = []
    for command in commands:
        try:
            answers.append(client.execute_command(*command))
        except redis.ResponseError as error:
            refused = StoreRefusedError(f"the store refused: {error}")
            refused.__cause__ = error
            answers.append(refused)
    return answers


def test_a_call_that_was_split_counts_nothing_later(commands, client):
    """Where a counter is reset after an overflow, a late packet must not count its hits again."""
    client.set(KEY, MAX - 1)
    combiner = Combiner()
    hits = [PendingHit(KEY, 1, None, 9.0), PendingHit(KEY, 1, None, 9.0)]
    batch = combiner.add(hits[0], 0.0)
    combiner.add(hits[1], 0.0)
    late = batch.commands()
    batch.fail(OutcomeUnknownError("no answer yet"))
    while not batch.over:
        batch.take(executed(client, batch.commands()))
    assert hits[0].outcome() == MAX
    client.set(KEY, 0)
    executed(client, late)
    assert client.get(KEY) == b"0"


# Processes, threads and greenlets


def _count_in_child(counter, hits, results):
    results.put([counter.hit("visits").value for _ in range(hits)])


def test_a_fork_while_hits_are_in_flight(server, client):
    """A child repeats nothing of its parent's, and both get values of their own."""
    fork = multiprocessing.get_context("fork")
    results = fork.Queue()
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
            child = fork.Process(target=_count_in_child, args=(counter, 20, results), daemon=True)
            child.start()
            children.append(child)
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


def _count_in_loop(runner, counter, results):
    async def count():
        return [(await counter.hit("visits")).value for _ in range(10)]

    results.put(runner.run(count()))


def test_a_fork_between_two_runs_of_a_loop(server, client):
    """A child that goes on with its parent's loop is another writer, on other connections."""
    fork = multiprocessing.get_context("fork")
    results = fork.Queue()
    counter = AsyncRedisCounter(server.url, deadline=5)

    async def count():
        return [(await counter.hit("visits")).value for _ in range(10)]

    with asyncio.Runner() as runner:
        try:
            values = runner.run(count())
            child = fork.Process(
                target=_count_in_loop, args=(runner, counter, results), daemon=True
            )
            child.start()
            values += results.get(timeout=10)
            child.join(30)
            values += runner.run(count())
        finally:
            runner.run(counter.aclose())
    assert sorted(values) == list(range(1, 31))
    assert client.get(KEY) == b"30"


class Interrupted(BaseException):
    """What a signal handler raises."""


def test_an_interrupt_strands_nobody(server, client, monkeypatch):
    """The thread that carries a batch is interrupted; another one takes it over."""
    told = []
    with RedisCounter(server.url, deadline=5) as counter, ThreadPoolExecutor(8) as pool:
        counter.hit("visits")
        (connection,) = counter._store._idle
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
        wait_until(lambda: len(counter._driver._combiner._queue) == 7, what="seven in line")
        go_on.set()
        with pytest.raises(Interrupted):
            first.result(10)
        told = [call.result(10) for call in calls]
        assert sorted(told) == list(range(3, 10))
    assert client.get(KEY) == b"9"


def test_an_interrupt_is_no_outage(server, client, monkeypatch):
    """After a hit was interrupted, those that arrive together still wait for each other."""
    with RedisCounter(server.url, deadline=5) as counter:
        counter.hit("visits")
        (connection,) = counter._store._idle
        with monkeypatch.context() as patch:
            patch.setattr(connection, "read_response", lambda: (_ for _ in ()).throw(Interrupted))
            with pytest.raises(Interrupted):
                counter.hit("visits")
        told = at_once(counter, server, [("visits", 1)] * 10)
    assert sorted(told) == list(range(3, 13))


GREENLETS = """
from gevent import monkey
monkey.patch_all()
import random, sys
import gevent
from flask_redis_counter import CounterError, RedisCounter

counter = RedisCounter(sys.argv[1], deadline=5)
told = []

def hit(number):
    try:
        with gevent.Timeout(random.uniform(0, 0.02) if number % 4 == 0 else None):
            told.append(counter.hit("visits").value)
    except CounterError as error:
        told.append(error.counted)
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
acknowledged = [value for value in told if value not in (False, "unknown")]
unknown = told.count("unknown")
stored = counter.value("visits")
assert len(set(acknowledged)) == len(acknowledged), "handed out twice"
assert len(acknowledged) <= stored <= len(acknowledged) + unknown, (stored, len(told), unknown)
assert acknowledged, "nothing counted"
assert counter.hit("visits").value == stored + 1, "stuck"
assert counter._driver._combiner.flying is None
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


# Durability


def waits(client, command):
    """Return how often a command was executed."""
    return client.info("commandstats").get(f"cmdstat_{command}", {"calls": 0})["calls"]


def knows_waitaof(client):
    """Whether the server is one that can be asked to wait for its disk."""
    with pytest.raises(redis.ResponseError) as caught:
        client.execute_command("WAITAOF")
    return "unknown command" not in str(caught.value)


def test_hits_that_wait_for_the_disk(server, client):
    """WAITAOF is sent with each hit, and the values are right; an old server is unsuitable."""
    with RedisCounter(server.url, durability="fsync", deadline=3) as counter:
        if not knows_waitaof(client):
            with pytest.raises(StoreUnsuitableError, match="fsync") as caught:
                counter.hit("visits")
            assert caught.value.counted is False
            assert client.dbsize() == 0
            return
        counter.hit("visits")
        before = waits(client, "waitaof")
        assert [counter.hit("visits").value for _ in range(5)] == [2, 3, 4, 5, 6]
        assert counter.hit("visits", token="t").value == 7
        assert counter.hit("visits", token="t").replayed
        assert waits(client, "waitaof") - before == 7


def test_hits_that_wait_for_the_disk_with_asyncio(server, client):
    """The same, awaited."""

    async def count():
        async with AsyncRedisCounter(server.url, durability="fsync", deadline=3) as counter:
            return [(await counter.hit("visits")).value for _ in range(3)]

    if not knows_waitaof(client):
        with pytest.raises(StoreUnsuitableError, match="fsync"):
            asyncio.run(count())
        assert client.dbsize() == 0
        return
    assert asyncio.run(count()) == [1, 2, 3]
    assert waits(client, "waitaof") > 3


def test_a_server_without_a_file_is_unsuitable(tmp_path):
    """With `appendonly no` nothing can be waited for: not counted."""
    store = StoreProcess(tmp_path, options=["--appendonly", "no"])
    store.start()
    try:
        with RedisCounter(store.url, durability="fsync", deadline=3) as counter:
            with pytest.raises(StoreUnsuitableError, match="appendonly"):
                counter.hit("visits")
            assert counter.value is not None
        with redis.Redis.from_url(store.url) as client:
            assert client.dbsize() == 0
    finally:
        store.kill()


def test_no_replica(server, client):
    """The hit counts and reaches no replica: unknown, within the deadline, and counted once."""
    with RedisCounter(server.url, durability="replica", deadline=0.5) as counter:
        begun = time.monotonic()
        with pytest.raises(OutcomeUnknownError):
            counter.hit("visits")
        assert time.monotonic() - begun < 0.5 + SLACK
    assert client.get(KEY) == b"1"


def test_a_replica(server, client, tmp_path):
    """With a replica the hit is on it when the answer comes."""
    primary = ["--replicaof", f"127.0.0.1 {server.port}", "--repl-diskless-sync-delay", "0"]
    replica = StoreProcess(tmp_path, binary=server._command[0], options=primary)
    client.config_set("repl-diskless-sync-delay", 0)
    replica.start()
    try:
        with redis.Redis.from_url(replica.url) as behind:
            wait_until(
                lambda: behind.info("replication")["master_link_status"] == "up", what="a replica"
            )
            with RedisCounter(server.url, durability="replica", deadline=5) as counter:
                for value in range(1, 6):
                    assert counter.hit("visits").value == value
                    assert behind.get(KEY) == b"%d" % value
        assert waits(client, "wait") >= 5
    finally:
        replica.kill()


# asyncio


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
            assert not counter._driver._waiting
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
            try:
                told.append((await counter.hit("visits")).value)
            except CounterError as error:
                told.append(error.counted)

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


# Outages and deadlines


def timed(deadline, operation):
    """Return what an operation says about having counted, and check its deadline."""
    begun = time.monotonic()
    told = outcome(operation)
    assert time.monotonic() - begun < deadline + SLACK
    return told


def test_a_refused_connection():
    """Not counted, within the deadline, awaited or not, for one and for many."""
    url = f"redis://127.0.0.1:{free_port()}/0"
    with RedisCounter(url) as counter:
        assert timed(0.5, lambda: counter.hit("visits")) is False

    async def count():
        async with AsyncRedisCounter(url) as counter:
            hits = [counter.hit("visits") for _ in range(50)]
            return await asyncio.gather(*hits, return_exceptions=True)

    begun = time.monotonic()
    errors = asyncio.run(count())
    assert time.monotonic() - begun < 0.5 + SLACK
    assert {type(error) for error in errors} == {StoreUnavailableError}


def test_a_frozen_server(own_server):
    """The truth within the deadline: unknown where it was sent, not counted where it was not."""
    with RedisCounter(own_server.url, deadline=0.5) as counter:
        told = [wait_until(lambda: counter.hit("visits").value, what="a hit")]
        own_server.signal(signal.SIGSTOP)
        told.append(timed(0.5, lambda: counter.hit("visits")))
        assert told[-1] == "unknown"
        told.append(timed(0.5, lambda: counter.hit("visits")))
        assert told[-1] is False
        own_server.signal(signal.SIGCONT)
        for _ in range(3):
            told.append(wait_until(lambda: counter.hit("visits").value, what="a hit"))
        check(told, counter.value("visits"))


def test_a_frozen_server_with_asyncio(own_server):
    """The same, awaited."""

    async def count():
        async with AsyncRedisCounter(own_server.url, deadline=0.5) as counter:
            told = [(await counter.hit("visits")).value]
            own_server.signal(signal.SIGSTOP)
            for expected in (OutcomeUnknownError, StoreUnavailableError):
                begun = time.monotonic()
                with pytest.raises(expected) as caught:
                    await counter.hit("visits")
                assert time.monotonic() - begun < 0.5 + SLACK
                told.append(caught.value.counted)
            return told

    told = asyncio.run(count())
    own_server.signal(signal.SIGCONT)
    with RedisCounter(own_server.url, deadline=3) as counter:
        told.append(counter.hit("visits").value)
        check(told, counter.value("visits"))


def test_fifty_hits_keep_their_deadline(own_server):
    """On a server that freezes they are all back in time, and none is told a lie."""
    with RedisCounter(own_server.url, deadline=0.5) as counter, ThreadPoolExecutor(50) as pool:
        told = list(pool.map(lambda _: outcome(lambda: counter.hit("visits")), range(50)))
        own_server.signal(signal.SIGSTOP)
        calls = [pool.submit(timed, 0.5, lambda: counter.hit("visits")) for _ in range(50)]
        frozen_told = [call.result(10) for call in calls]
        assert set(frozen_told) <= {False, "unknown"}
        own_server.signal(signal.SIGCONT)
        wait_until(lambda: counter.ping() is None, what="the server")
        told += frozen_told
        check(told, wait_until(lambda: counter.value("visits"), what="the value"))


def test_fifty_tasks_keep_their_deadline(own_server):
    """The same, awaited."""

    async def one(counter):
        begun = time.monotonic()
        try:
            return (await counter.hit("visits")).value
        except CounterError as error:
            return error.counted
        finally:
            assert time.monotonic() - begun < 0.5 + SLACK

    async def count():
        async with AsyncRedisCounter(own_server.url, deadline=0.5) as counter:
            told = list(await asyncio.gather(*[one(counter) for _ in range(50)]))
            own_server.signal(signal.SIGSTOP)
            first = asyncio.create_task(one(counter))
            await asyncio.sleep(0)
            told += await asyncio.gather(first, *[one(counter) for _ in range(50)])
            assert set(told[50:]) <= {False, "unknown"}
            return told

    told = asyncio.run(count())
    own_server.signal(signal.SIGCONT)
    with RedisCounter(own_server.url, deadline=3) as counter:
        told.append(counter.hit("visits").value)
        check(told, counter.value("visits"))


def test_a_server_that_is_killed_under_load(own_server):
    """Hits go on through its restart: each value once, and nothing that counted is lost."""
    with RedisCounter(own_server.url, deadline=5) as counter, ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(lambda: outcome(lambda: counter.hit("visits"))) for _ in range(800)]
        for _ in range(2):
            done = sum(call.done() for call in calls)
            wait_until(
                lambda done=done: sum(call.done() for call in calls) > min(done + 50, 790),
                what="hits",
                pause=0.001,
            )
            os.kill(own_server.pid, signal.SIGKILL)
            own_server.kill()
            own_server.start()
        told = [call.result(20) for call in calls]
        check(told, counter.value("visits"))
        assert sum(isinstance(value, int) and value > 0 for value in told) > 100
