"""What becomes of a batch: its calls, their answers, refusals and repeats."""

import pytest
from redis.exceptions import BusyLoadingError, ResponseError

from flask_redis_counter import (
    CounterOverflowError,
    NotAnIntegerError,
    OutcomeUnknownError,
    TokenReusedError,
)
from flask_redis_counter.batch import LONGEST_PAUSE
from flask_redis_counter.combiner import Combiner
from flask_redis_counter.rules import MAX_VALUE

from .simulation import AWAY, SILENT, Server, added, carried, hit_of, refused, values


def test_each_counter_is_a_call():
    """Hits of several counters share a round trip, and a bad key harms no other."""
    combiner, server = Combiner(), Server({"text": "text"})
    hits = [hit_of("a"), hit_of("text"), hit_of("b", 3), hit_of("a")]
    batch = added(combiner, *hits)
    assert len(batch.commands()) == 3
    carried(combiner, batch, server)
    assert values([hits[0], hits[2], hits[3]]) == [1, 3, 2]
    with pytest.raises(NotAnIntegerError):
        hits[1].outcome()


def test_a_hit_with_a_token_is_a_call_of_its_own():
    """The same token counts once, in this batch and in later ones; others count beside it."""
    combiner, server = Combiner(), Server()
    hits = [hit_of(), hit_of(token="one"), hit_of(), hit_of(token="two")]
    batch = added(combiner, *hits)
    assert len(batch.commands()) == 3
    carried(combiner, batch, server)
    assert values(hits) == [1, 3, 2, 4]
    again = hit_of(token="one")
    carried(combiner, combiner.add(again, 0.0), server)
    assert (again.outcome(), again.replayed) == (3, True)
    assert server.values == {"visits": 4}


def test_a_token_twice_in_one_batch():
    """One of the two counted, and the other is told that it is a replay."""
    combiner, server = Combiner(), Server()
    hits = [hit_of(token="one"), hit_of(token="one")]
    carried(combiner, added(combiner, *hits), server)
    assert values(hits) == [1, 1]
    assert [hit.replayed for hit in hits] == [False, True]


def test_a_token_with_another_amount():
    """It stands for what it counted first; nothing else counts under it."""
    combiner, server = Combiner(), Server()
    hits = [hit_of(token="one", amount=2), hit_of(token="one")]
    carried(combiner, added(combiner, *hits), server)
    assert hits[0].outcome() == 2
    with pytest.raises(TokenReusedError) as caught:
        hits[1].outcome()
    assert caught.value.amount == 2
    assert server.values == {"visits": 2}


def test_a_batch_that_is_sent_again_counts_once():
    """The number is the same, and so is the answer."""
    combiner, server, hit = Combiner(), Server(), hit_of()
    batch = combiner.add(hit, 0.0)
    batch.take(server.execute(batch.commands()))  # the scripts are not loaded
    server.execute(batch.commands())
    batch.fail(SILENT)
    carried(combiner, batch, server)
    assert hit.outcome() == 1
    assert server.values == {"visits": 1}


def test_a_late_packet_counts_nothing():
    """What arrives after its batch was settled, and another one after it, is stale."""
    combiner, server = Combiner(), Server()
    carried(combiner, added(combiner, hit_of()), server)
    batch = added(combiner, hit_of())
    late = batch.commands()
    batch.fail(SILENT)
    carried(combiner, batch, server)
    server.execute(late)
    carried(combiner, added(combiner, hit_of()), server)
    (answer,) = server.execute(late)
    assert "STALE" in str(answer)
    assert server.values == {"visits": 3}


def test_an_overflow_of_several_splits():
    """As many hits count as there is room for; the others are told that they did not."""
    combiner, server = Combiner(), Server({"visits": MAX_VALUE - 5})
    hits = [hit_of(amount=amount) for amount in (3, 4, 2, 1)]
    carried(combiner, added(combiner, *hits), server)
    assert values([hits[0], hits[2]]) == [MAX_VALUE - 2, MAX_VALUE]
    for hit in (hits[1], hits[3]):
        with pytest.raises(CounterOverflowError):
            hit.outcome()
    assert server.values == {"visits": MAX_VALUE}


