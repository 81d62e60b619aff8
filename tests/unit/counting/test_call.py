"""The calls of the scripts that count, and what a hit's caller is told."""

import hashlib
from importlib.resources import files

import pytest

from flask_redis_counter.counting.call import MAX_LUA_INTEGER, ScriptCall
from flask_redis_counter.counting.hit import PendingHit
from flask_redis_counter.counting.visitors import VisitorCache
from flask_redis_counter.errors import (
    DurabilityUnsupportedError,
    OutcomeUnknownError,
    RateLimitExceededError,
    StoreRejectedError,
    StoreUnavailableError,
)
from flask_redis_counter.limits import UNLIMITED, Limits, RateLimit
from flask_redis_counter.store.scripts import Script
from flask_redis_counter.validation import MAX_VALUE

from .fake_server import hit_of


@pytest.mark.parametrize("names", [("hit.lua",), ("count.lua", "hit_once.lua")])
def test_a_script(names):
    """It is run by the digest of what is loaded, all its files."""
    folder = files("flask_redis_counter.store").joinpath("lua")
    text = "".join(folder.joinpath(name).read_text("utf-8") for name in names)
    digest = hashlib.sha1(text.encode()).hexdigest()  # noqa: S324
    script = Script(*names)
    assert script.load() == ("SCRIPT LOAD", text)
    assert script.evalsha(("a", "b"), 1, "c") == ("EVALSHA", digest, 2, "a", "b", 1, "c")


BESIDE = ("days", "hours:2026-11-23")


@pytest.fixture(autouse=True)
def _one_hour(monkeypatch):
    monkeypatch.setattr("flask_redis_counter.counting.call.current_hour", lambda: "2026-11-23T15")


def test_the_keys_of_a_call():
    """They begin with the counter's own, for a cluster; the names are everybody's."""
    beside = [f"counter:{{a}}:{it}" for it in BESIDE]
    call = ScriptCall.for_hit(hit_of("counter:{a}", 3), "w", 7, None)
    plain = call.command()
    assert plain[2:] == (
        *(5, "counter:{a}", "counter:{a}:writer:w", *beside, "counter:{}:names"),
        *(f"7:{call.sender}", 3, "2026-11-23T15", UNLIMITED),
    )
    assert call.command() == plain
    assert len(call.sender) == 16
    assert call.sender != ScriptCall.for_hit(hit_of("counter:{a}", 3), "w", 7, None).sender
    once = ScriptCall.for_hit(hit_of("counter:{a}", 3), "w", 7, "t").command()
    number, *keys, sender, amount, hour, limit = once[2:]
    assert number == len(keys)
    assert keys == ["counter:{a}", "counter:{a}:token:t", *beside, "counter:{}:names"]
    assert (amount, hour, limit) == (3, "2026-11-23T15", UNLIMITED)
    assert sender != ScriptCall.for_hit(hit_of(), "w", 7, "t").command()[-4]
    assert len(sender) == 16


def test_the_visitors_of_a_call():
    """Each once, and behind a secret that is the same for a day."""
    call = ScriptCall.for_hit(PendingHit("{a}", 1, None, visitor="x"), "w", 1, None)
    for visitor in ("y", None, "x"):
        call.add(PendingHit("{a}", 1, None, visitor=visitor))
    command = call.command()
    assert command[8:11] == ("{a}:told", "{a}:visitors", "{a}:salt")
    *start, secret, one, two = command[-6:]
    assert (start, one, two) == (["", "", 0], "x", "y")
    assert len(secret) == 32
    other = ScriptCall.for_hit(PendingHit("{b}", 1, None, visitor="z"), "v", 9, None)
    assert other.command()[-2] == secret
    other.hour = "2026-11-24T00"
    assert other.command()[-2] != secret


