"""What becomes of a batch: its calls, their answers, refusals and repeats."""

import pytest
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    NoScriptError,
    ReadOnlyError,
    ResponseError,
    TryAgainError,
)

from flask_redis_counter.counting.batch import BACKOFF, Batch
from flask_redis_counter.counting.batcher import Batcher
from flask_redis_counter.counting.hit import PendingHit
from flask_redis_counter.counting.visitors import VisitorCache
from flask_redis_counter.errors import (
    CounterOverflowError,
    IdempotencyKeyReusedError,
    NotAnIntegerError,
    OutcomeUnknownError,
    StoreRejectedError,
    StoreUnavailableError,
)
from flask_redis_counter.series import current_hour
from flask_redis_counter.validation import MAX_VALUE

from .fake_server import (
    AWAY,
    HIT,
    SILENT,
    TIMEOUT,
    Server,
    added,
    carried,
    hit_of,
    refused,
    values,
)

NOSCRIPT = refused("NOSCRIPT No matching script", NoScriptError)


def test_each_counter_is_a_call():
    """Hits of several counters share a round trip, and a bad key harms no other."""
    batcher, server = Batcher(), Server({"text": "text"})
    hits = [hit_of("a"), hit_of("text"), hit_of("b", 3), hit_of("a")]
    batch = added(batcher, *hits)
    assert len(batch.commands()) == 3
    carried(batcher, batch, server)
    assert values([hits[0], hits[2], hits[3]]) == [1, 3, 2]
    with pytest.raises(NotAnIntegerError):
        hits[1].result()


def test_a_hit_with_a_token_is_a_call_of_its_own():
    """The same token counts once, in this batch and in later ones; others count beside it."""
    batcher, server = Batcher(), Server()
    hits = [hit_of(), hit_of(idempotency_key="one"), hit_of(), hit_of(idempotency_key="two")]
    batch = added(batcher, *hits)
    assert len(batch.commands()) == 3
    carried(batcher, batch, server)
    assert values(hits) == [1, 3, 2, 4]
    again = hit_of(idempotency_key="one")
    carried(batcher, batcher.add(again, 0.0), server)
    assert (again.result(), again.replayed) == (3, True)
    assert server.values == {"visits": 4}


def test_a_token_twice_in_one_batch():
    """One of the two counted, and the other is told that it is a replay."""
    batcher, server = Batcher(), Server()
    hits = [hit_of(idempotency_key="one"), hit_of(idempotency_key="one")]
    carried(batcher, added(batcher, *hits), server)
    assert values(hits) == [1, 1]
    assert [hit.replayed for hit in hits] == [False, True]


def test_a_token_with_another_amount():
    """It stands for what it counted first; nothing else counts under it."""
    batcher, server = Batcher(), Server()
    hits = [hit_of(idempotency_key="one", amount=2), hit_of(idempotency_key="one")]
    carried(batcher, added(batcher, *hits), server)
    assert hits[0].result() == 2
    with pytest.raises(IdempotencyKeyReusedError) as caught:
        hits[1].result()
    assert caught.value.amount == 2
    assert server.values == {"visits": 2}


def test_a_batch_that_is_sent_again_counts_once():
    """The number is the same, and so is the answer."""
    batcher, server, hit = Batcher(), Server(), hit_of()
    batch = batcher.add(hit, 0.0)
    batch.apply_replies(server.execute(batch.commands()))  # the scripts are not loaded
    server.execute(batch.commands())
    batch.record_failure(SILENT)
    carried(batcher, batch, server)
    assert hit.result() == 1
    assert server.values == {"visits": 1}


def test_a_late_packet_counts_nothing():
    """What arrives after its batch was settled, and another one after it, is stale."""
    batcher, server = Batcher(), Server()
    carried(batcher, added(batcher, hit_of()), server)
    batch = added(batcher, hit_of())
    late = batch.commands()
    batch.record_failure(SILENT)
    carried(batcher, batch, server)
    server.execute(late)
    carried(batcher, added(batcher, hit_of()), server)
    (answer,) = server.execute(late)
    assert "STALE" in str(answer)
    assert server.values == {"visits": 3}


def test_an_overflow_of_several_splits():
    """As many hits count as there is room for; the others are told that they did not."""
    batcher, server = Batcher(), Server({"visits": MAX_VALUE - 5})
    hits = [hit_of(amount=amount) for amount in (3, 4, 2, 1)]
    carried(batcher, added(batcher, *hits), server)
    assert values([hits[0], hits[2]]) == [MAX_VALUE - 2, MAX_VALUE]
    for hit in (hits[1], hits[3]):
        with pytest.raises(CounterOverflowError):
            hit.result()
    assert server.values == {"visits": MAX_VALUE}


