"""Hits that wait on disk while the store is away, and are counted once when it is back."""

import asyncio
import json
import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
import redis

from flask_redis_counter import AsyncRedisCounter, Hit, RedisCounter, Spool, create_app
from flask_redis_counter.errors import (
    ConfigurationError,
    CounterOverflowError,
    HitSpooledError,
    IdempotencyKeyReusedError,
    NotAnIntegerError,
    SpoolError,
    StoreError,
)
from flask_redis_counter.testing import wait_until
from flask_redis_counter.testing.stacks.proxy import Proxy

from .support import KEY, MAX, nowhere


@pytest.fixture
def spool(tmp_path):
    """A spool in a folder of its own."""
    return Spool(tmp_path / "spool")


@pytest.fixture
def counter(own_server, spool):
    """A counter that spools."""
    with RedisCounter(own_server.url, spool=spool) as counter:
        yield counter


def stored(server, key=KEY):
    """Return what the store holds."""
    with redis.Redis.from_url(server.url) as client:
        return int(client.get(key) or 0)


def spooled(operation):
    """Count, and check that the hit was spooled."""
    with pytest.raises(HitSpooledError) as caught:
        operation()
    assert caught.value.outcome == "spooled"
    assert isinstance(caught.value.__cause__, StoreError)


def emptied(spool):
    """Wait until nothing waits any more."""
    wait_until(lambda: spool.pending_hits() == 0, what="an empty spool")


def test_hits_wait_for_the_store_and_count_once(own_server, spool, counter):
    """All that happened in the outage is counted after it, in one row for each counter."""
    assert counter.hit("visits") == Hit("visits", 1)
    own_server.kill()
    for _ in range(20):
        spooled(lambda: counter.hit("visits", 2))
    spooled(lambda: counter.hit("orders"))
    assert spool.pending_hits() == 21
    own_server.start()
    emptied(spool)
    assert stored(own_server) == 41
    assert stored(own_server, "counter:{orders}") == 1
    assert counter.hit("visits").value == 42


def test_a_counter_that_was_closed(own_server, spool, counter):
    """It stays usable: what it spools from then on is counted later, and measured."""
    counter.close()
    own_server.kill()
    spooled(lambda: counter.hit("visits"))
    own_server.start()
    wait_until(
        lambda: counter.metrics.snapshot().replayed_hits == 1, what="a hit that was replayed"
    )
    assert stored(own_server) == 1


def test_a_hit_whose_outcome_is_unknown_counts_once(own_server, spool, counter):
    """The store may have executed it: the replay has its number, and finds out."""
    network = Proxy([own_server.port])
    with RedisCounter(f"redis://127.0.0.1:{network.port}/0", spool=Spool(spool.path.parent)) as far:
        assert far.hit("visits").value == 1
        own_server.signal(signal.SIGSTOP)
        with ThreadPoolExecutor(8) as pool:
            for outcome in [pool.submit(far.hit, "visits") for _ in range(8)]:
                spooled(lambda outcome=outcome: outcome.result())
        assert spool.pending_hits() == 8
        own_server.signal(signal.SIGCONT)  # and executes what lies in its buffers
        emptied(spool)
    network.close()
    assert stored(own_server) == 9


def test_a_reply_that_is_lost_counts_once(own_server, spool, counter):
    """Executed, never answered, spooled, replayed: one hit."""
    counter.hit("visits")
    own_server.signal(signal.SIGSTOP)
    spooled(lambda: counter.hit("visits"))
    with closing(sqlite3.connect(spool.path)) as database:
        ((writer, sent),) = database.execute("SELECT writer, sent FROM entry").fetchall()
    assert writer
    assert sent
    own_server.signal(signal.SIGCONT)
    wait_until(lambda: stored(own_server) == 2, what="the hit that lay in the buffer")
    emptied(spool)
    assert stored(own_server) == 2


def test_a_token_in_the_spool(own_server, spool, counter):
    """The same token waits once, and counts once with the hits that were answered."""
    assert counter.hit("visits", idempotency_key="a").value == 1
    own_server.kill()
    spooled(lambda: counter.hit("visits", idempotency_key="a"))
    for _ in range(3):
        spooled(lambda: counter.hit("visits", idempotency_key="b"))
    with pytest.raises(IdempotencyKeyReusedError):
        counter.hit("visits", 2, idempotency_key="b")
    assert spool.pending_hits() == 2
    own_server.start()
    emptied(spool)
    assert stored(own_server) == 2
    assert counter.hit("visits", idempotency_key="b") == Hit("visits", 2, replayed=True)