def test_amounts_that_do_not_fit_together():
    """Amounts whose sum no counter holds are not added up."""
    combiner, server = Combiner(), Server({"visits": -MAX_VALUE})
    hits = [hit_of(amount=MAX_VALUE), hit_of(amount=MAX_VALUE), hit_of()]
    batch = added(combiner, *hits)
    assert len(batch.commands()) > 1
    carried(combiner, batch, server)
    assert sum(hit.error is None for hit in hits) == 2
    assert server.values["visits"] == -MAX_VALUE + sum(h.amount for h in hits if h.error is None)


def test_an_answer_that_is_none():
    """What is no integer is no success: unknown, and the writer retires."""
    combiner = Combiner()
    hits = [hit_of(), hit_of(token="one")]
    batch = added(combiner, *hits)
    batch.commands()
    batch.take([b"OK", b"OK"])
    assert batch.over
    combiner.finish(batch)
    for hit in hits:
        with pytest.raises(OutcomeUnknownError, match="no integer"):
            hit.outcome()


def test_a_refusal_after_an_unknown_attempt_is_unknown():
    """The first attempt may have counted, or may yet."""
    combiner, hit = Combiner(), hit_of()
    batch = combiner.add(hit, 0.0)
    batch.commands()
    batch.fail(SILENT)
    batch.take([refused("OOM command not allowed when used memory > 'maxmemory'.")])
    combiner.finish(batch)
    with pytest.raises(OutcomeUnknownError, match="OOM"):
        hit.outcome()


@pytest.mark.parametrize(
    "said",
    [
        "LOADING Redis is loading",
        "BUSY Redis is busy",
        "TRYAGAIN later",
        "CLUSTERDOWN",
        "MASTERDOWN ",
    ],
)
def test_a_refusal_that_passes_is_asked_again(said):
    """Nothing was executed, and soon it will be."""
    combiner, server, hit = Combiner(), Server(), hit_of()
    batch = combiner.add(hit, 0.0)
    batch.commands()
    loading = said.startswith("LOADING")
    batch.take([refused(f"{said} ", BusyLoadingError if loading else ResponseError)])
    assert not batch.over
    carried(combiner, batch, server)
    assert hit.outcome() == 1


@pytest.mark.parametrize("durability", ["fsync", "replica"])
def test_a_hit_waits_for_what_it_asked_for(durability):
    """An answer that is not on the disk, or the replica, is none yet; the repeat counts once."""
    combiner, server, hit = Combiner(durability, 100), Server(), hit_of()
    batch = combiner.add(hit, 0.0)
    batch.take(server.execute(batch.commands()))
    server.synced = 0
    batch.take(server.execute(batch.commands()))
    assert hit.waits
    server.synced = 1
    carried(combiner, batch, server)
    assert hit.outcome() == 1
    assert server.values == {"visits": 1}


def test_pauses_grow_and_are_bounded():
    """However long an outage is."""
    batch = added(Combiner(), hit_of())
    longest = 0.0
    for _ in range(2000):
        batch.fail(AWAY)
        longest = max(longest, batch.pause())
    assert LONGEST_PAUSE / 2 < longest <= LONGEST_PAUSE


def test_errors_are_not_shared():
    """Each hit raises an object of its own, with the same cause."""
    combiner = Combiner()
    hits = [hit_of("text"), hit_of("text")]
    batch = added(combiner, *hits)
    carried(combiner, batch, Server({"text": "text"}))
    errors = []
    for hit in (*hits, hits[0]):
        with pytest.raises(NotAnIntegerError) as caught:
            hit.outcome()
        errors.append(caught.value)
    assert len({id(error) for error in errors}) == 3
    assert {(str(error), error.key) for error in errors} == {(str(errors[0]), "text")}
