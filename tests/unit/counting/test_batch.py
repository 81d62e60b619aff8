"""Batch: its calls, their replies, refusals and repeats."""

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
from flask_redis_counter.store.confirmation import MEMORY, Confirmation
from flask_redis_counter.validation import MAX_VALUE

from .fake_server import (
    AWAY,
    HIT,
    SILENT,
    TIMEOUT,
    Server,
    add_hits,
    make_hit,
    make_refusal,
    send_until_done,
    values,
)

NOSCRIPT = make_refusal("NOSCRIPT No matching script", NoScriptError)


def test_batch_has_one_call_per_counter():
    """Hits of several counters share a round trip; an invalid key fails only its own hits."""
    batcher, server = Batcher(), Server({"text": "text"})
    hits = [make_hit("a"), make_hit("text"), make_hit("b", 3), make_hit("a")]
    batch = add_hits(batcher, *hits)
    assert len(batch.commands()) == 3
    send_until_done(batcher, batch, server)
    assert values([hits[0], hits[2], hits[3]]) == [1, 3, 2]
    with pytest.raises(NotAnIntegerError):
        hits[1].result()


def test_batch_has_one_call_per_idempotency_key():
    """A key counts once in this and later batches; other hits count beside it."""
    batcher, server = Batcher(), Server()
    hits = [
        make_hit(),
        make_hit(idempotency_key="one"),
        make_hit(),
        make_hit(idempotency_key="two"),
    ]
    batch = add_hits(batcher, *hits)
    assert len(batch.commands()) == 3
    send_until_done(batcher, batch, server)
    assert values(hits) == [1, 3, 2, 4]
    again = make_hit(idempotency_key="one")
    send_until_done(batcher, batcher.add(again, 0.0), server)
    assert (again.result(), again.replayed) == (3, True)
    assert server.values == {"visits": 4}


def test_idempotency_key_twice_in_one_batch_counts_once():
    """One of the two hits is counted; the other is marked as replayed."""
    batcher, server = Batcher(), Server()
    hits = [make_hit(idempotency_key="one"), make_hit(idempotency_key="one")]
    send_until_done(batcher, add_hits(batcher, *hits), server)
    assert values(hits) == [1, 1]
    assert [hit.replayed for hit in hits] == [False, True]


def test_idempotency_key_with_another_amount_is_refused():
    """The key stands for its first hit; a hit of another amount raises an error."""
    batcher, server = Batcher(), Server()
    hits = [make_hit(idempotency_key="one", amount=2), make_hit(idempotency_key="one")]
    send_until_done(batcher, add_hits(batcher, *hits), server)
    assert hits[0].result() == 2
    with pytest.raises(IdempotencyKeyReusedError) as caught:
        hits[1].result()
    assert caught.value.amount == 2
    assert server.values == {"visits": 2}


def test_a_batch_that_is_sent_again_counts_once():
    """A repeated batch has the same number and gets the same reply."""
    batcher, server, hit = Batcher(), Server(), make_hit()
    batch = batcher.add(hit, 0.0)
    batch.apply_replies(server.execute(batch.commands()))  # the scripts are not loaded
    server.execute(batch.commands())
    batch.record_failure(SILENT)
    send_until_done(batcher, batch, server)
    assert hit.result() == 1
    assert server.values == {"visits": 1}


def test_a_late_packet_counts_nothing():
    """A packet that arrives after a later batch of its writer is refused as stale."""
    batcher, server = Batcher(), Server()
    send_until_done(batcher, add_hits(batcher, make_hit()), server)
    batch = add_hits(batcher, make_hit())
    late = batch.commands()
    batch.record_failure(SILENT)
    send_until_done(batcher, batch, server)
    server.execute(late)
    send_until_done(batcher, add_hits(batcher, make_hit()), server)
    (answer,) = server.execute(late)
    assert "STALE" in str(answer)
    assert server.values == {"visits": 3}


def test_overflow_of_several_hits_splits_their_call():
    """The hits that fit count; each of the others raises CounterOverflowError."""
    batcher, server = Batcher(), Server({"visits": MAX_VALUE - 5})
    hits = [make_hit(amount=amount) for amount in (3, 4, 2, 1)]
    send_until_done(batcher, add_hits(batcher, *hits), server)
    assert values([hits[0], hits[2]]) == [MAX_VALUE - 2, MAX_VALUE]
    for hit in (hits[1], hits[3]):
        with pytest.raises(CounterOverflowError):
            hit.result()
    assert server.values == {"visits": MAX_VALUE}


