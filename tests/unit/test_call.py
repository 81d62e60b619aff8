"""The calls of the scripts that count, and what a hit's caller is told."""

import hashlib

import pytest

from flask_redis_counter import OutcomeUnknownError, StoreRefusedError, StoreUnavailableError
from flask_redis_counter.call import RECORD_LIFE, Call, Script
from flask_redis_counter.errors import StoreUnsuitableError

from .simulation import hit_of, script


@pytest.mark.parametrize("name", ["hit.lua", "hit_once.lua"])
def test_a_script(name):
    """It is run by the digest of what is loaded."""
    text = script(name)
    digest = hashlib.sha1(text.encode()).hexdigest()  # noqa: S324
    assert Script(name).load() == ("SCRIPT LOAD", text)
    assert Script(name).run(("a", "b"), 1, "c") == ("EVALSHA", digest, 2, "a", "b", 1, "c")


def test_the_keys_of_a_call():
    """They begin with the counter's own, for a cluster; a record lives for a day."""
    plain = Call.of(hit_of("counter:{a}", 3), "w", 7, None)
    assert plain.command()[2:] == (2, "counter:{a}", "counter:{a}:writer:w", 7, 3, RECORD_LIFE)
    once = Call.of(hit_of("counter:{a}", 3), "w", 7, "t")
    *keys, amount, sender, life = once.command()[2:]
    assert keys == [2, "counter:{a}", "counter:{a}:token:t"]
    assert (amount, life) == (3, RECORD_LIFE)
    assert once.command()[-2] == sender != Call.of(hit_of(), "w", 7, "t").command()[-2]
    assert len(sender) == 16
    assert RECORD_LIFE == 86400


@pytest.mark.parametrize("answer", [b"OK", None, [], [b"1"], b""])
@pytest.mark.parametrize("token", [None, "t"])
def test_an_answer_that_is_none(answer, token):
    """The error shows it, shortened, and has its cause."""
    call = Call.of(hit_of(), "w", 1, token)
    with pytest.raises(OutcomeUnknownError, match="the answer is no integer: ") as caught:
        call.settle(answer)
    assert str(caught.value).endswith(repr(answer))
    assert isinstance(caught.value.__cause__, TypeError | ValueError | IndexError)


def test_a_hit_that_nobody_settled():
    """It is unknown."""
    with pytest.raises(OutcomeUnknownError, match="the hit was given up"):
        hit_of().outcome()


@pytest.mark.parametrize("kind", [StoreUnavailableError, StoreRefusedError])
def test_a_failure_of_a_hit_with_a_token(kind):
    """An attempt before this one may have counted, so only who has no token hears «refused»."""
    said = kind("said")
    for hit in (plain := hit_of(), once := hit_of(token="t")):
        hit.error = said
    with pytest.raises(kind, match=r"^said$"):
        plain.outcome()
    with pytest.raises(OutcomeUnknownError, match=r"this attempt did not count.*: said") as caught:
        once.outcome()
    assert caught.value.__cause__ is said


def test_a_store_that_can_not_count_a_token_at_all():
    """No attempt before this one has counted either."""
    hit = hit_of(token="t")
    hit.error = StoreUnsuitableError("said")
    with pytest.raises(StoreUnsuitableError, match=r"^said$"):
        hit.outcome()


def test_a_hit_that_left_its_call():
    """It keeps the outcome that it has, and its amount is in the others' values."""
    hits = [hit_of(amount=1), hit_of(amount=2), hit_of(amount=4)]
    call = Call.of(hits[0], "w", 1, None)
    for hit in hits[1:]:
        call.join(hit)
    assert {hit.call for hit in hits} == {call}
    hits[1].error = left = OutcomeUnknownError("left")
    call.settle(b"107")
    assert [hit.value for hit in hits] == [101, None, 107]
    assert [hit.replayed for hit in hits] == [False] * 3
    call.refuse(StoreRefusedError("refused"))
    assert hits[1].error is left
