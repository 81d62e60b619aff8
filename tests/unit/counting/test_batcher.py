"""Batcher: which hits share a batch, which one sends it, and which one takes over."""

import gc

import pytest
from redis.exceptions import BusyLoadingError

from flask_redis_counter.counting.batch import Batch
from flask_redis_counter.counting.batcher import MAX_HITS, Batcher
from flask_redis_counter.counting.call import ScriptCall
from flask_redis_counter.counting.hit import PendingHit
from flask_redis_counter.errors import (
    CounterError,
    HitSpooledError,
    OutcomeUnknownError,
    StoreRejectedError,
    StoreUnavailableError,
)

from .fake_server import (
    AWAY,
    SILENT,
    TIMEOUT,
    Server,
    add_hits,
    fail_until_deadline,
    make_hit,
    make_refusal,
    send_until_done,
    values,
)


def test_lone_hit_leads_its_batch():
    """A single hit sends its batch, of one call, and gets its value."""
    batcher, server, hit = Batcher(), Server(), make_hit()
    batch = batcher.add(hit, 0.0)
    assert batch.hits == [hit]
    assert hit.is_leader
    assert send_until_done(batcher, batch, server) == []
    assert hit.result() == 1
    assert batcher.in_flight is None


def test_counted_hits_are_freed_without_garbage_collection():
    """Hits with a value leave no reference cycles, so they cause no pauses of the collector."""

    def count():
        batcher, server = Batcher(), Server()
        first = add_hits(batcher, make_hit())
        first.commands()
        add_hits(batcher, make_hit(), make_hit(idempotency_key="order-4711"))
        send_until_done(batcher, first, server)
        send_until_done(batcher, batcher.in_flight, server)

    def alive():
        return [one for one in gc.get_objects() if type(one) in (PendingHit, Batch, ScriptCall)]

    gc.collect()
    gc.disable()
    try:
        before = len(alive())
        count()
        assert len(alive()) == before
    finally:
        gc.enable()


def test_hits_during_a_batch_share_the_next_one():
    """Hits that arrive during a batch share the next; their values are in order of arrival."""
    batcher, server = Batcher(), Server()
    first = add_hits(batcher, make_hit())
    first.commands()
    hits = [make_hit(amount=amount) for amount in (1, 5, 2)]
    assert add_hits(batcher, *hits) is None
    woken = send_until_done(batcher, first, server)
    assert woken == [hits[-1]]
    assert hits[-1].is_leader
    second = batcher.in_flight
    assert len(second.commands()) == 1
    send_until_done(batcher, second, server)
    assert values(hits) == [2, 7, 9]


def test_hits_join_a_batch_until_it_is_sent():
    """Hits that arrive before the batch is sent join it."""
    batcher, server = Batcher(), Server()
    hits = [make_hit() for _ in range(3)]
    batch = add_hits(batcher, *hits)
    assert batch.hits == hits
    assert send_until_done(batcher, batch, server) == hits[1:]
    assert values(hits) == [1, 2, 3]


def test_batch_has_up_to_max_hits():
    """Hits beyond MAX_HITS are in the next batch."""
    batcher, server = Batcher(), Server()
    first = add_hits(batcher, make_hit())
    first.commands()
    hits = [make_hit() for _ in range(MAX_HITS + 3)]
    add_hits(batcher, *hits)
    send_until_done(batcher, first, server)
    assert len(batcher.in_flight.hits) == MAX_HITS
    assert send_until_done(batcher, batcher.in_flight, server)[0] is hits[-1]
    send_until_done(batcher, batcher.in_flight, server)
    assert values(hits) == list(range(2, MAX_HITS + 5))
    unsent = add_hits(batcher, *[make_hit() for _ in range(MAX_HITS + 3)])
    assert len(unsent.hits) == MAX_HITS


def test_batch_given_up_after_it_was_sent_retires_its_writer():
    """A late packet counts under a writer that is not used any more."""
    batcher, server, lost = Batcher(), Server(), make_hit()
    send_until_done(batcher, add_hits(batcher, make_hit()), server)
    batch = batcher.add(lost, 0.0)
    late = batch.commands()
    fail_until_deadline(batcher, batch, SILENT)
    with pytest.raises(OutcomeUnknownError):
        lost.result()
    following = make_hit()
    batch = batcher.add(following, 0.0)
    assert batch.commands()[0][4] != late[0][4], "the same writer"
    send_until_done(batcher, batch, server)
    server.execute(late)
    assert following.result() == 2
    assert server.values == {"visits": 3}