def test_what_the_store_will_never_take_is_an_error_at_once(own_server, spool, counter):
    """A wrong type and an overflow are no outage."""
    with redis.Redis.from_url(own_server.url) as client:
        client.set("counter:{text}", "abc")
        client.set("counter:{full}", MAX)
    with pytest.raises(NotAnIntegerError):
        counter.hit("text")
    with pytest.raises(CounterOverflowError):
        counter.hit("full")
    assert spool.pending_hits() == 0


def test_a_row_that_the_store_refuses_holds_nobody_up(own_server, spool, counter, caplog):
    """The others count; it waits until somebody has mended its key, and then counts as well."""
    with redis.Redis.from_url(own_server.url) as client:
        client.set("counter:{text}", "abc")
        own_server.kill()
        spooled(lambda: counter.hit("text"))
        spooled(lambda: counter.hit("visits"))
        own_server.start()
        wait_until(lambda: "counter:{text} are rejected" in caplog.text, what="a loud log")
        assert spool.pending_hits() == 1
        client.delete("counter:{text}")
        emptied(spool)
    assert stored(own_server) == stored(own_server, "counter:{text}") == 1


def test_a_full_store(own_server, spool, counter):
    """With `noeviction` it refuses; the hits wait until there is room."""
    with redis.Redis.from_url(own_server.url) as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", 1)
        spooled(lambda: counter.hit("visits"))
        assert spool.pending_hits() == 1
        client.config_set("maxmemory", 0)
        emptied(spool)
    assert stored(own_server) == 1


def test_two_processes_replay_one_spool(own_server, tmp_path):
    """Each row has an identity of its own: whoever sends it, it counts once."""
    own_server.kill()
    counters = [
        RedisCounter(own_server.url, spool=Spool(tmp_path / "spool"), timeout=0.1) for _ in range(4)
    ]
    with ThreadPoolExecutor(8) as pool:
        for index in range(40):
            pool.submit(spooled, lambda index=index: counters[index % 4].hit(f"c{index % 10}"))
    assert counters[0].spool.pending_hits() == 40
    own_server.start()
    emptied(counters[0].spool)
    assert sum(RedisCounter(own_server.url).values([f"c{n}" for n in range(10)]).values()) == 40
    for counter in counters:
        counter.close()


CRASHING = """
import os, signal, sys
from flask_redis_counter import RedisCounter, Spool, HitSpooledError
counter = RedisCounter(sys.argv[1], spool=Spool(sys.argv[2]), timeout=0.1)
for _ in range(25):
    try:
        counter.hit("visits")
    except HitSpooledError:
        print("spooled", flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_leaves_its_hits_to_the_next(own_server, spool):
    """What was answered as spooled survives a SIGKILL, and counts when somebody comes."""
    own_server.kill()
    command = [sys.executable, "-c", CRASHING, own_server.url, str(spool.path.parent)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert run.returncode == -signal.SIGKILL
    assert run.stdout.count("spooled") == 25
    own_server.start()
    with RedisCounter(own_server.url, spool=spool):
        emptied(spool)
    assert stored(own_server) == 25


def _count_in_child(counter, results):
    outcomes = []
    for _ in range(5):
        try:
            counter.hit("visits")
        except HitSpooledError:
            outcomes.append("spooled")
    results.put(outcomes)


def test_a_forked_child_spools_and_replays(own_server, spool, counter):
    """It opens the file for itself, and its replayer runs."""
    counter.hit("visits")
    own_server.kill()
    spooled(lambda: counter.hit("visits"))
    fork = multiprocessing.get_context("fork")
    results = fork.Queue()
    child = fork.Process(target=_count_in_child, args=(counter, results))
    child.start()
    assert results.get(timeout=30) == ["spooled"] * 5
    child.join(30)
    own_server.start()
    emptied(spool)
    assert stored(own_server) == 7


def test_a_full_spool_refuses(own_server, tmp_path, caplog):
    """The hit fails with the store's own error, and what waits already is kept."""
    own_server.kill()
    spool = Spool(tmp_path / "spool", megabytes=1)
    with closing(sqlite3.connect(spool.path)) as database, database:
        database.execute("CREATE TABLE ballast AS SELECT zeroblob(950000)")
    with RedisCounter(own_server.url, spool=spool, timeout=0.05) as counter:
        refused, taken = None, 0
        while refused is None:
            try:
                counter.hit("visits", idempotency_key=f"{taken:0250}")
            except HitSpooledError:
                taken += 1
            except StoreError as error:
                refused = error
        assert refused.outcome == "unknown", "an attempt before may have reached the store"
        assert "full" in caplog.text
        assert taken > 10
        own_server.start()
        emptied(spool)
    assert stored(own_server) == taken