def test_an_overflow_of_two():
    """The one that fits counts."""
    batcher, server = Batcher(), Server({"visits": MAX_VALUE - 5})
    hits = [hit_of(amount=6), hit_of(amount=5)]
    carried(batcher, added(batcher, *hits), server)
    assert hits[1].result() == MAX_VALUE
    with pytest.raises(CounterOverflowError):
        hits[0].result()


def test_amounts_that_do_not_fit_together():
    """Amounts whose sum no counter holds are not added up."""
    batcher, server = Batcher(), Server({"visits": -MAX_VALUE})
    hits = [hit_of(amount=MAX_VALUE), hit_of(amount=MAX_VALUE), hit_of()]
    batch = added(batcher, *hits)
    assert len(batch.commands()) > 1
    carried(batcher, batch, server)
    assert sum(hit.error is None for hit in hits) == 2
    assert server.values["visits"] == -MAX_VALUE + sum(h.amount for h in hits if h.error is None)


def test_an_answer_that_is_none():
    """What is no integer is no success: unknown, and the writer retires."""
    batcher = Batcher()
    hits = [hit_of(), hit_of(idempotency_key="one")]
    batch = added(batcher, *hits)
    batch.commands()
    batch.apply_replies([b"OK", b"OK"])
    assert batch.done
    batcher.finish(batch)
    for hit in hits:
        with pytest.raises(OutcomeUnknownError, match="malformed reply"):
            hit.result()


def test_an_answer_too_few():
    """It is not taken for another call's."""
    batcher = Batcher()
    batch = added(batcher, hit_of("a"), hit_of("b"))
    batch.commands()
    with pytest.raises(ValueError, match="shorter"):
        batch.apply_replies([b"1"])


def test_a_refusal_after_an_unknown_attempt_is_unknown():
    """The first attempt may have counted, or may yet."""
    batcher, hit = Batcher(), hit_of()
    batch = batcher.add(hit, 0.0)
    batch.commands()
    batch.record_failure(SILENT)
    batch.apply_replies([refused("OOM command not allowed when used memory > 'maxmemory'.")])
    batcher.finish(batch)
    with pytest.raises(OutcomeUnknownError, match="OOM") as caught:
        hit.result()
    assert isinstance(caught.value.__cause__, StoreRejectedError)


def test_a_refusal_beside_an_answer_that_is_none():
    """Whose answer was whose, nobody knows."""
    batcher = Batcher()
    hits = [hit_of("a"), hit_of("b")]
    batch = added(batcher, *hits)
    batch.commands()
    batch.apply_replies([b"OK", refused("BUSY Redis is busy")])
    batch.apply_replies([refused("OOM command not allowed when used memory > 'maxmemory'.")])
    for hit in hits:
        with pytest.raises(OutcomeUnknownError):
            hit.result()


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("Redis is loading", BusyLoadingError),
        ("BUSY Redis is busy", ResponseError),
        ("later", TryAgainError),
        ("The cluster is down", ClusterDownError),
        ("Link with MASTER is down", MasterDownError),
        ("You can't write against a read only replica.", ReadOnlyError),
        ("Error running script: -READONLY You can't write", ResponseError),
        ("UNBLOCKED force unblock from blocking operation", ResponseError),
    ],
)
def test_a_refusal_that_passes_is_asked_again(said, kind):
    """Nothing was executed, and soon it will be, perhaps by another server."""
    batcher, server, hit = Batcher(), Server(), hit_of()
    batch = batcher.add(hit, 0.0)
    batch.commands()
    batch.apply_replies([refused(said, kind)])
    assert not batch.done
    carried(batcher, batch, server)
    assert hit.result() == 1


def test_a_connection_that_is_not_authenticated_any_more():
    """A new one introduces itself, once."""
    batch = added(Batcher(), hit_of())
    batch.commands()
    batch.record_failure(refused("Authentication required.", AuthenticationError))
    assert not batch.done
    batch.record_failure(refused("Authentication required.", AuthenticationError))
    assert batch.done


def test_a_server_that_takes_no_hits_is_as_good_as_none():
    """After a batch that only heard so, one batch at a time finds out, at once."""
    batcher = Batcher()
    batch = added(batcher, hit_of())
    batch.commands()
    batch.apply_replies([refused("You can't write against a read only replica.", ReadOnlyError)])
    batch.expire(TIMEOUT)
    batcher.finish(batch)
    finds_out = added(batcher, hit_of())
    with pytest.raises(StoreUnavailableError, match="still down"):
        batcher.add(hit_of(), 0.0)
    finds_out.commands()
    finds_out.apply_replies(
        [refused("You can't write against a read only replica.", ReadOnlyError)]
    )
    assert finds_out.done


