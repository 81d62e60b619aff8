"""Who leaves with whom, who carries a batch, and who takes over; examples, to read."""

import pytest
from redis.exceptions import BusyLoadingError

from flask_redis_counter import (
    CounterError,
    OutcomeUnknownError,
    StoreRejectedError,
    StoreUnavailableError,
)
from flask_redis_counter.counting.batcher import MAX_HITS, Batcher

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
    combiner, server, hit = Batcher(), Server(), hit_of()
    batch = combiner.add(hit, 0.0)
    assert batch.hits == [hit]
    assert hit.leads
    assert carried(combiner, batch, server) == []
    assert hit.outcome() == 1
    assert combiner.flying is None


def test_hits_that_arrive_meanwhile_leave_together():
    """One batch is in flight; the next one gathers, and its values are in order of arrival."""
    combiner, server = Batcher(), Server()
    first = added(combiner, hit_of())
    first.commands()
    hits = [hit_of(amount=amount) for amount in (1, 5, 2)]
    assert added(combiner, *hits) is None
    woken = carried(combiner, first, server)
    assert woken == [hits[-1]]
    assert hits[-1].leads
    second = combiner.flying
    assert len(second.commands()) == 1
    carried(combiner, second, server)
    assert values(hits) == [2, 7, 9]


def test_hits_may_join_until_it_is_sent():
    """While there is no connection yet, who arrives goes along."""
    combiner, server = Batcher(), Server()
    hits = [hit_of() for _ in range(3)]
    batch = added(combiner, *hits)
    assert batch.hits == hits
    assert carried(combiner, batch, server) == hits[1:]
    assert values(hits) == [1, 2, 3]


def test_a_batch_takes_so_many():
    """What is over MAX_HITS makes the next batch."""
    combiner, server = Batcher(), Server()
    first = added(combiner, hit_of())
    first.commands()
    hits = [hit_of() for _ in range(MAX_HITS + 3)]
    added(combiner, *hits)
    carried(combiner, first, server)
    assert len(combiner.flying.hits) == MAX_HITS
    assert carried(combiner, combiner.flying, server)[0] is hits[-1]
    carried(combiner, combiner.flying, server)
    assert values(hits) == list(range(2, MAX_HITS + 5))
    unsent = added(combiner, *[hit_of() for _ in range(MAX_HITS + 3)])
    assert len(unsent.hits) == MAX_HITS


def test_a_batch_that_is_given_up_retires_its_writer():
    """What is on its way may count later, under a name that nobody uses any more."""
    combiner, server, lost = Batcher(), Server(), hit_of()
    carried(combiner, added(combiner, hit_of()), server)
    batch = combiner.add(lost, 0.0)
    late = batch.commands()
    given_up(combiner, batch, SILENT)
    with pytest.raises(OutcomeUnknownError):
        lost.outcome()
    following = hit_of()
    batch = combiner.add(following, 0.0)
    assert batch.commands()[0][4] != late[0][4], "the same writer"
    carried(combiner, batch, server)
    server.execute(late)
    assert following.outcome() == 2
    assert server.values == {"visits": 3}


def test_what_was_never_sent_keeps_the_writer():
    """A refused connection is no reason for a new record in the store."""
    combiner, server = Batcher(), Server()
    first = added(combiner, hit_of())
    writer = first.commands()[0][4]
    carried(combiner, first, server)
    refused_hit = hit_of()
    batch = combiner.add(refused_hit, 0.0)
    given_up(combiner, batch, AWAY)
    with pytest.raises(StoreUnavailableError):
        refused_hit.outcome()
    assert added(combiner, hit_of()).commands()[0][4] == writer


def test_who_waits():
    """All that have no outcome, in flight and behind it: their deadlines are to be watched."""
    combiner, server = Batcher(), Server()
    assert combiner.waiting() == []
    gone, flying, queued = hit_of(), hit_of(), hit_of()
    batch = added(combiner, gone, flying)
    batch.commands()
    added(combiner, queued)
    combiner.leave(gone)
    assert combiner.waiting() == [flying, queued]
    carried(combiner, batch, server)
    assert combiner.waiting() == [queued]


def test_a_hit_that_leaves_before_anything_is_sent():
    """It does not count, for certain, and the others do."""
    combiner, server = Batcher(), Server()
    hits = [hit_of(), hit_of(amount=5), hit_of()]
    batch = added(combiner, *hits)
    combiner.leave(hits[1])
    carried(combiner, batch, server)
    assert values([hits[0], hits[2]]) == [1, 2]
    with pytest.raises(StoreUnavailableError, match=r"^no connection to the store in time$"):
        hits[1].outcome()


