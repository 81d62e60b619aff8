"""Validation of names, idempotency keys and amounts, for values of any type."""

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
    ("check", "characters", "limit", "error"),
    [
        (check_name, NAMES, 64, InvalidNameError),
        (check_idempotency_key, PRINTABLE, 255, InvalidIdempotencyKeyError),
    ],
)
@given(data=st.data())
def test_check_name_and_check_idempotency_key(check, characters, limit, error, data):
    """They take strings of the allowed characters up to a length, and no other type."""
    allowed = st.text(sorted(characters), max_size=limit + 2)
    longest = st.sampled_from(["a" * limit, "a" * (limit + 1)])
    value = data.draw(st.text(max_size=limit + 2) | allowed | longest | THINGS)
    if isinstance(value, str) and 1 <= len(value) <= limit and characters.issuperset(value):
        assert check(value) == value
    else:
        with pytest.raises(error):
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
