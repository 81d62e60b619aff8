"""Load on one server, with its count in the store checked."""

from __future__ import annotations

import subprocess
import time
from dataclasses import replace

import redis

from .contestants import OURS
from .load import Load, Request, put_load
from .server import Server

#: Seconds until the count must be stable after wrk has ended.
SETTLE_TIMEOUT = 10.0

#: Seconds without a change after which a count is stable, also on a machine that is busy.
SETTLE_PAUSE = 0.2


class MiscountError(Exception):
    """The responses of a contestant do not agree with the count in the store."""


def checked_load(
    server: Server,
    store: redis.Redis,
    *,
    seconds: int,
    connections: int,
    request: Request | None = None,
    key: str | None = None,
    allow_errors: bool = False,
) -> Load:
    """Put load on a server, and compare its responses with the rise of its count.

    :param request: a request to send instead of the contestant's.
    :param key: the Redis key that it counts in, instead of the contestant's.
    :param allow_errors: whether error responses and failed connections are part of the result
        instead of an exception.
    :returns: the load. A miscount of another service than ours is a part of it.
    :raises MiscountError: the server returned errors, or our service lost or duplicated hits.
    """
    contestant = server.contestant
    key = key or contestant.key
    before = _read_stable(store, key)
    try:
        load = put_load(
            server.address, request or contestant.path, seconds=seconds, connections=connections
        )
    except subprocess.CalledProcessError:  # no connection at all
        load = Load(seconds, 0, 0.0, 0.0, 0, connections)
    rise = _read_stable(store, key) - before
    if not allow_errors and (load.requests == 0 or load.errors):
        raise MiscountError(f"{contestant.name}: {load}")
    try:
        check_count(contestant.name, load, rise if key else None, connections)
    except MiscountError as error:
        if contestant is OURS:
            raise
        print(f"miscount: {error}", flush=True)
        return replace(load, miscounted=True)
    return load


def check_count(name: str, load: Load, rise: int | None, connections: int) -> None:
    """Compare the responses with the rise of the count.

    :param rise: the rise of the count; None if the contestant does not count.
    :raises MiscountError: hits were lost or duplicated.
    """
    if rise is None:
        return
    answered = load.requests - load.non_2xx
    # At its end wrk closes connections with one request each, which counts without a response; a
    # request that was not answered with a success may have counted.
    if not 0 <= rise - answered <= connections + load.errors:
        raise MiscountError(f"{name}: {answered} responses, but the store counted {rise} hits")


def _read_stable(store: redis.Redis, key: str | None) -> int:
    """Return a count when the requests in flight have ended."""
    if key is None:
        return 0
    deadline = time.monotonic() + SETTLE_TIMEOUT
    value, last = int(store.get(key) or 0), -1
    while value != last:
        if time.monotonic() > deadline:
            raise MiscountError(f"{key} still rises without load")
        time.sleep(SETTLE_PAUSE)
        value, last = int(store.get(key) or 0), value
    return value