def test_a_hit_that_leaves_the_queue():
    """It does not count, for certain."""
    combiner, server = Batcher(), Server()
    batch = added(combiner, hit_of())
    batch.commands()
    hits = [hit_of(), hit_of()]
    added(combiner, *hits)
    combiner.leave(hits[1])
    assert carried(combiner, batch, server) == [hits[0]]
    carried(combiner, combiner.flying, server)
    assert hits[0].outcome() == 2
    with pytest.raises(StoreUnavailableError):
        hits[1].outcome()


def test_a_hit_that_leaves_a_batch_in_flight():
    """It may have counted, also where an answer comes later."""
    combiner, server = Batcher(), Server()
    hits = [hit_of(), hit_of()]
    batch = added(combiner, *hits)
    batch.commands()
    combiner.leave(hits[1])
    carried(combiner, batch, server)
    assert hits[0].outcome() == 1
    with pytest.raises(OutcomeUnknownError, match=r"^the store was asked, and did not answer"):
        hits[1].outcome()


def test_a_hit_that_leaves_a_batch_that_is_refused_later():
    """Its caller may have it settled by then: the others' amounts count with it, or may."""
    combiner = Batcher()
    hits = [hit_of(), hit_of()]
    batch = added(combiner, *hits)
    batch.commands()
    combiner.leave(hits[1])
    batch.take([refused("OOM command not allowed when used memory > 'maxmemory'.")])
    with pytest.raises(OutcomeUnknownError, match="OOM"):
        hits[0].outcome()


def test_the_youngest_takes_over():
    """A leader whose time is over hands the batch to who has most time left."""
    combiner, server = Batcher(), Server()
    hits = [hit_of(deadline=10.0), hit_of(deadline=11.0), hit_of(deadline=12.0)]
    batch = added(combiner, *hits)
    batch.fail(AWAY)
    batch.give_up(10.0)
    assert combiner.finish(batch) == [hits[2]]
    assert hits[2].leads
    assert combiner.flying is batch
    assert carried(combiner, batch, server) == [hits[1]]
    assert values(hits[1:]) == [1, 2]


@pytest.mark.parametrize(
    "error", [AWAY, refused("LOADING ", BusyLoadingError), None], ids=["away", "loading", "script"]
)
def test_who_gives_up_what_others_go_on_with(error):
    """A call that is sent again has the amounts of all; nobody is told that his is not in it."""
    combiner, server = Batcher(), Server()
    early, late = hit_of(deadline=10.0), hit_of(deadline=11.0)
    batch = added(combiner, early, late)
    batch.take(server.execute(batch.commands()))  # the scripts are not loaded
    if error is not None:
        batch.fail(error)
    batch.give_up(10.0)
    assert combiner.finish(batch) == [late]
    carried(combiner, batch, server)
    with pytest.raises(CounterError, match="given up, and others go on with it: ") as caught:
        early.outcome()
    assert caught.value.outcome == "unknown" or server.values == {"visits": 1}


def test_a_carrier_that_vanished_is_replaced():
    """A second after its deadline the next hit begins anew, under another name."""
    combiner, server = Batcher(), Server()
    lost = added(combiner, hit_of())
    late = lost.commands()
    queued = hit_of(deadline=TIMEOUT + 0.5)
    assert combiner.add(queued, 0.5) is None
    combiner.leave(queued)
    assert combiner.add(hit_of(deadline=2 * TIMEOUT), TIMEOUT + 0.9) is None
    hit = hit_of(deadline=2 * TIMEOUT)
    batch = combiner.add(hit, TIMEOUT + 1.1)
    assert batch is hit.batch
    assert batch.commands()[0][4] != late[0][4]
    carried(combiner, batch, server)
    server.execute(late)
    assert hit.outcome() == 2


def test_a_carrier_that_vanished_early_is_replaced():
    """Hits that join a batch which nobody carries do not put off its end for ever."""
    combiner = Batcher()
    added(combiner, hit_of())
    for second in range(1, int(5 * TIMEOUT)):
        hit = hit_of(deadline=second + TIMEOUT)
        if combiner.add(hit, float(second)) is not None:
            break
    assert second <= TIMEOUT + 2


def test_a_takeover_with_a_long_queue():
    """Who is told to carry a batch is one of it, and leads it."""
    combiner = Batcher()
    added(combiner, hit_of()).commands()
    added(combiner, *[hit_of(deadline=2 * TIMEOUT) for _ in range(MAX_HITS)], now=TIMEOUT)
    hit = hit_of(deadline=2 * TIMEOUT)
    batch = combiner.add(hit, TIMEOUT + 1.5)
    assert batch.hits[-1] is hit
    assert hit.leads
    assert len(batch.hits) == MAX_HITS


def test_a_carrier_that_comes_back_after_a_takeover():
    """Its batch is settled as ever, and the batch that flies now is not touched."""
    combiner, server = Batcher(), Server()
    slow = hit_of()
    old = combiner.add(slow, 0.0)
    old.commands()
    new = combiner.add(hit_of(deadline=3 * TIMEOUT), 2 * TIMEOUT)
    assert carried(combiner, old, server) == []
    assert slow.outcome() == 1
    assert combiner.flying is new


