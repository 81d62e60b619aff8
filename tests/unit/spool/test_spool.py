"""Spool: its rows, and their replay to a fake server."""

import math
import sqlite3
import threading
import time
from contextlib import closing

import pytest

from flask_redis_counter import Spool
from flask_redis_counter.counting.batcher import Batcher
from flask_redis_counter.counting.journal import Journal
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
from flask_redis_counter.spool.spool import RECONCILIATION_TIME, REPLAY_WINDOW
from flask_redis_counter.store.confirmation import Confirmation
from flask_redis_counter.store.operation import run
from flask_redis_counter.testing import wait_until
from flask_redis_counter.validation import MAX_VALUE

from ..counting.fake_server import (
    AWAY,
    HIT,
    HIT_ONCE,
    SILENT,
    Server,
    add_hits,
    fail_until_deadline,
    make_hit,
    make_refusal,
)


@pytest.fixture
def spool(tmp_path):
    """A spool in its own folder."""
    return Spool(tmp_path / "spool")


def spool_hit(spool, *arguments, error=AWAY, **more):
    """Spool a hit that was not sent, and return it."""
    hit = make_hit(*arguments, **more)
    hit.error = error
    spool.add(hit)
    return hit


def is_spooled(hit):
    """Return whether the hit's error says that it will be counted once."""
    with pytest.raises(HitSpooledError) as caught:
        hit.result()
    assert caught.value.__cause__ is hit.error.__cause__ is not None
    return "counted once" in str(caught.value)


def send_without_reply(*hits, server=None):
    """Send hits in a batch without a reply; the server, if there is one, executes it."""
    batcher = Batcher()
    batch = add_hits(batcher, *hits)
    if server is not None:
        batch.apply_replies(server.execute(batch.commands()))  # the scripts are not loaded
        server.execute(batch.commands())
    else:
        batch.commands()
    fail_until_deadline(batcher, batch, SILENT)


def spool_after_a_hit(spool, counted, unknown):
    """Count a hit, spool another one of the same writer that got no reply; return the journal."""
    journal = Journal()
    batcher = Batcher(journal=journal)
    first, server = add_hits(batcher, make_hit(amount=counted)), Server()
    while not first.done:
        first.apply_replies(server.execute(first.commands("one")))
    batcher.finish(first)
    late = make_hit(amount=unknown)
    batch = add_hits(batcher, late)
    batch.commands("one")
    fail_until_deadline(batcher, batch, SILENT)
    spool.add(late)
    return journal


def replay_to(spool, server):
    """Replay to a server, and return how many hits were counted."""
    hits, _ = run(spool.replay(Journal(0)), server.execute)
    return hits


def make_failing_server(error):
    """Return an execute function that raises an error."""

    def execute(_commands):
        raise error

    return execute


def rows(spool, columns="sent"):
    """Return the rows of the file."""
    with closing(sqlite3.connect(spool.path)) as database:
        return database.execute(f"SELECT {columns} FROM entry ORDER BY id").fetchall()  # noqa: S608


def test_path_is_absolute(tmp_path, monkeypatch):
    """The file is in the given folder, which is created, also after a chdir."""
    monkeypatch.chdir(tmp_path)
    spool = Spool("some/folder")
    assert spool.path == tmp_path / "some" / "folder" / "spool.sqlite3"
    monkeypatch.chdir("/")
    assert is_spooled(spool_hit(spool))
    assert Spool(tmp_path / "some" / "folder").pending_hits() == 1


@pytest.mark.parametrize("megabytes", [0, -1, 10_001, 2.0, "64", None])
def test_size_out_of_bounds_is_refused(tmp_path, megabytes):
    """The error names the setting and the value."""
    with pytest.raises(
        ConfigurationError, match=f"^COUNTER_SPOOL_MAX_MB: {megabytes!r} is not an integer"
    ):
        Spool(tmp_path, megabytes=megabytes)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("megabytes", [1, 10_000])
def test_size_at_its_bounds_is_accepted(tmp_path, megabytes):
    """The smallest and the largest size are valid."""
    spool = Spool(tmp_path, megabytes=megabytes)
    assert spool.pending_hits() == 0


