"""Batches on a cluster: counters are listed before they are created, and calls are redirected."""

import pytest
from redis.exceptions import AskError, MovedError, TryAgainError

from flask_redis_counter.counting.batcher import Batcher
from flask_redis_counter.counting.hit import PendingHit
from flask_redis_counter.counting.journal import Journal
from flask_redis_counter.errors import (
    CounterNotFoundError,
    OutcomeUnknownError,
    StoreUnavailableError,
    TooManyCountersError,
)
from flask_redis_counter.limits import UNLIMITED, Limits
from flask_redis_counter.store.listing import list_name

from .fake_server import AWAY, SILENT, TIMEOUT, add_hits, make_hit, make_refusal, values

UNKNOWN = make_refusal("UNKNOWN there is no such counter, and a hit makes none")
A, B = "p:{a}", "p:{b}"


@pytest.fixture
def batcher():
    """A batcher for a cluster."""
    return Batcher(journal=Journal(), is_listed=False)


def limit(command):
    """Return the limit of the number of counters in the command of a hit."""
    return command[11]


def test_known_counter_takes_one_round_trip(batcher):
    """A hit may create nothing at first; if the counter exists, it counts."""
    hit = make_hit(A)
    batch = add_hits(batcher, hit)
    assert batch.near == A
    assert [limit(command) for command in batch.commands()] == [0]
    batch.apply_replies([b"5"])
    assert batch.done
    assert values([hit]) == [5]


def test_new_counter_is_listed_and_then_created(batcher):
    """The same call is sent again under its number, after its name was listed elsewhere."""
    known, new = make_hit(A), make_hit(B)
    batch = add_hits(batcher, known, new)
    first = batch.commands()
    batch.apply_replies([b"5", UNKNOWN])
    assert (batch.near, batch.next_delay()) == ("p:{}:names", 0.0)
    assert batch.commands() == [list_name(B, UNLIMITED)]
    batch.apply_replies([1])
    assert (batch.near, batch.next_delay()) == (B, 0.0)
    [again] = batch.commands()
    assert limit(again) == UNLIMITED
    assert again[:11] == first[1][:11], "the writer's number is the same"
    assert batch.apply_replies([b"1"])
    assert values([known, new]) == [5, 1]


def test_limits_are_those_of_the_list(batcher):
    """The list rejects a name if there are too many; a limit of 0 does not ask it."""
    few, none = Limits(max_counters=3), Limits(max_counters=0)
    hits = [
        PendingHit(A, 1, None, TIMEOUT, limits=few),
        PendingHit(B, 1, None, TIMEOUT, limits=none),
    ]
    batch = add_hits(batcher, *hits)
    batch.commands()
    batch.apply_replies([UNKNOWN, UNKNOWN])
    assert batch.commands() == [list_name(A, 3)]
    batch.apply_replies([make_refusal("TOOMANY there are as many counters as there may be")])
    assert batch.done
    assert [type(hit.error) for hit in hits] == [TooManyCountersError, CounterNotFoundError]


@pytest.mark.parametrize("error", [AWAY, SILENT])
def test_list_that_does_not_answer_holds_nothing_up(batcher, error):
    """The hit that needs it is not counted; the batch ends, and the others go on."""
    known, new = make_hit(A), make_hit(B)
    batch = add_hits(batcher, known, new)
    batch.commands()
    batch.apply_replies([b"5", UNKNOWN])
    batch.commands()
    batch.record_failure(error)
    assert batch.done
    assert values([known]) == [5]
    with pytest.raises(StoreUnavailableError, match="its name was not listed"):
        new.result()
    assert batch.outage is None


def test_redirected_call_is_sent_again_at_once(batcher):
    """Calls of another node stay, under their numbers; TRYAGAIN waits for a moment."""
    hits = [make_hit(A), make_hit(B)]
    batch = add_hits(batcher, *hits)
    first = batch.commands()
    batch.apply_replies([b"1", make_refusal("1 b:2", MovedError)])
    assert (batch.near, batch.next_delay()) == (B, 0.0)
    assert batch.commands() == first[1:]
    batch.apply_replies([make_refusal("1 b:2", AskError)])
    assert batch.next_delay() == 0.0
    assert batch.commands() == first[1:]
    batch.apply_replies([make_refusal("Multiple keys", TryAgainError)])
    assert batch.commands() == first[1:]
    assert not batch.done
    batch.apply_replies([b"7"])
    assert values(hits) == [1, 7]


def test_redirections_without_end_are_delayed(batcher):
    """Nodes that redirect to each other are not asked in a busy loop."""
    batch = add_hits(batcher, make_hit(A))
    for _ in range(20):
        batch.commands()
        batch.apply_replies([make_refusal("1 b:2", MovedError)])
    assert max(batch.next_delay() for _ in range(50)) > 0


def test_calls_of_several_nodes_get_turns(batcher):
    """Each attempt goes to the node of another call, so that one that is down blocks no other."""
    batch = add_hits(batcher, make_hit(A), make_hit(B))
    batch.commands()
    seen = []
    for _ in range(4):
        seen.append(batch.near)
        batch.record_failure(AWAY)
    assert set(seen) == {A, B}


def test_unknown_after_a_lost_reply_is_not_counted(batcher):
    """UNKNOWN after an attempt without a reply proves that it did not count: it is listed."""
    hit = make_hit(A)
    batch = add_hits(batcher, hit)
    batch.commands()
    batch.record_failure(SILENT)
    batch.apply_replies([UNKNOWN])
    assert batch.commands() == [list_name(A, UNLIMITED)]
    batch.record_failure(AWAY)
    with pytest.raises(OutcomeUnknownError):  # cautious: an attempt was not answered
        hit.result()


def test_journal_has_the_history_of_the_node_that_counted(batcher):
    """A call is in the journal under the history of the server that counted it."""
    journal = batcher._journal
    batch = add_hits(batcher, make_hit(A), make_hit(B))
    batch.commands("one")
    batch.apply_replies([b"1", make_refusal("1 b:2", MovedError)])
    batch.commands("two")
    batch.apply_replies([b"1"])
    assert [entry.call.key for entry in journal.foreign("one")] == [B]
    assert [entry.call.key for entry in journal.foreign("two")] == [A]
    assert [entry.call.key for entry in journal.foreign("", lambda key: key == B)] == [B]


def test_safe_entries_are_removed_by_their_server():
    """drop_safe() with `owns` removes entries of one server between those of others."""
    journal = Journal()
    for history, keys in (("one", (A, B)), ("two", (B, A))):
        batcher = Batcher(journal=journal, is_listed=False)
        for key in keys:
            batch = add_hits(batcher, make_hit(key))
            batch.commands(history)
            batch.apply_replies([b"1"])
            batcher.finish(batch)
    assert len(journal) == 4
    journal.drop_safe(journal.now() + 1, "two", lambda key: key == B)
    assert [(entry.call.key) for entry in journal.foreign("")] == [A, B, A]
    journal.drop_safe(0.0, "one", lambda key: True)
    assert len(journal) == 3
    journal.drop_safe(journal.now() + 1, "one", lambda key: True)
    assert [(entry.call.key) for entry in journal.foreign("")] == [A]
    assert journal.keys() == {A}