def test_an_outage_holds_one_at_a_time():
    """After a silent batch, hits fail at once while another batch finds out; else they wait."""
    combiner, server = Batcher(), Server()
    silent = added(combiner, hit_of())
    silent.fail(AWAY)
    assert combiner.add(hit_of(), 0.0) is None, "not known to be away yet"
    silent.give_up(TIMEOUT)
    combiner.finish(silent)
    finds_out = combiner.add(hit_of(), 0.0)
    assert finds_out is not None, "nobody found out, so this one does"
    with pytest.raises(StoreUnavailableError, match="away"):
        combiner.add(hit_of(), 0.0)
    carried(combiner, finds_out, server)
    assert added(combiner, hit_of()) is not None
    assert combiner.add(hit_of(), 0.0) is None


def test_who_finds_out_does_so_at_once():
    """The batch after a silent one is over with its first failure: the others wait for it."""
    combiner = Batcher()
    first = added(combiner, hit_of())
    first.fail(AWAY)
    assert not first.over
    first.give_up(TIMEOUT)
    combiner.finish(first)
    finds_out = added(combiner, hit_of())
    finds_out.fail(AWAY)
    assert finds_out.over


def test_an_answer_ends_an_outage_whatever_it_says():
    """A server that refuses is there."""
    combiner = Batcher()
    batch = added(combiner, hit_of())
    given_up(combiner, batch, refused("NOAUTH Authentication required."))
    added(combiner, hit_of())
    assert combiner.add(hit_of(), 0.0) is None


def copied(combiner):
    """Return a copy that has the same identity, as one that is restored from a snapshot has."""
    copy = Batcher()
    copy._writer, copy._number = combiner._writer, combiner._number
    return copy


def counts(combiner, server, hit=None):
    """Count a hit, and return its value."""
    hit = hit or hit_of()
    carried(combiner, added(combiner, hit), server)
    return hit.outcome()


@pytest.mark.parametrize("ahead", [1, 2], ids=["the same number", "a later one"])
def test_a_copied_writer(ahead):
    """Who comes second with a number takes another name, and counts at once."""
    server, combiner = Server(), Batcher()
    assert counts(combiner, server) == 1
    copy = copied(combiner)
    values = [counts(combiner, server) for _ in range(ahead)]
    hits = [hit_of(amount=3), hit_of(amount=4)]
    batch = added(copy, *hits)
    batch.take(server.execute(batch.commands()))
    assert batch.pause() == 0
    assert not batch.over
    carried(copy, batch, server)
    assert values + [hit.outcome() for hit in hits] == [*range(2, ahead + 2), ahead + 4, ahead + 8]
    assert copy._writer != combiner._writer
    assert counts(copy, server) == counts(combiner, server) - 1 == ahead + 9
    assert server.values == {"visits": ahead + 10}


def test_a_copied_writer_whose_first_attempt_was_lost():
    """Its number is another's: the attempt cannot have counted, and the hit does so now."""
    server, combiner = Server(), Batcher()
    counts(combiner, server)
    copy = copied(combiner)
    counts(combiner, server)
    batch = added(copy, hit := hit_of())
    lost = batch.commands()
    batch.fail(SILENT)
    carried(copy, batch, server)
    assert hit.outcome() == 3
    assert isinstance(server.execute(lost)[0], StoreRejectedError)
    assert server.values == {"visits": 3}


@pytest.mark.parametrize("executed", [False, True])
def test_a_copied_writer_that_cannot_know(executed):
    """Others came after its number, and an attempt may have counted before: unknown."""
    server, combiner = Server(), Batcher()
    counts(combiner, server)
    copy = copied(combiner)
    batch = added(copy, hit := hit_of())
    if executed:
        server.execute(batch.commands())
    else:
        batch.commands()
    batch.fail(SILENT)
    combiner._number += 1
    counts(combiner, server)
    carried(copy, batch, server)
    with pytest.raises(OutcomeUnknownError, match=r"an earlier attempt .* STALE"):
        hit.outcome()
    assert server.values == {"visits": 2 + executed}
    assert counts(copy, server) == 3 + executed


def test_a_copied_writer_one_of_whose_hits_is_gone():
    """It may wait in a spool, with all of its batch: nothing of that counts under another name."""
    server, combiner = Server(), Batcher()
    counts(combiner, server)
    copy = copied(combiner)
    counts(combiner, server)
    gone, hit = hit_of(), hit_of()
    batch = added(copy, gone, hit)
    batch.commands()
    copy.leave(gone)
    carried(copy, batch, server)
    for one in (gone, hit):
        with pytest.raises(OutcomeUnknownError):
            one.outcome()
    assert server.values == {"visits": 2}
    assert counts(copy, server) == 3
