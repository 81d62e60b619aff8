"""What waits in a spool, and what a replay makes of it; on a file, with no server."""

import sqlite3
import threading
import time
from contextlib import closing

import pytest

from flask_redis_counter import Spool
from flask_redis_counter.counting.batcher import Batcher
from flask_redis_counter.errors import (
    ConfigurationError,
    HitSpooledError,
    IdempotencyKeyReusedError,
    NotAnIntegerError,
    OutcomeUnknownError,
    SpoolError,
    StoreRejectedError,
    StoreUnavailableError,
)
from flask_redis_counter.spool.spool import REPLAY_WINDOW
from flask_redis_counter.store.operation import run
from flask_redis_counter.testing import wait_until
from flask_redis_counter.validation import MAX_VALUE

from ..counting.fake_server import AWAY, SILENT, Server, added, given_up, hit_of, refused


@pytest.fixture
def spool(tmp_path):
    """A spool in a folder of its own."""
    return Spool(tmp_path / "spool")


def kept(spool, *arguments, error=AWAY, **more):
    """Spool a hit that no store has seen, and return it."""
    hit = hit_of(*arguments, **more)
    hit.error = error
    spool.add(hit)
    return hit


def is_spooled(hit):
    """Whether a hit waits, by what its caller is told."""
    with pytest.raises(HitSpooledError) as caught:
        hit.result()
    assert caught.value.__cause__ is hit.error.__cause__ is not None
    return "counted once" in str(caught.value)


def unanswered(*hits, server=None):
    """Send hits in a batch that is not answered, though a server may have executed it."""
    batcher = Batcher()
    batch = added(batcher, *hits)
    if server is not None:
        batch.apply_replies(server.execute(batch.commands()))  # the scripts are not loaded
        server.execute(batch.commands())
    else:
        batch.commands()
    given_up(batcher, batch, SILENT)


def replayed(spool, server):
    """Replay to a server, and return how many hits it says that were counted."""
    hits, _ = run(spool.replay(), server.execute)
    return hits


def fails_with(error):
    """Return what stands in the place of a server that does not answer."""

    def execute(_commands):
        raise error

    return execute


def rows(spool, columns="sent"):
    """Return what the file holds."""
    with closing(sqlite3.connect(spool.path)) as database:
        return database.execute(f"SELECT {columns} FROM entry ORDER BY id").fetchall()  # noqa: S608


def test_the_file(tmp_path, monkeypatch):
    """It lies in the folder, which is made, wherever the process goes afterwards."""
    monkeypatch.chdir(tmp_path)
    spool = Spool("some/folder")
    assert spool.path == tmp_path / "some" / "folder" / "spool.sqlite3"
    monkeypatch.chdir("/")
    assert is_spooled(kept(spool))
    assert Spool(tmp_path / "some" / "folder").pending_hits() == 1


@pytest.mark.parametrize("megabytes", [0, -1, 10_001, 2.0, "64", None])
def test_a_size_out_of_bounds(tmp_path, megabytes):
    """The error names the setting and the value."""
    with pytest.raises(
        ConfigurationError, match=f"^COUNTER_SPOOL_MAX_MB: {megabytes!r} is not an integer"
    ):
        Spool(tmp_path, megabytes=megabytes)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("megabytes", [1, 10_000])
def test_a_size_within_bounds(tmp_path, megabytes):
    """The bounds themselves may be."""
    spool = Spool(tmp_path, megabytes=megabytes)
    assert spool.pending_hits() == 0


def test_a_folder_that_cannot_be(tmp_path):
    """The error names the setting, and has its cause."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match=r"^COUNTER_SPOOL_DIR: cannot be used") as caught:
        Spool(tmp_path / "file" / "folder")
    assert isinstance(caught.value.__cause__, OSError)


def test_a_full_disk_at_the_start(tmp_path, monkeypatch, caplog):
    """It is no mistake of the settings: the log says so, and hits fail with the store's error."""

    def full(*_, **__):
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(sqlite3, "connect", full)
        spool = Spool(tmp_path)
        assert "no hit can be spooled for now: the spool" in caplog.text
        assert kept(spool).error is AWAY
        assert kept(spool).error is AWAY
        assert caplog.text.count("hits are not spooled: the spool") == 1
    assert is_spooled(kept(spool))


