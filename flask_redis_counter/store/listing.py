"""Names of the counters of a cluster.

The names of all counters are one key (:func:`.keys.names_key`), which is on one of the servers. The
scripts that create a counter run on another, and use a key of their own instead
(:mod:`.routing`). So a counter is listed before it is created, and taken from the list after it was
deleted.

The limit of the number of counters is checked with the list, so it holds for a cluster as well. A
process that ends in between leaves a name without a counter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from ..errors import (
    OutcomeUnknownError,
    StoreError,
    StoreRejectedError,
    TooManyCountersError,
)
from ..limits import UNLIMITED
from .connections import Command
from .keys import name_from_key, shared_names_key
from .operation import Operation
from .replies import raise_for_error, translate_script_error
from .scripts import LIST

_T = TypeVar("_T")


def list_name(key: str, limit: int) -> Command:
    """Return the command that lists the name of a counter.

    :param key: key of the counter.
    :param limit: list it only while there are fewer names.
    """
    return LIST.eval((shared_names_key(key),), name_from_key(key), limit)


def create_listed(key: str, limit: int, change: Callable[[int], Operation[_T]]) -> Operation[_T]:
    """Change a counter, and list its name before it is created.

    :param limit: create it only while there are fewer counters.
    :param change: returns the operation that changes it, for a limit of the number of counters.
    :raises TooManyCountersError: it does not exist, and the limit is reached.
    """
    try:
        return (yield from change(0))
    except TooManyCountersError:
        if limit <= 0:
            raise
    (reply,) = yield [list_name(key, limit)]
    if isinstance(reply, StoreRejectedError):
        raise translate_script_error(reply, key) from reply.__cause__
    return (yield from change(UNLIMITED))


def delete_listed(key: str, delete: Operation[_T]) -> Operation[_T]:
    """Delete a counter, and take its name from the list.

    The name is listed again if the counter was created meanwhile.

    :raises OutcomeUnknownError: the counter was deleted, and its name perhaps not.
    """
    deleted = yield from delete
    try:
        (reply,) = yield [("ZREM", shared_names_key(key), name_from_key(key))]
        raise_for_error(reply)
        yield from relist([key])
    except StoreError as error:
        message = f"the counter was deleted, but perhaps its name is still listed: {error}"
        raise OutcomeUnknownError(message) from error
    return deleted


def relist(keys: Sequence[str]) -> Operation[None]:
    """List the names of those counters that exist."""
    replies = yield [("EXISTS", key) for key in keys]
    raise_for_error(*replies)
    commands = [
        list_name(key, UNLIMITED) for key, reply in zip(keys, replies, strict=True) if reply == 1
    ]
    if commands:
        raise_for_error(*(yield commands))