def test_unusable_folder_is_refused(tmp_path):
    """The error names the setting, and has its cause."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match=r"^COUNTER_SPOOL_DIR: cannot be used") as caught:
        Spool(tmp_path / "file" / "folder")
    assert isinstance(caught.value.__cause__, OSError)


def test_full_disk_at_the_start_is_logged(tmp_path, monkeypatch, caplog):
    """A full disk is not a configuration error: hits fail with the store's error meanwhile."""

    def full(*_, **__):
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(sqlite3, "connect", full)
        spool = Spool(tmp_path)
        assert "no hit can be spooled for now: the spool" in caplog.text
        assert spool_hit(spool).error is AWAY
        assert spool_hit(spool).error is AWAY
        assert caplog.text.count("hits are not spooled: the spool") == 1
    assert is_spooled(spool_hit(spool))


def test_unsent_hits_of_a_counter_share_a_row(spool):
    """Unsent hits are one row and one call for each counter."""
    server = Server({"visits": 1})
    hits = [spool_hit(spool, amount=amount) for amount in (1, 2, 4)] + [
        spool_hit(spool, "orders", 8)
    ]
    assert all(is_spooled(hit) for hit in hits)
    assert {hit.error.__cause__ for hit in hits} == {AWAY}
    assert spool.pending_hits() == 4
    assert rows(spool, "key, writer, token, amount, hits, sent") == [
        ("visits", "", "", 7, 3, None),
        ("orders", "", "", 8, 1, None),
    ]
    assert replay_to(spool, server) == 4
    assert server.values == {"visits": 8, "orders": 8}
    assert len(server.ledger) == 2
    assert spool.pending_hits() == 0
    assert replay_to(spool, server) == 0


def test_sent_row_is_not_extended(spool):
    """A row that was sent keeps its amount; later hits are another row."""
    server = Server()
    spool_hit(spool)
    with pytest.raises(OutcomeUnknownError):
        run(spool.replay(Journal(0)), make_failing_server(SILENT))
    spool_hit(spool, amount=2)
    assert rows(spool, "amount") == [(1,), (2,)]
    assert replay_to(spool, server) == 2
    assert server.values == {"visits": 3}


@pytest.mark.parametrize("executed", [True, False])
def test_unanswered_batch_counts_once(spool, executed):
    """The hits of a counter are one row, which counts once, executed before or not."""
    server = Server()
    hits = [
        make_hit(amount=2),
        make_hit(),
        make_hit("orders", 4),
        make_hit(idempotency_key="t", amount=8),
    ]
    began = time.time()
    send_without_reply(*hits, server=server if executed else None)
    for hit in hits:
        spool.add(hit)
        assert is_spooled(hit)
        assert hit.error.__cause__ is SILENT
    assert spool.pending_hits() == 4
    assert all(began <= sent <= time.time() for (sent,) in rows(spool))
    assert replay_to(spool, server) == 4
    assert server.values == {"visits": 11, "orders": 4}
    assert spool.pending_hits() == 0


def test_sent_hit_keeps_its_hour(spool, monkeypatch):
    """A hit counts in the hour in which it was sent, even if it is spooled later."""
    monkeypatch.setattr("flask_redis_counter.counting.call.current_hour", lambda: "2026-11-23T15")
    hits = [make_hit(), make_hit(idempotency_key="t")]
    send_without_reply(*hits)
    monkeypatch.setattr("flask_redis_counter.spool.rows.current_hour", lambda: "2026-11-23T16")
    for hit in hits:
        spool.add(hit)
    spool_hit(spool)
    assert rows(spool, "hour") == [("2026-11-23T15",)] * 2 + [("2026-11-23T16",)]


def test_hits_of_separate_calls_are_separate_rows(spool):
    """A hit that had its own call is replayed with that call."""
    server = Server({"visits": -MAX_VALUE})
    hits = [make_hit(amount=MAX_VALUE), make_hit(amount=MAX_VALUE)]
    send_without_reply(*hits, server=server)
    for hit in hits:
        spool.add(hit)
    assert replay_to(spool, server) == 2
    assert server.values == {"visits": MAX_VALUE}


def test_stale_row_is_taken_as_counted(spool):
    """A sent row that the store calls stale is removed and not sent again."""
    server, batcher, hit = Server(), Batcher(), make_hit()
    batch = add_hits(batcher, hit)
    batch.apply_replies(server.execute(batch.commands()))
    server.execute(batch.commands())
    *_, (_, _, _, _, writer, *_) = batch.commands()
    server.records[writer] = ("2:another", b"2")
    fail_until_deadline(batcher, batch, SILENT)
    spool.add(hit)
    assert replay_to(spool, server) == 1
    assert server.values == {"visits": 1}
    assert spool.pending_hits() == 0