def test_a_full_disk_at_the_start(own_server, tmp_path, monkeypatch, caplog):
    """What the store takes is counted all the same; the rest is refused."""

    def full(*_, **__):
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    monkeypatch.setattr(sqlite3, "connect", full)
    with RedisCounter(own_server.url, spool=Spool(tmp_path / "spool")) as counter:
        assert "no hit can be spooled for now" in caplog.text
        assert counter.hit("visits").value == 1
        own_server.kill()
        with pytest.raises(StoreError) as caught:
            counter.hit("visits")
        assert caught.value.outcome == "not_counted"
        own_server.start()
    assert stored(own_server) == 1


def test_the_log_says_what_was_counted_and_what_was_dropped(own_server, spool, counter, caplog):
    """A token that was counted with another amount before never will be."""
    counter.hit("orders", 5, idempotency_key="t")
    own_server.kill()
    for _ in range(3):
        spooled(lambda: counter.hit("visits"))
    spooled(lambda: counter.hit("orders", 6, idempotency_key="t"))
    assert caplog.text.count("hits are spooled in") == 1
    own_server.start()
    emptied(spool)
    wait_until(lambda: "3 spooled hits were counted" in caplog.text, what="a line in the log")
    assert "a spooled hit of counter:{orders} was dropped, not counted" in caplog.text
    assert stored(own_server) == 3
    assert stored(own_server, "counter:{orders}") == 5


def test_a_corrupt_file_is_set_aside(own_server, tmp_path, caplog):
    """A loud log, a new file, and the service goes on."""
    folder = tmp_path / "spool"
    folder.mkdir()
    (folder / "spool.sqlite3").write_bytes(b"no database at all" * 1000)
    spool = Spool(folder)
    own_server.kill()
    with RedisCounter(own_server.url, spool=spool) as counter:
        spooled(lambda: counter.hit("visits"))
        assert "was renamed" in caplog.text
        assert len(list(folder.glob("*.corrupt-*"))) == 1
        own_server.start()
        emptied(spool)
    assert stored(own_server) == 1


def test_a_file_that_becomes_corrupt_is_set_aside(own_server, spool, counter, caplog):
    """While it is in use, by this process and by another."""
    own_server.kill()
    other = Spool(spool.path.parent)
    spooled(lambda: counter.hit("visits"))
    assert other.pending_hits() == 1
    counter.close()
    size = spool.path.stat().st_size
    with spool.path.open("r+b") as file:
        file.seek(100)
        file.write(os.urandom(size - 100))
    spooled(lambda: counter.hit("visits"))
    assert "was renamed" in caplog.text
    assert other.pending_hits() == spool.pending_hits() == 1


def test_a_row_that_is_too_old_is_not_sent_again(own_server, spool, caplog):
    """The store may have forgotten its identity: neither counted twice nor kept quiet."""
    with RedisCounter(own_server.url, spool=spool) as counter:
        counter.hit("visits")
        own_server.signal(signal.SIGSTOP)
        spooled(lambda: counter.hit("visits"))
    with closing(sqlite3.connect(spool.path)) as database, database:
        database.execute("UPDATE entry SET sent = ?", (time.time() - 24 * 3600,))
    own_server.signal(signal.SIGCONT)
    wait_until(lambda: stored(own_server) == 2, what="the hit that lay in the buffer")
    with RedisCounter(own_server.url, spool=spool):
        wait_until(lambda: "may have counted" in caplog.text, what="a loud log")
        emptied(spool)
    assert stored(own_server) == 2