def test_batch_that_was_not_sent_keeps_its_writer():
    """A refused connection does not cause a new writer record in the store."""
    batcher, server = Batcher(), Server()
    first = add_hits(batcher, make_hit())
    writer = first.commands()[0][4]
    send_until_done(batcher, first, server)
    refused_hit = make_hit()
    batch = batcher.add(refused_hit, 0.0)
    fail_until_deadline(batcher, batch, AWAY)
    with pytest.raises(StoreUnavailableError):
        refused_hit.result()
    assert add_hits(batcher, make_hit()).commands()[0][4] == writer


def test_pending_returns_all_hits_without_outcome():
    """pending returns the hits without an outcome, in flight and queued."""
    batcher, server = Batcher(), Server()
    assert batcher.pending() == []
    gone, flying, queued = make_hit(), make_hit(), make_hit()
    batch = add_hits(batcher, gone, flying)
    batch.commands()
    add_hits(batcher, queued)
    batcher.expire(gone)
    assert batcher.pending() == [flying, queued]
    send_until_done(batcher, batch, server)
    assert batcher.pending() == [queued]


def test_hit_expired_before_its_batch_is_sent_is_not_counted():
    """An expired hit of an unsent batch is not counted; the other hits are."""
    batcher, server = Batcher(), Server()
    hits = [make_hit(), make_hit(amount=5), make_hit()]
    batch = add_hits(batcher, *hits)
    batcher.expire(hits[1])
    send_until_done(batcher, batch, server)
    assert values([hits[0], hits[2]]) == [1, 2]
    with pytest.raises(StoreUnavailableError, match=r"^no connection to the store in time$"):
        hits[1].result()


def test_hit_expired_in_the_queue_is_not_counted():
    """An expired hit in the queue is not counted; the other hits are."""
    batcher, server = Batcher(), Server()
    batch = add_hits(batcher, make_hit())
    batch.commands()
    hits = [make_hit(), make_hit()]
    add_hits(batcher, *hits)
    batcher.expire(hits[1])
    assert send_until_done(batcher, batch, server) == [hits[0]]
    send_until_done(batcher, batcher.in_flight, server)
    assert hits[0].result() == 2
    with pytest.raises(StoreUnavailableError):
        hits[1].result()


def test_writer_is_rotated_after_a_hit_expired_in_flight():
    """The spool may hold its call, and replaces its error: a later call needs another writer."""
    batcher, server = Batcher(), Server()
    hits = [make_hit(), make_hit()]
    batch = add_hits(batcher, *hits)
    batch.commands()
    batcher.expire(hits[0])
    hits[0].error = HitSpooledError("the hit is spooled")
    send_until_done(batcher, batch, server)
    later = add_hits(batcher, make_hit())
    send_until_done(batcher, later, server)
    writers = {command[4] for command in server.ledger}
    assert len(writers) == len(server.ledger) == 2


def test_hit_expired_in_flight_is_unknown():
    """A hit that expires in flight stays unknown, even if a reply comes later."""
    batcher, server = Batcher(), Server()
    hits = [make_hit(), make_hit()]
    batch = add_hits(batcher, *hits)
    batch.commands()
    batcher.expire(hits[1])
    send_until_done(batcher, batch, server)
    assert hits[0].result() == 1
    with pytest.raises(OutcomeUnknownError, match=r"^the store did not answer in time"):
        hits[1].result()


def test_refusal_after_a_hit_expired_in_flight_is_unknown():
    """The expired hit may be retried elsewhere, so the other hits of its call are unknown."""
    batcher = Batcher()
    hits = [make_hit(), make_hit()]
    batch = add_hits(batcher, *hits)
    batch.commands()
    batcher.expire(hits[1])
    batch.apply_replies([make_refusal("OOM command not allowed when used memory > 'maxmemory'.")])
    with pytest.raises(OutcomeUnknownError, match="OOM"):
        hits[0].result()