def test_row_waits_for_lost_calls_before_it(spool, monkeypatch):
    """A spooled call is not stored before those that the journal sends again, for a minute."""
    spool_after_a_hit(spool, 1, 1)
    promoted = Server()
    assert replay_to(spool, promoted) == 0
    assert spool.pending_hits() == 1
    late = time.monotonic() + RECONCILIATION_TIME + 1
    with monkeypatch.context() as patch:
        patch.setattr("time.monotonic", lambda: late)
        copy = Server()
        copy.records, copy.scripts = dict(promoted.records), dict(promoted.scripts)
        assert replay_to(spool, copy) == 1
    assert copy.values == {"visits": 1}


def test_row_counts_after_the_journal_has_sent_the_lost_calls(spool):
    """Journal and spool together restore the sum."""
    journal = spool_after_a_hit(spool, 5, 2)
    promoted = Server()
    assert replay_to(spool, promoted) == 0
    promoted.execute([entry.call.command() for entry in journal.foreign("two")])
    assert replay_to(spool, promoted) == 1
    assert promoted.values == {"visits": 7}


def test_row_with_a_number_of_a_copied_process_is_renumbered(spool):
    """The row has not counted under its number: it gets another one, and counts."""
    server, batcher, hit = Server(), Batcher(), make_hit(amount=3)
    add_hits(batcher, hit).commands()
    (record,) = [command[4] for command in batcher.in_flight.commands()]
    server.records[record] = ("1:another", b"2")
    fail_until_deadline(batcher, batcher.in_flight, SILENT)
    spool.add(hit)
    assert is_spooled(hit)
    assert replay_to(spool, server) == 0
    assert spool.pending_hits() == 1
    assert replay_to(spool, server) == 1
    assert server.values == {"visits": 3}
    assert spool.pending_hits() == 0


def test_hit_with_a_passed_number_is_not_spooled(spool):
    """The outcome cannot be found out later: the hit stays unknown."""
    server, batcher, hit = Server(), Batcher(), make_hit()
    batch = add_hits(batcher, hit)
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


def test_copied_processes_have_separate_rows(spool):
    """Two hits of the same writer and number are two rows, and both count."""
    server, batchers = Server(), (Batcher(), Batcher())
    batchers[1]._writer = batchers[0]._writer
    for batcher in batchers:
        add_hits(batcher, hit := make_hit()).commands()
        fail_until_deadline(batcher, batcher.in_flight, SILENT)
        spool.add(hit)
        assert is_spooled(hit)
    assert spool.pending_hits() == 2
    assert replay_to(spool, server) + replay_to(spool, server) == 2
    assert server.values == {"visits": 2}


def test_refused_hit_is_spooled_without_an_identity(spool):
    """A refused hit did not count, so it is spooled as an unsent one."""
    batcher, hit = Batcher(), make_hit()
    batch = add_hits(batcher, hit)
    batch.commands()
    batch.apply_replies([make_refusal("OOM command not allowed when used memory > 'maxmemory'.")])
    batcher.finish(batch)
    assert hit.call is not None
    spool.add(hit)
    assert rows(spool, "writer, sent") == [("", None)]


def test_idempotency_key_is_one_row(spool):
    """A key is spooled once and counts once, under the record that it has in the store."""
    server = Server()
    hits = [spool_hit(spool, idempotency_key="t", amount=2) for _ in range(2)] + [
        spool_hit(spool, idempotency_key="u")
    ]
    assert all(is_spooled(hit) for hit in hits)
    assert rows(spool, "key, writer, number, token, amount, hits, sent") == [
        ("visits", "token", 0, "t", 2, 1, None),
        ("visits", "token", 0, "u", 1, 1, None),
    ]
    assert replay_to(spool, server) == 2
    assert server.values == {"visits": 3}
    again = spool_hit(spool, idempotency_key="t", amount=2)
    assert is_spooled(again)
    assert replay_to(spool, server) == 1
    assert server.values == {"visits": 3}


