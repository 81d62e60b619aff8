"""Replies of the server: integers are parsed, error replies become errors of this package."""

from __future__ import annotations

import re
from typing import Any

from redis.exceptions import (
    AskError,
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ClusterCrossSlotError,
    ClusterDownError,
    ReadOnlyError,
    ResponseError,
    TryAgainError,
)

from ..errors import (
    CounterError,
    CounterExistsError,
    CounterNotFoundError,
    CounterOverflowError,
    IdempotencyKeyReusedError,
    IdempotencyMemoryError,
    NotAnIntegerError,
    OutcomeUnknownError,
    StoreRejectedError,
    TooManyCountersError,
)
from ..validation import MAX_VALUE, MIN_VALUE
from .keys import name_from_key

#: redis-py's exceptions for error replies. It derives all but the first from ConnectionError.
REJECTIONS = (ResponseError, BusyLoadingError, AuthenticationError, AuthorizationError)

_INTEGER = re.compile(rb"0|-?[1-9][0-9]{0,18}")

#: Error replies that a server sends instead of executing a command, and those of our scripts, which
#: fail before they change anything. redis-py has exception classes for most other codes.
_UNCHANGED = re.compile(
    r"^(OOM|MISCONF|NOREPLICAS|DENIED|STALE|TAKEN|FORGOTTEN|BEHIND|Protocol error)\b"
    r"|unknown command|\bscript\b"
)

# Servers repeat the arguments of an unknown command; those of AUTH contain the password.
_ARGUMENTS = re.compile(r",? *with args beginning with.*", re.DOTALL)


def parse_integer(reply: Any, key: str, default: Any) -> Any:
    """Return the integer in a reply to ``GET``, or the default if the key does not exist.

    :raises NotAnIntegerError: the key holds something else.
    :raises StoreRejectedError: the reply is an error.
    """
    if isinstance(reply, StoreRejectedError):
        raise translate_error(reply, key) from reply.__cause__
    if reply is None:
        return default
    # int() also accepts " 1" and "1_0", which the server does not increment.
    if not _INTEGER.fullmatch(reply) or not MIN_VALUE <= int(reply) <= MAX_VALUE:
        raise NotAnIntegerError(key)
    return int(reply)


def raise_for_error(*replies: Any) -> None:
    """Raise the first of the replies that is an error."""
    for reply in replies:
        if isinstance(reply, StoreRejectedError):
            raise reply


def make_rejection(error: Exception) -> StoreRejectedError:
    """Return redis-py's exception for an error reply as ours, without the command's arguments."""
    if "with args beginning with" in str(error):
        error.args = (_ARGUMENTS.sub("", str(error)),)
    message = f"the store rejected the command: {error}"
    # Before authentication, a server limits the length of commands.
    if isinstance(error, AuthenticationError) or "unauthenticated" in str(error):
        message += " (correct the user name and the password; in a URL write % as %25, # as %23)"
    if isinstance(error, ClusterCrossSlotError):
        message += " (the server is a node of a cluster: write redis+cluster:// in REDIS_URL)"
    if isinstance(error, AskError):  # also MovedError, whose text is only a slot and an address
        message = (
            f"the store rejected the command: another node of the cluster has the key ({error}); "
            "if REDIS_URL begins with redis://, write redis+cluster://"
        )
    rejection = StoreRejectedError(message)
    rejection.__cause__ = error
    return rejection


def translate_error(error: StoreRejectedError, key: str) -> CounterError:
    """Return the error that an error reply's text stands for; its code is too coarse.

    Returns the same error if its text is not known.
    """
    message = str(error)
    if "WRONGTYPE" in message or "not an integer" in message:
        return NotAnIntegerError(key)
    if "would overflow" in message:
        return CounterOverflowError(key)
    if "TOKENREUSED" in message:
        return IdempotencyKeyReusedError(message.rpartition(" ")[2])
    if "NOROOM the" in message:
        return IdempotencyMemoryError(
            "not counted: the store's memory is too full for another idempotency key; "
            "a hit without a key counts"
        )
    if "EXISTING there" in message:
        return CounterExistsError(f"there is a counter {name_from_key(key)!r} already")
    if "UNKNOWN there" in message:
        return CounterNotFoundError(name_from_key(key), ", and this hit may not create it")
    if "TOOMANY there" in message:
        return TooManyCountersError(
            f"there is no counter {name_from_key(key)!r}, and the maximum number of counters is "
            "reached"
        )
    return error


def translate_script_error(error: StoreRejectedError, key: str) -> CounterError:
    """Return the error for a script's error reply: nothing changed, or outcome unknown.

    Nothing was changed only if the error is known to precede every change. Any other may come from
    a proxy that lost the reply.
    """
    translated = translate_error(error, key)
    cause = error.__cause__
    if translated is not error or type(cause) is not ResponseError or _UNCHANGED.search(str(cause)):
        return translated
    unknown = OutcomeUnknownError(f"the store may have executed the command: {error}")
    unknown.__cause__ = cause
    return unknown


def must_reconnect(error: BaseException | None) -> bool:
    """Return whether an error reply concerns this connection only; nothing was executed.

    The server became a replica, no longer accepts the login, is loading its data, or has lost
    writes. A new connection reaches the primary if the store's host name now points to it, and
    learns of its history.
    """
    if isinstance(error, (ReadOnlyError, BusyLoadingError, ClusterDownError, AuthenticationError)):
        return True
    # Redis 6 embeds the error of a script's command in a sentence.
    text = str(error)
    return (
        text.startswith(("UNBLOCKED ", "BEHIND "))
        or "-READONLY " in text
        or "cannot be used with replica" in text  # WAIT
    )


def is_reconnect_reply(reply: object) -> bool:
    """Return whether a reply is an error for which :func:`must_reconnect`."""
    return isinstance(reply, StoreRejectedError) and must_reconnect(reply.__cause__)


def is_redirection(reply: object) -> bool:
    """Return whether a reply is that of a node of a cluster which does not have the keys now."""
    cause = reply.__cause__ if isinstance(reply, StoreRejectedError) else None
    return isinstance(cause, TryAgainError | AskError)  # also MovedError


def is_transient(error: BaseException | None) -> bool:
    """Return whether the command may succeed if it is sent again soon; nothing was executed."""
    if isinstance(error, AuthenticationError):
        return False
    return (
        isinstance(error, TryAgainError | AskError)
        or str(error).startswith("BUSY ")
        or must_reconnect(error)
    )