def test_hit_with_the_latest_deadline_takes_over():
    """A leader whose deadline is over hands the batch to the hit with the latest deadline."""
    batcher, server = Batcher(), Server()
    hits = [make_hit(deadline=10.0), make_hit(deadline=11.0), make_hit(deadline=12.0)]
    batch = add_hits(batcher, *hits)
    batch.record_failure(AWAY)
    batch.expire(10.0)
    assert batcher.finish(batch) == [hits[2]]
    assert hits[2].is_leader
    assert batcher.in_flight is batch
    assert send_until_done(batcher, batch, server) == [hits[1]]
    assert values(hits[1:]) == [1, 2]


@pytest.mark.parametrize(
    "error",
    [AWAY, make_refusal("LOADING ", BusyLoadingError), None],
    ids=["away", "loading", "script"],
)
def test_leader_expired_in_a_batch_that_continues_is_unknown(error):
    """A repeated call has the amounts of all hits, so the expired leader is unknown."""
    batcher, server = Batcher(), Server()
    early, late = make_hit(deadline=10.0), make_hit(deadline=11.0)
    batch = add_hits(batcher, early, late)
    batch.apply_replies(server.execute(batch.commands()))  # the scripts are not loaded
    if error is not None:
        batch.record_failure(error)
    batch.expire(10.0)
    assert batcher.finish(batch) == [late]
    send_until_done(batcher, batch, server)
    with pytest.raises(CounterError, match="deadline is over, but the batch continues: ") as caught:
        early.result()
    assert caught.value.outcome == "unknown" or server.values == {"visits": 1}


def test_vanished_leader_is_replaced():
    """A second after the deadline of a vanished leader, the next hit starts a new batch."""
    batcher, server = Batcher(), Server()
    lost = add_hits(batcher, make_hit())
    late = lost.commands()
    queued = make_hit(deadline=TIMEOUT + 0.5)
    assert batcher.add(queued, 0.5) is None
    batcher.expire(queued)
    assert batcher.add(make_hit(deadline=2 * TIMEOUT), TIMEOUT + 0.9) is None
    hit = make_hit(deadline=2 * TIMEOUT)
    batch = batcher.add(hit, TIMEOUT + 1.1)
    assert batch is hit.batch
    assert batch.commands()[0][4] != late[0][4]
    send_until_done(batcher, batch, server)
    server.execute(late)
    assert hit.result() == 2


def test_vanished_leader_of_an_unsent_batch_is_replaced():
    """Hits that join an abandoned batch do not postpone its end without bound."""
    batcher = Batcher()
    add_hits(batcher, make_hit())
    for second in range(1, int(5 * TIMEOUT)):
        hit = make_hit(deadline=second + TIMEOUT)
        if batcher.add(hit, float(second)) is not None:
            break
    assert second <= TIMEOUT + 2


def test_takeover_with_a_long_queue_includes_the_new_leader():
    """The hit that takes over is in the batch that it leads, also with a full queue."""
    batcher = Batcher()
    add_hits(batcher, make_hit()).commands()
    add_hits(batcher, *[make_hit(deadline=2 * TIMEOUT) for _ in range(MAX_HITS)], now=TIMEOUT)
    hit = make_hit(deadline=2 * TIMEOUT)
    batch = batcher.add(hit, TIMEOUT + 1.5)
    assert batch.hits[-1] is hit
    assert hit.is_leader
    assert len(batch.hits) == MAX_HITS


def test_leader_that_returns_after_a_takeover_gets_its_value():
    """The old batch is finished; the batch now in flight is not changed."""
    batcher, server = Batcher(), Server()
    slow = make_hit()
    old = batcher.add(slow, 0.0)
    old.commands()
    new = batcher.add(make_hit(deadline=3 * TIMEOUT), 2 * TIMEOUT)
    assert send_until_done(batcher, old, server) == []
    assert slow.result() == 1
    assert batcher.in_flight is new


def test_outage_allows_one_probe_at_a_time():
    """After a failed batch, hits fail at once while a probe is in flight."""
    batcher, server = Batcher(), Server()
    silent = add_hits(batcher, make_hit())
    silent.record_failure(AWAY)
    assert batcher.add(make_hit(), 0.0) is None, "the outage is not known yet"
    silent.expire(TIMEOUT)
    batcher.finish(silent)
    probe = batcher.add(make_hit(), 0.0)
    assert probe is not None, "no probe in flight, so this one is"
    with pytest.raises(StoreUnavailableError, match="still down"):
        batcher.add(make_hit(), 0.0)
    send_until_done(batcher, probe, server)
    assert add_hits(batcher, make_hit()) is not None
    assert batcher.add(make_hit(), 0.0) is None