def test_hits_that_were_never_sent_gather(spool):
    """One row and one call for each counter, however many they are."""
    server = Server({"visits": 1})
    hits = [kept(spool, amount=amount) for amount in (1, 2, 4)] + [kept(spool, "orders", 8)]
    assert all(is_spooled(hit) for hit in hits)
    assert {hit.error.__cause__ for hit in hits} == {AWAY}
    assert spool.pending_hits() == 4
    assert rows(spool, "key, writer, token, amount, hits, sent") == [
        ("visits", "", "", 7, 3, None),
        ("orders", "", "", 8, 1, None),
    ]
    assert replayed(spool, server) == 4
    assert server.values == {"visits": 8, "orders": 8}
    assert len(server.ledger) == 2
    assert spool.pending_hits() == 0
    assert replayed(spool, server) == 0


def test_nothing_is_added_to_what_was_sent(spool):
    """An amount stands for its identity: hits that come later are another row."""
    server = Server()
    kept(spool)
    with pytest.raises(OutcomeUnknownError):
        run(spool.replay(), fails_with(SILENT))
    kept(spool, amount=2)
    assert rows(spool, "amount") == [(1,), (2,)]
    assert replayed(spool, server) == 2
    assert server.values == {"visits": 3}


@pytest.mark.parametrize("executed", [True, False])
def test_a_batch_without_an_answer(spool, executed):
    """All its hits of a counter are one row, which counts once with what was executed."""
    server = Server()
    hits = [hit_of(amount=2), hit_of(), hit_of("orders", 4), hit_of(idempotency_key="t", amount=8)]
    began = time.time()
    unanswered(*hits, server=server if executed else None)
    for hit in hits:
        spool.add(hit)
        assert is_spooled(hit)
        assert hit.error.__cause__ is SILENT
    assert spool.pending_hits() == 4
    assert all(began <= sent <= time.time() for (sent,) in rows(spool))
    assert replayed(spool, server) == 4
    assert server.values == {"visits": 11, "orders": 4}
    assert spool.pending_hits() == 0


def test_the_hour_of_what_was_sent(spool, monkeypatch):
    """It counts in the one that it was sent in, however late it is written down."""
    monkeypatch.setattr("flask_redis_counter.counting.call.current_hour", lambda: "2026-11-23T15")
    hits = [hit_of(), hit_of(idempotency_key="t")]
    unanswered(*hits)
    monkeypatch.setattr("flask_redis_counter.spool.spool.current_hour", lambda: "2026-11-23T16")
    for hit in hits:
        spool.add(hit)
    kept(spool)
    assert rows(spool, "hour") == [("2026-11-23T15",)] * 2 + [("2026-11-23T16",)]


def test_amounts_that_did_not_fit_together(spool):
    """The call of its own that such a hit went with is what is replayed."""
    server = Server({"visits": -MAX_VALUE})
    hits = [hit_of(amount=MAX_VALUE), hit_of(amount=MAX_VALUE)]
    unanswered(*hits, server=server)
    for hit in hits:
        spool.add(hit)
    assert replayed(spool, server) == 2
    assert server.values == {"visits": MAX_VALUE}


def test_what_was_settled_before_it_is_replayed(spool):
    """A number that the store calls stale was counted, or its writer had not gone on."""
    server, batcher, hit = Server(), Batcher(), hit_of()
    batch = added(batcher, hit)
    batch.apply_replies(server.execute(batch.commands()))
    server.execute(batch.commands())
    *_, (_, _, _, _, writer, *_) = batch.commands()
    server.records[writer] = ("2:another", b"2")
    given_up(batcher, batch, SILENT)
    spool.add(hit)
    assert replayed(spool, server) == 1
    assert server.values == {"visits": 1}
    assert spool.pending_hits() == 0


def test_a_number_that_a_copied_process_took(spool):
    """The row has not counted, and never will under that number: it takes another, and counts."""
    server, batcher, hit = Server(), Batcher(), hit_of(amount=3)
    added(batcher, hit).commands()
    (record,) = [command[4] for command in batcher.in_flight.commands()]
    server.records[record] = ("1:another", b"2")
    given_up(batcher, batcher.in_flight, SILENT)
    spool.add(hit)
    assert is_spooled(hit)
    assert replayed(spool, server) == 0
    assert spool.pending_hits() == 1
    assert replayed(spool, server) == 1
    assert server.values == {"visits": 3}
    assert spool.pending_hits() == 0


