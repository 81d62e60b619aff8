"""Hits spooled on disk while the store is down, and counted once afterwards."""

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

from .support import KEY, MAX, nowhere, readiness


@pytest.fixture
def spool(tmp_path):
    """A spool in its own folder."""
    return Spool(tmp_path / "spool")


@pytest.fixture
def counter(own_server, spool):
    """A counter that spools."""
    with RedisCounter(own_server.url, spool=spool) as counter:
        yield counter


def stored(server, key=KEY):
    """Return the stored value of a key."""
    with redis.Redis.from_url(server.url) as client:
        return int(client.get(key) or 0)


def assert_spooled(operation):
    """Run a hit, and check that it was spooled."""
    with pytest.raises(HitSpooledError) as caught:
        operation()
    assert caught.value.outcome == "spooled"
    assert isinstance(caught.value.__cause__, StoreError)


def wait_until_empty(spool):
    """Wait until the spool is empty."""
    wait_until(lambda: spool.pending_hits() == 0, what="an empty spool")


def test_spooled_hits_count_once_after_the_outage(own_server, spool, counter):
    """All hits during an outage are counted after it."""
    assert counter.hit("visits") == Hit("visits", 1)
    own_server.kill()
    for _ in range(20):
        assert_spooled(lambda: counter.hit("visits", 2))
    assert_spooled(lambda: counter.hit("orders"))
    assert spool.pending_hits() == 21
    own_server.start()
    wait_until_empty(spool)
    assert stored(own_server) == 41
    assert stored(own_server, "counter:{orders}") == 1
    assert counter.hit("visits").value == 42


def test_closed_counter_still_spools_and_replays(own_server, spool, counter):
    """A closed counter still spools hits, and counts and measures their replay."""
    counter.close()
    own_server.kill()
    assert_spooled(lambda: counter.hit("visits"))
    own_server.start()
    wait_until(
        lambda: counter.metrics.snapshot().replayed_hits == 1, what="a hit that was replayed"
    )
    assert stored(own_server) == 1


def test_spooled_hit_of_unknown_outcome_counts_once(own_server, spool, counter):
    """The replay has the number of the unanswered hit, so the store counts it once."""
    network = Proxy([own_server.port])
    with RedisCounter(f"redis://127.0.0.1:{network.port}/0", spool=Spool(spool.path.parent)) as far:
        assert far.hit("visits").value == 1
        own_server.signal(signal.SIGSTOP)
        with ThreadPoolExecutor(8) as pool:
            for outcome in [pool.submit(far.hit, "visits") for _ in range(8)]:
                assert_spooled(lambda outcome=outcome: outcome.result())
        assert spool.pending_hits() == 8
        own_server.signal(signal.SIGCONT)  # it then executes the commands in its buffers
        wait_until_empty(spool)
    network.close()
    assert stored(own_server) == 9


def test_executed_and_spooled_hit_counts_once(own_server, spool, counter):
    """A hit that was executed without a reply is spooled, replayed and counted once."""
    counter.hit("visits")
    own_server.signal(signal.SIGSTOP)
    assert_spooled(lambda: counter.hit("visits"))
    with closing(sqlite3.connect(spool.path)) as database:
        ((writer, sent),) = database.execute("SELECT writer, sent FROM entry").fetchall()
    assert writer
    assert sent
    own_server.signal(signal.SIGCONT)
    wait_until(lambda: stored(own_server) == 2, what="the hit from the buffer")
    wait_until_empty(spool)
    assert stored(own_server) == 2


def test_spooled_idempotency_key_counts_once(own_server, spool, counter):
    """A key is spooled once, and counts once together with answered hits."""
    assert counter.hit("visits", idempotency_key="a").value == 1
    own_server.kill()
    assert_spooled(lambda: counter.hit("visits", idempotency_key="a"))
    for _ in range(3):
        assert_spooled(lambda: counter.hit("visits", idempotency_key="b"))
    with pytest.raises(IdempotencyKeyReusedError):
        counter.hit("visits", 2, idempotency_key="b")
    assert spool.pending_hits() == 2
    own_server.start()
    wait_until_empty(spool)
    assert stored(own_server) == 2
    assert counter.hit("visits", idempotency_key="b") == Hit("visits", 2, replayed=True)


