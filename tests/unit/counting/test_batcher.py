"""Who leaves with whom, who carries a batch, and who takes over; examples, to read."""

import pytest
from redis.exceptions import BusyLoadingError

from flask_redis_counter.counting.batcher import MAX_HITS, Batcher
from flask_redis_counter.errors import (
    CounterError,
    OutcomeUnknownError,
    StoreRejectedError,
    StoreUnavailableError,
)

from .fake_server import (
    AWAY,
    SILENT,
    TIMEOUT,
    Server,
    added,
    carried,
    given_up,
    hit_of,
    refused,
    values,
)


def test_a_lone_hit():
    """It carries its batch, of one call, and gets its value."""
    batcher, server, hit = Batcher(), Server(), hit_of()
    batch = batcher.add(hit, 0.0)
    assert batch.hits == [hit]
    assert hit.is_leader
    assert carried(batcher, batch, server) == []
    assert hit.result() == 1
    assert batcher.in_flight is None


def test_hits_that_arrive_meanwhile_leave_together():
    """One batch is in flight; the next one gathers, and its values are in order of arrival."""
    batcher, server = Batcher(), Server()
    first = added(batcher, hit_of())
    first.commands()
    hits = [hit_of(amount=amount) for amount in (1, 5, 2)]
    assert added(batcher, *hits) is None
    woken = carried(batcher, first, server)
    assert woken == [hits[-1]]
    assert hits[-1].is_leader
    second = batcher.in_flight
    assert len(second.commands()) == 1
    carried(batcher, second, server)
    assert values(hits) == [2, 7, 9]


def test_hits_may_join_until_it_is_sent():
    """While there is no connection yet, who arrives goes along."""
    batcher, server = Batcher(), Server()
    hits = [hit_of() for _ in range(3)]
    batch = added(batcher, *hits)
    assert batch.hits == hits
    assert carried(batcher, batch, server) == hits[1:]
    assert values(hits) == [1, 2, 3]


def test_a_batch_takes_so_many():
    """What is over MAX_HITS makes the next batch."""
    batcher, server = Batcher(), Server()
    first = added(batcher, hit_of())
    first.commands()
    hits = [hit_of() for _ in range(MAX_HITS + 3)]
    added(batcher, *hits)
    carried(batcher, first, server)
    assert len(batcher.in_flight.hits) == MAX_HITS
    assert carried(batcher, batcher.in_flight, server)[0] is hits[-1]
    carried(batcher, batcher.in_flight, server)
    assert values(hits) == list(range(2, MAX_HITS + 5))
    unsent = added(batcher, *[hit_of() for _ in range(MAX_HITS + 3)])
    assert len(unsent.hits) == MAX_HITS


def test_a_batch_that_is_given_up_retires_its_writer():
    """What is on its way may count later, under a name that nobody uses any more."""
    batcher, server, lost = Batcher(), Server(), hit_of()
    carried(batcher, added(batcher, hit_of()), server)
    batch = batcher.add(lost, 0.0)
    late = batch.commands()
    given_up(batcher, batch, SILENT)
    with pytest.raises(OutcomeUnknownError):
        lost.result()
    following = hit_of()
    batch = batcher.add(following, 0.0)
    assert batch.commands()[0][4] != late[0][4], "the same writer"
    carried(batcher, batch, server)
    server.execute(late)
    assert following.result() == 2
    assert server.values == {"visits": 3}


def test_what_was_never_sent_keeps_the_writer():
    """A refused connection is no reason for a new record in the store."""
    batcher, server = Batcher(), Server()
    first = added(batcher, hit_of())
    writer = first.commands()[0][4]
    carried(batcher, first, server)
    refused_hit = hit_of()
    batch = batcher.add(refused_hit, 0.0)
    given_up(batcher, batch, AWAY)
    with pytest.raises(StoreUnavailableError):
        refused_hit.result()
    assert added(batcher, hit_of()).commands()[0][4] == writer


def test_who_waits():
    """All that have no outcome, in flight and behind it: their deadlines are to be watched."""
    batcher, server = Batcher(), Server()
    assert batcher.pending() == []
    gone, flying, queued = hit_of(), hit_of(), hit_of()
    batch = added(batcher, gone, flying)
    batch.commands()
    added(batcher, queued)
    batcher.expire(gone)
    assert batcher.pending() == [flying, queued]
    carried(batcher, batch, server)
    assert batcher.pending() == [queued]


def test_a_hit_that_leaves_before_anything_is_sent():
    """It does not count, for certain, and the others do."""
    batcher, server = Batcher(), Server()
    hits = [hit_of(), hit_of(amount=5), hit_of()]
    batch = added(batcher, *hits)
    batcher.expire(hits[1])
    carried(batcher, batch, server)
    assert values([hits[0], hits[2]]) == [1, 2]
    with pytest.raises(StoreUnavailableError, match=r"^no connection to the store in time$"):
        hits[1].result()