def test_a_number_that_a_copied_process_has_passed(spool):
    """Nobody can find out later whether the hit counted: it is not said to wait."""
    server, batcher, hit = Server(), Batcher(), hit_of()
    batch = added(batcher, hit)
    (record,) = [command[4] for command in batch.commands()]
    batch.apply_replies(server.execute(batch.commands()))
    batch.record_failure(SILENT)
    server.records[record] = ("2:another", b"2")
    batch.apply_replies(server.execute(batch.commands()))
    error = hit.error
    spool.add(hit)
    assert hit.error is error
    assert error.outcome == "unknown"
    assert spool.pending_hits() == 0


def test_copies_that_spool_hits_of_the_same_number(spool):
    """Each has a row of its own, and counts."""
    server, batchers = Server(), (Batcher(), Batcher())
    batchers[1]._writer = batchers[0]._writer
    for batcher in batchers:
        added(batcher, hit := hit_of()).commands()
        given_up(batcher, batcher.in_flight, SILENT)
        spool.add(hit)
        assert is_spooled(hit)
    assert spool.pending_hits() == 2
    assert replayed(spool, server) + replayed(spool, server) == 2
    assert server.values == {"visits": 2}


def test_a_hit_that_was_refused_after_it_was_sent(spool):
    """Its identity is settled, and other hits may go under it: it waits without one."""
    batcher, hit = Batcher(), hit_of()
    batch = added(batcher, hit)
    batch.commands()
    batch.apply_replies([refused("OOM command not allowed when used memory > 'maxmemory'.")])
    batcher.finish(batch)
    assert hit.call is not None
    spool.add(hit)
    assert rows(spool, "writer, sent") == [("", None)]


def test_a_token(spool):
    """It waits once and counts once, under the identity that it has in the store as well."""
    server = Server()
    hits = [kept(spool, idempotency_key="t", amount=2) for _ in range(2)] + [
        kept(spool, idempotency_key="u")
    ]
    assert all(is_spooled(hit) for hit in hits)
    assert rows(spool, "key, writer, number, token, amount, hits, sent") == [
        ("visits", "token", 0, "t", 2, 1, None),
        ("visits", "token", 0, "u", 1, 1, None),
    ]
    assert replayed(spool, server) == 2
    assert server.values == {"visits": 3}
    again = kept(spool, idempotency_key="t", amount=2)
    assert is_spooled(again)
    assert replayed(spool, server) == 1
    assert server.values == {"visits": 3}


def test_a_token_that_waits_for_another_amount(spool, caplog):
    """The caller is told, as by the store; what waits is left as it is."""
    kept(spool, idempotency_key="t", amount=2)
    reused = kept(spool, idempotency_key="t")
    with pytest.raises(IdempotencyKeyReusedError) as caught:
        reused.result()
    assert caught.value.amount == 2
    assert is_spooled(kept(spool, "orders", idempotency_key="t")), "a token belongs to its counter"
    assert rows(spool, "amount") == [(2,), (1,)]
    assert "not spooled" not in caplog.text


def test_a_token_that_the_store_knows_with_another_amount(spool, caplog):
    """It never will be counted: it is dropped, and the log says so."""
    server = Server()
    kept(spool, idempotency_key="t", amount=2)
    assert replayed(spool, server) == 1
    kept(spool, idempotency_key="t")
    kept(spool)
    assert replayed(spool, server) == 1
    assert (
        f"a spooled hit of visits was dropped, not counted: {IdempotencyKeyReusedError('2')}"
        in caplog.messages
    )
    assert server.values == {"visits": 3}
    assert spool.pending_hits() == 0


def test_a_row_that_the_store_refuses(spool, caplog):
    """It waits on, whatever becomes of the others, and is counted when its key is mended."""
    server = Server({"text": "text"})
    kept(spool, "text")
    kept(spool, "text", 2)
    kept(spool)
    assert replayed(spool, server) == 1
    message = "2 spooled hits of text are rejected by the store, and stay in the spool: "
    assert f"{message}{NotAnIntegerError('text')}" in caplog.messages
    assert "dropped" not in caplog.text
    assert spool.pending_hits() == 2
    assert rows(spool, "key, amount") == [("text", 3)]
    del server.values["text"]
    assert replayed(spool, server) == 2
    assert server.values == {"visits": 1, "text": 3}