def test_overflow_of_two_hits_counts_the_one_that_fits():
    """The hit that fits counts; the other raises CounterOverflowError."""
    batcher, server = Batcher(), Server({"visits": MAX_VALUE - 5})
    hits = [make_hit(amount=6), make_hit(amount=5)]
    send_until_done(batcher, add_hits(batcher, *hits), server)
    assert hits[1].result() == MAX_VALUE
    with pytest.raises(CounterOverflowError):
        hits[0].result()


def test_amounts_beyond_64_bits_do_not_share_a_call():
    """Amounts whose sum exceeds the largest value are not added up."""
    batcher, server = Batcher(), Server({"visits": -MAX_VALUE})
    hits = [make_hit(amount=MAX_VALUE), make_hit(amount=MAX_VALUE), make_hit()]
    batch = add_hits(batcher, *hits)
    assert len(batch.commands()) > 1
    send_until_done(batcher, batch, server)
    assert sum(hit.error is None for hit in hits) == 2
    assert server.values["visits"] == -MAX_VALUE + sum(h.amount for h in hits if h.error is None)


def test_malformed_reply_makes_the_hits_unknown():
    """A reply that is not an integer makes the outcome unknown and ends the batch."""
    batcher = Batcher()
    hits = [make_hit(), make_hit(idempotency_key="one")]
    batch = add_hits(batcher, *hits)
    batch.commands()
    batch.apply_replies([b"OK", b"OK"])
    assert batch.done
    batcher.finish(batch)
    for hit in hits:
        with pytest.raises(OutcomeUnknownError, match="malformed reply"):
            hit.result()


def test_apply_replies_rejects_too_few_replies():
    """apply_replies raises ValueError if there are fewer replies than calls."""
    batcher = Batcher()
    batch = add_hits(batcher, make_hit("a"), make_hit("b"))
    batch.commands()
    with pytest.raises(ValueError, match="shorter"):
        batch.apply_replies([b"1"])


def test_a_refusal_after_an_unknown_attempt_is_unknown():
    """The first attempt may have counted, or may count later."""
    batcher, hit = Batcher(), make_hit()
    batch = batcher.add(hit, 0.0)
    batch.commands()
    batch.record_failure(SILENT)
    batch.apply_replies([make_refusal("OOM command not allowed when used memory > 'maxmemory'.")])
    batcher.finish(batch)
    with pytest.raises(OutcomeUnknownError, match="OOM") as caught:
        hit.result()
    assert isinstance(caught.value.__cause__, StoreRejectedError)


def test_refusal_beside_a_malformed_reply_is_unknown():
    """After a malformed reply the other replies are not trusted either."""
    batcher = Batcher()
    hits = [make_hit("a"), make_hit("b")]
    batch = add_hits(batcher, *hits)
    batch.commands()
    batch.apply_replies([b"OK", make_refusal("BUSY Redis is busy")])
    batch.apply_replies([make_refusal("OOM command not allowed when used memory > 'maxmemory'.")])
    for hit in hits:
        with pytest.raises(OutcomeUnknownError):
            hit.result()