def test_a_refusal_of_the_whole_batch():
    """There is no use in going on where it lasts; where it passes, there is."""
    batch = added(Batcher(), hit_of())
    batch.commands()
    batch.record_failure(refused("LOADING Redis is loading", BusyLoadingError))
    assert not batch.done
    batch.record_failure(refused("NOAUTH Authentication required."))
    assert batch.done


def test_a_refusal_that_lasts_too_long():
    """It is what the caller hears of when the time is over."""
    batcher, hit = Batcher(), hit_of()
    batch = added(batcher, hit)
    batch.commands()
    batch.apply_replies([refused("BUSY Redis is busy")])
    batch.expire(hit.deadline)
    with pytest.raises(StoreRejectedError, match="BUSY Redis is busy"):
        hit.result()


def test_a_script_that_is_not_loaded_in_time():
    """Nothing was counted, and the next hit finds it loaded, or loads it."""
    batcher, hit = Batcher(), hit_of()
    batch = added(batcher, hit)
    batch.commands()
    batch.apply_replies([NOSCRIPT])
    batch.expire(hit.deadline)
    with pytest.raises(StoreUnavailableError, match="no time to load the counting script"):
        hit.result()


def test_a_store_that_forgets_the_script_at_once():
    """It was loaded right before: the store is the one to blame."""
    batcher, hit = Batcher(), hit_of()
    batch = added(batcher, hit)
    batch.commands()
    batch.apply_replies([NOSCRIPT])
    assert len(batch.commands()) == 3
    batch.apply_replies([b"", b"", NOSCRIPT])
    assert len(batch.commands()) == 3
    batch.apply_replies([b"", b"", refused("BUSY Redis is busy")])
    assert len(batch.commands()) == 1, "it is there"
    batch.apply_replies([NOSCRIPT])
    batch.commands()
    batch.apply_replies([b"", b"", NOSCRIPT])
    batch.expire(hit.deadline)
    with pytest.raises(StoreRejectedError, match="the store does not accept the counting script"):
        hit.result()


@pytest.mark.parametrize("durability", ["fsync", "replica"])
def test_a_hit_waits_for_what_it_asked_for(durability):
    """An answer that is not on the disk, or the replica, is none yet; the repeat counts once."""
    batcher, server, hit = Batcher(durability, 100), Server(), hit_of()
    batch = batcher.add(hit, 0.0)
    batch.apply_replies(server.execute(batch.commands()))
    server.synced = 0
    batch.apply_replies(server.execute(batch.commands()))
    assert hit.is_pending
    server.synced = 1
    carried(batcher, batch, server)
    assert hit.result() == 1
    assert server.values == {"visits": 1}


@pytest.mark.parametrize(
    ("durability", "command"),
    [("memory", None), ("fsync", ("WAITAOF", 1, 0, 100)), ("replica", ("WAIT", 1, 100))],
)
def test_what_a_batch_asks_for(durability, command):
    """The server's own disk, or one replica; neither where its answer is enough."""
    _, *waits = added(Batcher(durability, 100), hit_of()).commands()
    assert waits == [command] * (command is not None)


@pytest.mark.parametrize(("durability", "where"), [("fsync", "the disk"), ("replica", "a replica")])
@pytest.mark.parametrize("ends_with", ["nothing", "a refusal"])
def test_a_hit_that_is_not_kept_in_time(durability, where, ends_with):
    """It may have counted, whatever a repeat is answered."""
    hit, server = hit_of(), Server()
    server.execute([HIT.load()])
    server.synced = 0
    batch = added(Batcher(durability, 100), hit)
    batch.apply_replies(server.execute(batch.commands()))
    if ends_with == "nothing":
        batch.expire(hit.deadline)
        said = f"^counted, but within 100 ms it was not on {where}$"
    else:
        batch.apply_replies([refused("OOM"), 0])
        said = "^an earlier attempt was not answered; then: .*OOM"
    with pytest.raises(OutcomeUnknownError, match=said):
        hit.result()


def test_pauses_grow_and_are_bounded():
    """However long an outage is."""
    batch = added(Batcher(), hit_of())
    longest = 0.0
    for _ in range(2000):
        batch.record_failure(AWAY)
        longest = max(longest, batch.next_delay())
    assert BACKOFF.maximum / 2 < longest <= BACKOFF.maximum