def test_an_answer_too_few(spool):
    """It is not taken for another row's: all waits on."""
    for key in "ab":
        kept(spool, key)
    with pytest.raises(ValueError, match="shorter"):
        run(spool.replay(), lambda commands: Server().execute(commands)[:-1])
    assert spool.pending_hits() == 2


@pytest.mark.parametrize("error", [AWAY, refused("LOADING ")], ids=["away", "refused"])
def test_a_store_that_takes_nothing(spool, error):
    """All waits on, and what was never sent still was not: it does not grow old."""
    kept(spool)
    unknown = hit_of(idempotency_key="t")
    unanswered(unknown)
    spool.add(unknown)
    (_, (sent,)) = rows(spool)
    with pytest.raises(type(error)) as caught:
        run(spool.replay(), fails_with(error))
    assert caught.value is error
    assert rows(spool) == [(None,), (sent,)]
    assert spool.pending_hits() == 2
    server = Server()
    assert replayed(spool, server) == 2
    assert server.values == {"visits": 2}


def test_a_replay_without_an_answer(spool):
    """It was sent, and counts once with what the store made of it."""
    server = Server()
    kept(spool)

    def executed(commands):
        server.execute(commands)
        raise SILENT

    began = time.time()
    for _ in range(2):
        with pytest.raises(OutcomeUnknownError):
            run(spool.replay(), executed)
        ((sent,),) = rows(spool)
        assert began <= sent <= time.time()
        began = sent
        assert rows(spool) == [(began,)], "the age is that of the first attempt"
    assert replayed(spool, server) == 1
    assert server.values == {"visits": 1}


def test_several_that_replay_at_once(spool):
    """Each row counts once, and one of them says so."""
    server = Server()
    kept(spool)
    replay = spool.replay()
    answers = server.execute(next(replay))
    other = Spool(spool.path.parent)
    assert replayed(other, server) == 1
    with pytest.raises(StopIteration) as ended:
        replay.send(answers)
    assert ended.value.value == (0, 0)
    assert server.values == {"visits": 1}


def test_a_long_replay(spool, monkeypatch):
    """So many rows share a round trip, in the order in which they came."""
    monkeypatch.setattr("flask_redis_counter.spool.spool.MAX_ROWS", 2)
    server, trips = Server({"b": "text"}), []
    for key in "abcde":
        kept(spool, key)

    def execute(commands):
        trips.append([command[3] for command in commands if command[0] == "EVALSHA"])
        return server.execute(commands)

    assert run(spool.replay(), execute) == (4, 4)
    assert trips == [["a", "b"], ["c", "d"], ["e"]]
    assert rows(spool, "key") == [("b",)]


def test_what_is_too_old(spool, caplog):
    """The store may have forgotten its identity: the log says so, and it is not sent again."""
    server = Server()
    unanswered(old := hit_of(amount=3), hit_of(), young := hit_of("orders"))
    spool.add(old)
    spool.add(young)
    now = time.time()
    with closing(sqlite3.connect(spool.path)) as database, database:
        age = "UPDATE entry SET sent = ? WHERE key = ?"
        database.execute(age, (now - REPLAY_WINDOW - 1, "visits"))
        database.execute(age, (now - REPLAY_WINDOW + 60, "orders"))
    assert spool.pending_hits() == 3
    assert replayed(spool, server) == 1
    assert server.values == {"orders": 1}
    assert caplog.messages[1:2] == [
        "2 spooled hits of visits were sent a day ago without a reply: they may have counted, "
        "and are not sent again"
    ]
    assert spool.pending_hits() == 0
    assert rows(spool) == [(-1,)], "kept, for who wants to look into it"
    assert replayed(spool, server) == 0
    assert len(caplog.messages) == 3