def test_spooled_idempotency_key_with_another_amount_is_refused(spool, caplog):
    """The hit raises the same error as with the store; the row is not changed."""
    spool_hit(spool, idempotency_key="t", amount=2)
    reused = spool_hit(spool, idempotency_key="t")
    with pytest.raises(IdempotencyKeyReusedError) as caught:
        reused.result()
    assert caught.value.amount == 2
    assert is_spooled(spool_hit(spool, "orders", idempotency_key="t")), (
        "a key belongs to its counter"
    )
    assert rows(spool, "amount") == [(2,), (1,)]
    assert "not spooled" not in caplog.text


def test_replay_drops_a_reused_idempotency_key(spool, caplog):
    """A key that the store has with another amount is dropped and logged."""
    server = Server()
    spool_hit(spool, idempotency_key="t", amount=2)
    assert replay_to(spool, server) == 1
    spool_hit(spool, idempotency_key="t")
    spool_hit(spool)
    assert replay_to(spool, server) == 1
    assert (
        f"a spooled hit of visits was dropped, not counted: {IdempotencyKeyReusedError('2')}"
        in caplog.messages
    )
    assert server.values == {"visits": 3}
    assert spool.pending_hits() == 0


def test_rejected_row_stays_in_the_spool(spool, caplog):
    """A rejected row does not hold up the others, and counts when its key is repaired."""
    server = Server({"text": "text"})
    spool_hit(spool, "text")
    spool_hit(spool, "text", 2)
    spool_hit(spool)
    assert replay_to(spool, server) == 1
    message = "2 spooled hits of text are rejected by the store, and stay in the spool: "
    assert f"{message}{NotAnIntegerError('text')}" in caplog.messages
    assert "dropped" not in caplog.text
    assert spool.pending_hits() == 2
    assert rows(spool, "key, amount") == [("text", 3)]
    del server.values["text"]
    assert replay_to(spool, server) == 2
    assert server.values == {"visits": 1, "text": 3}


def test_replay_keeps_all_rows_if_a_reply_is_missing(spool):
    """A missing reply raises ValueError, and all rows stay."""
    for key in "ab":
        spool_hit(spool, key)
    with pytest.raises(ValueError, match="shorter"):
        run(spool.replay(Journal(0)), lambda commands: Server().execute(commands)[:-1])
    assert spool.pending_hits() == 2


@pytest.mark.parametrize("error", [AWAY, make_refusal("LOADING ")], ids=["away", "refused"])
def test_replay_keeps_rows_if_the_store_is_unavailable(spool, error):
    """All rows stay, and unsent rows are not marked as sent."""
    spool_hit(spool)
    unknown = make_hit(idempotency_key="t")
    send_without_reply(unknown)
    spool.add(unknown)
    (_, (sent,)) = rows(spool)
    with pytest.raises(type(error)) as caught:
        run(spool.replay(Journal(0)), make_failing_server(error))
    assert caught.value is error
    assert rows(spool) == [(None,), (sent,)]
    assert spool.pending_hits() == 2
    server = Server()
    assert replay_to(spool, server) == 2
    assert server.values == {"visits": 2}


def test_unanswered_replay_marks_rows_as_sent(spool):
    """The row has the time of its first attempt, and counts once."""
    server = Server()
    spool_hit(spool)

    def executed(commands):
        server.execute(commands)
        raise SILENT

    began = time.time()
    for _ in range(2):
        with pytest.raises(OutcomeUnknownError):
            run(spool.replay(Journal(0)), executed)
        ((sent,),) = rows(spool)
        assert began <= sent <= time.time()
        began = sent
        assert rows(spool) == [(began,)], "the age is that of the first attempt"
    assert replay_to(spool, server) == 1
    assert server.values == {"visits": 1}


def test_replayed_rows_are_in_the_journal(spool):
    """They can be sent again under their identities if the store loses them, with their sums."""
    journal, server, hit = Journal(), Server(), make_hit(amount=3)
    send_without_reply(hit, server=server)
    spool.add(hit)
    spool_hit(spool, "b")
    spool_hit(spool, "b", amount=4)
    spool_hit(spool, "b", idempotency_key="k")
    assert run(spool.replay(journal), server.execute) == (4, 9)
    assert rows(spool) == []
    assert journal.foreign("one") == [], "the server that counted them has not lost them"
    entries = journal.foreign("two")
    assert [entry.call.hit_count for entry in entries] == [1, 2, 1]
    promoted = Server()
    commands = [HIT.load(), HIT_ONCE.load(), *(entry.call.command() for entry in entries)]
    for lossy in (promoted, server):
        replies = lossy.execute(commands)
        assert lossy.values == {"visits": 3, "b": 6}
    journal.apply_replies(entries, replies[2:], "two")
    assert journal.foreign("two") == []
    assert journal.take_resent() == 4