def test_a_call_without_visitors_that_the_store_knows():
    """It carries their mark, and after the store has refused that all of them."""
    reported = VisitorCache().for_counter("{a}")

    def call_of(*visitors):
        hits = [
            PendingHit("{a}", 1, None, visitor=visitor, reported=reported) for visitor in visitors
        ]
        call = ScriptCall.for_hit(hits[0], "w", 1, None)
        for hit in hits[1:]:
            call.add(hit)
        return call

    first = call_of("x")
    *before, secret, visitor = first.command()
    assert (before[-3:], visitor) == ([reported.cache_id, reported.mark, 0], "x")
    assert call_of("x").command()[-3:] == (0, secret, "x"), "there was no answer"
    first.resolve(b"1")
    again = call_of("x", "y")
    assert again.command()[-5:] == (reported.cache_id, reported.mark, 1, secret, "y")
    late, mark = call_of("x"), reported.mark
    again.resend_visitors()
    assert again.command()[-6:] == (reported.cache_id, reported.mark, 0, secret, "x", "y")
    assert mark != reported.mark
    assert late.command()[-2:] == (reported.cache_id, mark)
    late.resolve(b"1")
    assert not reported.is_marked, "an answer for an older mark"
    again.resolve(b"2")
    assert reported.is_marked
    short = call_of("x", "y").command()
    assert (short[2], short[8]) == (6, "{a}:told")
    assert short[-2:] == (reported.cache_id, reported.mark)


def test_a_screened_call():
    """It says of each hit what the script decides by."""
    limits = Limits(visitor_window=60, rate=RateLimit(4, 30), max_counters=5)
    call = ScriptCall.for_hit(
        PendingHit("{a}", 1, None, visitor="x", client="c", limits=limits), "w", 1, None
    )
    call.add(PendingHit("{a}", 2, None, visitor="y", client="d", limits=Limits(max_counters=3)))
    command = call.command()
    assert command[2] == 10
    assert command[11:13] == ("{a}:seen", "{}:rates")
    assert command[13:17] == (f"1:{call.sender}", 3, "2026-11-23T15", 5)
    assert command[17:20] == ("", "", 0)
    longest, interval, ahead, *hits = command[21:]
    assert (longest, interval, ahead) == (60, "7.500000", 30)
    assert hits == ["x", 1, 60, "c", "y", 2, 0, ""]
    call.add(hit_of("{a}"))
    assert call.command()[16] == UNLIMITED, "a hit that makes its counter goes with it"
    assert call.command()[-4:] == ("", 1, 0, "")


def test_what_is_not_screened():
    """A hit without a visitor, or with neither seconds nor a rate, counts each time."""
    limits = Limits(visitor_window=60, rate=RateLimit(4, 30))
    assert (
        ScriptCall.for_hit(PendingHit("{a}", 1, None, limits=limits), "w", 1, None).command()[2]
        == 5
    )
    once = PendingHit("{a}", 1, "t", visitor="x", client="c", limits=limits)
    assert ScriptCall.for_hit(once, "w", 1, "t").command()[-4:] == ("x", 1, 60, "c")
    often = PendingHit(
        "{a}", 1, None, visitor="x", client="c", limits=Limits(rate=RateLimit(4, 30))
    )
    assert ScriptCall.for_hit(often, "w", 1, None).command()[-4:] == ("x", 1, 0, "c")


def test_what_a_screened_call_does_not_take():
    """Another rate, and sums that Lua would round."""

    def limited(amount, rate):
        return PendingHit("{a}", amount, None, client="c", limits=Limits(rate=rate))

    call = ScriptCall.for_hit(limited(1, RateLimit(1, 60)), "w", 1, None)
    assert call.can_add(limited(1, RateLimit(1, 60)))
    assert not call.can_add(limited(1, RateLimit(2, 60)))
    reload = PendingHit("{a}", 1, None, visitor="x", limits=Limits(visitor_window=60))
    assert call.can_add(reload)
    assert ScriptCall.for_hit(reload, "w", 1, None).can_add(limited(1, RateLimit(2, 60)))
    assert call.can_add(hit_of(amount=MAX_LUA_INTEGER - 1))
    assert not call.can_add(hit_of(amount=MAX_LUA_INTEGER))
    plain = ScriptCall.for_hit(hit_of(amount=MAX_LUA_INTEGER), "w", 1, None)
    assert plain.can_add(hit_of(amount=MAX_VALUE - MAX_LUA_INTEGER))
    assert not plain.can_add(hit_of(amount=MAX_VALUE - MAX_LUA_INTEGER + 1))
    assert not plain.can_add(limited(1, RateLimit(1, 60)))