def test_amounts_that_no_counter_holds(spool, caplog):
    """The hit that would pass the largest value fails with its own error; one less fits."""
    kept(spool, amount=MAX_VALUE - 1)
    assert kept(spool, amount=2).error is AWAY
    assert caplog.messages[1:] == [
        "hits are not spooled: the sum of the spooled amounts would exceed a signed 64-bit integer"
    ]
    assert is_spooled(kept(spool))
    assert kept(spool).error is AWAY
    assert is_spooled(kept(spool, "orders", MAX_VALUE))
    assert rows(spool, "amount, hits") == [(MAX_VALUE, 2), (MAX_VALUE, 1)]


def test_the_log_of_an_outage(spool, caplog):
    """One line for each, with the file and the first error, and one for its end."""
    for _ in range(2):
        for _ in range(3):
            kept(spool)
        with pytest.raises(StoreUnavailableError):
            run(spool.replay(), fails_with(AWAY))
        kept(spool)
        replayed(spool, Server())
    assert [record.message for record in caplog.records] == [
        f"hits are spooled in {spool.path}: {AWAY}",
        "the store takes hits again (suppressed before this: 3 similar lines)",
        f"hits are spooled in {spool.path}: {AWAY}",
    ]


def test_hits_that_the_store_refuses_are_few_lines(spool, caplog):
    """However often they are replayed."""
    refused = StoreRejectedError("the store rejected the command: OOM")
    for rows in range(1, 11):
        kept(spool)
        answers = [b"", b"", *[refused] * rows]
        run(spool.replay(), lambda _, answers=answers: answers)
    assert [record.levelname for record in caplog.records] == ["WARNING", "ERROR"]
    assert "stay in the spool: the store rejected the command: OOM" in caplog.text
    replayed(spool, Server())
    spool.recovered()
    assert caplog.messages[2:] == [
        "the store takes hits again (suppressed before this: 9 similar lines)",
        f"the store takes all spooled hits again (suppressed before this: {sum(range(2, 11))} "
        "similar lines)",
    ]


def test_hits_of_several_threads_share_a_transaction(spool, monkeypatch):
    """Who gets the file next writes down what all have gathered; each gets its own outcome."""
    writes = []
    run_transaction = spool._database.run_transaction

    def counted(work, **more):
        writes.append(more)
        return run_transaction(work, **more)

    monkeypatch.setattr(spool._database, "run_transaction", counted)
    kept(spool, idempotency_key="t")
    hits = [hit_of(), hit_of(idempotency_key="t", amount=2), hit_of("orders")]
    for hit in hits:
        hit.error = AWAY
    threads = [threading.Thread(target=spool.add, args=(hit,)) for hit in hits]
    with spool._lock:
        for thread in threads:
            thread.start()
        wait_until(lambda: len(spool._queue) == 3, what="three in line")
    for thread in threads:
        thread.join(10)
    assert [write["adds"] for write in writes] == [True, True]
    assert is_spooled(hits[0])
    assert is_spooled(hits[2])
    assert isinstance(hits[1].error, IdempotencyKeyReusedError)
    assert spool.pending_hits() == 3


def test_a_file_that_cannot_be_read(spool):
    """An error of the spool, and no answer that nothing waits."""
    spool.path.unlink()
    spool.path.mkdir()
    with pytest.raises(SpoolError, match="does not work"):
        spool.pending_hits()
    assert kept(spool).error is AWAY


def test_a_disk_that_does_not_answer(spool, monkeypatch, caplog):
    """Who waits for the one that writes hears of it in time, and is not written down later."""
    monkeypatch.setattr("flask_redis_counter.spool.spool.BUSY_TIMEOUT", 0.01)
    with spool._lock:
        assert kept(spool).error is AWAY
    assert "is busy: its disk did not answer in time" in caplog.text
    assert not spool._queue
    assert spool.pending_hits() == 0


@pytest.mark.parametrize("done", [False, True])
def test_a_hit_that_another_thread_is_writing_down(spool, monkeypatch, done):
    """It may still count: unknown; or its row is there just in time."""
    monkeypatch.setattr("flask_redis_counter.spool.spool.BUSY_TIMEOUT", 0.01)

    class Lock:
        def acquire(self, timeout):
            assert 0 <= timeout <= 0.01
            (entry,) = spool._take_queued()
            entry.done = done
            return False

    monkeypatch.setattr(spool, "_lock", Lock())
    hit = kept(spool)
    assert hit.error.outcome == ("spooled" if done else "unknown")