def test_a_hit_that_leaves_the_queue():
    """It does not count, for certain."""
    batcher, server = Batcher(), Server()
    batch = added(batcher, hit_of())
    batch.commands()
    hits = [hit_of(), hit_of()]
    added(batcher, *hits)
    batcher.expire(hits[1])
    assert carried(batcher, batch, server) == [hits[0]]
    carried(batcher, batcher.in_flight, server)
    assert hits[0].result() == 2
    with pytest.raises(StoreUnavailableError):
        hits[1].result()


def test_a_hit_that_leaves_a_batch_in_flight():
    """It may have counted, also where an answer comes later."""
    batcher, server = Batcher(), Server()
    hits = [hit_of(), hit_of()]
    batch = added(batcher, *hits)
    batch.commands()
    batcher.expire(hits[1])
    carried(batcher, batch, server)
    assert hits[0].result() == 1
    with pytest.raises(OutcomeUnknownError, match=r"^the store did not answer in time"):
        hits[1].result()


def test_a_hit_that_leaves_a_batch_that_is_refused_later():
    """Its caller may have it settled by then: the others' amounts count with it, or may."""
    batcher = Batcher()
    hits = [hit_of(), hit_of()]
    batch = added(batcher, *hits)
    batch.commands()
    batcher.expire(hits[1])
    batch.apply_replies([refused("OOM command not allowed when used memory > 'maxmemory'.")])
    with pytest.raises(OutcomeUnknownError, match="OOM"):
        hits[0].result()


def test_the_youngest_takes_over():
    """A leader whose time is over hands the batch to who has most time left."""
    batcher, server = Batcher(), Server()
    hits = [hit_of(deadline=10.0), hit_of(deadline=11.0), hit_of(deadline=12.0)]
    batch = added(batcher, *hits)
    batch.record_failure(AWAY)
    batch.expire(10.0)
    assert batcher.finish(batch) == [hits[2]]
    assert hits[2].is_leader
    assert batcher.in_flight is batch
    assert carried(batcher, batch, server) == [hits[1]]
    assert values(hits[1:]) == [1, 2]


@pytest.mark.parametrize(
    "error", [AWAY, refused("LOADING ", BusyLoadingError), None], ids=["away", "loading", "script"]
)
def test_who_gives_up_what_others_go_on_with(error):
    """A call that is sent again has the amounts of all; nobody is told that his is not in it."""
    batcher, server = Batcher(), Server()
    early, late = hit_of(deadline=10.0), hit_of(deadline=11.0)
    batch = added(batcher, early, late)
    batch.apply_replies(server.execute(batch.commands()))  # the scripts are not loaded
    if error is not None:
        batch.record_failure(error)
    batch.expire(10.0)
    assert batcher.finish(batch) == [late]
    carried(batcher, batch, server)
    with pytest.raises(CounterError, match="deadline over, but the batch continues: ") as caught:
        early.result()
    assert caught.value.outcome == "unknown" or server.values == {"visits": 1}


def test_a_carrier_that_vanished_is_replaced():
    """A second after its deadline the next hit begins anew, under another name."""
    batcher, server = Batcher(), Server()
    lost = added(batcher, hit_of())
    late = lost.commands()
    queued = hit_of(deadline=TIMEOUT + 0.5)
    assert batcher.add(queued, 0.5) is None
    batcher.expire(queued)
    assert batcher.add(hit_of(deadline=2 * TIMEOUT), TIMEOUT + 0.9) is None
    hit = hit_of(deadline=2 * TIMEOUT)
    batch = batcher.add(hit, TIMEOUT + 1.1)
    assert batch is hit.batch
    assert batch.commands()[0][4] != late[0][4]
    carried(batcher, batch, server)
    server.execute(late)
    assert hit.result() == 2


def test_a_carrier_that_vanished_early_is_replaced():
    """Hits that join a batch which nobody carries do not put off its end for ever."""
    batcher = Batcher()
    added(batcher, hit_of())
    for second in range(1, int(5 * TIMEOUT)):
        hit = hit_of(deadline=second + TIMEOUT)
        if batcher.add(hit, float(second)) is not None:
            break
    assert second <= TIMEOUT + 2


def test_a_takeover_with_a_long_queue():
    """Who is told to carry a batch is one of it, and leads it."""
    batcher = Batcher()
    added(batcher, hit_of()).commands()
    added(batcher, *[hit_of(deadline=2 * TIMEOUT) for _ in range(MAX_HITS)], now=TIMEOUT)
    hit = hit_of(deadline=2 * TIMEOUT)
    batch = batcher.add(hit, TIMEOUT + 1.5)
    assert batch.hits[-1] is hit
    assert hit.is_leader
    assert len(batch.hits) == MAX_HITS


def test_a_carrier_that_comes_back_after_a_takeover():
    """Its batch is settled as ever, and the batch that flies now is not touched."""
    batcher, server = Batcher(), Server()
    slow = hit_of()
    old = batcher.add(slow, 0.0)
    old.commands()
    new = batcher.add(hit_of(deadline=3 * TIMEOUT), 2 * TIMEOUT)
    assert carried(batcher, old, server) == []
    assert slow.result() == 1
    assert batcher.in_flight is new