@pytest.mark.parametrize(
    ("message", "kind"),
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
def test_temporary_refusal_is_retried(message, kind):
    """A temporary refusal executed nothing; the batch is sent again and counts."""
    batcher, server, hit = Batcher(), Server(), make_hit()
    batch = batcher.add(hit, 0.0)
    batch.commands()
    batch.apply_replies([make_refusal(message, kind)])
    assert not batch.done
    send_until_done(batcher, batch, server)
    assert hit.result() == 1


def test_authentication_error_is_retried_once():
    """A new connection authenticates again; a second failure ends the batch."""
    batch = add_hits(Batcher(), make_hit())
    batch.commands()
    batch.record_failure(make_refusal("Authentication required.", AuthenticationError))
    assert not batch.done
    batch.record_failure(make_refusal("Authentication required.", AuthenticationError))
    assert batch.done


def test_batch_of_temporary_refusals_starts_an_outage():
    """After a batch with only temporary refusals, one probe at a time is sent, without retries."""
    batcher = Batcher()
    batch = add_hits(batcher, make_hit())
    batch.commands()
    batch.apply_replies(
        [make_refusal("You can't write against a read only replica.", ReadOnlyError)]
    )
    batch.expire(TIMEOUT)
    batcher.finish(batch)
    probe = add_hits(batcher, make_hit())
    with pytest.raises(StoreUnavailableError, match="still down"):
        batcher.add(make_hit(), 0.0)
    probe.commands()
    probe.apply_replies(
        [make_refusal("You can't write against a read only replica.", ReadOnlyError)]
    )
    assert probe.done


def test_refusal_of_the_whole_batch_ends_it_if_permanent():
    """A temporary error of the whole batch is retried; a permanent one ends it."""
    batch = add_hits(Batcher(), make_hit())
    batch.commands()
    batch.record_failure(make_refusal("LOADING Redis is loading", BusyLoadingError))
    assert not batch.done
    batch.record_failure(make_refusal("NOAUTH Authentication required."))
    assert batch.done


def test_temporary_refusal_is_raised_at_the_deadline():
    """A hit raises the last temporary refusal when its deadline is over."""
    batcher, hit = Batcher(), make_hit()
    batch = add_hits(batcher, hit)
    batch.commands()
    batch.apply_replies([make_refusal("BUSY Redis is busy")])
    batch.expire(hit.deadline)
    with pytest.raises(StoreRejectedError, match="BUSY Redis is busy"):
        hit.result()


def test_script_not_loaded_before_the_deadline_is_unavailable():
    """A hit whose script was not loaded in time was not counted."""
    batcher, hit = Batcher(), make_hit()
    batch = add_hits(batcher, hit)
    batch.commands()
    batch.apply_replies([NOSCRIPT])
    batch.expire(hit.deadline)
    with pytest.raises(StoreUnavailableError, match="not enough time to load the counting script"):
        hit.result()


def test_script_missing_right_after_its_load_is_rejected():
    """A store that answers NOSCRIPT right after SCRIPT LOAD makes a StoreRejectedError."""
    batcher, hit = Batcher(), make_hit()
    batch = add_hits(batcher, hit)
    batch.commands()
    batch.apply_replies([NOSCRIPT])
    assert len(batch.commands()) == 3
    batch.apply_replies([b"", b"", NOSCRIPT])
    assert len(batch.commands()) == 3
    batch.apply_replies([b"", b"", make_refusal("BUSY Redis is busy")])
    assert len(batch.commands()) == 1, "the script is loaded"
    batch.apply_replies([NOSCRIPT])
    batch.commands()
    batch.apply_replies([b"", b"", NOSCRIPT])
    batch.expire(hit.deadline)
    with pytest.raises(StoreRejectedError, match="the store does not accept the counting script"):
        hit.result()


@pytest.mark.parametrize("durability", ["fsync", "replica"])
def test_hit_waits_for_its_durability(durability):
    """A hit stays pending until the disk or the replica confirms; the repeat counts once."""
    batcher, server, hit = Batcher(Confirmation(durability, 0.22)), Server(), make_hit()
    batch = batcher.add(hit, 0.0)
    batch.apply_replies(server.execute(batch.commands()))
    server.synced = 0
    batch.apply_replies(server.execute(batch.commands()))
    assert hit.is_pending
    server.synced = 1
    send_until_done(batcher, batch, server)
    assert hit.result() == 1
    assert server.values == {"visits": 1}


@pytest.mark.parametrize(
    ("durability", "command"),
    [
        ("memory", None),
        ("fsync", ("WAITAOF", 1, 0, 100)),
        ("replica", ("WAIT", 1, 100)),
        ("replica:1", ("WAIT", 1, 100)),
        ("replica:3", ("WAIT", 3, 100)),
    ],
)
def test_commands_wait_for_the_durability(durability, command):
    """commands ends with WAITAOF or WAIT as the durability requires; with neither for memory."""
    _, *waits = add_hits(Batcher(Confirmation(durability, 0.22)), make_hit()).commands()
    assert waits == [command] * (command is not None)


@pytest.mark.parametrize(
    ("durability", "where"),
    [
        ("fsync", "the disk"),
        ("replica", "a replica"),
        ("replica:2", "2 replicas, only on 0,"),
    ],
)
@pytest.mark.parametrize("ends_with", ["nothing", "a refusal"])
def test_hit_not_durable_in_time_is_unknown(durability, where, ends_with):
    """A hit that was not confirmed in time may have counted, whatever a repeat returns."""
    hit, server = make_hit(), Server()
    server.execute([HIT.load()])
    server.synced = 0
    batch = add_hits(Batcher(Confirmation(durability, 0.22)), hit)
    batch.apply_replies(server.execute(batch.commands()))
    if ends_with == "nothing":
        batch.expire(hit.deadline)
        message = f"^counted, but not on {where} within 100 ms$"
    else:
        batch.apply_replies([make_refusal("OOM"), 0])
        message = "^an earlier attempt was not answered; then: .*OOM"
    with pytest.raises(OutcomeUnknownError, match=message):
        hit.result()


def test_next_delay_is_bounded():
    """next_delay grows up to its maximum and not further, however long an outage is."""
    batch = add_hits(Batcher(), make_hit())
    longest = 0.0
    for _ in range(2000):
        batch.record_failure(AWAY)
        longest = max(longest, batch.next_delay())
    assert BACKOFF.maximum / 2 < longest <= BACKOFF.maximum


def test_next_delay_doubles_its_range(monkeypatch):
    """Each failure doubles the range of the random delay, up to the maximum."""
    monkeypatch.setattr("random.uniform", lambda low, high: (low, high))
    batch = add_hits(Batcher(), make_hit())
    pauses = []
    for _ in range(6):
        batch.record_failure(AWAY)
        pauses.append(batch.next_delay())
    assert pauses == [(0, high) for high in (0.01, 0.02, 0.04, 0.08, 0.1, 0.1)]


def test_next_delay_is_zero_before_the_script_is_loaded(monkeypatch):
    """The first NOSCRIPT is retried at once; one right after SCRIPT LOAD is delayed."""
    monkeypatch.setattr("random.uniform", lambda low, high: (low, high))
    batch = add_hits(Batcher(), make_hit())
    batch.commands()
    batch.apply_replies([NOSCRIPT])
    assert batch.next_delay() == 0.0
    batch.apply_replies([b"", b"", NOSCRIPT])
    assert batch.next_delay() == (0, 0.02)


def test_batch_expired_before_it_is_sent_is_unavailable():
    """A hit of a batch that was not sent was not counted."""
    hit = make_hit()
    add_hits(Batcher(), hit).expire(hit.deadline)
    with pytest.raises(StoreUnavailableError, match="the store was not reached in time"):
        hit.result()


def test_amounts_up_to_64_bits_share_a_call():
    """Amounts whose sum is the largest value are one call."""
    assert len(add_hits(Batcher(), make_hit(amount=MAX_VALUE - 1), make_hit()).commands()) == 1


def test_result_raises_a_new_error_for_each_hit():
    """Each call of result raises a new error object, with the same text and key."""
    batcher = Batcher()
    hits = [make_hit("text"), make_hit("text")]
    batch = add_hits(batcher, *hits)
    send_until_done(batcher, batch, Server({"text": "text"}))
    errors = []
    for hit in (*hits, hits[0]):
        with pytest.raises(NotAnIntegerError) as caught:
            hit.result()
        errors.append(caught.value)
    assert len({id(error) for error in errors}) == 3
    assert {(str(error), error.key) for error in errors} == {(str(errors[0]), "text")}


def test_forgotten_visitors_are_sent_again():
    """After FORGOTTEN the same number is sent again at once, with all visitors."""
    reported = VisitorCache().for_counter("{a}")
    reported.renew(current_hour())
    reported.add(["x"], reported.mark)
    hit = PendingHit("{a}", 1, None, TIMEOUT, visitor="x", reported=reported)
    batch = Batch([hit], "writer", 7, MEMORY, is_probe=False)
    [short] = batch.commands()
    mark = reported.mark
    assert not batch.apply_replies([make_refusal("FORGOTTEN the visitors")])
    assert batch.next_delay() == 0
    [full] = batch.commands()
    assert full[3:9] == short[3:9]
    assert full[11:15] == short[9:13], "the same number, amount, hour and limit"
    assert short[-2:] == (reported.cache_id, mark)
    assert (full[15:18], full[-1]) == ((reported.cache_id, reported.mark, 0), "x")
    batch.apply_replies([b"1"])
    assert hit.result() == 1


def test_forgotten_visitors_at_the_deadline_are_unavailable():
    """A hit that the store refused with FORGOTTEN was not counted."""
    reported = VisitorCache().for_counter("{a}")
    reported.renew(current_hour())
    reported.add(["x"], reported.mark)
    hit = PendingHit("{a}", 1, None, TIMEOUT, visitor="x", reported=reported)
    batch = Batch([hit], "writer", 7, MEMORY, is_probe=False)
    batch.commands()
    batch.apply_replies([make_refusal("FORGOTTEN the visitors")])
    batch.expire(TIMEOUT)
    with pytest.raises(StoreUnavailableError, match="not enough time to send the visitors"):
        hit.result()


@pytest.mark.parametrize(
    "message",
    ["upstream failure", "Connection timed out", "server closed connection", "WHATEVER x"],
)
def test_error_of_a_proxy_is_retried_and_else_unknown(message):
    """An error of a proxy hides the reply: a repeat counts once; else the hit is unknown."""
    hit, server = make_hit(), Server()
    server.execute([HIT.load()])
    batch = add_hits(Batcher(), hit)
    server.execute(batch.commands())
    batch.apply_replies([make_refusal(message)])
    assert not batch.done
    batch.apply_replies(server.execute(batch.commands()))
    assert hit.result() == 1
    other = make_hit()
    batch = add_hits(Batcher(), other)
    batch.commands()
    batch.apply_replies([make_refusal(message)])
    batch.expire(other.deadline)
    with pytest.raises(OutcomeUnknownError, match=message):
        other.result()