def test_permanent_errors_are_not_spooled(own_server, spool, counter):
    """A wrong type and an overflow raise their errors at once."""
    with redis.Redis.from_url(own_server.url) as client:
        client.set("counter:{text}", "abc")
        client.set("counter:{full}", MAX)
    with pytest.raises(NotAnIntegerError):
        counter.hit("text")
    with pytest.raises(CounterOverflowError):
        counter.hit("full")
    assert spool.pending_hits() == 0


def test_rejected_row_does_not_hold_up_others(own_server, spool, counter, caplog):
    """The other rows count; the rejected row stays until its key is repaired, and then counts."""
    with redis.Redis.from_url(own_server.url) as client:
        client.set("counter:{text}", "abc")
        own_server.kill()
        assert_spooled(lambda: counter.hit("text"))
        assert_spooled(lambda: counter.hit("visits"))
        own_server.start()
        wait_until(lambda: "counter:{text} are rejected" in caplog.text, what="the log line")
        wait_until(lambda: spool.pending_hits() == 1, what="the other row's count")
        client.delete("counter:{text}")
        wait_until_empty(spool)
    assert stored(own_server) == stored(own_server, "counter:{text}") == 1


def test_hits_on_a_full_store_are_spooled(own_server, spool, counter):
    """A store out of memory with `noeviction` refuses; the hits count when it has room."""
    with redis.Redis.from_url(own_server.url) as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", 1)
        assert_spooled(lambda: counter.hit("visits"))
        assert spool.pending_hits() == 1
        client.config_set("maxmemory", 0)
        wait_until_empty(spool)
    assert stored(own_server) == 1


def test_concurrent_replays_of_a_spool_count_once(own_server, tmp_path):
    """Each row has its own identity, and counts once for all replayers."""
    own_server.kill()
    counters = [
        RedisCounter(own_server.url, spool=Spool(tmp_path / "spool"), timeout=0.1) for _ in range(4)
    ]
    with ThreadPoolExecutor(8) as pool:
        for index in range(40):
            pool.submit(
                assert_spooled, lambda index=index: counters[index % 4].hit(f"c{index % 10}")
            )
    assert counters[0].spool.pending_hits() == 40
    own_server.start()
    wait_until_empty(counters[0].spool)
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


