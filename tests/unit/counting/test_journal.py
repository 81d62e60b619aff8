"""Journal: its order, its limit, and what is sent again."""

import time

import pytest

from flask_redis_counter.counting.batcher import Batcher
from flask_redis_counter.counting.journal import Journal
from flask_redis_counter.errors import ConfigurationError, StoreRejectedError
from flask_redis_counter.store.scripts import REPLAY_WINDOW

from .fake_server import HIT_ONCE, Server, add_hits, make_hit, send_until_done


def count(batcher, server, *hits, history="one"):
    """Send hits in a batch."""
    batch = add_hits(batcher, *hits)
    while not batch.done:
        batch.apply_replies(server.execute(batch.commands(history)))
    batcher.finish(batch)


def sequences(entries):
    """Return the sequence numbers of entries."""
    return [entry.call.sequence for entry in entries]


def test_each_call_becomes_an_entry():
    """The entries of a batch are its calls, with the sums and the visitors that counted."""
    journal, server = Journal(), Server()
    batcher = Batcher(journal=journal)
    hits = [make_hit("a"), make_hit("a", 4), make_hit("b", 2), make_hit("b", idempotency_key="k")]
    count(batcher, server, *hits)
    calls = [entry.call for entry in journal.foreign("two")]
    found = [(call.key, call.amount, call.idempotency_key, call.hit_count) for call in calls]
    assert found == [("a", 5, None, 2), ("b", 2, None, 1), ("b", 1, "k", 1)]
    assert len(journal) == 3


def test_replayed_hit_is_an_entry():
    """The reply to the first sender of an idempotency key may have been lost."""
    server = Server()
    count(Batcher(journal=Journal()), server, make_hit("a", 2, idempotency_key="k"))
    journal, again = Journal(), make_hit("a", 2, idempotency_key="k")
    count(Batcher(journal=journal), server, again)
    assert again.replayed
    promoted = Server()
    promoted.execute([HIT_ONCE.load()])
    for _ in range(2):
        (entry,) = journal.foreign("two")
        promoted.execute([entry.call.command()])
        assert promoted.values == {"a": 2}


def test_older_call_from_the_spool_does_not_replace_the_last_one():
    """A later call has to follow the newest entry, whatever was added last."""
    journal, server = Journal(), Server()
    batcher = Batcher(journal=journal)
    for _ in range(2):
        count(batcher, server, make_hit("a"))
    first = journal.foreign("two")[0].record
    assert journal.last_sequence("a", first[2]) == 2
    journal.add_counted([first[:10]], "one")
    assert journal.last_sequence("a", first[2]) == 2


def test_room_leaves_half_of_the_journal_to_hits():
    """A replay may fill half of it; a journal of any size has room for one call."""
    journal = Journal(10)
    assert journal.room == 5
    count(Batcher(journal=journal), Server(), *(make_hit(name) for name in "abcd"))
    assert journal.room == 1
    count(Batcher(journal=journal), Server(), *(make_hit(name) for name in "abcd"))
    assert journal.room == 0
    assert Journal(1).room == 1
    assert Journal(0).room is None


def test_entries_whose_records_expire_are_not_sent_again(monkeypatch, caplog):
    """After a day the store may have forgotten that it counted them: they could count twice."""
    journal, server = Journal(), Server()
    batcher = Batcher(journal=journal)
    count(batcher, server, make_hit("a"))
    now = time.monotonic()
    monkeypatch.setattr("time.monotonic", lambda: now + REPLAY_WINDOW - 60)
    count(batcher, server, make_hit("a", 2), make_hit("a", 3))
    assert len(journal.foreign("two")) == 2
    monkeypatch.setattr("time.monotonic", lambda: now + REPLAY_WINDOW + 60)
    assert [entry.call.amount for entry in journal.foreign("two")] == [5]
    assert journal.state().dropped_hits == 1
    assert "1 hits were acknowledged a day ago" in caplog.text


def test_calls_name_the_last_entry_of_their_counter():
    """A call has to follow the writer's last entry on its counter."""
    journal, server = Journal(), Server()
    batcher = Batcher(journal=journal)
    count(batcher, server, make_hit("a"))
    count(batcher, server, make_hit("b"))
    count(batcher, server, make_hit("a"))
    earlier = [(entry.call.key, entry.call.earlier) for entry in journal.foreign("two")]
    assert earlier == [("a", 0), ("b", 0), ("a", 1)]