@pytest.mark.parametrize("megabytes", [0, 10001, 1.5, "64"])
def test_a_size_out_of_bounds(tmp_path, megabytes):
    """A configuration error."""
    with pytest.raises(ConfigurationError, match="1 to 10000"):
        Spool(tmp_path, megabytes=megabytes)


def test_a_folder_that_cannot_be(tmp_path):
    """A configuration error at the start, and not at the first outage."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="COUNTER_SPOOL_DIR"):
        Spool(tmp_path / "file" / "folder")


def test_asyncio(own_server, spool):
    """Hits of tasks wait as well."""

    async def count():
        async with AsyncRedisCounter(own_server.url, spool=spool) as counter:
            assert (await counter.hit("visits")).value == 1
            own_server.kill()
            hits = [counter.hit("visits") for _ in range(50)]
            outcomes = await asyncio.gather(*hits, return_exceptions=True)
            assert {type(outcome) for outcome in outcomes} == {HitSpooledError}
            assert spool.pending_hits() == 50
            own_server.start()
            await asyncio.to_thread(emptied, spool)
            assert (await counter.hit("visits")).value == 52

    asyncio.run(count())


def test_the_service(own_server, tmp_path):
    """202 and a truthful document, `/readyz` with the length, and all of it counted in the end."""
    config = {
        "REDIS_URL": own_server.url,
        "COUNTER_ON_OUTAGE": "spool",
        "COUNTER_SPOOL_DIR": str(tmp_path / "spool"),
    }
    app = create_app(config)
    web = app.test_client()
    assert web.get("/count").json["value"] == 1
    assert web.get("/readyz").json == {"status": "ready", "spooled": 0}
    own_server.kill()
    response = web.get("/count")
    assert response.status_code == 202
    assert json.loads(response.text) == {"counted": "spooled"}
    assert response.headers["Cache-Control"] == "no-store"
    assert web.get("/count", headers={"Accept": "text/plain"}).text == "spooled\n"
    page = web.get("/count", headers={"Accept": "text/html"})
    assert page.status_code == 202
    assert "is noted" in page.text
    assert web.get("/readyz").json == {"status": "spooling", "spooled": 3}
    own_server.start()
    wait_until(lambda: web.get("/readyz").json == {"status": "ready", "spooled": 0}, what="ready")
    assert web.get("/count").json["value"] == 5
    app.extensions["redis_counter"].counter.close()


def test_readiness_where_the_spool_cannot_be_read(own_server, tmp_path, monkeypatch):
    """Not ready, and no 500."""
    config = {"COUNTER_ON_OUTAGE": "spool", "COUNTER_SPOOL_DIR": str(tmp_path / "spool")}
    app = create_app({"REDIS_URL": own_server.url, **config})
    with monkeypatch.context() as broken:
        broken.setattr(Spool, "pending_hits", unreadable)
        response = app.test_client().get("/readyz")
    assert response.status_code == 503
    assert "the spool cannot be read" in response.json["detail"]
    app.extensions["redis_counter"].counter.close()


def unreadable(_spool):
    """Be a spool on a broken disk."""
    raise SpoolError("broken")


def test_a_spool_needs_a_folder():
    """Said at the start."""
    with pytest.raises(ConfigurationError, match="COUNTER_SPOOL_DIR"):
        create_app({"REDIS_URL": "redis://localhost", "COUNTER_ON_OUTAGE": "spool"})


LATE = """
    import atexit, sys
    from flask_redis_counter import RedisCounter, Spool, HitSpooledError

    def last():
        try:
            RedisCounter(sys.argv[1], spool=Spool(sys.argv[2])).hit("visits")
        except HitSpooledError as error:
            print(error.outcome)

    atexit.register(last)
"""


def test_a_hit_while_the_interpreter_ends_is_spooled(server, client, tmp_path):
    """No thread can start to replay it then: the next process counts it."""
    script = [sys.executable, "-c", textwrap.dedent(LATE), nowhere(), str(tmp_path)]
    done = subprocess.run(script, capture_output=True, text=True, timeout=30)
    assert done.stdout == "spooled\n"
    assert "Traceback" not in done.stderr
    with RedisCounter(server.url, spool=Spool(tmp_path)):
        wait_until(lambda: client.get(KEY) == b"1", what="the hit to count")