def test_replay_leaves_room_in_the_journal(spool):
    """A replay of many rows stops while half of the journal is full, and goes on later."""
    journal, server = Journal(10), Server()
    for number in range(12):
        spool_hit(spool, idempotency_key=f"key {number}")
    assert run(spool.replay(journal), server.execute) == (5, 5)
    assert run(spool.replay(journal), server.execute) == (0, 0)
    journal.drop_safe(math.inf, None)
    assert run(spool.replay(journal), server.execute) == (5, 5)
    journal.drop_safe(math.inf, None)
    assert run(spool.replay(journal), server.execute) == (2, 2)
    assert server.values == {"visits": 12}


def test_rows_stay_until_they_are_confirmed(spool):
    """Rows leave the disk once the disk or the replicas of the store have them; they count once."""
    server, confirmation = Server(), Confirmation("replica", 1)
    spool_hit(spool)
    server.synced = 0
    for _ in range(2):
        with pytest.raises(OutcomeUnknownError, match="not on a replica"):
            run(spool.replay(Journal(0), confirmation), server.execute)
    assert spool.pending_hits() == 1
    server.synced = 1
    assert run(spool.replay(Journal(0), confirmation), server.execute) == (1, 1)
    assert server.values == {"visits": 1}
    assert rows(spool) == []


def test_rows_that_are_not_counted_are_not_in_the_journal(spool):
    """Rows that the store rejects stay on the disk alone."""
    journal = Journal()
    spool_hit(spool)
    assert run(spool.replay(journal), Server({"visits": "text"}).execute) == (0, 0)
    assert len(journal) == 0
    assert len(rows(spool)) == 1


def test_concurrent_replays_count_a_row_once(spool):
    """Each row counts once, and one of the replays reports it."""
    server = Server()
    spool_hit(spool)
    replay = spool.replay(Journal(0))
    answers = server.execute(next(replay))
    other = Spool(spool.path.parent)
    assert replay_to(other, server) == 1
    with pytest.raises(StopIteration) as ended:
        replay.send(answers)
    assert ended.value.value == (0, 0)
    assert server.values == {"visits": 1}


def test_replay_sends_up_to_max_rows_a_round_trip(spool, monkeypatch):
    """A long replay takes several round trips, in the order of the rows."""
    monkeypatch.setattr("flask_redis_counter.spool.spool.MAX_ROWS", 2)
    server, trips = Server({"b": "text"}), []
    for key in "abcde":
        spool_hit(spool, key)

    def execute(commands):
        trips.append([command[3] for command in commands if command[0] == "EVALSHA"])
        return server.execute(commands)

    assert run(spool.replay(Journal(0)), execute) == (4, 4)
    assert trips == [["a", "b"], ["c", "d"], ["e"]]
    assert rows(spool, "key") == [("b",)]


def test_row_older_than_the_window_is_not_sent_again(spool, caplog):
    """The store may have lost the row's identity: the log says so, and the row is kept."""
    server = Server()
    send_without_reply(old := make_hit(amount=3), make_hit(), young := make_hit("orders"))
    spool.add(old)
    spool.add(young)
    now = time.time()
    with closing(sqlite3.connect(spool.path)) as database, database:
        age = "UPDATE entry SET sent = ? WHERE key = ?"
        database.execute(age, (now - REPLAY_WINDOW - 1, "visits"))
        database.execute(age, (now - REPLAY_WINDOW + 60, "orders"))
    assert spool.pending_hits() == 3
    assert replay_to(spool, server) == 1
    assert server.values == {"orders": 1}
    assert caplog.messages[1:2] == [
        "2 spooled hits of visits were sent a day ago without a reply: they may have counted, "
        "and are not sent again"
    ]
    assert spool.pending_hits() == 0
    assert rows(spool) == [(-1,)], "the row is kept for inspection"
    assert replay_to(spool, server) == 0
    assert len(caplog.messages) == 3


def test_sum_of_a_row_is_bounded(spool, caplog):
    """A hit that would exceed the largest value fails with its own error."""
    spool_hit(spool, amount=MAX_VALUE - 1)
    assert spool_hit(spool, amount=2).error is AWAY
    assert caplog.messages[1:] == [
        "hits are not spooled: the sum of the spooled amounts would exceed a signed 64-bit integer"
    ]
    assert is_spooled(spool_hit(spool))
    assert spool_hit(spool).error is AWAY
    assert is_spooled(spool_hit(spool, "orders", MAX_VALUE))
    assert rows(spool, "amount, hits") == [(MAX_VALUE, 2), (MAX_VALUE, 1)]