def test_probe_is_not_retried():
    """The batch after a failed one ends with its first failure."""
    batcher = Batcher()
    first = add_hits(batcher, make_hit())
    first.record_failure(AWAY)
    assert not first.done
    first.expire(TIMEOUT)
    batcher.finish(first)
    probe = add_hits(batcher, make_hit())
    probe.record_failure(AWAY)
    assert probe.done


def test_error_reply_ends_an_outage():
    """A server that replies with an error is not down: later hits wait in the queue."""
    batcher = Batcher()
    batch = add_hits(batcher, make_hit())
    fail_until_deadline(batcher, batch, make_refusal("NOAUTH Authentication required."))
    add_hits(batcher, make_hit())
    assert batcher.add(make_hit(), 0.0) is None


def copy_batcher(batcher):
    """Return a batcher of the same identity, as one restored from a snapshot has."""
    copy = Batcher()
    copy._writer, copy._sequence = batcher._writer, batcher._sequence
    return copy


def count_hit(batcher, server, hit=None):
    """Count a hit, and return its value."""
    hit = hit or make_hit()
    send_until_done(batcher, add_hits(batcher, hit), server)
    return hit.result()


@pytest.mark.parametrize("ahead", [1, 2], ids=["the same number", "a later one"])
def test_copied_writer_with_a_used_number_is_renamed(ahead):
    """The copy whose number is already used takes a new name, and counts at once."""
    server, batcher = Server(), Batcher()
    assert count_hit(batcher, server) == 1
    copy = copy_batcher(batcher)
    values = [count_hit(batcher, server) for _ in range(ahead)]
    hits = [make_hit(amount=3), make_hit(amount=4)]
    batch = add_hits(copy, *hits)
    batch.apply_replies(server.execute(batch.commands()))
    assert batch.next_delay() == 0
    assert not batch.done
    send_until_done(copy, batch, server)
    assert values + [hit.result() for hit in hits] == [*range(2, ahead + 2), ahead + 4, ahead + 8]
    assert copy._writer != batcher._writer
    assert count_hit(copy, server) == count_hit(batcher, server) - 1 == ahead + 9
    assert server.values == {"visits": ahead + 10}


def test_copied_writer_with_a_lost_attempt_counts_once():
    """The lost attempt has a used number and cannot have counted; the repeat counts."""
    server, batcher = Server(), Batcher()
    count_hit(batcher, server)
    copy = copy_batcher(batcher)
    count_hit(batcher, server)
    batch = add_hits(copy, hit := make_hit())
    lost = batch.commands()
    batch.record_failure(SILENT)
    send_until_done(copy, batch, server)
    assert hit.result() == 3
    assert isinstance(server.execute(lost)[0], StoreRejectedError)
    assert server.values == {"visits": 3}


@pytest.mark.parametrize("executed", [False, True])
def test_copied_writer_with_a_passed_number_is_unknown(executed):
    """A repeat below the writer's number is unknown: an earlier attempt may have counted."""
    server, batcher = Server(), Batcher()
    count_hit(batcher, server)
    copy = copy_batcher(batcher)
    batch = add_hits(copy, hit := make_hit())
    if executed:
        server.execute(batch.commands())
    else:
        batch.commands()
    batch.record_failure(SILENT)
    batcher._sequence += 1
    count_hit(batcher, server)
    send_until_done(copy, batch, server)
    with pytest.raises(OutcomeUnknownError, match=r"an earlier attempt .* STALE"):
        hit.result()
    assert server.values == {"visits": 2 + executed}
    assert count_hit(copy, server) == 3 + executed


def test_copied_writer_with_an_expired_hit_is_not_renamed():
    """An expired hit may be spooled with its batch, which must not count under a new name."""
    server, batcher = Server(), Batcher()
    count_hit(batcher, server)
    copy = copy_batcher(batcher)
    count_hit(batcher, server)
    gone, hit = make_hit(), make_hit()
    batch = add_hits(copy, gone, hit)
    batch.commands()
    copy.expire(gone)
    send_until_done(copy, batch, server)
    for one in (gone, hit):
        with pytest.raises(OutcomeUnknownError):
            one.result()
    assert server.values == {"visits": 2}
    assert count_hit(copy, server) == 3
