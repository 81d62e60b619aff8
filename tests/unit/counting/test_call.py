"""ScriptCall and PendingHit: the calls of the counting scripts, and the outcomes of hits."""

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

from .fake_server import make_hit


@pytest.mark.parametrize("names", [("hit.lua",), ("count.lua", "hit_once.lua")])
def test_script_is_called_by_its_digest(names):
    """evalsha uses the digest of the text that load sends, which has all files of the script."""
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


def test_command_keys_begin_with_the_counter_key():
    """The keys begin with the counter's key, for a cluster; the index of names is shared."""
    beside = [f"counter:{{a}}:{it}" for it in BESIDE]
    call = ScriptCall.for_hit(make_hit("counter:{a}", 3), "w", 7, None)
    plain = call.command()
    assert plain[2:] == (
        *(5, "counter:{a}", "counter:{a}:writer:w", *beside, "counter:{}:names"),
        *(f"7:{call.sender}", 3, "2026-11-23T15", UNLIMITED),
    )
    assert call.command() == plain
    assert len(call.sender) == 16
    assert call.sender != ScriptCall.for_hit(make_hit("counter:{a}", 3), "w", 7, None).sender
    once = ScriptCall.for_hit(make_hit("counter:{a}", 3), "w", 7, "t").command()
    number, *keys, sender, amount, hour, limit = once[2:]
    assert number == len(keys)
    assert keys == ["counter:{a}", "counter:{a}:token:t", *beside, "counter:{}:names"]
    assert (amount, hour, limit) == (3, "2026-11-23T15", UNLIMITED)
    assert sender != ScriptCall.for_hit(make_hit(), "w", 7, "t").command()[-4]
    assert len(sender) == 16


def test_command_has_each_visitor_once():
    """Each visitor is sent once, with a secret that is the same for a day."""
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


def test_command_leaves_out_reported_visitors():
    """The call has the cache's mark; after a refusal it has all visitors."""
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
    assert call_of("x").command()[-3:] == (0, secret, "x"), "the first call has no reply yet"
    first.resolve(b"1")
    again = call_of("x", "y")
    assert again.command()[-5:] == (reported.cache_id, reported.mark, 1, secret, "y")
    late, mark = call_of("x"), reported.mark
    again.resend_visitors()
    assert again.command()[-6:] == (reported.cache_id, reported.mark, 0, secret, "x", "y")
    assert mark != reported.mark
    assert late.command()[-2:] == (reported.cache_id, mark)
    late.resolve(b"1")
    assert not reported.is_marked, "a reply to an older mark"
    again.resolve(b"2")
    assert reported.is_marked
    short = call_of("x", "y").command()
    assert (short[2], short[8]) == (6, "{a}:told")
    assert short[-2:] == (reported.cache_id, reported.mark)


def test_screened_command_describes_each_hit():
    """A screened call has the visitor, amount, window and client of each hit."""
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
    call.add(make_hit("{a}"))
    assert call.command()[16] == UNLIMITED, "the call has a hit without a limit"
    assert call.command()[-4:] == ("", 1, 0, "")


def test_command_is_screened_for_a_window_or_a_rate_only():
    """A hit without a visitor, a window and a rate is not screened."""
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


def test_can_add_refuses_other_rates_and_large_sums():
    """can_add refuses a hit of another rate, and sums that Lua would round."""

    def limited(amount, rate):
        return PendingHit("{a}", amount, None, client="c", limits=Limits(rate=rate))

    call = ScriptCall.for_hit(limited(1, RateLimit(1, 60)), "w", 1, None)
    assert call.can_add(limited(1, RateLimit(1, 60)))
    assert not call.can_add(limited(1, RateLimit(2, 60)))
    reload = PendingHit("{a}", 1, None, visitor="x", limits=Limits(visitor_window=60))
    assert call.can_add(reload)
    assert ScriptCall.for_hit(reload, "w", 1, None).can_add(limited(1, RateLimit(2, 60)))
    assert call.can_add(make_hit(amount=MAX_LUA_INTEGER - 1))
    assert not call.can_add(make_hit(amount=MAX_LUA_INTEGER))
    plain = ScriptCall.for_hit(make_hit(amount=MAX_LUA_INTEGER), "w", 1, None)
    assert plain.can_add(make_hit(amount=MAX_VALUE - MAX_LUA_INTEGER))
    assert not plain.can_add(make_hit(amount=MAX_VALUE - MAX_LUA_INTEGER + 1))
    assert not plain.can_add(limited(1, RateLimit(1, 60)))


@pytest.mark.parametrize("answer", [b"5", b"5:", b"5:00", b":0", b"5:0:0", 5.5, "5:0"])
def test_resolve_rejects_a_screened_reply_of_wrong_length(answer):
    """A screened reply must have one digit for each hit of the call."""
    hit = PendingHit("{a}", 1, None, client="c", limits=Limits(rate=RateLimit(1, 60)))
    call = ScriptCall.for_hit(hit, "w", 1, None)
    with pytest.raises(OutcomeUnknownError):
        call.resolve(answer)
    assert hit.is_pending


@pytest.mark.parametrize("answer", [b"OK", None, [], [b"1"], [b"1", 10], b""])
@pytest.mark.parametrize("idempotency_key", [None, "t"])
def test_resolve_rejects_a_malformed_reply(answer, idempotency_key):
    """The error shows the reply and has its cause."""
    call = ScriptCall.for_hit(make_hit(), "w", 1, idempotency_key)
    with pytest.raises(OutcomeUnknownError, match="malformed reply: ") as caught:
        call.resolve(answer)
    assert str(caught.value).endswith(repr(answer))
    assert isinstance(caught.value.__cause__, TypeError | ValueError | IndexError)


def test_result_of_an_unresolved_hit_is_unknown():
    """result raises OutcomeUnknownError if the hit has neither a value nor an error."""
    with pytest.raises(OutcomeUnknownError, match="the hit ended without an outcome"):
        make_hit().result()


@pytest.mark.parametrize("kind", [StoreUnavailableError, StoreRejectedError])
def test_result_of_a_failed_hit_with_idempotency_key_is_unknown(kind):
    """An earlier attempt with the key may have counted; without a key the error is raised."""
    error = kind("message")
    for hit in (plain := make_hit(), once := make_hit(idempotency_key="t")):
        hit.error = error
    with pytest.raises(kind, match=r"^message$"):
        plain.result()
    with pytest.raises(
        OutcomeUnknownError, match=r"this attempt was not counted.*: message"
    ) as caught:
        once.result()
    assert caught.value.__cause__ is error


def test_result_raises_durability_unsupported_despite_a_key():
    """A store without the durability cannot have counted an earlier attempt either."""
    hit = make_hit(idempotency_key="t")
    hit.error = DurabilityUnsupportedError("message")
    with pytest.raises(DurabilityUnsupportedError, match=r"^message$"):
        hit.result()


def test_resolve_keeps_the_error_of_an_expired_hit():
    """An expired hit keeps its error; its amount is part of the other hits' values."""
    hits = [make_hit(amount=1), make_hit(amount=2), make_hit(amount=4)]
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


def test_resolve_of_a_screened_call_keeps_an_expired_hit():
    """An expired hit keeps its error; the later hits of the call get their own results."""
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