@pytest.mark.parametrize("answer", [b"5", b"5:", b"5:00", b":0", b"5:0:0", 5.5, "5:0"])
def test_an_answer_for_other_hits(answer):
    """A screened call wants a digit for each of its hits."""
    hit = PendingHit("{a}", 1, None, client="c", limits=Limits(rate=RateLimit(1, 60)))
    call = ScriptCall.for_hit(hit, "w", 1, None)
    with pytest.raises(OutcomeUnknownError):
        call.resolve(answer)
    assert hit.is_pending


@pytest.mark.parametrize("answer", [b"OK", None, [], [b"1"], [b"1", 10], b""])
@pytest.mark.parametrize("idempotency_key", [None, "t"])
def test_an_answer_that_is_none(answer, idempotency_key):
    """The error shows it, shortened, and has its cause."""
    call = ScriptCall.for_hit(hit_of(), "w", 1, idempotency_key)
    with pytest.raises(OutcomeUnknownError, match="malformed reply: ") as caught:
        call.resolve(answer)
    assert str(caught.value).endswith(repr(answer))
    assert isinstance(caught.value.__cause__, TypeError | ValueError | IndexError)


def test_a_hit_that_nobody_settled():
    """It is unknown."""
    with pytest.raises(OutcomeUnknownError, match="the hit was given up"):
        hit_of().result()


@pytest.mark.parametrize("kind", [StoreUnavailableError, StoreRejectedError])
def test_a_failure_of_a_hit_with_a_token(kind):
    """An attempt before this one may have counted, so only who has no token hears «refused»."""
    said = kind("said")
    for hit in (plain := hit_of(), once := hit_of(idempotency_key="t")):
        hit.error = said
    with pytest.raises(kind, match=r"^said$"):
        plain.result()
    with pytest.raises(
        OutcomeUnknownError, match=r"this attempt was not counted.*: said"
    ) as caught:
        once.result()
    assert caught.value.__cause__ is said


def test_a_store_that_can_not_count_a_token_at_all():
    """No attempt before this one has counted either."""
    hit = hit_of(idempotency_key="t")
    hit.error = DurabilityUnsupportedError("said")
    with pytest.raises(DurabilityUnsupportedError, match=r"^said$"):
        hit.result()


def test_a_hit_that_left_its_call():
    """It keeps the outcome that it has, and its amount is in the others' values."""
    hits = [hit_of(amount=1), hit_of(amount=2), hit_of(amount=4)]
    call = ScriptCall.for_hit(hits[0], "w", 1, None)
    for hit in hits[1:]:
        call.add(hit)
    assert {hit.call for hit in hits} == {call}
    hits[1].error = left = OutcomeUnknownError("left")
    call.resolve(b"107")
    assert [hit.value for hit in hits] == [101, None, 107]
    assert [hit.replayed for hit in hits] == [False] * 3
    call.reject(StoreRejectedError("refused"))
    assert hits[1].error is left


def test_a_hit_that_left_a_screened_call():
    """The same: who comes after it in the call is told what became of him."""
    limits = Limits(visitor_window=60, rate=RateLimit(4, 30))
    hits = [PendingHit("{a}", 1, None, visitor="x", client="c", limits=limits) for _ in range(4)]
    call = ScriptCall.for_hit(hits[0], "w", 1, None)
    for hit in hits[1:]:
        call.add(hit)
    hits[0].error = left = OutcomeUnknownError("left")
    call.resolve(b"8:0203")
    assert [hit.value for hit in hits] == [None, 7, 8, None]
    assert [hit.counted for hit in hits[1:3]] == [False, True]
    assert hits[0].error is left
    assert isinstance(hits[3].error, RateLimitExceededError)