def test_an_outage_holds_one_at_a_time():
    """After a silent batch, hits fail at once while another batch finds out; else they wait."""
    batcher, server = Batcher(), Server()
    silent = added(batcher, hit_of())
    silent.record_failure(AWAY)
    assert batcher.add(hit_of(), 0.0) is None, "not known to be away yet"
    silent.expire(TIMEOUT)
    batcher.finish(silent)
    finds_out = batcher.add(hit_of(), 0.0)
    assert finds_out is not None, "nobody found out, so this one does"
    with pytest.raises(StoreUnavailableError, match="still down"):
        batcher.add(hit_of(), 0.0)
    carried(batcher, finds_out, server)
    assert added(batcher, hit_of()) is not None
    assert batcher.add(hit_of(), 0.0) is None


def test_who_finds_out_does_so_at_once():
    """The batch after a silent one is over with its first failure: the others wait for it."""
    batcher = Batcher()
    first = added(batcher, hit_of())
    first.record_failure(AWAY)
    assert not first.done
    first.expire(TIMEOUT)
    batcher.finish(first)
    finds_out = added(batcher, hit_of())
    finds_out.record_failure(AWAY)
    assert finds_out.done


def test_an_answer_ends_an_outage_whatever_it_says():
    """A server that refuses is there."""
    batcher = Batcher()
    batch = added(batcher, hit_of())
    given_up(batcher, batch, refused("NOAUTH Authentication required."))
    added(batcher, hit_of())
    assert batcher.add(hit_of(), 0.0) is None


def copied(batcher):
    """Return a copy that has the same identity, as one that is restored from a snapshot has."""
    copy = Batcher()
    copy._writer, copy._sequence = batcher._writer, batcher._sequence
    return copy


def counts(batcher, server, hit=None):
    """Count a hit, and return its value."""
    hit = hit or hit_of()
    carried(batcher, added(batcher, hit), server)
    return hit.result()


@pytest.mark.parametrize("ahead", [1, 2], ids=["the same number", "a later one"])
def test_a_copied_writer(ahead):
    """Who comes second with a number takes another name, and counts at once."""
    server, batcher = Server(), Batcher()
    assert counts(batcher, server) == 1
    copy = copied(batcher)
    values = [counts(batcher, server) for _ in range(ahead)]
    hits = [hit_of(amount=3), hit_of(amount=4)]
    batch = added(copy, *hits)
    batch.apply_replies(server.execute(batch.commands()))
    assert batch.next_delay() == 0
    assert not batch.done
    carried(copy, batch, server)
    assert values + [hit.result() for hit in hits] == [*range(2, ahead + 2), ahead + 4, ahead + 8]
    assert copy._writer != batcher._writer
    assert counts(copy, server) == counts(batcher, server) - 1 == ahead + 9
    assert server.values == {"visits": ahead + 10}


def test_a_copied_writer_whose_first_attempt_was_lost():
    """Its number is another's: the attempt cannot have counted, and the hit does so now."""
    server, batcher = Server(), Batcher()
    counts(batcher, server)
    copy = copied(batcher)
    counts(batcher, server)
    batch = added(copy, hit := hit_of())
    lost = batch.commands()
    batch.record_failure(SILENT)
    carried(copy, batch, server)
    assert hit.result() == 3
    assert isinstance(server.execute(lost)[0], StoreRejectedError)
    assert server.values == {"visits": 3}


@pytest.mark.parametrize("executed", [False, True])
def test_a_copied_writer_that_cannot_know(executed):
    """Others came after its number, and an attempt may have counted before: unknown."""
    server, batcher = Server(), Batcher()
    counts(batcher, server)
    copy = copied(batcher)
    batch = added(copy, hit := hit_of())
    if executed:
        server.execute(batch.commands())
    else:
        batch.commands()
    batch.record_failure(SILENT)
    batcher._sequence += 1
    counts(batcher, server)
    carried(copy, batch, server)
    with pytest.raises(OutcomeUnknownError, match=r"an earlier attempt .* STALE"):
        hit.result()
    assert server.values == {"visits": 2 + executed}
    assert counts(copy, server) == 3 + executed


def test_a_copied_writer_one_of_whose_hits_is_gone():
    """It may wait in a spool, with all of its batch: nothing of that counts under another name."""
    server, batcher = Server(), Batcher()
    counts(batcher, server)
    copy = copied(batcher)
    counts(batcher, server)
    gone, hit = hit_of(), hit_of()
    batch = added(copy, gone, hit)
    batch.commands()
    copy.expire(gone)
    carried(copy, batch, server)
    for one in (gone, hit):
        with pytest.raises(OutcomeUnknownError):
            one.result()
    assert server.values == {"visits": 2}
    assert counts(copy, server) == 3
