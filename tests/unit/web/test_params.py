"""Parameters of counting requests, in Flask and on the fast path."""

from urllib.parse import parse_qsl

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import BadRequest

from flask_redis_counter.errors import InvalidAmountError
from flask_redis_counter.validation import (
    MAX_VALUE,
    URL_SAFE_NAME,
    check_idempotency_key,
)
from flask_redis_counter.web.params import parse_amount, parse_idempotency_key
from flask_redis_counter.web.server.hits import parse_target

PRINTABLE = st.characters(min_codepoint=0x20, max_codepoint=0x7E)
KEYS = st.text(PRINTABLE, min_size=1, max_size=255)
BLANKS = st.text(" \t", max_size=3)


def quote(idempotency_key):
    """Return a key as a structured header's string (RFC 8941)."""
    return '"' + idempotency_key.replace("\\", "\\\\").replace('"', '\\"') + '"'


@given(KEYS, BLANKS, BLANKS)
def test_quoted_key(idempotency_key, before, after):
    """parse_idempotency_key returns any quoted key, with any whitespace around it."""
    assert parse_idempotency_key(before + quote(idempotency_key) + after) == idempotency_key


@given(st.text(PRINTABLE.filter(lambda c: c not in ' ",;\\'), min_size=1, max_size=255))
def test_bare_key(idempotency_key):
    """A bare word is the same key as in quotes."""
    assert (
        parse_idempotency_key(idempotency_key)
        == parse_idempotency_key(quote(idempotency_key))
        == idempotency_key
    )


@given(st.text(max_size=300) | st.text('a"\\ ,;', max_size=8))
@example('"' + "\\\\" * 255 + '"')
@example('"' + "\\\\" * 256 + '"')
@example("a\n")
@example("a" * 256)
def test_any_header_is_a_key_or_a_400(header):
    """parse_idempotency_key returns a valid key or raises BadRequest for any header."""
    try:
        idempotency_key = parse_idempotency_key(header)
    except BadRequest:
        return
    assert check_idempotency_key(idempotency_key) == idempotency_key


def test_no_header_is_no_key():
    """parse_idempotency_key returns None for an absent header, and rejects an empty one."""
    assert parse_idempotency_key(None) is None
    with pytest.raises(BadRequest):
        parse_idempotency_key("")


@given(st.integers())
@example(0)
@example(1)
@example(MAX_VALUE)
@example(MAX_VALUE + 1)
def test_parse_amount_integer(number):
    """parse_amount returns each integer within bounds, and rejects all others."""
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
def test_parse_amount_any_query(amounts):
    """parse_amount accepts one value in ASCII digits, and raises InvalidAmountError otherwise."""
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
def test_fast_path_amount(query):
    """If the fast path accepts a query, parse_amount returns the same amount."""
    if fast := parse_target(f"/counters/a/hits?{query}".encode()):
        assert fast == ("a", parse_amount(MultiDict(parse_qsl(query, keep_blank_values=True))))


@given(st.from_regex(r"/counters/[^/]{1,66}/hits", fullmatch=True) | st.text("/counters.-hit\n"))
@example("/counters/a.json/hits")
@example("/counters/../hits")
def test_fast_path_name(path):
    """The fast path accepts exactly the paths whose names are URL-safe."""
    fast = parse_target(path.encode())
    parts = path.split("/")
    of_the_form = len(parts) == 4 and (parts[0], parts[1], parts[3]) == ("", "counters", "hits")
    assert bool(fast) == (of_the_form and bool(URL_SAFE_NAME.fullmatch(parts[2])))
    assert not fast or fast == (parts[2], 1)