def test_each_pause_is_twice_the_one_before(monkeypatch):
    """Up to the longest; the dice say how much of it is waited for."""
    monkeypatch.setattr("random.uniform", lambda least, most: (least, most))
    batch = added(Batcher(), hit_of())
    pauses = []
    for _ in range(6):
        batch.record_failure(AWAY)
        pauses.append(batch.next_delay())
    assert pauses == [(0, most) for most in (0.01, 0.02, 0.04, 0.08, 0.1, 0.1)]


def test_no_pause_before_the_script_is_loaded(monkeypatch):
    """Nothing is wrong with the store; where it forgets the script at once, something is."""
    monkeypatch.setattr("random.uniform", lambda least, most: (least, most))
    batch = added(Batcher(), hit_of())
    batch.commands()
    batch.apply_replies([NOSCRIPT])
    assert batch.next_delay() == 0.0
    batch.apply_replies([b"", b"", NOSCRIPT])
    assert batch.next_delay() == (0, 0.02)


def test_no_time_at_all():
    """What was never sent did not count."""
    hit = hit_of()
    added(Batcher(), hit).expire(hit.deadline)
    with pytest.raises(StoreUnavailableError, match="no time to reach the store"):
        hit.result()


def test_amounts_that_just_fit_together():
    """They are one call."""
    assert len(added(Batcher(), hit_of(amount=MAX_VALUE - 1), hit_of()).commands()) == 1


def test_errors_are_not_shared():
    """Each hit raises an object of its own, with the same cause."""
    batcher = Batcher()
    hits = [hit_of("text"), hit_of("text")]
    batch = added(batcher, *hits)
    carried(batcher, batch, Server({"text": "text"}))
    errors = []
    for hit in (*hits, hits[0]):
        with pytest.raises(NotAnIntegerError) as caught:
            hit.result()
        errors.append(caught.value)
    assert len({id(error) for error in errors}) == 3
    assert {(str(error), error.key) for error in errors} == {(str(errors[0]), "text")}


def test_visitors_that_the_store_does_not_know():
    """The same number goes out again at once, with all visitors."""
    reported = VisitorCache().for_counter("{a}")
    reported.renew(current_hour())
    reported.add(["x"], reported.mark)
    hit = PendingHit("{a}", 1, None, TIMEOUT, visitor="x", reported=reported)
    batch = Batch([hit], "writer", 7, "memory", 0, is_probe=False)
    [left_out] = batch.commands()
    mark = reported.mark
    assert not batch.apply_replies([refused("FORGOTTEN the visitors")])
    assert batch.next_delay() == 0
    [whole] = batch.commands()
    assert whole[3:9] == left_out[3:9]
    assert whole[11:15] == left_out[9:13], "the same number, amount, hour and limit"
    assert left_out[-2:] == (reported.cache_id, mark)
    assert (whole[15:18], whole[-1]) == ((reported.cache_id, reported.mark, 0), "x")
    batch.apply_replies([b"1"])
    assert hit.result() == 1


def test_visitors_that_there_was_no_time_to_tell():
    """Not counted: the store refuses before it changes anything."""
    reported = VisitorCache().for_counter("{a}")
    reported.renew(current_hour())
    reported.add(["x"], reported.mark)
    hit = PendingHit("{a}", 1, None, TIMEOUT, visitor="x", reported=reported)
    batch = Batch([hit], "writer", 7, "memory", 0, is_probe=False)
    batch.commands()
    batch.apply_replies([refused("FORGOTTEN the visitors")])
    batch.expire(TIMEOUT)
    with pytest.raises(StoreUnavailableError, match="no time"):
        hit.result()


@pytest.mark.parametrize(
    "said", ["upstream failure", "Connection timed out", "server closed connection", "WHATEVER x"]
)
def test_an_error_that_no_script_gives(said):
    """A proxy has lost the answer: the batch is sent again, and counts once; else it is unknown."""
    hit, server = hit_of(), Server()
    server.execute([HIT.load()])
    batch = added(Batcher(), hit)
    server.execute(batch.commands())
    batch.apply_replies([refused(said)])
    assert not batch.done
    batch.apply_replies(server.execute(batch.commands()))
    assert hit.result() == 1
    other = hit_of()
    batch = added(Batcher(), other)
    batch.commands()
    batch.apply_replies([refused(said)])
    batch.expire(other.deadline)
    with pytest.raises(OutcomeUnknownError, match=said):
        other.result()