def test_lost_calls_are_sent_before_the_next_one():
    """A store with another history that lacks calls gets them again, in the same round trip."""
    journal, server = Journal(), Server()
    batcher = Batcher(journal=journal)
    for amount in (1, 2, 3):
        count(batcher, server, make_hit("a", amount))
    promoted = Server()
    late = make_hit("a", 10)
    count(batcher, promoted, late, history="two")
    assert late.result() == promoted.values["a"] == 16
    assert journal.foreign("two") == []
    assert journal.take_resent() == 3
    assert journal.take_resent() == 0
    assert journal.state().reconciliations == 1


def test_deleted_calls_are_not_sent_again():
    """A store of the same history that lacks calls has deleted them."""
    journal = Journal()
    batcher = Batcher(journal=journal)
    for _ in range(3):
        count(batcher, Server(), make_hit("a"), history="one")
    assert journal.state().resent_hits == 0
    late, server = make_hit("a"), Server()
    count(batcher, server, late, history="one")
    assert late.result() == 1


def test_unknown_history_counts_as_another_one():
    """Without the right to INFO a store that lacks calls gets them again."""
    journal = Journal()
    batcher = Batcher(journal=journal)
    count(batcher, Server(), make_hit("a"), history="")
    late, server = make_hit("a"), Server()
    count(batcher, server, late, history="")
    assert late.result() == 2


def test_drop_safe_stops_at_a_later_and_at_a_foreign_entry():
    """Only entries before the time, and of the history, leave the journal."""
    journal, server = Journal(), Server()
    batcher = Batcher(journal=journal)
    count(batcher, server, make_hit("a"))
    between = journal.now()
    count(batcher, server, make_hit("a"))
    journal.drop_safe(between, "two")
    assert len(journal) == 2
    journal.drop_safe(between, "one")
    assert sequences(journal.foreign("two")) == [2]
    journal.drop_safe(journal.now(), None)
    assert len(journal) == 0
    assert journal.last_sequence("a", batcher._writer) == 0


def test_full_journal_drops_the_oldest(caplog):
    """At its limit a journal drops the oldest entry, and warns."""
    journal, server = Journal(2), Server()
    batcher = Batcher(journal=journal)
    for _ in range(4):
        count(batcher, server, make_hit("a"))
    assert sequences(journal.foreign("two")) == [3, 4]
    assert journal.state().dropped_hits == 2
    assert "is full (2)" in caplog.text


def test_full_journal_rejects():
    """With `reject` a hit is rejected before it is sent."""
    journal, server = Journal(1, "reject"), Server()
    batcher = Batcher(journal=journal)
    count(batcher, server, make_hit("a"))
    with pytest.raises(StoreRejectedError, match="is full"):
        batcher.add(make_hit("a"), 0.0)
    journal.drop_safe(journal.now(), None)
    count(batcher, server, make_hit("a"))
    assert server.values["a"] == 2


def test_full_journal_that_rejects_drops_nothing():
    """Calls that were in flight when it became full are added, and none leaves it."""
    journal, server = Journal(2, "reject"), Server()
    batchers = [Batcher(journal=journal) for _ in range(4)]
    batches = [add_hits(batcher, make_hit("a")) for batcher in batchers]
    for batcher, batch in zip(batchers, batches, strict=True):
        send_until_done(batcher, batch, server)
    assert len(journal) == 4
    assert journal.rejects
    assert journal.state().dropped_hits == 0


def test_journal_of_size_0_stays_empty():
    """A limit of 0 turns the journal off."""
    journal, server = Journal(0, "reject"), Server()
    batcher = Batcher(journal=journal)
    for _ in range(3):
        count(batcher, server, make_hit("a"))
    assert len(journal) == 0
    assert not journal.rejects


@pytest.mark.parametrize("limit", [-1, 1_000_001, "many", None])
def test_invalid_limits(limit):
    """A limit out of bounds is an error."""
    with pytest.raises(ConfigurationError, match="COUNTER_JOURNAL_MAX"):
        Journal(limit)


def test_lost_calls_that_cannot_be_sent_again_fail_the_hit():
    """A store that does not take them again keeps the hit from counting."""
    journal = Journal()
    batcher = Batcher(journal=journal)
    count(batcher, Server(), make_hit("a"))
    full = Server({"a": 2**63 - 1})
    late = make_hit("a")
    batch = add_hits(batcher, late)
    for _ in range(3):
        batch.apply_replies(full.execute(batch.commands("two")))
    batch.expire(1e9)
    assert late.error is not None
    assert late.error.outcome == "not_counted"


def test_send_until_done_is_unchanged_without_a_journal():
    """A batcher without a journal names no earlier call."""
    batcher, server = Batcher(), Server()
    for _ in range(2):
        send_until_done(batcher, add_hits(batcher, make_hit("a")), server)
    assert server.values["a"] == 2
    assert all(str(command[5]).count(":") == 1 for command in server.ledger)
