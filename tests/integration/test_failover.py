"""Acknowledged hits survive failovers and restarts of a store that loses its last writes."""

import asyncio
import os
import signal
import threading

import pytest
import redis

from flask_redis_counter import AsyncRedisCounter, CounterError, RedisCounter, Spool
from flask_redis_counter.counting.journal import Journal
from flask_redis_counter.errors import HitSpooledError, StoreError, StoreRejectedError
from flask_redis_counter.testing import wait_until

from .support import KEY, stored, wait_for_replicas


class Load:
    """Threads that count on one counter until the block ends, and a tally of the outcomes."""

    def __init__(self, counter, threads=4):
        self.acknowledged = self.unknown = 0
        self._counter = counter
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._count) for _ in range(threads)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def wait_for_more(self, hits):
        """Wait until more hits are acknowledged."""
        wanted = self.acknowledged + hits
        wait_until(lambda: self.acknowledged >= wanted, timeout=30, what="hits")

    def check(self, group):
        """Check that the sum becomes that of the acknowledged hits, apart from unknown ones."""
        wait_until(
            lambda: stored(group) >= self.acknowledged,
            timeout=10,
            what=f"{self.acknowledged} acknowledged hits (and {self.unknown} unknown ones)",
        )
        assert stored(group) <= self.acknowledged + self.unknown

    def _count(self):
        while not self._ended.is_set():
            try:
                self._counter.hit("visits", visitor="somebody")
            except CounterError as error:
                with self._lock:
                    self.unknown += error.outcome == "unknown"
            else:
                with self._lock:
                    self.acknowledged += 1


def test_planned_failover_loses_nothing(group):
    """Hits that the demoted master still acknowledged are counted on the new one."""
    with RedisCounter(group.url, timeout=5) as counter, Load(counter) as load:
        for _ in range(3):
            load.wait_for_more(300)
            group.fail_over()
        load.wait_for_more(300)
    load.check(group)
    assert load.unknown == 0


def test_crash_of_the_master_loses_nothing(group):
    """Hits that no replica had received are counted on the new master."""
    with RedisCounter(group.url, timeout=1) as counter, Load(counter) as load:
        load.wait_for_more(500)
        old = group.named_master()
        old.kill()
        group.wait_for_switch(old)
        load.wait_for_more(500)
    load.check(group)


def test_reconciliation_without_further_hits(group, caplog):
    """A process that counts no more sends its lost hits again all the same, and says so."""
    with RedisCounter(group.url, timeout=1) as counter:
        counter.hit("visits")
        old = group.named_master()
        for number in range(200):
            counter.hit("visits", idempotency_key=f"key {number}" if number % 2 else None)
        old.kill()
        group.wait_for_switch(old)
        wait_until(lambda: stored(group) == 201, timeout=20, what="201 hits")
        state = wait_until(
            lambda: (it := counter.journal.state()).reconciliations and it, what="a reconciliation"
        )
        assert state.resent_hits > 0
    assert "acknowledged hits were sent to the store again" in caplog.text


def test_repeated_hits_survive_a_failover(group):
    """A hit that counted without a reply, and was repeated with its key, is not lost."""
    master = group.named_master()
    with RedisCounter(group.url, timeout=1) as counter:
        counter.hit("visits")
        wait_for_replicas(group.client(master))
        freeze_replicas(group, master)
        with RedisCounter(master.url, timeout=1, journal=Journal(0)) as other:
            other.hit("visits", idempotency_key="key")  # its caller did not get the reply
        assert counter.hit("visits", idempotency_key="key").replayed
        lose_master(group, master)
        wait_until(lambda: stored(group) == 2, timeout=20, what="2 hits")
        assert counter.hit("visits", idempotency_key="key").replayed
        assert counter.hit("visits").value == 3


def test_replayed_spool_survives_a_failover(group, tmp_path):
    """Spooled hits that the master counted are not lost, although they have left the spool."""
    spool = Spool(tmp_path / "spool")
    master = group.named_master()
    with RedisCounter(group.url, timeout=1, spool=spool) as counter:
        counter.hit("visits")
        wait_for_replicas(group.client(master))
        for key in (None, None, "key"):
            with pytest.raises(HitSpooledError):
                counter.hit("visits", idempotency_key=key, ask=False)
        freeze_replicas(group, master)
        wait_until(lambda: spool.pending_hits() == 0, timeout=20, what="an empty spool")
        assert group.client(master).get(KEY) == b"4"
        lose_master(group, master)
        wait_until(lambda: stored(group) == 4, timeout=20, what="4 hits")
        assert counter.hit("visits").value == 5
        assert spool.pending_hits() == 0


def test_flushed_spool_is_not_sent_again(own_server, tmp_path):
    """FLUSHALL right after a replay is not a loss: the counter starts again."""
    spool = Spool(tmp_path / "spool")
    with (
        RedisCounter(own_server.url, timeout=1, spool=spool) as counter,
        redis.Redis.from_url(own_server.url) as client,
    ):
        with pytest.raises(HitSpooledError):
            counter.hit("visits", ask=False)
        wait_until(lambda: spool.pending_hits() == 0, what="an empty spool", pause=0.005)
        client.flushall()
        wait_until(lambda: not len(counter.journal), timeout=10, what="an empty journal")
        assert client.get(KEY) is None
        assert counter.hit("visits").value == 1