def test_outage_is_two_log_lines(spool, caplog):
    """An outage logs the file and the first error once, and its end once."""
    for _ in range(2):
        for _ in range(3):
            spool_hit(spool)
        with pytest.raises(StoreUnavailableError):
            run(spool.replay(Journal(0)), make_failing_server(AWAY))
        spool_hit(spool)
        replay_to(spool, Server())
    assert [record.message for record in caplog.records] == [
        f"hits are spooled in {spool.path}: {AWAY}",
        "the store accepts hits again (suppressed before this: 3 similar lines)",
        f"hits are spooled in {spool.path}: {AWAY}",
    ]


def test_rejected_rows_are_logged_once(spool, caplog):
    """Repeated replays of rejected rows do not repeat the log line."""
    refused = StoreRejectedError("the store rejected the command: OOM")
    for rows in range(1, 11):
        spool_hit(spool)
        answers = [b""] * 4 + [refused] * rows  # INFO twice, and the two scripts
        run(spool.replay(Journal(0)), lambda _, answers=answers: answers)
    assert [record.levelname for record in caplog.records] == ["WARNING", "ERROR"]
    assert "stay in the spool: the store rejected the command: OOM" in caplog.text
    replay_to(spool, Server())
    spool.recovered()
    assert caplog.messages[2:] == [
        "the store accepts hits again (suppressed before this: 9 similar lines)",
        f"the store accepts all spooled hits again (suppressed before this: {sum(range(2, 11))} "
        "similar lines)",
    ]


def test_hits_of_several_threads_share_a_transaction(spool, monkeypatch):
    """The next writer writes all queued hits; each hit gets its own outcome."""
    writes = []
    run_transaction = spool._database.run_transaction

    def counted(work, **more):
        writes.append(more)
        return run_transaction(work, **more)

    monkeypatch.setattr(spool._database, "run_transaction", counted)
    spool_hit(spool, idempotency_key="t")
    hits = [make_hit(), make_hit(idempotency_key="t", amount=2), make_hit("orders")]
    for hit in hits:
        hit.error = AWAY
    threads = [threading.Thread(target=spool.add, args=(hit,)) for hit in hits]
    with spool._lock:
        for thread in threads:
            thread.start()
        wait_until(lambda: len(spool._queue) == 3, what="three queued hits")
    for thread in threads:
        thread.join(10)
    assert [write["adds"] for write in writes] == [True, True]
    assert is_spooled(hits[0])
    assert is_spooled(hits[2])
    assert isinstance(hits[1].error, IdempotencyKeyReusedError)
    assert spool.pending_hits() == 3


def test_pending_hits_raises_for_an_unreadable_file(spool):
    """pending_hits raises SpoolError and does not return 0."""
    spool.path.unlink()
    spool.path.mkdir()
    with pytest.raises(SpoolError, match=r"spool\.sqlite3 failed"):
        spool.pending_hits()
    assert spool_hit(spool).error is AWAY


def test_add_stops_waiting_for_a_slow_disk(spool, monkeypatch, caplog):
    """A hit that waits too long for the writing thread fails, and is not written later."""
    monkeypatch.setattr("flask_redis_counter.spool.spool.BUSY_TIMEOUT", 0.01)
    with spool._lock:
        assert spool_hit(spool).error is AWAY
    assert "is busy: its disk did not answer in time" in caplog.text
    assert not spool._queue
    assert spool.pending_hits() == 0


@pytest.mark.parametrize("done", [False, True])
def test_hit_that_another_thread_writes_at_its_deadline(spool, monkeypatch, done):
    """The hit is spooled if its row is written in time, and else unknown."""
    monkeypatch.setattr("flask_redis_counter.spool.spool.BUSY_TIMEOUT", 0.01)

    class Lock:
        def acquire(self, timeout):
            assert 0 <= timeout <= 0.01
            (entry,) = spool._take_queued()
            entry.done = done
            return False

    monkeypatch.setattr(spool, "_lock", Lock())
    hit = spool_hit(spool)
    assert hit.error.outcome == ("spooled" if done else "unknown")
