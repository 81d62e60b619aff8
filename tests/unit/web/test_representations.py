"""What a counting request asks for, whatever it is made of."""

import json
from urllib.parse import parse_qsl

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import BadRequest

from flask_redis_counter.errors import InvalidAmountError
from flask_redis_counter.validation import (
    MAX_VALUE,
    MIN_VALUE,
    NAME,
    URL_SAFE_NAME,
    check_idempotency_key,
)
from flask_redis_counter.web.params import parse_amount, parse_idempotency_key
from flask_redis_counter.web.representations import render_json
from flask_redis_counter.web.rsgi.app import _AMOUNT, _HITS

PRINTABLE = st.characters(min_codepoint=0x20, max_codepoint=0x7E)
TOKENS = st.text(PRINTABLE, min_size=1, max_size=255)
BLANKS = st.text(" \t", max_size=3)


def quoted(idempotency_key):
    """Return a token as a structured header's string (RFC 8941)."""
    return '"' + idempotency_key.replace("\\", "\\\\").replace('"', '\\"') + '"'


@given(TOKENS, BLANKS, BLANKS)
def test_each_token_can_be_sent(idempotency_key, before, after):
    """In quotes it arrives as it was, with whatever blanks around it."""
    assert parse_idempotency_key(before + quoted(idempotency_key) + after) == idempotency_key


@given(st.text(PRINTABLE.filter(lambda c: c not in ' ",;\\'), min_size=1, max_size=255))
def test_most_tokens_need_no_quotes(idempotency_key):
    """The bare word is the same token."""
    assert (
        parse_idempotency_key(idempotency_key)
        == parse_idempotency_key(quoted(idempotency_key))
        == idempotency_key
    )


@given(st.text(max_size=300) | st.text('a"\\ ,;', max_size=8))
@example('"' + "\\\\" * 255 + '"')
@example('"' + "\\\\" * 256 + '"')
@example("a\n")
@example("a" * 256)
def test_any_header_is_a_token_or_a_400(header):
    """What passes is a token by the rules; nothing else is raised."""
    try:
        idempotency_key = parse_idempotency_key(header)
    except BadRequest:
        return
    assert check_idempotency_key(idempotency_key) == idempotency_key


def test_no_header_is_no_token():
    """Absent is not empty."""
    assert parse_idempotency_key(None) is None
    with pytest.raises(BadRequest):
        parse_idempotency_key("")


@given(st.integers())
@example(0)
@example(1)
@example(MAX_VALUE)
@example(MAX_VALUE + 1)
def test_each_integer(number):
    """It arrives as it is, or is out of bounds."""
    query = MultiDict({"amount": str(number)})
    if 1 <= number <= MAX_VALUE:
        assert parse_amount(query) == number
    else:
        with pytest.raises(InvalidAmountError):
            parse_amount(query)


@given(st.lists(st.text(max_size=22) | st.text("0123456789", max_size=22), max_size=3))
@example(["٣"])
@example(["1_0"])
@example([" 1"])
@example(["1\n"])
@example(["0" * 18 + "1"])
def test_any_query_is_an_amount_or_out_of_bounds(amounts):
    """What passes is given once, in ASCII digits; nothing else is raised."""
    query = MultiDict([("amount", amount) for amount in amounts])
    try:
        amount = parse_amount(query)
    except InvalidAmountError:
        return
    assert 1 <= amount <= MAX_VALUE
    assert amounts == [] or (amounts[0].isascii() and [int(amounts[0])] == [amount])
    assert len(amounts) < 2
    assert not amounts or amounts[0].isdigit()


@given(
    st.from_regex(r"(amount=\d{1,20})?", fullmatch=True)
    | st.text("amount=0123456789&;+% ", max_size=20)
)
@example("amount=1\n")
@example(f"amount={MAX_VALUE + 1}")
def test_the_fast_path_reads_the_same_amount(query):
    """Where it reads one at all, it is the one that Flask would read."""
    if fast := _AMOUNT.fullmatch(query):
        assert int(fast[1] or 1) == parse_amount(
            MultiDict(parse_qsl(query, keep_blank_values=True))
        )


@given(st.from_regex(r"/counters/[^/]{1,66}/hits", fullmatch=True) | st.text("/counters.-hit\n"))
@example("/counters/a.json/hits")
@example("/counters/../hits")
def test_the_fast_path_reads_names_by_the_rules(path):
    """Flask's route takes any name, and the rules judge it."""
    fast = _HITS.fullmatch(path)
    parts = path.split("/")
    of_the_form = len(parts) == 4 and (parts[0], parts[1], parts[3]) == ("", "counters", "hits")
    assert bool(fast) == (of_the_form and bool(URL_SAFE_NAME.fullmatch(parts[2])))
    assert not fast or fast[1] == parts[2]


@given(st.from_regex(NAME, fullmatch=True), st.integers(MIN_VALUE, MAX_VALUE), st.booleans())
def test_the_document_of_a_value(name, value, counted):
    """It is put together by hand, and is JSON all the same."""
    document = render_json(name, value, counted=counted)
    assert json.loads(document) == {"name": name, "value": value, "counted": counted}
