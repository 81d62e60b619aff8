"""The scripts hit.lua and hit_once.lua: replies, records, restarts."""

import pytest
import redis

from flask_redis_counter import RedisCounter
from flask_redis_counter.counting.batcher import Batcher
from flask_redis_counter.counting.hit import PendingHit
from flask_redis_counter.errors import OutcomeUnknownError, StoreRejectedError
from flask_redis_counter.limits import UNLIMITED
from flask_redis_counter.store.scripts import HIT, HIT_ONCE, RECORD_TTL

from .support import KEY, MAX


@pytest.fixture
def commands(client):
    """A function that runs one of the two scripts."""
    for script in (HIT, HIT_ONCE):
        client.execute_command(*script.load())

    def run(script, record, first, amount):
        describing = (f"{KEY}:{it}" for it in ("days", "hours:2026-11-23"))
        keys = (KEY, f"{KEY}:{record}", *describing, "counter:{}:names")
        rest = (first, amount, "2026-11-23T15", UNLIMITED)
        return client.execute_command(*script.evalsha(keys, *rest))

    return run


def test_repeated_sequence_number_gets_the_same_reply(commands, client):
    """A repeated number does not count; an older one is an error."""
    assert commands(HIT, "writer:w", 1, 5) == b"5"
    assert commands(HIT, "writer:w", 1, 5) == b"5"
    assert commands(HIT, "writer:v", 1, 2) == b"7"
    assert commands(HIT, "writer:w", 2, 1) == b"8"
    assert commands(HIT, "writer:w", 10, 1) == b"9"
    for number in (1, 2, 9):
        with pytest.raises(redis.ResponseError, match="STALE"):
            commands(HIT, "writer:w", number, 5)
    assert commands(HIT, "writer:w", 10, 1) == b"9"
    assert client.get(KEY) == b"9"


def test_sequence_number_of_a_copied_writer_is_rejected(commands, client):
    """The same number with another random word is an error, and does not count."""
    assert commands(HIT, "writer:w", "1:me", 5) == commands(HIT, "writer:w", "1:me", 5) == b"5"
    assert client.get(f"{KEY}:writer:w") == b"1:me 5"
    with pytest.raises(redis.ResponseError, match="TAKEN"):
        commands(HIT, "writer:w", "1:copy", 5)
    assert commands(HIT, "writer:w", "2:copy", 1) == b"6"
    with pytest.raises(redis.ResponseError, match="STALE"):
        commands(HIT, "writer:w", "1:me", 5)
    with pytest.raises(redis.ResponseError, match="TAKEN"):
        commands(HIT, "writer:w", "2:me", 5)
    assert client.get(KEY) == b"6"


def test_repeated_idempotency_key_gets_the_same_reply(commands, client):
    """The reply says 0 (counted) to the sender, and 1 (replayed) to all others."""
    assert commands(HIT_ONCE, "token:t", "me", 5) == [b"5", 0]
    assert commands(HIT_ONCE, "token:t", "me", 5) == [b"5", 0]
    assert commands(HIT_ONCE, "token:t", "you", 5) == [b"5", 1]
    with pytest.raises(redis.ResponseError, match="TOKENREUSED"):
        commands(HIT_ONCE, "token:t", "me", 6)
    assert client.get(KEY) == b"5"


@pytest.mark.parametrize("start", [2**53 - 1, 2**53, 10**15 - 1, MAX - 2, -(2**63), -(2**53) - 2])
def test_large_values_keep_all_digits(commands, client, counter, start):
    """Reply and record keep all digits, which a Lua number would lose."""
    client.set(KEY, start)
    assert commands(HIT, "writer:w", 1, 1) == commands(HIT, "writer:w", 1, 1)
    assert client.get(f"{KEY}:writer:w") == b"1 %d" % (start + 1)
    assert counter.hit("visits", idempotency_key="t").value == start + 2
    assert counter.hit("visits", idempotency_key="t").value == start + 2
    assert client.get(KEY) == b"%d" % (start + 2)


@pytest.mark.parametrize(("script", "arguments"), [(HIT, (2, 1)), (HIT_ONCE, ("me", 1))])
def test_script_error_changes_nothing(commands, client, script, arguments):
    """A script that fails leaves the counter unchanged."""
    for held in ("text", str(MAX)):
        client.set(KEY, held)
        with pytest.raises(redis.ResponseError, match=r"not an integer|overflow"):
            commands(script, "record", *arguments)
        assert client.get(KEY) == held.encode()
        client.flushall()


def executed(client, commands):
    """Return the replies to commands as the connection pool does."""
    answers = []
    for command in commands:
        try:
            answers.append(client.execute_command(*command))
        except redis.ResponseError as error:
            refused = StoreRejectedError(f"the store rejected the command: {error}")
            refused.__cause__ = error
            answers.append(refused)
    return answers


def test_split_batch_does_not_count_later(commands, client):
    """A late repeat of a batch that overflowed does not count after the counter was reset."""
    client.set(KEY, MAX - 1)
    batcher = Batcher()
    hits = [PendingHit(KEY, 1, None, 9.0), PendingHit(KEY, 1, None, 9.0)]
    batch = batcher.add(hits[0], 0.0)
    batcher.add(hits[1], 0.0)
    late = batch.commands()
    batch.record_failure(OutcomeUnknownError("no answer yet"))
    while not batch.done:
        batch.apply_replies(executed(client, batch.commands()))
    assert hits[0].result() == MAX
    client.set(KEY, 0)
    executed(client, late)
    assert client.get(KEY) == b"0"


def test_records_expire_and_counters_do_not(counter, client):
    """Records expire a day after their last use; counters do not."""
    counter.hit("visits")
    counter.hit("visits", idempotency_key="a token")
    assert client.ttl(KEY) == -1
    (writer,) = client.scan_iter(f"{KEY}:writer:*")
    records = [writer, f"{KEY}:token:a token"]
    for record in records:
        assert RECORD_TTL - 60 < client.ttl(record) <= RECORD_TTL
        client.expire(record, 60)
    counter.hit("visits")
    counter.hit("visits", idempotency_key="a token")
    assert all(client.ttl(record) > 60 for record in records)


def test_one_small_record_a_writer(counter, client):
    """A thousand hits of a writer leave one record."""
    for _ in range(100):
        counter.hit("visits")
    assert len(list(client.scan_iter(f"{KEY}:writer:*"))) == 1


def test_flushed_scripts_are_loaded_again(counter, client):
    """A hit after SCRIPT FLUSH loads the scripts, and counts once."""
    values = []
    for _ in range(5):
        values.append(counter.hit("visits").value)
        client.script_flush()
        values.append(counter.hit("visits", idempotency_key=f"t{len(values)}").value)
        client.script_flush()
    assert values == list(range(1, 11))


def test_restarted_server_knows_the_records(own_server):
    """A server that restarts loses the scripts, but not the records: a repeat does not count."""
    with RedisCounter(own_server.url, timeout=3) as counter:
        for number in (1, 2, 3):
            assert counter.hit("visits").value == 2 * number - 1
            assert counter.hit("visits", idempotency_key=f"t{number}").value == 2 * number
            own_server.kill()
            own_server.start()
        for number in (1, 2, 3):
            assert counter.hit("visits", idempotency_key=f"t{number}").value == 2 * number
        assert counter.value("visits") == 6
