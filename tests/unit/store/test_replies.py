"""Parsing of replies, and translation of error replies."""

import pytest
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ReadOnlyError,
    ResponseError,
    TryAgainError,
)

from flask_redis_counter.errors import (
    CounterOverflowError,
    NotAnIntegerError,
    OutcomeUnknownError,
    StoreRejectedError,
    TooManyCountersError,
)
from flask_redis_counter.store.replies import (
    is_reconnect_reply,
    is_transient,
    make_rejection,
    must_reconnect,
    parse_integer,
    raise_for_error,
    translate_error,
    translate_script_error,
)

KEY = "counter:{home}"


@pytest.mark.parametrize(
    ("reply", "value"), [(b"0", 0), (b"-7", -7), (b"%d" % (2**63 - 1), 2**63 - 1), (None, 5)]
)
def test_parse_integer_returns_the_value_or_the_default(reply, value):
    """parse_integer returns the integer in a reply, or the default for nil."""
    assert parse_integer(reply, KEY, 5) == value


@pytest.mark.parametrize("reply", [b"", b" 1", b"1_0", b"01", b"-0", b"1.0", b"%d" % 2**63])
def test_parse_integer_rejects_what_incr_rejects(reply):
    """parse_integer raises NotAnIntegerError for text that the server does not increment."""
    with pytest.raises(NotAnIntegerError):
        parse_integer(reply, KEY, 0)


def test_raise_for_error_raises_the_first_error():
    """raise_for_error raises the first error among replies, and ignores the others."""
    first, second = StoreRejectedError("first"), StoreRejectedError("second")
    raise_for_error(b"1", None, [])
    with pytest.raises(StoreRejectedError, match="first"):
        raise_for_error(b"1", first, second)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("WRONGTYPE Operation against a key holding the wrong kind of value", NotAnIntegerError),
        ("increment or decrement would overflow", CounterOverflowError),
        ("TOOMANY there are as many counters as there may be", TooManyCountersError),
        ("OOM command not allowed", StoreRejectedError),
    ],
)
def test_translate_error_knows_the_text(text, kind):
    """translate_error returns the error that stands for a text, or the same error."""
    error = make_rejection(ResponseError(text))
    assert type(translate_error(error, KEY)) is kind
    assert type(translate_script_error(error, KEY)) is kind


def test_translate_script_error_is_unknown_for_other_texts():
    """translate_script_error returns OutcomeUnknownError for an error it does not know."""
    error = make_rejection(ResponseError("the proxy lost the reply"))
    assert translate_error(error, KEY) is error
    assert type(translate_script_error(error, KEY)) is OutcomeUnknownError


@pytest.mark.parametrize(
    ("error", "reconnect", "transient"),
    [
        (ReadOnlyError("read only"), True, True),
        (BusyLoadingError("loading"), True, True),
        (AuthenticationError("wrong password"), True, False),
        (ResponseError("UNBLOCKED by a change of role"), True, True),
        (TryAgainError("later"), False, True),
        (ResponseError("BUSY running a script"), False, True),
        (ResponseError("OOM"), False, False),
        (None, False, False),
    ],
)
def test_must_reconnect_and_is_transient(error, reconnect, transient):
    """must_reconnect and is_transient classify error replies."""
    assert must_reconnect(error) is reconnect
    assert is_transient(error) is transient
    if error is not None:
        assert is_reconnect_reply(make_rejection(error)) is reconnect
