"""Outcome: the one vocabulary of errors, metrics, HTTP and scripts."""

import re
from importlib.resources import files

import pytest

from flask_redis_counter.errors import CounterError, HitSpooledError, OutcomeUnknownError
from flask_redis_counter.outcome import REPLY_DIGITS, Outcome
from flask_redis_counter.web.representations import COUNTED_MEMBER


def test_outcome_members_are_plain_words():
    """A member equals its word, and is formatted as it: in JSON, in labels and in logs."""
    assert [f"{outcome}" for outcome in Outcome] == [outcome.value for outcome in Outcome]
    assert Outcome.UNKNOWN == "unknown"


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (CounterError, Outcome.NOT_COUNTED),
        (OutcomeUnknownError, Outcome.UNKNOWN),
        (HitSpooledError, Outcome.SPOOLED),
    ],
)
def test_error_outcome_of_the_tree(error, outcome):
    """Errors inherit NOT_COUNTED, except for the two of another outcome."""
    assert error("").outcome is outcome


def test_reply_digits_are_those_of_the_scripts():
    """count.lua and hit_once.lua reply with the digits of REPLY_DIGITS, and no others."""
    folder = files("flask_redis_counter.store").joinpath("lua")
    count, once = (
        folder.joinpath(name).read_text("utf-8") for name in ("count.lua", "hit_once.lua")
    )
    [digits] = re.findall(r"local COUNTED, DUPLICATE, RATE_LIMITED = '(.)', '(.)', '(.)'", count)
    counted, replayed = re.search(r"return \{value, sender == .* and (.) or (.)\}", once).groups()
    assert [REPLY_DIGITS[digit] for digit in digits] == [
        Outcome.COUNTED,
        Outcome.SKIPPED,
        Outcome.NOT_COUNTED,
    ]
    assert [REPLY_DIGITS[counted], REPLY_DIGITS[replayed]] == [Outcome.COUNTED, Outcome.REPLAYED]
    assert {*digits, counted, replayed} == REPLY_DIGITS.keys()


def test_counted_member_of_every_outcome():
    """The HTTP API says true, false, "unknown" or "spooled", for each outcome one of them."""
    assert COUNTED_MEMBER.keys() == set(Outcome)
    assert COUNTED_MEMBER[Outcome.NOT_COUNTED] is False
    assert COUNTED_MEMBER[Outcome.COUNTED] is True
    assert {type(value) for value in COUNTED_MEMBER.values()} == {bool, str}