def freeze_replicas(group, master):
    """Freeze all servers but the master, and break their connections: they get no more writes."""
    for server in group.servers:
        if server is not master:
            server.signal(signal.SIGSTOP)
    group.client(master).execute_command("CLIENT KILL TYPE replica")


def lose_master(group, master):
    """Kill the master, and let the others go on: one of them is promoted."""
    master.kill()
    for server in group.servers:
        if server is not master:
            server.signal(signal.SIGCONT)
    group.wait_for_switch(master)


def test_asyncio_loses_nothing(group):
    """The same from an event loop that has ended before the failover."""

    async def count(counter):
        await asyncio.gather(*(counter.hit("visits") for _ in range(500)))

    counter = AsyncRedisCounter(group.url, timeout=1)
    old = group.named_master()
    asyncio.run(count(counter))
    asyncio.run(count(counter))
    old.kill()
    group.wait_for_switch(old)
    wait_until(lambda: stored(group) == 1000, timeout=20, what="1000 hits")


def test_restart_that_loses_the_tail_of_the_file(start_server):
    """Hits that were not on the disk when the machine failed are counted again."""
    server = start_server("--appendfsync", "no", "--appendonly", "no", "--save", "")
    with RedisCounter(server.url, timeout=1) as counter, redis.Redis.from_url(server.url) as client:
        for _ in range(50):
            counter.hit("visits")
        server.kill()
        server.start()  # it is empty: it has no file at all
        wait_until(lambda: client.get(KEY) == b"50", what="50 hits")
        assert counter.hit("visits").value == 51


def test_fork_does_not_forget_the_journal(start_server):
    """A process that forks right after its last hit sends that hit again if the store loses it."""
    server = start_server("--appendfsync", "no", "--appendonly", "no", "--save", "")
    with RedisCounter(server.url, timeout=1) as counter, redis.Redis.from_url(server.url) as client:
        counter.hit("visits")
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
        server.kill()
        server.start()
        wait_until(lambda: client.get(KEY) == b"1", what="the hit")


def test_fork_in_a_child_starts_no_threads(group):
    """A child that does not count has neither the threads of its parent nor new ones."""
    with RedisCounter(group.url, timeout=1) as counter:
        counter.hit("visits")
        child = os.fork()
        if child == 0:
            try:
                grandchild = os.fork()
                if grandchild == 0:
                    os._exit(threading.active_count() - 1)
                _, status = os.waitpid(grandchild, 0)
                os._exit(os.waitstatus_to_exitcode(status) + threading.active_count() - 1)
            finally:
                os._exit(100)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        assert counter.hit("visits").value == 2


def test_flushed_hits_are_not_sent_again(own_server):
    """FLUSHALL is not a loss: the counter starts again."""
    with RedisCounter(own_server.url, timeout=1) as counter:
        for _ in range(5):
            counter.hit("visits")
        with redis.Redis.from_url(own_server.url) as client:
            client.flushall()
        assert counter.hit("visits").value == 1
        assert counter.hit("visits").value == 2


def test_deleted_hits_are_not_sent_again(group):
    """A counter that was deleted before a failover does not come back."""
    with RedisCounter(group.url, timeout=1) as counter:
        for _ in range(5):
            counter.hit("visits")
        counter.delete("visits")
        wait_for_replicas(group.client(group.named_master()))
        group.fail_over()
        wait_until(
            lambda: counter.journal.state().reconciliations or not len(counter.journal),
            what="the end of the journal",
        )
        assert stored(group) == 0


def test_journal_becomes_empty(group):
    """Entries leave the journal once replicas and disk have the hits."""
    with RedisCounter(group.url, timeout=1) as counter:
        counter.hit("visits")
        assert len(counter.journal) == 1
        wait_until(lambda: len(counter.journal) == 0, timeout=10, what="an empty journal")
        assert counter.journal.state().reconciliations == 0


def test_full_journal_rejects(group):
    """With `reject`, hits are rejected while the replicas confirm nothing."""
    for server in group.servers:
        if server is not group.named_master():
            server.signal(signal.SIGSTOP)
    with RedisCounter(group.url, timeout=1, journal=Journal(10, "reject")) as counter:
        for _ in range(10):
            counter.hit("visits")
        with pytest.raises(StoreRejectedError, match="journal of acknowledged hits is full"):
            counter.hit("visits")
        for server in group.servers:
            server.signal(signal.SIGCONT)
        wait_until(lambda: _counts(counter), timeout=10, what="room in the journal")
        assert stored(group) == 11


def _counts(counter):
    try:
        return counter.hit("visits").value
    except StoreError:
        return None


def test_full_journal_drops_with_a_warning(group, caplog):
    """By default the oldest entries are dropped, and the log says so."""
    for server in group.servers:
        if server is not group.named_master():
            server.signal(signal.SIGSTOP)
    with RedisCounter(group.url, timeout=1, journal=Journal(10)) as counter:
        for _ in range(15):
            counter.hit("visits")
        assert counter.journal.state().dropped_hits == 5
        assert "the journal of acknowledged hits is full (10)" in caplog.text