def test_spooled_hits_survive_a_killed_process(own_server, spool):
    """Hits reported as spooled survive a SIGKILL, and the next process counts them."""
    own_server.kill()
    command = [sys.executable, "-c", CRASHING, own_server.url, str(spool.path.parent)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert run.returncode == -signal.SIGKILL
    assert run.stdout.count("spooled") == 25
    own_server.start()
    with RedisCounter(own_server.url, spool=spool):
        wait_until_empty(spool)
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
    """A forked child opens the file itself, and starts its own replayer."""
    counter.hit("visits")
    own_server.kill()
    assert_spooled(lambda: counter.hit("visits"))
    fork = multiprocessing.get_context("fork")
    results = fork.Queue()
    child = fork.Process(target=_count_in_child, args=(counter, results))
    child.start()
    assert results.get(timeout=30) == ["spooled"] * 5
    child.join(30)
    own_server.start()
    wait_until_empty(spool)
    assert stored(own_server) == 7


def test_full_spool_refuses_hits(own_server, tmp_path, caplog):
    """The hit fails with the store's own error, and the spooled rows are kept."""
    own_server.kill()
    spool = Spool(tmp_path / "spool", megabytes=1)
    with closing(sqlite3.connect(spool.path)) as database, database:
        database.execute("CREATE TABLE ballast AS SELECT zeroblob(950000)")
    with RedisCounter(own_server.url, spool=spool, timeout=0.05) as counter:
        error, spooled = None, 0
        while error is None:
            try:
                counter.hit("visits", idempotency_key=f"{spooled:0250}")
            except HitSpooledError:
                spooled += 1
            except StoreError as caught:
                error = caught
        assert error.outcome == "unknown", "an earlier attempt may have reached the store"
        assert "full" in caplog.text
        assert spooled > 10
        own_server.start()
        wait_until_empty(spool)
    assert stored(own_server) == spooled


def test_full_disk_at_the_start_does_not_stop_counting(own_server, tmp_path, monkeypatch, caplog):
    """Hits count while the store is up; during an outage they fail."""

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


def test_replay_logs_counted_and_dropped_hits(own_server, spool, counter, caplog):
    """A reused idempotency key is dropped, and the log says so."""
    counter.hit("orders", 5, idempotency_key="t")
    own_server.kill()
    for _ in range(3):
        assert_spooled(lambda: counter.hit("visits"))
    assert_spooled(lambda: counter.hit("orders", 6, idempotency_key="t"))
    assert caplog.text.count("hits are spooled in") == 1
    own_server.start()
    wait_until_empty(spool)
    wait_until(lambda: "3 spooled hits were counted" in caplog.text, what="a line in the log")
    assert "a spooled hit of counter:{orders} was dropped, not counted" in caplog.text
    assert stored(own_server) == 3
    assert stored(own_server, "counter:{orders}") == 5


def test_a_corrupt_file_is_set_aside(own_server, tmp_path, caplog):
    """A corrupt file is renamed and logged; a new file takes its place."""
    folder = tmp_path / "spool"
    folder.mkdir()
    (folder / "spool.sqlite3").write_bytes(b"no database at all" * 1000)
    spool = Spool(folder)
    own_server.kill()
    with RedisCounter(own_server.url, spool=spool) as counter:
        assert_spooled(lambda: counter.hit("visits"))
        assert "was renamed" in caplog.text
        assert len(list(folder.glob("*.corrupt-*"))) == 1
        own_server.start()
        wait_until_empty(spool)
    assert stored(own_server) == 1


def test_a_file_that_becomes_corrupt_is_set_aside(own_server, spool, counter, caplog):
    """A file that becomes corrupt in use is replaced for all its processes."""
    own_server.kill()
    other = Spool(spool.path.parent)
    assert_spooled(lambda: counter.hit("visits"))
    assert other.pending_hits() == 1
    counter.close()
    size = spool.path.stat().st_size
    with spool.path.open("r+b") as file:
        file.seek(100)
        file.write(os.urandom(size - 100))
    assert_spooled(lambda: counter.hit("visits"))
    assert "was renamed" in caplog.text
    assert other.pending_hits() == spool.pending_hits() == 1


def test_a_row_that_is_too_old_is_not_sent_again(own_server, spool, caplog):
    """The store may have lost the row's identity: the row is not sent again, and is logged."""
    with RedisCounter(own_server.url, spool=spool) as counter:
        counter.hit("visits")
        own_server.signal(signal.SIGSTOP)
        assert_spooled(lambda: counter.hit("visits"))
    with closing(sqlite3.connect(spool.path)) as database, database:
        database.execute("UPDATE entry SET sent = ?", (time.time() - 24 * 3600,))
    own_server.signal(signal.SIGCONT)
    wait_until(lambda: stored(own_server) == 2, what="the hit from the buffer")
    with RedisCounter(own_server.url, spool=spool):
        wait_until(lambda: "may have counted" in caplog.text, what="the log line")
        wait_until_empty(spool)
    assert stored(own_server) == 2


@pytest.mark.parametrize("megabytes", [0, 10001, 1.5, "64"])
def test_size_out_of_bounds_is_refused(tmp_path, megabytes):
    """Spool raises ConfigurationError for an invalid size."""
    with pytest.raises(ConfigurationError, match="1 to 10000"):
        Spool(tmp_path, megabytes=megabytes)


def test_unusable_folder_is_refused(tmp_path):
    """Spool raises ConfigurationError at the start, and not at the first outage."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="COUNTER_SPOOL_DIR"):
        Spool(tmp_path / "file" / "folder")


def test_async_hits_are_spooled(own_server, spool):
    """Hits of tasks are spooled and counted after the outage."""

    async def count():
        async with AsyncRedisCounter(own_server.url, spool=spool) as counter:
            assert (await counter.hit("visits")).value == 1
            own_server.kill()
            hits = [counter.hit("visits") for _ in range(50)]
            outcomes = await asyncio.gather(*hits, return_exceptions=True)
            assert {type(outcome) for outcome in outcomes} == {HitSpooledError}
            assert spool.pending_hits() == 50
            own_server.start()
            await asyncio.to_thread(wait_until_empty, spool)
            assert (await counter.hit("visits")).value == 52

    asyncio.run(count())


def test_service_spools_and_replays(own_server, tmp_path):
    """/count returns 202, /readyz the number of spooled hits, and all hits count."""
    config = {
        "REDIS_URL": own_server.url,
        "COUNTER_ON_OUTAGE": "spool",
        "COUNTER_SPOOL_DIR": str(tmp_path / "spool"),
    }
    app = create_app(config)
    web = app.test_client()
    assert web.get("/count").json["value"] == 1
    assert readiness(web.get("/readyz").json) == {"status": "ready", "spooled": 0}
    own_server.kill()
    response = web.get("/count")
    assert response.status_code == 202
    assert json.loads(response.text) == {"counted": "spooled"}
    assert response.headers["Cache-Control"] == "no-store"
    assert web.get("/count", headers={"Accept": "text/plain"}).text == "spooled\n"
    page = web.get("/count", headers={"Accept": "text/html"})
    assert page.status_code == 202
    assert "is noted" in page.text
    assert readiness(web.get("/readyz").json) == {"status": "spooling", "spooled": 3}
    own_server.start()
    wait_until(
        lambda: readiness(web.get("/readyz").json) == {"status": "ready", "spooled": 0},
        what="ready",
    )
    assert web.get("/count").json["value"] == 5
    app.extensions["redis_counter"].counter.close()


def test_readyz_with_an_unreadable_spool_is_503(own_server, tmp_path, monkeypatch):
    """/readyz returns 503, not 500, if the spool cannot be read."""
    config = {"COUNTER_ON_OUTAGE": "spool", "COUNTER_SPOOL_DIR": str(tmp_path / "spool")}
    app = create_app({"REDIS_URL": own_server.url, **config})
    with monkeypatch.context() as patch:
        patch.setattr(Spool, "pending_hits", raise_spool_error)
        response = app.test_client().get("/readyz")
    assert response.status_code == 503
    assert "the spool cannot be read" in response.json["detail"]
    app.extensions["redis_counter"].counter.close()


def raise_spool_error(_spool):
    """Raise the error of a spool on a broken disk."""
    raise SpoolError("broken")


def test_create_app_requires_a_spool_folder():
    """create_app raises ConfigurationError if COUNTER_SPOOL_DIR is not set."""
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


def test_hit_at_interpreter_exit_is_spooled(server, client, tmp_path):
    """No replayer thread can start at exit: the next process counts the hit."""
    script = [sys.executable, "-c", textwrap.dedent(LATE), nowhere(), str(tmp_path)]
    done = subprocess.run(script, capture_output=True, text=True, timeout=30)
    assert done.stdout == "spooled\n"
    assert "Traceback" not in done.stderr
    with RedisCounter(server.url, spool=Spool(tmp_path)):
        wait_until(lambda: client.get(KEY) == b"1", what="the hit to count")
