"""What may be a name, a token or an amount, for anything that Python has."""

import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flask_redis_counter.errors import (
    InvalidAmountError,
    InvalidIdempotencyKeyError,
    InvalidNameError,
)
from flask_redis_counter.validation import (
    MAX_VALUE,
    check_idempotency_key,
    check_integer,
    check_name,
)

NAMES = frozenset(string.ascii_letters + string.digits + "._-")
PRINTABLE = frozenset(map(chr, range(0x20, 0x7F)))
THINGS = st.none() | st.booleans() | st.integers() | st.floats() | st.binary() | st.lists(st.text())


@pytest.mark.parametrize(
    ("check", "characters", "most", "refusal"),
    [
        (check_name, NAMES, 64, InvalidNameError),
        (check_idempotency_key, PRINTABLE, 255, InvalidIdempotencyKeyError),
    ],
)
@given(data=st.data())
def test_names_and_tokens(check, characters, most, refusal, data):
    """Some characters, so many of them, and no other type than text."""
    allowed = st.text(sorted(characters), max_size=most + 2)
    longest = st.sampled_from(["a" * most, "a" * (most + 1)])
    value = data.draw(st.text(max_size=most + 2) | allowed | longest | THINGS)
    if isinstance(value, str) and 1 <= len(value) <= most and characters.issuperset(value):
        assert check(value) == value
    else:
        with pytest.raises(refusal):
            check(value)


@given(THINGS | st.text(), st.sampled_from([0, 1, -(2**63)]))
@example(True, 1)
@example(MAX_VALUE, 1)
@example(MAX_VALUE + 1, 1)
def test_check_integer(value, low):
    """It takes integers from the lower bound to 2**63 - 1, but not True."""
    if type(value) is int and low <= value <= MAX_VALUE:
        assert check_integer(value, low) == value
    else:
        with pytest.raises(InvalidAmountError):
            check_integer(value, low)
